// The log: what happened at the station, newest first; visits stand out.
import { get } from "../lib/api.js";
import { fill, h } from "../lib/dom.js";
import { onChange } from "../lib/live.js";
import { alarmState, empty, problem } from "../lib/parts.js";
import { moment, number, t, unit } from "../lib/words.js";

const KINDS = { all: "", alarms: "alarm,acknowledge,shelve,unshelve", visits: "visit,maintenance,calibrated,correction,note", instruments: "sensor,identified,sensor_changed,split,gap",
  messages: "notify,sms,sms_path,modem", station: "started,stopped,loss,clock_step,clock_set,sink_down,sink_up,refused,page" };
const QUIET = ["at_ms", "rule", "sensor"];

export function render(root) {
  const list = h("ul", { class: "log" }), said = h("div", {}), more = h("button", { hidden: true, onclick: () => draw(true) }, t("log.more"));
  const kind = h("select", { onchange: () => draw(false) }, Object.keys(KINDS).map((k) => h("option", { value: k }, t(`log.${k}`))));
  fill(root, h("h2", {}, t("view.log")), h("label", { class: "inline" }, t("log.kind"), kind), said, list, more);
  let oldest = 0, pending = 0;
  async function draw(further) {
    fill(said);
    try {
      const { events } = await get("/api/events", { what: KINDS[kind.value], limit: 60, before: further && oldest ? oldest : undefined });
      const items = events.map((e) => h("li", { class: e.what }, h("time", {}, moment(e.at_ms)), h("span", {}, h("b", {}, t(`event.${e.what}`)), ` ${[e.detail.sensor, e.detail.rule].filter(Boolean).join(" ")} `, h("small", {}, words(e.detail, e.what)))));
      if (further) list.append(...items); else fill(list, items);
      if (!list.children.length) fill(said, empty(t("log.none")));
      if (events.length) oldest = events[events.length - 1].seq;
      more.hidden = events.length < 60;
    } catch (e) { fill(said, problem(e)); }
  }
  draw(false);
  const off = onChange((what) => { if (what === "event" || what === "alarm") { clearTimeout(pending); pending = setTimeout(() => { if (scrollY < 400) draw(false); }, 1500); } });
  return () => { off(); clearTimeout(pending); };
}

function words(detail, what) {
  if (what === "alarm") return `${alarmState(detail.from)} → ${alarmState(detail.to)}${typeof detail.value === "number" ? ` · ${number(detail.value, 2)} ${unit(detail.unit || "")}` : ""}${detail.by ? ` · ${detail.by}` : ""}`;
  if (what === "notify") return `→ ${detail.to}: ${detail.text}`;
  if (what === "sms") return `→ ${detail.to || ""}: ${detail.state}${detail.error ? ` · ${detail.error}` : ""}`;
  const text = Object.entries(detail).filter(([k, v]) => !QUIET.includes(k) && v !== null && v !== "")
    .map(([k, v]) => `${k.replaceAll("_", " ")}: ${k.endsWith("_ms") && typeof v === "number" && v > 1e12 ? moment(v) : typeof v === "object" ? JSON.stringify(v) : v}`).join(" · ");
  return text.length > 300 ? `${text.slice(0, 300)}…` : text;
}
