"""Averages: windows, late readings, clocks that are set, verdicts that come later."""

from __future__ import annotations

import statistics
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from gateway.averages_windows import local_day
from gateway.model import Average, Event, Mean, Reading, Stamp, Value
from tests.averaging import TEN_MS, Run, at, fold, one, reading

# ── windows ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_minute() -> None:
    run = Run(fold())
    assert run.see(*(reading(i * 10_000, float(i)) for i in range(6))) == []
    assert run.tick(64_999) == []
    average = one(run.tick(65_000))
    assert average == Average(
        "t1", "y511", "water", at(60_000), TEN_MS, 60, {"turbidity": Mean(2.5, 0.0, 5.0, 6, 6, "NTU", 1)}
    )
    assert run.tick(66_000) == []
    assert run.tick(3_600_000) == []  # a window in which nothing came gives nothing


def test_a_reading_closes_a_window_as_time_does() -> None:
    run = Run(fold())
    run.see(*(reading(i * 10_000, float(i)) for i in range(6)))
    assert run.see(reading(60_000, 100.0)) == []
    assert one(run.see(reading(70_000, 100.0))).values["turbidity"].mean == 2.5
    assert one(run.tick(125_000)).values["turbidity"].used == 2


@pytest.mark.parametrize(
    ("flags", "suspect", "expected"),
    [
        ([1, 1, 1, 1, 1, 1], False, (2.5, 6, 1, "")),
        ([2, 2, 2, 2, 2, 2], False, (2.5, 6, 2, "")),
        ([1, 1, 1, 1, 1, 2], False, (2.5, 6, 2, "")),
        ([1, 1, 1, 1, 1, 4], False, (2.0, 5, 1, "")),  # 5 of 6 are 83 %
        ([1, 1, 1, 1, 4, 4], False, (1.5, 4, 3, "incomplete")),  # 67 %
        ([1, 1, 1, 1, 1, 3], False, (2.0, 5, 1, "")),
        ([1, 1, 1, 1, 1, 3], True, (2.5, 6, 3, "suspect values")),
        ([9, 9, 9, 9, 9, 9], True, (None, 0, 9, "no usable value")),
        ([4, 4, 4, 4, 4, 4], True, (None, 0, 9, "no usable value")),
    ],
)
def test_flags(flags: list[int], suspect: bool, expected: tuple[float | None, int, int, str]) -> None:
    run = Run(fold(suspect=suspect))
    run.see(*(reading(i * 10_000, float(i), flag) for i, flag in enumerate(flags)))
    found = one(run.tick(65_000)).values["turbidity"]
    assert (found.mean, found.used, found.flag, found.why) == expected
    assert (found.minimum is None) is (found.used == 0)


def test_three_quarters_are_enough() -> None:
    run = Run(fold(every_s=7.5))
    run.see(*(reading(i * 7500, 1.0) for i in range(6)))
    assert one(run.tick(65_000)).values["turbidity"] == Mean(1.0, 1.0, 1.0, 6, 8, "NTU", 1)


@pytest.mark.parametrize(
    ("length_s", "every_s", "expected"),
    [(60, 10, 6), (60, 7, 8), (60, 0.1, 600), (60, 600, 1), (3600, 10, 360)],
)
def test_the_expected_number(length_s: int, every_s: float, expected: int) -> None:
    run = Run(fold([length_s], every_s))
    run.see(reading(0, 1.0))
    assert one(run.tick(length_s * 1000 + 5000)).values["turbidity"].expected == expected


def test_several_lengths_and_sensors() -> None:
    run = Run(fold([60, 600, 3600]))
    for i in range(361):
        run.see(reading(i * 10_000, float(i)))
        run.tick(i * 10_000 + 5001)
    run.tick(3_605_000)
    by_length = {n: [a for a in run.averages() if a.length_s == n] for n in (60, 600, 3600)}
    assert [len(by_length[n]) for n in (60, 600, 3600)] == [60, 6, 1]
    assert by_length[3600][0].values["turbidity"].mean == statistics.fmean(range(360))
    assert by_length[600][3].values["turbidity"].mean == statistics.fmean(range(180, 240))
    assert {a.revision for a in run.averages()} == {0}
    assert Run(fold()).see(Reading("gone", "m", "water", at(0), {"ph": Value(7.0, 7.0, "pH", 1)})) == []


