// Boot: who looks, which language, which view. Everything else is in views/.
import { get, session, whoLooks } from "./lib/api.js";
import { fill, h, say } from "./lib/dom.js";
import * as live from "./lib/live.js";
import { head, mark, pulse, theme } from "./lib/menu.js";
import { chosen, date, language, setZone, speak, t } from "./lib/words.js";
import { VIEWS } from "./views/index.js";

const $ = (id) => document.getElementById(id);
let leave = null, opened = "", turn = 0;
const loaded = new Map();

function wanted() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  const view = VIEWS.find((v) => v.id === path) || VIEWS.find((v) => v.id === (session.face === "technician" ? "now" : "public"));
  return [view.face === "technician" && session.face !== "technician" ? VIEWS.find((v) => v.id === "sign") : view, query];
}

async function load(view) {
  if (!loaded.has(view.id)) loaded.set(view.id, await view.load());
  return loaded.get(view.id);
}

async function show() {
  const mine = ++turn, [view, query] = wanted();
  let module = loaded.get(view.id);
  try { module ||= await load(view); } catch {
    if (mine === turn) fill($("main"), h("p", { class: "note bad" }, t("offline")));
    return;
  }
  if (mine !== turn) return;
  if (leave) leave();
  const moved = opened !== "" && opened !== view.id;
  opened = view.id;
  const root = fill($("main"));
  root.className = `view-${view.id}`;
  leave = module.render(root, { query: new URLSearchParams(query || ""), view: view.id, again: boot, show }) || null;
  document.title = `${t(`view.${view.id}`)} · ${live.state.now ? live.state.now.station.name : "Suu-Aba"}`;
  mark(view.id);
  if (moved) { root.focus({ preventScroll: true }); scrollTo(0, 0); }
}

// Maintenance under way is said on every view: what alarms do not tell meanwhile must be known.
async function work() {
  if (session.face !== "technician") { fill($("work")); return; }
  let standing;
  try { standing = (await get("/api/visit")).maintenance; } catch { return; }
  const text = standing.map((w) => t("visit.banner", { what: w.sensor || t("visit.station"), by: w.by, at: date(w.until_ms) })).join(" · ");
  if ($("work").textContent !== text) fill($("work"), text ? h("a", { class: "banner", href: "#/visits" }, text) : null);
}

let silentBefore = false, working = 0;
live.onChange((kind, what) => {
  pulse();
  if (kind === "now" || (kind === "event" && what && ["maintenance", "visit"].includes(what.what))) { clearTimeout(working); working = setTimeout(work, 300); }
  const silent = live.isSilent() && live.state.now !== null;
  if (silent !== silentBefore) { silentBefore = silent; say($("news"), silent ? t("news.lost") : t("news.back")); }
  if (kind === "alarm" && what && what.detail && what.detail.to === "active_unacknowledged") {
    say($("news"), t("news.alarm", { rule: what.detail.rule }));
  }
});

// The first values come with the page itself; whatever is missing there is asked for.
function begin() {
  try {
    const first = JSON.parse($("first").textContent);
    Object.assign(session, first.session);
    live.take(first.now);
    speak(first.language, first.texts);
    return true;
  } catch { return false; }
}

async function boot(known) {
  theme();
  const station = live.state.now ? live.state.now.station.language : "";
  if (known !== true) await Promise.all([whoLooks().catch(() => {}), speak(chosen(station)), live.state.now ? null : live.refresh().catch(() => {})]);
  const now = live.state.now;
  if (now) {
    setZone(now.station.timezone);
    if (chosen(now.station.language) !== language) await speak(chosen(now.station.language));
  }
  await load(wanted()[0]).catch(() => {});  // so that the head and the view are drawn, and laid out, at once
  head(VIEWS, boot);
  await show();
  if (now) performance.mark("values");
  clearTimeout(working);
  working = setTimeout(work, 300);
}

window.addEventListener("hashchange", show);
await boot(begin());
live.start();
if (!live.state.now) {  // the station was not there: begin when it is
  const off = live.onChange((kind) => { if (kind === "now") { off(); boot(); } });
}
