// Sentences, numbers and times in the operator's language.

import { root } from "./dom.js";

const html = document.documentElement;
export const language = html.dataset.language;
export const locale = language === "zh" ? "zh-CN" : "en-GB";
let catalogue = {};
let others = [];

/** Fetch the sentences; English ones are their own keys, so a failure is no disaster. */
export async function loadWords() {
  if (language === "en") return;
  const answer = await fetch(`${root}/words/${language}.json`);
  if (answer.ok) catalogue = await answer.json();
  coming = fetch(`${root}/words/${language}/terms.json`).then(async (more) => {
    if (more.ok) others = Object.entries(await more.json());
  }).catch(() => {}); // if they never come, what the server says is English
}

let coming = Promise.resolve();

/** Wait for what a screen needs that shows what the server says; the others do not wait. */
export const termsCome = () => coming;

/** Pairs of what the server says (settings, the doctor) and how it is said in the operator's language. */
export const terms = () => others;

/** The sentence in the operator's language, its {places} filled. */
export function t(sentence, values = {}) {
  const found = catalogue[sentence] || sentence;
  return found.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole));
}

/** The form that fits the number `n`. */
export const tn = (n, one, many, values = {}) => t(n === 1 ? one : many, { n: number(n), ...values });

/** Change the language: the page is fetched again in it. */
export function setLanguage(code) {
  document.cookie = `kiroproxy_language=${code}; path=${root}; max-age=31536000; samesite=strict`;
  location.reload();
}

const plain = new Intl.NumberFormat(locale, { maximumFractionDigits: 1 });
const fine = new Intl.NumberFormat(locale, { maximumFractionDigits: 2 });
const short = new Intl.NumberFormat(locale, { notation: "compact", maximumFractionDigits: 1 });
const moment = new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeStyle: "short" });
const date = new Intl.DateTimeFormat(locale, { dateStyle: "medium" });
const clock = new Intl.DateTimeFormat(locale, { timeStyle: "medium" });
const relative = new Intl.RelativeTimeFormat(locale, { numeric: "auto", style: "short" });

export const number = (value) => (value === null || value === undefined ? "–" : (Math.abs(value) < 10 ? fine : plain).format(value));
export const compact = (value) => (value === null || value === undefined ? "–" : (Math.abs(value) < 10 ? fine : short).format(value));
export const percent = (part) => (part === null || part === undefined ? "–" : `${plain.format(part * 100)}\u00a0%`);
export const dateTime = (iso) => (iso ? moment.format(new Date(iso)) : "–");
export const day = (iso) => (iso ? date.format(new Date(iso)) : "–");
export const timeOfDay = (iso) => (iso ? clock.format(new Date(iso)) : "–");

/** Milliseconds as a person says them. */
export function milliseconds(value) {
  if (value === null || value === undefined) return "–";
  return value < 1000 ? `${Math.round(value)}\u00a0ms` : `${plain.format(value / 1000)}\u00a0s`;
}

const FAR_S = 60 * 86400; // beyond that a date says more
const STEPS = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];

/** "3 min ago", "in 2 days", and a date for what is far away. */
export function ago(iso) {
  if (!iso) return "–";
  const seconds = (new Date(iso) - Date.now()) / 1000;
  if (Math.abs(seconds) > FAR_S) return day(iso);
  const [unit, size] = STEPS.find(([, one]) => Math.abs(seconds) >= one) ?? STEPS[3];
  return relative.format(Math.trunc(seconds / size), unit);
}

/** Seconds left as a countdown: 12 s, 3:05, 2 h 10 min, 3 d. */
export function countdown(seconds) {
  const left = Math.max(0, Math.ceil(seconds));
  if (left < 60) return t("{n} s", { n: left });
  if (left < 3600) return `${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")}`;
  if (left < 86400) return t("{h} h {m} min", { h: Math.floor(left / 3600), m: Math.floor((left % 3600) / 60) });
  return t("{n} d", { n: Math.floor(left / 86400) });
}
