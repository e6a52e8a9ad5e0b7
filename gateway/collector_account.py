"""Which of a station's records this collector has written: one bit for each sequence number. Pure.

    block 17 of station kyia-1:  numbers 17408 … 18431, 1024 bits = 128 bytes
    collected,station=kyia-1,node=centre-1 block=17i,seen="////…8=" 1795428000000000017

The bits go into the database in the same request as the points, so that they say neither more nor less than
what is there, whatever dies when. Each collector writes its own (tag `node`); together, by OR, they are what
the centre has. A point is told by its time, which here is the moment when this collector first met the block
(ms), with the block's number as nanoseconds.

What a station says it has handed over (`sent` in its status: so many records in the numbers above `since` up
to `upto`) is held against the bits: what is missing is then known exactly, also where a station does not send
everything it records. Where every number is sent, the holes themselves say which.
"""

from __future__ import annotations

import base64
import binascii
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from gateway.influx_lines import escaped

BLOCK = 1024
"""Numbers in a block; 128 bytes are 172 letters in a line."""
BLOCKS_KEPT = 512
"""Blocks of one station in memory: half a million records, weeks of minute averages."""
REOPEN_MS = 6 * 3_600_000
"""A block that is filled for longer goes on as a new point, with all its bits: so what is written to was
opened lately, and is found by who asks for the last day only.
"""
SEQ_LIMIT = 2**62
MEASUREMENT = "collected"


@dataclass(slots=True)
class _Block:
    opened_ms: int
    bits: int = 0


@dataclass(frozen=True, slots=True)
class Claim:
    """What a station says: of the numbers above `since` up to `upto` it has handed over `records`."""

    since: int
    upto: int
    records: int


@dataclass(slots=True)
class Seen:
    """The numbers of one station that are written."""

    blocks: dict[int, _Block] = field(default_factory=dict)
    floor: int = 0
    """Numbers below are not known any more."""

    def add(self, seq: int, now_ms: int) -> bool:
        """Note the number; False when it was there already."""
        number, bit = divmod(seq, BLOCK)
        block = self.blocks.get(number)
        if block is None:
            block = self.blocks[number] = _Block(now_ms)
            if len(self.blocks) > BLOCKS_KEPT:
                lowest = min(self.blocks)
                del self.blocks[lowest]
                self.floor = (lowest + 1) * BLOCK
        mask = 1 << bit
        if block.bits & mask:
            return False
        if now_ms - block.opened_ms > REOPEN_MS:
            block.opened_ms = now_ms
        block.bits |= mask
        return True

    def remove(self, seq: int) -> None:
        """Take the number back: its record could not be written."""
        number, bit = divmod(seq, BLOCK)
        block = self.blocks.get(number)
        if block is not None:
            block.bits &= ~(1 << bit)

    def count(self, since: int, upto: int) -> int:
        """How many numbers above `since` up to `upto` are there."""
        total = 0
        for number, block in self.blocks.items():
            low, high = max(since + 1 - number * BLOCK, 0), min(upto + 1 - number * BLOCK, BLOCK)
            if low < high:
                total += ((block.bits >> low) & ((1 << (high - low)) - 1)).bit_count()
        return total

    def ends(self) -> tuple[int, int] | None:
        """The lowest and the highest number; None when there is none."""
        full = [number for number, block in self.blocks.items() if block.bits]
        if not full:
            return None
        low, high = min(full), max(full)
        bits = self.blocks[low].bits
        first = low * BLOCK + (bits & -bits).bit_length() - 1
        return first, high * BLOCK + self.blocks[high].bits.bit_length() - 1

    def holes(self, limit: int = 1000) -> list[tuple[int, int]]:
        """The stretches of numbers that are not there, from the lowest to the highest; at most `limit`."""
        ends = self.ends()
        return [] if ends is None else self.absent(*ends, limit)

    def absent(self, first: int, last: int, limit: int) -> list[tuple[int, int]]:
        """The same from `first` to `last`."""
        found: list[tuple[int, int]] = []
        known = sorted(number for number, block in self.blocks.items() if block.bits)
        seq = first
        while seq <= last and len(found) < limit:
            number, bit = divmod(seq, BLOCK)
            block = self.blocks.get(number)
            rest = (block.bits if block else 0) >> bit
            if rest & 1:
                seq += (~rest & (rest + 1)).bit_length() - 1  # over the run of ones
                continue
            if rest:
                ahead = (rest & -rest).bit_length() - 1
            else:  # to the next block that has any: whoever makes up numbers must not keep us counting
                at = bisect_right(known, number)
                ahead = (known[at] * BLOCK if at < len(known) else last + 1) - seq
            ahead = min(ahead, last - seq + 1)
            if found and found[-1][1] == seq - 1:
                found[-1] = (found[-1][0], seq + ahead - 1)
            else:
                found.append((seq, seq + ahead - 1))
            seq += ahead
        return found

    def merge(self, number: int, bits: int, opened_ms: int = 0) -> None:
        """Add what is known of a block from elsewhere."""
        block = self.blocks.setdefault(number, _Block(opened_ms))
        block.opened_ms = max(block.opened_ms, opened_ms)
        block.bits |= bits


