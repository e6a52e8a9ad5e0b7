// What is now: taken once, then kept up to date by the stream. Views ask `state` and are told of changes.
import { get, session } from "./api.js";

export const state = { now: null, sinks: null, heardAt: 0, connected: false };
const listeners = new Set();
export const onChange = (f) => { listeners.add(f); return () => listeners.delete(f); };
const tell = (kind, what) => { for (const f of listeners) f(kind, what); };

// The station's time here: its last word, and what has passed since by whichever of our clocks ran further. A
// phone that slept must not make an old value look fresh.
let base = { now_ms: 0, wall: 0, run: 0 };
function setClock(now_ms) { base = { now_ms, wall: Date.now(), run: performance.now() }; }
export function stationNow() {
  if (!base.now_ms) return Date.now();
  return base.now_ms + Math.max(0, Date.now() - base.wall, performance.now() - base.run);
}

export const SILENT_MS = 20000;  // the station says something every 5 s
export const isSilent = () => !state.connected || performance.now() - state.heardAt > SILENT_MS;
export const isOld = (row) => row.at_ms === null || stationNow() - row.at_ms > row.fresh_s * 1000;
export const sensor = (id) => state.now && state.now.sensors.find((row) => row.id === id);

let freshAt = -1e9, source = null, boot = "", pause = 1000, timer = 0, generation = 0;

export async function refresh() {
  const mine = ++generation;
  const now = await get("/api/now");
  if (mine === generation) take(now);
}

// What /api/now says, or what came with the page.
export function take(now) {
  state.now = now;
  freshAt = performance.now();
  setClock(now.now_ms);
  tell("now");
}

function heard() {
  state.heardAt = performance.now();
  if (!state.connected) { state.connected = true; tell("link"); }
}

function again() {
  state.connected = false;
  tell("link");
  if (source) source.close();
  source = null;
  clearTimeout(timer);
  timer = setTimeout(start, pause * (0.7 + Math.random() * 0.6));
  pause = Math.min(pause * 2, 30000);
}

export async function start() {
  clearTimeout(timer);
  if (performance.now() - freshAt > 3000) { try { await refresh(); } catch { again(); return; } }
  if (source) source.close();
  source = new EventSource("/api/stream");
  const on = (kind, f) => source.addEventListener(kind, (message) => { heard(); f(JSON.parse(message.data)); });
  source.onopen = () => { pause = 1000; heard(); };
  source.onerror = () => again();
  on("hello", (said) => {
    if (boot && boot !== said.boot) refresh().catch(() => {});
    boot = said.boot;
  });
  on("reset", () => refresh().catch(() => {}));
  on("reading", (said) => {
    const row = sensor(said.sensor);
    if (!row || (row.at_ms !== null && said.at_ms < row.at_ms)) return;
    row.at_ms = said.at_ms;
    row.values = said.values;
    if (said.at_ms > stationNow()) setClock(said.at_ms);
    tell("reading", row);
  });
  on("status", (said) => {
    if (!state.now) return;
    setClock(said.now_ms);
    state.now.clock = said.clock;
    state.now.light = said.light;
    const changed = JSON.stringify(said.alarms.map((a) => [a.rule, a.state])) !== JSON.stringify(state.now.alarms.map((a) => [a.rule, a.state]));
    state.now.alarms = said.alarms;
    for (const row of state.now.sensors) {
      const is = said.sensors[row.id];
      if (is !== undefined && is !== row.state) { row.state = is; tell("reading", row); }
    }
    if (said.sinks) state.sinks = said.sinks;
    tell("status");
    if (changed) tell("alarm", null);
  });
  on("average", () => {});
  on("event", (said) => tell("event", said));
  on("alarm", async (said) => {
    try { state.now.alarms = (await get("/api/alarms")).alarms; } catch { /* the next status has it */ }
    tell("alarm", said);
  });
}

export function stop() { clearTimeout(timer); if (source) source.close(); source = null; }
document.addEventListener("visibilitychange", () => {
  if (document.visibilityState === "visible" && (!source || isSilent())) { pause = 1000; start(); }
});
window.addEventListener("online", () => { pause = 1000; start(); });
setInterval(() => {
  if (state.connected && isSilent()) again();
  tell("tick");
}, 1000);
export const isTechnician = () => session.face === "technician";
