"""Power cuts and damaged files: the journal always starts, keeps what was synced, never uses a number twice,
and says what it may have lost.

What the writer (tests/crash/writer.py) does to the disk is recorded call by call; every moment of it is a
place to cut. `python -m tests.bench.crash` does the same for longer.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import sqlite3
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from gateway import journal as journal_module
from gateway import journal_disk, journal_store, journal_tail, verify
from gateway.errors import JournalError
from gateway.journal import Journal
from gateway.journal_store import Memory, Store
from gateway.journal_tail import TailFile, read_tail
from gateway.model import Reading
from tests.crash.disks import Disk
from tests.crash.proof import (
    Claims,
    Opened,
    Story,
    Tally,
    compiled,
    cuts,
    everything,
    opened,
    prove_again,
    prove_all,
    recorded,
)
from tests.crash.writer import small, what
from tests.test_journal import Counter, FixedClock, drop, events, numbers, play, reading

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


@pytest.fixture(autouse=True)
def small_journal(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As the writer has it."""
    for module in (journal_module, journal_disk, journal_store):
        for name in ("SETTLE_BYTES", "RECENT", "RESERVE", "FORGET_AT_ONCE", "CHECKPOINT_PAGES"):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, getattr(module, name))  # so that it is put back
    small()
    logging.disable(logging.ERROR)  # every one of thousands of starts has something to say
    yield
    logging.disable(logging.NOTSET)


# ── power cuts ──────────────────────────────────────────────────────────────────────────────────────


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


# ── damaged files ───────────────────────────────────────────────────────────────────────────────────


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


def test_a_damaged_block_is_passed_over_and_said_once(tmp_path: Path) -> None:
    clock = FixedClock()

    async def job() -> None:
        journal = Journal(tmp_path, clock)
        await journal.open()
        for i in range(60):
            journal.append([reading(clock, float(i))])
            await journal.sync()
        await journal.close()
        db = sqlite3.connect(tmp_path / "journal.db")
        spans = db.execute("SELECT first_seq, last_seq FROM block").fetchall()
        assert len(spans) > 3
        first, last = spans[1]
        body = db.execute("SELECT body FROM block WHERE first_seq = ?", (first,)).fetchone()[0]
        other = zlib.compressobj(6, zlib.DEFLATED, -15)
        text = zlib.decompress(body, -15).replace(b'"ph":[1', b'"ph":[8')  # looks right, and is wrong
        forged = other.compress(text) + other.flush()
        db.execute("UPDATE block SET body = ? WHERE first_seq = ?", (forged, first))
        db.commit()
        db.close()

        again = Journal(tmp_path, clock)
        await again.open()
        for _ in range(2):
            records = await everything(again)
            await again.sync()
        seqs = [record.seq for record in records if isinstance(record.body, Reading)]
        assert seqs == [seq for seq in range(1, 61) if not first <= seq <= last]
        lost = {"from_seq": first, "to_seq": last, "why": "a block cannot be read"}
        assert events(await everything(again), "loss") == [lost]
        await again.close()

    play(job)


@pytest.mark.parametrize("later", [False, True])
def test_a_damaged_file_is_set_aside_at_once_or_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, later: bool
) -> None:
    clock = FixedClock()
    if later:
        monkeypatch.setattr(journal_store, "_rehearse", lambda db: None)  # damage that it does not show

    async def job() -> None:
        journal = Journal(tmp_path, clock)
        await journal.open()
        for i in range(40):
            journal.append([reading(clock, float(i))])
            await journal.sync()
        await journal.close()
        db = sqlite3.connect(tmp_path / "journal.db")
        page = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'block_time'").fetchone()[0]
        db.close()
        data = bytearray((tmp_path / "journal.db").read_bytes())
        data[(page - 1) * 4096 : page * 4096] = b"\xa5" * 4096
        (tmp_path / "journal.db").write_bytes(data)

        if later:
            hurt = Journal(tmp_path, clock)
            with pytest.raises(JournalError, match="malformed"):  # noqa: PT012  where is SQLite's affair
                await hurt.open()
                hurt.append([reading(clock, 100.0)])
                await hurt.close()
        healed = Journal(tmp_path, clock)
        await healed.open()
        records = await everything(healed)
        assert events(records, "journal_unreadable")[0]["kept_as"] == str(
            tmp_path / "journal.db.unreadable-1"
        )
        assert records[0].seq > 30  # the tail's
        assert healed.append([reading(clock, 101.0)])[0].seq > 41
        await healed.close()

    play(job)


