// For everybody: a light in words, the values and what they mean, what happened in the last week, what is being done.
import { get } from "../lib/api.js";
import { fill, h, say } from "../lib/dom.js";
import { isOld, isSilent, onChange, state, stationNow } from "../lib/live.js";
import { ageText, empty, extent, isDetail, isOver, limitText, limitsOf, ordered, quality, quantityName, shownUnit, spark } from "../lib/parts.js";
import { ago, date, day, has, hour, number, t } from "../lib/words.js";

const UP = ["active_unacknowledged", "active_acknowledged", "recovering"];
const WEEK_MS = 7 * 86400000, TOLD = 8;

// Nobody hears the station: then nobody knows, whatever the last light was.
function colour() {
  if (isSilent() || state.now.sensors.every(isOld)) return "grey";
  const light = state.now.light.colour;
  return light === "green" && state.now.sensors.some(isOld) ? "yellow" : light;
}

// What each instrument is there for; of the rest, a temperature or a second dust, one of each kind.
function chosen() {
  const mains = state.now.sensors.flatMap((row) => ordered(row.values).slice(0, 1).map((v) => [row, v]));
  const seen = new Set(mains.map(([row, v]) => `${row.medium} ${v.quantity}`));
  const rest = state.now.sensors.flatMap((row) => ordered(row.values).slice(1, 2).filter((v) => !isDetail(v.quantity)).map((v) => [row, v]))
    .filter(([row, v]) => { const kind = `${row.medium} ${v.quantity}`; return seen.has(kind) ? false : seen.add(kind); });
  return [...mains, ...rest];
}

export function render(root) {
  if (!state.now) { fill(root, h("p", { class: "note" }, t("waiting"))); return undefined; }
  const word = h("h2", {}), text = h("p", {}), doing = h("div", {}), lamp = h("div", { class: "lamp", "aria-hidden": "true" });
  const light = h("section", { class: "light", "aria-live": "polite" }, lamp, h("div", {}, word, text));
  const values = h("div", { class: "cards" }), week = h("div", { class: "cards" }), past = h("div", {});
  fill(root, light, doing, h("h3", {}, t("public.values")), values, h("h3", {}, t("public.week")), week, h("h3", {}, t("public.past")), past, h("p", { class: "note" }, t("public.note")));
  const rows = new Map(), said = new Set();
  for (const [row, v] of chosen()) {
    const part = { id: row.id, quantity: v.quantity, number: h("span", { class: "number" }), quality: h("span", { class: "quality" }), limit: h("span", { class: "limit" }), age: h("span", { class: "age" }) };
    const means = has(`say.${v.quantity}`) && !said.has(v.quantity) ? t(`say.${v.quantity}`) : "";
    said.add(v.quantity);
    part.root = h("article", { class: "card plain" }, h("header", {}, h("h4", {}, quantityName(v.quantity)), h("span", { class: "model" }, t(`medium.${row.medium}`), " · ", row.id)),
      h("div", { class: "value big" }, h("div", { class: "reading" }, part.number, h("span", { class: "unit" }, shownUnit(v))), h("p", { class: "standing" }, part.quality, " · ", part.age), part.limit),
      means ? h("p", { class: "means" }, means) : null);
    rows.set(`${row.id} ${v.quantity}`, part);
    values.append(part.root);
  }
  const draw = () => {
    const is = colour(), up = state.now.alarms.filter((a) => UP.includes(a.state));
    light.dataset.colour = is;
    say(word, t(`light.${is}`));
    say(text, t(`light.${is}.text`));
    const key = JSON.stringify(up.map((a) => [a.rule, a.state]));
    if (doing.dataset.key !== key) {
      doing.dataset.key = key;
      fill(doing, up.map((a) => h("p", { class: "note" }, h("b", {}, a.quantity ? quantityName(a.quantity) : a.sensor), ": ", t(a.state === "active_unacknowledged" ? "public.told" : "public.doing"), a.since_ms ? ` — ${t("since", { at: date(a.since_ms), ago: ago(stationNow() - a.since_ms) })}` : "")));
    }
    for (const part of rows.values()) {
      const row = state.now.sensors.find((r) => r.id === part.id), v = row && row.values.find((x) => x.quantity === part.quantity);
      if (!v) continue;
      say(part.number, number(v.value, v.digits));
      const q = quality(row, v);
      part.root.classList.toggle("old", q === "old");
      part.root.querySelector(".value").dataset.quality = q;
      say(part.quality, t(`quality.${q}`));
      part.root.querySelector(".value").classList.toggle("over", limitsOf(row.id, v.quantity).some((l) => isOver(l, v.value)));
      say(part.limit, limitsOf(row.id, v.quantity).map((l) => limitText(l, v.value, v.digits)).join(" "));
      say(part.age, ageText(row));
    }
  };
  draw();
  lastWeek(rows, week);
  happened(past);
  return onChange(draw);
}

async function lastWeek(rows, week) {
  const from = Math.round(stationNow()) - WEEK_MS;
  for (const part of rows.values()) {
    const row = state.now.sensors.find((r) => r.id === part.id), v = ordered(row.values)[0];
    if (part.quantity !== v.quantity) continue;
    try {
      const data = await get("/api/history", { sensor: part.id, quantity: part.quantity, from, points: 170 });
      const range = extent(data, v), ends = [h("span", {}, day(data.from_ms)), h("span", {}, t("now"))];
      week.append(h("article", { class: "card plain" }, h("header", {}, h("h4", {}, quantityName(part.quantity)), h("span", { class: "model" }, part.id)),
        spark(data, `${quantityName(part.quantity)}: ${range}`, { width: 320, height: 72 }), h("p", { class: "ends" }, ends), h("p", { class: "age" }, range)));
    } catch { /* the values above are what matters */ }
  }
}

// Limits that were passed, and what people did at the station.
async function happened(box) {
  const named = (e) => (e.what === "alarm" ? quantityName(e.detail.quantity || "") : e.what === "calibrated" ? e.detail.sensor : "");
  const words = ({ what, detail }) => {
    if (what === "calibrated" || what === "visit") return t(`public.${what}`);
    if (!state.now.limits.some((l) => l.rule === detail.rule)) return "";
    return detail.to === "active_unacknowledged" && detail.from !== "active_acknowledged" ? t("public.passed") : detail.to === "normal" || detail.to === "returned_unacknowledged" ? t("public.again") : "";
  };
  try {
    const { events } = await get("/api/marks", { what: "alarm,calibrated,visit", from: Math.round(stationNow()) - WEEK_MS, limit: 60 });
    const told = events.map((e) => [e, words(e)]).filter(([, text]) => text).slice(0, TOLD);
    fill(box, told.length ? h("ul", { class: "log" }, told.map(([e, text]) => h("li", {}, h("time", {}, `${day(e.at_ms)} ${hour(e.at_ms)}`), h("span", {}, h("b", {}, named(e)), named(e) ? ": " : "", text)))) : empty(t("public.quiet")));
  } catch { fill(box); }
}
