"""What a modem has received, without I/O: parts put together, delivery reports matched with what was sent.

The store on the SIM is the memory: parts stay there until their message is whole and has been dealt with, so
a restart loses nothing. What never becomes whole is given out as it is once it is too old or the store is
nearly full.

Sources: 3GPP TS 23.040, 9.2.3.24.1 (concatenation) and 9.2.3.6 (TP-MR). That an 8-bit reference is all there
is to tell messages apart is the standard's weakness: a sender may use one twice.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

from alerts.pdu import Deliver, StatusReport

Place = tuple[str, int]
"""A memory ("SM", "ME") and a place in it."""

WAITING_LIMIT = 512
"""Parts sent whose delivery report is still awaited; older ones are no longer matched."""
GAP = " […] "


@dataclass(frozen=True, slots=True)
class Received:
    """A message that came. `complete` is False when parts are missing; […] stands for them.

    The sender can be forged. `places` is where it lies; it stays there until `Modem.forget`.
    """

    sender: str
    is_name: bool
    text: str
    alphabet: str
    sent_ms: int | None
    complete: bool
    places: tuple[Place, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """A delivery report. `outcome` is "delivered", "waiting" or "failed"; `status` the TP-Status octet.

    `reference` and `part` name our message where it could be matched. `sure` is False where the modem's
    reference was not known and it is the only message to this recipient whose fate was unknown.
    """

    recipient: str
    modem_reference: int
    status: int
    outcome: str
    done_ms: int | None
    reference: int | None
    part: int
    sure: bool
    places: tuple[Place, ...]


def assemble(
    parts: Iterable[tuple[Place, Deliver]],
) -> tuple[list[Received], list[list[tuple[Place, Deliver]]]]:
    """Whole messages in order of their first part, and the groups of parts that are not yet whole."""
    groups: dict[tuple[str, int, int, int], list[tuple[Place, Deliver]]] = {}
    for place, part in parts:
        if part.total == 1:
            groups[part.sender, -1, place[1], hash(place[0])] = [(place, part)]
            continue
        for again in range(256):  # a second, different part of the same number belongs to another message
            group = groups.setdefault((part.sender, part.reference, part.total, again), [])
            same = [p for _, p in group if p.number == part.number]
            if not same or same[0].text == part.text:
                group.append((place, part))
                break
    whole = [g for g in groups.values() if len({p.number for _, p in g}) == g[0][1].total]
    loose = [g for g in groups.values() if len({p.number for _, p in g}) != g[0][1].total]
    return [join(g) for g in whole], loose


def join(group: list[tuple[Place, Deliver]]) -> Received:
    """One message of its parts; what is missing is marked."""
    texts: dict[int, str] = {}
    for _, part in group:
        texts.setdefault(part.number, part.text)
    first = group[0][1]
    numbers = range(1, first.total + 1)
    text = ""
    for n in numbers:
        if n in texts:
            text += texts[n]
        elif n == 1 or n - 1 in texts:
            text += GAP
    stamps = [p.sent_ms for _, p in group if p.sent_ms is not None]
    complete = all(n in texts for n in numbers)
    return Received(
        first.sender, first.is_name, text.strip() if not complete else text, first.alphabet,
        min(stamps, default=None), complete, tuple(place for place, _ in group),
    )  # fmt: skip


class Expected:
    """The parts that were sent with a report wanted. After a restart its owner may fill it again."""

    def __init__(self) -> None:
        self._sent: OrderedDict[tuple[str, int], tuple[int, int]] = OrderedDict()
        self._unknown: OrderedDict[tuple[str, int, int], None] = OrderedDict()

    def sent(self, to: str, modem_reference: int, reference: int, part: int) -> None:
        """A part was taken by the network as `modem_reference`."""
        self._unknown.pop((_tail(to), reference, part), None)
        self._sent[_tail(to), modem_reference] = (reference, part)
        self._sent.move_to_end((_tail(to), modem_reference))
        while len(self._sent) > WAITING_LIMIT:
            self._sent.popitem(last=False)

    def unknown(self, to: str, reference: int, part: int) -> None:
        """A part may have been sent or not."""
        self._unknown[_tail(to), reference, part] = None
        while len(self._unknown) > WAITING_LIMIT:
            self._unknown.popitem(last=False)

    def match(self, report: StatusReport, places: tuple[Place, ...] = ()) -> Report:
        """Say which part a report is about. A final one ends the waiting for it."""
        outcome = report.outcome
        key = (_tail(report.recipient), report.reference)
        reference: int | None = None
        part, sure = 0, True
        if key in self._sent:
            reference, part = self._sent[key]
            if outcome != "waiting":
                del self._sent[key]
        else:
            candidates = [k for k in self._unknown if k[0] == key[0]]
            if len(candidates) == 1:
                (_, reference, part), sure = candidates[0], False
                del self._unknown[candidates[0]]
                if outcome == "waiting":
                    self._sent[key] = (reference, part)
        return Report(
            report.recipient,
            report.reference,
            report.status,
            outcome,
            report.done_ms,
            reference,
            part,
            sure,
            places,
        )


def _tail(number: str) -> str:
    """What two ways to write one number have in common: networks give +996555…, 996555… or 0555…"""
    return number.lstrip("+")[-9:]
