// Instruments: how each is doing, the last bytes it sent and what they mean, and who it says it is.
import { get } from "../lib/api.js";
import { fill, h } from "../lib/dom.js";
import { ageText, facts, flagName, problem, quantityName, stateName, table } from "../lib/parts.js";
import { count, date, lasting, number, t, unit } from "../lib/words.js";

export function render(root) {
  const list = h("div", { class: "list" });
  fill(root, h("h2", {}, t("view.instruments")), list);
  const open = new Set();
  let gone = false;
  async function draw() {
    try {
      const { instruments } = await get("/api/instruments");
      if (!gone && !list.contains(document.activeElement?.closest?.("details[data-frame]"))) fill(list, instruments.map(one));
    } catch (e) { if (!list.children.length) fill(list, problem(e)); }
  }
  function one(row) {
    const c = row.counters, share = c.expected ? (100 * c.taken) / c.expected : null;
    const frame = h("details", { "data-frame": true, ontoggle: (e) => { e.target.open ? open.add(row.id) : open.delete(row.id); } },
      h("summary", {}, t("frame.show")),
      row.frame ? h("pre", { class: "hex", tabindex: "0", "aria-label": t("frame", { n: row.frame_bytes }) }, row.frame.replace(/((?:[0-9a-f]{2} ?){16})/g, "$1\n")) : h("p", {}, t("frame.none")),
      row.values.length ? table(t("frame.means"), [t("quantity"), t("raw"), t("value"), t("quality")],
        row.values.map((v) => [quantityName(v.quantity), `${number(v.raw, v.digits)} ${unit(v.unit)}`, `${number(v.value, v.digits)} ${unit(v.unit)}`, t(`quality.${flagName(v.flag)}`) + (v.why ? ` (${v.why})` : "")])) : null);
    frame.open = open.has(row.id);
    return h("article", { class: `card wide ${row.state === "alive" ? "" : "trouble"}`, "data-sensor": row.id },
      h("header", {}, h("h3", {}, row.id), h("span", { class: "model" }, row.model), h("span", { class: "state" }, stateName(row.state))),
      row.why ? h("p", { class: "note bad" }, row.why) : null,
      facts([
        [t("last"), ageText(row)], [t("every"), t("for.s", { n: number(row.every_s, row.every_s < 1 ? 1 : 0) })],
        [t("port"), `${row.bus} · ${row.port}${row.line ? ` · ${row.line}` : ""}`],
        row.address !== null && [t("address"), row.address],
        [t("wire"), `${number(row.wire_s * 1000, 0)} ${unit("ms")}`],
        [t("taken"), `${count(c.taken)} / ${count(c.expected)}${share === null ? "" : ` (${number(share, 1)} %)`}`],
        [t("failed"), count(c.failed)], [t("skipped"), count(c.skipped)],
        ...Object.entries(row.identity).map(([k, v]) => [t(`identity.${k}`), k === "at_ms" ? date(v) : k.endsWith("_s") ? lasting(Number(v)) : v]),
      ]), frame);
  }
  draw();
  const timer = setInterval(draw, 5000);
  return () => { gone = true; clearInterval(timer); };
}
