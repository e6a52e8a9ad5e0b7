"""The gap ledger: every slot is accounted for, by stories."""

from __future__ import annotations

import pytest

from gateway.ledger_sums import HOUR_MS
from gateway.model import Event
from tests.ledger_story import EVERY_S, UTC_MS, Story, balanced


def test_a_healthy_hour_is_one_event() -> None:
    story = Story()
    story.read_until(2 * 3600 + 200)
    assert story.events("ledger") == [
        {
            "sensor": "ph",
            "from_ms": UTC_MS + hour * HOUR_MS,
            "to_ms": UTC_MS + (hour + 1) * HOUR_MS,
            "expected": 360,
            "taken": 360,
        }
        for hour in (0, 1)
    ]
    assert story.events("gap") == []
    assert balanced(story.account()) == (740, 740, {})
    assert balanced(story.account(from_ms=UTC_MS + HOUR_MS, to_ms=UTC_MS + 2 * HOUR_MS)) == (360, 360, {})


def test_what_was_missed_is_counted_by_reason_and_told_as_one_gap() -> None:
    story = Story()
    story.read_until(100)
    story.missed(10, 12, "no_answer")
    story.missed(12, 30, "dead")
    story.missed(30, 36, "dead")
    story.now_s = 360
    story.read_until(400)
    assert balanced(story.account()) == (40, 14, {"no_answer": 2, "dead": 24})
    assert story.events("gap") == [
        {
            "sensor": "ph",
            "from_ms": UTC_MS + 100_000,
            "to_ms": UTC_MS + 360_000,
            "slots": 26,
            "why": "dead",
            "missed": {"no_answer": 2, "dead": 24},
        }
    ]


@pytest.mark.parametrize(
    ("slots", "every_s", "told"), [(2, 10.0, 0), (3, 10.0, 1), (9, 1.0, 0), (10, 1.0, 1)]
)
def test_short_gaps_are_only_counted(slots: int, every_s: float, told: int) -> None:
    story = Story(ph=every_s)
    story.read_until(10 * every_s)
    story.missed(10, 10 + slots, "garbled")
    story.now_s += slots * every_s
    story.read()
    assert len(story.events("gap")) == told
    assert balanced(story.account()) == (11 + slots, 11, {"garbled": slots})


def test_a_killed_process_is_not_running_until_the_next_one_reads() -> None:
    story = Story()
    story.read_until(100)
    story.now_s = 101  # not committed: lost, with the slot
    story.read()
    story.kill()
    story.now_s = 175
    story.read_until(200)
    assert balanced(story.account()) == (20, 13, {"not_running": 7})
    assert story.events("gap")[0]["slots"] == 7
    assert story.events("gap")[0]["why"] == "not_running"


@pytest.mark.parametrize(
    ("state", "why"), [("dead", "dead"), ("unplugged", "unplugged"), ("alive", "untold"), ("slow", "untold")]
)
def test_what_a_killed_process_did_not_get_to_say(state: str, why: str) -> None:
    """A run of missed slots is said within a minute; the other sensor's readings prove that it ran."""
    story = Story(ph=EVERY_S, orp=EVERY_S)
    for second in range(0, 100, 10):
        story.now_s = second
        story.read("orp")
        if second < 50:
            story.read("ph")
    detail = {"sensor": "ph", "state": state, "before": "slow", "why": ""}
    story.append(Event(story.at, "sensor", detail))
    story.commit()
    story.kill()
    story.now_s = 173.0
    story.append(Event(story.at, "started", {}))
    story.read("ph")
    assert balanced(story.account()) == (18, 6, {why: 4, "not_running": 8})  # slot 9 had only just begun


def test_what_a_power_cut_kept_a_process_from_saying() -> None:
    story = Story(ph=EVERY_S, orp=EVERY_S)
    story.read("ph")
    story.now_s = 95.0
    story.append(Event(story.at, "sensor", {"sensor": "ph", "state": "dead"}))
    story.read("orp")
    story.commit()
    story.reboot(off_s=65.0, up_s=20.0)
    story.append(Event(story.at, "started", {}))
    story.read("ph")
    # Slots 1 to 8 it ran, 9 had begun; then 100 s to 180 s of the first boot, and slot 2 is read.
    assert balanced(story.account()) == (19, 2, {"dead": 8, "not_running": 1, "power_off": 8})


def at_work(story: Story, minutes: object, sensor: object = "ph") -> None:
    detail = {"minutes": minutes, "by": "duty", "why": "cleaning", "sensor": sensor}
    story.append(Event(story.at, "maintenance", detail))


@pytest.mark.parametrize(
    ("sensor", "maintenance"),
    [
        pytest.param("ph", 6, id="its own"),
        pytest.param("", 6, id="all"),
        pytest.param("orp", 0, id="another's"),
    ],
)
def test_what_is_missed_while_somebody_works(sensor: str, maintenance: int) -> None:
    story = Story()
    story.read_until(100)
    story.now_s = 125.0
    at_work(story, 1, sensor)
    story.missed(10, 25, "dead")
    story.now_s = 250.0
    story.read()
    left = {"dead": 15 - maintenance, **({"maintenance": maintenance} if maintenance else {})}
    assert balanced(story.account()) == (26, 11, left)  # slots 13 to 18 began in that minute
    [gap] = story.events("gap")
    assert (gap["slots"], gap["why"]) == (15, "dead")


