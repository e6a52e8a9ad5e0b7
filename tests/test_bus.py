"""The bus: fixed rates on a grid, retries, dead and unplugged sensors that cost the others nothing, and every
slot accounted for. In virtual time; tests/test_bus_wire.py has real drivers on a timed wire.
"""

from __future__ import annotations

import itertools

import pytest

from drivers.base import (
    GarbledAnswer,
    InstrumentError,
    InstrumentFault,
    NoAnswer,
    NotReady,
    PortLost,
    RequestRefused,
)
from gateway.model import Event, Stamp
from gateway.qc import Checks, Expect
from tests.bus_scene import RUBBISH, SILENT, Outcome, Scene, Scripted


def test_each_sensor_is_read_on_its_own_grid() -> None:
    scene = Scene(a=(10.0, Scripted([7.0])), b=(3.0, Scripted([8.0]))).play(20.5)
    assert scene.asked("a") == [0.0, 10.0, 20.0]
    assert scene.asked("b") == [0.1, 3.0, 6.0, 9.0, 12.0, 15.0, 18.0]
    assert scene.readings("a") == [(0.1, 7.0), (10.1, 7.0), (20.1, 7.0)]
    assert scene.sensor("b").expected == 7
    assert scene.events() == []


def test_what_is_missed_is_counted_and_never_caught_up() -> None:
    slow = Scripted([7.0], takes_s=2.5)
    scene = Scene(a=(1.0, slow)).play(10.0)
    assert scene.asked("a") == [0.0, 3.0, 6.0, 9.0]
    assert scene.sensor("a").taken == 4
    assert scene.sensor("a").skipped == 8
    assert scene.sensor("a").expected == 12


@pytest.mark.parametrize(
    ("first", "readings"),
    [
        (GarbledAnswer("bad CRC", b"\x01"), 3),
        (NoAnswer("nothing"), 3),
        (NotReady("warming up"), 2),
        (InstrumentFault("laser"), 2),
        (RequestRefused("illegal function"), 2),
    ],
)
def test_only_what_a_retry_may_mend_is_retried(first: InstrumentError, readings: int) -> None:
    scene = Scene(a=(10.0, Scripted([first, 7.0]))).play(20.5)
    assert len(scene.readings("a")) == readings


def test_not_ready_is_no_failure() -> None:
    scene = Scene(a=(1.0, Scripted([*[NotReady("warming up", 5.0)] * 5, 7.0]))).play(5.5)
    sensor = scene.sensor("a")
    assert (sensor.not_ready, sensor.failed, sensor.taken) == (5, 0, 1)
    assert scene.events() == []  # that a new sensor warms up is no news


def test_a_dead_sensor_is_said_once_and_costs_the_others_little() -> None:
    dead = Scripted([7.0, 7.0, NoAnswer("silent")])
    scene = Scene(a=(10.0, dead), b=(1.0, Scripted([8.0], takes_s=0.05))).play(3600.0)
    assert scene.events() == [(42.0, "a", "alive", "dead")]
    after = [s for s in scene.asked("a") if s > 60]
    assert max(b - a for a, b in itertools.pairwise(after)) == 60.0
    # Each probe of the dead one takes a second of the other's time: at most one of its turns in sixty.
    assert scene.sensor("b").taken > 3600 * 0.97
    assert all(s % 1.0 < 0.11 for s, _ in scene.readings("b") if s > 60)


def test_a_dead_sensor_comes_back_by_itself() -> None:
    script: list[Outcome] = [7.0, *[NoAnswer("silent")] * 8, 7.5]
    scene = Scene(a=(10.0, Scripted(script))).play(600.0)
    assert [event[2:] for event in scene.events()] == [("alive", "dead"), ("dead", "alive")]
    back_s = scene.events()[1][0]
    tail = [s for s, _ in scene.readings("a") if s >= back_s]
    assert [round(b - a, 3) for a, b in itertools.pairwise(tail)] == [10.0] * (len(tail) - 1)


def test_a_fault_is_an_event_and_never_a_number() -> None:
    script: list[Outcome] = [7.0, InstrumentFault("fan fault"), InstrumentFault("fan fault"), 7.2]
    scene = Scene(a=(1.0, Scripted(script))).play(4.0)
    assert [event[2:] for event in scene.events()] == [("alive", "faulty"), ("faulty", "alive")]
    assert [raw for _, raw in scene.readings("a")] == [7.0, 7.2]
    assert next(e for e in scene.bodies if isinstance(e, Event)).detail["why"] == "fan fault"


def test_a_lost_port_is_opened_again_with_growing_pauses() -> None:
    lost = Scripted([7.0, PortLost("/dev/none: unplugged"), 7.2])

    def unplug(scene: Scene) -> None:
        scene.link.opens_from_s = scene.start_s + 8.0

    scene = Scene(a=(1.0, lost)).play(20.5, unplug)
    assert [round(s - scene.start_s, 1) for s in scene.link.tries_s] == [1.3, 1.7, 2.5, 4.1, 7.3, 13.7]
    assert scene.events() == [(1.1, "a", "alive", "unplugged"), (13.8, "a", "unplugged", "alive")]
    assert [s for s, _ in scene.readings("a")][:3] == [0.1, 13.8, 14.1]  # at once, then on the old grid
    assert scene.sensor("a").expected == 21


def test_a_stop_lets_the_reading_under_way_end() -> None:
    scene = Scene(a=(10.0, Scripted([7.0], takes_s=2.0))).play(1.0)
    assert scene.readings("a") == [(2.0, 7.0)]


def test_a_number_that_is_none_goes_no_further() -> None:
    scene = Scene(a=(1.0, Scripted([float("nan"), float("inf"), 7.0]))).play(2.5)
    assert [raw for _, raw in scene.readings("a")] == [7.0]
    assert scene.sensor("a").failed == 2


