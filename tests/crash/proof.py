"""Opens disks that a cut has left, and holds what is there against what the writer had said by then."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

from gateway.errors import JournalError
from gateway.journal import Journal
from gateway.model import Event, Reading, Record, Value
from tests.crash.disks import Card, Disk, Op, read_log
from tests.crash.writer import START_MS, Counter, ToldClock, what

HERE = Path(__file__).parent


def compiled(folder: Path) -> Path:
    """The recorder as a library."""
    library = folder / "recorder.so"
    command = ["gcc", "-Wall", "-Wextra", "-Werror", "-O2", "-shared", "-fPIC", "-o", str(library)]
    subprocess.run([*command, str(HERE / "recorder.c"), "-ldl"], check=True)
    return library


def put(folder: Path, disk: Disk) -> None:
    """Make the folder hold this and nothing else."""
    for name in os.listdir(folder):
        os.unlink(folder / name)
    for name, data in disk.items():
        (folder / name).write_bytes(data)


@dataclass(frozen=True, slots=True)
class Story:
    """What one writer did, on what disk it began, and what was true before."""

    start: Disk
    ops: list[Op]
    seen: Claims


def recorded(
    recorder: Path,
    folder: Path,
    *,
    seed: int,
    boot: str,
    steps: int,
    start: Disk,
    before: Claims | None = None,
) -> Story:
    """Let a writer run on this disk, and give what it did. The marks are not part of the disk."""
    data, log = folder / "data", folder / "log"
    data.mkdir(exist_ok=True)
    log.unlink(missing_ok=True)
    put(data, start)
    claims = before or Claims()
    watched = {"LD_PRELOAD": str(recorder), "RECORD_FOLDER": str(data), "RECORD_LOG": str(log)}
    number = len(claims.made) + 1000
    command = [
        sys.executable,
        "-m",
        "tests.crash.writer",
        str(data),
        str(seed),
        boot,
        str(steps),
        str(number),
    ]
    watched = os.environ | watched
    here = HERE.parents[1]
    done = subprocess.run(
        command, env=watched, cwd=here, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return Story(start, read_log(log), claims)


class Claims:
    """What the writer has said so far."""

    def __init__(self, other: Claims | None = None) -> None:
        self.made: dict[int, object] = dict(other.made) if other else {}
        self.committed = other.committed if other else 0
        """What followers may have seen, ever."""
        self.written = other.written if other else 0
        """The same, as far as no cut took it."""
        self.synced = other.synced if other else 0
        self.finished = other.finished if other else 0
        self.finished_synced = other.finished_synced if other else 0
        self.oldest = other.oldest if other else 0

    def hear(self, op: Op) -> None:
        said = op.mark
        for seq, told in said.get("made", ()):
            if seq <= self.committed:
                assert self.made.get(seq, told) == told, f"{seq} was given out twice"
            self.made[seq] = told
        self.committed = max(self.committed, said.get("committed", 0))
        self.written = max(self.written, said.get("committed", 0))
        self.oldest = max(self.oldest, said.get("oldest", 0))
        self.finished = max(self.finished, said.get("finish", 0))
        if "synced" in said:
            self.synced = max(self.synced, said["synced"])
            self.finished_synced = said["finished"]


@dataclass(frozen=True, slots=True)
class Cut:
    """A disk as a cut left it. `ordered`: nothing that was written is missing."""

    name: str
    disk: Disk
    claims: Claims
    oldest: int
    """The oldest record that retention may have left."""
    ordered: bool


def cuts(story: Story, random: Random, *, torn: int, every: int = 1) -> Iterator[Cut]:
    """Every prefix of what was done (or every `every`th), whole, as synced, and `torn` mixtures."""
    card, claims = Card(story.start), Claims(story.seen)
    oldest = [(i, op.mark.get("oldest", 0)) for i, op in enumerate(story.ops) if op.kind == "M"]
    at_marks = [i for i, _ in oldest]
    last_synced: Disk | None = None
    for i, op in enumerate(story.ops):
        if op.kind == "M":
            claims.hear(op)
            continue
        card.apply(op)
        if i % every:
            continue
        bound = max((n for _, n in oldest[: bisect_right(at_marks, i) + 3]), default=0)
        heard = Claims(claims)
        if op.kind != "S":
            yield Cut(f"{i} whole", card.whole(), heard, bound, ordered=True)
        synced = card.synced()
        if synced != last_synced:
            last_synced = synced
            yield Cut(f"{i} synced", synced, heard, bound, ordered=False)
        if op.kind in "WT":
            for n in range(torn):
                yield Cut(f"{i} torn {n}", card.torn(random), heard, bound, ordered=False)


@dataclass(slots=True)
class Tally:
    """What was seen over many cuts."""

    states: int = 0
    lost_most: int = 0
    """Committed records that one cut took, at most; none of them was synced."""
    lossy: int = 0


async def everything(journal: Journal, seq: int = 0) -> list[Record]:
    """All records beyond this number."""
    found: list[Record] = []
    while batch := await journal.after(found[-1].seq if found else seq, 500):
        found += batch
    return found


@dataclass(frozen=True, slots=True)
class Opened:
    """What a journal holds that was opened in another boot."""

    old: list[Record]
    new: list[Record]
    """What the journal itself had to say, and one reading appended then."""
    cursor: int
    count: int
    """What the fold had counted before that reading."""
    restarts: int
    """How often it ended because of damage that only showed at work; it must start then."""

    @property
    def last_seq(self) -> int:
        return self.old[-1].seq if self.old else 0

    def said(self, what: str) -> list[dict[str, Any]]:
        """The details of the journal's own events of that name."""
        return [r.body.detail for r in self.new if isinstance(r.body, Event) and r.body.what == what]


