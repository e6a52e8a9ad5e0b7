"""The SIM and the network behind an emulated modem: what is stored, what is on its way, what was taken.

Sources: 3GPP TS 27.005, 3.1 (memories), 3.4.1 (+CMTI, +CDSI, +CDS); 3GPP TS 23.040, 9.2.2.3 (reports).
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from drivers.emulators.sms import Submitted, make_delivers, make_report


@dataclass(frozen=True, slots=True)
class EmulatedSms:
    """A whole message as the network has it."""

    to: str
    text: str
    parts: int
    alphabet: str
    at_s: float


@dataclass(slots=True)
class Stored:
    """A place in the store: `status` 0 unread, 1 read (27.005, 3.1)."""

    status: int
    pdu: bytes


class SimAndNetwork:
    """What outlives the restarts of an emulated modem. Every public attribute may be set at any time."""

    def __init__(self, on_sms: Callable[[EmulatedSms], None] | None) -> None:
        self.on_sms = on_sms
        self.sent: list[EmulatedSms] = []
        self.submitted: list[Submitted] = []
        """Every part that the network took, in order."""
        self.sim = True
        self.pin = ""
        """The PIN that the SIM wants, or empty. `tries_left` counts down; at 0 the SIM wants its PUK."""
        self.tries_left = 3
        self.capacity = {"SM": 20, "ME": 50}
        self.store: dict[str, dict[int, Stored]] = {"SM": {}, "ME": {}}
        self.report_after_s: float | None = 0.1
        """Delivery reports come so long after a part was taken; None for never."""
        self.report_status = 0
        self._unlocked = False
        self._partial: dict[tuple[str, int, int], dict[int, Submitted]] = {}
        self._later: list[tuple[float, int, Callable[[float], bytes]]] = []
        self._count = 0
        self._outside: deque[Callable[[float], bytes]] = deque()
        self._in_network: deque[tuple[bytes, bool]] = (
            deque()
        )  # kept while the store is full: (PDU, is a report)
        self.wake: Callable[[], None] = lambda: None
        """Called when something was put in from outside; who puts the emulator on a port sets it."""
        self._forget_settings()

    def receive(self, sender: str, text: str, *, reference: int = 1, only: int | None = None) -> None:
        """A message comes from the network, which keeps it while the store is full.

        `only`: only this part of it arrives.
        """

        def arrive(now_s: float) -> bytes:
            pdus = make_delivers(sender, text, reference, now_s)
            return b"".join(self._keep(p, False) for i, p in enumerate(pdus, 1) if only in (None, i))

        self._from_outside(arrive)

    def receive_pdu(self, pdu: bytes) -> None:
        """Any octets come as a stored message: for hostile ones."""
        self._from_outside(lambda _: self._keep(pdu, False))

    # ── for the modem ───────────────────────────────────────────────────────────────────────────────────────

    def _from_outside(self, act: Callable[[float], bytes]) -> None:
        self._outside.append(act)
        self.wake()

    def _forget_settings(self) -> None:
        self._cnmi = [0, 0, 0, 0, 0]
        self._memory = ["SM", "SM", "SM"]
        self._unlocked = False

    def _ready(self) -> bool:
        return self.sim and (not self.pin or self._unlocked)

    def _at(self, at_s: float, act: Callable[[float], bytes]) -> int:
        self._count += 1
        heapq.heappush(self._later, (at_s, self._count, act))
        return self._count

    def _drop(self, count: int) -> None:
        self._later = [entry for entry in self._later if entry[1] != count]
        heapq.heapify(self._later)

    def _next(self, now_s: float) -> Callable[[float], bytes] | None:
        return heapq.heappop(self._later)[2] if self._later and self._later[0][0] <= now_s else None

    def _room_again(self) -> None:
        """Messages were deleted: the network delivers what it kept."""
        kept = [self._in_network.popleft() for _ in range(len(self._in_network))]
        if kept:
            self._from_outside(lambda _: b"".join(self._keep(pdu, report) for pdu, report in kept))

    def _accept(self, part: Submitted, mr: int, now_s: float) -> None:
        self.submitted.append(part)
        parts = self._partial.setdefault((part.to, part.reference, part.total), {})
        parts[part.number] = part
        if len(parts) == part.total:
            del self._partial[part.to, part.reference, part.total]
            text = "".join(parts[i].text for i in sorted(parts))
            sms = EmulatedSms(part.to, text, part.total, part.alphabet, now_s)
            self.sent.append(sms)
            if self.on_sms is not None:
                self.on_sms(sms)
        if part.report and self.report_after_s is not None:
            status = self.report_status

            def report(at_s: float) -> bytes:
                return self._keep(make_report(mr, part.to, status, now_s, at_s), True)

            self._at(now_s + self.report_after_s, report)

    def _keep(self, pdu: bytes, is_report: bool) -> bytes:
        """A message or report from the network: stored and announced, or passed on, as +CNMI says."""
        if is_report and self._cnmi[3] == 0:
            return b""
        if is_report and self._cnmi[3] == 1:
            return f"\r\n+CDS: {len(pdu) - 1 - pdu[0]}\r\n{pdu.hex().upper()}\r\n".encode()
        memory = self._memory[2]
        store = self.store[memory]
        if len(store) >= self.capacity[memory] or not self._ready():
            self._in_network.append((pdu, is_report))
            return b""
        place = next(i for i in range(1, self.capacity[memory] + 1) if i not in store)
        store[place] = Stored(0, pdu)
        if not (is_report or self._cnmi[1]):
            return b""
        return f'\r\n+{"CDSI" if is_report else "CMTI"}: "{memory}",{place}\r\n'.encode()