# ── the grid ───────────────────────────────────────────────────────────────────────────────────────────────


def test_a_new_process_goes_on_on_the_grid_of_its_boot() -> None:
    scene = Scene(boot_s=86403.4, a=(2.0, Scripted([7.0]))).play(5.0)
    assert scene.asked("a") == [0.0, 0.6, 2.6, 4.6]  # at once, then when the boot's clock is even
    assert scene.slots("a") == [43201, 43202, 43203, 43204]
    assert scene.missed("a") == []


def test_an_answer_of_nine_tenths_of_its_slot_stays_in_it() -> None:
    scene = Scene(a=(1.0, Scripted([7.0], takes_s=0.9))).play(30.5)
    assert scene.slots("a") == list(range(31))
    assert scene.missed("a") == []


def test_an_answer_that_comes_in_the_next_slot_fills_that_one() -> None:
    scene = Scene(a=(1.0, Scripted([7.0], takes_s=1.02))).play(10.0)
    assert scene.asked("a") == [0.0, 2.0, 4.0, 6.0, 8.0]
    assert scene.slots("a") == [1, 3, 5, 7, 9]
    assert scene.missed("a") == [("overrun", n, n + 1) for n in range(0, 10, 2)]
    scene.balance("a")


def test_a_bus_without_time_says_so_for_whoever_waited() -> None:
    scene = Scene(a=(5.0, Scripted([7.0], takes_s=2.5)), b=(1.0, Scripted([8.0]))).play(12.0)
    assert scene.missed("b") == [("overrun", 0, 2), ("overrun", 5, 7), ("overrun", 10, 12)]
    assert scene.asked("b")[:5] == [2.5, 3.0, 4.0, 7.5, 8.0]
    scene.balance("a")
    scene.balance("b")


@pytest.mark.parametrize(
    ("script", "missed"),
    [
        ([7.0], []),
        ([7.0, SILENT, 7.1], []),  # the second try
        ([7.0, SILENT, SILENT, 7.1], [("no_answer", 1, 2)]),
        ([7.0, RUBBISH, RUBBISH, 7.1], []),  # the third try
        ([7.0, *[RUBBISH] * 3, 7.1], [("garbled", 1, 2)]),
        ([7.0, *[RUBBISH] * 3, SILENT, SILENT, 7.1], [("garbled", 1, 2), ("no_answer", 2, 3)]),
        ([7.0, RUBBISH, SILENT, 7.1], [("no_answer", 1, 2)]),  # a silence is the end after two
        ([NotReady("warming up"), NotReady("warming up"), 7.1], [("warming_up", 0, 2)]),
        ([7.0, InstrumentFault("laser"), InstrumentFault("laser"), 7.1], [("fault", 1, 3)]),
        ([7.0, RequestRefused("illegal function"), 7.1], [("refused", 1, 2)]),
        ([7.0, float("nan"), 7.1], [("bad_number", 1, 2)]),
        (
            [7.0, NotReady("wiping"), InstrumentFault("lamp"), 7.1],
            [("warming_up", 1, 2), ("fault", 2, 3)],
        ),
        ([SILENT, SILENT, 7.1], [("dead", 0, 1)]),
        ([*[7.0], *[SILENT] * 6, 7.1], [("no_answer", 1, 3), ("dead", 3, 4)]),
        ([7.0, *[RUBBISH] * 15, 7.1], [("garbled", 1, 5), ("quarantined", 5, 6)]),
    ],
)
def test_each_slot_without_a_reading_is_said_with_its_reason(
    script: list[Outcome], missed: list[tuple[str, int, int]]
) -> None:
    scene = Scene(a=(10.0, Scripted(script))).play(195.0)
    assert scene.missed("a") == missed
    assert len(scene.slots("a")) == 20 - sum(end - first for _, first, end in missed)
    scene.balance("a")


def test_a_long_silence_is_said_every_minute_and_at_the_end() -> None:
    scene = Scene(a=(1.0, Scripted([7.0, SILENT], silent_s=0.2)), b=(1.0, Scripted([8.0]))).play(300.5)
    said_s = [e.at.utc_ms / 1000 for e in scene.bodies if isinstance(e, Event) and e.what == "missed"]
    assert max(b - a for a, b in itertools.pairwise(said_s)) <= 60.5
    assert len(said_s) <= 8
    assert {why for why, _, _ in scene.missed("a")} == {"no_answer", "dead"}
    assert sorted(n for _, a, b in scene.missed("a") for n in range(a, b)) == list(range(1, 300))
    scene.balance("a")
    scene.balance("b")


def test_a_port_that_is_gone_is_said_every_minute() -> None:
    def unplug(scene: Scene) -> None:
        scene.link.opens_from_s = scene.start_s + 150.0

    scene = Scene(a=(1.0, Scripted([7.0, PortLost("/dev/none: gone"), 7.2]))).play(200.0, unplug)
    runs = scene.missed("a")
    assert {why for why, _, _ in runs} == {"unplugged"}
    assert [end - first for _, first, end in runs][:2] == [60, 60]
    scene.balance("a")


@pytest.mark.parametrize(
    ("value", "flag", "why"),
    [(7.0, 1, ""), (5.0, 1, ""), (4.9, 3, "user range"), (14.0, 3, "user range"), (14.1, 4, "gross range")],
)
def test_flags(value: float, flag: int, why: str) -> None:
    checks = Checks({"ph": Expect(gross=(0.0, 14.0), usual=(5.0, 9.5))})
    at = Stamp(0, "boot0001", 0, True)
    assert checks.flag("ph", value, at) == (flag, why)
    assert checks.flag("orp", value, at) == (2, "")
