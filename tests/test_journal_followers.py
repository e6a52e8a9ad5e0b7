"""The journal and its followers: where they begin, who holds nothing back, commits that are cancelled."""

from __future__ import annotations

import asyncio
import sqlite3
import zlib
from pathlib import Path

import pytest

from gateway import journal_store
from gateway.journal import Journal
from gateway.journal_store import Memory, Store
from tests.crash.proof import (
    everything,
)
from tests.journals import FixedClock, drop, events, play, reading

pytestmark = pytest.mark.usefixtures("small_journal")


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
