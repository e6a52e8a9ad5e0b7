"""What the instruments of tests/crash/hours.py say: a river with every fault that a quality test is for."""

from __future__ import annotations

import math
from collections.abc import Iterator
from random import Random

Answer = tuple[str, dict[str, float], int]
"""Sensor, its raw numbers, and how many ms ago it measured them: some hand over what they had kept."""


class River:
    """By a seed. Calm, noisy, stuck, spiky, silent and out of range in turns."""

    def __init__(self, seed: int) -> None:
        self._chance = Random(seed + 1000)
        self._stuck_until_s: dict[str, float] = {}
        self._away_until_s: dict[str, float] = {}
        self._last: dict[str, dict[str, float]] = {}

    def says(self, now_s: float) -> Iterator[Answer]:
        """The answers of the 5 s that begin now."""
        for sensor, every_s in (("ph1", 10), ("turb1", 30), ("climate1", 300), ("dust1", 60)):
            if now_s % every_s:
                continue
            chance = self._chance
            if chance.random() < 0.003:
                self._away_until_s[sensor] = now_s + chance.choice((20.0, 60.0, 400.0))
            if chance.random() < 0.005:
                self._stuck_until_s[sensor] = now_s + chance.choice((150.0, 500.0, 1500.0))
            if now_s < self._away_until_s.get(sensor, 0.0):
                continue
            if now_s >= self._stuck_until_s.get(sensor, 0.0) or sensor not in self._last:
                self._last[sensor] = self._numbers(sensor, now_s)
            raws = dict(self._last[sensor])
            yield sensor, raws, 0
            if chance.random() < 0.02:  # what it had kept of a moment when nobody listened
                yield sensor, self._numbers(sensor, now_s), chance.randrange(1, 240) * 1000 + 1

    def _numbers(self, sensor: str, now_s: float) -> dict[str, float]:
        chance = self._chance
        day = math.sin(now_s / 86400 * math.tau)
        noise = chance.gauss(0, 1)
        match sensor:
            case "ph1":
                ph = 7.6 + 0.8 * day + 0.02 * noise
                draw = chance.random()
                if draw < 0.01:
                    ph += chance.choice((-2.5, -0.8, 0.7, 1.6))
                elif draw < 0.013:
                    ph = chance.choice((-0.4, 14.6, 5.2))
                return {"ph": round(ph, 2), "water_temperature": round(8 + 3 * day + 0.1 * noise, 1)}
            case "turb1":
                rain = 120.0 if 5000 < now_s % 14_000 < 9000 else 0.0
                spike = chance.choice((0.0, 0.0, 90.0, 600.0)) if chance.random() < 0.05 else 0.0
                return {"turbidity": round(abs(12 + rain + 4 * noise + spike), 1)}
            case "climate1":
                return {"air_temperature": round(10 * day + noise, 1), "humidity": round(60 - 20 * day, 1)}
        dust = abs(25 + 10 * noise) + (300.0 if chance.random() < 0.02 else 0.0)
        return {"pm2_5_cf1": round(1.2 * dust, 0), "pm2_5": round(dust, 0), "pm10": round(1.6 * dust, 0)}
