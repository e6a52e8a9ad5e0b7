"""What emulated Modbus units measure in tests, and how long anything may take."""

from __future__ import annotations

from collections.abc import Callable

WITHIN_S = 20.0

RIVER = {
    "ph": 6.86, "water_temperature": 18.25, "electrode_potential": -12.5, "turbidity": 42.5,
    "conductivity": 1500.0, "suspended_solids": 98.0, "air_temperature": -10.5, "humidity": 54.6,
    "orp": 212.0, "pm10": 20.5, "pm2_5": 12.25, "pressure": 810.0, "pv_voltage": 18.5,
    "pv_current": 2.1, "power": 123.45, "voltage": 12.84,
    "battery_temperature": -12.5, "charge": 87.0, "current": -1.23,
}  # fmt: skip


def river(quantity: str, now_s: float) -> float:
    return RIVER[quantity]


def sense(**values: float) -> Callable[[str, float], float]:
    return lambda quantity, now_s: values.get(quantity, RIVER[quantity])
