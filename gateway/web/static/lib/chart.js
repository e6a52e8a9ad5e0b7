// One chart on uPlot: mean as a line, min to max as a band, flagged spans shaded, alarms and calibrations marked,
// gaps left open. Drag pans, two fingers or the wheel zoom, a double tap goes back; keys are on the buttons.
import { h } from "./dom.js";
import { clock, day, hour, number, t, unit, zone } from "./words.js";

let loading = null;
export function uplot() {
  if (!loading) {
    loading = new Promise((done, failed) => {
      const style = h("link", { rel: "stylesheet", href: "/static/vendor/uPlot.min.css" });
      const script = h("script", { src: "/static/vendor/uPlot.iife.min.js" });
      script.onload = () => done(window.uPlot);
      script.onerror = () => { loading = null; failed(new Error("uPlot is not in this package")); };
      document.head.append(style, script);
    });
  }
  return loading;
}

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const MARKS = { alarm: "--bad", calibrated: "--accent", maintenance: "--warn", visit: "--warn", clock_step: "--muted", clock_set: "--muted", started: "--muted", loss: "--bad" };

// `data` as /api/history gives it; `marks`, `limits`; `onRange(from, to)` when somebody has moved, `onRead(index)`
// when somebody points at a moment, null when no more.
export function draw(uPlot, box, data, { marks, limits, digits, onRange, onRead }) {
  const xs = data.t.map((ms) => Math.min(ms, data.to_ms) / 1000);  // the middle of the newest half hour is still to come
  const range = data.to_ms - data.from_ms;
  const spans = flagged(data);
  const axis = { stroke: css("--text"), grid: { stroke: css("--line"), width: 1 }, ticks: { stroke: css("--line") }, font: "14px system-ui, sans-serif" };
  const when = (s) => (range > 2.2 * 86400e3 ? day(s * 1000) : range < 600e3 ? clock(s * 1000) : hour(s * 1000));
  const width = () => Math.max(260, box.clientWidth), height = () => Math.max(240, Math.min(460, Math.round(innerHeight * 0.5)));

  function under(u) {
    const { ctx, bbox } = u;
    ctx.save();
    for (const [from, to, flag] of spans) {
      const a = u.valToPos(from, "x", true), b = u.valToPos(to, "x", true);
      ctx.fillStyle = css(flag >= 4 ? "--shade-bad" : "--shade-warn");
      ctx.fillRect(Math.max(a, bbox.left), bbox.top, Math.max(2, Math.min(b, bbox.left + bbox.width) - Math.max(a, bbox.left)), bbox.height);
    }
    ctx.restore();
  }
  function over(u) {
    const { ctx, bbox } = u, ratio = devicePixelRatio || 1;
    ctx.save();
    ctx.lineWidth = 1.5 * ratio;
    ctx.font = `${12 * ratio}px system-ui, sans-serif`;
    for (const limit of limits) {
      for (const value of [limit.high, limit.low]) {
        if (value === null) continue;
        const y = u.valToPos(value, "y", true);
        if (y < bbox.top || y > bbox.top + bbox.height) continue;
        ctx.strokeStyle = ctx.fillStyle = css("--bad");
        ctx.textAlign = "left";
        ctx.textBaseline = "alphabetic";
        ctx.setLineDash([8 * ratio, 6 * ratio]);
        line(ctx, bbox.left, y, bbox.left + bbox.width, y);
        ctx.fillText(t(value === limit.high ? "limit.high" : "limit.low", { limit: number(value, Number.isInteger(value) ? 0 : digits), unit: unit(data.unit) }), bbox.left + 6 * ratio, y - 5 * ratio);
      }
    }
    ctx.setLineDash([]);
    for (const mark of marks) {
      const x = u.valToPos(mark.at_ms / 1000, "x", true);
      if (x < bbox.left || x > bbox.left + bbox.width) continue;
      ctx.strokeStyle = ctx.fillStyle = css(MARKS[mark.what] || "--muted");
      line(ctx, x, bbox.top, x, bbox.top + bbox.height);
      ctx.beginPath();
      ctx.arc(x, bbox.top + 5 * ratio, 4.5 * ratio, 0, 7);
      ctx.fill();
    }
    ctx.restore();
  }

  const u = new uPlot({
    width: width(), height: height(), ms: 1e-3, tzDate: (s) => uPlot.tzDate(new Date(s * 1e3), zone),
    cursor: { drag: { x: false, y: false }, points: { size: 9 } },
    legend: { show: false },
    scales: { x: { time: true, range: () => [data.from_ms / 1000, data.to_ms / 1000] }, y: { range: (_, low, high) => spread(low, high) } },
    axes: [{ ...axis, values: (_, ticks) => ticks.map(when), space: 70 }, { ...axis, size: 64, values: (_, ticks) => ticks.map((v) => number(v, places(ticks))) }],
    series: [{}, { stroke: "transparent", points: { show: false } }, { stroke: "transparent", points: { show: false } },
      { stroke: css("--accent"), width: 2.5, points: { show: data.t.length < 60 }, spanGaps: false }],
    bands: [{ series: [1, 2], fill: css("--band") }],
    hooks: { drawClear: [under], draw: [over], setCursor: [(own) => onRead(own.cursor.idx ?? null)] },
  }, [xs, data.max, data.min, data.mean], box);

  touch(u, data, onRange);
  const watch = new ResizeObserver(() => { if (Math.abs(u.width - width()) > 2) u.setSize({ width: width(), height: height() }); });
  watch.observe(box);
  return { destroy() { watch.disconnect(); u.destroy(); } };
}

