"""Disks as a power cut may have left them, from what tests/crash/recorder.c recorded.

The model is that of the page cache over an SD card: a file's data is safe once the file was synced, a name
once its directory was (or, in the kinder mixtures, at once). Of what came after, each 512-byte sector is on
the card as it was after any one of the writes since, independently of its neighbours; so is the file's
length, and room that was gained but never written reads as zeros.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

SECTOR = 512
_HEAD = struct.Struct("<cIQI")
Disk = dict[str, bytes]
"""File names and contents."""


@dataclass(frozen=True, slots=True)
class Op:
    kind: str
    file: int
    at: int
    data: bytes

    @property
    def mark(self) -> dict[str, Any]:
        return dict(json.loads(self.data))


def read_log(path: Path) -> list[Op]:
    data, at, ops = path.read_bytes(), 0, []
    while at < len(data):
        kind, file, where, length = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        ops.append(Op(kind.decode(), file, where, data[at : at + length]))
        at += length
    return ops


@dataclass(slots=True)
class _File:
    now: bytearray = field(default_factory=bytearray)
    synced: bytes = b""
    since: list[Op] = field(default_factory=list)
    """Writes and changes of length since the last sync."""
    ever: bool = False
    """Whether it was synced at all."""


class Card:
    """Takes the recorded operations one by one, and gives the disks that a cut at this moment may leave."""

    def __init__(self, start: Disk) -> None:
        self._files: dict[int, _File] = {}
        self._names: dict[str, int] = {}
        self._synced_names: dict[str, int] = {}
        self._start = dict(start)
        for number, (name, data) in enumerate(start.items(), 1):
            self._files[-number] = _File(bytearray(data), data, [], True)
            self._names[name] = self._synced_names[name] = -number

    def apply(self, op: Op) -> None:
        if op.kind == "C":
            self._files[op.file] = _File()
            self._names[op.data.decode()] = op.file
        elif op.kind == "O":
            name = op.data.decode()
            old = self._names[name]
            self._files[op.file] = self._files.pop(old)
            self._names[name] = op.file
            for names in (self._names, self._synced_names):
                for known, number in names.items():
                    if number == old:
                        names[known] = op.file
        elif op.kind in "WT":
            file = self._files[op.file]
            _do(file.now, op)
            file.since.append(op)
        elif op.kind == "S":
            file = self._files[op.file]
            file.synced, file.since, file.ever = bytes(file.now), [], True
        elif op.kind == "D":
            self._synced_names = dict(self._names)
        elif op.kind == "U":
            del self._names[op.data.decode()]
        elif op.kind == "R":
            old_name, new_name = op.data.decode().split("\0")
            self._names[new_name] = self._names.pop(old_name)

    def whole(self) -> Disk:
        """Everything that was done is there: what a killed process leaves, and a disk that keeps order."""
        return {name: bytes(self._files[number].now) for name, number in self._names.items()}

    def synced(self) -> Disk:
        """Only what was synced is there."""
        return {name: self._files[number].synced for name, number in self._synced_names.items()}

    def torn(self, random: Random) -> Disk:
        """Of what was not synced some sectors are there, as they were at some time since."""
        names = self._synced_names
        if random.random() < 0.7:
            names = self._names  # as ext4 does: a synced file has its name
        style = random.choice(("any", "ends", "one missing", "one there"))
        return {name: _torn(self._files[number], style, random) for name, number in names.items()}


def _do(data: bytearray, op: Op) -> None:
    if op.kind == "T":
        del data[op.at :]
        data.extend(bytes(op.at - len(data)))
    else:
        if len(data) < op.at:
            data.extend(bytes(op.at - len(data)))
        data[op.at : op.at + len(op.data)] = op.data


def _torn(file: _File, style: str, random: Random) -> bytes:
    base, since = bytearray(file.synced), file.since
    shorter = [i for i, op in enumerate(since) if op.kind == "T"]
    if shorter and random.random() < 0.5:  # a change of length got through, and with it what was before
        for op in since[: shorter[-1] + 1]:
            _do(base, op)
        since = since[shorter[-1] + 1 :]
    writes = [op for op in since if op.kind == "W"]
    if not writes:
        return bytes(base)
    ends = [max(op.at + len(op.data) for op in writes[: i + 1]) for i in range(len(writes))]
    size = max(len(base), random.choice([0, ends[-1], *ends]))
    sectors = {s for op in writes for s in range(op.at // SECTOR, (op.at + len(op.data) - 1) // SECTOR + 1)}
    odd = random.choice(sorted(sectors))
    upto: dict[int, int] = {}
    for sector in sorted(sectors):
        if style == "any":
            upto[sector] = random.randint(0, len(writes))
        elif style == "ends":
            upto[sector] = random.choice((0, len(writes)))
        else:
            upto[sector] = len(writes) if (sector == odd) == (style == "one there") else 0
    base.extend(bytes(size - len(base)))
    for number, op in enumerate(writes):
        end = op.at + len(op.data)
        for sector in range(op.at // SECTOR, (end - 1) // SECTOR + 1):
            if number < upto[sector]:
                first, last = max(op.at, sector * SECTOR), min(end, (sector + 1) * SECTOR, size)
                if first < last:
                    base[first:last] = op.data[first - op.at : last - op.at]
    return bytes(base)
