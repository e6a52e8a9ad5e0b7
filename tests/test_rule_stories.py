"""Stories of rules over the calendar and over gaps, with people in them: what leaves, and what does not."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from alerts.memory import Now
from alerts.messages import packaged
from alerts.outbox import Outcome
from alerts.policy import Contact
from alerts.rules import Kind, Priority, Rule, Tier
from alerts.watch import Limits, Watch

BISHKEK = ZoneInfo("Asia/Bishkek")  # six hours before UTC, all year
NOON = datetime(2026, 11, 23, 6, tzinfo=UTC)
TELL = (Tier(("duty",)),)
MINUTE = 60.0
HOUR = 3600.0


class Story:
    """A watch of a station in Kyrgyzstan, its hour, and the texts that leave."""

    def __init__(self, *rules: Rule, start: datetime = NOON, **limits: Any) -> None:
        numbers = itertools.count(1000)
        people = [Contact("duty", "+996555000001", "en")]
        self.watch = Watch(
            "river-1", rules, people, {"en": packaged("en")}, BISHKEK,
            Limits(**{"collect_s": 0.0, "answers": False, **limits}), lambda _: next(numbers),
        )  # fmt: skip
        self._start_ms = int(start.timestamp() * 1000)
        self.s = 0.0

    @property
    def now(self) -> Now:
        return Now(int(self.s * 1000), self._start_ms + int(self.s * 1000), True)

    def see(self, value: float, sensor: str = "s", name: str = "x") -> None:
        self.watch.see_values(sensor, self.now.ms, {name: (value, True)}, self.now)

    def go(self, seconds: float, step: float = 5.0) -> list[str]:
        """Let time pass; what was sent by then."""
        texts: list[str] = []
        end = self.s + seconds
        while self.s < end:
            self.s += step
            self.watch.tick(self.now)
            while (row := self.watch.memory.outbox.next(self.now.ms)) is not None:
                for state in ("sending", "accepted", "delivered"):
                    self.watch.outcome(row.id, Outcome(state, row.attempts + 1), self.now)
                texts.append(row.text)
        return texts


def above(**more: Any) -> Rule:
    return Rule("high", "s", Kind.ABOVE, "x", "", **{"high": 5.0, "send": TELL, **more})


@pytest.mark.parametrize(
    ("local", "told"),
    [
        ("2026-10-31 23:50", False),
        ("2026-11-01 00:10", True),
        ("2026-12-31 23:50", True),
        ("2027-01-01 00:10", True),
        ("2027-02-28 23:50", True),
        ("2027-03-01 00:10", False),
    ],
)
def test_a_season_over_new_year_by_the_stations_calendar(local: str, told: bool) -> None:  # a table's column
    story = Story(above(months=(11, 12, 1, 2)), start=datetime.fromisoformat(local).replace(tzinfo=BISHKEK))
    story.go(5)
    story.see(9)
    assert bool(story.go(10)) is told


@pytest.mark.parametrize(
    ("local", "told"),
    [("21:58", False), ("22:01", True), ("23:58", True), ("00:02", True), ("05:58", True), ("06:01", False)],
)
def test_hours_over_midnight_by_the_stations_clock(local: str, told: bool) -> None:  # a table's column
    start = datetime.fromisoformat(f"2026-11-23 {local}").replace(tzinfo=BISHKEK)
    story = Story(above(hours=(22 * 60, 6 * 60)), start=start)
    story.go(5)
    story.see(9)
    assert bool(story.go(10)) is told


def test_what_stands_when_its_hours_begin_is_told_then() -> None:
    start = datetime(2026, 11, 23, 21, 50, tzinfo=BISHKEK)
    story = Story(above(hours=(22 * 60, 6 * 60)), start=start)
    story.go(5)
    story.see(9)
    assert story.go(9 * MINUTE) == []
    [text] = story.go(2 * MINUTE)
    assert text == "Warning river-1 s: x 9.0 > 5 since 21:50"


def test_a_rule_whose_other_side_was_never_seen_is_silent() -> None:
    rain = Rule("rain", "gauge", Kind.ABOVE, "rain", "mm", high=5, send=())
    story = Story(rain, above(and_rule="rain"))
    for _ in range(10):
        story.see(9)
        assert story.go(10) == []
    story.see(9, "gauge", "rain")
    story.see(9)
    assert len(story.go(10)) == 1


@pytest.mark.parametrize(("gap_s", "phase"), [(0, "active_unacknowledged"), (HOUR, "normal")])
def test_a_change_is_not_seen_across_a_gap(gap_s: float, phase: str) -> None:
    """What was an hour ago is no neighbour: the level may have come up in ten minutes or in sixty."""
    story = Story(above(high=0.5, change_s=600.0, every_s=10.0))
    for _ in range(60):
        story.see(1)
        story.go(10)
    story.go(gap_s)
    for _ in range(6):
        story.see(3)
        story.go(10)
    assert story.watch.standing("high") == phase


def test_thirty_alarms_at_once_are_one_message() -> None:
    rules = [Rule(f"r{i}", f"s{i}", Kind.FAULT, send=TELL, priority=Priority.HIGH) for i in range(30)]
    story = Story(*rules, collect_s=45.0)
    story.go(5)
    for i in range(30):
        story.watch.see_health(f"s{i}", story.now.ms, False, story.now)
    [text] = story.go(25 * MINUTE)
    assert "30" in text


def test_at_the_start_a_sensor_has_its_time_before_it_is_missed() -> None:
    story = Story(Rule("mute", "s", Kind.NO_DATA, no_data_s=600.0, send=TELL))
    assert story.go(9 * MINUTE + 50) == []
    [text] = story.go(MINUTE)
    assert "no data" in text


def test_a_budget_that_is_used_up_comes_back_whatever_the_month() -> None:
    """It is what went in the last 30 days: the first of a month opens nothing, the 31st day does."""
    story = Story(above(), start=datetime(2026, 11, 30, 17, tzinfo=UTC), budget=10, reserve=0.2, warn=1.0)
    story.go(5)
    sent = 0
    for _ in range(8):
        story.see(9)
        sent += len(story.go(31 * MINUTE, 30))
        story.see(1)
        sent += len(story.go(31 * MINUTE, 30))
    assert sent == 8  # the reserve of two is for critical alarms; by now it is December
    story.see(9)
    assert story.go(MINUTE) == []
    story.see(1)
    story.go(31 * 86_400, HOUR)
    story.see(9)
    assert len(story.go(MINUTE)) == 1


def test_an_answer_that_comes_while_its_message_is_being_sent() -> None:
    """That message still goes, once; nothing escalates, and no reminder follows."""
    story = Story(above(send=(Tier(("duty",)), Tier(("duty",), 900.0))))
    story.go(5)
    story.see(9)
    watch = story.watch
    row = watch.memory.outbox.next(story.now.ms)
    assert row is not None
    watch.outcome(row.id, Outcome("sending", 1), story.now)
    watch.acknowledge("high", "duty", story.now)
    watch.outcome(row.id, Outcome("retry", 1), story.now, "the modem was busy")
    assert len(story.go(3 * HOUR, 30)) == 1
    assert watch.standing("high") == "active_acknowledged"


def test_a_shelf_lasts_a_day_at_most() -> None:
    story = Story(above())
    story.go(5)
    story.watch.shelve("high", 3 * 86_400, "ana", "pump", story.now)
    story.see(9)
    assert story.go(23 * HOUR, 60) == []
    assert len(story.go(1.2 * HOUR, 60)) == 1


def test_with_a_clock_that_is_not_set_no_season_silences_a_rule() -> None:
    """Nobody knows the hour: rather a message too many."""
    story = Story(above(months=(6,), hours=(0, 60)))
    wrong = Now(5000, story.now.utc_ms, sure=False)
    story.watch.tick(wrong)
    story.watch.see_values("s", 5000, {"x": (9, True)}, wrong)
    assert story.watch.memory.outbox.next(5000) is not None
