// A certified OpenID provider on loopback: node provider.mjs PORT KEYS_FILE [REDIRECT_ADDRESS ...]
// With a redirect address there is a client `page` (public, with PKCE), and a form where anybody may log in.
// Clients alice, bob and admin (secret: secret-of-<name>) get JWT access tokens; the resource asked for is the audience.
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { exportJWK, generateKeyPair } from "jose";
import Provider from "oidc-provider";

const [port, keysFile, ...redirects] = process.argv.slice(2);

async function newKeys() {
  const keys = [];
  for (const [alg, kid] of [["RS256", "rs"], ["ES256", "es"]]) {
    const { privateKey } = await generateKeyPair(alg, { extractable: true });
    keys.push({ ...(await exportJWK(privateKey)), alg, use: "sig", kid: `${kid}-${Date.now()}` });
  }
  return keys;
}

if (!existsSync(keysFile)) writeFileSync(keysFile, JSON.stringify(await newKeys()));
const keys = JSON.parse(readFileSync(keysFile));
const clients = ["alice", "bob", "admin"].map((name) => ({
  client_id: name,
  client_secret: `secret-of-${name}`,
  grant_types: ["client_credentials"],
  redirect_uris: [],
  response_types: [],
}));
if (redirects.length > 0)
  clients.push({
    client_id: "page",
    token_endpoint_auth_method: "none",
    grant_types: ["authorization_code"],
    response_types: ["code"],
    redirect_uris: redirects,
    application_type: "native", // loopback addresses
  });
const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients,
  jwks: { keys },
  scopes: ["api", "es256", "brief"],
  ttl: { ClientCredentials: (_ctx, token) => token.resourceServer?.accessTokenTTL ?? 3600 },
  extraTokenClaims: (_ctx, token) => (token.clientId === "admin" ? { realm_access: { roles: ["upscaling-admin"] } } : {}),
  features: {
    devInteractions: { enabled: redirects.length > 0 },
    clientCredentials: { enabled: true },
    resourceIndicators: {
      enabled: true,
      useGrantedResource: () => true,
      getResourceServerInfo: (ctx, resource) => {
        const scope = ctx.oidc.params.scope ?? "";
        return {
          scope: "api es256 brief",
          audience: resource,
          accessTokenFormat: "jwt",
          accessTokenTTL: scope.includes("brief") ? 1 : 3600,
          jwt: { sign: { alg: scope.includes("es256") ? "ES256" : "RS256" } },
        };
      },
    },
  },
});
provider.listen(Number(port), "127.0.0.1", () => console.log("ready"));
