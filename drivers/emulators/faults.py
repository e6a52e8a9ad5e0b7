"""Faults planted between an emulated instrument and its reader: by a schedule, by chance, or one by one.

In text, as `suuaba simulate --faults` takes it, faults stand between spaces or commas:

    KIND[=AMOUNT]:TARGET@WHEN

    dead:turb1@30+60          turb1 is without power from second 30, for 60 s
    noise:river@0.05          one answer in twenty on the port "river" comes with rubbish around it
    late=1.5:ph1@0.1@60+30    between second 60 and 90 one answer in ten of ph1 comes 1.5 s late
    unplug:dust1@120+15       the port "dust1" is pulled out at second 120 and put back 15 s later

TARGET is an instrument, a port, or `*` for all. WHEN is a window (`START+LENGTH` in seconds, `30+` without an
end), a probability (0 to 1), or both; without WHEN the fault stands all the time. `KINDS` says what each kind
does. The same seed and the same answers give the same faults.
"""

from __future__ import annotations

import difflib
import math
import random
import re
from dataclasses import dataclass, field

# kind: (what it does, what AMOUNT means, its default)
KINDS: dict[str, tuple[str, str, float]] = {
    "dead": ("hears nothing and says nothing, as without power", "", 0),
    "silence": ("hears, but the answer never comes", "", 0),
    "truncated": ("the answer breaks off", "part that comes, 0 to 1", 0.6),
    "garbled": ("bits of the answer flip", "number of bits", 2),
    "dribble": ("the answer comes byte by byte", "pause between bytes in s", 0.005),
    "noise": ("rubbish before and behind the answer", "most bytes on each side", 6),
    "stray": ("one 00 or FF before the answer, as at the turn-around of a line without bias", "", 0),
    "wrong-unit": ("the answer is signed with another unit's address", "added to the address", 1),
    "late": ("the answer comes after the reader has given up", "delay in s", 1.5),
    "exception": ("a Modbus exception instead of the answer", "exception code", 6),
    "echo": ("the adapter hears itself: what was sent comes back first", "", 0),
    "swapped": ("A and B are exchanged: nobody understands; a 00 comes for each request", "", 0),
    "floating": ("a line without bias: rubbish after each request, at any rate", "most bytes", 6),
    "unplug": ("the port disappears, and comes back at the end of the window", "", 0),
}
_READABLE = frozenset(
    {"dribble", "noise", "stray", "echo", "floating"}
)  # the numbers still reach a careful reader
_WINDOW_ONLY = frozenset({"dead", "unplug"})
_NOT_ON_ANSWERS = frozenset({"dead", "echo", "swapped", "floating", "unplug"})

_TEXT = re.compile(r"(?P<kind>[a-z-]+)(?:=(?P<amount>[^:@]*))?:(?P<target>[^@:]+)(?P<when>(?:@[^@]*)*)")
FAULTS_LIMIT = 1000


class BadFault(ValueError):
    """A fault's text that cannot be understood: one line that says where and what is allowed."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One planted fault. Times are seconds since the station started."""

    kind: str
    target: str
    start_s: float = 0.0
    length_s: float = math.inf
    probability: float = 1.0
    amount: float | None = None
    times: int | None = None
    """At most so many answers; None for no limit."""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            close = difflib.get_close_matches(self.kind, KINDS, n=1, cutoff=0.5)
            raise BadFault(
                f"no fault {self.kind!r}: "
                + (f"did you mean {close[0]!r}? " if close else "")
                + f"there are {', '.join(KINDS)}"
            )
        if self.kind in _WINDOW_ONLY and self.probability != 1.0:
            raise BadFault(f"{self.kind}: wants a window, START+LENGTH, and no probability")

    def stands(self, now_s: float) -> bool:
        return self.start_s <= now_s < self.start_s + self.length_s

    def size(self) -> float:
        return KINDS[self.kind][2] if self.amount is None else self.amount


@dataclass(frozen=True, slots=True)
class Treated:
    """An answer after its faults: pieces of (pause before, bytes), the delay, what befell it."""

    pieces: tuple[tuple[float, bytes], ...]
    late_s: float = 0.0
    faults: tuple[str, ...] = ()

    @property
    def spoiled(self) -> bool:
        return any(kind not in _READABLE for kind in self.faults)


@dataclass(slots=True)
class _Planted:
    fault: Fault
    rng: random.Random
    left: int | None


