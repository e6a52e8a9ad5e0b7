// SMS: how sending goes, and a test message.
import { get, post, session } from "../lib/api.js";
import { fill, h } from "../lib/dom.js";
import { empty, facts, problem } from "../lib/parts.js";
import { t } from "../lib/words.js";

export function render(root) {
  const body = h("div", {}), said = h("div", { role: "status" });
  const form = h("form", { class: "card form", onsubmit: async (e) => {
    e.preventDefault();
    const f = new FormData(e.target);
    fill(said, h("p", { class: "note" }, t("sms.sending")));
    try { await post("/api/sms/test", { number: f.get("number").replaceAll(" ", ""), text: f.get("text") }); fill(said, h("p", { class: "note good" }, t("sms.sent"))); } catch (x) { fill(said, problem(x)); }
  } }, h("h3", {}, t("sms.test")),
  h("label", {}, t("sms.number"), h("input", { name: "number", type: "tel", required: true, pattern: "\\+[0-9 ]{6,20}", placeholder: "+996…", autocomplete: "tel" })),
  h("label", {}, t("sms.text"), h("input", { name: "text", required: true, maxlength: 300, value: t("sms.default") })),
  h("button", { class: "main" }, t("sms.send")));
  fill(root, h("h2", {}, t("view.sms")), body, session.signed_in ? form : h("p", { class: "note" }, h("a", { href: "#/sign" }, t("sign.to_act"))), said);
  let gone = false;
  async function draw() {
    try {
      const { sms } = await get("/api/sms");
      if (gone) return;
      if (!sms) { fill(body, empty(t("sms.none"))); form.hidden = true; return; }
      const modem = sms.modem || {};
      fill(body, h("article", { class: `card wide ${sms.state === "alive" ? "" : "trouble"}` }, h("header", {}, h("h3", {}, t("sms.path")), h("span", { class: "state" }, t(sms.state === "alive" ? "sms.alive" : "sms.dead"))),
        facts([[t("sms.waiting"), sms.waiting], sms.why ? [t("trouble"), sms.why] : null, ...Object.entries(modem).filter(([, v]) => typeof v !== "object").map(([k, v]) => [t(`modem.${k}`), k === "signal_dbm" ? `${v} dBm` : v])])));
    } catch (e) { if (!body.children.length) fill(body, problem(e)); }
  }
  draw();
  const timer = setInterval(draw, 10000);
  return () => { gone = true; clearInterval(timer); };
}
