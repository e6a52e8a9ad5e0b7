"""The bus: fixed rates on a grid, retries, dead and unplugged sensors that cost the others nothing, and every
slot accounted for. In virtual time; tests/test_bus_wire.py has real drivers on a timed wire.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence

import pytest

from drivers.base import (
    GarbledAnswer,
    InstrumentError,
    InstrumentFault,
    Measurement,
    NoAnswer,
    NotReady,
    PortLost,
    Quantity,
    RequestRefused,
)
from drivers.link import Link
from gateway.bus import Bus, Sensor
from gateway.model import Body, Event, Reading, Stamp
from gateway.qc import Checks, Expect
from tests.virtual_time import run

Outcome = float | InstrumentError


class Scripted:
    """An instrument that takes `takes_s` to answer and then does what the script says; the last entry
    repeats.
    """

    quantities = (Quantity("ph", "pH", 2),)

    def __init__(self, script: Sequence[Outcome], takes_s: float = 0.1, silent_s: float = 1.0) -> None:
        self.script = list(script)
        self.takes_s, self.silent_s = takes_s, silent_s
        self.asked_s: list[float] = []

    async def read(self, link: Link) -> Measurement:
        self.asked_s.append(asyncio.get_running_loop().time())
        outcome = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        await asyncio.sleep(self.silent_s if isinstance(outcome, NoAnswer) else self.takes_s)
        if isinstance(outcome, InstrumentError):
            raise outcome
        return Measurement({"ph": outcome}, b"\x01\x03")


class FakeLink(Link):
    """A port that opens only when told."""

    def __init__(self) -> None:
        super().__init__("/dev/none")
        self.opens_from_s = 0.0
        self.tries_s: list[float] = []

    async def open(self) -> None:
        self.tries_s.append(asyncio.get_running_loop().time())
        if asyncio.get_running_loop().time() < self.opens_from_s:
            raise PortLost("/dev/none: cannot open: No such file or directory")

    def close(self) -> None:
        pass


class Scene:
    """A bus with scripted instruments, and what it handed on. Times are seconds since the start."""

    def __init__(self, boot_s: float = 0.0, **instruments: tuple[float, Scripted]) -> None:
        self.boot_s = boot_s
        """What the boot's clock shows at the start."""
        self.link = FakeLink()
        self.instruments = {name: instrument for name, (_, instrument) in instruments.items()}
        sensors = [
            Sensor(name, "scripted", "water", every_s, instrument, Checks({}))
            for name, (every_s, instrument) in instruments.items()
        ]
        self.bodies: list[Body] = []
        self.bus = Bus("river", self.link, sensors, self.bodies.extend, self._stamp)
        self.start_s = 0.0

    def _stamp(self) -> Stamp:
        now_ms = round((asyncio.get_running_loop().time() - self.start_s) * 1000)
        return Stamp(now_ms, "boot0001", now_ms + round(self.boot_s * 1000), True)

    def play(self, seconds: float, meanwhile: Callable[[Scene], None] | None = None) -> Scene:
        async def job() -> None:
            self.start_s = asyncio.get_running_loop().time()
            if meanwhile is not None:
                meanwhile(self)
            task = asyncio.create_task(self.bus.run())
            await asyncio.sleep(seconds)
            self.bus.stop()
            await task

        run(job())
        return self

    def asked(self, name: str) -> list[float]:
        return [round(s - self.start_s, 3) for s in self.instruments[name].asked_s]

    def readings(self, name: str) -> list[tuple[float, float]]:
        return [
            (body.at.utc_ms / 1000, body.values["ph"].raw)
            for body in self.bodies
            if isinstance(body, Reading) and body.sensor == name
        ]

    def events(self) -> list[tuple[float, str, str, str]]:
        return [
            (e.at.utc_ms / 1000, e.detail["sensor"], e.detail["before"], e.detail["state"])
            for e in self.bodies
            if isinstance(e, Event) and e.what == "sensor"
        ]

    def missed(self, name: str) -> list[tuple[str, int, int]]:
        """Runs of missed slots: why, the first, and the one behind the last."""
        [every_ms] = [round(sensor.every_s * 1000) for sensor in self.bus.sensors if sensor.id == name]
        runs = []
        for e in self.bodies:
            if isinstance(e, Event) and e.what == "missed" and e.detail["sensor"] == name:
                first, end = e.detail["from_mono_ms"] // every_ms, e.detail["to_mono_ms"] // every_ms
                assert e.detail["slots"] == end - first > 0
                runs.append((e.detail["why"], first, end))
        return runs

    def slots(self, name: str) -> list[int]:
        """The slots that have a reading."""
        [every_ms] = [round(sensor.every_s * 1000) for sensor in self.bus.sensors if sensor.id == name]
        return [
            body.at.mono_ms // every_ms
            for body in self.bodies
            if isinstance(body, Reading) and body.sensor == name
        ]

    def balance(self, name: str) -> None:
        """Every slot between the first and the last one told of is told of once, and the counters agree."""
        told = self.slots(name)
        told += [slot for _, first, end in self.missed(name) for slot in range(first, end)]
        assert sorted(told) == list(range(min(told), max(told) + 1))
        sensor = self.sensor(name)
        assert sensor.expected == len(told)
        assert sensor.expected == sensor.taken + sensor.failed + sensor.not_ready + sensor.skipped

    def sensor(self, name: str) -> Sensor:
        return next(sensor for sensor in self.bus.sensors if sensor.id == name)


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