@pytest.mark.parametrize(
    ("zone", "moment", "start", "hours"),
    [
        ("Asia/Bishkek", "2026-11-23T10:00+00:00", "2026-11-22T18:00+00:00", 24),
        ("Asia/Bishkek", "2026-11-23T17:59+00:00", "2026-11-22T18:00+00:00", 24),
        ("Asia/Bishkek", "2026-11-23T18:00+00:00", "2026-11-23T18:00+00:00", 24),
        ("Europe/Berlin", "2026-03-29T12:00+00:00", "2026-03-28T23:00+00:00", 23),
        ("Europe/Berlin", "2026-10-25T12:00+00:00", "2026-10-24T22:00+00:00", 25),
        ("UTC", "1970-01-01T00:00+00:00", "1970-01-01T00:00+00:00", 24),
    ],
)
def test_the_day_is_the_station_s(zone: str, moment: str, start: str, hours: int) -> None:
    moment_ms, start_ms = (int(datetime.fromisoformat(t).timestamp() * 1000) for t in (moment, start))
    assert local_day(moment_ms, ZoneInfo(zone)) == (start_ms, start_ms + hours * 3_600_000)
    run = Run(fold([86400], 600.0, zone=ZoneInfo(zone)))
    run.see(reading(0, 1.0, stamp=Stamp(moment_ms, "b", 0, True)))
    average = one(run.tick(0, Stamp(start_ms + hours * 3_600_000 + 5000, "b", 9, True)))
    assert (average.start_ms, average.at.utc_ms - start_ms) == (start_ms, hours * 3_600_000)
    assert (average.length_s, average.values["turbidity"].expected) == (86400, hours * 6)


