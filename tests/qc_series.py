"""Series of readings, what our streaming tests say of them, and what ioos_qc says of the same: the two must
be equal but for the exceptions of docs/quality.md, each of which has its own definition here.

A series is a row of slots `every_s` apart; None is a reading that was missed. ioos_qc gets it whole, ours
gets one value at a time and never hears of the missed ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from gateway.model import Event, Reading, Record, Stamp, Value
from gateway.qc import Attenuation, Checks, Expect, Flat, worst
from gateway.qc_spike import SpikeFold

START_S = 1_795_428_000  # 2026-11-23T10:00:00Z
DEAD = 3
"""So many missed readings in a row, and what looks back begins anew."""
Slots = Sequence[float | None]


def stamp(after_s: float, *, start_s: float = START_S, synced: bool = True) -> Stamp:
    return Stamp(round((start_s + after_s) * 1000), "boot0001", 5000 + round(after_s * 1000), synced)


def stream(expect: Expect, slots: Slots, every_s: float = 1.0, start_s: float = START_S) -> list[int]:
    """The live flag of each slot; 9 where there was no reading."""
    checks = Checks({"q": expect}, every_s)
    return [
        9 if x is None else checks.flag("q", x, stamp(i * every_s, start_s=start_s))[0]
        for i, x in enumerate(slots)
    ]


def spikes(expect: Expect, slots: Slots, every_s: float = 1.0, live: int = 1) -> dict[int, int]:
    """The flags that the spike test corrected, by slot; `live` is what was sent before."""
    fold = SpikeFold({"s": (every_s, {"q": expect})})
    found = {}
    for i, x in enumerate(slots):
        if x is None:
            continue
        reading = Reading("s", "m", "water", stamp(i * every_s), {"q": Value(x, x, "pH", live)})
        for event in fold.step(Record(i, reading)):
            assert isinstance(event, Event)
            assert event.detail["seq"] not in found, "a value is judged once"
            found[event.detail["seq"]] = event.detail["flag"]
    return found


# ── what ioos_qc says ──


def ioos(test: str, slots: Slots, *, every_s: float | None = None, **limits: Any) -> list[int]:
    """The flags of ioos_qc. With `every_s` the test is given times, in whole seconds."""
    from ioos_qc import qartod

    values = [float("nan") if x is None else x for x in slots]
    if every_s is not None:
        limits["tinp"] = [START_S + int(i * every_s) for i in range(len(slots))]
    return [int(flag) for flag in getattr(qartod, test)(inp=values, **limits)]


# ── equal, and the exceptions ──


@dataclass(frozen=True)
class Series:
    """A series and the limits of every test."""

    slots: tuple[float | None, ...]
    every_s: int
    expect: Expect


def equal(series: Series) -> None:
    """Every test of ours equals ioos_qc's on this series, documented exceptions aside."""
    for compare in (_ranges, _climatology, _gap, _rate, _flat_line, _attenuated, _spike, _combined):
        compare(series)


def _only(series: Series, *names: str) -> Expect:
    return Expect(**{name: getattr(series.expect, name) for name in names})


def _same(what: str, ours: Sequence[int], theirs: Sequence[int], series: Series) -> None:
    assert list(ours) == list(theirs), f"{what}: ours {list(ours)}, ioos_qc {list(theirs)}, {series}"


def _ranges(series: Series) -> None:
    e = series.expect
    theirs = ioos("gross_range_test", series.slots, fail_span=e.gross, suspect_span=e.usual)
    _same("ranges", stream(_only(series, "gross", "usual"), series.slots), theirs, series)


def _climatology(series: Series) -> None:
    """Exception: ioos_qc 3.0.0 gives a missing value a flag, even GOOD."""
    e, days = series.expect, 13
    config = [{"tspan": (m, m), "vspan": span, "period": "month"} for m, span in e.climatology.items()]
    nowhere = [float("nan")] * len(series.slots)
    theirs = ioos("climatology_test", series.slots, every_s=days * 86400, config=config, zinp=nowhere)
    theirs = [9 if x is None else flag for x, flag in zip(series.slots, theirs, strict=True)]
    _same("climatology", stream(_only(series, "climatology"), series.slots, days * 86400), theirs, series)


