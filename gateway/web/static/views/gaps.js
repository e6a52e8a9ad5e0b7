// The gap ledger: every reading that should have been, and why it is not there.
import { get } from "../lib/api.js";
import { fill, h } from "../lib/dom.js";
import { empty, facts, problem } from "../lib/parts.js";
import { count, date, lasting, number, t } from "../lib/words.js";

export function render(root) {
  const body = h("div", {}), days = h("select", { onchange: () => draw() }, [1, 7, 30].map((n) => h("option", { value: n, selected: n === 7 }, t("for.d", { n }))));
  fill(root, h("h2", {}, t("view.gaps")), h("label", { class: "inline" }, t("gaps.over"), days), body);
  const why = (reasons, name) => Object.entries(reasons).map(([key, n]) => `${name(key)}: ${count(n)}`).join(", ") || "–";
  function sum([id, s]) {
    const share = s.expected ? (100 * s.taken) / s.expected : 0, bar = h("span", {});
    bar.style.width = `${share.toFixed(1)}%`;
    return h("article", { class: "card", "data-sensor": id },
      h("header", {}, h("h4", {}, id), h("strong", { class: "state" }, s.expected ? `${number(share, 1)} %` : "–")),
      h("div", { class: "meter", role: "meter", "aria-label": t("taken"), "aria-valuemin": 0, "aria-valuemax": 100, "aria-valuenow": Math.round(share) }, bar),
      facts([[t("taken"), t("gaps.of", { n: count(s.taken), all: count(s.expected) })], [t("flagged"), count(s.flagged)], [t("missed"), why(s.missed, (key) => t(`why.${key}`))],
        Object.keys(s.withheld).length ? [t("withheld"), why(s.withheld, (key) => key)] : null]));
  }
  async function draw() {
    try {
      const found = await get("/api/gaps", { days: days.value });
      const sums = Object.entries(found.sums).sort(([a], [b]) => (a < b ? -1 : 1));
      fill(body, h("h3", {}, t("gaps.sums")), sums.length ? h("div", { class: "cards" }, sums.map(sum)) : empty(t("gaps.early")),
        h("h3", {}, t("gaps.each")), found.gaps.length ? h("ul", { class: "log" }, found.gaps.map((g) => h("li", {}, h("time", {}, date(g.from_ms || g.at_ms)),
          h("span", {}, h("b", {}, g.sensor), ` ${g.to_ms && g.from_ms ? lasting((g.to_ms - g.from_ms) / 1000) : "?"} · ${t(`why.${g.why}`)}${g.slots ? ` · ${t("gaps.slots", { n: count(g.slots) })}` : ""}`)))) : empty(t("gaps.none")));
    } catch (e) { fill(body, problem(e)); }
  }
  draw();
}
