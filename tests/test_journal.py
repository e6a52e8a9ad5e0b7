"""The journal: what is committed is there after a kill, numbers are never used twice, losses are said."""

from __future__ import annotations

import asyncio
import os
import stat
import zlib
from pathlib import Path
from random import Random

import pytest

from gateway import journal as journal_module
from gateway.errors import JournalError
from gateway.journal import Journal
from gateway.journal_history import History
from gateway.journal_tail import TailFile, read_tail
from tests.journals import FixedClock, drop, events, everything, numbers, play, reading
from tests.virtual_time import run as run_virtually

BESIDE = ("-wal", "-shm")


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
