// Maintenance with an end, and the records of past visits.
import { get, post, session } from "../lib/api.js";
import { fill, h } from "../lib/dom.js";
import { onChange } from "../lib/live.js";
import { empty, facts, problem } from "../lib/parts.js";
import { date, lasting, moment, t } from "../lib/words.js";

export function render(root) {
  const said = h("div", { role: "status" }), standing = h("div", { class: "list" }), past = h("div", { class: "list" });
  const which = h("select", { name: "sensor" }, h("option", { value: "" }, t("visit.station")));
  const form = h("form", { class: "card form", onsubmit: (e) => { e.preventDefault(); const f = new FormData(e.target); set(f.get("sensor"), Number(f.get("minutes")), f.get("why")); } },
    h("h3", {}, t("visit.begin")), h("label", {}, t("visit.what"), which),
    h("label", {}, t("visit.minutes"), h("input", { name: "minutes", type: "number", min: 1, max: 1440, value: 60, required: true })),
    h("label", {}, t("visit.why"), h("input", { name: "why", maxlength: 300, autocomplete: "off" })),
    h("p", { class: "age" }, t("visit.as", { by: session.name || "–" })), h("button", { class: "main" }, t("visit.begin.do")));
  fill(root, h("h2", {}, t("view.visits")), h("p", {}, t("visit.means")), said, standing,
    session.signed_in ? form : h("p", { class: "note" }, h("a", { href: "#/sign" }, t("sign.to_act"))), h("h3", {}, t("visit.past")), past);
  let gone = false, pending = 0;
  async function set(sensor, minutes, why) {
    try { await post("/api/verbs/maintenance", { body: { sensor, minutes, why } }); fill(said, h("p", { class: "note good" }, t(minutes ? "visit.begun" : "visit.ended"))); } catch (e) { fill(said, problem(e)); }
    draw();
  }
  async function draw() {
    try {
      const [visit, { events }] = await Promise.all([get("/api/visit"), get("/api/events", { what: "visit", limit: 30 })]);
      if (gone) return;
      if (which.children.length === 1) which.append(...visit.sensors.map((s) => h("option", { value: s.id }, s.id)));
      fill(standing, visit.maintenance.map((w) => h("article", { class: "card wide", "data-work": w.sensor || "*" }, h("header", {}, h("h3", {}, w.sensor || t("visit.station")), h("span", { class: "state" }, t("until", { at: date(w.until_ms) }))),
        facts([[t("cal.by"), w.by], w.why ? [t("visit.why"), w.why] : null]),
        session.signed_in ? h("div", { class: "actions" }, h("button", { onclick: () => set(w.sensor, 0, "") }, t("visit.end"))) : null)));
      fill(past, events.length ? events.map((e) => record(e.detail)) : empty(t("visit.none")));
    } catch (e) { if (!gone) fill(past, problem(e)); }
  }
  function record(v) {
    return h("article", { class: "card wide visit" }, h("header", {}, h("h4", {}, date(v.from_ms)), h("span", { class: "state" }, lasting((v.to_ms - v.from_ms) / 1000))),
      facts([[t("cal.by"), [v.by].flat().join(", ") || "–"], [t("visit.what"), [v.sensors].flat().map((s) => (s === "*" ? t("visit.station") : s)).join(", ")], [t("visit.why"), [v.why].flat().join(", ") || "–"]]),
      h("details", {}, h("summary", {}, t("visit.events", { n: (v.events || []).length + (v.more || 0) })),
        h("ul", { class: "log" }, (v.events || []).map((e) => h("li", {}, h("time", {}, moment(e.at_ms)), h("span", {}, `${t(`event.${e.what}`)} ${e.sensor || ""}`))))));
  }
  draw();
  const off = onChange((kind, e) => { if (kind === "event" && e && ["maintenance", "visit"].includes(e.what)) { clearTimeout(pending); pending = setTimeout(draw, 800); } });
  return () => { gone = true; off(); clearTimeout(pending); };
}
