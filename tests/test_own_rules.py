"""Rules about the station itself and about values that stand still; what suppresses a rule by design; the
operator's own texts."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from alerts.memory import Now
from alerts.messages import packaged
from alerts.outbox import Outcome
from alerts.policy import Contact
from alerts.rules import Kind, Priority, Rule, RuleError, Tier
from alerts.watch import Limits, Watch
from gateway.alarms_station import LEAST_FREE_BYTES, OwnWatch
from gateway.model import Event, Record
from tests.alarm_station import DUTY, LoopClock, Path1, Station
from tests.memory_journal import stamp
from tests.virtual_time import run

UTC_MS = 1_763_883_600_000
DUTY_FIRST = (Tier(("duty",)),)
SECONDS, MINUTE_MS, HOUR_MS = 1000, 60_000, 3_600_000


class Desk:
    """A watch, and the texts that leave."""

    def __init__(self, *rules: Rule) -> None:
        people = [Contact("duty", "+996555000001", "en")]
        limits = Limits(collect_s=0, answers=False)
        self.watch = Watch("river-1", rules, people, {"en": packaged("en")}, limits=limits)
        self.ms = 0
        self.sure = True

    @property
    def now(self) -> Now:
        return Now(self.ms, UTC_MS + self.ms, self.sure)

    def see(self, value: float, name: str = "ph", sensor: str = "ph1") -> None:
        self.watch.see_values(sensor, self.ms, {name: (value, True)}, self.now)

    def tick(self, seconds: float = 1.0) -> list[str]:
        """Let time pass; what was sent by then."""
        texts = []
        for _ in range(int(seconds)):
            self.ms += 1000
            self.watch.tick(self.now)
        while (row := self.watch.memory.outbox.next(self.ms)) is not None:
            for state in ("sending", "accepted", "delivered"):
                self.watch.outcome(row.id, Outcome(state, row.attempts + 1), self.now)
            texts.append(row.text)
        return texts


def own(kind: Kind, **more: Any) -> Rule:
    return Rule(str(kind), "", kind, priority=Priority.CRITICAL, send=DUTY_FIRST, **more)


def stuck(**more: Any) -> Rule:
    return Rule(
        "still", "ph1", Kind.STUCK, "ph", "pH", stuck_s=3600.0, every_s=60.0, gap_s=180.0, digits=2,
        priority=Priority.CRITICAL, send=DUTY_FIRST, **more,
    )  # fmt: skip


# ── values that stand still ─────────────────────────────────────────────────────────────────────────────────


def still(desk: Desk, values: Callable[[int], float | None], minutes: int) -> list[str]:
    texts: list[str] = []
    for minute in range(minutes):
        value = values(minute)
        if value is not None:
            desk.see(value)
        texts += desk.tick(1)
        desk.ms += MINUTE_MS - 1000
    return texts


def test_a_value_that_stands_still_is_an_alarm_and_its_moving_is_the_end() -> None:
    desk = Desk(stuck(hysteresis=0.01))
    assert still(desk, lambda _: 7.21, 60) == []
    assert still(desk, lambda _: 7.21, 2) == ["ALARM river-1 ph1: pH has stood still at 7.21 since 07:40"]
    assert still(desk, lambda _: 7.22, 5) == []  # within the hysteresis
    assert still(desk, lambda _: 7.30, 1)[0].startswith("Back to normal river-1 ph1: pH moves again, 7.30")


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(lambda m: 7.21 + (m % 50 == 49), id="moves each 50 min"),
        pytest.param(lambda m: 7.21 if m < 30 or m > 50 else None, id="a hole proves nothing"),
    ],
)
def test_what_is_not_stuck(values: Callable[[int], float | None]) -> None:
    desk = Desk(stuck())
    assert still(desk, values, 75) == []
    assert desk.watch.memory.states["still"].occurrence == 0


def test_a_still_value_is_no_news_before_its_time() -> None:
    desk = Desk(stuck())
    said = [
        one for _ in range(50) for one in desk.watch.see_values("ph1", desk.ms, {"ph": (7.2, True)}, desk.now)
    ]
    assert said == []


# ── the station itself ──────────────────────────────────────────────────────────────────────────────────────


def test_the_clock() -> None:
    desk = Desk(own(Kind.CLOCK, on_delay_s=600.0))
    assert desk.tick(60) == []
    desk.sure = False
    assert desk.tick(590) == []
    assert desk.tick(20) == ["ALARM river-1: the clock is not set"]  # no time: it would be wrong
    desk.sure = True
    [text] = desk.tick(2)
    assert text.startswith("river-1: the clock is set since 07:5")


def test_a_dead_sms_path_is_told_by_whatever_way_works() -> None:
    desk = Desk(own(Kind.SMS))
    desk.tick(5)
    desk.watch.modem("not ready", "no SIM", desk.now)
    assert desk.tick(599) == []
    assert desk.tick(5) == ["ALARM river-1: SMS cannot be sent since 07:50"]  # by the second path
    desk.watch.modem("ready", "", desk.now)
    assert desk.tick(2) == ["river-1: SMS can be sent again since 07:50"]


@pytest.mark.parametrize("part", ["disk", "power", "calibration"])
def test_disk_and_power_come_as_events_and_are_remembered(tmp_path: Path, part: str) -> None:
    async def main() -> None:
        rule = own(Kind(part), on_delay_s=30.0)
        station = Station(tmp_path, LoopClock(), Path1(), [rule])
        await station.open()
        station.journal.append([Event(station.clock.stamp(), "station", {"part": part, "works": False})])
        await station.work(20)
        assert station.path.sent == []
        await station.journal.sync()
        await station.kill()
        again = Station(tmp_path, LoopClock(), Path1(), [rule])
        await again.open()
        await again.work(40)
        [(to, text)] = again.path.sent
        assert (to, text.partition(" since")[0].partition(": ")[2]) == (
            DUTY.phone,
            {
                "disk": "the disk is nearly full",
                "power": "the supply voltage is too low",
                "calibration": "a calibration is due",
            }[part],
        )
        await again.kill()

    run(main())


class Journal1:
    def __init__(self) -> None:
        self.trouble: str | None = None
        self.said: list[dict[str, Any]] = []

    def append(self, bodies: Any) -> list[Record]:
        self.said += [body.detail for body in bodies if isinstance(body, Event)]
        return []


def test_the_watchman_says_what_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chip = tmp_path / "hwmon1"
    chip.mkdir()
    (chip / "name").write_text("rpi_volt\n")
    alarm = chip / "in0_lcrit_alarm"
    alarm.write_text("0\n")
    free = {"bytes": LEAST_FREE_BYTES}

    class Disk:
        f_frsize = 1

        @property
        def f_bavail(self) -> int:
            return free["bytes"]

    monkeypatch.setattr(os, "statvfs", lambda _: Disk())
    journal = Journal1()
    watchman = OwnWatch(journal, tmp_path, stamp, hwmon=tmp_path)
    watchman.look()
    watchman.look()
    assert [(d["part"], d["works"]) for d in journal.said] == [("disk", True), ("power", True)]
    free["bytes"] -= 1
    alarm.write_text("1\n")
    watchman.look()
    free["bytes"] += 1
    journal.trouble = "records: No space left on device"
    watchman.look()
    assert [(d["part"], d["works"], d.get("why")) for d in journal.said[2:]] == [
        ("disk", False, "0.7 GB are free"),
        ("power", False, "the supply voltage is too low"),
    ]
    journal.trouble = None
    alarm.write_text("0\n")
    watchman.look()
    assert [(d["part"], d["works"]) for d in journal.said[4:]] == [("disk", True), ("power", True)]


def test_where_nobody_measures_the_voltage_nothing_is_said_of_it(tmp_path: Path) -> None:
    journal = Journal1()
    other = tmp_path / "hwmon0"
    other.mkdir()
    (other / "name").write_text("cpu_thermal\n")
    OwnWatch(journal, tmp_path, stamp, hwmon=tmp_path).look()
    assert [d["part"] for d in journal.said] == ["disk"]


def test_a_battery_is_a_sensor_like_others() -> None:
    low = Rule(
        "battery", "solar1", Kind.BELOW, "voltage", "V", low=11.8, hysteresis=0.4, digits=2, send=DUTY_FIRST
    )
    empty = Rule("charge", "solar1", Kind.BELOW, "charge", "%", low=20, digits=0, send=DUTY_FIRST)
    desk = Desk(low, empty)
    desk.watch.see_values("solar1", 0, {"voltage": (11.52, True), "charge": (14.0, True)}, desk.now)
    assert desk.tick() == [
        "Warning river-1 solar1: voltage 11.52 < 11.8 V since 07:40",
        "Warning river-1 solar1: charge 14 < 20 % since 07:40",
    ]


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        (lambda: replace(stuck(), stuck_s=0.0), "stuck needs a quantity and a duration"),
        (lambda: replace(stuck(), sensor=""), "at a sensor, or at the station itself"),
        (lambda: replace(own(Kind.CLOCK), sensor="ph1"), "at a sensor, or at the station itself"),
        (lambda: replace(stuck(), parent="still"), "its own parent"),
    ],
)
def test_rules_that_make_no_sense(rule: Callable[[], Rule], says: str) -> None:
    with pytest.raises(RuleError, match=says):
        rule()


# ── suppressed by design ────────────────────────────────────────────────────────────────────────────────────

ACID = Rule("acid", "ph1", Kind.BELOW, "ph", "pH", low=5, priority=Priority.CRITICAL, send=DUTY_FIRST)


def test_after_a_start_nobody_is_told_for_a_while_and_then_of_what_stands() -> None:
    desk = Desk(replace(ACID, start_up_s=300.0))
    desk.see(4)
    assert desk.watch.memory.states["acid"].occurrence == 1
    assert desk.tick(298) == []
    assert desk.watch.standing("acid") == "suppressed"
    assert desk.tick(5) == ["ALARM river-1 ph1: pH 4.0 < 5 since 07:40"]
    again = Desk(replace(ACID, start_up_s=300.0))
    again.see(4)
    again.ms += 1000
    again.see(7)
    assert again.tick(400) == []  # it settled by itself


def test_while_its_parent_stands_a_rule_is_silent() -> None:
    dry = Rule(
        "dry", "level1", Kind.BELOW, "level", "m", low=0.1, priority=Priority.CRITICAL, send=DUTY_FIRST
    )
    desk = Desk(dry, replace(ACID, parent="dry"))
    desk.see(0.05, "level", "level1")
    assert len(desk.tick(2)) == 1
    desk.see(4)
    assert desk.tick(5) == []
    assert desk.watch.standing("acid") == "suppressed"
    desk.see(0.5, "level", "level1")
    desk.see(4)
    assert {text.split(" river-1")[0] for text in desk.tick(5)} == {"Back to normal", "ALARM"}
