// Time: what the station's clock says, who vouches for it, and how far the reader's own is off.
import { get } from "../lib/api.js";
import { fill, h, say } from "../lib/dom.js";
import { onChange, stationNow } from "../lib/live.js";
import { empty, facts, problem } from "../lib/parts.js";
import { clock, date, lasting, moment, t } from "../lib/words.js";

export function render(root) {
  const big = h("p", { class: "huge" }), body = h("div", {});
  fill(root, h("h2", {}, t("view.clock")), big, body);
  const tick = () => say(big, clock(stationNow()));
  tick();
  get("/api/clock").then((found) => {
    const off = (Date.now() - found.now_ms) / 1000;
    fill(body, h("article", { class: `card wide ${found.clock.synced ? "" : "trouble"}` },
      h("header", {}, h("h3", {}, t("clock.trust")), h("span", { class: "state" }, t(found.clock.synced ? "clock.sure" : "clock.unsure"))),
      facts([[t("clock.date"), date(found.now_ms)], [t("clock.zone"), found.timezone], [t("clock.source"), t(`clock.source.${found.clock.source}`)],
        found.clock.doubt ? [t("trouble"), found.clock.doubt] : null, found.clock.held ? [t("clock.held"), found.clock.held] : null,
        [t("clock.yours"), Math.abs(off) < 5 ? t("clock.same") : t(off > 0 ? "clock.ahead" : "clock.behind", { by: lasting(Math.abs(off)) })]])),
    h("h3", {}, t("clock.events")), found.events.length ? h("ul", { class: "log" }, found.events.map((e) => h("li", {}, h("time", {}, moment(e.at_ms)), h("span", {}, h("b", {}, t(`event.${e.what}`)), ` ${JSON.stringify(e.detail)}`)))) : empty(t("clock.quiet")));
  }).catch((e) => fill(body, problem(e)));
  return onChange((kind) => { if (kind === "tick") tick(); });
}
