"""The demo's world: a mountain river below a mine and a valley's winter air, as pure functions of time.

`World(seed, story).value("turbidity", t_s)` is what a perfect instrument would say `t_s` seconds after the
start. The same seed, story and time give the same number, in any order, on any machine: there is no state,
and noise is a function of time too. A second of ours is `pace` seconds of that world, so that a demo sees a
day in 24 minutes.

The story "calm" has no weather. In "rain" a shower comes 8 s after the start, drives the turbidity over 100
NTU before half a minute is over and lets it fall again; the next showers come every quarter of a day or so.
The figures are plausible, not measured: a cold alkaline stream (pH up in the afternoon when algae take CO2),
a rain wave that dilutes and muddies it, coal smoke of the evening under an inversion as on the outskirts of
Bishkek in winter.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

DAY_S = 86400.0
PACE = 60.0
START_H = 16.5
"""The hour of the day at which the demo starts: dusk, before the stoves are lit."""

FIRST_RAIN_S = 8.0
"""Seconds of ours from the start to the first shower; so that a demo of half a minute sees it."""
RISE_S = 6.0
FALL_S = 45.0
RAIN_EVERY_S = 360.0

STORIES = ("calm", "rain")

# quantity: (least, most) in its canonical unit; no value leaves these bounds
BOUNDS: dict[str, tuple[float, float]] = {
    "ph": (6.5, 9.0),
    "orp": (-100, 500),
    "turbidity": (0.5, 900),
    "conductivity": (80, 900),
    "dissolved_oxygen": (6, 15),
    "suspended_solids": (0, 2000),
    "level": (0.1, 3),
    "rain": (0, 10),
    "water_temperature": (0.05, 15),
    "air_temperature": (-25, 20),
    "humidity": (15, 100),
    "pressure": (900, 960),
    "pm1": (1, 400),
    "pm2_5": (1, 500),
    "pm4": (1, 550),
    "pm10": (1, 600),
    "typical_particle_size": (0.3, 2),
    "wind_speed": (0, 15),
    "wind_direction": (0, 360),
    "electrode_potential": (-200, 200),
    "voltage": (11, 15),
    "current": (-3, 8),
    "charge": (5, 100),
    "pv_voltage": (0, 25),
    "pv_current": (0, 8),
    "power": (0, 150),
    "battery_temperature": (-25, 45),
}

_MASS_SHARES = {"pm1": 0.78, "pm2_5": 1.0, "pm4": 1.06, "pm10": 1.12}


class World:
    """One river and one sky. See the head of this file."""

    def __init__(
        self, seed: int = 0, story: str = "rain", *, pace: float = PACE, start_h: float = START_H
    ) -> None:
        if story not in STORIES:
            raise ValueError(f"no story {story!r}: there are {' and '.join(STORIES)}")
        self.seed = seed
        self.story = story
        self.pace = pace
        self.start_h = start_h
        self._known: dict[str, Callable[[float], float]] = {
            name: getattr(self, f"_{name}") for name in BOUNDS if hasattr(self, f"_{name}")
        }

    @property
    def quantities(self) -> tuple[str, ...]:
        """Every quantity this world has, beside the counts (`n0_3` …)."""
        return tuple(self._known)

    def value(self, quantity: str, t_s: float) -> float:
        """What there is to measure, in the quantity's canonical unit.

        Raises KeyError for what this world has not.
        """
        if quantity.startswith("n") and quantity[1:2].isdigit():
            return self.count_above(0.3, t_s) - self.count_above(float(quantity[1:].replace("_", ".")), t_s)
        try:
            low, high = BOUNDS[quantity]
            plain = self._known[quantity](t_s)
        except KeyError:
            raise KeyError(f"this world has no {quantity!r}: there are {', '.join(self._known)}") from None
        return min(max(plain, low), high)

    def hour(self, t_s: float) -> float:
        """The hour of that world's day, 0 to 24."""
        return (self.start_h + t_s * self.pace / 3600) % 24

    def count_above(self, size_um: float, t_s: float) -> float:
        """Particles above a size per cm3: smoke that weighs `pm2_5`, and dust that weighs the rest."""
        smoke = self.value("pm2_5", t_s) / _SMOKE.mass_of_one_ug(0.3, 2.5) * _SMOKE.above(size_um)
        rest = self.value("pm10", t_s) - self.value("pm2_5", t_s)
        dust = rest / _DUST.mass_of_one_ug(2.5, 10) * _DUST.above(size_um)
        return (smoke + dust) * 1e-6

    def wetness(self, t_s: float) -> float:
        """How much of a rain wave is in the river: 0 none, 1 the height of a common one."""
        if self.story == "calm":
            return 0.0
        wet = 0.0
        first = int((t_s - FIRST_RAIN_S - 8 * FALL_S) // RAIN_EVERY_S)
        for k in range(max(first, 0), max(int((t_s - FIRST_RAIN_S) // RAIN_EVERY_S) + 1, 0)):
            since_s = t_s - self._rain_at_s(k)
            if since_s > 0:  # rises with the gorge's short way, falls slowly
                strength = 1.0 if k == 0 else 0.5 + 0.7 * self._dice("rain strength", k)
                wet += strength * (1 - math.exp(-since_s / RISE_S)) * math.exp(-since_s / FALL_S) / _PEAK
        return wet

    # ── the water ───────────────────────────────────────────────────────────────────────────────────────

    def _ph(self, t_s: float) -> float:
        diel = 7.95 + 0.3 * self._day(t_s, 15.5)
        return diel - 0.55 * math.tanh(self.wetness(t_s)) + self._noise("ph", t_s, 0.015)

    def _electrode_potential(self, t_s: float) -> float:
        """What the pH electrode itself gives, in mV: Nernst's slope at the water's temperature, 0 at pH 7."""
        return -0.19842 * (273.15 + self._water_temperature(t_s)) * (self._ph(t_s) - 7)

    def _turbidity(self, t_s: float) -> float:
        base = 5.2 + 1.6 * self._drift("turbidity", t_s, 90) + self._noise("turbidity", t_s, 0.5)
        return base + 210 * self.wetness(t_s) * (1 + self._noise("mud", t_s, 0.05))

    def _suspended_solids(self, t_s: float) -> float:
        return 1.3 * self._turbidity(t_s) + 2

    def _water_temperature(self, t_s: float) -> float:
        return (
            3.4
            + 1.1 * self._day(t_s, 15)
            - 0.5 * self.wetness(t_s)
            + self._noise("water_temperature", t_s, 0.03)
        )

    def _conductivity(self, t_s: float) -> float:
        thin = 1 - 0.25 * math.tanh(self.wetness(t_s))
        return (310 + 12 * self._drift("conductivity", t_s, 200)) * thin + self._noise(
            "conductivity", t_s, 1.5
        )

    def _orp(self, t_s: float) -> float:
        return (
            215
            - 55 * (self._ph(t_s) - 7.95)
            + 6 * self._drift("orp", t_s, 120)
            + self._noise("orp", t_s, 1.0)
        )

    def _dissolved_oxygen(self, t_s: float) -> float:
        return 12.0 - 0.25 * (self._water_temperature(t_s) - 3.4) + 0.4 * self._day(t_s, 14.5)

    def _level(self, t_s: float) -> float:
        return 0.62 + 0.35 * self.wetness(t_s) + self._noise("level", t_s, 0.004)

    def _rain(self, t_s: float) -> float:
        """Rain of the last minute, in mm: what falls is some seconds ahead of what runs."""
        return 0.5 * max(0.0, self.wetness(t_s + 2) - self.wetness(t_s - 2)) * self.pace / 60

    # ── the air ─────────────────────────────────────────────────────────────────────────────────────────

    def _pm2_5(self, t_s: float) -> float:
        evening = _bump(self.hour(t_s), 20.5, 2.6) + 0.45 * _bump(self.hour(t_s), 8.0, 1.5)
        smoke = 24 + 78 * evening * (1 + 0.15 * self._drift("smoke", t_s, 60))
        washed = 1 - 0.3 * math.tanh(self.wetness(t_s + 3))
        return smoke * washed * (1 + self._noise("pm", t_s, 0.03))

    def _pm1(self, t_s: float) -> float:
        return self._pm2_5(t_s) * _MASS_SHARES["pm1"]

    def _pm4(self, t_s: float) -> float:
        return self._pm2_5(t_s) * _MASS_SHARES["pm4"]

    def _pm10(self, t_s: float) -> float:
        dust = 4 + 10 * self._wind_speed(t_s) / 15
        return self._pm2_5(t_s) * _MASS_SHARES["pm10"] + dust

    def _typical_particle_size(self, t_s: float) -> float:
        return 0.48 + 0.12 * self._humidity(t_s) / 100 + self._noise("size", t_s, 0.008)

    def _air_temperature(self, t_s: float) -> float:
        return (
            -2.5
            + 5.5 * self._day(t_s, 14.5)
            + 1.2 * self._drift("air", t_s, 240)
            + self._noise("air", t_s, 0.08)
        )

    def _humidity(self, t_s: float) -> float:
        dry = 66 - 17 * self._day(t_s, 14.5) + 4 * self._drift("humidity", t_s, 150)
        return dry + (97 - dry) * math.tanh(1.5 * self.wetness(t_s + 3)) + self._noise("humidity", t_s, 0.4)

    def _pressure(self, t_s: float) -> float:
        return 929 + 5 * self._drift("pressure", t_s, 1500) + self._noise("pressure", t_s, 0.05)

    def _wind_speed(self, t_s: float) -> float:
        return (
            1.1 + 0.6 * self._day(t_s, 14) + 0.8 * self._drift("wind", t_s, 20) + 0.5 * self.wetness(t_s + 4)
        )

    def _wind_direction(self, t_s: float) -> float:
        up = 0.5 + 0.5 * self._day(t_s, 14)  # up the valley by day, down at night
        return (160 + 160 * up + 25 * self._drift("wind direction", t_s, 30)) % 360

    # ── the station's power ─────────────────────────────────────────────────────────────────────────────

    def _voltage(self, t_s: float) -> float:
        return 12.5 + 0.9 * self._sun(t_s) + self._noise("voltage", t_s, 0.01)

    def _current(self, t_s: float) -> float:
        return -0.35 + 3.2 * self._sun(t_s) + self._noise("current", t_s, 0.02)

    def _pv_voltage(self, t_s: float) -> float:
        return 18.2 * min(1.0, 3 * self._sun(t_s))

    def _pv_current(self, t_s: float) -> float:
        return 2.6 * self._sun(t_s)

    def _power(self, t_s: float) -> float:
        return self._pv_voltage(t_s) * self._pv_current(t_s)

    def _battery_temperature(self, t_s: float) -> float:
        return 4 + 0.4 * self._air_temperature(t_s)

    def _charge(self, t_s: float) -> float:
        return 84 + 8 * self._day(t_s, 17)

    # ── shapes ──────────────────────────────────────────────────────────────────────────────────────────

    def _day(self, t_s: float, peak_h: float) -> float:
        """A day's wave, -1 to 1, highest at `peak_h`."""
        return math.cos((self.hour(t_s) - peak_h) * 2 * math.pi / 24)

    def _sun(self, t_s: float) -> float:
        return max(0.0, math.cos((self.hour(t_s) - 12.7) * math.pi / 9.6)) if 7 < self.hour(t_s) < 18 else 0.0

    def _rain_at_s(self, k: int) -> float:
        return FIRST_RAIN_S + k * RAIN_EVERY_S + (0.25 * RAIN_EVERY_S * self._dice("rain", k) if k else 0.0)

    def _drift(self, what: str, t_s: float, period_s: float) -> float:
        """A slow wander within -1 to 1 that turns about every `period_s`."""
        return self._smooth(what, t_s / period_s)

    def _noise(self, what: str, t_s: float, size: float) -> float:
        """Small quick noise within -size to size: seconds and fifths of seconds."""
        return size * (0.7 * self._smooth(what + " noise", t_s) + 0.3 * self._smooth(what + " hiss", t_s * 5))

    def _smooth(self, what: str, x: float) -> float:
        """Value noise: random numbers at whole `x`, a smooth way between them. Within -1 to 1."""
        k = math.floor(x)
        part = x - k
        part = part * part * (3 - 2 * part)
        a, b = self._dice(what, k), self._dice(what, k + 1)
        return 2 * (a + (b - a) * part) - 1

    def _dice(self, what: str, k: int) -> float:
        """A number from 0 to 1 that belongs to (seed, what, k) for ever."""
        x = self.seed & _64
        for word in (_name(what), k & _64):
            x = _mixed(x ^ word)
        return x / 2**64


_64 = 0xFFFF_FFFF_FFFF_FFFF
_names: dict[str, int] = {}


def _name(what: str) -> int:
    """A string's number, the same in every process (Python's own hash is not)."""
    if what not in _names:
        _names[what] = _mixed(int.from_bytes(what.encode(), "little") % (2**61 - 1))
    return _names[what]


def _mixed(x: int) -> int:
    """SplitMix64's finaliser (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014)."""
    x = (x + 0x9E37_79B9_7F4A_7C15) & _64
    x = ((x ^ (x >> 30)) * 0xBF58_476D_1CE4_E5B9) & _64
    x = ((x ^ (x >> 27)) * 0x94D0_49BB_1331_11EB) & _64
    return x ^ (x >> 31)


def _bump(hour: float, at_h: float, width_h: float) -> float:
    """A bell of height 1 around an hour, over midnight too."""
    away_h = (hour - at_h + 12) % 24 - 12
    return math.exp(-0.5 * (away_h / width_h) ** 2)


@dataclass(frozen=True, slots=True)
class _Aerosol:
    """Particles of a lognormal number distribution, seen from 0.3 um up: what these instruments see."""

    median_um: float
    sigma: float

    def above(self, size_um: float) -> float:
        """The part of all particles that is larger than a size."""
        return 0.5 * math.erfc(math.log(size_um / self.median_um) / (self.sigma * math.sqrt(2)))

    def mass_of_one_ug(self, low_um: float, high_um: float) -> float:
        """What lies between two sizes, by the number of all particles: the third moment, cut."""

        def third(size_um: float) -> float:
            away = math.log(size_um / self.median_um) - 3 * self.sigma**2
            return 0.5 * math.erfc(away / (self.sigma * math.sqrt(2)))

        moment = self.median_um**3 * math.exp(4.5 * self.sigma**2) * (third(low_um) - third(high_um))
        return math.pi / 6 * moment * _DENSITY_UG_PER_UM3


_DENSITY_UG_PER_UM3 = 1.65e-6  # 1.65 g/cm3, what makers of optical counters assume
_SMOKE = _Aerosol(0.33, 0.42)
_DUST = _Aerosol(3.5, 0.5)
# The height of (1 - exp(-t/RISE)) * exp(-t/FALL), reached at RISE * ln(1 + FALL / RISE)
_PEAK_AT_S = RISE_S * math.log(1 + FALL_S / RISE_S)
_PEAK = (1 - math.exp(-_PEAK_AT_S / RISE_S)) * math.exp(-_PEAK_AT_S / FALL_S)
