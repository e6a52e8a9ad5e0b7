// Signing in; at the first start, setting the password with the code that the station printed.
import { post, session, whoLooks } from "../lib/api.js";
import { fill, h } from "../lib/dom.js";
import { problem } from "../lib/parts.js";
import { keep, t } from "../lib/words.js";

export function render(root, context) {
  const said = h("div", {}), first = session.needs_setup;
  let name = "";
  try { name = localStorage.getItem("name") || ""; } catch { /* private window */ }
  const form = h("form", { class: "card form", onsubmit: async (e) => {
    e.preventDefault();
    const f = new FormData(e.target), button = form.querySelector("button");
    button.disabled = true;
    fill(said);
    try {
      keep("name", f.get("name"));
      const body = { password: f.get("password"), name: f.get("name") || "page" };
      if (first) body.code = f.get("code");
      await post(first ? "/api/setup" : "/api/login", body);
      await whoLooks();
      location.hash = "#/now";
      await context.again();
    } catch (x) { fill(said, problem(x)); button.disabled = false; }
  } },
  h("h2", {}, t(first ? "sign.first" : "sign.in")),
  first ? h("p", {}, t("sign.first.how")) : null,
  first ? h("label", {}, t("sign.code"), h("input", { name: "code", required: true, autocomplete: "one-time-code", autocapitalize: "characters" })) : null,
  h("label", {}, t("sign.name"), h("input", { name: "name", required: true, maxlength: 40, autocomplete: "username", value: name })),
  h("label", {}, t("sign.password"), h("input", { name: "password", type: "password", required: true, minlength: first ? 10 : 1, maxlength: 200, autocomplete: first ? "new-password" : "current-password" })),
  h("button", { class: "main" }, t(first ? "sign.set" : "sign.in")), said);
  fill(root, form);
  form.querySelector("input").focus();
}
