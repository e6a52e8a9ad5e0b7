"""Hours of the whole station in some seconds, ended at random; and the same once more in one go.

The station is the real one (gateway.station: its journal, folds, quality tests, corrections); only its ports
stay shut: what the instruments say (tests/crash/river.py) is handed to the bus's own code. Clock, power and
time daemon are those of tests/clocks.py.

What went into the journal from outside (`Read`, `Said`, `Ticked`) is noted in its order. What a kill or a
power cut took before it was committed, or synced, is struck out. What is left is played into a station that
never ends. Then the records of the two must be equal to the letter: numbers, flags, reasons, averages with
their revisions, and every event that anything derived from them.

There are no rules in it: an alarm's delay may begin anew with the process (tests/test_alarm_kills.py).
"""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, TypeVar
from unittest.mock import patch

from drivers.base import Measurement
from gateway import config
from gateway import journal as journal_module
from gateway import station as station_module
from gateway.calibration import Version
from gateway.calibration_setup import correction
from gateway.clock import Clock
from gateway.journal import Journal
from gateway.model import Body, Event, Reading, Record, Stamp
from gateway.station import Station
from tests.clocks import World
from tests.crash.river import River

STEP_S = 5.0
BLOCK_BYTES = 60_000
"""So what the folds remember comes from a block now and then, and not only from a replay."""
LIMIT_BYTES = 150_000
"""Less than some hours take: retention is at work."""
TOML = Path(__file__).with_name("hours.toml")
ENDS = ("kill", "power cut", "stop", "reboot")


@dataclass(frozen=True)
class Read:
    """An answer, to be corrected and flagged by the station."""

    seq: int
    sensor: str
    raws: dict[str, float]
    at: Stamp


@dataclass(frozen=True)
class Said:
    """Bodies that a part of the station, or a person, appended."""

    seq: int
    bodies: list[Body]


@dataclass(frozen=True)
class Ticked:
    """Time that the folds saw pass, and what the clock of the process had noted till then."""

    seq: int
    at: Stamp
    notes: list[tuple[str, dict[str, Any]]]


Input = Read | Said | Ticked
T = TypeVar("T")


class Told(Clock):
    """A clock that says what it is told."""

    def __init__(self, *_: Any, **__: Any) -> None:
        self.boot, self.source, self.now = "boot0000", "ntp", Stamp(0, "boot0000", 0, False)

    def stamp(self) -> Stamp:
        return self.now


class Noted(Journal):
    """A journal that notes what is put into it, and what came of it."""

    def __init__(self, *args: Any, **wishes: Any) -> None:
        super().__init__(*args, **wishes | {"limit_bytes": LIMIT_BYTES})
        self.inputs: list[Input] = []
        self.made: list[Record] = []
        self._listens = True

    def append(self, bodies: Sequence[Body]) -> list[Record]:
        if bodies:
            self.note(Said(self._next_seq, list(bodies)))
        made = super().append(bodies)
        self.made += made
        return made

    def note(self, one: Input) -> None:
        if self._listens:
            self.inputs.append(one)

    async def _in_thread(self, job: Callable[[], T]) -> T:
        """At once; but as with a real disk, others come to their turn before and behind it."""
        await asyncio.sleep(0)
        done = job()
        await asyncio.sleep(0)
        return done

    @contextmanager
    def unheard(self) -> Iterator[None]:
        """What is appended meanwhile follows from what was noted."""
        before, self._listens = self._listens, False
        yield
        self._listens = before


class Unsigned(Noted):
    """One that makes no key: that would be a record of its own."""

    def __init__(self, *args: Any, make_key: bool = False, **wishes: Any) -> None:
        super().__init__(*args, **wishes)


