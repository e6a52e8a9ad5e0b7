"""Quality flags while readings stream in: the QARTOD tests, one value at a time, in bounded memory.

    value ─► gross range, user range ─► climatology ─► gap ─► rate of change ─► flat line ─► attenuated signal
                └──────────────────── the worst of their flags, and why ────────────────────┘
             spike: told of the value before, when the next has come (gateway/qc_spike.py)

A flag is the worst that a test gave: FAIL before SUSPECT before GOOD before NOT_EVALUATED before MISSING. A
value without a test is NOT_EVALUATED, not GOOD; so is one whose tests have not seen enough yet. Intervals are
those of the boot's steady clock: a clock that is set moves no test, and what the tests remember outlives a
restart of the process (gateway.qc_memory), not one of the machine.

Sources: U.S. IOOS, Manual for Real-Time Quality Control of In-situ Temperature and Salinity Data, version
2.1 (2020), tests 1 and 4 to 10; the order of the flags and the arithmetic are those of ioos_qc 3.0.0
(`qartod_compare` and its tests), against which tests/test_qc.py holds these. Where they differ, and why,
stands in docs/quality.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

import msgspec

from gateway.model import Flag, Stamp
from gateway.qc_tests import Attenuated, Climatology, FlatLine, Gap, RateOfChange, State

if TYPE_CHECKING:
    from gateway import config_parts

_GOOD, _NOT_EVALUATED, _SUSPECT, _FAIL = 1, 2, 3, 4  # as plain numbers: an enum's member costs its conversion
_IS_GOOD = (_GOOD, "")
_IS_NOT_EVALUATED = (_NOT_EVALUATED, "")
_IS_NO_NUMBER = (int(Flag.MISSING), "not a number")
_RANK = {9: 0, _NOT_EVALUATED: 1, _GOOD: 2, _SUSPECT: 3, _FAIL: 4}


@dataclass(frozen=True, slots=True)
class Flat:
    """All within `within` of each other for so long."""

    within: float
    suspect_s: float
    fail_s: float


@dataclass(frozen=True, slots=True)
class Attenuation:
    """The range of the values over `over_s`, below which it is suspect, and bad."""

    over_s: float
    suspect: float
    fail: float = 0.0


@dataclass(frozen=True, slots=True)
class Expect:
    """What is expected of one quantity, in its own unit. None leaves a test out."""

    gross: tuple[float, float] | None = None
    usual: tuple[float, float] | None = None
    spike: tuple[float, float] | None = None
    """Suspect and fail. Not for `Checks`: see gateway.qc_spike."""
    spike_method: Literal["average", "differential"] = "average"
    rate_per_s: float | None = None
    flat: Flat | None = None
    attenuated: Attenuation | None = None
    gap_s: float | None = None
    climatology: Mapping[int, tuple[float, float]] = field(default_factory=dict)
    """By month of UTC, 1 to 12."""


def expected(parts: Mapping[str, config_parts.Expect]) -> dict[str, Expect]:
    """What the tables [sensor.expect.<quantity>] of one sensor ask for."""
    return {quantity: _expected(part) for quantity, part in parts.items()}


def worst(flags: list[int]) -> int:
    """The combined flag, by the precedence of ioos_qc's `qartod_compare`; MISSING of nothing."""
    return max(flags, key=_RANK.__getitem__, default=9)


class Checks:
    """The tests of one sensor that is read every `every_s`; at the default no reading counts as missed."""

    def __init__(self, expect: Mapping[str, Expect], every_s: float = math.inf) -> None:
        self._tests = {name: _tests(e, every_s) for name, e in expect.items() if _has_test(e)}
        self._marks = {name: f"{every_s:g} {expect[name]}" for name in self._tests}
        self._at: Stamp | None = None

    @property
    def remember(self) -> bool:
        """Whether any of them has a memory."""
        return any(isinstance(tests, _All) for tests in self._tests.values())

    @property
    def seen(self) -> Stamp | None:
        """The moment of the last reading that they have judged."""
        return self._at

    def flag(self, quantity: str, value: float, at: Stamp) -> tuple[int, str]:
        """The flag of one value and why; "" for GOOD and NOT_EVALUATED. In order of time, each value once.

        One that comes late is judged by what needs no memory; those that were there stay neighbours.
        """
        tests = self._tests.get(quantity)
        if tests is None:
            return _IS_NOT_EVALUATED
        last = self._at
        if at is not last:
            if last is not None:
                if at.boot != last.boot:
                    self.forget()
                elif at.mono_ms < last.mono_ms:
                    return tests.flag(value, at, late=True)
            self._at = at
        return tests.flag(value, at)

    def forget(self) -> None:
        """Begin anew: what comes next does not follow from what was."""
        for tests in self._tests.values():
            if isinstance(tests, _All):
                tests.forget()

    def save(self) -> Kept:
        """What they remember."""
        found = {name: tests.save() for name, tests in self._tests.items() if isinstance(tests, _All)}
        return Kept(self._at, {name: (self._marks[name], states) for name, states in found.items()})

    def restore(self, kept: Kept) -> None:
        """Go on where this was kept. A quantity whose limits are others now begins anew, as does one whose
        state is none.
        """
        self._at = kept.at
        for name, (mark, states) in kept.of.items():
            tests = self._tests.get(name)
            if isinstance(tests, _All) and mark == self._marks[name]:
                tests.restore(states)


