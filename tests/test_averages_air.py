"""NowCast and air quality index in the averages: where they stand, what they say when they cannot be, late
readings, restarts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerts.air_quality import cut, index, nowcast
from gateway.averages import AveragesFold
from gateway.journal import Journal
from gateway.model import Average, Body, Mean, Reading, Record, Stamp, Value
from tests.averaging import FixedClock, everything, in_time
from tests.test_averages_restarts import final

HOUR_MS = 3_600_000
TEN_MS = 1_795_428_000_000
"""2026-11-23 10:00 UTC, a whole hour."""
EVERY_S = 600.0
"""Six readings an hour."""


def at(ms: int, mono_ms: int | None = None) -> Stamp:
    return Stamp(TEN_MS + ms, "boot0001", 10**9 + (ms if mono_ms is None else mono_ms), True)


def dust(ms: int, pm2_5: float, flag: int = 2, *, unit: str = "ug/m3", medium: str = "air") -> Reading:
    values = {"pm2_5": Value(pm2_5, pm2_5, unit, flag), "pm10": Value(2 * pm2_5, 2 * pm2_5, unit, flag)}
    return Reading("dust1", "plantower", medium, at(ms), values)


def an_hour(number: int, pm2_5: float, flag: int = 2, count: int = 6) -> list[Reading]:
    return [dust(number * HOUR_MS + i * 600_000, pm2_5, flag) for i in range(count)]


def fold(lengths_s: Sequence[float] = (3600,), **wishes: Any) -> AveragesFold:
    return AveragesFold(lengths_s, {"dust1": EVERY_S}, **wishes)


def see(shown: AveragesFold, *bodies: Body) -> list[Average]:
    given = [body for seen in bodies for body in shown.step(Record(1, seen))]
    return [body for body in given if isinstance(body, Average)]


def tick(shown: AveragesFold, ms: int) -> list[Average]:
    return [body for body in shown.tick(at(ms)) if isinstance(body, Average)]


def hours_of(means: Sequence[float | None], shown: AveragesFold | None = None) -> list[Average]:
    """The hourly averages of these hours, one after the other; None: an hour without readings."""
    shown = shown or fold()
    given: list[Average] = []
    for number, mean in enumerate(means):
        if mean is not None:
            given += see(shown, *an_hour(number, mean))
        given += tick(shown, (number + 1) * HOUR_MS + 5000)
    return given


def derived(average: Average) -> dict[str, Mean]:
    return {name: m for name, m in average.values.items() if name not in ("pm2_5", "pm10")}


def test_the_example_of_the_forum_through_the_whole_fold() -> None:
    """34.9 … missing, 21: 28.4 ug/m3 (forum.airnowtech.org, topic 172), AQI 87 by the table of 2024."""
    means = [34.9, 43, 50, 64.9, 69.2, 66.2, 53.7, 48.6, 49.2, 35, None, 21]
    last = hours_of(means)[-1]
    assert last.values["pm2_5_nowcast"] == Mean(28.4, None, None, 11, 12, "ug/m3", 2, "")
    assert last.values["pm2_5_aqi"] == Mean(87.0, None, None, 11, 12, "AQI", 2, "")
    assert last.values["pm10_nowcast"].mean == 56.0  # 2 x 28.409… = 56.8, cut to 1
    assert last.values["pm10_aqi"].mean == 51.0
    assert last.values["pm2_5"].mean == pytest.approx(21)
    assert list(last.values) == ["pm2_5", "pm10", "pm2_5_nowcast", "pm2_5_aqi", "pm10_nowcast", "pm10_aqi"]


def test_one_hour_alone_says_that_it_is_too_few() -> None:
    first, second = hours_of([20.0, 20.0])
    assert first.values["pm2_5_nowcast"] == Mean(None, None, None, 1, 12, "ug/m3", 9, "too few hours")
    assert first.values["pm2_5_aqi"] == Mean(None, None, None, 1, 12, "AQI", 9, "too few hours")
    assert second.values["pm2_5_aqi"].mean == 71.0
    assert second.values["pm2_5_aqi"].used == 2


def test_an_hour_that_is_not_complete_counts_as_missing() -> None:
    shown = fold()
    see(shown, *an_hour(0, 20.0), *an_hour(1, 20.0), *an_hour(2, 90.0, count=4))  # 4 of 6 is less than 75 %
    *_, last = tick(shown, 3 * HOUR_MS + 5000)
    assert last.values["pm2_5"].why == "incomplete"
    assert last.values["pm2_5_nowcast"].mean == 20.0
    assert last.values["pm2_5_nowcast"].used == 2


def test_the_flag_is_that_of_the_worst_hour() -> None:
    shown = fold(suspect=True)
    see(shown, *an_hour(0, 20.0, flag=1), *an_hour(1, 20.0, flag=1))
    [good] = tick(shown, 2 * HOUR_MS + 5000)
    see(shown, *an_hour(2, 20.0, flag=3))
    [doubted] = tick(shown, 3 * HOUR_MS + 5000)
    assert good.values["pm2_5_aqi"].flag == 1
    assert doubted.values["pm2_5_aqi"].flag == 3


def test_a_day_has_its_index_and_the_flag_of_its_mean() -> None:
    shown = fold((86400,))
    for number in range(-10, 14):
        see(shown, *an_hour(number, 35.45))
    [day] = tick(shown, 14 * HOUR_MS + 5000)
    assert derived(day) == {
        "pm2_5_aqi": Mean(100.0, None, None, 144, 144, "AQI", 2, ""),  # 35.4: cut, not rounded
        "pm10_aqi": Mean(58.0, None, None, 144, 144, "AQI", 2, ""),
    }
    see(shown, *an_hour(14, 35.45))
    [short] = tick(shown, 38 * HOUR_MS + 5000)
    assert short.values["pm2_5_aqi"] == Mean(100.0, None, None, 6, 144, "AQI", 3, "incomplete")


@pytest.mark.parametrize(
    ("given_", "wishes"),
    [
        ([dust(0, 9.0, medium="water")], {}),
        ([dust(0, 0.009, unit="mg/m3")], {}),
        ([dust(0, 9.0)], {"aqi": False}),
    ],
)
def test_nothing_is_derived_from_anything_else(given_: list[Reading], wishes: dict[str, Any]) -> None:
    shown = fold((60, 3600, 86400), **wishes)
    see(shown, *given_)
    given = tick(shown, 24 * HOUR_MS)
    assert len(given) == 3
    assert all(derived(average) == {} for average in given)


def test_minutes_have_none() -> None:
    shown = fold((60,))
    see(shown, dust(0, 9.0))
    [minute] = tick(shown, 65_000)
    assert derived(minute) == {}


def test_a_late_reading_revises_the_nowcasts_of_the_hours_behind_it() -> None:
    shown = fold()
    hours_of([10.0, 10.0, 10.0, 10.0], shown)
    see(shown, *an_hour(4, 10.0, count=2))
    late = Reading(
        "dust1",
        "plantower",
        "air",
        at(2 * HOUR_MS + 700_000, mono_ms=0),
        {"pm2_5": Value(94, 94, "ug/m3", 2)},
    )
    see(shown, late)
    third, fourth = tick(shown, 4 * HOUR_MS + 30_000)
    assert (third.start_ms, third.revision) == (TEN_MS + 2 * HOUR_MS, 1)
    assert third.values["pm2_5"].mean == pytest.approx(22)
    assert third.values["pm2_5_nowcast"].mean == 16.8  # 22, 10, 10 with 0.5: 29.5 / 1.75
    assert (fourth.start_ms, fourth.revision) == (TEN_MS + 3 * HOUR_MS, 1)
    assert fourth.values["pm2_5"].mean == pytest.approx(10)  # as it was
    assert fourth.values["pm2_5_nowcast"].mean == 13.2  # 10, 22, 10, 10: 24.75 / 1.875
    see(shown, *[dust(4 * HOUR_MS + i * 600_000, 10.0) for i in range(2, 6)])
    [fifth] = tick(shown, 5 * HOUR_MS + 5000)
    assert fifth.revision == 0
    assert fifth.values["pm2_5_nowcast"].mean == 11.5  # 10, 10, 22, 10, 10: 22.375 / 1.9375


def test_an_hour_pushed_out_by_a_late_one_still_revises() -> None:
    """The oldest window goes when a fourth begins; what it changed on its way out is told."""
    shown = fold()
    hours_of([10.0, 10.0, 10.0], shown)
    late = Reading("dust1", "plantower", "air", at(1000, mono_ms=0), {"pm2_5": Value(94, 94, "ug/m3", 2)})
    pushed = see(shown, late, *an_hour(3, 10.0))
    assert [(a.start_ms - TEN_MS) // HOUR_MS for a in pushed if a.revision] in ([0], [0, 1, 2])
    revised = {(a.start_ms - TEN_MS) // HOUR_MS: a for a in [*pushed, *tick(shown, 3 * HOUR_MS + 700_000)]}
    assert sorted(revised) == [0, 1, 2]
    assert {a.revision for a in revised.values()} == {1}
    assert revised[2].values["pm2_5_nowcast"].mean == 11.7  # 10, 10, 22 two hours ago: 20.5 / 1.75


def test_another_unit_begins_anew() -> None:
    shown = fold()
    hours_of([20.0, 20.0], shown)
    see(shown, dust(2 * HOUR_MS, 0.02, unit="mg/m3"))
    see(shown, *an_hour(3, 20.0))
    *_, last = tick(shown, 4 * HOUR_MS + 5000)
    assert last.values["pm2_5_nowcast"].why == "too few hours"


def test_a_clock_set_back_forgets_the_hours_ahead() -> None:
    shown = fold()
    hours_of([90.0] * 12, shown)
    back = [
        Reading("dust1", "p", "air", at(i * 600_000 - 48 * HOUR_MS, mono_ms=12 * HOUR_MS + i * 600_000),
                {"pm2_5": Value(10, 10, "ug/m3", 2)})
        for i in range(12)
    ]  # fmt: skip
    given = see(shown, *back)
    given += tick(shown, 2 * HOUR_MS - 48 * HOUR_MS + 5000)
    assert given[-1].values["pm2_5_nowcast"].mean == 10.0
    assert given[-1].values["pm2_5_nowcast"].used == 2


def readings(rng: Random) -> Iterator[Reading]:
    """A day and a half with gaps, doubts, bad values and readings that come late by up to two hours."""
    ms, waiting = 0, []
    while ms < 36 * HOUR_MS:
        if rng.random() < 0.03:
            ms += rng.randrange(5) * HOUR_MS // 2
        body = dust(ms, round(abs(rng.gauss(30, 30)), 1), rng.choice([1] * 6 + [2] * 10 + [3, 4]))
        if rng.random() < 0.05:
            waiting.append((ms + rng.randrange(2 * HOUR_MS), body))
        else:
            yield body
        for due in [entry for entry in waiting if entry[0] <= ms]:
            waiting.remove(due)
            yield due[1]
        ms += 600_000


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(0, 10**6))
def test_restored_anywhere_the_averages_are_the_same(seed: int) -> None:
    """And the last revision of every hour has the NowCast of the last revisions of the hours before it."""
    rng = Random(seed)
    steady, killed = fold((3600, 86400), suspect=True), fold((3600, 86400), suspect=True)
    given: list[Average] = []
    for body in readings(Random(seed)):
        theirs = see(killed, body)
        given += see(steady, body)
        assert theirs == given[len(given) - len(theirs) :]
        if rng.random() < 0.1:
            state, killed = killed.save(), fold((3600, 86400), suspect=True)
            killed.restore(state)
    ms = 80 * HOUR_MS
    last = tick(steady, ms)
    assert tick(killed, ms) == last
    latest = {a.start_ms // HOUR_MS: a for a in [*given, *last] if a.length_s == 3600}
    assert latest
    for hour, average in latest.items():
        ago = {
            hour - n: a.values["pm2_5"]
            for n, a in latest.items()
            if 0 <= hour - n < 12 and "pm2_5" in a.values
        }
        means = {i: m.mean for i, m in ago.items() if m.mean is not None and m.used >= 0.75 * m.expected}
        value, told = nowcast(means), average.values["pm2_5_nowcast"]
        assert told.mean == (None if value is None else cut("pm2_5", value))
        assert average.values["pm2_5_aqi"].mean == (None if value is None else index("pm2_5", value))
        assert told.used == len(means)


def test_a_killed_journal_has_the_nowcasts_of_an_uninterrupted_one(tmp_path: Path) -> None:
    """Killed between readings, with what was not committed gone: the instrument says it again."""

    async def through(folder: Path, kills: set[int]) -> list[Record]:
        clock = FixedClock()
        journal = Journal(folder, clock, folds=[fold((3600, 86400))])
        await journal.open()
        waiting: list[Body] = []
        for number, body in enumerate(readings(Random(5))):
            waiting.append(body)
            clock.now = body.at
            journal.append([body])
            if number in kills:
                await journal._in_thread(journal._disk.close)
                journal = Journal(folder, clock, folds=[fold((3600, 86400))])
                await journal.open()
                journal.append(waiting)
            if number % 5 == 0:
                await journal.sync()
                waiting.clear()
        clock.now = at(80 * HOUR_MS)
        journal.tick()
        await journal.sync()
        found = await everything(journal)
        await journal.close()
        return found

    async def job() -> None:
        whole = final(await through(tmp_path / "whole", set()))
        nowcasts = [values["pm2_5_nowcast"].mean for values in whole.values() if "pm2_5_nowcast" in values]
        assert sum(value is not None for value in nowcasts) > 20
        assert final(await through(tmp_path / "killed", set(range(3, 190, 11)))) == whole

    in_time(job)
