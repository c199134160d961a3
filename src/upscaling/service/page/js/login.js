// Log-in with the provider of the service: authorization code with PKCE. The token lives as long as the tab.
import { call, get, setToken } from "./api.js";
import { t } from "./texts.js";

const TOKEN = "upscaling-login";
const ASKED = "upscaling-login-asked";

const encoded = (bytes) => btoa(String.fromCharCode(...new Uint8Array(bytes))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
const random = () => encoded(crypto.getRandomValues(new Uint8Array(32)));
const redirect = () => `${location.origin}/`;

// Goes to the provider; the page comes back to where it was.
export async function logIn() {
  const { address, fields } = await get("/v1/login");
  const asked = { verifier: random(), state: random(), hash: location.hash };
  const challenge = encoded(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(asked.verifier)));
  sessionStorage.setItem(ASKED, JSON.stringify(asked));
  const query = new URLSearchParams({ ...fields, redirect_uri: redirect(), state: asked.state, code_challenge: challenge });
  location.assign(`${address}?${query}`);
}

// What the provider sent along, if the page was opened by it; throws what is to be shown.
export async function comeBack() {
  setToken(sessionStorage.getItem(TOKEN));
  const found = new URLSearchParams(location.search);
  if (!found.has("code") && !found.has("error")) return;
  const asked = JSON.parse(sessionStorage.getItem(ASKED) ?? "null");
  sessionStorage.removeItem(ASKED);
  history.replaceState(null, "", `/${asked?.hash ?? ""}`);
  if (asked === null || found.get("state") !== asked.state) throw new Error(t("login.strange"));
  if (found.has("error")) throw new Error(t("login.refused", { reason: found.get("error_description") ?? found.get("error") }));
  setToken(null);
  const answer = await call("POST", "/v1/login", { code: found.get("code"), verifier: asked.verifier, redirect_uri: redirect() });
  sessionStorage.setItem(TOKEN, answer.token);
  setToken(answer.token);
}

export async function logOut() {
  sessionStorage.removeItem(TOKEN);
  setToken(null);
  await call("DELETE", "/v1/login");
  location.reload();
}
