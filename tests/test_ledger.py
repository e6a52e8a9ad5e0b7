"""The gap ledger: every slot is accounted for, whatever kills, power cuts and clocks do. Told as stories, and
at random against sums that are counted slot by slot.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.backfill import END
from gateway.governor import Miss, Run, Slots
from gateway.journal_folds import Folds
from gateway.ledger import GapLedger, delivered
from gateway.ledger_sums import HOUR_MS, Account
from gateway.model import Body, Event, Reading, Record, Stamp, Value

UTC_MS = 1_795_428_000_000  # 2026-11-23T10:00:00Z, the beginning of an hour
EVERY_S = 10.0
EVER = (0, 1 << 62)


class Story:
    """A journal's part in the life of a ledger: what is committed and what the fold then remembers survive a
    kill. Time is the boot's clock in seconds.
    """

    def __init__(self, utc_ms: int = UTC_MS, **every_s: float) -> None:
        self.every_s = every_s or {"ph": EVERY_S}
        self.records: list[Record] = []
        self.boot, self.now_s, self.offset_ms, self.synced = "boot0", 0.0, utc_ms, True
        self._kept: list[tuple[int, dict[str, str]]] = []
        self._committed = 0
        self._load()

    def _load(self) -> None:
        self.ledger = GapLedger(self.every_s)
        self._folds = Folds([self.ledger])

    @property
    def at(self) -> Stamp:
        mono_ms = round(self.now_s * 1000)
        return Stamp(mono_ms + self.offset_ms, self.boot, mono_ms, self.synced)

    def append(self, *bodies: Body) -> None:
        waiting = list(bodies)
        while waiting:
            record = Record(len(self.records) + 1, waiting.pop(0))
            self.records.append(record)
            waiting += self._folds.step(record)

    def tick(self) -> None:
        self.append(*self._folds.tick(self.at))

    def commit(self) -> None:
        self._committed = len(self.records)
        if changed := self._folds.changed():
            self._folds.kept()
            self._kept.append((self._committed, changed))

    def settle(self) -> None:
        """As at a clean end, and every ten minutes."""
        self.commit()
        self._kept.append((self._committed, self._folds.states()))

    def kill(self) -> None:
        """End the process: what is not committed is gone. The next one replays as the journal does."""
        del self.records[self._committed :]
        self._load()
        kept = {number: states for number, states in self._kept if number <= self._committed}
        for number, record in enumerate(self.records, 1):
            self._folds.replay(record)
            self._folds.restore(kept.get(number, {}).items())

    def reboot(self, off_s: float, up_s: float = 20.0, *, synced: bool = True, wrong_ms: int = 0) -> None:
        """A power cut: `off_s` without power, and `up_s` until the station runs again."""
        self.kill()
        utc_ms = self.at.utc_ms + round(off_s * 1000)
        self.boot = f"boot{int(self.boot[4:]) + 1}"
        self.now_s, self.synced = up_s, synced
        self.offset_ms = utc_ms + wrong_ms

    def read(self, sensor: str = "ph", flag: int = 1) -> None:
        values = {"ph": Value(7.0, 7.0, "pH", flag)}
        self.append(Reading(sensor, "yosemitech-y532", "water", self.at, values))

    def read_until(self, until_s: float, sensor: str = "ph") -> None:
        """A reading in each slot from now on, and time passes."""
        while self.now_s < until_s:
            self.read(sensor)
            self.now_s += self.every_s[sensor]
            self.tick()
            self.commit()

    def missed(self, first: int, end: int, why: str, sensor: str = "ph") -> None:
        every_ms = round(self.every_s[sensor] * 1000)
        detail = {"sensor": sensor, "slots": end - first, "from_mono_ms": first * every_ms}
        self.append(Event(self.at, "missed", {**detail, "to_mono_ms": end * every_ms, "why": why}))

    def account(self, sensor: str = "ph", from_ms: int = EVER[0], to_ms: int = EVER[1]) -> Account:
        return self.ledger.account(self.records, from_ms, to_ms).get(sensor, Account())

    def events(self, what: str) -> list[dict[str, object]]:
        return [r.body.detail for r in self.records if isinstance(r.body, Event) and r.body.what == what]


def balanced(account: Account) -> tuple[int, int, dict[str, int]]:
    assert account.expected == account.taken + sum(account.missed.values())
    return account.expected, account.taken, account.missed


# ── stories ────────────────────────────────────────────────────────────────────────────────────────────────


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


# ── at random ──────────────────────────────────────────────────────────────────────────────────────────────

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
