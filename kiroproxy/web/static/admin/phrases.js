// What the server says in codes, as sentences.

import { t } from "./words.js";

const ACTIONS = {
  "credential.add": () => t("added"), "credential.edit": () => t("changed"), "credential.enable": () => t("enabled"),
  "credential.disable": () => t("disabled"), "credential.priority": () => t("got another priority"), "credential.reset": () => t("failures forgotten"),
  "credential.refresh": () => t("token renewed"), "credential.move": () => t("moved to another group"), "credential.delete": () => t("deleted"),
  "credential.import": () => t("imported"), "doctor.refresh": () => t("tokens renewed by the doctor"), "credential.test": () => t("tested"), "login.start": () => t("sign-in begun"),
  "login.done": () => t("sign-in done"), "login.cancel": () => t("sign-in cancelled"), "group.create": () => t("created"),
  "group.edit": () => t("changed"), "group.rename": () => t("renamed"), "group.delete": () => t("deleted"),
  "setting.set": () => t("set"), "setting.unset": () => t("back to its default"), "key.create": () => t("created"),
  "key.edit": () => t("changed"), "key.change": () => t("changed"), "key.rotate": () => t("rotated"), "key.delete": () => t("deleted"), backup: () => t("downloaded"),
};

const THINGS = {
  credential: () => t("Credential"), group: () => t("Group"), key: () => t("Client key"), setting: () => t("Setting"),
  login: () => t("Sign-in"), backup: () => t("Backup"),
};

/** The action of an audit entry. */
export const actionText = (action) => ACTIONS[action]?.() ?? action;

/** The actions that can be asked for by name; `key.change` is an old name of `key.edit`. */
export const ACTION_NAMES = Object.keys(ACTIONS).filter((name) => name !== "key.change");

/** What an audit entry is about: "Credential 3 (beta)", "Client key ci", "Setting cooldownSec". */
export function thingText({ action, target, before, after }) {
  const [, thing, rest] = /^(\w+)\s*(.*)$/.exec(target ?? "") ?? [null, action.split(".")[0], ""];
  const name = [after, before].map((one) => one?.label || one?.name || one?.email).find(Boolean);
  const kind = THINGS[thing]?.();
  if (!kind) return target ?? "";
  if (thing === "login") return kind; // its id says nothing to a person
  if (thing === "key") return `${kind} ${name ?? rest}`;
  return `${kind} ${rest}${name && name !== rest ? ` (${name})` : ""}`.trim();
}

/** An audit entry on one line. */
export const happened = (entry) => `${thingText(entry)}: ${actionText(entry.action)}`;

const REASONS = {
  Manual: () => t("switched off by hand"), TooManyFailures: () => t("failed too often"),
  TooManyRefreshFailures: () => t("its token could not be renewed, several times"), QuotaExceeded: () => t("its credits are spent"),
  InvalidRefreshToken: () => t("its token is no longer valid"), InvalidConfig: () => t("its entry is incomplete: edit it"),
  Suspended: () => t("Kiro has suspended the account"), Unverified: () => t("not verified yet"), throttled: () => t("throttled"),
};

/** A reason in the operator's language; codes inside a sentence are replaced. */
export function reasonText(reason) {
  if (!reason) return "";
  return reason.replace(/\b(Manual|TooMany\w+|QuotaExceeded|Invalid\w+|Suspended|Unverified|throttled)\b/g, (code) => REASONS[code]?.() ?? code);
}

const STATES = [
  [/^there is no credential yet$/, () => t("There is no credential yet.")],
  [/^no credential can serve$/, () => t("No credential can serve.")],
  [/^all credentials rest$/, () => t("All credentials rest; the first to come back serves again.")],
  [/^refreshed tokens cannot be stored$/, () => t("Renewed tokens cannot be stored: look at the credentials file's directory.")],
  [/^(\d+) of (\d+) credentials cannot serve$/, (n, all) => t("{n} of {all} credentials cannot serve.", { n, all })],
];

/** Why the proxy is not simply serving. */
export function stateText(reason) {
  for (const [pattern, say] of STATES) {
    const found = pattern.exec(reason);
    if (found) return say(...found.slice(1));
  }
  return reason;
}

/** How a credential signs in, as a person calls it. */
export function kindText({ authMethod, provider }) {
  if (authMethod === "api_key") return t("API key");
  if (provider) return { Github: "GitHub", BuilderId: "Builder ID", Enterprise: "Identity Center" }[provider] ?? provider;
  if (authMethod === "idc") return t("Builder ID or Identity Center");
  return authMethod === "social" ? t("Google or GitHub") : authMethod ?? "–";
}

/** What helps a credential that does not serve. */
export function remedyOf(row) {
  const code = row.disabledReason ?? "";
  if (row.state === "cooling") return t("It comes back by itself.");
  if (code === "QuotaExceeded") return t("It comes back by itself when its credits are renewed.");
  if (code === "InvalidRefreshToken") return t("Sign in again: everything else about it stays.");
  if (code === "InvalidConfig") return t("Edit it: something that it needs is missing.");
  if (code === "Suspended") return t("Only Kiro's support can lift this.");
  if (code === "Manual") return t("Enable it when it shall serve again.");
  return t("Reset it to try again, and look at its history.");
}
