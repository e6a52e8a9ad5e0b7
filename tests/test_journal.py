"""The journal: what is committed is there after a kill, numbers are never used twice, folds derive once,
losses are said.
"""

from __future__ import annotations

import asyncio
import errno
import os
import stat
import zlib
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from random import Random

import pytest

from gateway import journal as journal_module
from gateway import journal_disk
from gateway.clock import Clock
from gateway.errors import JournalError
from gateway.journal import Journal
from gateway.journal_history import History
from gateway.journal_store import Block, Memory
from gateway.journal_tail import TailFile, read_tail
from gateway.model import Body, Event, Reading, Record, Stamp, Value
from tests.virtual_time import run as run_virtually

BESIDE = ("-wal", "-shm")


class FixedClock(Clock):
    """A clock that only goes when told, and whose boot can be chosen."""

    def __init__(self, boot: str = "boot0001") -> None:
        self.boot = boot
        self.now_ms = 1_763_892_000_000

    def stamp(self) -> Stamp:
        return Stamp(self.now_ms, self.boot, self.now_ms - 1_763_000_000_000, True)


def reading(clock: FixedClock, number: float) -> Reading:
    return Reading("ph1", "yosemitech-y532", "water", clock.stamp(), {"ph": Value(number, number, "pH", 1)})


async def drop(journal: Journal) -> None:
    """End as a killed process does: nothing is committed any more, the files are let go."""
    await journal._in_thread(journal._disk.close)


async def everything(journal: Journal, seq: int = 0) -> list[Record]:
    found: list[Record] = []
    while batch := await journal.after(seq, 7):
        found += batch
        seq = batch[-1].seq
    return found


def numbers(records: Sequence[Record]) -> list[float]:
    return [record.body.values["ph"].raw for record in records if isinstance(record.body, Reading)]


def events(records: Sequence[Record], what: str) -> list[dict[str, object]]:
    return [r.body.detail for r in records if isinstance(r.body, Event) and r.body.what == what]


def play(job: Callable[[], Awaitable[None]]) -> None:
    async def within() -> None:
        async with asyncio.timeout(30):
            await job()

    asyncio.run(within())


def test_committed_records_survive_a_kill_and_the_others_do_not(tmp_path: Path) -> None:
    clock = FixedClock()

    async def job() -> None:
        journal = Journal(tmp_path, clock)
        await journal.open()
        assert [record.seq for record in journal.append([reading(clock, n) for n in (7.0, 7.1)])] == [1, 2]
        await journal.sync()
        journal.append([reading(clock, 7.2)])
        await drop(journal)

        again = Journal(tmp_path, clock)
        await again.open()
        assert numbers(await everything(again)) == [7.0, 7.1]
        assert again.append([reading(clock, 7.3)])[0].seq == 3  # 3 was never committed, so nobody has seen it
        await again.close()

    play(job)


def test_order_and_numbers_hold_across_blocks_and_restarts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "SETTLE_BYTES", 2000)
    monkeypatch.setattr(journal_module, "RECENT", 5)
    clock = FixedClock()

    async def job() -> None:
        sent: list[float] = []
        for round_ in range(4):
            journal = Journal(tmp_path, clock)
            await journal.open()
            for i in range(40):
                number = round_ * 100.0 + i
                journal.append([reading(clock, number)])
                sent.append(number)
                await journal.sync()
            assert numbers(await everything(journal)) == sent
            await (journal.close() if round_ % 2 else drop(journal))
        journal = Journal(tmp_path, clock)
        await journal.open()
        records = await everything(journal)
        assert numbers(records) == sent
        assert [record.seq for record in records] == list(range(1, 161))
        await journal.close()

    play(job)


def test_cursors_and_more(tmp_path: Path) -> None:
    clock = FixedClock()

    async def job() -> None:
        journal = Journal(tmp_path, clock)
        await journal.open()
        assert journal.cursor("mqtt") == 0
        waiting = asyncio.create_task(journal.more(0))
        await asyncio.sleep(0)
        assert not waiting.done()
        journal.append([reading(clock, n) for n in (1.0, 2.0, 3.0)])
        await journal.sync()
        await waiting
        journal.finish("mqtt", 2)
        journal.finish("mqtt", 1)  # never backwards
        await journal.sync()
        await drop(journal)
        again = Journal(tmp_path, clock)
        await again.open()
        assert again.cursor("mqtt") == 2
        assert again.cursor("new") == 3  # a new sink begins with what comes next
        await again.close()

    play(job)


