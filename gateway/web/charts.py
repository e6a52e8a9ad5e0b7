"""Charts and logs: what was, from an hour to years, in as many points as a screen has.

    ≤ 2 days, few readings    every reading
    ≤ 2 days                  columns of min, mean, max with the worst flag
    longer                    the same from half hours (gateway.journal_history)

A gap is a gap: where more than some cycles lie between two points, a `null` stands between them. Columns are
never shorter than two cycles of the sensor, so that an empty one means that nothing was read.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Annotated, Any

import msgspec

from gateway.journal_history import Chapter
from gateway.journal_history_sums import BUCKET_MS, Bucket, merge, step, sum_up, with_gaps
from gateway.web.endpoint import Ask, Bad, Endpoint

DAY_MS = 86_400_000
CLOSE_MS = 2 * DAY_MS
LONGEST_MS = 4000 * DAY_MS
POINTS, MOST_POINTS = 600, 2000
GAP_CYCLES = 2.5
TAIL = 60_000
BUSY_S = 20.0
KEPT = 12
WAITING = 8
"""Questions that may wait for the thread; what comes beyond is told to try again."""
MARKS = (
    "alarm", "calibrated", "calibration", "gap", "clock_step", "clock_set", "loss", "started", "maintenance",
    "visit",
)  # fmt: skip

SHOWN = (
    "rule", "sensor", "quantity", "from", "to", "from_ms", "to_ms", "slots", "why", "priority", "value",
    "unit",
)  # fmt: skip
"""What of an event everybody may see."""

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
Moment = Annotated[int, msgspec.Meta(ge=0, le=10**14)]


class HistoryQuery(msgspec.Struct, forbid_unknown_fields=True, rename={"from_ms": "from", "to_ms": "to"}):
    """Times are milliseconds since 1970 (UTC); without them the last 24 hours."""

    sensor: Name
    quantity: Name
    from_ms: Moment | None = None
    to_ms: Moment | None = None
    points: Annotated[int, msgspec.Meta(ge=2, le=MOST_POINTS)] = POINTS


class EventsQuery(msgspec.Struct, forbid_unknown_fields=True, rename={"from_ms": "from", "to_ms": "to"}):
    """Newest first; `before` is the seq to go on from, `what` a list with commas."""

    what: Annotated[str, msgspec.Meta(max_length=300)] = ""
    from_ms: Moment = 0
    to_ms: Moment = 10**14
    before: Annotated[int, msgspec.Meta(ge=1, le=10**15)] = 10**15
    limit: Annotated[int, msgspec.Meta(ge=1, le=500)] = 100


class Desk:
    """The one thread that reads the past for the page, and the answers that it gave last."""

    def __init__(self) -> None:
        self.turn = asyncio.Lock()
        self.waiting = 0
        self.given: OrderedDict[tuple[Any, ...], Any] = OrderedDict()


async def _in_turn(ask: Ask, job: Any) -> Any:
    """Run a question in the thread; one at a time, and not for ever."""
    desk = ask.site.desk
    if desk.waiting >= WAITING:
        raise Bad(503, "too many questions about the past at once", "try again in some seconds", 5)
    desk.waiting += 1
    try:
        async with asyncio.timeout(BUSY_S):
            async with desk.turn:
                history = ask.site.history
                settled = await asyncio.to_thread(history.settled_seq)
                records = await ask.site.station.journal.after(settled, TAIL)
                return await asyncio.to_thread(lambda: job(history.chapter_of(records)))
    except TimeoutError:  # which is an OSError as well
        raise Bad(503, "the past takes too long", "ask for less, or try again", 10) from None
    except OSError as e:
        raise Bad(503, e.strerror or str(e), "see `suuaba doctor`", 60) from None
    finally:
        desk.waiting -= 1


async def history(ask: Ask) -> Any:
    query: HistoryQuery = ask.query
    sensor = next((s for s in ask.site.station.config.sensors if s.id == query.sensor), None)
    names = [q.name for q in ask.site.station.config.quantities.get(query.sensor, ())]
    if sensor is None or query.quantity not in names:
        known = names if sensor is not None else [s.id for s in ask.site.station.config.sensors]
        raise Bad(404, "nothing of that name is measured here", f"there are: {', '.join(known)[:300]}")
    now_ms = ask.site.station.clock.stamp().utc_ms
    to_ms = now_ms + 1 if query.to_ms is None else min(query.to_ms, now_ms + DAY_MS)
    from_ms = max(0, to_ms - DAY_MS if query.from_ms is None else query.from_ms)
    if from_ms >= to_ms:
        raise Bad(400, "`from` is not before `to`", "times are milliseconds since 1970; the past only")
    from_ms = max(from_ms, to_ms - LONGEST_MS)
    rough_s = max((to_ms - from_ms) / 1000 / query.points, 1.0)
    key = (query.sensor, query.quantity, from_ms, to_ms, query.points)
    given = ask.site.desk.given
    if key in given and to_ms < now_ms - 60_000:
        return given[key]
    unit = next(q.unit for q in ask.site.station.config.quantities[query.sensor] if q.name == query.quantity)
    found = await _in_turn(ask, lambda tail: _series(ask, query, from_ms, to_ms, sensor.every_s * 1000, tail))
    answer = {
        "sensor": query.sensor,
        "quantity": query.quantity,
        "unit": unit,
        "from_ms": from_ms,
        "to_ms": to_ms,
    }
    answer |= found | {"rough_s": round(rough_s, 3)}
    given[key] = answer
    while len(given) > KEPT:
        given.popitem(last=False)
    return answer


def _series(
    ask: Ask, query: HistoryQuery, from_ms: int, to_ms: int, every_ms: float, tail: Chapter
) -> dict[str, Any]:
    past, range_ms = ask.site.history, to_ms - from_ms
    complete = True
    if range_ms <= CLOSE_MS:
        points, complete = past.points(query.sensor, query.quantity, from_ms, to_ms, tail)
        if len(points) <= query.points:
            buckets = []
            for t, value, flag in points:
                bucket = Bucket(t)
                bucket.add(value, flag)
                if flag >= 4:  # each by itself: what failed is shown as what it was
                    bucket = Bucket(t, 1, value, value, value, 1, flag)
                buckets.append(bucket)
            return _columns(buckets, 0, GAP_CYCLES * every_ms, complete)
        length_ms = step(range_ms, query.points, int(2 * every_ms))
        buckets = list(sum_up(points, length_ms).values())
    else:
        halves, complete = past.buckets(query.sensor, query.quantity, from_ms, to_ms, tail)
        length_ms = step(range_ms, query.points, BUCKET_MS)
        buckets = merge(halves, length_ms)
    return _columns(buckets, length_ms, max(1.5 * length_ms, GAP_CYCLES * every_ms), complete)


def _columns(buckets: list[Bucket], length_ms: int, gap_ms: float, complete: bool) -> dict[str, Any]:
    middle = length_ms // 2
    t: list[int] = []
    mean: list[float | None] = []
    low: list[float | None] = []
    high: list[float | None] = []
    flag: list[int] = []
    cuts = set(with_gaps([b.start_ms for b in buckets], gap_ms))
    for i, bucket in enumerate(buckets):
        if i in cuts:
            t.append((buckets[i - 1].start_ms + bucket.start_ms) // 2 + middle)
            mean.append(None)
            low.append(None)
            high.append(None)
            flag.append(9)
        t.append(bucket.start_ms + middle)
        mean.append(_short(bucket.mean))
        low.append(_short(bucket.low))
        high.append(_short(bucket.high))
        flag.append(bucket.worst)
    return {
        "bucket_ms": length_ms,
        "complete": complete,
        "t": t,
        "mean": mean,
        "min": low,
        "max": high,
        "flag": flag,
    }


def _short(value: float | None) -> float | None:
    """Six digits: more is no measurement, and is carried over the air."""
    return None if value is None else float(f"{value:.6g}")


async def marks(ask: Ask) -> Any:
    """What charts mark, without who and why: public."""
    query: EventsQuery = ask.query
    wanted = [w for w in query.what.split(",") if w in MARKS] if query.what else list(MARKS)
    found = await _in_turn(
        ask,
        lambda tail: ask.site.history.notes(
            tail,
            what=wanted,
            from_ms=query.from_ms,
            to_ms=query.to_ms,
            before_seq=query.before,
            limit=query.limit,
        ),
    )
    return {
        "events": [
            {
                "seq": seq,
                "at_ms": at,
                "what": what,
                "detail": {k: detail[k] for k in SHOWN if k in detail and (k != "why" or what == "gap")},
            }
            for seq, at, what, detail in found
        ]
    }


async def events(ask: Ask) -> Any:
    query: EventsQuery = ask.query
    wanted = [w for w in query.what.split(",") if w]
    found = await _in_turn(
        ask,
        lambda tail: ask.site.history.notes(
            tail,
            what=wanted,
            from_ms=query.from_ms,
            to_ms=query.to_ms,
            before_seq=query.before,
            limit=query.limit,
        ),
    )
    return {"events": [{"seq": s, "at_ms": at, "what": what, "detail": d} for s, at, what, d in found]}


_BUSY = {503: "busy: try again in some seconds"}

ENDPOINTS = (
    Endpoint("GET", "/api/history", history, "One quantity over time", query=HistoryQuery, answers=_BUSY),
    Endpoint("GET", "/api/marks", marks, "Alarms, calibrations, gaps", query=EventsQuery, answers=_BUSY),
    Endpoint("GET", "/api/events", events, "The log", "technician", query=EventsQuery, answers=_BUSY),
)
