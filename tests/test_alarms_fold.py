"""The alarm fold and the SMS sender on the real journal: killed anywhere, nothing is lost or sent twice."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from alerts.cms import SmsRefused
from alerts.outbox import MOST_ROWS, Outbox, Outcome, Row
from alerts.policy import Notice
from alerts.rules import Kind, Priority, Rule, Tier
from alerts.watch import Watch
from gateway.alarms import AlarmFold, Steady
from gateway.model import Event, Flag, Stamp
from tests.alarm_station import (
    CHIEF,
    DUTY,
    NORMAL,
    RAISED,
    TEXTS,
    TURBIDITY,
    LoopClock,
    Path1,
    Station,
    story,
)


def test_from_a_reading_to_an_sms_and_the_end_of_it(tmp_path: Path) -> None:
    async def main() -> None:
        station = Station(tmp_path, LoopClock(), Path1(), [TURBIDITY])
        await station.open()
        station.read(80)
        await station.work(5)
        station.read(20)
        await station.work(5)
        assert station.path.sent == [
            (DUTY.phone, RAISED),
            (DUTY.phone, f"Back to normal river-1 turb1: {NORMAL}"),
        ]
        assert station.path.references == [1, 2]
        alarms = await station.events("alarm")
        assert [(a["what"], a["from"], a["to"]) for a in alarms] == [
            ("raised", "normal", "active_unacknowledged"),
            ("cleared", "active_unacknowledged", "returned_unacknowledged"),
        ]
        assert (alarms[0]["value"], alarms[0]["limit"], alarms[0]["unit"]) == (80.0, 50, "NTU")
        notices = await station.events("notify")
        assert [(n["id"], n["to"], n["segments"]) for n in notices] == [
            ("turbidity-high/1/raise/duty", "duty", 1),
            ("turbidity-high/1/clear/duty", "duty", 1),
        ]
        assert all("+996" not in str(e) for e in notices + await station.events("sms"))
        sms = await station.events("sms")
        assert [e["state"] for e in sms] == ["sending", "accepted"] * 2
        assert sms[1]["reference"] == [1]
        assert station.door.trace == ["sending", "sync", "accepted", "sync"] * 2
        await station.journal.close()

    story(main)


def test_a_restart_raises_nothing_again(tmp_path: Path) -> None:
    async def main() -> None:
        station = Station(tmp_path, LoopClock(), Path1(), [TURBIDITY])
        await station.open()
        station.read(80)
        await station.work(5)
        before = station.fold.save()
        await station.journal.sync()
        await station.kill()
        again = Station(tmp_path, LoopClock(), Path1(), [TURBIDITY])
        await again.open()
        for _ in range(20):
            again.read(81)
            await again.work(1)
        assert again.path.sent == []
        assert len(await again.events("notify")) == 1
        assert len(before) < 2000
        assert again.fold.standing()[0]["state"] == "active_unacknowledged"
        await again.journal.close()

    story(main)


def test_an_outcome_counts_once() -> None:
    outbox = Outbox()
    row = Row("r/1/raise/duty", "r", 1, Notice.RAISE, "duty", Priority.HIGH, "t", 1, "", 0, 10**9, 1, 1)
    outbox.put(row)
    for outcome, attempt, now_ms in (
        ("accepted", 1, 0),  # never begun
        ("sending", 1, 0),
        ("sending", 1, 0),
        ("unknown", 2, 0),  # not this attempt
        ("unknown", 1, 1000),
        ("unknown", 1, 5000),  # shown again: must not count as the second unknown end
        ("sending", 1, 6000),
        ("retry", 1, 6000),
    ):
        outbox.apply(row.id, Outcome(outcome, attempt), now_ms)
    assert outbox.next(60_999) is None
    waiting = outbox.next(61_000)
    assert waiting is not None
    assert (waiting.attempts, waiting.repeat) == (1, True)


def test_who_never_got_the_alarm_does_not_get_its_end(tmp_path: Path) -> None:
    async def main() -> None:
        station = Station(tmp_path, LoopClock(), Path1(SmsRefused("no such number")), [TURBIDITY])
        await station.open()
        station.read(80)
        await asyncio.sleep(1)
        station.read(20)
        await station.work(60)
        assert station.path.sent == []
        withdrawn = [e for e in await station.events("sms") if e["state"] == "withdrawn"]
        assert [e["id"] for e in withdrawn] == ["turbidity-high/1/clear/duty"]
        await station.kill()

    story(main)


def test_a_contact_that_is_gone_after_a_restart(tmp_path: Path) -> None:
    async def main() -> None:
        station = Station(tmp_path, LoopClock(), Path1(), [TURBIDITY])
        await station.open()
        station.read(80)
        await station.journal.sync()
        await station.kill()
        again = Station(tmp_path, LoopClock(), Path1(), [TURBIDITY], contacts=[CHIEF])
        await again.open()
        await again.work(5)
        assert again.path.sent == []
        assert [e["state"] for e in await again.events("sms")] == ["failed"]
        await again.kill()

    story(main)


def test_a_flagged_value_a_dead_sensor_and_strange_events_raise_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        station = Station(tmp_path, LoopClock(), Path1(), [TURBIDITY])
        await station.open()
        station.read(80, Flag.FAIL)
        await asyncio.sleep(1)
        station.read(80, Flag.MISSING)
        await asyncio.sleep(1)
        station.read(float("nan"))
        at = station.clock.stamp()
        for detail in (
            {},
            {"sensor": 7, "state": None},
            {"id": ["x"], "state": {}},
            {"id": "x", "attempt": "y"},
        ):
            for what in ("sensor", "sms", "acknowledge", "notify", "x"):
                station.journal.append([Event(at, what, detail)])
        assert await station.events("alarm") == []
        await asyncio.sleep(1)
        station.read(80, Flag.SUSPECT)
        assert len(await station.events("alarm")) == 1
        await station.kill()

    story(main)


def test_fault_and_acknowledgement_come_as_events(tmp_path: Path) -> None:
    async def main() -> None:
        rule = Rule("ill", "turb1", Kind.FAULT, on_delay_s=5, send=(Tier(("duty",)),))
        station = Station(tmp_path, LoopClock(), Path1(), [rule])
        await station.open()
        dead = {"sensor": "turb1", "state": "dead", "why": "no answer"}
        station.journal.append([Event(station.clock.stamp(), "sensor", dead)])
        await station.work(10)
        assert station.path.sent == [(DUTY.phone, "Warning river-1: sensor turb1 is faulty since 07:56")]
        detail = {"rule": "ill", "by": "duty"}
        station.journal.append([Event(station.clock.stamp(), "acknowledge", detail)])
        station.journal.append([Event(station.clock.stamp(), "acknowledge", detail)])
        assert station.fold.standing()[0]["state"] == "active_acknowledged"
        acknowledged = [e for e in await station.events("alarm") if e["what"] == "acknowledged"]
        assert [e["by"] for e in acknowledged] == ["duty"]
        station.journal.append(
            [Event(station.clock.stamp(), "sensor", {"sensor": "turb1", "state": "alive"})]
        )
        assert station.fold.standing()[0]["state"] == "normal"
        await station.kill()

    story(main)


def test_setting_the_clock_moves_no_delay(tmp_path: Path) -> None:
    async def main() -> None:
        rule = Rule(
            "t", "turb1", Kind.ABOVE, "turbidity", high=50, on_delay_s=60, gap_s=30, send=(Tier(("duty",)),)
        )
        station = Station(tmp_path, LoopClock(), Path1(), [rule])
        station.clock.is_right = False
        await station.open()
        for i in range(8):
            station.read(80)
            if i == 2:
                station.clock.step_ms, station.clock.is_right = 400 * 86_400_000, True
            if i == 4:
                station.clock.step_ms = -3_600_000
            assert len(await station.events("alarm")) == (1 if i < 6 else 2)  # pending; raised after 60 s
            await station.work(10)
        await station.kill()

    story(main)


@pytest.mark.parametrize(
    ("synced", "passed_ms"), [((True, True), 3_600_000), ((True, False), 0), ((False, True), 0)]
)
def test_over_a_restart_only_a_right_clock_tells_how_long_it_was(
    synced: tuple[bool, bool], passed_ms: int
) -> None:
    steady = Steady()
    steady.place(Stamp(1_000_000, "a", 50_000, synced[0]), newly_started=True)
    assert steady.place(Stamp(1_010_000, "a", 60_000, synced[0]), newly_started=False) == 10_000
    begun = steady.place(Stamp(1_010_000 + 3_600_000, "b", 5_000, synced[1]), newly_started=True)
    assert begun == 10_000 + passed_ms
    assert steady.place(Stamp(0, "b", 6_000, False), newly_started=False) == begun + 1_000


def test_a_record_of_an_earlier_boot_is_history() -> None:
    steady = Steady()
    steady.place(Stamp(10_000_000, "b", 50_000, True), newly_started=True)
    assert steady.place(Stamp(4_000_000, "a", 99_000, True), newly_started=False) == -6_000_000
    assert steady.place(Stamp(4_000_000, "a", 99_000, False), newly_started=False) < -(10**9)
    assert steady.ms == 0


def test_a_state_that_cannot_be_read_is_no_reason_not_to_start() -> None:
    fold = AlarmFold(Watch("river-1", [TURBIDITY], [DUTY], TEXTS))
    for state in (b"", b"{", b"{}", b'{"steady": 5, "memory": {}}'):
        fold.restore(state)
        assert fold.standing()[0]["state"] == "normal"


def test_the_outbox_has_a_limit_and_keeps_the_urgent() -> None:
    outbox = Outbox()

    def row(number: int, priority: Priority) -> Row:
        name = f"r/{number}/raise/duty"
        return Row(name, "r", number, Notice.RAISE, "duty", priority, "t", 1, "", 0, 10**9, 1, number)

    for number in range(MOST_ROWS):
        assert outbox.put(row(number, Priority.LOW if number == 7 else Priority.HIGH)) == []
    assert outbox.put(row(500, Priority.CRITICAL)) == [row(7, Priority.LOW)]
    assert outbox.put(row(501, Priority.LOW)) == [row(501, Priority.LOW)]
    assert outbox.put(row(500, Priority.CRITICAL)) == []  # the same id again is the same message
    assert len(outbox.rows) == MOST_ROWS
