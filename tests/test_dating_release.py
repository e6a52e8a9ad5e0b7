"""Readings of an unsure clock wait until they can be dated: stories, and any mixture."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from gateway.clock import FAR_MS
from gateway.dating_release import GRACE_S, DatedStamp
from tests.clocks import DAY_S, HOUR_S
from tests.dated_life import HOLD_S, Life, story


def test_what_was_read_before_the_sync_waits_for_it(tmp_path: Path) -> None:
    async def tell(life: Life) -> None:
        await life.read(600)
        assert [len(sink.told) for sink in life.sinks.values()] == [0, 0]
        assert [f.progress.held > 15 for f in life.followers.values()] == [True, True]
        life.sync()
        await life.read(60)
        await life.delivered()
        await life.check()
        assert [f.progress.held for f in life.followers.values()] == [0, 0]

    life = story(tmp_path, tell)
    for sink in life.sinks:
        assert life.trusts(sink) == ["dated", "synced"]
        assert max(map(abs, life.errors_ms(sink))) <= 1


def test_live_is_first_what_is_older_is_history(tmp_path: Path) -> None:
    async def tell(life: Life) -> None:
        await life.read(600)
        life.sync()
        await asyncio.sleep(15)
        seqs = sorted(life.sinks["mqtt"].told)
        assert set(life.sinks["mqtt"].live) <= set(seqs[-3:]), "the last minute"
        assert len(seqs) > 15
        await life.delivered()
        await life.check()

    story(tmp_path, tell)


def test_a_sync_in_the_middle_of_an_outage(tmp_path: Path) -> None:
    async def tell(life: Life) -> None:
        for sink in life.sinks.values():
            sink.is_up = False
        await life.read(HOUR_S, 60)
        life.sync()
        await life.read(600, 60)
        for sink in life.sinks.values():
            sink.is_up = True
        await life.delivered()
        await life.check()
        assert await life.events("clock_unknown") == []

    life = story(tmp_path, tell)
    assert [life.trusts(sink) for sink in life.sinks] == [["dated", "synced"]] * 2
    assert max(map(abs, life.errors_ms("influxdb"))) <= 1


def test_network_and_time_come_back_together_and_the_time_a_little_later(tmp_path: Path) -> None:
    """`hold` is long over by then, but nobody could have been told anything."""

    async def tell(life: Life) -> None:
        for sink in life.sinks.values():
            sink.is_up = False
        await life.read(2 * HOLD_S, 60)
        for sink in life.sinks.values():
            sink.is_up = True
        await life.read(GRACE_S - 180)
        assert [len(sink.told) for sink in life.sinks.values()] == [0, 0]
        life.sync()
        await life.read(60)
        await life.delivered()
        await life.check()

    life = story(tmp_path, tell)
    assert [life.trusts(sink) for sink in life.sinks] == [["dated", "synced"]] * 2


def test_a_clock_that_nobody_sets_holds_up_nothing_for_ever(tmp_path: Path) -> None:
    async def tell(life: Life) -> None:
        await life.read(HOLD_S - 120, 60)
        assert [len(sink.told) for sink in life.sinks.values()] == [0, 0]
        await life.read(240, 60)
        assert [len(sink.told) > 25 for sink in life.sinks.values()] == [True, True]
        await life.read(HOUR_S, 60)
        for sink in life.sinks.values():
            assert len(sink.told) > 85, "what comes then goes at once"
        said = await life.events("clock_unknown")
        assert sorted(e["sink"] for e in said) == ["influxdb", "mqtt"]
        assert [e["boot"] for e in said] == ["boot0001"] * 2
        life.sync()
        await life.read(600)
        await life.delivered()
        await life.check()

    life = story(tmp_path, tell)
    assert [life.trusts(sink) for sink in life.sinks] == [["unsynced", "synced"]] * 2
    stamp = life.sinks["mqtt"].readings[min(life.sinks["mqtt"].readings)].at
    assert isinstance(stamp, DatedStamp)
    assert stamp.uncertainty_ms > FAR_MS // 2


def test_no_hold_is_no_waiting(tmp_path: Path) -> None:
    async def tell(life: Life) -> None:
        await life.read(60)
        await asyncio.sleep(3)
        assert [len(sink.told) for sink in life.sinks.values()] == [2, 2]
        await life.check()

    story(tmp_path, tell, hold_s=0.0)


def test_many_short_boots_add_up_to_the_hold(tmp_path: Path) -> None:
    async def tell(life: Life) -> None:
        for _ in range(3):
            await life.read(GRACE_S + 180, 60)
            await life.power_cut(HOUR_S)
        assert [len(sink.told) > 20 for sink in life.sinks.values()] == [True, True]
        life.sync()
        await life.read(60)
        await life.delivered()
        await life.check()

    story(tmp_path, tell)


def test_boots_without_time_lie_between_their_neighbours(tmp_path: Path) -> None:
    async def tell(life: Life) -> None:
        life.sync()
        await life.read(600)
        for off_s in (HOUR_S, 600, 3 * HOUR_S):
            await life.power_cut(off_s)
            await life.read(600)
        life.sync()
        await life.read(60)
        await life.delivered()
        await life.check()
        assert [e["trust"] for e in await life.events("clock_set")] == ["estimated", "estimated", "dated"]

    life = story(tmp_path, tell, drift_ppm=40.0)
    assert life.trusts("influxdb") == ["synced", "estimated", "dated", "synced"]
    times = [reading.at.utc_ms for _, reading in sorted(life.sinks["influxdb"].readings.items())]
    assert times == sorted(times)


@pytest.mark.parametrize("answers", [True, False])
def test_a_power_cut_right_after_the_sync_changes_no_time(tmp_path: Path, answers: bool) -> None:
    """What dates a boot is on the disk before it is used; else the boot would be "estimated" now, and the
    readings would go out again, with another time.
    """

    async def tell(life: Life) -> None:
        for sink in life.sinks.values():
            sink.is_deaf = not answers
        await life.read(600)
        life.sync()
        await asyncio.gather(*(sink.first.wait() for sink in life.sinks.values()))
        for sink in life.sinks.values():
            sink.is_deaf = False
        await life.power_cut(HOUR_S)
        await life.read(60)
        life.sync()
        await life.read(60)
        await life.delivered()
        await life.check()

    life = story(tmp_path, tell)
    assert life.trusts("influxdb")[0] == "dated"


@pytest.mark.parametrize("answers", [True, False])
def test_a_power_cut_right_after_the_end_of_the_hold_changes_no_time(tmp_path: Path, answers: bool) -> None:
    async def tell(life: Life) -> None:
        for sink in life.sinks.values():
            sink.is_deaf = not answers
        await life.read(HOLD_S - 60, 60)
        await asyncio.gather(*(sink.first.wait() for sink in life.sinks.values()))
        for sink in life.sinks.values():
            sink.is_deaf = False
        await life.power_cut(HOUR_S)
        life.sync()
        await life.read(60)
        await life.delivered()
        await life.check()

    life = story(tmp_path, tell)
    assert life.trusts("influxdb")[0] == "unsynced"


@pytest.mark.parametrize("seed", range(6))
def test_whatever_happens_each_reading_has_one_time_and_that_is_right(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)

    async def tell(life: Life) -> None:
        for _ in range(8):
            sink = life.sinks[chance.choice(("mqtt", "influxdb"))]
            match chance.randrange(8):
                case 0:
                    sink.is_up = not sink.is_up
                case 1:
                    sink.is_deaf = not sink.is_deaf
                case 2:
                    life.sync()
                case 3:
                    life.world.catch_up()
                    life.world.set_by_hand(chance.choice((HOUR_S, -HOUR_S, 20 * 365 * DAY_S, -3.0)))
                case 4:
                    await life.kill()
                    await life.start()
                case 5:
                    await life.power_cut(chance.choice((5.0, HOUR_S, 9 * DAY_S)))
                case _:
                    pass
            await life.read(chance.choice((60, 300, HOLD_S)), 60)
            await asyncio.sleep(chance.uniform(0, 3))
        for sink in life.sinks.values():
            sink.is_up, sink.is_deaf = True, False
        life.sync()
        await life.read(120)
        await life.delivered()
        await life.check()

    story(tmp_path, tell, drift_ppm=chance.uniform(-90, 90))
