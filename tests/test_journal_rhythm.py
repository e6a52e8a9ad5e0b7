"""When the journal writes: commits behind the readings, cursors along with them, syncs by the oldest."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.journal import Journal
from gateway.journal_rhythm import Rhythm
from tests.journals import FixedClock, reading
from tests.virtual_time import run as run_virtually

Deed = tuple[float, str]


def played(deeds: list[Deed], seconds: float, *, sync_s: float = 15.0) -> list[tuple[float, bool]]:
    """When commits were due, and which had to be durable, while records came and followers moved."""

    async def main() -> list[tuple[float, bool]]:
        loop, due = asyncio.get_running_loop(), []
        rhythm, began_s = Rhythm(1.0, sync_s), loop.time()
        rhythm.start()
        calls: dict[str, Callable[[], None]] = {"record": rhythm.records, "cursor": rhythm.cursors}
        for at_s, what in deeds:
            loop.call_at(began_s + at_s, calls[what])
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while True:
                    durable = await rhythm.due()
                    due.append((round(loop.time() - began_s, 2), durable))
                    rhythm.begin()
                    if durable:
                        rhythm.synced(None)
        return due

    return run_virtually(main())


def test_records_of_one_moment_go_together() -> None:
    assert played([(5.0, "record"), (5.01, "record"), (5.04, "record")], 10) == [(5.05, False)]


def test_how_far_followers_are_goes_along_with_the_next_records() -> None:
    each_second = [(float(s), "record") for s in range(5)] + [(s + 0.1, "cursor") for s in range(4)]
    assert played(sorted(each_second), 5) == [(s + 0.05, False) for s in range(5)]


def test_where_no_records_come_the_cursors_go_alone() -> None:
    assert played([(0.0, "record"), (0.1, "cursor")], 10) == [(0.05, False), (1.15, False)]


def test_a_sync_comes_when_the_oldest_record_is_so_old() -> None:
    """Not so long after the last sync: that would sync a slow station more often than is promised."""
    tens = [(float(s), "record") for s in range(0, 50, 10)]
    syncs = [at_s for at_s, durable in played(tens, 60) if durable]
    assert syncs == [15.0, 35.0, 55.0]
    assert [at_s for at_s, durable in played([(3.0, "record")], 100) if durable] == [18.0]


def test_what_came_during_a_sync_is_counted_from_then() -> None:
    async def main() -> float:
        loop = asyncio.get_running_loop()
        rhythm = Rhythm(1.0, 15.0)
        rhythm.start()
        rhythm.records()
        began_s = loop.time()
        rhythm.begin()
        await asyncio.sleep(2)  # the disk takes its time, and records come meanwhile
        rhythm.records()
        rhythm.synced(began_s)
        while not await rhythm.due():
            rhythm.begin()
        return loop.time() - began_s

    assert run_virtually(main()) == pytest.approx(15.0)


def test_what_the_disk_did_not_take_is_due_again() -> None:
    async def main() -> bool:
        rhythm = Rhythm(1.0, 15.0)
        rhythm.start()
        rhythm.records()
        await rhythm.due()
        rhythm.begin()
        rhythm.failed()
        async with asyncio.timeout(2):
            return await rhythm.due()

    assert run_virtually(main()) is False


def test_a_straggler_does_not_draw_the_next_commit_before_the_readings(tmp_path: Path) -> None:
    """One instrument each second, another in between now and then: one commit a second all the same."""

    async def main() -> None:
        loop, clock = asyncio.get_running_loop(), FixedClock()
        journal = Journal(tmp_path, clock)
        await journal.open()
        commits: list[float] = []
        write = journal._disk.write

        def spy(lines: bytes, *, durable: bool) -> None:
            commits.append(loop.time())
            write(lines, durable=durable)

        journal._disk.write = spy  # type: ignore[method-assign]  # to count the commits
        running = asyncio.create_task(journal.run())
        waits_s = []
        for second in range(100):
            began_s = loop.time()
            [record] = journal.append([reading(clock, second)])
            await journal.more(record.seq - 1)
            waits_s.append(loop.time() - began_s)
            journal.finish("mqtt", record.seq)
            if second % 10 == 4:
                await asyncio.sleep(began_s + 0.3 - loop.time())
                journal.append([reading(clock, second)])
            await asyncio.sleep(began_s + 1.0 - loop.time())
        assert max(waits_s) < 0.1
        assert len(commits) <= 100 + 7  # and the syncs
        running.cancel()
        await asyncio.wait([running])
        await journal.close()

    run_virtually(main())