def test_a_record_of_a_newer_version_is_kept_and_left_alone(tmp_path: Path) -> None:
    clock = FixedClock()

    async def job() -> None:
        journal = Journal(tmp_path, clock)
        await journal.open()
        journal.append([reading(clock, 1.0)])
        await journal.sync()
        tail = journal._disk._tail
        assert tail is not None
        tail.write(b'[2,{"kind":"hologram","at":[1,"b",2,true]}]\n{"hologram":1,"cursors":7}\n')
        await drop(journal)

        again = Journal(tmp_path, clock)
        await again.open()
        records = await everything(again)
        assert [record.seq for record in records] == [1, 3]
        assert events(records, "records_unknown") == [{"from_seq": 2, "to_seq": 2, "records": 1}]
        await again.close()
        db = sqlite3.connect(tmp_path / "journal.db")
        bodies = b"".join(zlib.decompress(row[0], -15) for row in db.execute("SELECT body FROM block"))
        db.close()
        assert b'[2,{"kind":"hologram"' in bodies  # for the version that knows it

    play(job)


def test_a_tail_is_not_continued_by_the_frames_of_a_first_attempt(tmp_path: Path) -> None:
    """After a power cut a generation may begin again under its number, over sectors of the first attempt."""
    path = tmp_path / "tail"
    first = TailFile(path, 7)
    for text in (b"[1]\n", b"[2]\n", b"[3]\n"):
        first.write(text)
    first.close()
    again = TailFile(path, 7)  # the cut took the first sector, so the generation was not seen
    again.write(b"[7]\n")
    again.close()
    found = read_tail(path)
    assert found.lines == (b"[7]",)
    assert not found.broken


def test_a_bit_that_falls_over_in_the_tail_makes_no_record(tmp_path: Path) -> None:
    """Much of a deflate stream still unpacks when a bit is wrong: to other numbers."""
    path = tmp_path / "tail"
    tail = TailFile(path, 7)
    lines = tuple(b'[%d,{"ph":%d.25}]' % (i, i * 37) for i in range(8))
    for line in lines:
        tail.write(line + b"\n")
    tail.close()
    whole = path.read_bytes()
    for at in range(len(whole)):
        for bit in range(8):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :])
            found = read_tail(path)
            assert found.lines == lines[: len(found.lines)], (at, bit)
            assert found.broken, (at, bit)


def test_a_tail_knows_its_own_end(tmp_path: Path) -> None:
    path = tmp_path / "tail"
    path.write_bytes(b"\xff" * 200)  # an older generation, longer than this one
    tail = TailFile(path, 7)
    for text in (b"[1]\n", b"[2]\n"):
        tail.write(text)
        assert not read_tail(path).broken
    end = tail._at
    tail.close()
    whole = path.read_bytes()
    for spoiled in (whole[:end], whole[: end + 3], whole[:end] + bytes(200), whole[: end - 1], b"\0" * 300):
        path.write_bytes(spoiled)
        assert read_tail(path).broken


def test_a_file_of_version_1_is_taken_over(tmp_path: Path) -> None:
    clock = FixedClock()

    async def job() -> None:
        journal = Journal(tmp_path, clock)
        await journal.open()
        journal.append([reading(clock, 1.0)])
        await journal.close()
        db = sqlite3.connect(tmp_path / "journal.db")
        db.execute("ALTER TABLE block DROP COLUMN after_seq")
        for column in ("crc", "number", "previous", "public", "signature"):
            db.execute(f"ALTER TABLE block DROP COLUMN {column}")
        db.execute("UPDATE state SET value = CAST(substr(value, 1, length(value) - 9) AS BLOB)")
        db.execute("PRAGMA user_version = 1")
        db.commit()
        db.close()
        again = Journal(tmp_path, clock)
        await again.open()
        again.append([reading(clock, 2.0)])
        await again.sync()
        records = await everything(again)
        assert numbers(records) == [1.0, 2.0]
        assert [record.seq for record in records] == [1, 2]
        await again.close()

    play(job)