@dataclass
class Faults:
    """All planted faults of a station, one object for all ports.

    Not thread-safe: plant from the ports' loop.
    """

    planned: tuple[Fault, ...] = ()
    seed: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    """How often each kind was applied."""

    def __post_init__(self) -> None:
        self._planted: list[_Planted] = []
        for fault in self.planned:
            self._add(fault)

    def plant(self, kind: str, target: str, *, times: int | None = 1, amount: float | None = None) -> None:
        """Plant a fault now: the next `times` answers of `target` get it (None: until `clear`).

        Raises BadFault.
        """
        self._add(Fault(kind, target, amount=amount, times=times))

    def clear(self, target: str | None = None) -> None:
        """Take out the faults of a target, or all."""
        self._planted = [p for p in self._planted if target is not None and p.fault.target != target]

    def dead(self, name: str, port: str, now_s: float) -> bool:
        """Whether the instrument has no power."""
        return any(self._hits(p, name, port, now_s, "dead") for p in self._planted)

    def echoes(self, port: str, names: tuple[str, ...], now_s: float) -> bool:
        """Whether what the host sends now comes back to it."""
        for p in self._planted:
            if any(self._hits(p, name, port, now_s, "echo") for name in names) and self._chance(p):
                return True
        return False

    def swapped(self, port: str, names: tuple[str, ...], now_s: float) -> bool:
        """Whether A and B of this port, or of an instrument on it, are exchanged."""
        return any(self._hits(p, name, port, now_s, "swapped") for p in self._planted for name in names)

    def floats(self, port: str, names: tuple[str, ...], now_s: float) -> bytes:
        """What a line without bias makes of the turn-around after a request."""
        for p in self._planted:
            if any(self._hits(p, name, port, now_s, "floating") for name in names) and self._chance(p):
                return p.rng.randbytes(p.rng.randint(3, max(3, int(p.fault.size()))))
        return b""

    def unplugs(self, port: str) -> list[Fault]:
        """When this port is pulled out and put back."""
        return [p.fault for p in self._planted if p.fault.kind == "unplug" and p.fault.target in (port, "*")]

    def treat(self, name: str, port: str, data: bytes, now_s: float) -> Treated:
        """Do to an answer what is planted for it at `now_s`."""
        if not self._planted:
            return Treated(((0.0, data),))
        done: list[str] = []
        before, behind, late_s, dribble_s = b"", b"", 0.0, 0.0
        for p in self._planted:
            kind = p.fault.kind
            if kind in _NOT_ON_ANSWERS or not self._hits(p, name, port, now_s, kind) or not self._chance(p):
                continue
            done.append(kind)
            size = p.fault.size()
            if kind == "silence":
                data = b""
            elif kind == "truncated":
                data = data[: min(len(data) - 1, int(len(data) * size))] if data else data
            elif kind == "garbled":
                data = flipped(data, p.rng, int(size))
            elif kind == "wrong-unit":
                data = signed_by_another(data, int(size))
            elif kind == "exception":
                data = exception_instead(data, int(size))
            elif kind == "noise":
                before += p.rng.randbytes(p.rng.randint(1, max(1, int(size))))
                behind += p.rng.randbytes(p.rng.randint(1, max(1, int(size))))
            elif kind == "stray":
                before += p.rng.choice((b"\x00", b"\xff"))
            elif kind == "late":
                late_s += size
            elif kind == "dribble":
                dribble_s = size
        whole = before + data + behind
        if dribble_s:
            pieces = tuple((dribble_s if i else 0.0, whole[i : i + 1]) for i in range(len(whole)))
        else:
            pieces = ((0.0, whole),) if whole else ()
        return Treated(pieces, late_s, tuple(done))

    def _add(self, fault: Fault) -> None:
        if len(self._planted) >= FAULTS_LIMIT:
            raise BadFault(f"more than {FAULTS_LIMIT} faults")
        rng = random.Random(f"{self.seed} {fault} {len(self._planted)}")
        self._planted.append(_Planted(fault, rng, fault.times))

    @staticmethod
    def _hits(p: _Planted, name: str, port: str, now_s: float, kind: str) -> bool:
        fault = p.fault
        return (
            fault.kind == kind and fault.target in (name, port, "*") and fault.stands(now_s) and p.left != 0
        )

    def _chance(self, p: _Planted) -> bool:
        if p.fault.probability < 1.0 and p.rng.random() >= p.fault.probability:
            return False
        if p.left is not None:
            p.left -= 1
        self.counts[p.fault.kind] = self.counts.get(p.fault.kind, 0) + 1
        return True


