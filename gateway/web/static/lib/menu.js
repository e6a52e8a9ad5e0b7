// The head and the menu. On a wide screen all views stand at the side, in groups; on a phone three of them and the
// rest are at the bottom, where a thumb is.
import { post, session } from "./api.js";
import { fill, h, say } from "./dom.js";
import { isSilent, state, stationNow } from "./live.js";
import { LANGUAGES, ago, clock, keep, kept, t } from "./words.js";

const PINNED = ["now", "charts", "alarms"];
const GROUPS = [["now", "charts", "alarms", "instruments"], ["calibrate", "visits", "scan", "capture", "doctor"]];
const THEMES = ["auto", "day", "night"];
const SHAPES = {
  now: "M4.5 18a9 9 0 1 1 15 0M12 14l3.5-5", charts: "M4 4v16h16M8 15l3.5-5 3 3L20 7", alarms: "M5 17h14l-1.6-2.6V11a5.4 5.4 0 0 0-10.8 0v3.4zM10 20.4h4",
  menu: "M4 7h16M4 12h16M4 17h16", auto: "M12 4a8 8 0 1 0 0 16zM12 4a8 8 0 0 1 0 16", night: "M19 14.5A8 8 0 0 1 9.5 5 8 8 0 1 0 19 14.5z",
  day: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM12 2v3M12 19v3M2 12h3M19 12h3M5 5l2 2M17 17l2 2M5 19l2-2M17 7l2-2",
};
const $ = (id) => document.getElementById(id);
const icon = (name) => h("svg:svg", { viewBox: "0 0 24 24", class: "icon", "aria-hidden": "true" }, h("svg:path", { d: SHAPES[name] }));
const badge = () => h("span", { class: "count", hidden: true });

export function theme(wanted) {
  if (wanted) keep("theme", wanted);
  const name = THEMES.includes(kept("theme")) ? kept("theme") : "auto";
  document.documentElement.dataset.theme = name;
  return name;
}

function themes() {
  const button = h("button", { id: "theme", class: "square", onclick: () => { theme(THEMES[(THEMES.indexOf(theme()) + 1) % 3]); draw(); } });
  const draw = () => { const name = `${t("theme")}: ${t(`theme.${theme()}`)}`; fill(button, icon(theme())); button.setAttribute("aria-label", name); button.title = name; };
  draw();
  return button;
}

export function head(views, again) {
  const now = state.now, languages = h("select", { id: "language", "aria-label": t("language"), onchange: (e) => { keep("language", e.target.value); again(); } },
    Object.entries(LANGUAGES).map(([id, name]) => h("option", { value: id, lang: id, selected: id === document.documentElement.lang }, name)));
  say($("skip"), t("skip"));
  fill($("head"), h("h1", {}, now ? now.station.name : "Suu-Aba"), h("p", { id: "link", class: "link" }),
    h("div", { class: "tools" }, languages, themes(), session.signed_in ? null : h("a", { class: "button plain", href: "#/sign" }, t("sign.in"))));
  menu(views.filter((v) => v.menu !== false && (session.face === "technician" || v.face === "public")));
  fill($("foot"), h("span", {}, `Suu-Aba ${session.version}`), now ? h("span", {}, now.station.id) : null);
  pulse();
}

function menu(shown) {
  const nav = $("nav"), named = GROUPS.flat(), ids = shown.map((v) => v.id);
  const link = (id, shape) => h("li", { class: PINNED.includes(id) ? "pinned" : "" }, h("a", { href: `#/${id}` }, shape ? icon(id) : null, h("span", {}, t(`view.${id}`)), id === "alarms" ? badge() : null));
  const more = h("button", { id: "more", "aria-expanded": "false", "aria-controls": "all", onclick: () => open(!nav.classList.contains("open")) }, icon("menu"), h("span", {}, t("menu")));
  const out = async () => { try { await post("/api/logout"); } finally { location.hash = ""; location.reload(); } };
  const groups = [...GROUPS, ids.filter((id) => !named.includes(id))].map((group) => group.filter((id) => ids.includes(id)));
  nav.setAttribute("aria-label", t("menu"));
  nav.hidden = shown.length < 2;
  document.body.classList.toggle("with-menu", !nav.hidden);
  fill(nav, h("ul", { class: "thumb" }, PINNED.filter((id) => ids.includes(id)).map((id) => link(id, true)), h("li", {}, more)),
    h("div", { id: "all" }, groups.filter((group) => group.length).map((group) => h("ul", {}, group.map((id) => link(id, false)))),
      session.signed_in ? h("button", { class: "plain", onclick: out }, `${t("sign.out")}: ${session.name}`) : null));
}

export function open(wanted) {
  $("nav").classList.toggle("open", wanted);
  $("more")?.setAttribute("aria-expanded", String(wanted));
  if (wanted) $("all").querySelector("li:not(.pinned) a")?.focus({ preventScroll: true });
}

export function mark(view) {
  for (const a of $("nav").querySelectorAll("a")) { if (a.hash === `#/${view}`) a.setAttribute("aria-current", "page"); else a.removeAttribute("aria-current"); }
  $("more")?.classList.toggle("here", !PINNED.includes(view));
  open(false);
}

let ticking = false;  // the first second goes to the values: a time zone takes a phone 40 ms
setTimeout(() => { ticking = true; pulse(); }, 1200);

// Each second: whether the station is heard, its time, how many alarms stand.
export function pulse() {
  const now = state.now, link = $("link");
  if (!link || !now) return;
  const silent = isSilent(), newest = Math.max(0, ...now.sensors.map((row) => row.at_ms || 0));
  link.classList.toggle("bad", silent);
  say(link, silent ? t("link.lost", { ago: newest ? ago(stationNow() - newest) : "–" }) : `${t("link.live")}${ticking ? ` · ${clock(stationNow())}` : ""}${now.clock.synced ? "" : ` · ${t("clock.unsure")}`}`);
  document.documentElement.dataset.silent = silent;
  const up = now.alarms.filter((a) => a.state === "active_unacknowledged" || a.state === "active_acknowledged").length;
  for (const count of $("nav").querySelectorAll(".count")) { count.hidden = !up; say(count, String(up)); }
}

addEventListener("keydown", (e) => { if (e.key === "Escape" && $("nav").classList.contains("open")) { open(false); $("more").focus(); } });