class Kept(msgspec.Struct, array_like=True):
    """What the tests of one sensor remember: by quantity for which limits, and each test's own."""

    at: Stamp | None = None
    of: dict[str, tuple[str, list[State]]] = {}


class _Flagging(Protocol):
    def flag(self, value: float, at: Stamp, *, late: bool = False) -> tuple[int, str]: ...


class _Test(Protocol):
    """A test with a memory of its own: 1 good, 2 not evaluated, 3 suspect, 4 fail."""

    name: str

    def judge(self, value: float, at: Stamp) -> int: ...
    def forget(self) -> None: ...
    def save(self) -> State: ...
    def restore(self, state: State) -> None:
        """Raises ValueError for what is no state of it."""
        ...


class _Ranges:
    """Gross range and user range, which need no memory: all that most quantities have."""

    __slots__ = ("_gross", "_high", "_low")

    def __init__(self, gross: tuple[float, float], usual: tuple[float, float]) -> None:
        self._gross = gross
        self._low, self._high = max(gross[0], usual[0]), min(gross[1], usual[1])

    def flag(self, value: float, at: Stamp, *, late: bool = False) -> tuple[int, str]:
        if self._low <= value <= self._high:
            return _IS_GOOD
        if value - value != 0.0:
            return _IS_NO_NUMBER
        if self._gross[0] <= value <= self._gross[1]:
            return _SUSPECT, "user range"
        return _FAIL, "gross range"


class _All:
    """The ranges, if any, and the tests with a memory: every one sees every number, but for the late ones."""

    __slots__ = ("_all", "_of_late", "_ranges", "_tests")

    def __init__(self, ranges: _Ranges | None, tests: list[_Test]) -> None:
        self._ranges = ranges
        self._all = tests
        self._tests = [(test.judge, test.name) for test in tests]
        self._of_late = [(test.judge, test.name) for test in tests if isinstance(test, Climatology)]

    def flag(self, value: float, at: Stamp, *, late: bool = False) -> tuple[int, str]:
        if value - value != 0.0:
            return _IS_NO_NUMBER
        level, why = _IS_NOT_EVALUATED if self._ranges is None else self._ranges.flag(value, at)
        for judge, name in self._of_late if late else self._tests:
            found = judge(value, at)
            if found <= _NOT_EVALUATED:
                if found == _GOOD and level == _NOT_EVALUATED:
                    level = _GOOD
            elif found > level:
                level, why = found, name
            elif found == level:
                why = f"{why}, {name}"
        return level, why

    def forget(self) -> None:
        for test in self._all:
            test.forget()

    def save(self) -> list[State]:
        return [test.save() for test in self._all]

    def restore(self, states: list[State]) -> None:
        try:
            for test, state in zip(self._all, states, strict=True):
                test.restore(state)
        except ValueError:
            self.forget()


def _expected(part: config_parts.Expect) -> Expect:
    rate, flat, attenuated = part.rate, part.flat, part.attenuated
    return Expect(
        gross=part.gross,
        usual=part.usual,
        spike=part.spike,
        spike_method=part.spike_method,
        rate_per_s=rate.amount / rate.per_s if rate else None,
        flat=Flat(flat.within, flat.suspect_s, flat.fail_s) if flat else None,
        attenuated=Attenuation(attenuated.over_s, attenuated.suspect, attenuated.fail)
        if attenuated
        else None,
        gap_s=part.gap_s,
        climatology=part.climatology,
    )


_ANYTHING = (-math.inf, math.inf)


def _has_test(expect: Expect) -> bool:
    return expect != Expect(spike=expect.spike, spike_method=expect.spike_method)


def _tests(expect: Expect, every_s: float) -> _Flagging:
    ranges = None
    if expect.gross is not None or expect.usual is not None:
        ranges = _Ranges(expect.gross or _ANYTHING, expect.usual or _ANYTHING)
    tests: list[_Test] = []
    if expect.climatology:
        tests.append(Climatology(expect.climatology))
    if expect.gap_s is not None:
        tests.append(Gap(expect.gap_s))
    if expect.rate_per_s is not None:
        tests.append(RateOfChange(expect.rate_per_s, every_s))
    if expect.flat is not None:
        flat = expect.flat
        tests.append(FlatLine(flat.within, flat.suspect_s, flat.fail_s, every_s))
    if expect.attenuated is not None:
        attenuated = expect.attenuated
        tests.append(Attenuated(attenuated.over_s, attenuated.suspect, attenuated.fail, every_s))
    if ranges is not None and not tests:
        return ranges
    return _All(ranges, tests)
