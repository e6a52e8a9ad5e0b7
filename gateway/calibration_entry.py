"""A calibration's end: the verdict, the entry of the ledger, and the versions of corrections. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from gateway.calibration import Version, back_distributed, fouling
from gateway.calibration_points import TEXT_AT_MOST, Plan, Point, expired, method, plain
from gateway.calibration_standards import electrode, keeps

BEYOND = {"ph": 2.0, "water_temperature": 2.0}
BEYOND_PERCENT = 30.0
"""Errors above these are not corrected (USGS TM 1-D3, maximum allowable limits, from memory: pH 2,
temperature 2 degC, others 30 %)."""


@dataclass(frozen=True, slots=True)
class Course:
    """What was done. `water`: readings in the water before and after cleaning. `left`: the step at which it
    ended, "" when all were done.
    """

    plan: Plan
    by: str
    began_ms: int
    points: list[Point]
    water: dict[str, float]
    adjusted: bool
    wrote_any: bool
    live: Version | None
    left: str
    by_hand: bool = False


def verdict(course: Course) -> tuple[str, list[str]]:
    """Either "passed", "failed", or "checked" (nothing was adjusted and nothing had to be); and why."""
    reasons: list[str] = []
    done = [p for p in course.points if p.found is not None]
    if not done:
        reasons.append("no standard was measured")
    for p in done:
        if p.expires and expired(p.expires, course.began_ms):
            reasons.append(f"the standard {p.nominal:g} was good until {p.expires}")
        if not p.stable:
            reasons.append(f"not stable in {p.nominal:g}")
        last = p.found if p.left is None and not course.adjusted else p.left
        if last is not None and not keeps(course.plan.quantity, p.value, last):
            reasons.append(f"reads {last:.4g} in {p.value:.4g}")
    for slope in _slopes(course):
        if not course.plan.accept[0] <= slope <= course.plan.accept[1]:
            low, high = course.plan.accept
            reasons.append(f"slope {slope:.1f} % is not within {low:g} to {high:g} %")
    offset_mv = _offset_mv(course)
    if offset_mv is not None and abs(offset_mv) > course.plan.offset_mv:
        reasons.append(f"offset {offset_mv:.1f} mV is more than {course.plan.offset_mv:g} mV")
    if course.left and course.wrote_any:
        reasons.append("broken off after something was written into the instrument")
    elif course.left and course.left != "decide":
        reasons.append("broken off")
    if reasons:
        return "failed", reasons
    return ("passed" if course.adjusted else "checked"), []


def entry(
    course: Course, at_ms: int, *, photo: str = "", note: str = "", spread: bool = True
) -> tuple[dict[str, Any], list[Version]]:
    """The ledger's entry, signed, and the versions that follow from it.

    A failed calibration makes no live correction; what was found drifted is corrected in the past either
    way, for it was measured in standards: not if `spread` is false (the probe was changed), and not if it is
    beyond what may be corrected at all. The entry has the last number: readings from then on carry it.
    """
    judged, reasons = verdict(course)
    plan, number = course.plan, course.plan.number
    versions: list[Version] = []
    drifted = [(p.found, p.value) for p in course.points if p.found is not None and p.stable]
    fouled = _fouling(course)
    history = _history(course, drifted, fouled, spread=spread)
    if not history and plan.last_visit_ms is not None:
        past = back_distributed(
            plan.sensor, plan.quantity, number=number + 1, from_ms=plan.last_visit_ms,
            to_ms=course.began_ms, fouled=fouled or 0.0, fouled_at=course.water.get("found", 0.0),
            drifted=drifted, by=course.by,
        )  # fmt: skip
        versions += [past] if past is not None else []
    if course.live is not None and judged == "passed":
        versions.append(
            msgspec.structs.replace(course.live, number=number + len(versions) + 1, from_ms=at_ms)
        )
    elif course.wrote_any and plan.corrected_here:
        versions.append(
            Version(
                number + len(versions) + 1, plan.sensor, plan.quantity, "none", at_ms, by=course.by,
                basis="calibrated in the instrument",
            )
        )  # fmt: skip
    slopes = _slopes(course)
    found: dict[str, Any] = {
        "sensor": plan.sensor, "quantity": plan.quantity, "unit": plan.unit, "model": plan.model,
        "serial": plan.serial, "number": number + len(versions) + 1, "by": course.by,
        "began_ms": course.began_ms, "ended_ms": at_ms, "method": method(plan),
        "adjusted": course.adjusted, "water": course.water, "fouling": fouled,
        "points": [plain(p) for p in course.points if p.found is not None or p.left is not None],
        "drift": [{"standard": true, "reading": read, "error": read - true} for read, true in drifted],
        "slope_percent": min(slopes) if slopes else None,
        "offset_mv": _offset_mv(course),
        "accept_percent": list(plan.accept),
        "accept_offset_mv": plan.offset_mv,
        "verdict": judged, "reasons": reasons,
        "versions": [v.number for v in versions],
        "next_due_ms": at_ms + plan.every_ms if plan.every_ms and judged != "failed" else None,
        "photo": photo[:TEXT_AT_MOST], "note": note[:TEXT_AT_MOST],
    }  # fmt: skip
    if course.by_hand:
        found["by_hand"] = True
    if history:
        found["history"] = history
    return found | {"sha256": sha256(found)}, versions


def _history(
    course: Course, drifted: Sequence[tuple[float, float]], fouled: float | None, *, spread: bool
) -> str:
    """Why nothing is corrected in the past; "" if something may be."""
    if not spread:
        return "not corrected, as the technician says"
    if course.plan.last_visit_ms is None:
        return "no earlier visit: nothing to spread an error over"
    errors = [abs(true - read) for read, true in drifted] + [abs(fouled or 0.0)]
    most = BEYOND.get(course.plan.quantity)
    if most is None:
        whole = max((abs(true) for _, true in drifted), default=course.water.get("found", 0.0))
        most = BEYOND_PERCENT / 100 * abs(whole)
    if max(errors) > most:
        return f"an error of {max(errors):.3g} is more than may be corrected ({most:.3g}): the data are bad"
    return ""


def _fouling(course: Course) -> float | None:
    water = course.water
    if "found" not in water or "cleaned" not in water:
        return None
    return fouling(water["found"], water["cleaned"], water.get("found_side"), water.get("cleaned_side"))


def _slopes(course: Course) -> list[float]:
    """What the instrument says, if it does; else what the readings in the standards show."""
    if course.plan.quantity != "ph":
        return []
    for point in reversed(_in_order(course)):
        said = [_float(point.says.get(key)) for key in ("slope_acid_percent", "slope_base_percent")]
        if found := [s for s in said if s is not None]:
            return found
    slope, _ = electrode([(p.value, p.found) for p in course.points if p.found is not None])
    return [] if slope is None else [slope]


def _offset_mv(course: Course) -> float | None:
    if course.plan.quantity != "ph":
        return None
    for point in reversed(_in_order(course)):
        if (said := _float(point.says.get("offset_mv"))) is not None:
            return said
    return electrode([(p.value, p.found) for p in course.points if p.found is not None])[1]


def _in_order(course: Course) -> list[Point]:
    """The points as they were adjusted."""
    wants = course.plan.calibrates
    if wants is None:
        return course.points
    order = wants.order([p.nominal for p in course.points])
    return sorted(course.points, key=lambda p: order.index(p.nominal))


def sha256(entry: Mapping[str, Any]) -> str:
    """The signature of an entry: of its JSON with sorted keys, without spaces and without `sha256`."""
    body = {key: value for key, value in entry.items() if key != "sha256"}
    return hashlib.sha256(msgspec.json.encode(body, order="deterministic")).hexdigest()


def _float(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None
