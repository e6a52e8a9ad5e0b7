"""Kinds of water and air: a limit is for one of them, a sensor is in one of them. Pure.

A sensor that does not say is where a station usually stands: in a river, in the open air. So a limit for
drinking water is never held against a river by mistake.
"""

from __future__ import annotations

from collections.abc import Mapping

KINDS: Mapping[str, tuple[str, ...]] = {
    "water": ("surface water", "ground water", "drinking water", "mine water", "waste water"),
    "air": ("outdoor air", "indoor air", "workplace air", "emission"),
}
"""By medium; the first is meant when nothing is said."""


def usual(medium: str) -> str:
    """The kind that is meant when a sensor in this medium says none; "" where there are no kinds."""
    return KINDS[medium][0] if medium in KINDS else ""


def fits(limit: str, sensor: str) -> bool:
    """Whether a limit for this kind may be held against a sensor in that one; a limit for "" is for all."""
    return limit in ("", sensor)
