// The gap ledger: every reading that should have been, and why it is not there.
import { get } from "../lib/api.js";
import { fill, h } from "../lib/dom.js";
import { empty, problem, table } from "../lib/parts.js";
import { count, date, lasting, number, t } from "../lib/words.js";

export function render(root) {
  const body = h("div", {}), days = h("select", { onchange: () => draw() }, [1, 7, 30].map((n) => h("option", { value: n, selected: n === 7 }, t("for.d", { n }))));
  fill(root, h("h2", {}, t("view.gaps")), h("label", { class: "inline" }, t("gaps.over"), days), body);
  async function draw() {
    try {
      const found = await get("/api/gaps", { days: days.value });
      const sums = Object.entries(found.sums);
      fill(body, sums.length ? table(t("gaps.sums"), [t("sensor"), t("expected"), t("taken"), "%", t("flagged"), t("missed")], sums.map(([id, s]) => [id, count(s.expected), count(s.taken),
        s.expected ? number((100 * s.taken) / s.expected, 1) : "–", count(s.flagged), Object.entries(s.missed).map(([why, n]) => `${t(`why.${why}`)}: ${count(n)}`).join(", ") || "–"])) : empty(t("gaps.early")),
      h("h3", {}, t("gaps.each")), found.gaps.length ? h("ul", { class: "log" }, found.gaps.map((g) => h("li", {}, h("time", {}, date(g.from_ms || g.at_ms)),
        h("span", {}, h("b", {}, g.sensor), ` ${g.to_ms && g.from_ms ? lasting((g.to_ms - g.from_ms) / 1000) : "?"} · ${t(`why.${g.why}`)}${g.slots ? ` · ${t("gaps.slots", { n: count(g.slots) })}` : ""}`)))) : empty(t("gaps.none")));
    } catch (e) { fill(body, problem(e)); }
  }
  draw();
}