@dataclass
class Life:
    """One process: a station whose journal is open."""

    station: Station
    journal: Noted

    @classmethod
    def of(cls, wanted: config.Station, clock: Callable[..., Clock], journal: type[Noted] = Noted) -> Life:
        with patch.object(station_module, "Clock", clock), patch.object(station_module, "Journal", journal):
            station = Station(wanted)
        assert isinstance(station.journal, Noted)
        return cls(station, station.journal)

    def read(self, sensor: str, raws: dict[str, float], at: Stamp) -> None:
        """Take an answer as the bus does."""
        [one] = [s for bus in self.station.buses for s in bus.sensors if s.id == sensor]
        self.journal.note(Read(self.journal.last_seq + 1, sensor, raws, at))
        with self.journal.unheard():
            values = one.values(Measurement(raws, b""), at)
            self.journal.append([Reading(sensor, one.model, one.medium, at, values, one.live.number)])

    def tick(self) -> None:
        """Let the folds see the time, as the station does each second."""
        clock, stamps = self.station.clock, list[Stamp]()
        stamp, notes, seq = clock.stamp, list(self.station.dating._notes), self.journal.last_seq + 1

        def noted() -> Stamp:
            stamps.append(stamp())
            return stamps[-1]

        with self.journal.unheard(), patch.object(clock, "stamp", noted):
            self.journal.tick()
        self.journal.note(Ticked(seq, stamps[0], notes))

    async def drop(self) -> None:
        """End as a killed process does."""
        await self.journal._in_thread(self.journal._disk.close)
        self.journal._thread.shutdown()

    async def commit(self) -> None:
        async with self.journal._lock:
            await self.journal._commit(durable=False)


@dataclass
class Story:
    """What came of a life that was ended many times: what the journal gave out, and what was put in."""

    records: list[Record] = field(default_factory=list)
    """As a follower saw them; what a power cut took back is not among them."""
    inputs: list[Input] = field(default_factory=list)
    ends: Counter[str] = field(default_factory=Counter)
    kept_from_seq: int = 0
    """The oldest record that the journal has in the end."""


class Killed:
    """The station of a folder, over and over; `end` ends it in one of the ways of `ENDS`."""

    def __init__(self, folder: Path, chance: Random, **how: Any) -> None:
        self.wanted, self.chance = wanted(folder, **how), chance
        self.world = World(drift_ppm=30.0)
        self.story = Story()
        self._synced = (0, 0)
        """How many inputs and records survive a power cut."""
        self._copy = folder / "synced"
        self._under_way: asyncio.Task[None] | None = None
        self.world.power_on()
        self.world.sync()

    async def begin(self) -> None:
        world = self.world
        self.life = Life.of(self.wanted, lambda source, memory: Clock(source, memory=memory, machine=world))
        await self.life.station.open()
        self.life.journal.cursor("keeper")
        await self.sync()

    def begin_commit(self) -> None:
        """What is put in from now on, until `committed`, comes while the disk is at work."""
        if self._under_way is None:
            self._under_way = asyncio.create_task(self.life.commit())

    async def turn(self) -> None:
        """Let the disk go on by one step."""
        await asyncio.sleep(0)
        if self._under_way is not None and self._under_way.done():
            await self.committed()

    async def committed(self) -> None:
        """Wait for the commit under way, and take what is committed: it is out, and no kill takes it back."""
        if self._under_way is not None:
            await self._under_way
        self._under_way = None
        journal, story = self.life.journal, self.story
        until = journal.committed_seq
        new = await _all_after(journal, story.records[-1].seq if story.records else 0)
        assert new == [r for r in journal.made if r.seq <= until], "other records than were made"
        journal.made = [r for r in journal.made if r.seq > until]
        story.records += new
        story.inputs += [one for one in journal.inputs if one.seq <= until]
        journal.inputs = [one for one in journal.inputs if one.seq > until]
        journal.finish("keeper", until)

    async def sync(self) -> None:
        await self.committed()
        await self.life.journal.sync()
        await self.committed()
        self._synced = len(self.story.inputs), len(self.story.records)
        shutil.rmtree(self._copy, ignore_errors=True)
        shutil.copytree(self.wanted.data, self._copy)

    async def end(self, how: str) -> None:
        """End this process, and begin the next."""
        self.story.ends[how] += 1
        world, chance = self.world, self.chance
        await self.committed()
        if how in ("stop", "reboot"):
            self.life.journal.append([Event(self.life.station.clock.stamp(), "stopped", {})])
            await self.sync()
            await self.life.station.close()
        else:
            await self.life.drop()
        if how == "power cut":
            inputs, records = self._synced
            del self.story.inputs[inputs:], self.story.records[records:]
            shutil.rmtree(self.wanted.data)
            shutil.copytree(self._copy, self.wanted.data)
        if how in ("power cut", "reboot"):
            world.off(chance.choice((5.0, 60.0, 900.0)))
            world.power_on(system_ms=world.true_ms - chance.choice((0.0, 3.6e6, 5e10)))
        else:
            world.run(chance.choice((0.0, 1.0, 8.0)))
        await self.begin()

    async def close(self) -> Story:
        await self.sync()
        kept = await _all_after(self.life.journal, 0)
        self.story.kept_from_seq = kept[0].seq
        assert kept == self.story.records[-len(kept) :], "the journal has others in the end"
        await self.life.station.close()
        return self.story


