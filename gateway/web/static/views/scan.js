// The scan: which ports, a bar with the time left, what is found as it is found, what is wrong in words, and at the
// end a station.toml to take along. The station scans, not the page: who looks away finds it again.
import { get, post, session } from "../lib/api.js";
import { fill, h, say } from "../lib/dom.js";
import { empty, problem } from "../lib/parts.js";
import { date, lasting, language, number, t } from "../lib/words.js";

export function render(root) {
  const said = h("div", { role: "status" }), bar = h("div", { class: "settle" }), found = h("div", { class: "list" }), draft = h("div", {});
  const form = h("form", { class: "card form", onsubmit: begin });
  fill(root, h("h2", {}, t("view.scan")), h("p", {}, t("scan.means")), said, bar, found, draft, form);
  let gone = false, source = null, last = null;

  async function begin(e) {
    e.preventDefault();
    const f = new FormData(form), other = (f.get("other") || "").trim();
    const ports = [...f.getAll("port"), ...(other ? [other] : [])];
    if (!ports.length) { fill(said, h("p", { class: "note" }, t("scan.none_chosen"))); return; }
    try { await post("/api/scan", { ports, quick: f.get("quick") === "on" }); fill(said); fill(draft); watch(); } catch (x) { fill(said, problem(x)); }
  }

  function choices(ports) {
    const one = (p) => h("label", { class: "inline choice" }, h("input", { type: "checkbox", class: "tick", name: "port", value: p.port, checked: !p.bus }),
      h("span", {}, p.port, p.bus ? h("span", { class: "age" }, ` · ${t("scan.own", { sensors: p.sensors.join(", ") })}`) : null));
    fill(form, h("fieldset", {}, h("legend", {}, t("scan.ports")), ports.map(one),
      h("label", {}, t("scan.other"), h("input", { name: "other", maxlength: 200, pattern: "/dev/.+", placeholder: "/dev/ttyUSB1", autocomplete: "off" }))),
    h("label", { class: "inline choice" }, h("input", { type: "checkbox", class: "tick", name: "quick" }), h("span", {}, t("scan.quick"))),
    session.signed_in ? h("button", { class: "main" }, t("scan.go")) : h("p", { class: "note" }, h("a", { href: "#/sign" }, t("sign.to_act"))));
  }

  async function open() {
    try {
      const all = await get("/api/scan", { language });
      if (gone) return;
      choices(all.ports);
      if (all.under_way) watch(); else show(all);
    } catch (e) { if (!gone) fill(said, problem(e)); }
  }

  // EventSource comes back by itself when the phone was out of reach; at the end it is let go.
  function watch() {
    if (source) source.close();
    source = new EventSource(`/api/scan/stream?language=${language}`);
    source.addEventListener("scan", (message) => show(JSON.parse(message.data)));
    source.addEventListener("end", () => { source.close(); source = null; });
  }

  function show(now) {
    if (gone) return;
    const ended = last && last.under_way && !now.under_way;
    last = now;
    form.hidden = now.under_way;
    progress(now);
    fill(found, now.report.map((p) => port(p, now.under_way)));
    if (now.error) fill(said, h("p", { class: "note bad", role: "alert" }, now.error));
    else if (now.complete !== null) fill(said, h("p", { class: now.instruments ? "note good" : "note" }, t(now.complete ? "scan.over" : "scan.broken", { n: now.instruments, for: lasting(now.seconds), at: date(now.began_ms) })));
    else if (!now.under_way) fill(said, empty(t("scan.never")));
    if (!now.under_way && now.instruments) write(ended);
  }

  function progress(now) {
    if (!now.under_way) { fill(bar); return; }
    const left = now.left_s, text = left === null || left === undefined ? t("scan.begins") : t("scan.left", { for: lasting(left) });
    const part = left === null || left === undefined ? null : now.done_s / Math.max(now.done_s + left, 1);
    if (!bar.children.length) {
      fill(bar, h("p", { class: "step" }), h("progress", { max: 1, "aria-label": t("scan.progress") }), h("p", { class: "age" }),
        session.signed_in ? h("div", { class: "actions" }, h("button", { onclick: stop }, t("scan.stop"))) : null);
    }
    say(bar.querySelector(".step"), text);
    say(bar.querySelector(".age"), t("scan.by", { by: now.by, n: now.instruments }));
    const meter = bar.querySelector("progress");
    if (part !== null) meter.value = part;
  }

  async function stop(e) {
    e.target.disabled = true;
    try { await post("/api/scan/stop"); } catch (x) { fill(said, problem(x)); e.target.disabled = false; }
  }

  function port(p, under_way) {
    const state = under_way ? p.doing : t(`scan.state.${p.state.replace(" ", "_")}`);
    return h("article", { class: `card wide finding ${p.problems.length ? "trouble" : ""}`, "data-level": p.problems.length ? "warning" : "ok", "data-port": p.port },
      h("header", {}, h("h3", {}, p.port), h("span", { class: "state" }, state)),
      under_way ? null : h("p", { class: "age" }, t("scan.asked", { n: number(p.asked, 0), for: lasting(p.seconds) })),
      p.instruments.map((one) => h("p", { class: "found", "data-model": one.model }, h("strong", {}, one.title || one.model || t("scan.unknown")), h("br", {}), one.text)),
      p.problems.map((one) => h("div", { "data-problem": one.code }, h("p", {}, one.what), h("p", { class: "note" }, "→ ", one.helps))));
  }

  // The draft is asked for only where somebody signed in or sits here sees it: it takes the station a second.
  async function write(ended) {
    if (draft.children.length && !ended) return;
    fill(draft, h("p", { class: "note" }, t("scan.writing")));
    let text = "";
    try {
      const answer = await fetch("/api/scan/station.toml", { credentials: "same-origin", signal: AbortSignal.timeout(70000) });
      if (!answer.ok) throw new Error();
      text = await answer.text();
    } catch { if (!gone) fill(draft, h("p", { class: "note bad" }, t("scan.not_written"))); return; }
    if (gone) return;
    const copied = h("span", { role: "status" });
    fill(draft, h("h3", {}, t("scan.draft")), h("p", {}, t("scan.draft.means")),
      h("div", { class: "actions" }, h("a", { class: "button", href: "/api/scan/station.toml", download: "station.toml" }, t("scan.download")),
        h("button", { onclick: () => copy(text, copied) }, t("scan.copy")), copied),
      h("details", {}, h("summary", {}, t("scan.look")), h("pre", { class: "hex draft", tabindex: "0", "aria-label": t("scan.draft") }, text)));
  }

  // Without HTTPS a browser has no clipboard for scripts: then the text is marked, to be copied by hand.
  async function copy(text, copied) {
    try { await navigator.clipboard.writeText(text); say(copied, t("scan.copied")); } catch {
      const shown = draft.querySelector("pre");
      draft.querySelector("details").open = true;
      getSelection().selectAllChildren(shown);
      shown.focus();
      say(copied, t("scan.marked"));
    }
  }

  open();
  return () => { gone = true; if (source) source.close(); };
}
