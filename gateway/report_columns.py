"""Numbers of many readings of one instrument at once, straight from their text in the journal.

Readings of one instrument differ in their numbers alone, as long as all is well. So what lies between the
numbers is taken out of the joined text, and what is left is one list of numbers:

    {"ph":[7.1,7.1,"pH",1,""],"t":[9.5,9.5,"degC",1,""]},{"ph":[7.2,7.2,"pH",1,""],"t":[9.4,9.4,"degC",1,""]}
    ►  [7.1,7.1,9.5,9.5,7.2,7.2,9.4,9.4]

A reading that is not of this shape (another flag, a reason, another quantity) leaves something that is no
number, and then each is read by itself. A text inside a reading cannot pretend to be a border: borders begin
with a quotation mark that is not escaped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

Parts = tuple[float, float, str, int, str]
"""raw, value, unit, flag, why"""
SHAPES_AT_MOST = 200

values_of = msgspec.json.Decoder(dict[str, Parts])
_numbers = msgspec.json.Decoder(list[float])
_text = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Shape:
    """What readings have beside their numbers."""

    quantities: tuple[tuple[str, str, int, str], ...]
    """name, unit, flag, why"""
    head: int
    """How much lies before the first number,"""
    tail: int
    """and behind the last."""
    borders: tuple[bytes, ...]

    def columns(self, values: Sequence[msgspec.Raw]) -> list[tuple[list[float], list[float]]] | None:
        """(raw, value) of each quantity, if all have this shape."""
        joined = b",".join(values)
        first, last = bytes(values[0])[: self.head], joined[-self.tail :]
        if first != self.borders[-1] or last != self.borders[0]:
            return None
        joined = joined[self.head : -self.tail]
        for border in self.borders[1:-1]:
            joined = joined.replace(border, b",")
        try:
            found = _numbers.decode(b"[" + joined + b"]")
        except msgspec.DecodeError:
            return None
        step = 2 * len(self.quantities)
        if len(found) != step * len(values):
            return None
        return [(found[i::step], found[i + 1 :: step]) for i in range(0, step, 2)]


class Shapes:
    """The shape that each instrument's readings had last."""

    def __init__(self) -> None:
        self._known: dict[str, Shape] = {}

    def columns(
        self, sensor: str, values: Sequence[msgspec.Raw]
    ) -> tuple[Shape, list[tuple[list[float], list[float]]]] | None:
        """The numbers of these readings; None where they are not all alike."""
        known = self._known.get(sensor)
        found = None if known is None else known.columns(values)
        if known is None or found is None:
            known = shape(values[0])
            found = None if known is None else known.columns(values)
            if known is None or found is None:
                return None
            if len(self._known) < SHAPES_AT_MOST or sensor in self._known:
                self._known[sensor] = known
        return known, found


def shape(value: msgspec.Raw) -> Shape | None:
    """Of one reading; None where it has none."""
    try:
        read = values_of.decode(value)
    except msgspec.DecodeError:
        return None
    if not read:
        return None
    heads = [_text(name) + b":[" for name in read]
    tails = [b",%b,%d,%b]" % (_text(unit), flag, _text(why)) for _, _, unit, flag, why in read.values()]
    first, last = b"{" + heads[0], tails[-1] + b"}"
    between = [tail + b"," + head for tail, head in zip(tails, heads[1:], strict=False)]
    borders = (last, last + b"," + first, *between, first)
    quantities = tuple((name, unit, flag, why) for name, (_, _, unit, flag, why) in read.items())
    return Shape(quantities, len(first), len(last), borders)
