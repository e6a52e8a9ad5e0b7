"""The charts of the monthly report: one SVG for each series, drawn by matplotlib, imported only here.

Drawn for half of A4 and for a phone's width, which are nearly the same (9 cm), so that its text can be read
on both. Nothing that somebody wrote stands in a chart: names and the unit are in the page around it.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gateway.report_series import STEP_MS, Series

PER_HOUR = 6
WIDTH_IN, HEIGHT_IN = 3.6, 1.65
SHOWN_H = 4
"""So wide at least is a stretch drawn, that it can be seen: a month has 744 hours."""
_NAMED = re.compile(r'(\bid="|href="#|url\(#)')


@dataclass(frozen=True, slots=True)
class Chart:
    """What is drawn. Times are hours since the month's beginning."""

    series: Series
    days: Sequence[float]
    """Where each local day begins."""
    decimal: str
    limits: Sequence[tuple[float, bool]]
    """(value, confirmed)"""
    alarms: Sequence[tuple[float, float]]
    calibrations: Sequence[float]
    raw: bool
    """Whether the uncorrected mean is drawn beside it."""


def there() -> bool:
    """Whether matplotlib is installed."""
    from importlib.util import find_spec

    return find_spec("matplotlib") is not None


def hours(series: Series, *, raw: bool = False) -> list[float]:
    """The hourly means; NaN where there is none."""
    nan = float("nan")
    found = []
    for begin in range(0, series.steps, PER_HOUR):
        mean = series.mean(begin, begin + PER_HOUR, raw=raw)
        found.append(nan if mean is None else mean)
    return found


def shown(counts: Sequence[int]) -> list[bool]:
    """The hours in which there was one."""
    return [sum(counts[begin : begin + PER_HOUR]) > 0 for begin in range(0, len(counts), PER_HOUR)]


def runs(marked: Sequence[bool]) -> list[tuple[int, int]]:
    """Where it is true without a break: from, and up to without."""
    found, begin = [], -1
    for i, on in enumerate([*marked, False]):
        if on and begin < 0:
            begin = i
        elif not on and begin >= 0:
            found.append((begin, i))
            begin = -1
    return found


def svg(chart: Chart, name: str) -> str:
    """The chart as an <svg> element; `name` makes what it names in itself its own."""
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    plain: dict[Any, Any] = {"svg.fonttype": "path", "svg.hashsalt": name, "text.parse_math": False,
                             "font.size": 8.5,
                             "axes.linewidth": 0.5, "path.simplify_threshold": 0.3}  # fmt: skip
    with mpl.rc_context(plain):
        figure = Figure(figsize=(WIDTH_IN, HEIGHT_IN), layout="constrained")
        figure.get_layout_engine().set(w_pad=0.01, h_pad=0.01)  # type: ignore[union-attr,call-arg]  # it is constrained
        FigureCanvasSVG(figure)
        _draw(figure.add_subplot(), chart)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    found = text.getvalue()
    found = found[found.index("<svg") :]
    found = re.sub(r"<metadata>.*?</metadata>", "", found, flags=re.DOTALL)
    found = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", found, count=1)
    found = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", found, count=1)
    return _NAMED.sub(rf"\g<1>{name}-", found)


def _draw(axes: Any, chart: Chart) -> None:
    series = chart.series
    count = -(-series.steps // PER_HOUR)
    middle = [i + 0.5 for i in range(count)]
    means = hours(series)
    low, high = [], []
    for begin in range(0, series.steps, PER_HOUR):
        lows, highs = series.low[begin : begin + PER_HOUR], series.high[begin : begin + PER_HOUR]
        none = not sum(series.used[begin : begin + PER_HOUR])
        low.append(float("nan") if none else min(lows))
        high.append(float("nan") if none else max(highs))
    for counts, colour in ((series.doubted, "#8a8a8a"), (series.at_work, "#5aa9e6")):
        for begin, end in runs(shown(counts)):
            axes.axvspan(*_seen(begin, end), color=colour, alpha=0.45, linewidth=0)
    axes.fill_between(middle, low, high, color="#2b6cb0", alpha=0.22, linewidth=0)
    if chart.raw:
        axes.plot(middle, hours(series, raw=True), color="#b7791f", linewidth=0.8, linestyle=":")
    axes.plot(middle, means, color="#1a4e8a", linewidth=0.9, solid_joinstyle="round")
    alone = [
        i for i, y in enumerate(means)
        if y == y and all(not 0 <= j < count or means[j] != means[j] for j in (i - 1, i + 1))
    ]  # fmt: skip
    axes.plot([middle[i] for i in alone], [means[i] for i in alone], ".", color="#1a4e8a", markersize=2)
    values = [y for y in (*low, *high) if y == y]
    least: float = min(values, default=0.0)
    most: float = max(values, default=1.0)
    span: float = (most - least) or abs(most) * 0.1 or 1.0
    least, most = least - 0.06 * span, most + 0.12 * span
    for limit, certain in chart.limits:
        if least - span <= limit <= most + span:  # one that is far away would flatten the line
            axes.axhline(limit, color="#c53030", linewidth=0.9, linestyle="-" if certain else (0, (4, 3)))
            least, most = min(least, limit - 0.06 * span), max(most, limit + 0.06 * span)
    for raised, over in chart.alarms:
        ends = _seen(raised, over)
        axes.axvspan(*ends, color="#c53030", alpha=0.12, linewidth=0)
        axes.axvspan(*ends, ymin=0.93, ymax=1, color="#c53030", linewidth=0)
    for at in chart.calibrations:
        axes.axvline(at, color="#2f855a", linewidth=1.1)
        axes.plot([at], [least + 0.02 * (most - least)], "^", color="#2f855a", markersize=4, clip_on=False)
    axes.set_ylim(least, most)
    axes.set_xlim(0, series.steps * STEP_MS / 3_600_000)
    days = range(0, len(chart.days), 5)
    axes.set_xticks([chart.days[i] for i in days], [str(i + 1) for i in days])
    axes.set_xticks(list(chart.days), minor=True)
    axes.yaxis.set_major_formatter(_decimal(chart.decimal))
    axes.yaxis.set_major_locator(_ticks())
    axes.grid(axis="y", color="#000000", alpha=0.12, linewidth=0.4)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.tick_params(width=0.5, length=2.5)


def _seen(begin: float, end: float) -> tuple[float, float]:
    """The ends of a stretch, wide enough to be seen."""
    short = max(0.0, SHOWN_H - (end - begin)) / 2
    return begin - short, end + short


def _ticks() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(nbins=5)


def _decimal(sign: str) -> Any:
    from matplotlib.ticker import ScalarFormatter

    class Localised(ScalarFormatter):
        def __call__(self, x: float, pos: int | None = None) -> str:
            return super().__call__(x, pos).replace(".", sign)

    return Localised(useOffset=False)
