// What the server says in English, in the operator's language. It says sentences with facts inside,
// so they are known by their templates; what is not known stays English, and says that it is.

import { reasonText } from "./phrases.js";
import { language, t, terms } from "./words.js";

const said = (template) => template; // marks a sentence for the catalogue
const SAID = [
  said("There is no credential {id}."), said("There is no group {name}."), said("There is no client key {id}."),
  said("There is no setting {key}."), said("There is no such sign-in; it may have ended long ago."),
  said("There is no trace {id}: it is too old, or never reached the pool."), said("No such path: {path}"),
  said("Invalid or missing admin API key"), said("Internal server error"),
  said("there is a group {name} already"), said("{name} is reserved"), said("there is this key already"),
  said("at most {n} characters, none of {list}"), said("the credentials file defines the group {name}: change it there"),
  said("must be a text"), said("must be a string"), said("must be a number"), said("must be an object"), said("must be true or false"),
  said("must be a whole number of at least 0"), said("must be a whole number {limits}"), said("must be a list of texts"),
  said("must be printable texts"), said("must be a text, at most {n} characters"), said("must be ASCII text without blanks"),
  said("must have at least {n} characters"), said("must be seconds, at most a year"), said("must be one of {choices}"),
  said("must be a number of seconds, at least {n}"), said("must be a URL that starts with {schemes}"),
  said("must be a list of strings, or one string with commas"), said("must list addresses, networks (10.0.0.0/8) or unix"),
  said("must be an AWS region such as us-east-1"), said("must be {what} from 0 (no limit) to {top}"), said("must be {choices}"),
  said("is not a region such as us-east-1"), said("contains characters that no token has"),
  said("is missing (authMethod is api_key)"), said("is missing (authMethod is idc)"), said("is missing, and so is kiroApiKey"),
  said("is missing; send it, or a file"), said("is neither JSON nor kiro-cli's database"), said("is not UTF-8"), said("is not an object"),
  said("there is no such field"), said("there is no such setting"), said("is needed for {action}"),
  said("Missing data for required field"), said("Unknown field"), said("Field may not be null"), said("Not a valid string"), said("Not a valid integer"), said("Longer than maximum length {n}"),
  said("is empty; delete the setting instead"), said("this is the masked value, not a secret"),
  said("it decides where tokens go: change it on the machine"), said("it names places on the machine: change it there"),
  said("The server would not start with that: {why}"), said("Somebody else is changing the configuration; try again."),
  said("link-local and metadata addresses are not allowed"),
  said("Kiro refuses this token: {why}"), said("Credential #{id} is {why}: enable it first"), said("{ids}: disable first, then remove"),
  said("#{id} is disabled for InvalidConfig, which a reset does not mend: log in again, or correct its entry and enable it"),
  said("{target} is being refreshed by another process"), said("The last client key cannot be deleted: disable it instead."),
  said("Say how to sign in: the method is missing."), said("This sign-in needs no address: approve its code."),
  said("The sign-in broke off. Start it again."), said("The sign-in was cancelled."), said("The upload is too large."),
  said("Neither the Kiro IDE's nor kiro-cli's sign-in is on this machine."), said("already there, as #{id}"),
  said("the ledger cannot be read: {why}"), said("Kiro answered {status}."), said("Kiro failed to answer."), said("Kiro timed out."),
  said("Kiro refused the access token."), said("Kiro denied this account the call."), said("Kiro is limiting this account's requests."),
  said("The Kiro account is suspended."), said("The Kiro account's credits are used up."), said("The Kiro account has reached its daily limit."),
  said("the refresh token is truncated: it has {n} characters, whole ones have {least} or more; copy the whole value from the file that holds it"),
  said("the refresh token is truncated: it contains '...', so it is a display copy; copy the whole value from the file that holds it"),
  said("disabled: {why}"), said("#{id} disabled: {why}"), said("{why} until {time} UTC"), said("{why} (log in again)"), said("group {name} only"),
  said("retry budget spent"), said("others wait"), said("the group's rate is reached"),
  said("Kiro has no capacity for this model right now."), said("This Kiro account does not have the model."),
];

/** A template as a pattern, with how much of it is fixed: the more, the surer. */
function pattern(template) {
  const fixed = template.split(/\{\w+\}/);
  const names = [...template.matchAll(/\{(\w+)\}/g)].map(([, name]) => name);
  const escaped = fixed.map((one) => one.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
  return { names, weight: fixed.join("").trim().length, form: new RegExp(`^${escaped.join("([^]+?)")}$`) };
}

const index = (pairs) => pairs.map(([template, say]) => ({ ...pattern(template), say })).filter((one) => one.weight > 5).sort((a, b) => b.weight - a.weight);

let known = null;
let size = -1; // of the terms that `known` was made of

function all() {
  const more = terms();
  if (size !== more.length) {
    size = more.length;
    known = index([
      ...SAID.map((one) => [one, (values) => t(one, values)]), // t's argument is marked above
      ...more.map(([english, other]) => [english, (values) => other.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole)]),
    ]);
  }
  return known;
}

/** The sentence in the operator's language, null if it is not known. */
function translation(sentence, depth) {
  for (const { form, names, say } of all()) {
    const found = form.exec(sentence);
    if (!found) continue;
    return say(Object.fromEntries(names.map((name, at) => [name, depth ? told(found[at + 1], depth - 1) : found[at + 1]])));
  }
  return null;
}

/** What the server says of itself or a credential, in the operator's language; English if it is not known. */
export function told(sentence, depth = 2) {
  if (language === "en" || !sentence) return sentence;
  const whole = translation(sentence, depth);
  if (whole || !sentence.includes("; #")) return whole ?? (/^\w+$/.test(sentence) ? reasonText(sentence) : sentence);
  return sentence.split("; ").map((part) => told(part, depth)).join("; "); // several credentials
}

/** Why it refused: "field: what is wrong" is told apart; English ones say so. */
export function refusalText(message) {
  if (language === "en") return message;
  const whole = translation(message, 2);
  if (whole) return whole;
  const [, field, what] = /^([\w.[\]#-]+(?:: [\w.[\]]+)?): ([^]+)$/.exec(message) ?? [];
  const part = what && translation(what, 2);
  return part ? t("{field}: {what}", { field, what: part }) : t("The server says: {message}", { message });
}
