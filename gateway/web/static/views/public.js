// For everybody: a light in words, the values, the last week, and what is being done.
import { get } from "../lib/api.js";
import { fill, h, say } from "../lib/dom.js";
import { isOld, isSilent, onChange, state, stationNow } from "../lib/live.js";
import { ageText, isDetail, isOver, limitText, limitsOf, ordered, quality, quantityName, spark } from "../lib/parts.js";
import { ago, date, number, t, unit } from "../lib/words.js";

const UP = ["active_unacknowledged", "active_acknowledged", "recovering"];

// Nobody hears the station: then nobody knows, whatever the last light was.
function colour() {
  if (isSilent() || state.now.sensors.every(isOld)) return "grey";
  const light = state.now.light.colour;
  return light === "green" && state.now.sensors.some(isOld) ? "yellow" : light;
}

export function render(root) {
  if (!state.now) { fill(root, h("p", { class: "note" }, t("waiting"))); return undefined; }
  const word = h("h2", {}), text = h("p", {}), doing = h("div", {}), lamp = h("div", { class: "lamp", "aria-hidden": "true" });
  const light = h("section", { class: "light", "aria-live": "polite" }, lamp, h("div", {}, word, text));
  const values = h("div", { class: "cards" }), week = h("div", { class: "cards" });
  fill(root, light, doing, h("h3", {}, t("public.values")), values, h("h3", {}, t("public.week")), week, h("p", { class: "note" }, t("public.note")));
  const rows = new Map();
  for (const row of state.now.sensors) {
    for (const v of ordered(row.values).filter((x) => !isDetail(x.quantity)).slice(0, 2)) {
      const part = { id: row.id, quantity: v.quantity, number: h("span", { class: "number" }), quality: h("span", { class: "quality" }), limit: h("span", { class: "limit" }), age: h("p", { class: "age" }) };
      part.root = h("article", { class: "card" }, h("h4", {}, quantityName(v.quantity)), h("span", { class: "model" }, t(`medium.${row.medium}`), " · ", row.id),
        h("div", { class: "value big" }, h("div", { class: "reading" }, part.number, h("span", { class: "unit" }, unit(v.unit))), part.quality, part.limit), part.age);
      rows.set(`${row.id} ${v.quantity}`, part);
      values.append(part.root);
    }
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
  (async () => {
    for (const part of rows.values()) {
      const row = state.now.sensors.find((r) => r.id === part.id);
      if (part.quantity !== ordered(row.values)[0].quantity) continue;
      try {
        const data = await get("/api/history", { sensor: part.id, quantity: part.quantity, from: Math.round(stationNow()) - 7 * 86400000, points: 170 });
        const seen = data.mean.filter((v) => v !== null), digits = row.values.find((x) => x.quantity === part.quantity).digits;
        const range = seen.length ? t("public.range", { low: number(Math.min(...data.min.filter((v) => v !== null)), digits), high: number(Math.max(...data.max.filter((v) => v !== null)), digits), unit: unit(data.unit) }) : t("never");
        week.append(h("article", { class: "card" }, h("h4", {}, quantityName(part.quantity)), h("span", { class: "model" }, part.id), spark(data, `${quantityName(part.quantity)}: ${range}`, { width: 320, height: 72 }), h("p", { class: "age" }, range)));
      } catch { /* the values above are what matters */ }
    }
  })();
  return onChange(draw);
}
