"""The charts of a monthly report on its page: what each sign means, a figure for each series, and its
content in words.
"""

from __future__ import annotations

from html import escape

from gateway.report_facts import Facts, code, fitting, ordered, section
from gateway.report_plots import Chart, hours, shown, svg, there
from gateway.report_series import Series
from gateway.report_words import Words

HOUR_MS = 3_600_000
SIGNS = ("mean", "band", "raw", "limit", "unsure", "alarm", "doubt", "work", "calibrated")


def plots(facts: Facts, w: Words) -> str:
    """The section of all charts."""
    if not there():
        return section(w, "plots", f"<p>{w.text('no_plots')}</p>")
    figures = [
        _figure(facts, w, series, f"c{number}")
        for number, series in enumerate(ordered(facts.sums))
        if any(series.used) or any(series.doubted)
    ]
    signs = "".join(f"<li><i class=l-{sign}></i>{w.text(f'legend_{sign}')}</li>" for sign in SIGNS)
    legend = f"<ul class=legend>{signs}</ul>\n"
    return section(w, "plots", f"{legend}<div class=charts>{''.join(figures)}</div>", about="plots_about")


def _figure(facts: Facts, w: Words, series: Series, name: str) -> str:
    chart = _chart(facts, w, series)
    means, digits = [y for y in hours(series) if y == y] or [float("nan")], facts.digits_of(series)
    limits = [w.number(limit, fitting(limit)) for limit, _ in chart.limits]
    alt = w.text(
        "plot_alt", sensor=series.sensor, quantity=w.quantity(series.quantity),
        low=w.number(min(means), digits), high=w.number(max(means), digits),
        limits=" / ".join(limits) or "—", alarms=w.count(len(chart.alarms)),
        doubts=w.count(sum(shown(series.doubted))),
    )  # fmt: skip
    drawn = svg(chart, name).replace("<svg", f'<svg role="img" aria-label="{alt}"', 1)
    unit = w.unit(series.unit)
    caption = f"{escape(w.quantity(series.quantity))}{escape(f', {unit}' if unit else '')}"
    return (
        f"<figure><figcaption>{caption} <small>{code(series.sensor)}</small></figcaption>{drawn}</figure>\n"
    )


def _chart(facts: Facts, w: Words, series: Series) -> Chart:
    from_ms, to_ms = facts.sums.span.from_ms, facts.sums.span.to_ms

    def hour(ms: int) -> float:
        return (min(max(ms, from_ms), to_ms) - from_ms) / HOUR_MS

    alarms = [
        (hour(a.raised_ms), hour(a.cleared_ms or min(to_ms, facts.now_ms)))
        for a in facts.story.alarms
        if a.sensor == series.sensor and a.quantity in (series.quantity, "")
    ]
    calibrated = [
        hour(c["ended_ms"])
        for c in facts.story.calibrations
        if c.get("sensor") == series.sensor and c.get("quantity") == series.quantity
        and type(c.get("ended_ms")) is int and from_ms <= c["ended_ms"] < to_ms
    ]  # fmt: skip
    limits = [
        (bound, one.limit.certain)
        for one in facts.judged if one.series is series
        for bound in (one.limit.above, one.limit.below) if bound is not None
    ]  # fmt: skip
    days = [hour(ms) for ms in facts.midnights[:-1]]
    return Chart(series, days, str(w.form["decimal"]), limits, alarms, calibrated, series.corrected > 0)