# ── a disk that takes nothing ───────────────────────────────────────────────────────────────────────


class FullDisk:
    """Everything that goes through Python's os and through SQLite fails as on a full disk, while `full`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.full = False
        really, settle = os.pwrite, Store.settle

        def pwrite(fd: int, data: bytes, at: int) -> int:
            if self.full:
                raise OSError(errno.ENOSPC, "No space left on device")
            return really(fd, data, at)

        def settling(store: Store, *args: object) -> None:
            if self.full:
                raise OSError(errno.ENOSPC, "database or disk is full")
            settle(store, *args)  # type: ignore[arg-type]  # passed on as they came

        monkeypatch.setattr(os, "pwrite", pwrite)
        monkeypatch.setattr(Store, "settle", settling)


def test_it_starts_on_a_full_disk_and_goes_on_when_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = FullDisk(monkeypatch)
    clock = FixedClock()

    async def job() -> None:
        journal = Journal(tmp_path, clock, folds=[Counter()])
        await journal.open()
        journal.append([reading(clock, float(i)) for i in range(4)])
        await journal.sync()
        await drop(journal)

        disk.full = True
        again = Journal(tmp_path, FixedClock("boot0002"), folds=[Counter()], commit_s=0.01)
        await again.open()
        task = asyncio.create_task(again.run())
        again.append([reading(clock, 4.0)])
        assert again.trouble is not None
        assert numbers(await everything(again)) == [
            0.0,
            1.0,
            2.0,
            3.0,
        ]  # nothing is claimed that is not there
        seen = again.committed_seq
        disk.full = False
        await again.more(seen)  # by itself
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await drop(again)

        last = Journal(tmp_path, FixedClock("boot0002"), folds=[Counter()])
        await last.open()
        records = await everything(last)
        assert numbers(records) == [0.0, 1.0, 2.0, 3.0, 4.0]
        assert [loss["why"] for loss in events(records, "loss")] == ["power cut"]
        assert [third["count"] for third in events(records, "third")] == [3]
        await last.close()

    play(job)


def test_a_full_disk_is_asked_in_peace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was asked without pause once the next sync was due."""
    disk = FullDisk(monkeypatch)
    asked = 0
    pwrite = os.pwrite

    def counting(fd: int, data: bytes, at: int) -> int:
        nonlocal asked
        asked += 1
        return pwrite(fd, data, at)

    monkeypatch.setattr(os, "pwrite", counting)
    clock = FixedClock()

    async def job() -> None:
        journal = Journal(tmp_path, clock, commit_s=0.1, sync_s=0.1)
        await journal.open()
        task = asyncio.create_task(journal.run())
        journal.append([reading(clock, 1.0)])
        await journal.more(0)
        disk.full = True
        journal.append([reading(clock, 2.0)])
        before = asked
        await asyncio.sleep(1.0)
        assert 2 <= asked - before < 60  # without a pause it is thousands
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        disk.full = False
        await journal.close()

    play(job)


def test_what_was_committed_is_synced_though_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = FullDisk(monkeypatch)
    synced: list[int] = []
    really = os.fdatasync

    def spy(fd: int) -> None:
        synced.append(fd)
        really(fd)

    async def job() -> None:
        journal = Journal(tmp_path, FixedClock())
        await journal.open()
        journal.append([reading(FixedClock(), 1.0)])
        async with journal._lock:
            await journal._commit(durable=False)
        disk.full = True
        monkeypatch.setattr(os, "fdatasync", spy)
        await journal.sync()
        assert synced
        disk.full = False
        await journal.close()

    play(job)


