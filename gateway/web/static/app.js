// Boot: who looks, which language, which view. Everything else is in views/.
import { get, session, whoLooks, post } from "./lib/api.js";
import { fill, h, say } from "./lib/dom.js";
import * as live from "./lib/live.js";
import { LANGUAGES, ago, chosen, clock, date, keep, language, setZone, speak, t } from "./lib/words.js";
import { VIEWS } from "./views/index.js";

const $ = (id) => document.getElementById(id);
let leave = null, opened = "", turn = 0;

function homeView() { return session.face === "technician" ? "now" : "public"; }

async function show() {
  const mine = ++turn;
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  let view = VIEWS.find((v) => v.id === path) || VIEWS.find((v) => v.id === homeView());
  if (view.face === "technician" && session.face !== "technician") view = VIEWS.find((v) => v.id === "sign");
  let module;
  try { module = await view.load(); } catch {
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
  for (const a of $("nav").querySelectorAll("a")) {
    if (a.hash === `#/${view.id}`) { a.setAttribute("aria-current", "page"); a.scrollIntoView({ block: "nearest", inline: "center" }); } else a.removeAttribute("aria-current");
  }
  if (moved) { root.focus({ preventScroll: true }); scrollTo(0, 0); }
}

function theme(wanted) {
  if (wanted) keep("theme", wanted);
  let kept = "auto";
  try { kept = localStorage.getItem("theme") || "auto"; } catch { /* private window */ }
  document.documentElement.dataset.theme = kept;
  return kept;
}

function head() {
  const now = live.state.now;
  say($("skip"), t("skip"));
  const languages = h("select", { id: "language", "aria-label": t("language"), onchange: (e) => { keep("language", e.target.value); boot(); } },
    Object.entries(LANGUAGES).map(([id, name]) => h("option", { value: id, selected: id === language }, name)));
  const themes = h("select", { id: "theme", "aria-label": t("theme"), onchange: (e) => theme(e.target.value) },
    ["auto", "day", "night"].map((id) => h("option", { value: id, selected: id === theme() }, t(`theme.${id}`))));
  const out = async () => { try { await post("/api/logout"); } finally { location.hash = ""; location.reload(); } };
  fill($("head"),
    h("div", { class: "brand" }, h("h1", {}, now ? now.station.name : "Suu-Aba"), h("p", { id: "link", class: "link" })),
    h("div", { class: "tools" }, languages, themes,
      session.signed_in ? h("button", { class: "plain", onclick: out }, t("sign.out"))
        : h("a", { class: "button plain", href: "#/sign" }, t("sign.in"))));
  const shown = VIEWS.filter((v) => v.menu !== false && (session.face === "technician" || v.face === "public"));
  $("nav").setAttribute("aria-label", t("menu"));
  $("nav").hidden = shown.length < 2;
  fill($("nav"), h("ul", {}, shown.map((v) => h("li", {}, h("a", { href: `#/${v.id}` }, t(`view.${v.id}`), v.id === "alarms" ? h("span", { id: "count", class: "count", hidden: true }) : null)))));
  fill($("foot"), h("span", {}, `Suu-Aba ${session.version}`), now ? h("span", {}, now.station.id) : null);
  pulse();
}

function pulse() {
  const now = live.state.now, link = $("link");
  if (!link || !now) return;
  const silent = live.isSilent();
  link.classList.toggle("bad", silent);
  const newest = Math.max(0, ...now.sensors.map((row) => row.at_ms || 0));
  const text = silent ? t("link.lost", { ago: newest ? ago(live.stationNow() - newest) : "–" })
    : `${t("link.live")} · ${clock(live.stationNow())}${now.clock.synced ? "" : ` · ${t("clock.unsure")}`}`;
  say(link, text);
  document.documentElement.dataset.silent = silent;
  const badge = $("count");
  if (badge) {
    const up = now.alarms.filter((a) => a.state === "active_unacknowledged" || a.state === "active_acknowledged").length;
    badge.hidden = !up;
    say(badge, String(up));
  }
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

async function boot() {
  theme();
  const station = live.state.now ? live.state.now.station.language : "";
  await Promise.all([whoLooks().catch(() => {}), speak(chosen(station)), live.state.now ? null : live.refresh().catch(() => {})]);
  const now = live.state.now;
  if (now) {
    setZone(now.station.timezone);
    if (chosen(now.station.language) !== language) await speak(chosen(now.station.language));
  }
  head();
  work();
  await show();
  if (now) performance.mark("values");
}

window.addEventListener("hashchange", show);
await boot();
live.start();
if (!live.state.now) {  // the station was not there: begin when it is
  const off = live.onChange((kind) => { if (kind === "now") { off(); boot(); } });
}
