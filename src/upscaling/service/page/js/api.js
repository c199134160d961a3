// Requests to the service. Every failure becomes an Error whose message can be shown.
import { t } from "./texts.js";

export class ApiError extends Error {
  // `about`: the field of what was sent that is wrong, and what is wrong with it
  constructor(message, status, about) {
    super(message);
    Object.assign(this, { status, key: about?.key, reason: about?.reason });
  }
}

let token = null;

export function setToken(value) {
  token = value;
}

export async function call(method, path, body, { raw = false, signal } = {}) {
  const headers = {};
  if (token) headers.Authorization = `Bearer ${token}`;
  if (body !== undefined && !raw) headers["Content-Type"] = "application/json";
  let answer;
  try {
    answer = await fetch(path, { method, headers, body: raw || body === undefined ? body : JSON.stringify(body), signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(t("error.network"), 0);
  }
  const text = await answer.text();
  let content = null;
  try {
    content = text ? JSON.parse(text) : null;
  } catch {
    content = text;
  }
  if (answer.status === 401 && !path.endsWith("/login")) throw new ApiError(t("error.login"), 401);
  if (!answer.ok) {
    const message = content?.message ?? (typeof content?.detail === "string" ? content.detail : null);
    throw new ApiError(message ?? `${answer.status} ${answer.statusText}`, answer.status, content?.details);
  }
  return content;
}

// A sentence if a file is too large to be sent: the service would end the connection in the middle of it.
export function tooLarge(file, most) {
  const size = file.size / 1e6;
  return size > most ? t("upload.tooLarge", { name: file.name, size: Math.ceil(size), most }) : null;
}

export const get = (path, options) => call("GET", path, undefined, options);
export const post = (path, body, options) => call("POST", path, body, options);