def _gap(series: Series) -> None:
    """Exceptions: SUSPECT where ioos_qc has FAIL, and the first value is not evaluated."""
    from ioos_qc import qartod
    from numpy import array

    assert series.expect.gap_s is not None
    at_s = [i * series.every_s for i, x in enumerate(series.slots) if x is not None]
    if len(at_s) < 2:
        return  # ioos_qc looks at a second value in any case
    times = array([START_S + s for s in at_s], dtype="datetime64[s]").astype("datetime64[ns]")
    theirs = [3 if f == 4 else f for f in qartod.time_gap_test(times, series.expect.gap_s / 3600).tolist()]
    ours = [f for f in stream(_only(series, "gap_s"), series.slots, series.every_s) if f != 9]
    _same("gap", ours, [2, *theirs[1:]], series)


def _rate(series: Series) -> None:
    """Exception: without the reading before there is no rate, so not evaluated; ioos_qc says GOOD."""
    slots, threshold = series.slots, series.expect.rate_per_s
    theirs = ioos("rate_of_change_test", slots, every_s=series.every_s, threshold=threshold)
    for i, x in enumerate(slots):
        if x is not None and (i == 0 or slots[i - 1] is None):
            assert theirs[i] == 1
            theirs[i] = 2
    _same("rate", stream(_only(series, "rate_per_s"), slots, series.every_s), theirs, series)


def _flat_line(series: Series) -> None:
    """Exceptions: not evaluated until something was seen to move, or for long enough not to; and missed
    readings are no proof of a flat line: values must cover the time (ioos_qc issue 68).
    """
    slots, flat, every_s = series.slots, series.expect.flat, series.every_s
    assert flat is not None
    theirs = ioos(
        "flat_line_test",
        slots,
        every_s=every_s,
        suspect_threshold=flat.suspect_s,
        fail_threshold=flat.fail_s,
        tolerance=flat.within,
    )
    expected = []
    for i, x in enumerate(slots):
        if x is None:
            expected.append(9)
            continue
        row = _flat_row(slots, i, flat.within)
        covered = [i - row >= int(length_s / every_s) for length_s in (flat.suspect_s, flat.fail_s)]
        expected.append(4 if covered[1] else 3 if covered[0] else 1 if row > _began(slots, i) else 2)
        if None not in slots:
            assert theirs[i] == (expected[i] if expected[i] != 2 else 1), (theirs, expected, series)
        else:
            assert expected[i] <= 2 or theirs[i] >= expected[i], (theirs, expected, series)
    _same("flat line", stream(_only(series, "flat"), slots, every_s), expected, series)


def _attenuated(series: Series) -> None:
    """Exceptions: not evaluated until values cover the period; and a missed reading does not blind the test
    for a whole period, so ioos_qc is given only what was read.
    """
    import pandas
    from ioos_qc import qartod

    slots, over, every_s = series.slots, series.expect.attenuated, series.every_s
    assert over is not None
    present = [(i, x) for i, x in enumerate(slots) if x is not None]
    if not present:
        return
    flags = qartod.attenuated_signal_test(
        inp=[x for _, x in present],
        tinp=pandas.to_datetime([START_S + i * every_s for i, _ in present], unit="s"),
        suspect_threshold=over.suspect,
        fail_threshold=over.fail,
        test_period=over.over_s,
        check_type="range",
    )
    expected = [9] * len(slots)
    for (i, _), flag in zip(present, flags.tolist(), strict=True):
        full = (i - _began(slots, i) + 1) * every_s >= over.over_s
        expected[i] = flag if full else 2
    _same("attenuated", stream(_only(series, "attenuated"), slots, every_s), expected, series)


def _spike(series: Series) -> None:
    """Exception: what is GOOD makes no record, so only what is worse can be compared."""
    limits = series.expect.spike
    assert limits is not None
    for method in ("average", "differential"):
        theirs = ioos(
            "spike_test",
            series.slots,
            suspect_threshold=limits[0],
            fail_threshold=limits[1],
            method=method,
        )
        expect = Expect(spike=limits, spike_method=method)  # type: ignore[arg-type]  # a loop over both
        ours = spikes(expect, series.slots, series.every_s)
        assert ours == {i: f for i, f in enumerate(theirs) if f in (3, 4)}, (method, theirs, series)