def test_the_tail_has_a_limit_and_then_the_oldest_pending_are_lost_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite takes no blocks for very long: neither the tail nor the memory grows without end."""
    monkeypatch.setattr(journal_tail, "TAIL_LIMIT", 6000)
    monkeypatch.setattr(journal_module, "PENDING_LIMIT", 40)
    monkeypatch.setattr(journal_module, "SETTLE_AGAIN_S", 0)
    settle = Store.settle
    stuck = False

    def refusing(store: Store, *args: object) -> None:
        if stuck:
            raise OSError(errno.EROFS, "attempt to write a readonly database")
        settle(store, *args)  # type: ignore[arg-type]  # passed on as they came

    monkeypatch.setattr(Store, "settle", refusing)
    clock = FixedClock()

    async def job() -> None:
        nonlocal stuck
        journal = Journal(tmp_path, clock)
        await journal.open()
        stuck = True
        for i in range(600):
            clock.now_ms += 777
            journal.append([reading(clock, i * 1.618)])
            await journal.sync()
            assert (tmp_path / "tail").stat().st_size <= 6000
            assert len(journal._pending) <= 42
        assert journal.trouble is not None
        assert "the tail is at its limit" in journal.trouble
        kept = len(numbers(await everything(journal)))
        assert kept < 500
        stuck = False
        await journal.sync()
        assert journal.trouble is None
        await drop(journal)
        again = Journal(tmp_path, clock)
        await again.open()
        records = await everything(again)
        (loss,) = events(records, "loss")
        assert loss["records"] == 600 - len(numbers(records)) > 0
        there = [record.seq for record in records]
        assert loss["from_seq"] == kept + 1
        assert there == [*range(1, kept + 1), *range(loss["to_seq"] + 1, there[-1] + 1)]
        await again.close()

    play(job)


@pytest.mark.parametrize("tail_too", [False, True])
def test_closing_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, tail_too: bool) -> None:
    """What the tail takes is kept, and the end counts as clean; what nothing takes is not claimed."""
    disk = FullDisk(monkeypatch)
    settle = Store.settle
    clock = FixedClock()

    def refusing(store: Store, *args: object) -> None:
        raise OSError(errno.ENOSPC, "database or disk is full")

    async def job() -> None:
        journal = Journal(tmp_path, clock)
        await journal.open()
        journal.append([reading(clock, 1.0)])
        await journal.sync()
        journal.append([reading(clock, 2.0)])
        if tail_too:
            disk.full = True
            with pytest.raises(JournalError, match="1 records are lost"):
                await journal.close()
            disk.full = False
        else:
            monkeypatch.setattr(Store, "settle", refusing)
            await journal.close()
            monkeypatch.setattr(Store, "settle", settle)
        again = Journal(tmp_path, FixedClock("boot0002"))
        await again.open()
        records = await everything(again)
        assert numbers(records) == ([1.0] if tail_too else [1.0, 2.0])
        assert bool(events(records, "loss")) == tail_too
        await again.close()

    play(job)


def test_room_for_retention_itself_may_be_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = FixedClock()

    def refusing(store: Store, *args: object) -> None:
        raise OSError(errno.ENOSPC, "database or disk is full")

    async def job() -> None:
        journal = Journal(tmp_path, clock, limit_bytes=1)
        await journal.open()
        monkeypatch.setattr(Store, "forget", refusing)
        for i in range(60):
            journal.append([reading(clock, float(i))])
            await journal.sync()  # the process does not end
        assert len(numbers(await everything(journal))) == 60
        await journal.close()

    play(job)


def test_a_folder_that_cannot_be_written_is_said_and_nothing_else_happens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = FixedClock()
    really = os.open

    def read_only(path: str | Path, flags: int, mode: int = 0o777) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR):
            raise OSError(errno.EROFS, "Read-only file system")
        return really(path, flags, mode)

    def contents() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.suffix != ".db-shm"}

    async def job() -> None:
        journal = Journal(tmp_path, clock)
        await journal.open()
        journal.append([reading(clock, 1.0)])
        await journal.sync()
        await drop(journal)
        before = contents()
        with monkeypatch.context() as patched:
            patched.setattr(os, "open", read_only)
            with pytest.raises(JournalError, match="Read-only file system"):
                await Journal(tmp_path, clock).open()
        assert before == contents()
        again = Journal(tmp_path, clock)  # it let go of everything
        await again.open()
        assert numbers(await everything(again)) == [1.0]
        await again.close()

    play(job)


def test_a_read_only_database_is_not_taken_for_a_damaged_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*args: object, **kwargs: object) -> sqlite3.Connection:
        e = sqlite3.OperationalError("attempt to write a readonly database")
        e.sqlite_errorname = "SQLITE_READONLY_DIRECTORY"
        raise e

    monkeypatch.setattr(Store, "_open", refused)
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(JournalError, match="readonly"):
        Store(tmp_path / "journal.db")
    assert not list(tmp_path.iterdir())


# ── followers ───────────────────────────────────────────────────────────────────────────────────────


def test_where_a_new_follower_begins_outlives_a_kill(tmp_path: Path) -> None:
    """Its sink was away from the start, so it never finished anything."""
    clock = FixedClock()

    async def job() -> None:
        journal = Journal(tmp_path, clock)
        await journal.open()
        assert journal.cursor("mqtt") == 0
        journal.append([reading(clock, 1.0)])
        await journal.sync()
        await drop(journal)
        again = Journal(tmp_path, clock)
        await again.open()
        assert again.cursor("mqtt") == 0
        await again.close()

    play(job)


def test_a_follower_that_is_gone_holds_nothing_back(tmp_path: Path) -> None:
    clock = FixedClock()

    async def fill(journal: Journal) -> None:
        for i in range(80):
            clock.now_ms += 60_000
            journal.append([reading(clock, float(i))])
            await journal.sync()

    async def job() -> None:
        journal = Journal(tmp_path, clock, keep_s=600)
        await journal.open()
        journal.cursor("mqtt")
        journal.cursor("gone")
        await fill(journal)
        journal.finish("mqtt", 80)
        assert (await everything(journal))[0].seq == 1  # "gone" has not had them
        await journal.close()
        again = Journal(tmp_path, clock, keep_s=600)
        await again.open()
        again.cursor("mqtt")
        again.finish("mqtt", 80)
        await fill(again)
        records = await everything(again)
        assert records[0].seq > 40
        assert not events(records, "loss")
        await again.close()

    play(job)


def test_a_commit_that_is_cancelled_is_done_once(tmp_path: Path) -> None:
    """The station's end cancels `run`, perhaps while the disk is at work."""
    clock = FixedClock()

    async def job() -> None:
        journal = Journal(tmp_path, clock)
        await journal.open()
        journal.append([reading(clock, 1.0)])
        keeping = asyncio.create_task(journal.sync())
        await asyncio.sleep(0)
        await asyncio.sleep(0)  # the disk works now
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        journal.append([reading(clock, 2.0)])
        await journal.close()
        db = sqlite3.connect(tmp_path / "journal.db")
        lines = [
            line
            for row in db.execute("SELECT body FROM block")
            for line in zlib.decompress(row[0], -15).splitlines()
            if line.startswith(b"[")
        ]
        db.close()
        assert [line[:3] for line in lines] == [b"[1,", b"[2,"]

    play(job)


def test_finding_a_block_among_many_does_not_read_the_others(tmp_path: Path) -> None:
    store = Store(tmp_path / "journal.db")
    for i in range(300):
        store.settle(journal_store.Block(i * 10 + 1, i * 10 + 9, 0, 0, 9, b""), Memory())
    for seq, first in ((0, 1), (8, 1), (9, 11), (10, 11), (2989, 2991), (2998, 2991)):
        span = store.span_after(seq)
        assert span is not None
        assert span.first_seq == first, seq
    assert store.span_after(2999) is None
    plan = store._db.execute(
        "EXPLAIN QUERY PLAN SELECT first_seq FROM block"
        " WHERE first_seq >= coalesce((SELECT max(first_seq) FROM block WHERE first_seq <= 5), 0)"
        " AND last_seq > 5 ORDER BY first_seq LIMIT 1"
    ).fetchall()
    assert all("SEARCH" in row[3] for row in plan if "block" in row[3]), plan
    store.close()
