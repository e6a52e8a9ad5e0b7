// The doctor: everything the station stands on is looked at, and what is not well comes with what would help.
import { post, session } from "../lib/api.js";
import { fill, h } from "../lib/dom.js";
import { problem } from "../lib/parts.js";
import { has, language, t } from "../lib/words.js";

const WITHIN_MS = 90000;
const RANK = { failure: 0, warning: 1, ok: 2 };

export function render(root) {
  const found = h("div", { class: "list" }), said = h("div", { role: "status" });
  const go = h("button", { class: "main", onclick: examine }, t("doctor.go"));
  fill(root, h("h2", {}, t("view.doctor")), h("p", {}, t("doctor.means")),
    session.signed_in ? go : h("p", { class: "note" }, h("a", { href: "#/sign" }, t("sign.to_act"))), said, found);
  let gone = false;
  async function examine() {
    go.disabled = true;
    fill(said, h("p", { class: "note" }, t("doctor.busy")));
    try {
      const { findings } = (await post("/api/verbs/doctor", { body: { language } }, WITHIN_MS)).report;
      if (gone) return;
      const count = (level) => findings.filter((f) => f.level === level).length;
      fill(said, h("p", { class: `note ${count("failure") ? "bad" : count("warning") ? "" : "good"}` }, t("doctor.sum", { failure: count("failure"), warning: count("warning"), ok: count("ok") })));
      fill(found, [...findings].sort((a, b) => (RANK[a.level] ?? 0) - (RANK[b.level] ?? 0)).map((f) => h("article", { class: "card wide finding", "data-level": f.level },
        h("header", {}, h("h3", {}, f.title[0].toUpperCase() + f.title.slice(1)), h("span", { class: "state" }, has(`doctor.${f.level}`) ? t(`doctor.${f.level}`) : f.level)),
        h("p", {}, f.what), f.remedy ? h("p", { class: "note" }, "→ ", f.remedy) : null)));
    } catch (e) { if (!gone) fill(said, problem(e)); } finally { go.disabled = false; }
  }
  return () => { gone = true; };
}