async def _all_after(journal: Journal, seq: int) -> list[Record]:
    found: list[Record] = []
    while some := await journal.after(found[-1].seq if found else seq, 5000):
        found += some
    return found


async def killed(
    folder: Path, seed: int, hours: float, ends: Sequence[str], often: float, **how: Any
) -> Story:
    """So many hours, ended in one of these ways behind `often` of the steps."""
    chance, river = Random(seed), River(seed)
    killed = Killed(folder, chance, **how)
    world, unsure_s = killed.world, 0.0
    await killed.begin()
    for step in range(int(hours * 3600 / STEP_S)):
        world.run(STEP_S)
        if not world.is_synced:
            unsure_s += STEP_S
            if unsure_s > 200 and chance.random() < 0.01:
                world.sync()
                unsure_s = 0.0
        elif chance.random() < 0.0005:
            world.set_by_hand(chance.choice((-7200.0, -90.0, 90.0, 7200.0)))
        life = killed.life
        at = life.station.clock.stamp()
        for sensor, raws, late_ms in river.says(step * STEP_S):
            if late_ms < at.mono_ms:
                then = Stamp(at.utc_ms - late_ms, at.boot, at.mono_ms - late_ms, at.synced)
                life.read(sensor, raws, then if late_ms else at)
            await killed.turn()
        if chance.random() < 0.004:
            life.journal.append([_visit(life.station, chance, at)])
        life.tick()
        draw = chance.random()
        if draw < 0.3:
            killed.begin_commit()
        elif draw < 0.36:
            await killed.sync()
        if chance.random() < often:
            await killed.end(chance.choice(ends))
    return await killed.close()


async def in_one_go(folder: Path, inputs: Sequence[Input], **how: Any) -> list[Record]:
    """The records of a station that takes all this and is never ended."""
    life = Life.of(wanted(folder, **how), Told, Unsigned)
    journal, clock = life.journal, life.station.clock
    assert isinstance(clock, Told)
    await journal.open()
    assert not journal.made
    for number, one in enumerate(inputs):
        journal._next_seq = max(journal._next_seq, one.seq)  # numbers that a power cut passed over
        if not isinstance(one, Said):
            clock.now = one.at
        match one:
            case Read(_, sensor, raws, at):
                life.read(sensor, raws, at)
            case Said(_, bodies):
                journal.append(bodies)
            case Ticked(_, _, notes):
                for note in notes:
                    life.station.dating.note(*note)
                life.tick()
        if number % 100 == 99:
            await life.commit()
    made = list(journal.made)
    await journal.close()
    return made


def _visit(station: Station, chance: Random, at: Stamp) -> Event:
    """What somebody does to ph1: works at it, or corrects it from now on."""
    if chance.random() < 0.6:
        minutes = chance.choice((0, 2, 10))
        return Event(at, "maintenance", {"sensor": "ph1", "minutes": minutes, "by": "Aibek", "why": "brush"})
    number = station.calibrations.known("ph1").number + 1
    offset = round(chance.uniform(-0.2, 0.2), 2)
    return correction(Version(number, "ph1", "ph", "offset", at.utc_ms, offset=offset, by="Aibek"), at)


def wanted(folder: Path, ph: str = "hydrogen", suspect: bool = False) -> config.Station:
    """The station's configuration, its journal in this folder. The keys are those of [average]."""
    folder.mkdir(parents=True, exist_ok=True)
    text = TOML.read_text(encoding="utf-8")
    for name, value in (("DATA", str(folder / "data")), ("PH", ph), ("SUSPECT", str(suspect).lower())):
        text = text.replace(name, value)
    file = folder / "station.toml"
    file.write_text(text, encoding="utf-8")
    return config.load(file)


def run(
    folder: Path, seed: int, hours: float, ends: Sequence[str] = ENDS, *, often: float = 0.012, **how: Any
) -> tuple[Story, list[Record]]:
    """The story of the station that was ended, and the records of the one that was not."""

    async def job() -> tuple[Story, list[Record]]:
        story = await killed(folder / "killed", seed, hours, ends, often, **how)
        return story, await in_one_go(folder / "whole", story.inputs, **how)

    with patch.object(journal_module, "SETTLE_BYTES", BLOCK_BYTES):
        return asyncio.run(job())
