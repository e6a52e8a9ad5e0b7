"""Several on one bus: what a dead, slow or strange one costs the others."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from drivers.base import Measurement, NoAnswer
from drivers.link import Link
from gateway.model import Event
from tests.bus_scene import SILENT, Outcome, Scene, Scripted

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
