"""A calibration's plan and points, and reading what a technician gives to a step. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from drivers.calibrates import Calibrates
from gateway.calibration_standards import Stable

STANDARDS_AT_MOST = 8
TEXT_AT_MOST = 200


class StepRefused(Exception):
    """The step cannot be taken so. `key` names the reason, the text says it in English."""

    def __init__(self, key: str, text: str) -> None:
        super().__init__(text)
        self.key = key


@dataclass(frozen=True, slots=True)
class Plan:
    """What is known before it begins. `number`: of the sensor's latest version so far."""

    sensor: str
    model: str
    quantity: str
    unit: str
    number: int = 0
    serial: str = ""
    calibrates: Calibrates | None = None
    """None: the station keeps the calibration."""
    accept: tuple[float, float] = (85.0, 105.0)
    offset_mv: float = 30.0
    stable: Stable | None = None
    fit: str = "points"
    last_visit_ms: int | None = None
    every_ms: int | None = None
    corrected_here: bool = False
    """The station corrects this quantity now."""


@dataclass(frozen=True, slots=True)
class Write:
    """What is to be done to the instrument now; say with `wrote` or `not_written` what came of it."""

    nominal: float = 0.0
    value: float = 0.0
    line: tuple[float, float] | None = None
    """Coefficients: slope and offset."""


@dataclass(slots=True)
class Point:
    """One standard, and what the sensor said in it."""

    nominal: float
    lot: str = ""
    expires: str = ""
    value: float = math.nan
    """What it is worth at its temperature."""
    source: str = ""
    temperature_degc: float | None = None
    raw: float | None = None
    found: float | None = None
    left: float | None = None
    stable: bool = True
    readings: list[float] = field(default_factory=list)
    says: dict[str, str] = field(default_factory=dict)


def method(plan: Plan) -> str:
    """Where the calibration is kept: "station", "instrument", or there as "coefficients"."""
    if plan.calibrates is None:
        return "station"
    return "instrument" if plan.calibrates.way == "points" else "coefficients"


def read_points(plan: Plan, standards: Sequence[Mapping[str, Any]]) -> list[Point]:
    """The bottles that were named. Raises StepRefused."""
    if not 1 <= len(standards) <= STANDARDS_AT_MOST:
        raise StepRefused("standards", f"name 1 to {STANDARDS_AT_MOST} standards")
    points = []
    for given in standards:
        nominal = number_in(given, "nominal")
        if nominal is None:
            raise StepRefused("standards", "a standard needs its number: nominal")
        points.append(Point(nominal, text_in(given, "lot"), text_in(given, "expires")))
    nominals = [p.nominal for p in points]
    wants = plan.calibrates
    wrong = wants.wrong(nominals) if wants is not None and wants.way == "points" else ""
    if len(set(nominals)) != len(nominals):
        wrong = "a standard stands there twice"
    if wrong:
        raise StepRefused("standards", wrong)
    return points


def number_in(given: Mapping[str, Any], key: str) -> float | None:
    value = given.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e6:
        raise StepRefused("number", f"{key}: a number is needed")
    return float(value)


def text_in(given: Mapping[str, Any], key: str) -> str:
    value = given.get(key, "")
    if not isinstance(value, str) or len(value) > TEXT_AT_MOST:
        raise StepRefused("text", f"{key}: a text of at most {TEXT_AT_MOST} characters is needed")
    return value.strip()


def plain(point: Point) -> dict[str, Any]:
    plain = {name: getattr(point, name) for name in Point.__slots__}
    return plain | {"value": point.value if math.isfinite(point.value) else None}


def expired(text: str, now_ms: int) -> bool:
    """Whether a bottle's date (2026-11 or 2026-11-23) is over."""
    today = datetime.fromtimestamp(now_ms / 1000, UTC).strftime("%Y-%m-%d")
    return today[: len(text)] > text