function line(ctx, x1, y1, x2, y2) { ctx.beginPath(); ctx.moveTo(x1, y1); ctx.lineTo(x2, y2); ctx.stroke(); }

function spread(low, high) {
  if (low === null || high === null || !Number.isFinite(low)) return [0, 1];
  const room = (high - low) * 0.12 || Math.abs(high) * 0.1 || 1;
  return [low >= 0 && low - room < 0 ? 0 : low - room, high + room];
}

function places(ticks) {
  const step = ticks.length > 1 ? Math.abs(ticks[1] - ticks[0]) : 1;
  for (let n = 0; n < 4; n += 1) if (Math.abs(step * 10 ** n - Math.round(step * 10 ** n)) < 1e-6) return n;
  return 4;
}

// What the drawing means, in words: only what is in it.
export function key(data, marks, limits) {
  const sign = (kind, text) => h("li", {}, h("span", { class: `sign ${kind}`, "aria-hidden": "true" }), text);
  const found = new Set(marks.map((m) => m.what)), has = (flag) => data.flag.includes(flag);
  return h("ul", { class: "key" }, sign("mean", t(data.bucket_ms ? "mean" : "value")), data.bucket_ms ? sign("band", t("chart.band")) : null, limits.length ? sign("bound", t("chart.limit")) : null,
    has(3) ? sign("suspect", t("flag.3")) : null, has(4) ? sign("fail", t("flag.4")) : null, data.flag.includes(9) ? sign("gap", t("event.gap")) : null,
    Object.keys(MARKS).filter((what) => found.has(what)).map((what) => sign(`mark ${what}`, t(`event.${what}`))));
}

// Stretches in which something was doubtful or wrong, as [from, to, flag] in seconds.
function flagged(data) {
  const found = [], half = Math.max(data.bucket_ms / 2, (data.to_ms - data.from_ms) / 600) / 1000;
  data.t.forEach((ms, i) => {
    const flag = data.flag[i];
    if (flag < 3 || flag === 9) return;
    const at = ms / 1000, last = found[found.length - 1];
    if (last && last[2] === flag && at - half <= last[1] + half) last[1] = at + half;
    else found.push([at - half, at + half, flag]);
  });
  return found;
}

function touch(u, data, onRange) {
  const over = u.over, fingers = new Map();
  let from = data.from_ms / 1000, to = data.to_ms / 1000, begun = null, timer = 0;
  over.style.touchAction = "pan-y";
  const set = (a, b) => {
    from = a;
    to = b;
    u.batch(() => { u.scales.x.range = () => [from, to]; u.setScale("x", { min: from, max: to }); });
    clearTimeout(timer);
    timer = setTimeout(() => onRange(Math.round(from * 1000), Math.round(to * 1000)), 350);
  };
  const where = () => [...fingers.values()].sort((a, b) => a - b);
  const begin = () => { begun = { xs: where(), from, to }; };
  over.addEventListener("pointerdown", (e) => { fingers.set(e.pointerId, e.offsetX); over.setPointerCapture(e.pointerId); begin(); });
  over.addEventListener("pointermove", (e) => {
    if (!fingers.has(e.pointerId) || !begun) return;
    fingers.set(e.pointerId, e.offsetX);
    const xs = where(), wide = over.clientWidth, range = begun.to - begun.from;
    if (xs.length === 1) {
      const by = ((begun.xs[0] - xs[0]) / wide) * range;
      if (Math.abs(begun.xs[0] - xs[0]) > 3) set(begun.from + by, begun.to + by);
    } else {
      const before = Math.max(20, begun.xs[1] - begun.xs[0]), now = Math.max(20, xs[1] - xs[0]);
      const middle = begun.from + ((begun.xs[0] + begun.xs[1]) / 2 / wide) * range, wider = Math.max(60, (range * before) / now);
      const share = (xs[0] + xs[1]) / 2 / wide;
      set(middle - share * wider, middle + (1 - share) * wider);
    }
  });
  const end = (e) => { fingers.delete(e.pointerId); begun = null; if (fingers.size) begin(); };
  over.addEventListener("pointerup", end);
  over.addEventListener("pointercancel", end);
  over.addEventListener("wheel", (e) => {
    e.preventDefault();
    const range = to - from, share = e.offsetX / over.clientWidth, wider = Math.max(60, range * (e.deltaY > 0 ? 1.25 : 0.8));
    set(from + share * (range - wider), from + share * (range - wider) + wider);
  }, { passive: false });
}