def test_run_commits_within_its_interval_and_syncs_later(tmp_path: Path) -> None:
    clock = FixedClock()

    async def job() -> None:
        journal = Journal(tmp_path, clock, commit_s=0.05, sync_s=0.2)
        await journal.open()
        written: list[bool] = []
        flushed = asyncio.Event()
        loop = asyncio.get_running_loop()
        write = journal._disk.write

        def spy(lines: bytes, *, durable: bool) -> None:
            written.append(durable)
            write(lines, durable=durable)
            if durable:
                loop.call_soon_threadsafe(flushed.set)

        journal._disk.write = spy  # type: ignore[method-assign]  # to see when the disk is asked to flush
        task = asyncio.create_task(journal.run())
        journal.append([reading(clock, 1.0)])
        await journal.more(0)
        assert written == [False]
        await flushed.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await journal.close()

    play(job)


def test_after_a_power_cut_numbers_jump_and_the_loss_is_said(tmp_path: Path) -> None:
    clock = FixedClock()

    async def job() -> None:
        journal = Journal(tmp_path, clock)
        await journal.open()
        journal.append([reading(clock, 1.0)])
        await journal.sync()
        synced = (tmp_path / "tail").read_bytes()
        journal.append([reading(clock, 2.0)])
        async with journal._lock:
            await journal._commit(durable=False)
        seen = (await journal.after(0, 9))[-1].seq
        await drop(journal)
        (tmp_path / "tail").write_bytes(synced)  # the power took what was not synced

        after = Journal(tmp_path, FixedClock("boot0002"))
        await after.open()
        records = await everything(after)
        assert numbers(records) == [1.0]
        loss = events(records, "loss")
        assert len(loss) == 1
        assert loss[0]["why"] == "power cut"
        assert loss[0]["from_seq"] == 2
        assert records[-1].seq > seen  # 2 was published by a follower perhaps; it is never given out again
        await after.close()

        calm = Journal(tmp_path, FixedClock("boot0003"))
        await calm.open()
        assert len(events(await everything(calm), "loss")) == 1  # a clean end loses nothing
        await calm.close()

    play(job)


def test_a_torn_tail_is_cut_off_wherever_it_tears(tmp_path: Path) -> None:
    path = tmp_path / "tail"
    path.write_bytes(b"\xff" * 700)  # what an older generation left behind
    tail = TailFile(path, 7)
    ends = [0]
    for i in range(6):
        tail.write(b'[%d,"x"]\n' % i)
        ends.append(tail._at)
    tail.close()
    whole = path.read_bytes()
    for cut in range(ends[-1] + 1):
        path.write_bytes(whole[:cut])
        complete = sum(cut >= end for end in ends[1:])
        assert read_tail(path).lines == tuple(b'[%d,"x"]' % i for i in range(complete)), cut
        path.write_bytes(whole[:cut] + bytes(len(whole) - cut))  # a sector that was never written
        kept = read_tail(path).lines
        assert kept == tuple(b'[%d,"x"]' % i for i in range(len(kept)))
        assert len(kept) >= complete


def test_an_older_generation_behind_the_tail_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "tail"
    old = TailFile(path, 7)
    for _ in range(5):
        old.write(b"[1]\n")
    old.close()
    new = TailFile(path, 8)
    new.write(b"[2]\n")
    new.close()
    found = read_tail(path)
    assert (found.generation, found.lines) == (8, (b"[2]",))


class Counter:
    """A fold that derives an event from every third reading, and one tick event."""

    name = "counter"

    def __init__(self) -> None:
        self.count = 0
        self.ticked = False

    def step(self, record: Record) -> Sequence[Body]:
        if not isinstance(record.body, Reading):
            return []
        self.count += 1
        if self.count % 3:
            return []
        return [Event(record.body.at, "third", {"count": self.count, "seq": record.seq})]

    def tick(self, at: Stamp) -> Sequence[Body]:
        if self.ticked:
            return []
        self.ticked = True
        return [Event(at, "ticked", {})]

    def save(self) -> bytes:
        return b"%d %d" % (self.count, self.ticked)

    def restore(self, state: bytes) -> None:
        self.count, self.ticked = int(state.split()[0]), state.split()[1] == b"1"


