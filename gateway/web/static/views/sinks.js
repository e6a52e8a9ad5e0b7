// Where the readings go, how many still have to, and how much room there is.
import { get } from "../lib/api.js";
import { fill, h } from "../lib/dom.js";
import { empty, facts, problem } from "../lib/parts.js";
import { bytes, count, date, t } from "../lib/words.js";

export function render(root) {
  const body = h("div", {});
  fill(root, h("h2", {}, t("view.sinks")), body);
  let gone = false;
  async function draw() {
    try {
      const { sinks, journal, disk } = await get("/api/sinks");
      if (gone) return;
      const names = Object.entries(sinks);
      fill(body, h("div", { class: "list" }, names.length ? names.map(([name, s]) => h("article", { class: `card wide ${s.down_since_ms ? "trouble" : ""}` },
        h("header", {}, h("h3", {}, name), h("span", { class: "state" }, t(s.down_since_ms ? "sink.down" : "sink.up"))),
        facts([[t("sink.url"), s.url], [t("sink.backlog"), count(s.backlog)], [t("sink.delivered"), count(s.delivered)],
          s.refused ? [t("sink.refused"), count(s.refused)] : null, s.history ? [t("sink.history"), count(s.history)] : null,
          s.sends ? [t("sink.sends"), t(`sends.${s.sends}`)] : null, s.left_bytes ? [t("sink.left"), bytes(s.left_bytes)] : null,
          s.down_since_ms ? [t("sink.since"), date(s.down_since_ms)] : null, s.error ? [t("sink.error"), s.error] : null]))) : empty(t("sink.none")),
      h("article", { class: `card wide ${journal.trouble ? "trouble" : ""}` }, h("header", {}, h("h3", {}, t("journal"))),
        facts([[t("journal.seq"), count(journal.seq)], [t("disk.free"), `${bytes(disk.free_bytes)} / ${bytes(disk.all_bytes)}`], journal.trouble ? [t("trouble"), journal.trouble] : null]))));
    } catch (e) { if (!body.children.length) fill(body, problem(e)); }
  }
  draw();
  const timer = setInterval(draw, 5000);
  return () => { gone = true; clearInterval(timer); };
}
