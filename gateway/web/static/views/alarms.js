// Alarms: what stands first; acknowledging and shelving for whoever signed in.
import { get, post, session } from "../lib/api.js";
import { fill, h } from "../lib/dom.js";
import { onChange, state, stationNow } from "../lib/live.js";
import { alarmState, empty, problem, quantityName } from "../lib/parts.js";
import { ago, date, moment, number, t, unit } from "../lib/words.js";

const ORDER = ["active_unacknowledged", "active_acknowledged", "recovering", "pending", "returned_unacknowledged", "shelved", "suppressed", "out_of_service", "normal"];
const PRIORITY = ["critical", "high", "low"];

export function render(root) {
  const list = h("div", { class: "list", "aria-live": "off" }), said = h("div", { role: "status" }), past = h("div", {});
  fill(root, h("h2", {}, t("view.alarms")), said, list, h("h3", {}, t("alarms.past")), past);
  const forms = new Map();  // what somebody is writing is not taken away by news
  let shown = "";
  const draw = (force) => {
    if (!state.now) return;
    const alarms = [...state.now.alarms].sort((a, b) => ORDER.indexOf(a.state) - ORDER.indexOf(b.state) || PRIORITY.indexOf(a.priority) - PRIORITY.indexOf(b.priority));
    const key = JSON.stringify(alarms.map((a) => [a.rule, a.state, a.by])) + session.signed_in;
    if (key === shown && !force) return;
    shown = key;
    fill(list, alarms.length ? alarms.map(one) : empty(t("alarms.none")));
  };

  async function act(rule, what, body) {
    fill(said);
    try {
      const { alarm } = await post(`/api/alarms/${encodeURIComponent(rule)}/${what}`, body);
      const at = state.now.alarms.findIndex((a) => a.rule === rule);
      if (at >= 0) state.now.alarms[at] = alarm;
      forms.delete(rule);
      fill(said, h("p", { class: "note good" }, t(what === "in-service" ? "done.unshelve" : `done.${what}`, { rule })));
      draw(true);
      history();
    } catch (e) { fill(said, problem(e)); }
  }

  function one(a) {
    const up = a.state.startsWith("active") || a.state === "recovering";
    const waits = a.state === "active_unacknowledged" || a.state === "returned_unacknowledged";
    const hidden = a.state === "shelved" || a.state === "out_of_service";
    const actions = session.signed_in ? [
      waits ? h("button", { class: "main", onclick: () => act(a.rule, "ack", {}) }, t("ack")) : null,
      hidden ? h("button", { onclick: () => act(a.rule, a.state === "shelved" ? "unshelve" : "in-service", {}) }, t("unshelve")) : shelving(a),
    ] : [waits ? h("a", { class: "button", href: "#/sign" }, t("sign.to_act")) : null];
    const value = a.value === null || a.value === undefined ? "" : `${quantityName(a.quantity)} ${number(a.value, 2)} ${unit(a.unit)}`;
    const limit = a.limit === null || a.limit === undefined ? "" : t("limit.high", { limit: number(a.limit, Number.isInteger(a.limit) ? 0 : 2), unit: unit(a.unit) });
    return h("article", { class: `alarm ${a.priority} ${up ? "up" : ""} ${a.state}`, "data-rule": a.rule },
      h("header", {}, h("h3", {}, a.rule), h("span", { class: "badge" }, t(`priority.${a.priority}`)), h("strong", { class: "state" }, alarmState(a.state))),
      h("p", {}, [a.sensor, value, limit].filter(Boolean).join(" · ")),
      a.since_ms && a.state !== "normal" ? h("p", { class: "age" }, t("since", { at: date(a.since_ms), ago: ago(stationNow() - a.since_ms) })) : null,
      a.by ? h("p", {}, t("by", { by: a.by }), a.why ? ` — ${a.why}` : "", a.until_ms ? ` · ${t("until", { at: date(a.until_ms) })}` : "") : null,
      actions.some(Boolean) ? h("div", { class: "actions" }, actions) : null);
  }

  function shelving(a) {
    if (forms.has(a.rule)) return forms.get(a.rule);
    const form = h("details", { class: "shelve" }, h("summary", {}, t("shelve")),
      h("form", { onsubmit: (e) => { e.preventDefault(); const f = new FormData(e.target); act(a.rule, "shelve", { minutes: Number(f.get("minutes")), why: f.get("why") }); } },
        h("label", {}, t("shelve.for"), h("select", { name: "minutes" }, [30, 60, 240, 480, 1440].map((m) => h("option", { value: m }, m < 60 ? t("for.min", { n: m }) : t("for.h", { n: m / 60 }))))),
        h("label", {}, t("shelve.why"), h("input", { name: "why", required: true, minlength: 3, maxlength: 200, autocomplete: "off" })),
        h("button", { class: "main" }, t("shelve.do"))));
    forms.set(a.rule, form);
    return form;
  }

  async function history() {
    try {
      const { events } = await get("/api/marks", { what: "alarm", limit: 40 });
      fill(past, events.length ? h("ul", { class: "log" }, events.map((e) => h("li", {}, h("time", {}, moment(e.at_ms)), h("span", {}, h("b", {}, e.detail.rule), ` ${alarmState(e.detail.from)} → ${alarmState(e.detail.to)}`,
        e.detail.value === null || e.detail.value === undefined ? "" : ` · ${number(e.detail.value, 2)} ${unit(e.detail.unit)}`)))) : empty(t("alarms.quiet")));
    } catch (e) { fill(past, problem(e)); }
  }
  draw(true);
  history();
  return onChange((kind) => { if (kind === "alarm" || kind === "now" || kind === "status") draw(false); if (kind === "alarm") history(); });
}
