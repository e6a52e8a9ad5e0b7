"""The journal on a disk that is full or will not keep, and what retention keeps and forgets."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from random import Random

import pytest

from gateway import journal as journal_module
from gateway import journal_disk
from gateway.errors import JournalError
from gateway.journal import Journal
from gateway.journal_store import Block, Memory
from tests.journals import FixedClock, drop, events, everything, numbers, play, reading


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


def test_retention_keeps_what_followers_want_until_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(journal_module, "SETTLE_BYTES", 150)
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
