"""The emulated instruments' own record of what they said: a run of the station is reconciled against it.

One entry for each answer that carries numbers, in the order in which the answers left the wire. With a file
the record is also written as JSON lines, so that another process can read it, and what ends the station does
not touch it:

    {"name":"ph1","port":"river","at_s":8123.417,"utc_ms":1795450000123,"values":{"ph":7.12},"asked":true,
     "spoiled":false,"fault":""}          (one line)
"""

from __future__ import annotations

import json
import os
import threading
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

KEEP = 200_000
"""Entries kept in memory; older ones are forgotten and counted. The file, where there is one, keeps all."""


@dataclass(frozen=True, slots=True)
class Said:
    """One answer with numbers.

    `at_s` is the machine's monotonic clock (CLOCK_MONOTONIC, the same for all processes) when its last byte
    was handed over. `spoiled` says that nobody can have read the numbers: a fault, a collision, nobody
    listening. `fault` names what was planted, also where the numbers could still be read (noise before, a
    dribble, an echo).
    """

    name: str
    port: str
    at_s: float
    utc_ms: int
    values: Mapping[str, float]
    asked: bool
    spoiled: bool
    fault: str


class Record:
    """All answers with numbers. Append-only; may be read from another thread while it grows.

    An entry follows its bytes by a moment: stop the ports, or wait, before counting what a reader got.
    """

    def __init__(self, file: Path | None = None, *, keep: int = KEEP) -> None:
        self.entries: list[Said] = []
        self.forgotten = 0
        self._keep = keep
        self._lock = threading.Lock()
        self._fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644) if file else -1

    def add(self, said: Said) -> None:
        with self._lock:
            self.entries.append(said)
            if len(self.entries) > self._keep:  # a tenth at a time: cutting costs the whole list
                cut = len(self.entries) - self._keep * 9 // 10
                del self.entries[:cut]
                self.forgotten += cut
            if self._fd >= 0:  # one write a line: no reader sees half of one, except at the very end
                os.write(self._fd, json.dumps(asdict(said), separators=(",", ":")).encode() + b"\n")

    def snapshot(self) -> list[Said]:
        """What stands in memory now, as a list of its own."""
        with self._lock:
            return list(self.entries)

    def close(self) -> None:
        """Close the file. Safe to call twice."""
        with self._lock:
            if self._fd >= 0:
                os.close(self._fd)
            self._fd = -1


def load(file: Path) -> list[Said]:
    """Read a record's file; a line torn off at the end is left out.

    Raises OSError; ValueError for other bad lines.
    """
    lines = file.read_bytes().split(b"\n")
    return [Said(**json.loads(line)) for line in lines[:-1]]


def answered(record: Record | Iterable[Said]) -> dict[tuple[str, str], list[tuple[int, float]]]:
    """What could be read: for each (instrument, quantity) the (UTC ms, value) of every unspoiled answer."""
    found: dict[tuple[str, str], list[tuple[int, float]]] = defaultdict(list)
    for said in record.snapshot() if isinstance(record, Record) else record:
        if not said.spoiled:
            for quantity, value in said.values.items():
                found[said.name, quantity].append((said.utc_ms, value))
    return dict(found)