async def opened(folder: Path, disk: Disk, boot: str) -> Opened:
    """Open a journal on this disk, in this boot, and look at everything. Ends as a killed process does."""
    put(folder, disk)
    for restarts in range(2):
        counter = Counter()
        clock = ToldClock(boot, START_MS + 10**9)
        journal = Journal(folder, clock, folds=[counter])
        try:
            await journal.open()
            break
        except JournalError:
            if restarts or not (folder / "journal.db-broken").exists():
                raise
    try:
        count = counter.count
        records = await everything(journal)
        value = {"ph": Value(0.0, 0.0, "pH", 1)}
        journal.append([Reading("ph1", "afterward", "water", clock.stamp(), value)])
        await journal.sync()
        records += await everything(journal, records[-1].seq if records else 0)
        old = [record for record in records if record.body.at.utc_ms < START_MS + 10**9]
        cursor = journal._memory.cursors.get("mqtt", 0)
        return Opened(old, records[len(old) :], cursor, count, restarts)
    finally:
        await journal._let_go()


async def prove(folder: Path, cut: Cut, tally: Tally) -> Opened:
    """Open the disk in another boot and check every promise. Raises AssertionError naming the cut."""
    found = await opened(folder, cut.disk, "afterward")
    try:
        _promises(cut, found, tally)
    except AssertionError as e:
        raise AssertionError(f"cut {cut.name}: {e}") from e
    return found


def _promises(cut: Cut, found: Opened, tally: Tally) -> None:
    claims, last = cut.claims, found.last_seq
    _nothing_is_missing(cut, found.old)
    assert all(record.body.at.utc_ms >= START_MS + 10**9 for record in found.new), (
        "old records behind new ones"
    )
    assert found.new[0].seq > max(claims.committed, last), f"{found.new[0].seq} may have been seen before"
    if last < claims.committed:
        tally.lossy += 1
        tally.lost_most = max(tally.lost_most, sum(last < seq <= claims.committed for seq in claims.made))
        said = found.said("loss")
        assert len(said) == 1, f"{last + 1} to {claims.committed} are missing, and it says {said}"
        assert said[0]["from_seq"] <= last + 1, said
        assert said[0]["to_seq"] >= claims.committed, said
    assert found.cursor <= claims.finished, f"cursor {found.cursor}, but {claims.finished} was finished"
    assert found.cursor >= claims.finished_synced, f"cursor {found.cursor}, {claims.finished_synced} was safe"
    count = sum(seq <= last and isinstance(told[0], float) for seq, told in _lists(claims.made))
    assert found.count == count, f"the fold counts {found.count} of {count}"
    tally.states += 1


def survivors(cut: Cut, found: Opened) -> Claims:
    """What is true after this cut, for a writer that goes on from there."""
    claims = Claims(cut.claims)
    last = found.last_seq
    claims.made = {seq: told for seq, told in claims.made.items() if seq <= last}
    claims.oldest, claims.synced, claims.written = cut.oldest, last, last
    claims.finished = claims.finished_synced = found.cursor
    return claims


def _lists(made: dict[int, object]) -> Iterator[tuple[int, list[object]]]:
    for seq, told in made.items():
        assert isinstance(told, list)
        yield seq, told


def _nothing_is_missing(cut: Cut, old: Sequence[Record]) -> None:
    claims = cut.claims
    for record in old:
        assert record.seq in claims.made, f"{record} was never written"
        assert what(record.body) == claims.made[record.seq], f"{record} is not what was written"
    must = claims.written if cut.ordered else claims.synced
    all_made = sorted(claims.made)
    last = old[-1].seq if old else 0
    assert last >= must or not claims.made, f"ends at {last}, and {must} was safe"
    if not old:
        return
    first = old[0].seq
    assert first <= max(cut.oldest, 1), f"begins at {first}, and retention left {cut.oldest}"
    wanted = all_made[bisect_left(all_made, first) : bisect_right(all_made, last)]
    assert [record.seq for record in old] == wanted, "a hole, or out of order"


def prove_all(folder: Path, some: Iterable[Cut], tally: Tally) -> None:
    """`prove` each, in one event loop."""

    async def job() -> None:
        for cut in some:
            await prove(folder, cut, tally)

    asyncio.run(job())


def prove_again(
    folder: Path, recorder: Path, story: Story, random: Random, tally: Tally, *, steps: int
) -> None:
    """Cut the power again while the journal recovers from a cut, and while it goes on from there."""
    torn = [cut for cut in cuts(story, random, torn=1, every=7) if "torn" in cut.name]
    first = random.choice(torn)
    found = asyncio.run(opened(folder / "open", first.disk, "between"))
    seed, seen = random.randint(1, 10**6), survivors(first, found)
    then = recorded(recorder, folder, seed=seed, boot="boot0002", steps=steps, start=first.disk, before=seen)
    some = (replace(cut, name=f"{first.name}, then {cut.name}") for cut in cuts(then, random, torn=1))
    prove_all(folder / "open", some, tally)