class Account:
    """The bits of every station, of one collector (`node`) or, merged, of all."""

    def __init__(self, node: str = "") -> None:
        self.stations: dict[str, Seen] = {}
        self.doubles: dict[str, int] = {}
        """Messages that came although their record was written already, since the start."""
        self._node = escaped(node)
        self._touched: set[tuple[str, int]] = set()

    def add(self, station: str, seq: int, now_ms: int) -> bool:
        """Note a record; False when it is a double."""
        seen = self.stations.get(station)
        if seen is None:
            seen = self.stations[station] = Seen()
        if not seen.add(seq, now_ms):
            self.doubles[station] = self.doubles.get(station, 0) + 1
            return False
        self._touched.add((station, seq // BLOCK))
        return True

    def remove(self, station: str, seq: int) -> None:
        """A record could not be written after all."""
        if station in self.stations:
            self.stations[station].remove(seq)
            self._touched.add((station, seq // BLOCK))

    def lines(self) -> Iterator[str]:
        """Line protocol, in ns, of the blocks that changed since `written`."""
        for station, number in sorted(self._touched):
            block = self.stations[station].blocks.get(number)
            if block is None:
                continue  # forgotten meanwhile: thousands of newer ones came
            seen = base64.b64encode(block.bits.to_bytes(BLOCK // 8, "little")).decode()
            yield (
                f'{MEASUREMENT},station={escaped(station)},node={self._node} block={number}i,seen="{seen}" '
                f"{block.opened_ms * 1_000_000 + number % 1_000_000}"
            )

    def written(self) -> None:
        """What `lines` gave is in the database."""
        self._touched.clear()

    def merge(self, station: str, number: object, seen: object, opened_ms: int) -> bool:
        """Add a block as it stands in the database; False when it is none."""
        if not isinstance(number, int) or not isinstance(seen, str) or not 0 <= number < SEQ_LIMIT // BLOCK:
            return False
        try:
            octets = base64.b64decode(seen, validate=True)
        except (binascii.Error, ValueError):
            return False
        if len(octets) != BLOCK // 8:
            return False
        seen_of = self.stations.setdefault(station, Seen())
        seen_of.merge(number, int.from_bytes(octets, "little"), opened_ms)
        return True


def missing(seen: Seen, claims: Sequence[Claim]) -> int | None:
    """How many of the records that the station says it has handed over are not there; None when nothing can
    be said. `claims` has what it said, the latest last.

    Two claims with one beginning say what was handed over between them, which serves where the first numbers
    are not known here any more.
    """
    if not claims:
        return None
    last = claims[-1]
    if last.since >= seen.floor - 1:
        return max(last.records - seen.count(last.since, last.upto), 0)
    for claim in claims[:-1]:
        if claim.since == last.since and claim.upto >= seen.floor - 1:
            return max(last.records - claim.records - seen.count(claim.upto, last.upto), 0)
    return None


def claim_of(health: Mapping[str, object]) -> Claim | None:
    """The claim in the health of a status message; None when there is none, or none that makes sense."""
    found: object = health
    for key in ("sinks", "mqtt", "sent"):
        found = found.get(key) if isinstance(found, Mapping) else None
    if not isinstance(found, list | tuple) or len(found) != 3:
        return None
    if not all(isinstance(n, int) and not isinstance(n, bool) and 0 <= n < SEQ_LIMIT for n in found):
        return None
    since, upto, records = found
    return Claim(since, upto, records) if since <= upto and records <= upto - since else None


def total(parts: Iterable[tuple[int, int]]) -> int:
    """How many numbers there are in some stretches."""
    return sum(last - first + 1 for first, last in parts)
