// Texts in the reader's language, and numbers and times as people write them.
export const LANGUAGES = { ky: "КЫР", ru: "РУС", en: "ENG" };
let texts = {};
export let language = "en";
export let zone = "UTC";

export async function speak(wanted, known) {
  texts = known || await (await fetch(`/static/texts/${wanted}.json`)).json();
  language = wanted;
  document.documentElement.lang = wanted;
}

export const setZone = (name) => { zone = name; };

export function chosen(stations) {
  const wishes = [kept("language"), stations || document.documentElement.dataset.station, ...(navigator.languages || [])];
  for (const wish of wishes) {
    const short = String(wish || "").slice(0, 2).toLowerCase();
    if (short in LANGUAGES) return short;
  }
  return "en";
}

export function kept(name) { try { return localStorage.getItem(name) || ""; } catch { return ""; } }  // a private window keeps nothing
export function keep(name, value) {
  try { localStorage.setItem(name, value); } catch { /* as above */ }
  if (name === "language") document.cookie = `language=${value}; path=/; max-age=31536000; SameSite=Strict`;  // the page then comes with these texts
}

// t("key", {n: 3}); a key without a text shows itself, readable: what is new on the station is not hidden.
export function t(key, given) {
  let text = texts[key];
  if (text === undefined) text = key.replace(/^[a-z]+\./, "").replaceAll("_", " ");
  return given ? text.replace(/\{(\w+)\}/g, (whole, name) => (name in given ? String(given[name]) : whole)) : text;
}

export const has = (key) => texts[key] !== undefined;
export const unit = (name) => texts[`unit.${name}`] ?? name;
const locale = () => ({ ky: "ru", en: "en-GB" }[language] || language);  // the same comma and the same blanks

const formats = new Map();
function format(kind, make) {
  const key = `${language} ${zone} ${kind}`;
  if (!formats.has(key)) formats.set(key, make());
  return formats.get(key);
}

// Made by hand: a phone needs 30 ms for each of the browser's own formats before it shows a first number.
const grouped = (whole) => whole.replace(/\B(?=(\d{3})+$)/g, language === "en" ? "," : "\u00a0");

export function number(value, digits) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const [whole, part] = Math.abs(value).toFixed(digits).split(".");
  const sign = value < 0 && Number(value.toFixed(digits)) !== 0 ? "−" : "";
  return sign + grouped(whole) + (part ? (language === "en" ? "." : ",") + part : "");
}

export const count = (value) => (typeof value === "number" ? grouped(String(value)) : "–");

function time(kind, options, ms) {
  return format(kind, () => new Intl.DateTimeFormat(locale(), { timeZone: zone, hourCycle: "h23", ...options })).format(ms);
}
export const clock = (ms) => time("clock", { hour: "2-digit", minute: "2-digit", second: "2-digit" }, ms);
export const hour = (ms) => time("hour", { hour: "2-digit", minute: "2-digit" }, ms);
export const day = (ms) => time("day", { day: "numeric", month: "2-digit" }, ms);
export const date = (ms) => time("date", { day: "2-digit", month: "2-digit", year: "numeric", hour: "2-digit", minute: "2-digit" }, ms);
export const moment = (ms) => time("moment", { day: "2-digit", month: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit" }, ms);

export function ago(ms) {
  const s = Math.max(0, Math.round(ms / 1000));
  if (s < 60) return t("ago.s", { n: s });
  if (s < 5400) return t("ago.min", { n: Math.round(s / 60) });
  if (s < 172800) return t("ago.h", { n: Math.round(s / 3600) });
  return t("ago.d", { n: Math.round(s / 86400) });
}

export function lasting(s) {
  if (s < 90) return t("for.s", { n: Math.round(s) });
  if (s < 5400) return t("for.min", { n: Math.round(s / 60) });
  if (s < 172800) return t("for.h", { n: Math.round(s / 3600) });
  return t("for.d", { n: Math.round(s / 86400) });
}

export function bytes(n) {
  const steps = ["B", "KB", "MB", "GB", "TB"];
  let at = 0;
  while (n >= 1000 && at < steps.length - 1) { n /= 1000; at += 1; }
  return `${number(n, n < 10 && at ? 1 : 0)} ${unit(steps[at])}`;
}
