// About: which version, on what, and what was left out of station.toml.
import { get } from "../lib/api.js";
import { fill, h } from "../lib/dom.js";
import { facts, problem } from "../lib/parts.js";
import { bytes, t } from "../lib/words.js";

export function render(root) {
  const body = h("div", {});
  fill(root, h("h2", {}, t("view.about")), body);
  get("/api/about").then((a) => fill(body,
    h("article", { class: "card wide" }, facts([[t("about.version"), `Suu-Aba ${a.version}`], [t("about.station"), a.station], [t("about.python"), a.python], [t("about.system"), `${a.system} · ${a.machine}`],
      [t("about.memory"), bytes(a.memory_bytes)], [t("about.sensors"), a.sensors], [t("about.pages"), a.pages_open], [t("about.charts"), a.charts ? "uPlot 1.6.32 (MIT)" : t("about.simple")]])),
    a.left_out.length ? [h("h3", {}, t("about.left_out")), h("ul", { class: "log bad" }, a.left_out.map((x) => h("li", {}, x)))] : null,
    a.warnings.length ? [h("h3", {}, t("about.warnings")), h("ul", { class: "log" }, a.warnings.map((x) => h("li", {}, x)))] : null,
    h("p", { class: "links" }, h("a", { href: "/healthz" }, "/healthz"), " ", h("a", { href: "/metrics" }, "/metrics"), " ", h("a", { href: "/api/openapi.json" }, "/api/openapi.json")))).catch((e) => fill(body, problem(e)));
}
