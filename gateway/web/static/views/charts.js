// Charts: one quantity at a time, an hour to years. The address says what is shown, so it can be passed on.
import { get } from "../lib/api.js";
import { draw as drawChart, key, uplot } from "../lib/chart.js";
import { fill, h } from "../lib/dom.js";
import { onChange, state, stationNow } from "../lib/live.js";
import { empty, isDetail, limitsOf, problem, quantityName, spark, table } from "../lib/parts.js";
import { date, lasting, moment, number, t, unit } from "../lib/words.js";

const RANGES = [["1h", 3600], ["6h", 21600], ["1d", 86400], ["7d", 604800], ["30d", 2592000], ["1y", 31536000]];
const LEAST_MS = 60000, MOST_MS = 4000 * 86400000;

export function render(root, { query }) {
  if (!state.now) { fill(root, h("p", { class: "note" }, t("waiting"))); return undefined; }
  const series = state.now.sensors.flatMap((s) => s.quantities.map((q) => ({ sensor: s.id, quantity: q.name, digits: q.digits, unit: q.unit })))
    .sort((a, b) => isDetail(a.quantity) - isDetail(b.quantity));
  let chosen = series.find((s) => s.sensor === query.get("sensor") && s.quantity === query.get("quantity")) || series[0];
  let length = Number(query.get("s")) || 3600, until = Number(query.get("to")) || 0, turn = 0, chart = null, timer = 0;
  if (!chosen) { fill(root, empty(t("never"))); return undefined; }

  const pick = h("select", { id: "series", onchange: (e) => { chosen = series[Number(e.target.value)]; load(); } },
    series.map((s, i) => h("option", { value: i, selected: s === chosen }, `${s.sensor}: ${quantityName(s.quantity)}`)));
  const ranges = h("div", { class: "segments ranges", role: "group", "aria-label": t("range") });
  const box = h("div", { class: "chart", role: "img" }), said = h("div", { class: "said" }), below = h("div", {}), read = h("p", { class: "read" }), title = h("p", { class: "span", role: "status" });
  const button = (label, name, f) => h("button", { "aria-label": name, title: name, onclick: f }, label);
  fill(root, h("h2", { class: "quiet" }, t("view.charts")),
    h("div", { class: "bar" }, h("label", {}, h("span", { class: "quiet" }, t("series")), pick), ranges),
    read, box, h("div", { class: "bar" }, title, h("div", { class: "segments", role: "group", "aria-label": t("move") },
      button("◀", t("earlier"), () => move(-0.5)), button("−", t("zoom.out"), () => zoom(2)), button("+", t("zoom.in"), () => zoom(0.5)), button("▶", t("later"), () => move(0.5)), button(t("now"), t("now"), () => { until = 0; load(); }))),
    said, below);

  const end = () => until || Math.round(stationNow());
  function move(share) { show(end() + share * length * 1000, length); }
  function zoom(by) { show(end() - (length * 1000 * (1 - by)) / 2, length * by); }
  function show(to, seconds) {
    length = Math.min(Math.max(seconds, LEAST_MS / 1000), MOST_MS / 1000);
    until = to >= stationNow() - 1000 ? 0 : Math.max(Math.round(to), 1);
    load();
  }
  function onRange(from, to) { show(to, (to - from) / 1000); }

  async function load(quiet) {
    const mine = ++turn, to = end(), from = Math.max(0, Math.round(to - length * 1000));
    history.replaceState(null, "", `#/charts?${new URLSearchParams({ sensor: chosen.sensor, quantity: chosen.quantity, s: Math.round(length), ...(until ? { to: until } : {}) })}`);
    fill(ranges, RANGES.map(([name, s]) => h("button", { "aria-pressed": String(Math.abs(s - length) < 1), onclick: () => { length = s; load(); } }, t(`range.${name}`))));
    title.textContent = `${date(from)} – ${until ? date(to) : t("now")}`;
    if (!quiet) box.setAttribute("aria-busy", "true");
    try {
      const points = Math.min(900, Math.max(200, Math.round(box.clientWidth)));
      const [data, marks] = await Promise.all([get("/api/history", { sensor: chosen.sensor, quantity: chosen.quantity, from, to, points }),
        get("/api/marks", { from, to, limit: 300 }).then((m) => m.events.filter((e) => e.what !== "gap" && (!e.detail.sensor || e.detail.sensor === chosen.sensor) && important(e)), () => [])]);
      if (mine !== turn || !root.isConnected) return;
      await paint(data, marks);
    } catch (e) { if (mine === turn) fill(said, problem(e)); } finally { if (mine === turn) box.removeAttribute("aria-busy"); }
  }

  async function paint(data, marks) {
    const seen = data.mean.filter((v) => v !== null), u = unit(data.unit);
    const label = `${chosen.sensor}, ${quantityName(chosen.quantity)}. ` + (seen.length ? t("chart.words", { n: seen.length, low: number(Math.min(...data.min.filter((v) => v !== null)), chosen.digits), high: number(Math.max(...data.max.filter((v) => v !== null)), chosen.digits), unit: u }) : t("chart.none"));
    let library = null;
    try { library = await uplot(); } catch { /* the simple line, below */ }
    if (chart) chart.destroy();
    chart = null;
    fill(box);
    box.setAttribute("aria-label", label);
    if (!seen.length) fill(box, empty(t("chart.none")));
    else if (library) chart = drawChart(library, box, data, { marks, limits: limitsOf(chosen.sensor, chosen.quantity), digits: chosen.digits, onRange, onRead: (i) => pointed(data, i) });
    else fill(box, spark(data, label, { width: 800, height: 260 }), h("p", { class: "age" }, t("chart.simple")));
    const flagged = data.flag.filter((f) => f === 3 || f === 4).length;
    pointed(data, null);
    fill(said, seen.length ? key(data, marks, limitsOf(chosen.sensor, chosen.quantity)) : null, h("p", { class: "age" }, [t(data.bucket_ms ? "chart.columns" : "chart.each", { length: lasting(data.bucket_ms / 1000) }), flagged ? t("chart.flagged", { n: flagged }) : "", data.complete ? "" : t("chart.unready")].filter(Boolean).join(" · ")));
    const step = Math.max(1, Math.ceil(data.t.length / 24));
    fill(below, marks.length ? h("ul", { class: "log" }, marks.slice(0, 12).map((m) => h("li", {}, h("time", {}, moment(m.at_ms)), h("span", {}, h("b", {}, t(`event.${m.what}`)), ` ${m.detail.rule || ""} ${m.detail.to ? t(`alarm.${m.detail.to}`) : ""}`)))) : null,
      seen.length ? h("details", {}, h("summary", {}, t("chart.table")), table(label, [t("time"), t("mean"), t("min"), t("max"), t("quality")],
        data.t.map((ms, i) => [ms, i]).filter(([, i]) => i % step === 0 && data.mean[i] !== null).map(([ms, i]) => [moment(ms), number(data.mean[i], chosen.digits), number(data.min[i], chosen.digits), number(data.max[i], chosen.digits), t(`flag.${data.flag[i]}`)]))) : null);
  }
  // What stands where somebody points; else the newest.
  function pointed(data, at) {
    const i = at ?? data.mean.findLastIndex((v) => v !== null);
    if (i < 0) { fill(read); return; }
    const u = unit(data.unit), value = data.mean[i], apart = data.min[i] !== data.max[i] ? ` (${number(data.min[i], chosen.digits)} – ${number(data.max[i], chosen.digits)})` : "";
    fill(read, h("b", {}, value === null ? (data.flag[i] === 9 ? t("event.gap") : t(`flag.${data.flag[i]}`)) : `${number(value, chosen.digits)} ${chosen.quantity === "ph" ? "" : u}`), value === null ? "" : apart, h("span", {}, `${moment(data.t[i])}${value === null ? "" : ` · ${t(`flag.${data.flag[i]}`)}`}`));
  }
  load();
  timer = setInterval(() => { if (!until && document.visibilityState === "visible" && !below.querySelector("details[open]")) load(true); }, 15000);
  const off = onChange((kind) => { if (kind === "alarm" && !until) load(true); });
  return () => { off(); clearInterval(timer); turn = -1; if (chart) chart.destroy(); };
}

const important = (e) => e.what !== "alarm" || (e.detail.to || "").startsWith("active_un") || e.detail.to === "normal";
