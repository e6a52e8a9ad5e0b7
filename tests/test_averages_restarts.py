"""Averages: a fold that is restored, and a journal that is killed, go on as if nothing had been."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest

from gateway import journal as journal_module
from gateway.averages import AveragesFold
from gateway.averages_sums import Method
from gateway.journal import Journal
from gateway.model import Average, Body, Event, Mean, Reading, Record, Stamp, Value
from tests.averaging import BISHKEK, FixedClock, Run, at, everything, fold, in_time, reading


def script(chance: Random, count: int) -> list[Body | Stamp]:
    """Readings of two sensors, some flagged, some late; and ticks."""
    entries: list[Body | Stamp] = []
    for i in range(count):
        ms = i * 3000
        value = round(chance.gauss(40, 10), 2)
        flag = chance.choice((1, 1, 1, 2, 3, 4))
        ph = Value(7.0 + chance.random(), 7.0 + chance.random(), "pH", 1)
        if chance.random() < 0.1:
            late_ms = max(0, ms - chance.randrange(400_000))
            entries.append(reading(late_ms, value, flag, ph=ph))
        if chance.random() < 0.9:
            entries.append(reading(ms, value, flag, stamp=at(ms, synced=chance.random() < 0.98), ph=ph))
        wind = {"wind_direction": 360 * chance.random(), "wind_speed": 9 * chance.random()}
        entries.append(
            Reading("wind", "gill", "air", at(ms + 1), {q: Value(v, v, "", 1) for q, v in wind.items()})
        )
        entries.append(at(ms + 2000))
    return entries


def play_script(fold: AveragesFold, entries: Sequence[Body | Stamp], restart_at: set[int]) -> list[Body]:
    run = Run(fold)
    for i, entry in enumerate(entries):
        if i in restart_at:
            kept, before = run.fold.save(), run.fold._sensors
            run.fold = AveragesFold(**WISHES)  # type: ignore[arg-type]  as given
            run.fold.restore(kept)
            assert run.fold._sensors == before
        if isinstance(entry, Stamp):
            run.tick(0, entry)
        else:
            run.see(entry)
    run.tick(10**8)
    return run.given


WISHES = {
    "lengths_s": (60, 600, 3600, 86400),
    "every_s": {"t1": 3.0, "wind": 3.0},
    "zone": BISHKEK,
    "methods": {"ph": Method.MEDIAN, "wind_direction": Method.VECTOR},
    "judged_later": {"t1"},
    "suspect": True,
}


@pytest.mark.parametrize("seed", range(5))
def test_a_fold_restored_anywhere_goes_on_as_if_nothing_had_been(seed: int) -> None:
    chance = Random(seed)
    entries = script(chance, 400)
    whole = play_script(AveragesFold(**WISHES), entries, set())  # type: ignore[arg-type]  as given
    assert len([b for b in whole if isinstance(b, Average) and b.revision]) > 3
    assert any(isinstance(b, Event) for b in whole)
    restarts = set(chance.sample(range(len(entries)), 60))
    assert play_script(AveragesFold(**WISHES), entries, restarts) == whole  # type: ignore[arg-type]  as given


def test_a_restart_forgets_no_reading_that_came_too_late() -> None:
    run = Run(fold())
    run.see(*(reading(minute * 60_000, 1.0) for minute in range(6)))
    run.see(reading(1000, 9.0), reading(2000, 9.0))
    kept = run.fold.save()
    run.fold = fold()
    run.fold.restore(kept)
    assert [b.detail["readings"] for b in run.tick(301_000) if isinstance(b, Event)] == [2]


def test_a_state_that_cannot_be_read_begins_anew(caplog: pytest.LogCaptureFixture) -> None:
    run = Run(fold())
    run.fold.restore(b'{"t1": 7}')
    assert "beginning anew" in caplog.text
    run.see(reading(0, 1.0))
    assert len(run.tick(65_000)) == 1


def test_what_is_no_longer_wanted_is_left() -> None:
    run = Run(fold([60, 3600]))
    run.see(reading(0, 1.0))
    other = AveragesFold([600], {"t1": 10.0})
    other.restore(run.fold.save())
    assert list(other.tick(at(10**7))) == []
    nobody = AveragesFold([60], {})
    nobody.restore(run.fold.save())
    assert nobody.save() == b"{}"


def final(records: Sequence[Record]) -> dict[tuple[str, int, int], dict[str, Mean]]:
    """The last word on every window."""
    averages = [r.body for r in records if isinstance(r.body, Average)]
    seen = [(a.sensor, a.length_s, a.start_ms, a.revision) for a in averages]
    assert len(seen) == len(set(seen)), "the same average twice"
    return {(a.sensor, a.length_s, a.start_ms): a.values for a in averages}


@pytest.mark.parametrize("settle_bytes", [3000, 500_000])
def test_a_killed_journal_has_the_averages_of_an_uninterrupted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settle_bytes: int
) -> None:
    monkeypatch.setattr(journal_module, "SETTLE_BYTES", settle_bytes)
    chance = Random(7)
    entries = script(chance, 250)

    async def through(folder: Path, kills: set[int]) -> list[Record]:
        clock = FixedClock()
        journal = Journal(folder, clock, folds=[AveragesFold(**WISHES)])  # type: ignore[arg-type]  as given
        await journal.open()
        uncommitted: list[Body | Stamp] = []

        def see(entry: Body | Stamp) -> None:
            uncommitted.append(entry)
            if isinstance(entry, Stamp):
                clock.now = entry
                journal.tick()
            else:
                journal.append([entry])

        for i, entry in enumerate(entries):
            see(entry)
            if i in kills:  # what was not committed is gone, and the instruments say it again
                again, uncommitted = uncommitted, []
                await journal._in_thread(journal._disk.close)
                journal = Journal(folder, clock, folds=[AveragesFold(**WISHES)])  # type: ignore[arg-type]  as given
                await journal.open()
                for one_more in again:
                    see(one_more)
            if i % 5 == 0:
                await journal.sync()
                uncommitted.clear()
        clock.now = at(10**8)
        journal.tick()
        await journal.sync()
        found = await everything(journal)
        await journal.close()
        return found

    async def job() -> None:
        whole = final(await through(tmp_path / "whole", set()))
        assert len(whole) > 20
        kills = set(chance.sample(range(len(entries)), 25))
        assert final(await through(tmp_path / "killed", kills)) == whole

    in_time(job)