def _combined(series: Series) -> None:
    """All tests at once give what `qartod_compare` makes of each alone."""
    from ioos_qc import qartod
    from numpy import array

    names = (("gross", "usual"), ("climatology",), ("gap_s",), ("rate_per_s",), ("flat",), ("attenuated",))
    each = [stream(_only(series, *n), series.slots, series.every_s) for n in names]
    together = stream(series.expect, series.slots, series.every_s)
    theirs = qartod.qartod_compare([array(flags) for flags in each]).tolist()
    _same("combined", together, theirs, series)
    assert [worst([flags[i] for flags in each]) for i in range(len(together))] == theirs


def _began(slots: Slots, i: int) -> int:
    """The first slot of the readings that belong together with slot i."""
    began, missed = i, 0
    while i > 0 and missed < DEAD:
        i -= 1
        if slots[i] is None:
            missed += 1
        else:
            began, missed = i, 0
    return began


def _flat_row(slots: Slots, i: int, within: float) -> int:
    """Where the row of values begins that are less than `within` apart and end at slot i."""
    row, began = i, _began(slots, i)
    low = high = slots[i]
    for j in range(i, began - 1, -1):
        x = slots[j]
        if x is None or low is None or high is None:
            continue
        low, high = min(low, x), max(high, x)
        if high - low >= within:
            break
        row = j
    return row


# ── random series ──

_EIGHTHS = st.integers(-24, 24).map(lambda n: n / 8)  # exact in binary: limits are met on the dot
_PIECES: dict[str, Callable[[float, list[int]], list[float | None]]] = {
    "steady": lambda at, steps: [at for _ in steps],
    "walk": lambda at, steps: [at + sum(steps[: k + 1]) / 8 for k in range(len(steps))],
    "noise": lambda at, steps: [at + s / 8 for s in steps],
    "fine": lambda at, steps: [at + s / 1000 for s in steps],
    "spike": lambda at, steps: [at + (s if k == len(steps) // 2 else 0) for k, s in enumerate(steps)],
    "silence": lambda at, steps: [None for _ in steps],
}


@st.composite
def random_series(draw: st.DrawFn) -> Series:
    """Steady pieces, noise, walks, spikes and silences in a row."""
    pieces = st.tuples(
        st.sampled_from(sorted(_PIECES)), _EIGHTHS, st.lists(st.integers(-4, 4), min_size=1, max_size=9)
    )
    slots: list[float | None] = []
    for kind, at, steps in draw(st.lists(pieces, min_size=1, max_size=7)):
        slots += _PIECES[kind](at, steps)
    missed = draw(st.sets(st.integers(0, len(slots) - 1), max_size=4))
    slots = [None if i in missed else x for i, x in enumerate(slots)]
    while len(slots) < 3:  # ioos_qc gives up on less
        slots.append(0.0)
    every_s = draw(st.sampled_from((1, 2, 10, 60, 900)))
    low, high = sorted((draw(_EIGHTHS), draw(_EIGHTHS) + 4))
    suspect, fail = sorted(draw(st.tuples(st.integers(1, 16), st.integers(17, 40))))
    flat = sorted(draw(st.tuples(st.integers(2, 5), st.integers(6, 12))))
    odd_s = draw(st.integers(0, every_s - 1))  # a time that is not a whole number of readings
    return Series(
        tuple(slots),
        every_s,
        Expect(
            gross=(low - 1, high + 1),
            usual=(low, high),
            spike=(suspect / 8, fail / 8),
            rate_per_s=draw(st.integers(1, 16)) / 8 / every_s,
            flat=Flat(draw(st.integers(1, 8)) / 8, flat[0] * every_s + odd_s, flat[1] * every_s + odd_s),
            attenuated=Attenuation(
                draw(st.integers(4, 12)) * every_s + odd_s, suspect / 8, draw(st.integers(0, suspect)) / 8
            ),
            gap_s=draw(st.sampled_from((225.0, 450.0, 900.0, 1800.0))),  # ioos_qc takes hours: exact in them
            climatology=dict.fromkeys(draw(st.sets(st.integers(1, 12), min_size=1)), (low, high)),
        ),
    )
