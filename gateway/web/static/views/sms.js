// SMS: how sending goes by each modem, and a test message.
import { get, post, session } from "../lib/api.js";
import { fill, h } from "../lib/dom.js";
import { empty, facts, problem } from "../lib/parts.js";
import { has, t, unit } from "../lib/words.js";

const SHOWN = ["operator", "signal_dbm", "used", "size", "registration"];

export function render(root) {
  const body = h("div", { class: "list" }), said = h("div", { role: "status" });
  const form = h("form", { class: "card form", onsubmit: async (e) => {
    e.preventDefault();
    const f = new FormData(e.target);
    fill(said, h("p", { class: "note" }, t("sms.sending")));
    try { await post("/api/sms/test", { number: f.get("number").replaceAll(" ", ""), text: f.get("text") }, 100000); fill(said, h("p", { class: "note good" }, t("sms.sent"))); } catch (x) { fill(said, problem(x)); }
  } }, h("h3", {}, t("sms.test")),
  h("label", {}, t("sms.number"), h("input", { name: "number", type: "tel", required: true, pattern: "\\+[0-9 ]{6,20}", placeholder: "+996…", autocomplete: "tel" })),
  h("label", {}, t("sms.text"), h("input", { name: "text", required: true, maxlength: 300, value: t("sms.default") })),
  h("button", { class: "main" }, t("sms.send")));
  fill(root, h("h2", {}, t("view.sms")), body, session.signed_in ? form : h("p", { class: "note" }, h("a", { href: "#/sign" }, t("sign.to_act"))), said);
  const named = (name) => (has(`modem.state.${name}`) ? t(`modem.state.${name}`) : String(name).replaceAll("_", " "));
  const modem = (name, m) => h("article", { class: `card wide ${m.state === "ready" || m.state === "unknown" ? "" : "trouble"}`, "data-modem": name },
    h("header", {}, h("h3", {}, t(`path.${name}`)), h("span", { class: "state" }, named(m.state))), m.why ? h("p", { class: "note bad" }, m.why) : null,
    facts(SHOWN.filter((key) => m[key] !== undefined && m[key] !== null && m[key] !== "").map((key) => [t(`modem.${key}`), key === "signal_dbm" ? `${m[key]} ${unit("dBm")}` : m[key]])));
  let gone = false;
  async function draw() {
    try {
      const { sms } = await get("/api/sms");
      if (gone) return;
      if (!sms) { fill(body, empty(t("sms.none"))); form.hidden = true; return; }
      fill(body, h("article", { class: `card wide ${sms.state === "alive" ? "" : "trouble"}` }, h("header", {}, h("h3", {}, t("sms.path")), h("span", { class: "state" }, t(sms.state === "alive" ? "sms.alive" : "sms.dead"))),
        facts([[t("sms.waiting"), sms.waiting], sms.why ? [t("trouble"), sms.why] : null])),
      ["modem", "second"].filter((name) => sms[name]).map((name) => modem(name, sms[name])));
    } catch (e) { if (!body.children.length) fill(body, problem(e)); }
  }
  draw();
  const timer = setInterval(draw, 10000);
  return () => { gone = true; clearInterval(timer); };
}
