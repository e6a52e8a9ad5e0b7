"""How right the dates are of readings that were taken before the clock was: boots without sync, dated again.

Simulated boots in a world with a true time (tests/clocks.py): the system clock begins anywhere from 1970 to
20 years ahead, a usual crystal drifts, the station reads for some time, then the clock is set right.

    python -m tests.bench.clock
"""

from __future__ import annotations

import logging
from random import Random

from tests.clocks import DAY_S, HOUR_S, YEAR_S, Station, World

WRONG_S = (-56 * YEAR_S, -90 * DAY_S, -HOUR_S, -1.0, HOUR_S, 20 * YEAR_S)
CRYSTAL_PPM = 10.0
BAD_CRYSTAL_PPM = 100.0


def run(boots: int = 300) -> list[tuple[str, str, str]]:
    """Rows of (what, goal, figure)."""
    logging.disable(logging.WARNING)  # each step is said
    rows = []
    for words, drift_ppm, goal in (
        ("usual crystal (10 ppm)", CRYSTAL_PPM, "< 50"),
        ("bad crystal (100 ppm)", BAD_CRYSTAL_PPM, "within what is said"),
    ):
        chance, errors_ms, outside = Random(5), list[float](), 0
        for _ in range(boots):
            world = World(chance.uniform(-drift_ppm, drift_ppm))
            world.power_on()
            station = Station(world)
            world.sync()
            station.run(600, 60)
            world.off(chance.uniform(60, 30 * DAY_S))
            world.power_on(world.true_ms + chance.choice(WRONG_S) * 1000)
            station.start()
            before = station.run(chance.uniform(60, HOUR_S), 30)
            world.sync()
            station.run(20)
            for record in before:
                error_ms = abs(station.error_ms(record))
                errors_ms.append(error_ms)
                outside += error_ms > station.fold.date(record.body.at).uncertainty_ms
        errors_ms.sort()
        figure = f"{errors_ms[len(errors_ms) // 2]:.1f}, {errors_ms[len(errors_ms) * 99 // 100]:.1f}, "
        rows.append(
            (f"clock: restamp error, {words}, ms: p50, p99, worst", goal, f"{figure}{errors_ms[-1]:.1f}")
        )
        rows.append(
            (f"clock: dates outside their uncertainty, {words}", "0", f"{outside} of {len(errors_ms)}")
        )
    logging.disable(logging.NOTSET)
    return rows


if __name__ == "__main__":
    for what, goal, figure in run():
        print(f"{what:70} {goal:>20}  {figure}")