@pytest.mark.parametrize("settle_bytes", [100, 100_000])
def test_a_fold_derives_each_thing_once_whatever_dies_when(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settle_bytes: int
) -> None:
    monkeypatch.setattr(journal_module, "SETTLE_BYTES", settle_bytes)
    clock = FixedClock()

    async def job() -> None:
        sent = 0
        for round_ in range(12):
            journal = Journal(tmp_path, clock, folds=[Counter()])
            await journal.open()
            for i in range(round_ % 5):
                journal.append([reading(clock, float(sent))])
                sent += 1
                if i % 2:
                    await journal.sync()
            journal.tick()
            await journal.sync()
            await drop(journal)
        journal = Journal(tmp_path, clock, folds=[Counter()])
        await journal.open()
        records = await everything(journal)
        assert numbers(records) == [float(i) for i in range(sent)]
        assert [detail["count"] for detail in events(records, "third")] == list(range(3, sent + 1, 3))
        assert len(events(records, "ticked")) == 1
        await journal.close()

    play(job)


def test_a_full_disk_loses_and_doubles_nothing_when_space_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = FixedClock()
    really = os.pwrite

    def full(fd: int, data: bytes, at: int) -> int:
        really(fd, data[: len(data) // 2], at)  # half of it still fits
        raise OSError(errno.ENOSPC, "No space left on device")

    async def job() -> None:
        journal = Journal(tmp_path, clock)
        await journal.open()
        journal.append([reading(clock, 1.0)])
        await journal.sync()
        monkeypatch.setattr(os, "pwrite", full)
        journal.append([reading(clock, 2.0)])
        await journal.sync()
        assert journal.trouble == "records: No space left on device"
        assert numbers(await everything(journal)) == [1.0]  # nothing is claimed that is not there
        monkeypatch.setattr(os, "pwrite", really)
        journal.append([reading(clock, 3.0)])
        await journal.sync()
        assert journal.trouble is None
        await drop(journal)
        again = Journal(tmp_path, clock)
        await again.open()
        assert numbers(await everything(again)) == [1.0, 2.0, 3.0]
        await again.close()

    play(job)


def test_a_disk_that_stays_full_drops_the_oldest_and_says_how_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = FixedClock()
    monkeypatch.setattr(journal_module, "PENDING_LIMIT", 10)
    really = os.pwrite

    def full(fd: int, data: bytes, at: int) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    async def job() -> None:
        journal = Journal(tmp_path, clock)
        await journal.open()
        monkeypatch.setattr(os, "pwrite", full)
        journal.append([reading(clock, float(i)) for i in range(25)])
        await journal.sync()
        monkeypatch.setattr(os, "pwrite", really)
        await journal.sync()
        records = await everything(journal)
        assert numbers(records) == [float(i) for i in range(15, 25)]
        assert events(records, "loss") == [
            {"from_seq": 1, "to_seq": 15, "records": 15, "why": "No space left on device"}
        ]
        await journal.close()

    play(job)


def test_a_disk_that_does_not_keep_what_it_took_ends_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lies(fd: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    async def job() -> None:
        journal = Journal(tmp_path, FixedClock())
        await journal.open()
        journal.append([reading(FixedClock(), 1.0)])
        monkeypatch.setattr(os, "fdatasync", lies)
        with pytest.raises(JournalError, match="did not keep what was written"):
            await journal.sync()
        await drop(journal)

    play(job)


@pytest.mark.parametrize("tail_too", [False, True])
def test_an_unreadable_file_is_set_aside_and_numbers_go_on(tmp_path: Path, *, tail_too: bool) -> None:
    clock = FixedClock()
    aside: list[Path] = []

    async def job() -> None:
        journal = Journal(tmp_path, clock)
        await journal.open()
        journal.append([reading(clock, float(i)) for i in range(5)])
        await journal.close()
        (tmp_path / "journal.db").write_bytes(b"this is no database" * 100)
        if tail_too:
            (tmp_path / "tail").write_bytes(b"nor is this a tail")

        again = Journal(tmp_path, clock)
        await again.open()
        records = await everything(again)
        aside.append(Path(str(events(records, "journal_unreadable")[0]["kept_as"])))
        assert numbers(records) == ([] if tail_too else [0.0, 1.0, 2.0, 3.0, 4.0])  # the tail still has them
        assert records[-1].seq > 5
        await again.close()

    play(job)
    assert aside[0].read_bytes().startswith(b"this is no database")


def test_two_processes_cannot_share_a_journal(tmp_path: Path) -> None:
    async def job() -> None:
        journal = Journal(tmp_path, FixedClock())
        await journal.open()
        with pytest.raises(JournalError, match="in use by another suuaba process"):
            await Journal(tmp_path, FixedClock()).open()
        await journal.close()

    play(job)


@pytest.mark.parametrize("umask", [0, 0o077])
def test_the_journals_files_are_its_owners_alone(tmp_path: Path, umask: int) -> None:
    """They hold telephone numbers and one-time codes. Also those that SQLite makes, and what was there."""
    folder, clock = tmp_path / "data", FixedClock()

    def modes() -> dict[str, int]:
        return {file.name: stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()}

    async def job() -> None:
        journal = Journal(folder, clock)
        await journal.open()
        journal.append([reading(clock, 7.0)])
        await journal.sync()
        own = History(folder, lambda stamp: stamp.utc_ms)
        own.roll()
        names = {"lock", "tail", *(f"{db}.db{end}" for db in ("journal", "history") for end in ("", *BESIDE))}
        assert modes() == dict.fromkeys(names, 0o600)
        own.close()
        await drop(journal)

    before = os.umask(umask)
    try:
        play(job)
        assert stat.S_IMODE(folder.stat().st_mode) == 0o750
        (folder / "journal.db.unreadable-1").touch()
        for file in folder.iterdir():
            file.chmod(0o644)
        play(lambda: _reopened(folder, clock))
        assert set(modes().values()) == {0o600}, modes()
    finally:
        os.umask(before)


async def _reopened(folder: Path, clock: FixedClock) -> None:
    journal = Journal(folder, clock)
    await journal.open()
    await drop(journal)


def test_retention_keeps_what_followers_want_until_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(journal_module, "SETTLE_BYTES", 200)
    monkeypatch.setattr(journal_module, "RECENT", 1)
    clock = FixedClock()

    async def fill(journal: Journal, count: int) -> None:
        for i in range(count):
            clock.now_ms += 60_000
            journal.append([reading(clock, float(i))])
            await journal.sync()

    async def job() -> None:
        journal = Journal(tmp_path, clock, keep_s=600)
        await journal.open()
        assert journal.cursor("mqtt") == 0
        await fill(journal, 40)
        assert (await everything(journal))[0].seq == 1  # too old, but mqtt has not had them
        journal.finish("mqtt", 30)
        await fill(journal, 2)
        assert (await everything(journal))[0].seq == 31
        await journal.close()

        small = Journal(tmp_path, clock, limit_bytes=1)
        await small.open()
        assert small.cursor("mqtt") == 30
        await fill(small, 1)
        await small.sync()
        loss = events(await everything(small), "loss")
        assert loss[-1]["not_delivered_to"] == ["mqtt"]
        await small.close()

    play(job)
    assert "records 31 to 42 went before mqtt had them" in caplog.text


def test_a_nearly_full_disk_keeps_the_journal_from_growing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "SETTLE_BYTES", 20_000)
    monkeypatch.setattr(journal_disk, "SPARE_BYTES", 20_000)
    clock = FixedClock()

    async def fill(journal: Journal) -> int:
        for _ in range(40):
            journal.append([reading(clock, random.random()) for _ in range(100)])
            await journal.sync()
        return size()

    def size() -> int:
        return sum(path.stat().st_size for path in tmp_path.iterdir())

    async def job() -> None:
        journal = Journal(tmp_path, clock)
        await journal.open()
        roomy = [await fill(journal) for _ in range(2)]
        monkeypatch.setattr(journal_disk, "KEEP_FREE_BYTES", 1 << 60)
        tight = [await fill(journal) for _ in range(3)]
        assert roomy[1] - roomy[0] > 50_000
        assert tight[2] - tight[0] < 10_000
        assert (await everything(journal))[0].seq > 1
        await journal.close()

    random = Random(1)
    play(job)


def test_blocks_that_find_no_room_stay_in_the_tail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "SETTLE_BYTES", 500)
    monkeypatch.setattr(journal_module, "SETTLE_AGAIN_S", 0)
    clock = FixedClock()
    full = True

    async def job() -> None:
        nonlocal full
        journal = Journal(tmp_path, clock)
        await journal.open()
        store = journal._disk._store
        assert store is not None
        settle = store.settle

        def refusing(block: Block | None, memory: Memory) -> None:
            if full:
                raise OSError(errno.ENOSPC, "database or disk is full")
            settle(block, memory)

        monkeypatch.setattr(store, "settle", refusing)
        for i in range(30):
            journal.append([reading(clock, float(i))])
            await journal.sync()
        assert journal.trouble == "blocks: database or disk is full"
        assert numbers(await everything(journal)) == [float(i) for i in range(30)]
        full = False
        for i in range(30, 40):
            journal.append([reading(clock, float(i))])
            await journal.sync()
        assert journal.trouble is None
        full = True
        journal.append([reading(clock, 40.0)])
        await journal.close()  # the last block finds no room either
        again = Journal(tmp_path, clock)
        await again.open()
        assert numbers(await everything(again)) == [float(i) for i in range(41)]
        await again.close()

    play(job)


def test_a_fold_that_counts_while_the_disk_is_slow_counts_each_record_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What arrives while a block is being kept is not in it: the state kept with it must not know it."""
    monkeypatch.setattr(journal_module, "SETTLE_BYTES", 1)
    clock = FixedClock()

    async def job() -> None:
        journal = Journal(tmp_path, clock, folds=[Counter()])
        await journal.open()
        for i in range(0, 20, 2):
            journal.append([reading(clock, float(i))])
            keeping = asyncio.create_task(journal.sync())
            await asyncio.sleep(0)  # the disk works now
            journal.append([reading(clock, float(i + 1))])
            await keeping
        await drop(journal)
        counter = Counter()
        again = Journal(tmp_path, clock, folds=[counter])
        await again.open()
        assert (
            counter.count == len(numbers(await everything(again))) >= 19
        )  # the last came in too late perhaps
        await again.close()

    play(job)


@pytest.mark.parametrize(("size", "packed_anew"), [(30, True), (3000, False)])
def test_small_frames_are_packed_anew_for_sqlite(tmp_path: Path, size: int, packed_anew: bool) -> None:
    tail = TailFile(tmp_path / "tail", 1)
    noise = Random(1)
    lines = [b'[%d,"%s"]\n' % (i, noise.randbytes(size).hex().encode()) for i in range(100)]
    for i, line in enumerate(lines[:-1]):
        tail.write(line + b'{"cursors":{"mqtt":%d}}\n' % i)
    found = zlib.decompress(tail.body(lines[-1]), -15).splitlines(keepends=True)
    assert [line for line in found if line.startswith(b"[")] == lines
    assert (len(found) == len(lines)) is packed_anew
    tail.write(b"[100]\n")  # the generation goes on as if nothing had been asked
    tail.close()
    assert read_tail(tmp_path / "tail").lines[-1] == b"[100]"


def test_a_commit_comes_to_follow_the_readings_of_each_second(tmp_path: Path) -> None:
    """Wherever in the second the first one was: what is read at :00 is not held until :92."""

    async def main() -> None:
        loop, clock = asyncio.get_running_loop(), FixedClock()
        journal = Journal(tmp_path, clock)
        await journal.open()
        running = asyncio.create_task(journal.run())
        journal.append([reading(clock, 0)])
        await asyncio.sleep(0.2)  # the first commit was 0.05 s behind that
        waits_s = []
        for number in range(1, 61):
            began_s = loop.time()
            [record] = journal.append([reading(clock, number)])
            await journal.more(record.seq - 1)
            waits_s.append(loop.time() - began_s)
            await asyncio.sleep(began_s + 1.0 - loop.time())
        assert waits_s[0] > 0.7
        assert max(waits_s) <= 1.0
        assert max(waits_s[45:]) < 0.1
        running.cancel()
        await asyncio.wait([running])
        await journal.close()

    run_virtually(main())
