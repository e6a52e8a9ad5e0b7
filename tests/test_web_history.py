"""History: what charts get of a long journal, against sums made here; and what comes of odd journals."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.clock import Clock
from gateway.journal import Journal
from gateway.journal_history import History
from gateway.journal_history_sums import BUCKET_MS, merge, step, sum_up, with_gaps
from gateway.model import Event, Reading, Stamp, Value
from tests.journal_making import make_journal

DAY_MS = 86_400_000
BEGIN_MS = 1_795_000_000_000 - 1_795_000_000_000 % BUCKET_MS


def reading(t: int, value: float, flag: int = 1, sensor: str = "ph1") -> Reading:
    return Reading(
        sensor, "m", "water", Stamp(t, "b", t - BEGIN_MS, True), {"ph": Value(value, value, "pH", flag)}
    )


def written(folder: Path, bodies: list[Any]) -> None:
    make_journal(folder, bodies)


def test_thirty_days_against_own_sums(tmp_path: Path) -> None:
    rng = random.Random(7)
    given_ = [
        reading(BEGIN_MS + n * 60_000, rng.gauss(7, 0.3), rng.choice([1, 1, 1, 2, 3, 4]))
        for n in range(30 * 1440)
        if not 10_000 < n < 12_000  # a gap of a day and more
    ]
    written(tmp_path, given_)
    history = History(tmp_path, lambda stamp: stamp.utc_ms)
    while history.roll():
        pass
    tail = history.chapter_of([])
    began_s = time.monotonic()
    found, complete = history.buckets("ph1", "ph", BEGIN_MS, BEGIN_MS + 30 * DAY_MS, tail)
    took_s = time.monotonic() - began_s
    history.close()
    assert complete
    expected: dict[int, list[tuple[float, int]]] = {}
    for body in given_:
        t, value = body.at.utc_ms, body.values["ph"]
        expected.setdefault(t - t % BUCKET_MS, []).append((value.value, value.flag))
    assert [b.start_ms for b in found] == sorted(expected)
    for bucket in found:
        values = expected[bucket.start_ms]
        good = [v for v, flag in values if flag < 4]
        assert bucket.used == len(good)
        assert bucket.failed == len(values) - len(good)
        assert bucket.worst == max(flag for _, flag in values)
        assert bucket.mean == pytest.approx(sum(good) / len(good))
        assert (bucket.low, bucket.high) == (min(good), max(good))
    assert took_s < 5


def test_rolling_again_adds_nothing_and_a_deleted_file_is_made_again(tmp_path: Path) -> None:
    written(tmp_path, [reading(BEGIN_MS + n * 60_000, 7.0) for n in range(3000)])

    def counted() -> int:
        history = History(tmp_path, lambda stamp: stamp.utc_ms)
        while history.roll():
            pass
        found, _ = history.buckets("ph1", "ph", 0, BEGIN_MS + DAY_MS * 9, history.chapter_of([]))
        history.close()
        return sum(b.used for b in found)

    assert counted() == counted() == 3000
    for file in tmp_path.glob("history.db*"):
        file.unlink()
    assert counted() == 3000
    (tmp_path / "history.db").write_bytes(b"rubbish" * 1000)
    assert counted() == 3000


def test_a_flag_that_comes_later_is_put_where_it_belongs(tmp_path: Path) -> None:
    bodies: list[Any] = [reading(BEGIN_MS + n * 60_000, 7.0) for n in range(3000)]
    at = Stamp(BEGIN_MS + 3000 * 60_000, "b", 3000 * 60_000, True)
    bodies.append(Event(at, "flagged", {"sensor": "ph1", "quantity": "ph", "seq": 3000, "flag": 4}))
    written(tmp_path, bodies)
    history = History(tmp_path, lambda stamp: stamp.utc_ms)
    points, _ = history.points("ph1", "ph", BEGIN_MS, BEGIN_MS + 9 * DAY_MS, history.chapter_of([]))
    assert [flag for _, _, flag in points] == [1] * 2999 + [4]
    while history.roll():
        pass
    found, _ = history.buckets("ph1", "ph", BEGIN_MS, BEGIN_MS + 9 * DAY_MS, history.chapter_of([]))
    history.close()
    assert sum(b.failed for b in found) == 1


def test_unsynced_readings_stand_where_they_were_dated(tmp_path: Path) -> None:
    at = Stamp(BEGIN_MS, "b", 0, False)
    written(tmp_path, [Reading("ph1", "m", "water", at, {"ph": Value(7, 7, "pH", 1)})])
    history = History(tmp_path, lambda stamp: stamp.utc_ms + 5000)
    points, _ = history.points("ph1", "ph", BEGIN_MS + 5000, BEGIN_MS + 5001, history.chapter_of([]))
    history.close()
    assert points == [(BEGIN_MS + 5000, 7.0, 1)]


def test_a_damaged_block_costs_only_itself(tmp_path: Path) -> None:
    written(tmp_path, [reading(BEGIN_MS + n * 60_000, 7.0) for n in range(3000)])
    with sqlite3.connect(tmp_path / "journal.db") as db:
        [first] = db.execute("SELECT first_seq FROM block ORDER BY first_seq LIMIT 1 OFFSET 1").fetchone()
        db.execute("UPDATE block SET body = x'00ff00' WHERE first_seq = ?", (first,))
    db.close()
    history = History(tmp_path, lambda stamp: stamp.utc_ms)
    points, _ = history.points("ph1", "ph", BEGIN_MS, BEGIN_MS + 9 * DAY_MS, history.chapter_of([]))
    history.close()
    assert 0 < len(points) < 3000


def test_the_writer_goes_on_while_the_past_is_read(tmp_path: Path) -> None:
    """What is not in a block yet is there too, each reading once."""

    async def run() -> None:
        journal = Journal(tmp_path, Clock("trust"), commit_s=0.05)
        await journal.open()
        running = asyncio.create_task(journal.run())
        history = History(tmp_path, lambda stamp: stamp.utc_ms)
        try:
            for n in range(300):
                journal.append([reading(BEGIN_MS + n * 1000, n)])
            await journal.sync()
            settled = await asyncio.to_thread(history.settled_seq)
            tail = history.chapter_of(await journal.after(settled, 10_000))
            points, _ = await asyncio.to_thread(
                history.points, "ph1", "ph", BEGIN_MS, BEGIN_MS + DAY_MS, tail
            )
            assert [value for _, value, _ in points] == list(range(300))
        finally:
            running.cancel()
            await asyncio.wait([running])
            await journal.close()
        points, _ = await asyncio.to_thread(history.points, "ph1", "ph", BEGIN_MS, BEGIN_MS + DAY_MS, tail)
        assert [value for _, value, _ in points] == list(range(300))  # in a block by now, and in the old tail
        history.close()

    asyncio.run(run())


def test_notes_are_found_by_what_and_when(tmp_path: Path) -> None:
    bodies = [
        Event(Stamp(BEGIN_MS + n * 1000, "b", n * 1000, True), "alarm" if n % 2 else "gap", {"n": n})
        for n in range(1000)
    ]
    written(tmp_path, bodies)
    history = History(tmp_path, lambda stamp: stamp.utc_ms)
    for _ in range(2):
        tail = history.chapter_of([])
        found = history.notes(tail, what=("alarm",), limit=10)
        assert [d["n"] for _, _, _, d in found] == list(range(999, 979, -2))
        older = history.notes(tail, before_seq=found[-1][0], limit=3)
        assert [d["n"] for _, _, _, d in older] == [980, 979, 978]
        assert history.notes(tail, what=("alar",)) == []
        while history.roll():
            pass
    history.close()


# ── the sums, by themselves ──


@pytest.mark.parametrize(
    ("range_ms", "points", "least_ms", "expected_ms"),
    [
        (3_600_000, 600, 0, 10_000),
        (3_600_000, 3600, 0, 1000),
        (86_400_000, 600, 20_000, 300_000),
        (30 * DAY_MS, 600, BUCKET_MS, 7_200_000),
        (365 * DAY_MS, 600, BUCKET_MS, DAY_MS),
        (4000 * DAY_MS, 2, BUCKET_MS, 2016 * DAY_MS),
    ],
)
def test_columns_have_lengths_of_a_clock(range_ms: int, points: int, least_ms: int, expected_ms: int) -> None:
    assert step(range_ms, points, least_ms) == expected_ms


@given(st.integers(1, 4000 * DAY_MS), st.integers(2, 2000), st.integers(1, DAY_MS))
@settings(deadline=None, derandomize=True, max_examples=200)
def test_a_range_never_has_more_columns_than_asked_for(range_ms: int, points: int, least_ms: int) -> None:
    length_ms = step(range_ms, points, least_ms)
    assert length_ms >= least_ms
    assert -(-range_ms // length_ms) <= points


@given(
    st.lists(
        st.tuples(st.integers(0, 10**8), st.floats(-1e6, 1e6), st.sampled_from([1, 2, 3, 4])), max_size=60
    ),
    st.sampled_from([BUCKET_MS, 2 * BUCKET_MS, 6 * BUCKET_MS]),
)
@settings(deadline=None, derandomize=True, max_examples=150)
def test_columns_of_columns_are_columns(points: list[tuple[int, float, int]], length_ms: int) -> None:
    straight = sum_up(points, length_ms)
    merged = {b.start_ms: b for b in merge([sum_up(points)[at] for at in sorted(sum_up(points))], length_ms)}
    assert set(straight) == set(merged)
    for at, bucket in straight.items():
        other = merged[at]
        assert (bucket.used, bucket.failed, bucket.worst, bucket.low, bucket.high) == (
            other.used, other.failed, other.worst, other.low, other.high,
        )  # fmt: skip
        assert other.total == pytest.approx(bucket.total, abs=1e-6)


def test_gaps_are_found() -> None:
    assert with_gaps([0, 10, 20, 60, 70, 200], 25) == [3, 5]
    assert with_gaps([], 25) == []
    assert with_gaps([5], 25) == []
