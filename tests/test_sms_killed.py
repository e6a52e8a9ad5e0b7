"""Killed while one of several paths has a message: which one it was is known after the restart."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from alerts.cms import SmsError, SmsRetry
from alerts.outbox import Outbox, Outcome, Row, RowState
from alerts.paths import Paths
from alerts.policy import Notice
from alerts.rule import Priority
from tests.alarm_station import ALARM, TURBIDITY, LoopClock, Path1, PowerCut, Station, story

NO_NETWORK = SmsRetry("no network")


def cut() -> None:
    raise PowerCut


async def life(folder: Path, which: str, one: Path1, other: Path1, work: Callable[[Station], Any]) -> Any:
    """One life of a station with two modems; it ends by a kill."""
    station = Station(folder, LoopClock(), Paths([("modem", one), ("second", other)]), [TURBIDITY])
    await station.open()
    if which == "first":
        station.read(20)
        await asyncio.sleep(1)
        station.read(80)
        await station.journal.sync()
    with suppress(PowerCut):
        await station.work(200)
    found = await work(station)
    await station.kill()
    return found


async def states(station: Station) -> list[tuple[str, str]]:
    return [(event["state"], event["path"]) for event in await station.events("sms")]


@pytest.mark.parametrize(
    ("script", "having", "then"),
    [([], "modem", "second"), ([NO_NETWORK], "second", "modem")],
    ids=["the first had it", "the second had it"],
)
def test_the_repetition_goes_by_the_other(
    tmp_path: Path, script: list[SmsError], having: str, then: str
) -> None:
    async def main() -> None:
        one, other = Path1(*script), Path1()
        (other if script else one).after = cut
        await life(tmp_path, "first", one, other, states)
        one, other = Path1(), Path1()
        said = await life(tmp_path, "then", one, other, states)
        tried = [("sending", name) for name in (["modem", "second"] if script else ["modem"])]
        assert said == [*tried, ("unknown", having), ("sending", then), ("accepted", then)]
        [(_, text)] = (one if then == "modem" else other).sent
        assert text.startswith(f"(repeat) {ALARM}")

    story(main)


def test_only_the_attempt_under_way_tells_who_has_it() -> None:
    outbox = Outbox()
    outbox.put(Row("r", "r", 1, Notice.RAISE, "duty", Priority.HIGH, "t", 1, "", 0, 10**9, 1, 1))
    for attempt, path in ((1, "modem"), (1, "second"), (3, "no such attempt"), (0, "nor this")):
        outbox.apply("r", Outcome("sending", attempt, path=path), 0)
    [found] = outbox.rows.values()
    assert (found.state, found.attempts, found.trying) == (RowState.SENDING, 1, "second")
