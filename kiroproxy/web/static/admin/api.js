// The admin API: the key, calls, and errors that say cause, consequence and next step.

import { root } from "./dom.js";
import { refusalText } from "./said.js";
import { t } from "./words.js";

const KEY = "kiroproxy.adminKey";
export const site = root.replace(/\/admin$/, "");
const api = `${site}/api/admin`;

export const key = {
  get: () => sessionStorage.getItem(KEY) ?? "",
  set: (value) => sessionStorage.setItem(KEY, value),
  forget: () => sessionStorage.removeItem(KEY),
};

/** What the server refused, or that it could not be reached. */
export class ApiError extends Error {
  constructor(status, type, message, retryAfter) {
    super(message);
    this.status = status;
    this.type = type;
    this.retryAfter = retryAfter;
  }

  /** What the operator can do about it. */
  get remedy() {
    if (this.status === 0) return t("Check that kiroproxy runs and that this browser can reach it, then try again.");
    if (this.status === 401) return t("Sign in again with the adminApiKey of config.json.");
    if (this.status === 429) return t("Wait {n} seconds, then try again.", { n: this.retryAfter ?? 60 });
    if (this.status === 404) return t("Reload the list: it may have been deleted or moved meanwhile.");
    if (this.status === 502) return t("Kiro refused or could not be reached. Try again; if it stays so, run the doctor under Settings.");
    if (this.status >= 500) return t("The log of the server has the details. Nothing else was changed.");
    return t("Nothing was changed. Correct it and try again.");
  }
}

let onSignedOut = () => {};
/** What happens when the key is no longer accepted. */
export const whenSignedOut = (action) => (onSignedOut = action);

/** A response, or an ApiError. */
export async function call(method, path, body, options = {}) {
  const headers = { "x-api-key": options.key ?? key.get() };
  if (options.accept) headers.accept = options.accept;
  const upload = body instanceof FormData;
  if (body !== undefined && !upload) headers["content-type"] = "application/json";
  const url = (options.base ?? api) + path;
  let answer;
  try {
    answer = await fetch(url, {
      method, headers, signal: options.signal, cache: "no-store",
      body: body === undefined || upload ? body : JSON.stringify(body),
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "unreachable", t("The server does not answer."));
  }
  if (answer.ok) return answer;
  throw await refusal(answer, options);
}

async function refusal(answer, options) {
  const said = await answer.json().catch(() => ({}));
  const known = said.error ?? said;
  const error = new ApiError(answer.status, known.type ?? "", known.message ? refusalText(known.message) : t("The server answered {status}.", { status: answer.status }),
    Number(answer.headers.get("retry-after")) || undefined);
  error.param = known.param;
  if (answer.status === 401 && !options.key && !options.base) onSignedOut();
  return error;
}

async function json(method, path, body, options) {
  const answer = await call(method, path, body, options);
  return answer.status === 204 ? {} : answer.json();
}

export const get = (path, options) => json("GET", path, undefined, options);
export const post = (path, body = {}, options) => json("POST", path, body, options);
export const patch = (path, body, options) => json("PATCH", path, body, options);
export const replace = (path, body, options) => json("PUT", path, body, options);
export const remove = (path, options) => json("DELETE", path, undefined, options);

/** Events of a stream as they come: `{event, data}` with the text of `data`. */
export async function* events(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      rest += value;
      const blocks = rest.split(/\r?\n\r?\n/);
      rest = blocks.pop();
      for (const block of blocks) yield parseEvent(block);
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** The objects of an NDJSON answer as they come. */
export async function* rows(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) break;
      const found = (rest + value).split("\n");
      rest = found.pop();
      for (const line of found) if (line.trim()) yield JSON.parse(line);
    }
    if (rest.trim()) yield JSON.parse(rest);
  } finally {
    reader.cancel().catch(() => {});
  }
}

function parseEvent(block) {
  const found = { event: "message", data: "" };
  for (const line of block.split(/\r?\n/)) {
    if (line.startsWith("event:")) found.event = line.slice(6).trim();
    else if (line.startsWith("data:")) found.data += line.slice(5).trimStart();
  }
  return found;
}

/** A file that the operator keeps. */
export function save(name, blob) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