@pytest.mark.parametrize(
    ("said", "maintenance"),
    [
        pytest.param([(100, 1), (120, 0)], 2, id="ended early"),
        pytest.param([(100, 1), (140, 2)], 16, id="prolonged"),
        pytest.param([(100, 1), (200, 1)], 6, id="ended, and again: the last counts"),
        pytest.param([(100, 0)], 0, id="ended and never begun"),
        pytest.param([(100, -1), (100, "long"), (100, None)], 0, id="nonsense"),
    ],
)
def test_work_that_ends_otherwise(said: list[tuple[int, object]], maintenance: int) -> None:
    story = Story()
    story.read_until(100)
    for second, minutes in said:
        story.now_s = second
        at_work(story, minutes)
        story.commit()
        story.kill()
    story.missed(10, 40, "no_answer")
    assert story.account().missed.get("maintenance", 0) == maintenance
    balanced(story.account())


def test_work_goes_on_over_a_reboot() -> None:
    story = Story()
    story.read_until(100)
    at_work(story, 10)
    story.commit()
    story.reboot(off_s=60.0, up_s=20.0)
    story.append(Event(story.at, "started", {}))
    story.missed(2, 100, "no_answer")
    # 600 s from 100 s on: slot 10, which had begun; 60 s without power; 540 s of the new boot, slots 2 to 53.
    assert story.account().missed["maintenance"] == 53
    story.commit()
    story.now_s = 1000.0
    story.reboot(off_s=60.0)
    story.missed(2, 100, "no_answer")
    assert story.account().missed["maintenance"] == 53


def test_a_second_reading_in_a_slot_does_not_count() -> None:
    story = Story()
    story.read()
    story.commit()
    story.kill()
    story.now_s = 4.0  # started again within the slot
    story.read()
    story.now_s = 10.0
    story.read()
    assert balanced(story.account()) == (2, 2, {})
    assert story.events("gap") == []


def test_a_slot_that_was_told_of_as_missed_stays_so() -> None:
    story = Story()
    story.read()
    story.missed(1, 4, "dead")
    story.missed(2, 6, "unplugged")
    assert balanced(story.account()) == (6, 1, {"dead": 3, "unplugged": 2})


def test_without_power() -> None:
    story = Story()
    story.read_until(1000)  # slots 0 to 99
    story.now_s = 1003.0
    story.append(Event(story.at, "sink_up", {}))  # the last that is known of this boot, in slot 100
    story.commit()
    story.reboot(off_s=600.0)
    story.read_until(60.0)
    # Slot 100 was not told of. From 1010 s of UTC to 1623 s, when slot 2 of the new boot began, are 61.3.
    assert balanced(story.account()) == (100 + 1 + 61 + 4, 104, {"not_running": 1, "power_off": 61})
    assert story.events("gap") == [
        {
            "sensor": "ph",
            "from_ms": UTC_MS + 1_000_000,
            "to_ms": UTC_MS + 1_623_000,
            "slots": 62,
            "why": "power_off",
            "missed": {"not_running": 1, "power_off": 61},
        }
    ]


def test_without_power_and_then_without_the_time() -> None:
    """The gap is told when the time is known, though readings have ended it long before."""
    story = Story()
    story.read_until(1000)
    story.reboot(off_s=600.0, synced=False, wrong_ms=-500_000)
    story.read_until(60.0)
    assert story.events("gap") == []
    assert "power_off" not in story.account().missed
    story.kill()
    story.synced, story.offset_ms = True, story.offset_ms + 500_000
    story.read_until(100.0)
    assert balanced(story.account())[0] == 100 + 62 + 8
    assert story.account().missed == {"power_off": 62}
    [gap] = story.events("gap")
    assert (gap["slots"], gap["why"]) == (62, "power_off")


@pytest.mark.parametrize("before", [True, False])
def test_how_long_the_power_was_off_may_never_be_known(before: bool) -> None:
    story = Story()
    story.synced = before
    story.read_until(1000)
    story.reboot(off_s=600.0, synced=not before)
    story.read_until(60.0)
    story.reboot(off_s=600.0)
    story.read_until(60.0)
    gaps = [(gap["slots"], gap["why"]) for gap in story.events("gap")]
    assert gaps == (
        [(None, "clock_unknown"), (None, "clock_unknown")]
        if before
        else [(None, "clock_unknown"), (62, "power_off")]
    )
    assert balanced(story.account())[0] == 108 + (0 if before else 62)


def test_a_month_without_power_is_one_event_and_any_day_of_it_can_be_asked_for() -> None:
    story = Story()
    story.read_until(1000)
    story.reboot(off_s=30 * 86400.0)
    story.read_until(60.0)
    [run] = [d for d in story.events("ledger") if not d["taken"]]
    assert run["expected"] == 30 * 8640 + 2
    day_ms = UTC_MS + 14 * HOUR_MS
    assert balanced(story.account(from_ms=day_ms, to_ms=day_ms + 24 * HOUR_MS)) == (
        8640,
        0,
        {"power_off": 8640},
    )
    parts = [
        story.account(from_ms=ms, to_ms=ms + 24 * HOUR_MS)
        for ms in range(UTC_MS, UTC_MS + 31 * 24 * HOUR_MS, 24 * HOUR_MS)
    ]
    assert sum(part.expected for part in parts) == story.account().expected
    assert sum(part.taken for part in parts) == story.account().taken == 104


def test_an_outage_over_midnight_is_counted_in_its_hours() -> None:
    story = Story()
    story.read_until(3600 - 50)
    story.now_s = 3600 + 100
    story.read_until(3600 + 300)
    assert balanced(story.account(to_ms=UTC_MS + HOUR_MS)) == (360, 355, {"not_running": 5})
    assert balanced(story.account(from_ms=UTC_MS + HOUR_MS)) == (30, 20, {"not_running": 10})
