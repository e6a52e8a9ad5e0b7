"""A Modbus unit that was found: which model it is, whether it always answers, and if it is none that is
known, how its answers are odd.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from drivers import frames
from gateway.scan_diagnose import LEAST, TRIES, Unit
from gateway.scan_probe import Kind, Match, best, match
from gateway.scan_result import Problem
from gateway.scan_wire import Came, Wire

AGAIN_S = 0.5
PATIENT_S = 1.0
"""How long one waits for a unit that is known to be there: a slow one is not a bad line."""
LATE_S = 3.0
"""How late an answer may come that is still seen to be late."""
LINGER_S = 0.05
ODD_TRIES = 3

Ask = Callable[[int, bytes, float], Awaitable[Came]]
Asked = tuple[int, bytes]
"""A unit, and what it was asked."""


@dataclass(frozen=True, slots=True)
class Named:
    """What came of it. `unit`: how it answered when it was asked again and again; None: that says nothing."""

    first: Match | None
    others: tuple[str, ...]
    unit: Unit | None
    problem: Problem | None = None


async def name(
    wire: Wire, ask: Ask, kinds: Sequence[Kind], unit: int, hello: bytes, instead: Asked | None
) -> Named:
    """Find out who answers at an address. `instead`: who was asked when this unit spoke. Raises PortLost."""
    line = wire.link.line
    answers: dict[bytes, bytes | None] = {}
    refused: bytes | None = None
    matches: list[Match] = []
    near = sorted(kinds, key=lambda kind: (kind.line != line, kind.profile.address != unit))
    for kind in near:
        for pdu in dict.fromkeys((*(pdu for pdu, _ in kind.identify), *kind.plan)):
            if pdu not in answers:
                came = await _surely(wire, ask, unit, pdu)
                answers[pdu] = None if came is None or came.refused else came.answer
                refused = pdu if came is not None and came.refused else refused
            if answers[pdu] is None and pdu in kind.plan:
                break
        fits = match(kind, answers, line, unit)
        if fits is not None:
            matches.append(fits)
            if fits.sure:
                break
    first, others = best(matches)
    good = next((pdu for pdu, answer in answers.items() if answer is not None), None)
    seen = await closer(wire, unit, good or refused or hello)
    if first is not None:
        return Named(first, others, seen)
    if not seen.good:
        return Named(None, (), seen, await _stranger(wire, unit, instead))
    if (late_s := await _late_s(wire, unit, good or refused or hello)) > PATIENT_S:
        return Named(None, (), None, _odd(wire, "late", unit, f"{late_s:.1f} s"))
    code = "refuses" if refused is not None and good is None else "unknown"
    return Named(None, (), seen, _odd(wire, code, unit, ""))


async def closer(wire: Wire, unit: int, pdu: bytes) -> Unit:
    """Ask the same again and again: does it always answer?"""
    seen = Unit()
    for _ in range(TRIES):
        came = await wire.ask(unit, pdu, PATIENT_S, linger_s=LINGER_S)
        seen.asked += 1
        if came.answer is None:
            note(seen, wire, unit, pdu, came)
        else:
            seen.good += 1
            rest = came.raw[len(came.answer) + 4 :]
            seen.double += len(rest) >= LEAST and rest[:1] == bytes((unit,)) and came.raw[:1] == rest[:1]
    return seen


def note(seen: Unit, wire: Wire, unit: int, pdu: bytes, came: Came) -> None:
    """Count what came and was no answer."""
    framing = wire.link.framing
    seen.garbled += came.is_garbled
    seen.sample = came.raw[:16] or seen.sample
    whole = frames.answer_length(framing, pdu)
    seen.cut += came.is_garbled and frames.begun(framing, unit, pdu, came.raw[:2]) and len(came.raw) < whole


# ── inside ──────────────────────────────────────────────────────────────────────────────────────────


async def _surely(wire: Wire, ask: Ask, unit: int, pdu: bytes) -> Came | None:
    """A unit's answer to one request; asked again where it came garbled, or not at all once."""
    for _ in range(3):
        came = await ask(unit, pdu, AGAIN_S)
        if came.answer is not None:
            return came
        if not came.raw and wire.evidence.stray + wire.evidence.rubbish == 0:
            return None
    return None


async def _stranger(wire: Wire, unit: int, instead: Asked | None) -> Problem | None:
    """Whether this unit answers what another is asked, and never what it is asked itself."""
    if instead is None:
        return None
    asked, pdu = instead
    times = 0
    for _ in range(ODD_TRIES):
        times += (await wire.ask(asked, pdu, PATIENT_S)).late == unit
    return _odd(wire, "stranger", asked, str(unit)) if times > 1 else None


async def _late_s(wire: Wire, unit: int, pdu: bytes) -> float:
    """How long an answer takes when nothing older is still on its way; 0 where none comes."""
    await asyncio.sleep(LATE_S)
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    came = await wire.ask(unit, pdu, LATE_S)
    return loop.time() - began_s if came.answer is not None else 0.0


def _odd(wire: Wire, code: str, unit: int, seen: str) -> Problem:
    return Problem(code=code, port=wire.port, about=str(unit), seen=seen)
