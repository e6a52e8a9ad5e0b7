"""What a byte budget holds back: follower, budget, ledger and journal together, cut off anywhere. The oracle
is the sink: what lies behind the cursor and never came was held back.
"""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest

from gateway.backfill import LIVE_S
from gateway.budget import Budget
from gateway.clock import Clock
from gateway.follow import Follower
from gateway.journal import Journal
from gateway.ledger import GapLedger, delivered, withheld
from gateway.ledger_sums import HOUR_MS
from gateway.model import Event, Reading, Record, Stamp, Value
from tests.followers import FakeSink
from tests.memory_journal import START_MS, MemoryJournal
from tests.virtual_time import run

EVERY_S = {"ph": 20.0, "orp": 60.0}
MB = 1_000_000
DAY_S = 86400.0


class LoopClock(Clock):
    """Stamps by the loop's time."""

    def __init__(self, boot: str = "boot0001", later_ms: int = 0) -> None:
        self.boot, self.later_ms = boot, later_ms

    def stamp(self) -> Stamp:
        ms = round((asyncio.get_running_loop().time() - 1000.0) * 1000)
        return Stamp(START_MS + self.later_ms + ms, self.boot, ms, True)


class Dear(FakeSink):
    """Each record costs so much."""

    def __init__(self) -> None:
        super().__init__()
        self.batch_records = 2
        self.chance: Random | None = None
        """Some answers take longer than the time to the next reading."""
        self.in_flight = 2
        self.each_bytes = 20_000
        self.wanted = lambda body: isinstance(body, Reading)

    async def deliver(self, records: Sequence[Record], *, late: bool = False) -> None:
        self.carried_bytes += self.each_bytes * len(records)
        if self.chance is not None:
            await asyncio.sleep(self.chance.uniform(0, 50))
        await super().deliver(records, late=late)


@dataclass
class Life:
    """A station's inside from start to end. `had` is what the far side has, over all lives."""

    folder: Path
    had: set[int]
    clock: LoopClock = field(default_factory=LoopClock)
    sink: Dear = field(default_factory=Dear)

    async def live(self, minutes: int, chance: Random, cuts: Path | None = None) -> None:
        clock, self.sink.chance = self.clock, Random(minutes)
        budget = Budget("mqtt", 20 * MB, DAY_S / 8, (60.0,))
        self.journal = Journal(self.folder, clock, folds=[GapLedger(EVERY_S), budget], commit_s=0.1)
        await self.journal.open()
        follower = Follower(
            self.journal, "mqtt", self.sink, stamp=clock.stamp, random=lambda: 0.2, budget=budget
        )
        tasks = [asyncio.create_task(self.journal.run()), asyncio.create_task(follower.run())]
        for n in range(minutes * 3):
            await asyncio.sleep(20.0)
            at = clock.stamp()
            value = {"ph": Value(7.0, 7.0, "pH", 1)}
            self.journal.append(
                [Reading(s, "m", "water", at, value) for s in (("ph", "orp") if n % 3 == 0 else ("ph",))]
            )
            self.journal.tick()
            if chance.random() < 0.02:
                self.sink.away = None if self.sink.away else "away"
            if chance.random() < 0.008:
                budget.spend(2 * MB)
            if cuts is not None and chance.random() < 0.04:
                await asyncio.sleep(chance.choice([0.04, 0.11, 0.2, 5.0]))
                self.had |= set(self.sink.confirmed)
                copy = cuts / f"{n:04}"
                shutil.copytree(self.folder, copy)
                tail = copy / "tail"
                if tail.exists() and chance.random() < 0.5:
                    data = tail.read_bytes()
                    tail.write_bytes(data[: len(data) - chance.randrange(min(len(data), 3000))])
        self.sink.away = None
        await asyncio.sleep(2 * LIVE_S)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.had |= set(self.sink.confirmed)
        await self.journal.close()


async def everything(journal: Journal) -> list[Record]:
    records: list[Record] = []
    while some := await journal.after(records[-1].seq if records else 0, 5000):
        records += some
    return records