# ── missed slots ───────────────────────────────────────────────────────────────────────────────────────────

SILENT, RUBBISH = NoAnswer("nothing"), GarbledAnswer("bad CRC", b"\x01")


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


# ── the others ─────────────────────────────────────────────────────────────────────────────────────────────


class Bused(Scripted):
    """A scripted instrument that shares its wire: it says how long its answers take, and waits as told."""

    def __init__(self, script: Sequence[Outcome], takes_s: float = 0.03, answer_s: float = 0.5) -> None:
        super().__init__(script, takes_s)
        self.answer_s = self.answer_within_s = answer_s
        self.took_s = 0.0
        self.late_s = 0.0
        self.waited_s: list[float] = []
        self.split = ""

    def late_until_s(self, link: Link) -> float:
        return self.late_s

    async def read(self, link: Link) -> Measurement:
        now_s = asyncio.get_running_loop().time()
        self.late_s = now_s + 2 * self.answer_s if isinstance(self.script[0], NoAnswer) else 0.0
        self.silent_s = self.answer_within_s
        self.waited_s.append(self.answer_within_s)
        self.took_s = 0.0 if isinstance(self.script[0], NoAnswer) else self.takes_s
        return await super().read(link)


def test_a_second_try_waits_for_a_pause_and_until_no_late_answer_can_come() -> None:
    a, b = Bused([*[7.0] * 20, SILENT, 7.1]), Bused([8.0])
    scene = Scene(a=(2.0, a), b=(2.0, b)).play(59.0)
    assert [s for s in scene.asked("a") if 40 <= s < 42] == [40.0, 41.0]  # 0.1 s as learned, and 0.9 s
    assert scene.asked("b")[20] == 40.1
    assert a.waited_s[:9] == [0.5] * 8 + [0.1]
    assert a.waited_s[20:23] == [0.1, 0.5, 0.1]
    assert scene.slots("a") == scene.slots("b") == list(range(30))
    assert scene.missed("a") == scene.events() == []


def test_where_no_second_try_fits_the_next_slot_waits_for_the_late_answer_to_be_over() -> None:
    a = Bused([7.0, SILENT, 7.1], answer_s=0.9)
    scene = Scene(a=(1.0, a), b=(1.0, Bused([8.0]))).play(5.0)
    assert scene.missed("a") == [("no_answer", 1, 2)]
    assert scene.asked("a") == [0.0, 1.0, 2.8, 3.0, 4.0]
    assert scene.asked("b")[2:] == [2.0, 3.03, 4.03]  # the wire was its own meanwhile
    scene.balance("a")


@pytest.mark.parametrize("dead", [1, 2])
def test_the_dead_cost_a_twentieth_and_move_nobody(dead: int) -> None:
    """Eight instruments with a cycle of a second, one or two without power from second 20 on."""
    names = "abcdefgh"
    instruments = {n: (1.0, Bused([7.0])) for n in names}
    for name in names[2 : 2 + dead]:
        instruments[name] = (1.0, Bused([*[7.0] * 20, SILENT]))
    scene = Scene(**instruments).play(600.0)
    known_s = max(s for s, *_ in scene.events())
    assert known_s < 25
    spent_s = 0.0
    for name in names:
        if name in names[2 : 2 + dead]:
            probes = [s for s in scene.asked(name) if s > known_s]
            assert len(probes) > 9
            spent_s += 0.5 * len(probes)
            scene.balance(name)
            continue
        phases = [s % 1.0 for s, _ in scene.readings(name) if s > known_s + 1]
        assert len(phases) > 570
        assert scene.slots(name)[:600] == list(range(600))
        assert max(phases) - min(phases) < 0.001
        assert scene.missed(name) == []
    assert spent_s / (600 - known_s) <= 0.05


def test_on_a_full_bus_the_dead_are_probed_all_the_same() -> None:
    scene = Scene(a=(1.0, Bused([7.0], takes_s=0.9)), b=(10.0, Bused([SILENT]))).play(600.0)
    probes = scene.asked("b")
    assert len(probes) > 9
    assert sum(end - first for _, first, end in scene.missed("a")) <= 2 * len(probes)
    assert 0.5 * len(probes) <= 0.05 * 600
    scene.balance("a")
    scene.balance("b")


