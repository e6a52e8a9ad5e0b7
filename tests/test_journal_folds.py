"""Folds inside the journal derive each thing once, whatever dies when."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway import journal as journal_module
from gateway.journal import Journal
from tests.journals import Counter, FixedClock, drop, events, everything, numbers, play, reading


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
