"""Held against limits: how often, for how long, how bad; and the month in one word. Pure.

A limit is a rule of a set (alerts/rulesets) or of station.toml. Its mean is taken over fixed windows of
local time: `over` up to an hour in steps of ten minutes, a day from midnight to midnight. A limit on single
readings is held against means of ten minutes. A window counts when three quarters of its steps have usable
values.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from alerts.readymade import RuleSet
from gateway.report_story import Story
from gateway.report_sums import STEP_MS, Series, Sums

COMPLETE = 0.75
DAY_S = 86_400.0
POOR_CAPTURE, MANY_DOUBTS = 0.75, 0.10


@dataclass(frozen=True, slots=True)
class Limit:
    """What a mean must not be above or below."""

    id: str
    quantity: str
    unit: str
    over_s: float
    above: float | None
    below: float | None
    certain: bool
    note: str = ""
    sensor: str = ""
    """"": every sensor that measures it."""


@dataclass(frozen=True, slots=True)
class Judged:
    """One limit held against one series."""

    limit: Limit
    series: Series
    windows: int
    beyond: int
    beyond_ms: int
    worst: float | None
    worst_ms: int
    side: str
    """above or below: where the worst is."""
    bound: float | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """The month in a word, and why: keys of the texts with what goes into them."""

    word: str
    reasons: Sequence[tuple[str, Mapping[str, Any]]]


def of_set(given: RuleSet) -> tuple[list[Limit], list[str]]:
    """The limits of a set, and the rules that are no mean over a window."""
    limits, others = [], []
    for rule in given.rules:
        keys = rule.keys
        over_s = seconds(str(keys.get("over", "10 min")))
        if keys.get("nowcast") or over_s is None or not ("above" in keys or "below" in keys):
            others.append(rule.id)
            continue
        certain = rule.certainty == "seen"
        above, below = keys.get("above"), keys.get("below")
        limits.append(Limit(rule.id, rule.quantity, keys["unit"], over_s, above, below, certain, rule.note))
    return limits, others


def seconds(text: str) -> float | None:
    """ "30 min" → 1800."""
    number, _, unit = text.partition(" ")
    factor = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": DAY_S}.get(unit)
    return float(number) * factor if factor and number.replace(".", "", 1).isdigit() else None


def judge(limits: Iterable[Limit], sums: Sums, midnights: Sequence[int]) -> list[Judged]:
    """Every limit against every series that it is for. `midnights`: those of the month in ms, and its end."""
    found: list[Judged] = []
    for limit in limits:
        for series in sums.series.values():
            same = (series.quantity, series.unit) == (limit.quantity, limit.unit)
            if same and limit.sensor in ("", series.sensor):
                found += [_judged(limit, series, sums.span.from_ms, midnights)]
    return found


def windows(over_s: float, steps: int, from_ms: int, midnights: Sequence[int]) -> list[tuple[int, int]]:
    """The windows as steps: from, and up to without."""
    if over_s >= DAY_S:
        days = [min((ms - from_ms) // STEP_MS, steps) for ms in midnights]
        return list(pairwise(days))
    length = max(1, round(over_s * 1000) // STEP_MS)
    out = []
    for begin, end in windows(DAY_S, steps, from_ms, midnights):  # they begin anew each midnight
        out += [(at, min(at + length, end)) for at in range(begin, end, length)]
    return out


def _judged(limit: Limit, series: Series, from_ms: int, midnights: Sequence[int]) -> Judged:
    count, beyond, beyond_ms = 0, 0, 0
    worst, worst_ms, side, bound, excess = None, 0, "", limit.above, -float("inf")
    for begin, end in windows(limit.over_s, series.steps, from_ms, midnights):
        measured = sum(1 for n in series.used[begin:end] if n)
        if end <= begin or measured < COMPLETE * (end - begin):
            continue
        mean = series.mean(begin, end)
        if mean is None:
            continue
        count += 1
        over = mean - limit.above if limit.above is not None else -float("inf")
        under = limit.below - mean if limit.below is not None else -float("inf")
        more = max(over, under)
        if more > 0:
            beyond += 1
            beyond_ms += (end - begin) * STEP_MS
        if more > excess:
            excess, worst, worst_ms = more, mean, from_ms + begin * STEP_MS
            side, bound = ("above", limit.above) if over >= under else ("below", limit.below)
    return Judged(limit, series, count, beyond, beyond_ms, worst, worst_ms, side, bound)


def verdict(sums: Sums, judged: Sequence[Judged], found: Story, *, broken: bool) -> Verdict:
    """The month in a word. Bad: a confirmed limit exceeded, or a critical alarm. Watch: anything else that
    somebody should look at. Good: nothing of it, and something was judged. Not known: nothing to judge by.
    """
    if not sums.readings:
        return Verdict("unknown", [("r_nothing", {})])
    bad: list[tuple[str, Mapping[str, Any]]] = []
    watch: list[tuple[str, Mapping[str, Any]]] = []
    worst: dict[tuple[str, bool], Judged] = {}
    for one in judged:
        key = one.series.quantity, one.limit.certain
        if one.beyond and (key not in worst or one.beyond_ms > worst[key].beyond_ms):
            worst[key] = one
    for (_, certain), one in worst.items():
        (bad if certain else watch).append(("r_limit" if certain else "r_memory", {"judged": one}))
    critical = sum(alarm.priority == "critical" for alarm in found.alarms)
    if critical:
        bad.append(("r_alarm", {"count": critical}))
    elif found.alarms:
        watch.append(("r_alarms", {"count": len(found.alarms)}))
    if broken:
        bad.append(("r_evidence", {}))
    for sensor, account in found.capture.items():
        if account.taken < POOR_CAPTURE * account.expected:
            watch.append(("r_capture", {"sensor": sensor, "share": account.taken / account.expected}))
    doubts: dict[str, list[int]] = {}
    for series in sums.series.values():
        both = doubts.setdefault(series.sensor, [0, 0])
        both[0] += sum(series.doubted)
        both[1] += sum(series.doubted) + sum(series.used)
    for sensor, (doubted, all_) in doubts.items():
        if all_ and doubted > MANY_DOUBTS * all_:
            watch.append(("r_doubt", {"sensor": sensor, "share": doubted / all_}))
    if not judged and not bad and not watch:
        return Verdict("unknown", [("r_nolimit", {})])
    return Verdict("bad" if bad else "watch" if watch else "good", [*bad, *watch])