def parse(text: str, targets: tuple[str, ...] = ()) -> tuple[Fault, ...]:
    """Read faults from their text form.

    With `targets` any other instrument or port is a mistake. Raises BadFault.
    """
    return tuple(_one(word, targets) for word in re.split(r"[\s,]+", text.strip()) if word)


def _one(text: str, targets: tuple[str, ...]) -> Fault:
    found = _TEXT.fullmatch(text)
    if not found:
        raise BadFault(f"{text}: not KIND:TARGET@WHEN, as in dead:turb1@30+60 or noise:river@0.05")
    target = found["target"]
    if targets and target != "*" and target not in targets:
        close = difflib.get_close_matches(target, targets, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise BadFault(
            f"{text}: no instrument or port {target!r}: {hint}there are {', '.join(targets)} and *"
        )
    start_s, length_s, probability = 0.0, math.inf, 1.0
    seen: set[str] = set()
    for when in found["when"].split("@")[1:]:
        start, plus, length = when.partition("+")
        what = "window" if plus else "probability"
        if what in seen:
            raise BadFault(f"{text}: two of one kind after @: one window and one probability at most")
        seen.add(what)
        if plus:
            start_s = _number(text, start, "a start in s", 0, math.inf)
            length_s = _number(text, length, "a length in s", 0, math.inf) if length else math.inf
        else:
            probability = _number(text, when, "a probability from 0 to 1, or a window START+LENGTH", 0, 1)
    amount = None
    if found["amount"] is not None:
        meaning = KINDS[found["kind"]][1] if found["kind"] in KINDS else "amount"
        if not meaning:
            raise BadFault(f"{text}: {found['kind']} takes no amount")
        amount = _number(text, found["amount"], meaning, 0, 1 if "0 to 1" in meaning else 10_000)
    try:
        return Fault(found["kind"], target, start_s, length_s, probability, amount)
    except BadFault as e:
        raise BadFault(f"{text}: {e}") from None


def _number(text: str, word: str, what: str, low: float, high: float) -> float:
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if not (low <= value <= high and math.isfinite(value)):
        raise BadFault(f"{text}: {word!r} is not {what}")
    return value


# ── what can be done to bytes ──────────────────────────────────────────────────────────────────────────────


def flipped(data: bytes, rng: random.Random, bits: int) -> bytes:
    """`data` with `bits` different bits flipped."""
    out = bytearray(data)
    for at in rng.sample(range(len(data) * 8), min(max(bits, 1), len(data) * 8)):
        out[at // 8] ^= 1 << (at % 8)
    return bytes(out)


def signed_by_another(data: bytes, added: int) -> bytes:
    """The Modbus answer as from another unit, its check sum right; elsewhere the first byte is changed."""
    if not data:
        return data
    if _is_rtu(data):
        body = bytes([(data[0] + added) & 0xFF]) + data[1:-2]
        return body + _crc16(body)
    at = 6 if _is_tcp(data) else 0
    return data[:at] + bytes([(data[at] + added) & 0xFF]) + data[at + 1 :]


def exception_instead(data: bytes, code: int) -> bytes:
    """A Modbus exception in place of this answer; an instrument without Modbus says nothing."""
    if _is_rtu(data):
        body = bytes([data[0], data[1] | 0x80, code & 0xFF])
        return body + _crc16(body)
    if _is_tcp(data):
        return data[:4] + b"\x00\x03" + bytes([data[6], data[7] | 0x80, code & 0xFF])
    return b""


def _is_rtu(data: bytes) -> bool:
    return len(data) >= 4 and _crc16(data[:-2]) == data[-2:]


def _is_tcp(data: bytes) -> bool:
    return len(data) >= 8 and data[2:4] == b"\x00\x00" and int.from_bytes(data[4:6], "big") == len(data) - 6


def _crc16(data: bytes) -> bytes:
    """CRC-16/MODBUS (Modbus over Serial Line V1.02, section 6.2.2), low byte first.

    A second one beside drivers.modbus on purpose: the emulators' side must not share its mistakes.
    """
    crc = 0xFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ 0xA001 if crc & 1 else crc >> 1
    return crc.to_bytes(2, "little")
