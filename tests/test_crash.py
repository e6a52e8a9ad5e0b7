"""Power cuts: the journal always starts, keeps what was synced, never uses a number twice, and says what it
may have lost; so does one whose files are damaged anywhere.

What the writer (tests/crash/writer.py) does to the disk is recorded call by call; every moment of it is a
place to cut. `python -m tests.bench.crash` does the same for longer.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from gateway import verify
from tests.crash.disks import Disk
from tests.crash.proof import (
    Claims,
    Opened,
    Story,
    Tally,
    compiled,
    cuts,
    opened,
    prove_again,
    prove_all,
    recorded,
)
from tests.crash.writer import what

SEED = 20261123


@pytest.fixture(scope="module")
def quick() -> Iterator[Path]:
    """A folder in memory, where there is one: thousands of disks are written there."""
    memory = Path("/dev/shm")  # noqa: S108  only a place; the folder in it has a name of its own
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as name:
        (Path(name) / "open").mkdir()
        yield Path(name)


@pytest.fixture(scope="module")
def recorder(quick: Path) -> Path:
    return compiled(quick)


@pytest.fixture(scope="module")
def story(quick: Path, recorder: Path) -> Story:
    return recorded(recorder, quick, seed=SEED, boot="boot0001", steps=400, start={})


pytestmark = pytest.mark.usefixtures("small_journal")


def test_the_recorder_sees_everything(story: Story, quick: Path) -> None:
    """What was recorded makes the files that stand there; and it holds what is to be cut."""
    kinds = [op.kind for op in story.ops]
    assert kinds.count("S") > 100
    assert kinds.count("U") > 2
    *_, last = (cut for cut in cuts(story, Random(1), torn=0) if cut.ordered)
    for name, data in last.disk.items():
        assert (quick / "data" / name).read_bytes() == data, name
    claims = Claims(story.seen)
    for op in story.ops:
        if op.kind == "M":
            claims.hear(op)
    assert claims.oldest > 50, "retention was never at work"


def test_a_cut_at_every_moment(story: Story, quick: Path) -> None:
    tally = Tally()
    prove_all(quick / "open", cuts(story, Random(SEED), torn=1, every=3), tally)
    assert tally.states > 1200, tally
    assert tally.lossy > 100, "no cut took anything: the test tests nothing"


def test_the_evidence_chain_holds_after_any_cut(story: Story, quick: Path) -> None:
    checked = 0
    for number, cut in enumerate(cuts(story, Random(SEED), torn=1, every=3)):
        if number % 12 == 0:
            asyncio.run(opened(quick / "open", cut.disk, "boot0002"))
            found = verify.journal(quick / "open", verify.Trusted())
            assert [line for line in found.wrong if "no block is signed" not in line] == [], number
            checked += found.blocks > 3
    assert checked > 30


@pytest.mark.parametrize("seed", range(3))
def test_a_cut_while_recovering_from_a_cut(story: Story, quick: Path, recorder: Path, seed: int) -> None:
    tally = Tally()
    prove_again(quick, recorder, story, Random(seed), tally, steps=25)
    assert tally.states > 150


@pytest.fixture(scope="module")
def killed(story: Story, quick: Path) -> tuple[Disk, Claims]:
    """A disk as a killed process left it, with something in the tail, and everything that is true then."""
    some = [cut for cut in cuts(story, Random(1), torn=0, every=5) if cut.ordered]
    for cut in some[len(some) * 3 // 4 :]:

        def without(gone: str, disk: Disk = cut.disk) -> Opened:
            rest = {name: data for name, data in disk.items() if name != gone}
            return asyncio.run(opened(quick / "open", rest, "boot0001"))

        if without("journal.db-wal").said("loss") and without("tail").last_seq < cut.claims.committed:
            return cut.disk, cut.claims  # both hold something
    raise AssertionError("the WAL is never of use")


def damaged(data: bytes, random: Random) -> bytes | None:
    """The file after an accident; None: it is gone."""
    spoiled = bytearray(data)
    at = random.randrange(len(data))
    end = min(at + random.choice((1, 16, 512, 4096, 20_000)), len(data))
    kind = random.choice(("cut", "zeros", "noise", "bit", "gone", "empty", "all noise", "old end"))
    if kind == "gone":
        return None
    if kind == "empty":
        return b""
    if kind == "cut":
        del spoiled[at:]
    elif kind == "zeros":
        spoiled[at:end] = bytes(end - at)
    elif kind == "noise":
        spoiled[at:end] = random.randbytes(end - at)
    elif kind == "bit":
        spoiled[at] ^= 1 << random.randrange(8)
    elif kind == "all noise":
        spoiled[:] = random.randbytes(len(data))
    else:
        spoiled[at:] = data[: len(data) - at]
    return bytes(spoiled)


def not_wrong(found: Opened, claims: Claims) -> None:
    """Nothing that was never written, nothing twice, nothing out of order."""
    seqs = [record.seq for record in found.old]
    assert seqs == sorted(set(seqs))
    for record in found.old:
        assert what(record.body) == claims.made[record.seq]


def unsaid(found: Opened, wanted: set[int]) -> set[int]:
    """The numbers that are missing, and no event says so."""
    missing = wanted - {record.seq for record in found.old}
    if found.said("journal_unreadable"):
        return set()
    for loss in found.said("loss"):
        missing -= set(range(int(loss["from_seq"]), int(loss["to_seq"]) + 1))
    return missing


@pytest.mark.parametrize("boot", ["boot0001", "boot0002"])
@pytest.mark.parametrize("name", ["journal.db", "journal.db-wal", "tail"])
def test_a_damaged_file_never_keeps_it_from_starting(
    killed: tuple[Disk, Claims], quick: Path, name: str, boot: str
) -> None:
    """The same boot: a file was damaged under a killed process. Another boot: and the power was cut."""
    disk, claims = killed
    random = Random(f"{SEED}{name}{boot}")

    async def job() -> int:
        hurt = restarts = 0
        there = (await opened(quick / "open", disk, "boot0001")).old
        wanted = {record.seq for record in there if record.seq <= claims.committed}
        for i in range(120):
            spoiled = damaged(disk[name], random)
            rest = {other: data for other, data in disk.items() if other != name}
            found = await opened(quick / "open", rest if spoiled is None else rest | {name: spoiled}, boot)
            not_wrong(found, claims)
            restarts += found.restarts
            assert found.new[0].seq > claims.committed, f"{i}: {found.new[0].seq} may have been seen before"
            assert not unsaid(found, wanted), (i, found.said("loss"))
            hurt += len(found.old) < len(there)
        assert restarts < 12
        return hurt

    assert asyncio.run(job()) > 20


def test_everything_damaged_at_once_never_keeps_it_from_starting(
    killed: tuple[Disk, Claims], quick: Path
) -> None:
    disk, claims = killed
    random = Random(SEED)

    async def job() -> None:
        for _ in range(150):
            spoiled = {name: damaged(data, random) for name, data in disk.items() if data}
            found = await opened(
                quick / "open", {name: data for name, data in spoiled.items() if data is not None}, "boot0001"
            )
            not_wrong(found, claims)

    asyncio.run(job())
