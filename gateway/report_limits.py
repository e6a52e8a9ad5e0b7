"""Held against limits: how often, for how long, how bad; and the month in one word. Pure.

A limit is a rule of a set (alerts/rulesets) or of station.toml, held only against sensors in its kind of
water or air. Its mean is taken over fixed windows of local time: `over` up to an hour in steps of ten
minutes, a day from midnight to midnight. A limit on single readings is held against means of ten minutes.
A window counts when three quarters of its steps have usable values. A NowCast is of such an hour and the
eleven before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from alerts import air_quality
from alerts.kinds import fits, usual
from alerts.readymade import RuleSet
from gateway.report_story import Story
from gateway.report_sums import STEP_MS, Series, Sums

COMPLETE = 0.75
DAY_S = 86_400.0
NOWCAST_S = air_quality.HOURS * 3600.0
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
    kind: str = ""
    """Of water or air (alerts.kinds)."""
    nowcast: bool = False


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


def of_set(given: RuleSet) -> list[Limit]:
    """The limits of a set."""
    limits = []
    for rule in given.rules:
        keys = rule.keys
        nowcast = bool(keys.get("nowcast"))
        over_s = NOWCAST_S if nowcast else seconds(str(keys.get("over", "10 min")))
        if over_s is not None and ("above" in keys or "below" in keys):
            limits.append(
                Limit(
                    rule.id, rule.quantity, keys["unit"], over_s, keys.get("above"), keys.get("below"),
                    rule.certainty == "seen", rule.note, kind=rule.kind, nowcast=nowcast,
                )
            )  # fmt: skip
    return limits


def seconds(text: str) -> float | None:
    """ "30 min" → 1800."""
    number, _, unit = text.partition(" ")
    factor = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": DAY_S}.get(unit)
    return float(number) * factor if factor and number.replace(".", "", 1).isdigit() else None


def judge(
    limits: Iterable[Limit], sums: Sums, midnights: Sequence[int], kinds: Mapping[str, str]
) -> list[Judged]:
    """Every limit against every series that it is for. `midnights`: those of the month in ms, and its end;
    `kinds`: the water or air that each sensor is in. A sensor that is no longer there was in the usual one.
    """
    return [
        _judged(limit, series, sums.span.from_ms, midnights)
        for limit in limits
        for series in sums.series.values()
        if _measures(series, limit) and _is_in(series, limit, kinds)
    ]


def unfit(limits: Iterable[Limit], sums: Sums, kinds: Mapping[str, str]) -> list[tuple[str, str]]:
    """The limits on what is measured here, but in another kind of water or air: their ids and kinds."""
    found = []
    for limit in limits:
        measuring = [series for series in sums.series.values() if _measures(series, limit)]
        if measuring and not any(_is_in(series, limit, kinds) for series in measuring):
            found.append((limit.id, limit.kind))
    return found


def _measures(series: Series, limit: Limit) -> bool:
    same = (series.quantity, series.unit) == (limit.quantity, limit.unit)
    return same and limit.sensor in ("", series.sensor)


def _is_in(series: Series, limit: Limit, kinds: Mapping[str, str]) -> bool:
    return fits(limit.kind, kinds.get(series.sensor, usual(series.medium)))


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
    values = _nowcasts if limit.nowcast else _means
    for begin, end, mean in values(limit, series, from_ms, midnights):
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


def _means(
    limit: Limit, series: Series, from_ms: int, midnights: Sequence[int]
) -> Iterator[tuple[int, int, float]]:
    """The windows that count, and their means."""
    for begin, end in windows(limit.over_s, series.steps, from_ms, midnights):
        measured = sum(1 for n in series.used[begin:end] if n)
        if end > begin and measured >= COMPLETE * (end - begin):
            mean = series.mean(begin, end)
            if mean is not None:
                yield begin, end, mean


def _nowcasts(
    limit: Limit, series: Series, from_ms: int, midnights: Sequence[int]
) -> Iterator[tuple[int, int, float]]:
    """The hours that count, and their NowCasts."""
    hour = round(3_600_000 / STEP_MS)
    known = {b // hour: m for b, _, m in _means(replace(limit, over_s=3600.0), series, from_ms, midnights)}
    for number in known:
        ago = {i: known[number - i] for i in range(air_quality.HOURS) if number - i in known}
        value = air_quality.nowcast(ago)
        if value is not None:
            if limit.quantity in air_quality.PARTICLES:
                value = air_quality.cut(limit.quantity, value)
            yield number * hour, (number + 1) * hour, value


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
