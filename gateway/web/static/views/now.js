// Now: one card per instrument. Built once, then only what changed is touched.
import { get } from "../lib/api.js";
import { fill, h, say } from "../lib/dom.js";
import { isOld, isSilent, onChange, sensor, state } from "../lib/live.js";
import { ageText, extent, isDetail, isOver, limitBar, limitText, limitsOf, ordered, quality, quantityName, shownUnit, spark, stateName, alarmState } from "../lib/parts.js";
import { number, t } from "../lib/words.js";

const MEDIA = ["water", "air", "soil", "power", "station"];
const UP = ["active_unacknowledged", "active_acknowledged"];

export function render(root) {
  if (!state.now) { fill(root, h("p", { class: "note" }, t("waiting"))); return onChange((kind) => { if (kind === "now") location.reload(); }); }
  const cards = new Map();
  const banner = h("div", {});
  const groups = MEDIA.map((medium) => [medium, state.now.sensors.filter((row) => row.medium === medium)]).filter(([, rows]) => rows.length);
  fill(root, h("h2", { class: "quiet" }, t("view.now")), banner, groups.map(([medium, rows]) => h("section", {},
    h("h3", { class: "medium" }, t(`medium.${medium}`)),
    h("div", { class: "cards" }, rows.map((row) => { const c = card(row); cards.set(row.id, c); return c.root; })))));
  const alarms = () => {
    const up = state.now.alarms.filter((a) => UP.includes(a.state));
    fill(banner, up.map((a) => h("a", { class: `banner ${a.priority}`, href: "#/alarms" }, h("strong", {}, alarmState(a.state)), ` ${a.rule}`)));
  };
  alarms();
  trends(cards);
  const timer = setInterval(() => trends(cards), 60000);
  const off = onChange((kind, what) => {
    if (kind === "reading") { const c = cards.get(what.id); if (c) c.update(state.now.sensors.find((r) => r.id === what.id)); }
    if (kind === "now") for (const row of state.now.sensors) cards.get(row.id)?.update(row);
    if (kind === "tick" || kind === "link" || kind === "status") for (const row of state.now.sensors) cards.get(row.id)?.age(row);
    if (kind === "alarm" || kind === "now") alarms();
  });
  return () => { off(); clearInterval(timer); };
}

function card(first) {
  const status = h("span", { class: "state" }), when = h("p", { class: "age" }), why = h("p", { class: "note bad", hidden: true });
  const body = h("div", { class: "values" }), trend = h("div", { class: "trend" });
  const root = h("article", { class: "card", "aria-label": first.id, "data-sensor": first.id },
    h("header", {}, h("h4", {}, first.id), h("span", { class: "model" }, first.model), status), when, why, body, trend);
  let shape = "", parts = [], open = false;

  function build(row) {
    const values = ordered(row.values), plain = values.filter((v) => !isDetail(v.quantity)), rest = values.filter((v) => isDetail(v.quantity));
    parts = [];
    const one = (v, big) => {
      const part = { quantity: v.quantity, number: h("span", { class: "number" }), quality: h("span", { class: "quality" }), limit: h("div", { class: "limit" }) };
      part.root = h("div", { class: big ? "value big" : "value" },
        h("div", { class: "what" }, quantityName(v.quantity)),
        h("div", { class: "reading" }, part.number, h("span", { class: "unit" }, shownUnit(v))), part.quality, part.limit);
      parts.push(part);
      return part.root;
    };
    const inside = h("div", { class: "small" });
    const more = () => { if (open && !inside.children.length) { for (const v of rest) inside.append(one(v, false)); update(sensor(first.id) || first); } };
    const details = rest.length ? h("details", { ontoggle: (e) => { open = e.target.open; more(); } }, h("summary", {}, t("more", { n: rest.length })), inside) : null;
    if (details) details.open = open;
    fill(body, plain.slice(0, 1).map((v) => one(v, true)), h("div", { class: "small" }, plain.slice(1).map((v) => one(v, false))), details);
    if (!values.length) fill(body, h("p", { class: "nothing" }, t("never")));
  }

  function update(row) {
    const now = row.values.map((v) => v.quantity).join();
    if (now !== shape || !shape) { shape = now; build(row); }
    for (const part of parts) {
      const v = row.values.find((x) => x.quantity === part.quantity);
      say(part.number, number(v.value, v.digits));
      const limits = limitsOf(row.id, v.quantity).filter((l) => l.high !== null || l.low !== null);
      part.root.classList.toggle("over", limits.some((l) => isOver(l, v.value)));
      fill(part.limit, limits.map((l) => { const text = limitText(l, v.value, v.digits); return [limitBar(l, v.value, text), h("span", {}, text)]; }));
    }
    age(row);
  }

  function age(row) {
    const old = isOld(row) || isSilent();
    root.classList.toggle("old", old);
    const bad = row.state !== "alive" && row.state !== "slow" && row.state !== "new";
    root.classList.toggle("trouble", bad);
    say(status, row.state === "alive" ? "" : stateName(row.state));
    say(when, row.at_ms === null ? "" : `${old ? `${t("quality.old")} · ` : ""}${ageText(row)}`);
    say(why, bad && row.why ? row.why : "");
    why.hidden = !why.textContent;
    for (const part of parts) {
      const v = row.values.find((x) => x.quantity === part.quantity);
      if (!v) continue;
      const is = quality(row, v);
      part.root.dataset.quality = is;
      say(part.quality, t(`quality.${is}`) + (v.why && (is === "suspect" || is === "fail") ? ` (${v.why})` : ""));
    }
  }

  update(first);
  return { root, update, age, trend, first };
}

async function trends(cards) {
  for (const [id, c] of cards) {
    const row = state.now.sensors.find((r) => r.id === id);
    const main = row && ordered(row.values)[0];
    if (!main || !c.root.isConnected) continue;
    try {
      const to = state.now.now_ms;
      const data = await get("/api/history", { sensor: id, quantity: main.quantity, from: to - 3600000, points: 90 });
      fill(c.trend, h("a", { href: `#/charts?sensor=${encodeURIComponent(id)}&quantity=${encodeURIComponent(main.quantity)}` },
        spark(data, t("trend.hour", { quantity: quantityName(main.quantity) })), h("span", {}, `${t("trend")}: ${extent(data, main)}`)));
    } catch { /* the line is a help, no more; the next minute tries again */ }
  }
}
