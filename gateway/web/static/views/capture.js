// Raw frames of a bus for some minutes: begun here, taken along as a text file while it runs and afterwards.
import { get, post, session } from "../lib/api.js";
import { fill, h, say } from "../lib/dom.js";
import { stationNow } from "../lib/live.js";
import { empty, facts, problem } from "../lib/parts.js";
import { bytes, count, date, lasting, t } from "../lib/words.js";

export function render(root) {
  const said = h("div", { role: "status" }), now = h("div", {}), left = h("p", { class: "step" });
  const bus = h("select", { name: "bus" });
  const minutes = h("input", { name: "minutes", type: "number", min: 1, max: 60, value: 5, required: true });
  const form = h("form", { class: "card form", onsubmit: begin },
    h("label", {}, t("capture.bus"), bus), h("label", {}, t("capture.minutes"), minutes), h("button", { class: "main" }, t("capture.go")));
  fill(root, h("h2", {}, t("view.capture")), h("p", {}, t("capture.means")), said, now,
    session.signed_in ? form : h("p", { class: "note" }, h("a", { href: "#/sign" }, t("sign.to_act"))));
  let gone = false, shown = "";

  async function begin(e) {
    e.preventDefault();
    try { await post("/api/capture", { bus: bus.value, minutes: Number(minutes.value) }); fill(said); } catch (x) { fill(said, problem(x)); }
    draw();
  }

  async function draw() {
    let state;
    try { state = await get("/api/capture"); } catch (e) { if (!gone) fill(said, problem(e)); return; }
    if (gone) return;
    if (!bus.children.length) { fill(bus, state.buses.map((name) => h("option", { value: name }, name))); minutes.max = state.minutes_at_most; }
    form.hidden = state.under_way;
    const key = JSON.stringify([state.under_way, state.begun_ms, state.lines]);
    if (key !== shown) { shown = key; show(state); }
    say(left, state.under_way ? t("capture.left", { for: lasting(Math.max(0, state.until_ms - stationNow()) / 1000) }) : "");
  }

  function show(state) {
    if (!state.bus) { fill(now, empty(t("capture.none"))); return; }
    fill(now, h("article", { class: "card wide", "data-capture": state.under_way ? "under way" : "ended" },
      h("header", {}, h("h3", {}, state.bus), h("span", { class: "state" }, t(state.under_way ? "capture.under_way" : "capture.ended"))), left,
      facts([[t("cal.by"), state.by], [t("capture.since"), date(state.begun_ms)], [t("capture.lines"), `${count(state.lines)} (${bytes(state.bytes)})`], state.ended ? [t("capture.why"), t(`capture.end.${state.ended.replaceAll(" ", "_")}`)] : null]),
      h("div", { class: "actions" }, h("a", { class: "button", href: "/api/capture/frames.txt", download: true }, t("capture.download")),
        state.under_way && session.signed_in ? h("button", { onclick: stop }, t("capture.stop")) : null)));
  }

  async function stop() { try { await post("/api/capture/stop"); } catch (e) { fill(said, problem(e)); } setTimeout(draw, 600); }

  draw();
  const timer = setInterval(draw, 1500);
  return () => { gone = true; clearInterval(timer); };
}
