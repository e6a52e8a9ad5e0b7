"""Supervision: a part that fails is restarted, three defects end the process, systemd hears only of life.
Virtual time.
"""

from __future__ import annotations

import asyncio
import re
import socket
from pathlib import Path

import pytest

from gateway.errors import JournalError
from gateway.supervise import Defects, Notify, Pulse, supervise
from tests.virtual_time import run


def test_a_part_that_fails_is_restarted_and_may_end_by_itself(caplog: pytest.LogCaptureFixture) -> None:
    starts: list[float] = []

    async def part() -> None:
        starts.append(asyncio.get_running_loop().time())
        if len(starts) < 3:
            raise ValueError("a defect")

    run(supervise("bus.river", part))
    assert [round(s - starts[0], 1) for s in starts] == [0.0, 1.0, 2.0]
    assert caplog.text.count("bus.river: defect") == 2
    assert "ValueError: a defect" in caplog.text


@pytest.mark.parametrize(("pause_s", "ends"), [(1.0, True), (299.0, True), (302.0, False)])
def test_three_defects_in_ten_minutes_end_the_process(pause_s: float, *, ends: bool) -> None:
    starts = 0

    async def part() -> None:
        nonlocal starts
        starts += 1
        if starts > 5:
            return
        await asyncio.sleep(pause_s - 1.0)
        raise ValueError("a defect")

    if ends:
        with pytest.raises(Defects, match=r"tick: 3 defects within 600 s"):
            run(supervise("tick", part))
        assert starts == 3
    else:
        run(supervise("tick", part))
        assert starts == 6


def test_a_defect_is_told_in_one_line_without_its_words() -> None:
    told: list[tuple[str, str]] = []
    starts = 0

    async def part() -> None:
        nonlocal starts
        starts += 1
        if starts < 3:
            raise ValueError("Invalid header value b'Token s3cret'")

    run(supervise("sink.influxdb", part, lambda name, error: told.append((name, error))))
    assert [name for name, _ in told] == ["sink.influxdb"] * 2
    assert all(re.fullmatch(r"ValueError, test_supervise\.py line \d+", error) for _, error in told)


def test_a_defect_that_cannot_be_told_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    starts = 0

    async def part() -> None:
        nonlocal starts
        starts += 1
        if starts < 3:
            raise ValueError("a defect")

    def broken(name: str, error: str) -> None:
        raise KeyError("a fold")

    run(supervise("tick", part, broken))
    assert starts == 3
    assert caplog.text.count("the defect cannot be journaled") == 2


def test_a_journal_that_fails_ends_the_process_at_once() -> None:
    async def part() -> None:
        raise JournalError("the disk")

    with pytest.raises(JournalError):
        run(supervise("journal", part))


def test_a_cancelled_part_is_not_restarted() -> None:
    starts = 0

    async def part() -> None:
        nonlocal starts
        starts += 1
        await asyncio.sleep(1000)

    async def job() -> None:
        task = asyncio.create_task(supervise("sink", part))
        await asyncio.sleep(5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(job())
    assert starts == 1


def test_a_part_that_does_not_beat_in_time_is_silent() -> None:
    async def job() -> None:
        pulse = Pulse()
        pulse.beat("bus.river", 10.0)
        pulse.beat("bus.mast", 30.0)
        await asyncio.sleep(10.0)
        assert pulse.silent() == []
        await asyncio.sleep(0.1)
        assert pulse.silent() == ["bus.river"]
        pulse.beat("bus.river", 10.0)
        assert pulse.silent() == []
        await asyncio.sleep(100.0)
        pulse.rest("bus.river")
        assert pulse.silent() == ["bus.mast"]

    run(job())


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_hears_us(tmp_path: Path, *, abstract: bool) -> None:
    name = f"@suuaba-test-{tmp_path.name}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind("\0" + name[1:] if abstract else name)
        systemd.settimeout(10)
        Notify(name).send("READY=1", "STATUS=reading 4 instruments")
        assert systemd.recv(1000) == b"READY=1\nSTATUS=reading 4 instruments"


def test_without_systemd_nothing_is_sent(tmp_path: Path) -> None:
    Notify(None).send("READY=1")
    Notify(str(tmp_path / "nobody")).send("WATCHDOG=1")  # a deaf systemd is not our fault