async def balance(folder: Path, had: set[int]) -> tuple[Counter[str], set[int]]:
    """What journal, cursors and ledger say, against what the far side has. Gives the sums, and what of `had`
    was known: confirmed, and behind the cursor.
    """
    ledger = GapLedger(EVERY_S)
    journal = Journal(folder, LoopClock(), folds=[ledger], commit_s=0.1)
    await journal.open()
    records = await everything(journal)
    cursors = dict(journal._memory.cursors)
    owed = [
        (seq, cursors[f"{name}/end"])
        for name, seq in cursors.items()
        if name.startswith("mqtt/") and not name.endswith("/end")
    ]
    sums: Counter[str] = Counter()
    oracle: dict[str, Counter[str]] = {sensor: Counter() for sensor in EVERY_S}
    known = set[int]()
    for record in records:
        seq = record.seq
        done = seq <= cursors.get("mqtt", 0) and not any(after < seq <= end for after, end in owed)
        if isinstance(record.body, Reading) and done:
            oracle[record.body.sensor]["had" if seq in had else "held"] += 1
            known |= {seq} & had
    has, held = delivered(records, cursors), withheld(records, cursors)
    for sensor, found in oracle.items():
        assert has.get(sensor, {}).get("mqtt", 0) == found["had"], sensor
        assert held.get(sensor, {}).get("mqtt", 0) == found["held"], sensor
        sums.update(found)
    said = [r.body.detail for r in records if isinstance(r.body, Event) and r.body.what == "withheld"]
    sums["runs"] = len(said)
    told = ledger.account(records, 0, 1 << 62)
    for sensor in EVERY_S:
        events = sum(detail["readings"].get(sensor, 0) for detail in said)
        assert (told[sensor].withheld.get("mqtt", 0) if sensor in told else 0) == events
    spans = [(detail["after_seq"], detail["to_seq"]) for detail in said]
    if (open_seq := cursors.get("withheld/mqtt")) is not None:
        spans.append((open_seq, cursors["withheld/mqtt/end"]))
    for after, to in spans:
        assert to <= cursors["mqtt"], "said with the step of the cursor, not before"
        assert not any(begin < to and after < end for begin, end in owed)
    for detail in said:  # by the hour of their stamps
        of = [r for r in records if detail["after_seq"] < r.seq <= detail["to_seq"]]
        hours = {r.body.at.utc_ms // HOUR_MS for r in of if isinstance(r.body, Reading)}
        assert hours == {detail["from_ms"] // HOUR_MS} == {detail["to_ms"] // HOUR_MS - 1}
        assert detail["readings"] == Counter(r.body.sensor for r in of if isinstance(r.body, Reading))
    sums["open"] = "withheld/mqtt" in cursors
    await journal.close()
    return sums, known


@pytest.mark.parametrize("seed", range(3))
def test_held_back_and_had_are_all_that_lies_behind_the_cursor_cut_anywhere(
    tmp_path: Path, seed: int
) -> None:
    chance, cuts, had = Random(seed), tmp_path / "cuts", set[int]()
    cuts.mkdir()

    async def first() -> None:
        await Life(tmp_path / "data", had).live(120, chance, cuts)

    run(first())
    found = [run(balance(tmp_path / "data", had))[0]]
    assert found[0]["had"] > 20
    assert found[0]["held"] > 20
    folders = sorted(cuts.iterdir())
    assert len(folders) > 5
    for copy in folders:
        whole = copy.with_name(copy.name + "w")
        shutil.copytree(copy, whole)
        sums, here = run(balance(copy, had))  # had, and not known: it is decided anew
        found.append(sums)

        async def second(whole: Path = whole, here: set[int] = here) -> None:
            await Life(whole, here, LoopClock("boot0002", 5 * HOUR_MS)).live(30, Random(seed))

        if len(found) % 5 == 0:  # and life goes on from there
            before = set(here)
            run(second())
            found.append(run(balance(whole, here))[0])
            assert here >= before
    assert any(one["open"] for one in found)
    assert any(one["runs"] for one in found)


def test_a_run_is_one_event_an_hour_and_the_ledger_has_it(tmp_path: Path) -> None:
    """Three hours held back, in a station that commits every reading alone."""

    async def job() -> None:
        clock, sink = LoopClock(), Dear()
        budget = Budget("mqtt", 20 * MB, DAY_S, (60.0,))
        journal = Journal(tmp_path, clock, folds=[GapLedger(EVERY_S), budget], commit_s=0.1)
        await journal.open()
        follower = Follower(journal, "mqtt", sink, stamp=clock.stamp, budget=budget)
        tasks = [asyncio.create_task(journal.run()), asyncio.create_task(follower.run())]
        await asyncio.sleep(1.0)
        budget.spend(30 * MB)
        for _ in range(3 * 180):
            journal.append([Reading("ph", "m", "water", clock.stamp(), {"ph": Value(7.0, 7.0, "pH", 1)})])
            await asyncio.sleep(20.0)
            journal.tick()
        assert sink.confirmed == []
        records = await everything(journal)
        said = [r.body.detail for r in records if isinstance(r.body, Event) and r.body.what == "withheld"]
        assert [detail["readings"] for detail in said] == [{"ph": 180}] * 2, "the third is open"
        assert withheld(records, journal.cursors_of("mqtt") | journal.cursors_of("withheld")) == {
            "ph": {"mqtt": 540}
        }
        told = [r.body.detail for r in records if isinstance(r.body, Event) and r.body.what == "ledger"]
        assert [(d["taken"], d["withheld"]) for d in told] == [(180, {"mqtt": 180})] * 2
        await asyncio.sleep(3 * DAY_S)
        budget.tick(clock.stamp())
        journal.append([Reading("ph", "m", "water", clock.stamp(), {})])
        async with asyncio.timeout(100):
            await follower.done(journal.last_seq)
        assert journal.cursors_of("withheld") == {}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await journal.close()

    run(job())


def test_what_was_held_back_behind_a_slow_batch_is_kept_with_the_cursor_not_before() -> None:
    async def job() -> None:
        clock, sink, journal = LoopClock(), FakeSink(), MemoryJournal()
        sink.in_flight, sink.batch_records = 2, 1
        takes_s = iter([5.0, 100.0])
        deliver = sink.deliver

        async def slow(records: Sequence[Record], *, late: bool = False) -> None:
            await asyncio.sleep(next(takes_s))
            await deliver(records, late=late)

        sink.deliver = slow  # type: ignore[method-assign]  # so that the second flies while others are read
        budget = Budget("mqtt", 20 * MB, DAY_S, (60.0,))
        follower = Follower(journal, "mqtt", sink, stamp=clock.stamp, budget=budget)
        task = asyncio.create_task(follower.run())
        journal.append([Reading("ph", "m", "water", clock.stamp(), {}) for _ in range(2)])
        await asyncio.sleep(2.0)
        budget.spend(4 * MB)
        journal.append([Reading("ph", "m", "water", clock.stamp(), {}) for _ in range(2)])
        await asyncio.sleep(20.0)
        assert journal.cursors == {"mqtt": 1}, "3 and 4 were read, and stand behind 2, which is on its way"
        await asyncio.sleep(100.0)
        assert journal.cursors == {"mqtt": 4, "withheld/mqtt": 2, "withheld/mqtt/end": 4}
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    run(job())