def test_a_day_that_no_calendar_has() -> None:
    assert local_day(10**18, UTC) == (
        10**18 // 86_400_000 * 86_400_000,
        (10**18 // 86_400_000 + 1) * 86_400_000,
    )


def test_an_unsynced_reading_makes_an_unsynced_average() -> None:
    run = Run(fold())
    run.see(*(reading(i * 10_000, 1.0) for i in range(5)), reading(0, 1.0, stamp=at(50_000, synced=False)))
    assert not one(run.tick(65_000)).at.synced
    run.see(reading(66_000, 1.0))
    assert one(run.tick(125_000)).at.synced


def test_another_unit_is_never_mixed_in() -> None:
    run = Run(fold())
    run.see(*(reading(i * 10_000, 100.0) for i in range(3)))
    run.see(
        *(
            Reading("t1", "y511", "water", at(i * 10_000), {"turbidity": Value(1, 1, "FNU", 1)})
            for i in (3, 4)
        )
    )
    found = one(run.tick(65_000)).values["turbidity"]
    assert (found.mean, found.used, found.unit, found.why) == (1.0, 2, "FNU", "incomplete")


# ── late readings, clocks, verdicts ─────────────────────────────────────────────────────────────────


def test_a_late_reading_corrects_its_average() -> None:
    run = Run(fold())
    run.see(*(reading(i * 10_000, 1.0) for i in range(5)))
    run.see(*(reading(60_000 + i * 10_000, 5.0) for i in range(6)))
    assert one(run.averages()).values["turbidity"].used == 5
    assert run.see(reading(50_000, 7.0)) == []
    corrected = one(run.tick(112_000))
    assert (corrected.start_ms, corrected.revision) == (TEN_MS, 1)
    assert corrected.values["turbidity"] == Mean(2.0, 1.0, 7.0, 6, 6, "NTU", 1)
    run.see(reading(51_000, 7.0), reading(52_000, 7.0))
    assert one(run.tick(113_000)).revision == 2  # a burst makes one
    assert one(run.tick(125_000)).values["turbidity"].mean == 5.0


def test_a_correction_does_not_close_what_still_waits() -> None:
    run = Run(fold())
    run.see(*(reading(i * 10_000, 1.0) for i in range(12)))
    run.see(reading(52_000, 7.0))
    assert one(run.tick(121_000)).revision == 1
    run.see(reading(119_999, 7.0))
    assert one(run.tick(125_000)).values["turbidity"].used == 7


def test_a_late_reading_begins_a_window_that_had_nothing() -> None:
    run = Run(fold())
    run.see(reading(0, 1.0), reading(180_000, 1.0))
    run.tick(181_000)
    run.see(reading(70_000, 9.0))
    average = one(run.tick(182_000))
    assert (average.start_ms - TEN_MS, average.revision) == (60_000, 0)


def test_what_is_too_late_is_said() -> None:
    run = Run(fold([60, 3600]))
    for minute in range(6):
        run.see(reading(minute * 60_000, 1.0))
    run.tick(306_000)
    assert run.see(reading(1000, 9.0), reading(2000, 9.0)) == []
    [event] = run.tick(307_000)
    assert isinstance(event, Event)
    assert event.what == "not_averaged"
    assert event.detail["length_s"] == 60
    assert event.detail["readings"] == 2
    assert run.tick(308_000) == []
    hour = [a for a in (run.tick(3_605_000), run.averages())[1] if a.length_s == 3600]
    assert one(hour).values["turbidity"].used == 8  # the hour was still open


def test_a_clock_that_was_wrong_by_years_holds_nothing_up() -> None:
    run = Run(fold())
    years_ms = 20 * 365 * 86_400_000
    run.see(*(reading(i * 10_000, 1.0) for i in range(3)))
    for i in range(3):
        run.see(reading(0, 2.0, stamp=at(years_ms + i * 10_000, mono_ms=1_030_000 + i * 10_000)))
    run.see(*(reading(60_000 + i * 10_000, 3.0) for i in range(7)))
    run.tick(126_000)
    found = {
        (a.start_ms - TEN_MS, a.values["turbidity"].mean, a.values["turbidity"].used) for a in run.averages()
    }
    assert found == {(0, 1.0, 3), (years_ms, 2.0, 3), (60_000, 3.0, 6)}


def test_a_clock_set_back_by_an_hour_counts_anew() -> None:
    run = Run(fold())
    for i in range(36):
        run.see(reading(i * 10_000, 1.0))
        run.tick(i * 10_000 + 5000)
    before = len(run.averages())
    back_ms = -3_600_000
    for i in range(12):
        run.see(reading(0, 2.0, stamp=at(back_ms + i * 10_000, mono_ms=1_360_000 + i * 10_000)))
    run.tick(back_ms + 126_000)
    again = [(a.start_ms - TEN_MS, a.values["turbidity"].used) for a in run.averages()[before:]]
    assert again == [(300_000, 6), (back_ms, 6), (back_ms + 60_000, 6)]
    assert not any(isinstance(body, Event) for body in run.given)
    # What is older than the moment it was set back to has been given out: a piece of it is no average.
    run.see(reading(0, 9.0, stamp=at(back_ms - 120_000, mono_ms=1_360_000)))
    assert [body.what for body in run.tick(back_ms + 127_000) if isinstance(body, Event)] == ["not_averaged"]


def flagged(seq: int, flag: int) -> Event:
    return Event(at(0), "flagged", {"sensor": "t1", "quantity": "turbidity", "seq": seq, "flag": flag})


@pytest.mark.parametrize("where", range(1, 5))
def test_a_spike_that_is_known_later_is_not_averaged(where: int) -> None:
    run = Run(fold(judged_later={"t1"}))
    for i in range(6):
        run.see(reading(i * 10_000, 500.0 if i == where else 1.0))
        seq = run.seq
        if i == where + 1:
            run.see(flagged(seq - 1, 4))
    run.see(reading(60_000, 2.0))
    assert run.tick(65_000) == []  # the verdict may still come
    found = one(run.tick(85_000)).values["turbidity"]
    assert (found.mean, found.maximum, found.used, found.flag) == (1.0, 1.0, 5, 1)


def test_a_verdict_on_the_last_reading_of_a_window_is_waited_for() -> None:
    run = Run(fold(judged_later={"t1"}))
    run.see(*(reading(i * 10_000, 500.0 if i == 5 else 1.0) for i in range(6)))
    kept = run.fold.save()
    run.fold = fold(judged_later={"t1"})
    run.fold.restore(kept)
    run.see(reading(60_000, 2.0), flagged(6, 4), flagged(99, 4))
    assert one(run.tick(85_000)).values["turbidity"].maximum == 1.0
    assert one(run.tick(145_000)).values["turbidity"].mean == 2.0
