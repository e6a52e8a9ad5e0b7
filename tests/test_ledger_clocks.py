"""The gap ledger: clocks that are set, other settings; any mixture of it against counting one by one."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.backfill import END
from gateway.governor import Miss, Run, Slots
from gateway.ledger import GapLedger, delivered
from gateway.model import Event, Stamp
from tests.ledger_story import EVERY_S, UTC_MS, Story, balanced


@pytest.mark.parametrize("step_s", [3600, -3600, 20 * 365 * 86400, -20 * 365 * 86400])
def test_a_clock_that_is_set_loses_no_slot(step_s: int) -> None:
    story = Story()
    story.read_until(4000)
    story.offset_ms += step_s * 1000
    story.read_until(9000)
    story.offset_ms -= step_s * 1000
    story.read_until(20_000)
    assert balanced(story.account()) == (2000, 2000, {})
    assert len(story.events("ledger")) <= 12


def test_a_clock_that_leaps_about_leaves_few_hours_open() -> None:
    story = Story()
    for days in range(20, 0, -1):
        story.offset_ms = UTC_MS + days * 86_400_000
        story.read()
        story.now_s += EVERY_S
    assert balanced(story.account()) == (20, 20, {})
    assert len(story.ledger.save()) < 250


def test_an_hour_waits_for_a_process_that_is_only_just_there_again() -> None:
    story = Story()
    story.read_until(3500)
    story.kill()
    story.now_s = 3800
    story.tick()
    story.read_until(3900)
    hours = [(d["expected"], d["taken"], d["missed"]) for d in story.events("ledger")]
    assert hours == [(360, 350, {"not_running": 10})]


def test_what_is_said_later_of_a_boot_that_is_over_begins_no_boot() -> None:
    story = Story()
    story.read_until(1000)
    before = story.at
    story.reboot(off_s=600.0)
    story.read_until(60.0)
    story.append(Event(before, "flagged", {"sensor": "ph", "seq": 1, "flag": 4}))
    story.read_until(100.0)
    assert balanced(story.account()) == (170, 108, {"power_off": 62})


def test_flags_also_those_that_come_a_reading_later() -> None:
    story = Story()
    for flag in (1, 3, 4, 2, 1, 1):
        story.read(flag=flag)
        story.now_s += EVERY_S
    for seq in (6, 6, 3, 1, 999):  # once, twice, one that was flagged already, too old, unknown
        story.append(Event(story.at, "flagged", {"sensor": "ph", "seq": seq, "flag": 4, "quantity": "ph"}))
    assert (story.account().taken, story.account().flagged) == (6, 3)


def test_another_rhythm_in_station_toml_counts_from_the_next_start() -> None:
    story = Story(ph=10.0)
    story.read_until(100)
    story.settle()
    story.every_s = {"ph": 4.0}
    story.kill()
    story.now_s = 112
    story.append(Event(story.at, "started", {}))
    story.read_until(140)
    # Second 100 to 112 are three slots of 4 s without anybody.
    assert balanced(story.account()) == (10 + 3 + 7, 17, {"not_running": 3})


def test_a_sensor_that_is_gone_from_station_toml_is_told_and_forgotten() -> None:
    story = Story(ph=10.0, orp=10.0)
    story.read("orp")
    story.read_until(100)
    story.settle()
    story.every_s = {"ph": 10.0}
    story.kill()
    story.tick()
    assert balanced(story.account("orp")) == (1, 1, {})
    assert [d["sensor"] for d in story.events("ledger")] == ["orp"]
    assert b"orp" not in story.ledger.save()


def test_a_state_that_cannot_be_read_is_said_and_left(caplog: pytest.LogCaptureFixture) -> None:
    ledger = GapLedger({"ph": 10.0})
    ledger.restore(b"[1")
    assert "cannot be read" in caplog.text
    assert not ledger.tick(Stamp(UTC_MS, "boot0", 0, True))


def test_what_each_sink_has_confirmed() -> None:
    story = Story(ph=10.0, orp=10.0)
    for _ in range(5):
        story.read("ph")
        story.read("orp")
        story.now_s += 10
    story.append(Event(story.at, "refused", {"sink": "mqtt", "seq": 3, "reason": "too long"}))
    assert delivered(story.records, {"mqtt": 7, "influxdb": 100}) == {
        "ph": {"mqtt": 3, "influxdb": 5},
        "orp": {"mqtt": 3, "influxdb": 5},
    }


def test_history_that_is_owed_is_not_delivered() -> None:
    story = Story()
    for _ in range(10):
        story.read()
        story.now_s += 10
    owing = {"mqtt": 10, "mqtt/2": 4, f"mqtt/2{END}": 7, "mqtt/8": 9, f"mqtt/8{END}": 9}
    assert delivered(story.records, owing) == {"ph": {"mqtt": 10 - 3}}  # 5, 6 and 7


def test_the_state_stays_small() -> None:
    story = Story(**{f"sensor{n}": 10.0 for n in range(20)})
    for hour in range(30):
        for n in range(20):
            story.now_s = hour * 3600.0
            story.read(f"sensor{n}")
        story.now_s += 3590
        story.tick()
        story.commit()
    assert len(story.ledger.save()) < 20 * 220


Step = tuple[str, int]


def live(steps: Sequence[Step], seed: int) -> tuple[Story, Counter[str]]:
    """A bus as it is, through a story; and what became of each slot that was told of, counted one by one."""
    chance = random.Random(seed)
    story, bus = Story(), Slots(EVERY_S)
    bus.next = 0
    told: dict[tuple[str, int], str] = {}  # what the records say of each slot
    sure: dict[tuple[str, int], str] = {}  # of those that survive a kill
    first: dict[str, int] = {"boot0": 0}
    off = 0

    def say(runs: list[Run]) -> None:
        for run in runs:
            story.missed(run.first, run.end, str(run.why))
            for slot in range(run.first, run.end):
                told.setdefault((story.boot, slot), str(run.why))

    def commit() -> None:
        story.commit()
        sure.update(told)

    def die() -> None:
        nonlocal bus
        told.clear()
        told.update(sure)
        bus = Slots(EVERY_S)

    for what, size in steps:
        if what == "read":
            for _ in range(size):
                slot = bus.next
                story.now_s = slot * EVERY_S + chance.random() * 9
                say(bus.taken(slot))
                story.read()
                told[story.boot, slot] = "taken"
                story.tick()
                if chance.random() < 0.5:
                    commit()
        elif what in ("dead", "garbled"):
            end = bus.next + size
            story.now_s = end * EVERY_S
            say(bus.missed(end, Miss(what)))
            if chance.random() < 0.5:
                say(bus.close())
            story.tick()
            if chance.random() < 0.3:
                commit()
        elif what == "kill":
            die()
            story.kill()
            story.now_s += size * EVERY_S
            bus.next = int(story.now_s // EVERY_S)
            if (story.boot, bus.next) in told:
                bus.next += 1
        else:  # the power is off; the clock is right on both sides of it
            if not story.records[: story._committed]:
                continue
            die()
            story.kill()
            last = story.records[-1].body.at
            latest = max(
                (r.body.at for r in story.records if r.body.at.boot == last.boot), key=lambda at: at.mono_ms
            )
            if latest.boot != story.boot:
                continue
            if story.boot == "boot0":  # before the first that is known of it there is nothing
                first["boot0"] = min(slot for boot, slot in sure if boot == "boot0")
            heard = max((slot for boot, slot in sure if boot == story.boot), default=-1)
            ran_until = latest.mono_ms // 10_000  # an hour may have been told behind what was not said
            for slot in range(first[story.boot], ran_until + 1):
                untold = heard < slot < ran_until
                sure.setdefault((story.boot, slot), "untold" if untold else "not_running")
            told.update(sure)
            dark_from_ms = (latest.mono_ms // 10_000 + 1) * 10_000 + story.offset_ms
            story.reboot(off_s=size * 60.0, up_s=chance.random() * 30)
            story.append(Event(story.at, "started", {}))
            commit()
            bus.next = first[story.boot] = int(story.now_s // EVERY_S)
            off += max(0, round((bus.next * 10_000 + story.offset_ms - dark_from_ms) / 10_000))
    say(bus.close())
    story.now_s = bus.next * EVERY_S
    say(bus.taken(bus.next))
    story.read()
    told[story.boot, bus.next - 1] = "taken"
    counts: Counter[str] = Counter({"power_off": off} if off else {})
    for boot, begin in first.items():
        slots = [slot for b, slot in told if b == boot]
        if slots:
            known_from = min(slots) if boot == "boot0" else begin
            for slot in range(known_from, max(slots) + 1):
                counts[told.get((boot, slot), "not_running")] += 1
    return story, counts


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("read"), st.integers(1, 40)),
        st.tuples(st.sampled_from(["dead", "garbled"]), st.integers(1, 500)),
        st.tuples(st.just("kill"), st.integers(0, 1500)),
        st.tuples(st.just("off"), st.integers(0, 3000)),
    ),
    max_size=12,
)


@settings(derandomize=True, deadline=None, max_examples=150)
@given(STEPS, st.integers(0, 1000))
def test_the_sums_are_those_of_counting_one_by_one(steps: list[Step], seed: int) -> None:
    story, counts = live(steps, seed)
    account = story.account()
    expected, taken, missed = balanced(account)
    assert (expected, taken) == (counts.total(), counts.pop("taken"))
    assert missed == dict(counts)


@pytest.mark.parametrize(
    ("steps", "missed"),
    [
        ([("read", 5)], {}),
        ([("read", 5), ("dead", 100), ("read", 1)], {"dead": 100}),
        ([("read", 5), ("dead", 3), ("garbled", 2)], {"dead": 3, "garbled": 2}),
    ],
)
def test_the_counting_itself(steps: list[Step], missed: dict[str, int]) -> None:
    """What the random stories are held against, where the answer is known."""
    story, counts = live(steps, 1)
    taken = sum(size for what, size in steps if what == "read") + 1
    assert counts == Counter({"taken": taken, **missed})
    assert balanced(story.account()) == (counts.total(), taken, missed)
