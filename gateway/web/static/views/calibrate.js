// The guided calibration: one step at a time, a reading a second, and in the end the ledger's entry. What is under
// way is the station's: a reload, another view or a phone that slept comes back to the same step.
import { get, post, session } from "../lib/api.js";
import { fill, h, say } from "../lib/dom.js";
import { empty, facts, problem, quantityName, table } from "../lib/parts.js";
import { date, number, t, unit } from "../lib/words.js";

const LOOK_MS = 1000;
const act = (kind, body) => post("/api/calibrations", { do: kind, body });
const field = (label, attributes) => h("label", {}, t(label), h("input", { autocomplete: "off", ...attributes }));
const amount = (text) => { const v = String(text ?? "").trim().replace(",", "."); return v === "" ? undefined : Number(v); };
const digits = (q) => (q === "ph" ? 3 : 2);
const shown = (v, s) => `${number(v, digits(s.quantity))}${s.quantity === "ph" ? "" : ` ${unit(s.unit)}`}`;

export function render(root) {
  const said = h("div", { role: "status" }), body = h("div", {}), ledger = h("div", {});
  fill(root, h("h2", {}, t("view.calibrate")), said, body, h("h3", {}, t("cal.ledger")), ledger);
  let gone = false, timer = 0, live = null, at = "", busy = false;

  async function open() {
    clearTimeout(timer);
    try {
      const visit = await get("/api/visit");
      if (gone) return;
      live = null; at = "";
      if (visit.session && visit.mine) { live = { key: visit.session.session }; step(visit.session); look(); } else choose(visit);
    } catch (e) { if (!gone) fill(body, problem(e), h("button", { onclick: open }, t("cal.again"))); }
  }

  function choose(visit) {
    if (!session.signed_in) { fill(body, h("p", { class: "note" }, h("a", { href: "#/sign" }, t("sign.to_act")))); return; }
    const other = visit.session ? h("p", { class: "note" }, t("cal.other", { by: visit.session.by, sensor: visit.session.sensor })) : null;
    const can = visit.sensors.filter((s) => s.in_water || s.bottles.length);
    const which = h("select", { name: "sensor", onchange: () => bottles() }, can.map((s) => h("option", { value: s.id }, `${s.id} · ${s.model}`)));
    const what = h("select", { name: "quantity" }), rows = h("div", { class: "bottles" }), kept = h("p", { class: "age" });
    const add = h("button", { type: "button", onclick: () => { rows.append(bottle("")); count(); rows.lastChild.querySelector("input").focus(); } }, t("cal.bottle.add"));
    const one = () => can.find((s) => s.id === which.value);
    const count = () => { add.hidden = rows.children.length >= one().most; };
    function bottle(nominal) {
      const own = h("fieldset", {}, h("legend", {}, t("cal.bottle")),
        field("cal.nominal", { name: "nominal", inputmode: "decimal", required: true, pattern: "-?[0-9]+([.,][0-9]+)?", value: nominal }),
        field("cal.lot", { name: "lot", maxlength: 200 }), field("cal.expires", { name: "expires", placeholder: "2027-03", pattern: "[0-9]{4}-[0-9]{2}(-[0-9]{2})?" }),
        h("button", { type: "button", onclick: () => { if (rows.children.length > 1) { own.remove(); count(); } } }, t("cal.bottle.drop")));
      return own;
    }
    function bottles() {
      const s = one();
      fill(what, s.quantities.map((q) => h("option", { value: q }, quantityName(q))));
      const usual = s.bottles.length ? s.bottles : s.quantities[0] === "ph" ? [4, 7, 10.01] : [""];
      fill(rows, usual.map((n) => bottle(n === "" ? "" : n.toFixed(2))));
      say(kept, t(s.kept === "instrument" ? "cal.kept.instrument" : "cal.kept.station"));
      count();
    }
    const form = h("form", { class: "card form", onsubmit: (e) => {
      e.preventDefault();
      const standards = [...rows.children].map((row) => ({ nominal: amount(row.querySelector("[name=nominal]").value), lot: row.querySelector("[name=lot]").value, expires: row.querySelector("[name=expires]").value }));
      run(async () => { const s = await act("begin", { sensor: which.value, quantity: what.value, standards }); live = { key: s.session }; step(s); look(); });
    } }, h("h3", {}, t("cal.begin")), h("label", {}, t("sensor"), which), h("label", {}, t("quantity"), what), kept, rows, add,
    h("p", { class: "age" }, t("cal.maintenance")), h("button", { class: "main" }, t("cal.begin.do")));
    fill(body, other, can.length ? form : empty(t("cal.nothing")));
    if (can.length) bottles();
  }

  // One step: its words and fields are drawn once, so that nothing that was typed is lost; the reading lives.
  function step(s) {
    const key = `${s.session} ${s.step} ${s.standard} ${s.steps_left}`;
    if (key !== at) { at = key; draw(s); }
    live.now = s;
    if (!live.number) return;
    say(live.number, s.reading === null ? "–" : shown(s.reading, s));
    say(live.stable, s.stable ? t("cal.stable") : t("cal.settling", { spread: s.spread === null ? "–" : number(s.spread, 3), within: number(s.within, 3), s: number(Math.min(s.covered_s, s.over_s), 0), over: number(s.over_s, 0) }));
    live.box.dataset.stable = s.stable;
    live.bar.value = Math.min(1, s.covered_s / s.over_s);
    say(live.worth, s.worth === undefined ? "" : t("cal.worth", { value: shown(s.worth, s), degc: s.temperature_degc === null ? "–" : number(s.temperature_degc, 1) }));
    say(live.trouble, s.problem || "");
    live.trouble.hidden = !s.problem;
  }

  function draw(s) {
    const key = live.key, text = ["found", "cleaned", "check", "adjust", "left", "decide", "finish"].includes(s.step) ? t(`cal.step.${s.step}`, { standard: s.standard === null ? "" : number(s.standard, 2) }) : s.step;
    live = { key };
    const taken = h("div", {}, s.points.some((p) => p.found !== null) ? table(t("cal.so_far"), [t("cal.bottle"), t("cal.true"), t("cal.found"), t("cal.left")],
      s.points.map((p) => [number(p.nominal, 2), p.value === null ? "–" : shown(p.value, s), p.found === null ? "–" : shown(p.found, s), p.left === null ? "–" : shown(p.left, s)])) : null);
    const head = [h("header", {}, h("h3", {}, s.sensor), h("span", { class: "model" }, quantityName(s.quantity)), h("span", { class: "state" }, t("cal.steps", { n: s.steps_left })))];
    const words = h("p", { class: "step", tabindex: "-1" }, text);
    const cancel = h("button", { type: "button", class: "plain", onclick: () => { if (live.sure) run(() => finish({ note: t("cal.cancelled") })); else { live.sure = true; cancel.textContent = t("cal.cancel.sure"); } } }, t("cal.cancel"));
    let part;
    if (s.step === "decide") {
      part = [h("p", { class: "note" }, t(s.advice === "keep" ? "cal.advice.keep" : "cal.advice.adjust")), h("div", { class: "actions" },
        h("button", { class: s.advice === "keep" ? "" : "main", onclick: () => take({ adjust: true }) }, t("cal.adjust")),
        h("button", { class: s.advice === "keep" ? "main" : "", onclick: () => take({ adjust: false }) }, t("cal.keep")), cancel)];
    } else if (s.step === "finish") {
      part = [h("p", { class: `note ${s.verdict === "failed" ? "bad" : "good"}` }, t(`cal.verdict.${s.verdict}`)), s.reasons.length ? h("ul", {}, s.reasons.map((r) => h("li", {}, r))) : null,
        h("form", { onsubmit: (e) => { e.preventDefault(); const f = new FormData(e.target); run(() => finish({ photo: f.get("photo"), note: f.get("note"), spread: !f.get("exchanged") })); } },
          field("cal.photo", { name: "photo", maxlength: 200 }), field("cal.note", { name: "note", maxlength: 200 }),
          h("label", { class: "inline" }, h("input", { type: "checkbox", name: "exchanged", class: "tick" }), t("cal.exchanged")),
          h("button", { class: "main" }, t("cal.finish")))];
    } else {
      live.number = h("span", { class: "number" }, "–");
      live.stable = h("p", { class: "quality" });
      live.bar = h("progress", { max: 1, "aria-label": t("cal.stability") });
      live.worth = h("p", {}); live.trouble = h("p", { class: "note bad", hidden: true });
      live.box = h("div", { class: "value big settle" }, h("div", { class: "reading" }, live.number), live.bar, live.stable, live.worth);
      const water = s.step === "found" || s.step === "cleaned", bottle = s.step === "check" || s.step === "left";
      part = [live.box, live.trouble, h("form", { onsubmit: (e) => {
        e.preventDefault();
        const f = new FormData(e.target), given = {};
        for (const name of ["side", "temperature_degc", "value"]) if (f.get(name)) given[name] = amount(f.get(name));
        if (f.get("anyway")) given.anyway = true;
        if (s.step === "adjust") given.confirm = true;
        take(given);
      } },
      water ? field("cal.side", { name: "side", inputmode: "decimal" }) : null,
      bottle ? [field("cal.degc", { name: "temperature_degc", inputmode: "decimal" }), s.step === "check" ? field("cal.own", { name: "value", inputmode: "decimal" }) : null] : null,
      water ? null : h("label", { class: "inline" }, h("input", { type: "checkbox", name: "anyway", class: "tick" }), t("cal.anyway")),
      h("div", { class: "actions" }, h("button", { class: "main" }, t(s.step === "adjust" ? "cal.write" : "cal.take")),
        s.step === "adjust" ? null : h("button", { type: "button", onclick: () => run(async () => step(await act("step", { session: key, do: "skip" }))) }, t("cal.skip")), cancel))];
    }
    fill(body, h("article", { class: "card wide wizard", "data-step": s.step, "data-standard": s.standard }, head, words, part, taken));
    fill(said);
    words.focus({ preventScroll: true });
  }

  const take = (given) => run(async () => step(await act("step", { session: live.key, do: "take", given })));

  async function finish(given) {
    const { entry } = await act("finish", { session: live.key, ...given });
    live = null; at = "";
    await open();
    fill(said, card(entry));
    said.scrollIntoView({ block: "nearest" });
    history();
  }

  async function run(job) {
    if (busy) return;
    busy = true;
    try { await job(); } catch (e) { if (!gone) { fill(said, problem(e)); said.scrollIntoView({ block: "nearest" }); } } finally { busy = false; }
  }

  async function look() {
    clearTimeout(timer);
    if (gone || !live) return;
    const key = live.key;
    if (!busy && live.number && document.visibilityState === "visible") {
      try {
        const s = await act("step", { session: key, do: "look" });
        if (!gone && live && live.key === key && !busy) step(s);
      } catch (e) {
        if (gone || !live || live.key !== key) return;
        if (e.status === 409) { fill(said, problem(e)); open(); return; }
        if (live.trouble) { live.trouble.hidden = false; say(live.trouble, e.status === 0 ? t("offline") : e.message); }
      }
    }
    if (!gone) timer = setTimeout(look, LOOK_MS);
  }

  function card(e) {
    const limits = e.accept_percent || [85, 105];
    return h("article", { class: `card wide entry ${e.verdict === "failed" ? "trouble" : ""}`, "data-verdict": e.verdict },
      h("header", {}, h("h4", {}, e.sensor), h("span", { class: "model" }, quantityName(e.quantity)), h("span", { class: "state" }, t(`cal.verdict.${e.verdict}`))),
      e.reasons.length ? h("ul", {}, e.reasons.map((r) => h("li", {}, r))) : null,
      facts([[t("cal.by"), e.by], [t("cal.when"), date(e.ended_ms)],
        e.slope_percent !== null ? [t("cal.slope"), `${number(e.slope_percent, 1)} % (${limits[0]}–${limits[1]})`] : null,
        e.offset_mv !== null ? [t("cal.offset"), `${number(e.offset_mv, 1)} mV (±${e.accept_offset_mv})`] : null,
        [t("cal.next"), e.next_due_ms ? date(e.next_due_ms) : "–"], [t("cal.number"), e.number], e.note ? [t("cal.note"), e.note] : null]),
      e.points.length ? table(t("cal.bottles"), [t("cal.bottle"), t("cal.true"), t("cal.found"), t("cal.left"), t("cal.lot"), t("cal.expires")],
        e.points.map((p) => [number(p.nominal, 2), p.value === null ? "–" : shown(p.value, e), p.found === null ? "–" : shown(p.found, e), p.left === null ? "–" : shown(p.left, e), p.lot || "–", p.expires || "–"])) : null,
      h("p", { class: "age" }, `${t("cal.signature")} ${e.sha256}`));
  }

  async function history() {
    try {
      const { events } = await get("/api/events", { what: "calibrated", limit: 10 });
      if (!gone) fill(ledger, events.length ? h("div", { class: "list" }, events.map((e) => { try { return card(e.detail); } catch { return null; } })) : empty(t("cal.none")));
    } catch (e) { if (!gone) fill(ledger, problem(e)); }
  }
  open();
  history();
  return () => { gone = true; clearTimeout(timer); };
}
