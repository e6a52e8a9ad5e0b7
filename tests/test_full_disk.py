"""A disk that takes nothing: no record goes without a word, and the journal goes on when there is room."""

from __future__ import annotations

import asyncio
import errno
import os
import sqlite3
from pathlib import Path

import pytest

from gateway import journal as journal_module
from gateway import journal_tail
from gateway.errors import JournalError
from gateway.journal import Journal
from gateway.journal_store import Store
from tests.crash.proof import (
    everything,
)
from tests.journals import Counter, FixedClock, drop, events, numbers, play, reading

pytestmark = pytest.mark.usefixtures("small_journal")


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