def test_however_many_are_dead_they_cost_the_living_a_twentieth() -> None:
    dead = {name: (1.0, Bused([SILENT], answer_s=1.0)) for name in "bcdefgh"}
    scene = Scene(a=(2.0, Bused([7.0])), **dead).play(1800.0)
    spent_s = 0.0
    for name, (_, instrument) in dead.items():
        waits_s = [w for s, w in zip(scene.asked(name), instrument.waited_s, strict=True) if s > 60]
        assert len(waits_s) > 5
        spent_s += sum(waits_s)
    assert spent_s <= 0.05 * 1740
    assert scene.slots("a")[10:890] == list(range(scene.slots("a")[10], scene.slots("a")[10] + 880))


class Powered(Bused):
    """One that is silent from second 100 to second 900."""

    async def read(self, link: Link) -> Measurement:
        self.script = [SILENT if 1100 <= asyncio.get_running_loop().time() < 1900 else 7.0]
        return await super().read(link)


def test_when_the_power_of_a_whole_bus_comes_back_nobody_waits_for_a_minute() -> None:
    scene = Scene(
        **{name: (every_s, Powered([7.0])) for name, every_s in zip("abcd", (5, 7, 11, 13), strict=True)}
    )
    scene.play(1200.0)
    back_s = [s for s, _, before, _ in scene.events() if before == "dead"]
    assert len(back_s) == 4
    assert back_s[-1] - back_s[0] < 14


class Sluggish(Bused):
    """One that is silent up to second 100, and then needs 0.4 s to begin its answer."""

    async def read(self, link: Link) -> Measurement:
        here = asyncio.get_running_loop().time() > 1100 and self.answer_within_s > 0.4
        self.script, self.takes_s = [7.0 if here else SILENT], 0.4
        return await super().read(link)


def test_one_that_answers_slower_than_the_others_pause_lasts_is_found_in_half_an_hour() -> None:
    scene = Scene(a=(1.0, Bused([7.0], takes_s=0.75)), b=(1.0, Sluggish([SILENT]))).play(4000.0)
    probes = {round(wait_s, 1) for wait_s in scene.instruments["b"].waited_s}  # type: ignore[attr-defined]  # a Sluggish
    assert {0.2, 0.5} <= probes
    assert 1800 < scene.readings("b")[0][0] < 1900


def test_a_failure_that_ends_early_in_the_next_slot_does_not_cost_that_one() -> None:
    slow = Scripted([7.0, SILENT, SILENT, 7.1], silent_s=0.55)
    scene = Scene(a=(1.0, slow)).play(5.0)
    assert scene.asked("a") == [0.0, 1.0, 1.55, 2.1, 3.0, 4.0]
    assert scene.missed("a") == [("no_answer", 1, 2)]
    slow = Scripted([7.0, SILENT, SILENT, 7.1], silent_s=0.8)
    scene = Scene(a=(1.0, slow)).play(5.0)
    assert scene.asked("a") == [0.0, 1.0, 1.8, 3.0, 4.0]  # no burst: too little was left of it
    assert scene.missed("a") == [("no_answer", 1, 3)]


@pytest.mark.parametrize(("takes_s", "times"), [(0.95, 0), (0.5, 1)])
def test_who_is_there_is_asked_once_in_a_pause(takes_s: float, times: int) -> None:
    asked = []

    async def identify(link: Link) -> dict[str, str]:
        asked.append(asyncio.get_running_loop().time())
        return {"serial": "7"}

    a = Scripted([7.0], takes_s=takes_s)
    a.identify = identify  # type: ignore[attr-defined]  # optional, see Instrument
    scene = Scene(a=(1.0, a)).play(10.0)
    assert len(asked) == times
    said = [e.detail["serial"] for e in scene.bodies if isinstance(e, Event) and e.what == "identified"]
    assert said == ["7"] * times


def test_that_an_instrument_wants_smaller_pieces_is_said_once() -> None:
    a = Bused([7.0])
    scene = Scene(a=(1.0, a))

    def meanwhile(scene: Scene) -> None:
        asyncio.get_running_loop().call_later(2.5, setattr, a, "split", "it takes 3 requests now: 02")
        asyncio.get_running_loop().call_later(5.5, setattr, a, "split", "")

    scene.play(10.0, meanwhile)
    assert [e.detail for e in scene.bodies if isinstance(e, Event)] == [
        {"sensor": "a", "bus": "river", "why": "it takes 3 requests now: 02"}
    ]


@pytest.mark.parametrize(
    ("value", "flag", "why"),
    [(7.0, 1, ""), (5.0, 1, ""), (4.9, 3, "user range"), (14.0, 3, "user range"), (14.1, 4, "gross range")],
)
def test_flags(value: float, flag: int, why: str) -> None:
    checks = Checks({"ph": Expect(gross=(0.0, 14.0), usual=(5.0, 9.5))})
    at = Stamp(0, "boot0001", 0, True)
    assert checks.flag("ph", value, at) == (flag, why)
    assert checks.flag("orp", value, at) == (2, "")
