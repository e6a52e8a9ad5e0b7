// Pieces that several views share.
import { h } from "./dom.js";
import { isOld, isSilent, stationNow, state } from "./live.js";
import { ago, has, number, t, unit } from "./words.js";

const MAIN = ["ph", "turbidity", "pm2_5", "pm10", "conductivity", "dissolved_oxygen", "level", "orp", "suspended_solids",
  "rain", "wind_speed", "air_temperature", "voltage", "charge"];
const rank = (name) => { const at = MAIN.indexOf(name); return at < 0 ? MAIN.length : at; };
export const isDetail = (name) => name.endsWith("_cf1") || /^n\d/.test(name) || name === "electrode_potential" || name === "typical_particle_size";
export const ordered = (values) => [...values].sort((a, b) => rank(a.quantity) - rank(b.quantity));
export const quantityName = (name) => (has(`q.${name}`) ? t(`q.${name}`) : name.replaceAll("_", " "));

export const shownUnit = (v) => (v.quantity === "ph" ? "" : unit(v.unit));  // "pH 7.41" says it

// From the lowest to the highest in a time, in words.
export function extent(data, v) {
  const all = (values) => values.filter((x) => x !== null), low = all(data.min), high = all(data.max);
  return low.length ? t("public.range", { low: number(Math.min(...low), v.digits), high: number(Math.max(...high), v.digits), unit: shownUnit(v) }).trim() : t("never");
}

const FLAGS = { 1: "good", 2: "unchecked", 3: "suspect", 4: "fail", 9: "missing" };
export const flagName = (flag) => FLAGS[flag] || "missing";

// A value's standing in one word: what is old is old, however good it was.
export function quality(row, value) {
  if (isOld(row) || isSilent()) return "old";
  return flagName(value.flag);
}

export function limitsOf(sensorId, quantity) {
  return state.now.limits.filter((l) => l.sensor === sensorId && (l.quantity === quantity));
}

export function limitText(limit, value, digits) {
  const u = unit(limit.unit), high = limit.high, low = limit.low;
  const bound = high !== null && (low === null || high - value < value - low) ? high : low;
  if (bound === null) return "";
  const over = bound === high ? value - high : low - value;
  const named = t(bound === high ? "limit.high" : "limit.low", { limit: number(bound, Number.isInteger(bound) ? 0 : digits), unit: u });
  const far = over > 0 ? t("limit.over", { by: number(over, digits), unit: u }) : t("limit.below", { by: number(-over, digits), unit: u });
  return `${named} · ${far}`;
}

export const isOver = (limit, value) => (limit.high !== null && value > limit.high) || (limit.low !== null && value < limit.low);

// How far to the limit, as a bar: full at the limit.
export function limitBar(limit, value, text) {
  const high = limit.high ?? limit.low * 2, low = limit.low !== null && limit.high !== null ? limit.low : 0;
  const share = high === low ? 0 : (value - low) / (high - low);
  const over = isOver(limit, value);
  const part = h("span", {});
  part.style.width = `${(100 * Math.min(1, Math.max(0, share))).toFixed(1)}%`;
  return h("div", { class: over ? "meter over" : "meter", role: "meter", "aria-valuemin": 0, "aria-valuemax": 100, "aria-valuenow": Math.round(100 * Math.min(1, Math.max(0, share))), "aria-valuetext": text, "aria-label": t("limit") }, part);
}

export const ageText = (row) => (row.at_ms === null ? t("never") : ago(stationNow() - row.at_ms));
export const stateName = (name) => (has(`state.${name}`) ? t(`state.${name}`) : name.replaceAll("_", " "));
export const alarmState = (name) => (has(`alarm.${name}`) ? t(`alarm.${name}`) : name.replaceAll("_", " "));

// A line without axes: the last hours at a glance, and all there is where uPlot is not in the package.
export function spark(data, label, { width = 240, height = 48 } = {}) {
  const seen = data.mean.filter((v) => v !== null);
  const box = h("svg:svg", { viewBox: `0 0 ${width} ${height}`, class: "spark", role: "img", "aria-label": label, preserveAspectRatio: "none" });
  if (seen.length < 2) return box;
  const low = Math.min(...seen), high = Math.max(...seen), span = high - low || 1;
  const from = data.from_ms, range = data.to_ms - from || 1;
  let path = "", pen = false;
  data.mean.forEach((v, i) => {
    if (v === null) { pen = false; return; }
    const x = ((data.t[i] - from) / range) * width, y = height - 3 - ((v - low) / span) * (height - 6);
    path += `${pen ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`;
    pen = true;
  });
  box.append(h("svg:path", { d: path, fill: "none", "vector-effect": "non-scaling-stroke" }));
  return box;
}

export const problem = (e) => h("p", { class: "note bad", role: "alert" }, e.status === 0 ? t("offline") : e.message, e.hint ? ` — ${e.hint}` : "");
export const empty = (text) => h("p", { class: "note" }, text);

export function table(caption, heads, rows) {
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    h("table", {}, h("caption", {}, caption), h("thead", {}, h("tr", {}, heads.map((x) => h("th", { scope: "col" }, x)))),
      h("tbody", {}, rows.map((row) => h("tr", {}, row.map((x, i) => (i ? h("td", {}, x) : h("th", { scope: "row" }, x))))))));
}

export const facts = (pairs) => h("dl", { class: "facts" }, pairs.filter(Boolean).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
