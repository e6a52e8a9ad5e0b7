"""From what a port showed to findings with a name: the reasoning of a technician with an oscilloscope. Pure.

Rubbish means little by itself; what tells is when it comes: upon every question at every setting (no bias, or
a stream at a rate we do not have), upon one address only (two probes have it), between good answers (the
line's ends, the supply). See docs/scan.md for each, and gateway.scan_words for the words.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from gateway.scan_result import Problem
from gateway.scan_wire import Evidence

TRIES = 10
"""How often a unit that was found is asked the same once more, to see whether it always answers."""
ECHO_SHARE, RUBBISH_SHARE, SPECK_SHARE, STRAY_SHARE = 0.8, 0.5, 0.5, 0.2
LEAST = 5
"""Fewer questions than this prove nothing."""


@dataclass(slots=True)
class Unit:
    """How one address answered when it was asked again and again."""

    asked: int = 0
    good: int = 0
    garbled: int = 0
    double: int = 0
    """Two whole answers came to one question."""
    sample: bytes = b""
    cut: int = 0
    """Of the garbled ones those that began well and broke off."""


def diagnose(port: str, seen: Evidence, units: Mapping[int, Unit], *, found: bool) -> list[Problem]:
    """What is wrong with a port, the surest first."""
    return list(_problems(port, seen, units, found=found))


def _problems(port: str, seen: Evidence, units: Mapping[int, Unit], *, found: bool) -> Iterator[Problem]:
    if seen.asked >= LEAST and seen.echoed >= ECHO_SHARE * seen.asked:
        yield Problem(code="echo", port=port, seen=f"{seen.echoed} of {seen.asked} questions came back")
    shared = [n for n, unit in units.items() if unit.double or (unit.garbled >= LEAST and not unit.good)]
    everywhere = seen.rubbish >= RUBBISH_SHARE * seen.asked and len(seen.rubbish_lines) >= 3
    for number in () if everywhere else shared:
        unit = units[number]
        code = "breaks off" if not unit.double and unit.cut == unit.garbled else "two on one address"
        yield Problem(code=code, port=port, about=str(number), seen=unit.sample.hex(" "))
    for number, unit in units.items():
        if number not in shared and 0 < unit.good < unit.asked:
            text = f"{unit.good} of {unit.asked} answers"
            yield Problem(code="sometimes", port=port, about=str(number), seen=text)
    if found:
        if seen.answered >= LEAST and seen.stray >= STRAY_SHARE * seen.answered:
            text = f"{seen.stray} of {seen.answered} answers"
            yield Problem(code="no bias", port=port, seen=text)
        return
    if shared and not everywhere:
        return
    if everywhere or len(seen.heard_lines) >= 3:
        yield Problem(code="garbage", port=port, seen=seen.sample[:16].hex(" "))
    elif seen.asked >= LEAST and seen.specks >= SPECK_SHARE * seen.asked:
        yield Problem(code="swapped", port=port, seen=f"{seen.specks} of {seen.asked} questions")
    elif seen.asked >= LEAST and not any(unit.good for unit in units.values()):
        yield Problem(code="nothing", port=port, seen=f"{seen.asked} questions")
