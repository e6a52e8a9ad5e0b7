"""The demo's world: its shapes, its bounds, and that it is a pure function of seed, story and time."""

from __future__ import annotations

import itertools
import random
import subprocess
import sys

import pytest

from drivers.emulators.world import BOUNDS, DAY_S, World

DAY = [i * DAY_S / 60 / 480 for i in range(480)]
"""A day of that world in seconds of ours, every three minutes of it."""


def series(world: World, quantity: str, times_s: list[float]) -> list[float]:
    return [world.value(quantity, t) for t in times_s]


def test_the_same_seed_gives_the_same_world_in_any_order_and_process() -> None:
    times = [random.Random(1).uniform(0, 5000) for _ in range(50)]
    for quantity in BOUNDS:
        once = series(World(7), quantity, times)
        again = series(World(7), quantity, times[::-1])[::-1]
        assert once == again
    assert series(World(7), "ph", times) != series(World(8), "ph", times)
    code = "from drivers.emulators.world import World; print(World(7).value('turbidity', 33.25))"
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout
        for seed in ("1", "2")
    }
    assert outputs == {f"{World(7).value('turbidity', 33.25)}\n"}


def test_no_value_leaves_physical_sense() -> None:
    rng = random.Random(3)
    for seed in range(20):
        for story in ("calm", "rain"):
            world = World(seed, story)
            for t in [0.0, -10.0, 1e9, *(rng.uniform(0, 20_000) for _ in range(40))]:
                for quantity, (low, high) in BOUNDS.items():
                    assert low <= world.value(quantity, t) <= high, (seed, story, quantity, t)
                masses = [world.value(q, t) for q in ("pm1", "pm2_5", "pm4", "pm10")]
                assert masses == sorted(masses)
                counts = [world.value(q, t) for q in ("n0_5", "n1", "n2_5", "n4", "n10")]
                assert counts == sorted(counts)
                above = [world.count_above(size, t) for size in (0.3, 0.5, 1.0, 2.5, 5.0, 10.0)]
                assert above == sorted(above, reverse=True)
                assert counts[-1] <= above[0]


def test_bounds_are_a_safety_net_and_not_the_shape() -> None:
    """In ordinary times nothing rests on its bound."""
    for story in ("calm", "rain"):
        world = World(2, story)
        for quantity, (low, high) in BOUNDS.items():
            got = series(world, quantity, DAY)
            if quantity not in ("rain", "wind_speed", "pv_voltage", "pv_current", "power"):
                assert low < min(got), quantity
                assert max(got) < high, quantity


@pytest.mark.parametrize("seed", range(10))
def test_rain_drives_turbidity_well_over_50_within_half_a_minute_and_recedes(seed: int) -> None:
    world = World(seed, "rain")
    assert all(3 <= v <= 8 for v in series(world, "turbidity", [i * 0.5 for i in range(16)]))
    assert max(series(world, "turbidity", [float(i) for i in range(31)])) > 120
    assert all(v > 60 for v in series(world, "turbidity", [float(i) for i in range(12, 60)]))
    assert all(v < 45 for v in series(world, "turbidity", [float(i) for i in range(125, 360)]))
    assert max(series(world, "turbidity", [float(i) for i in range(360, 520)])) > 50  # the next shower
    dry = world.value("ph", 7.5)
    assert min(series(world, "ph", [float(i) for i in range(12, 40)])) < dry - 0.25
    assert world.value("conductivity", 25) < 0.9 * world.value("conductivity", 7.5)
    assert world.value("humidity", 25) > 85
    assert max(series(world, "rain", [float(i) for i in range(5, 15)])) > 0.1


@pytest.mark.parametrize("seed", range(10))
def test_a_calm_day(seed: int) -> None:
    world = World(seed, "calm")
    assert all(3 <= v <= 8 for v in series(world, "turbidity", DAY))
    ph = series(world, "ph", DAY)
    assert 7.6 <= min(ph) < 7.7
    assert 8.2 < max(ph) <= 8.3
    assert 14 < world.hour(DAY[ph.index(max(ph))]) < 17  # algae have taken the carbon dioxide
    assert series(world, "rain", DAY) == [0.0] * len(DAY)
    temperature = series(world, "water_temperature", DAY)
    assert 1.5 < min(temperature) < max(temperature) < 6


@pytest.mark.parametrize("seed", range(10))
def test_smoke_lies_in_the_valley_in_the_evening(seed: int) -> None:
    world = World(seed, "calm")
    pm = series(world, "pm2_5", DAY)
    assert min(pm) > 18
    assert 85 < max(pm) < 125
    assert 19 < world.hour(DAY[pm.index(max(pm))]) < 22
    small_hours = [v for v, t in zip(pm, DAY, strict=True) if 2 < world.hour(t) < 5]
    assert max(small_hours) < 0.5 * max(pm)


def test_counts_weigh_what_the_masses_say() -> None:
    """Worked backwards: counts between sizes, times what a particle of the middle size weighs, give pm2.5."""
    world = World(1, "calm")
    sizes = [0.3 + 0.01 * i for i in range(221)]
    mass = 0.0
    for low, high in itertools.pairwise(sizes):
        middle = (low + high) / 2
        particles = world.count_above(low, 300) - world.count_above(high, 300)
        mass += particles * 1e6 * 3.14159265 / 6 * middle**3 * 1.65e-6  # 1/cm3 to 1/m3; 1.65 g/cm3
    assert mass == pytest.approx(world.value("pm2_5", 300), rel=0.02)
    assert 0.05 < world.count_above(2.5, 300) < 0.5  # some dust of the size that a Plantower counts in units


def test_noise_is_small_and_smooth() -> None:
    world = World(5, "calm")
    steps = [abs(world.value("ph", 100 + i / 10) - world.value("ph", 100 + (i + 1) / 10)) for i in range(300)]
    assert max(steps) < 0.012
    assert len({round(world.value("ph", 100 + i), 5) for i in range(30)}) > 25  # it does move


def test_words_it_does_not_know() -> None:
    with pytest.raises(KeyError, match="no 'gold'"):
        World().value("gold", 0)
    with pytest.raises(ValueError, match="calm and rain"):
        World(story="flood")
