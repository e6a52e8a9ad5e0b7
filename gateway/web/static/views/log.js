// The log: what happened at the station, newest first; visits stand out. Sums and signatures, which nobody reads in
// a list, are shown on request.
import { get } from "../lib/api.js";
import { fill, h } from "../lib/dom.js";
import { onChange } from "../lib/live.js";
import { alarmState, empty, problem, stateName } from "../lib/parts.js";
import { bytes, has, lasting, moment, number, t, unit } from "../lib/words.js";

const KINDS = { all: "", alarms: "alarm,acknowledge,shelve,unshelve,out_of_service,in_service", visits: "visit,maintenance,calibrated,calibration_due,correction,note", instruments: "sensor,identified,sensor_changed,slope_low,split,gap",
  messages: "notify,sms,sms_path,sms_test,sms_dropped,sms_storage,modem,answer,doctor", station: "started,stopped,defect,reread,station,loss,clock_step,clock_set,clock_unknown,sink_down,sink_up,budget,withheld,refused,retried,page",
  sums: "ledger,chain_head,chain_key,configuration,missed,flagged,not_averaged" };
const SUMS = new Set(KINDS.sums.split(","));
const QUIET = new Set(["at_ms", "rule", "sensor", "id", "occurrence", "reference", "part", "parts", "status", "due_ms", "hash", "signature", "key", "public_key", "sha256", "text", "attempt", "kind", "step", "began_ms", "boot"]);

export function render(root) {
  const list = h("ul", { class: "log" }), said = h("div", {}), more = h("button", { hidden: true, onclick: () => draw(true) }, t("log.more"));
  const kind = h("select", { onchange: () => draw(false) }, Object.keys(KINDS).map((k) => h("option", { value: k }, t(`log.${k}`))));
  fill(root, h("h2", {}, t("view.log")), h("label", { class: "inline" }, t("log.kind"), kind), said, list, more);
  let oldest = 0, pending = 0;
  async function draw(further) {
    fill(said);
    try {
      const { events } = await get("/api/events", { what: KINDS[kind.value], limit: 80, before: further && oldest ? oldest : undefined });
      const items = events.filter((e) => kind.value !== "all" || !SUMS.has(e.what)).map((e) => h("li", { class: e.what }, h("time", {}, moment(e.at_ms)),
        h("span", {}, h("b", {}, t(`event.${e.what}`)), ` ${[e.detail.sensor, e.detail.rule].filter(Boolean).join(" ")} `, h("small", {}, words(e.detail, e.what)))));
      if (further) list.append(...items); else fill(list, items);
      if (!list.children.length) fill(said, empty(t("log.none")));
      if (events.length) oldest = events[events.length - 1].seq;
      more.hidden = events.length < 80;
    } catch (e) { fill(said, problem(e)); }
  }
  draw(false);
  const off = onChange((what) => { if (what === "event" || what === "alarm") { clearTimeout(pending); pending = setTimeout(() => { if (scrollY < 400) draw(false); }, 1500); } });
  return () => { off(); clearTimeout(pending); };
}

function words(detail, what) {
  const joined = (...parts) => parts.filter(Boolean).join(" · ");
  if (what === "alarm") return joined(`${alarmState(detail.from)} → ${alarmState(detail.to)}`, typeof detail.value === "number" ? `${number(detail.value, 2)} ${unit(detail.unit || "")}` : "", detail.by, detail.why);
  if (what === "notify") return `→ ${detail.to}: ${detail.text}`;
  if (what === "sms") return joined(`→ ${detail.to || ""}: ${named("sms", detail.state)}`, detail.path && detail.path !== "modem" ? named("path", detail.path) : "", detail.error);
  if (what === "sensor") return joined(detail.from || detail.to ? `${detail.from ? `${stateName(detail.from)} → ` : ""}${stateName(detail.to || "")}` : "", detail.state ? stateName(detail.state) : "", detail.why);
  if (what === "gap") return joined(detail.from_ms && detail.to_ms ? lasting((detail.to_ms - detail.from_ms) / 1000) : "", named("why", detail.why), detail.slots ? t("gaps.slots", { n: detail.slots }) : "");
  if (what === "calibrated") return joined(has(`cal.verdict.${detail.verdict}`) ? t(`cal.verdict.${detail.verdict}`) : detail.verdict, detail.by);
  if (what === "maintenance") return joined(detail.on === false ? t("visit.ended") : t("visit.begun"), detail.by, detail.why);
  if (what === "visit") return joined([detail.by].flat().join(", "), [detail.sensors].flat().map((s) => (s === "*" ? t("visit.station") : s)).join(", "), [detail.why].flat().filter(Boolean).join(", "), detail.from_ms ? lasting((detail.to_ms - detail.from_ms) / 1000) : "");
  if (what === "started") return joined(detail.version, detail.left_out && detail.left_out.length ? `${t("about.left_out")}: ${detail.left_out.length}` : "");
  if (what === "doctor" && detail.state !== "failed") return detail.state === "begun" ? t("doctor.busy") : joined(t("doctor.sum", { failure: detail.failures, warning: detail.warnings, ok: detail.good }), [detail.items].flat().filter(Boolean).join("; "));
  if (what === "configuration") return joined(detail.version, (detail.sha256 || "").slice(0, 16));
  const text = Object.entries(detail).filter(([k, v]) => !QUIET.has(k) && v !== null && v !== "").map(([k, v]) => `${named("field", k)}: ${plain(k, v)}`).join(" · ");
  return text.length > 300 ? `${text.slice(0, 300)}…` : text;
}

const named = (group, name) => (has(`${group}.${name}`) ? t(`${group}.${name}`) : String(name ?? "").replaceAll("_", " "));

function plain(key, value) {
  if (typeof value === "boolean") return t(value ? "yes" : "no");
  if (typeof value === "number") return key.endsWith("_ms") ? (value > 1e12 ? moment(value) : lasting(value / 1000)) : key.endsWith("_s") ? lasting(value) : key.endsWith("_bytes") ? bytes(value) : String(value);
  if (Array.isArray(value)) return value.length > 6 ? String(value.length) : value.map((x) => (typeof x === "object" ? "…" : x)).join(", ");
  if (typeof value === "object") return Object.entries(value).slice(0, 8).map(([k, v]) => `${named("why", k)} ${typeof v === "object" ? "…" : v}`).join(", ");
  if (key.endsWith("_s") && /^\d+$/.test(value)) return lasting(Number(value));
  return key === "state" ? named("modem.state", value) : key === "why" ? named("why", value) : String(value);
}
