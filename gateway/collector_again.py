"""Asking stations to send once more what a broker had acknowledged to them and then forgot.

    claims   … 18180: 900 handed over … 18240: 960 handed over       the station's status, each minute
    bits     18181 … 18240: 54 of those 60 are there
    asked    suuaba/1/kyia-1/again {"numbers":[[18200,18203],[18230,18231]]}

What waits at the broker for a collector that is away, or in a queue, is late and not lost; so a hole is asked
for only when it is there after `after_ms` as it was before, then after twice as long, and twice that again.
Every collector looks; each hears what the others ask for, and does not ask for the same. Stations that record
more than they send have holes that nobody misses: what is missing is told by the station's own counts
(gateway.collector_account), and only between two of these that do not add up is anything asked for.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from typing import TYPE_CHECKING

from gateway.collector_account import Claim, Seen, total
from gateway.follow_again import NUMBERS, STRETCHES
from gateway.mqtt_messages import AgainMessage, encode

if TYPE_CHECKING:
    from gateway.collector import Collector

LONGEST_MS = 86_400_000
STATIONS = 200
"""Asked in one look at most."""
HOLES = 1000
"""Between two claims, at most; the later ones come another time."""

Stretch = tuple[int, int]
"""First and last number."""


@dataclass(slots=True)
class _Noticed:
    """The holes of a station as they were first seen."""

    at_ms: int
    holes: list[Stretch] = field(default_factory=list)
    times: int = 0
    """How often it was asked since all was there."""


class Asking:
    """What to ask of whom, look by look."""

    def __init__(self, after_ms: float) -> None:
        self._after_ms = after_ms
        self._noticed: dict[str, _Noticed] = {}

    def heard(self, station: str, now_ms: int) -> None:
        """Somebody has asked this station."""
        noticed = self._noticed.get(station)
        if noticed is not None:
            noticed.at_ms = now_ms

    def look(
        self, now_ms: int, stations: Iterable[tuple[str, Seen, Sequence[Claim]]]
    ) -> Mapping[str, list[Stretch]]:
        """What to ask now, of the stations that are online: number stretches by station."""
        asked: dict[str, list[Stretch]] = {}
        for station, seen, claims in stations:
            holes = lacking(seen, claims)
            if not holes:
                self._noticed.pop(station, None)
                continue
            noticed = self._noticed.setdefault(station, _Noticed(now_ms, holes))
            wait_ms = min(self._after_ms * 2.0**noticed.times, LONGEST_MS)
            if now_ms - noticed.at_ms < wait_ms or len(asked) >= STATIONS:
                continue
            if still := common(noticed.holes, holes):
                asked[station] = few(still)
                noticed.times = min(noticed.times + 1, 20)
            noticed.at_ms, noticed.holes = now_ms, holes
        return asked


async def ask(collector: Collector, after_s: float, now_ms: Callable[[], int]) -> None:
    """Look, and ask, until cancelled. What is still in our own hands is not looked at."""
    while True:
        await asyncio.sleep(after_s * (0.5 + random.random()) / 2)
        if collector.inbox.busy or not collector.inbox.connected or collector.trouble:
            continue
        try:
            whole = await asyncio.to_thread(collector.everybody)
        except OSError:
            continue  # whoever writes says so
        online = [
            (station, whole.stations.get(station) or nothing_of(standing.claims), standing.claims)
            for station, standing in collector.points.standing.items()
            if standing.state == "online"
        ]
        for station, numbers in collector.asking.look(now_ms(), online).items():
            collector.inbox.ask(station, encode(AgainMessage(numbers)))
            collector.counts.asked += 1


def nothing_of(claims: Sequence[Claim]) -> Seen:
    """A station of which nothing is there: all of it may be lost, or this centre may be new. What one request
    holds is asked for; of a longer past only what it handed over since we listen.
    """
    last = claims[-1] if claims else Claim(0, 0, 0)
    return Seen(floor=(last.since if last.upto - last.since <= NUMBERS else claims[0].upto) + 1)


def lacking(seen: Seen, claims: Sequence[Claim]) -> list[Stretch]:
    """The numbers among which something is missing: between two claims that do not add up, what is not there.

    Exact where a station sends all that it records; else some of it was never sent, and never will be.
    """
    found: list[Stretch] = []
    for since, told in groupby(claims, key=lambda claim: claim.since):  # it counts anew after each start
        known = [claim for claim in (Claim(since, since, 0), *told) if claim.upto >= seen.floor - 1]
        if len(known) < 2 or not _short(seen, known[0], known[-1]):
            continue
        for before, claim in pairwise(known):
            if _short(seen, before, claim):
                found += seen.absent(before.upto + 1, claim.upto, HOLES)
    return _in_order(found)


def _short(seen: Seen, before: Claim, claim: Claim) -> bool:
    return claim.records - before.records > seen.count(before.upto, claim.upto)


def _in_order(stretches: list[Stretch]) -> list[Stretch]:
    found: list[Stretch] = []
    for first, last in sorted(stretches):
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(found[-1][1], last))
        else:
            found.append((first, last))
    return found


def common(one: Sequence[Stretch], other: Sequence[Stretch]) -> list[Stretch]:
    """What lies in both; each is in order and without overlaps."""
    found: list[Stretch] = []
    i = j = 0
    while i < len(one) and j < len(other):
        first, last = max(one[i][0], other[j][0]), min(one[i][1], other[j][1])
        if first <= last:
            found.append((first, last))
        if one[i][1] < other[j][1]:
            i += 1
        else:
            j += 1
    return found


def few(stretches: Sequence[Stretch]) -> list[Stretch]:
    """As many as a station takes at once: the nearest become one, the latest are left for later."""
    left = list(stretches)
    while len(left) > STRETCHES:
        at = min(range(len(left) - 1), key=lambda i: left[i + 1][0] - left[i][1])
        left[at : at + 2] = [(left[at][0], left[at + 1][1])]
    while len(left) > 1 and total(left) > NUMBERS:
        left.pop()
    return left
