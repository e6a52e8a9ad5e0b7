"""Sensirion SPS30 dust sensor on its UART (SHDLC frames; pin SEL left open).

115200 8N1, alone on its wire, address 0. It does not stream: it is started, then asked once a second or less
often. A real answer to "read measured values" (7E 00 03 00 FC 7E), as it comes from the wire:

    7E 00 03 00 28 41 20 00 00 41 48 00 00 41 54 00 00 41 60 00 00 42 70 00 00 42 97 00 00
    hh aa cc ss ll pm1........ pm2_5...... pm4........ pm10....... n0_5....... n1_0.......
    42 A0 00 00 42 A0 80 00 42 A1 00 00 3F 20 00 00 A3 7E
    n2_5....... n4_0....... n10........ size....... kk hh

    h  start and stop, 7E        a  address, 0      c  command         l  bytes of data, 0 = no new value yet
    s  state (answers only): bit 7 = look at the status register; the rest = error, 0 = none
    k  checksum: the inverted sum of all bytes from a on, 8 bits
    floats, IEEE 754, high byte first: masses 10.0 12.5 13.25 14.0 ug/m3; particles from 0.3 um up to the size
    60 75.5 80 80.25 80.5 in 1 cm3; typical size 0.625 um

Between the two 7E the bytes 7E 7D 11 13 travel as 7D and the byte XOR 20, the checksum's too. Undo that in
one pass from the left, never by replacing pair after pair: 7D 5D 31 is 7D 31, not 11.

Error 43 to "read" means: not measuring. The sensor was without power, so it is started and warms up again.
Error 28 is said to come with commands that were carried out all the same: a note, no failure. Status
register: bit 5 laser, bit 4 fan: no number is given; bit 21 fan speed: a note.

The fan cleans itself once a week (604800 s), but the counter starts from 0 at each power-up: where the sensor
is switched off between readings, call `clean` about once a week (10 s; the sensor has to be measuring).

Sources: Sensirion SPS30 datasheet V1.0 D1 March 2020, section 5 (frames, commands, states, 1 s) and 4 (modes,
cleaning, status); Sensirion's sensirion-uart-sps30 1.0.0 and sensirion-shdlc-driver (522 bytes, stuffing);
shdlc-sps30 0.1 (bits). Unverified: 30 s of warm-up (the datasheet says 8 to 30 s depending on the dust); how
the bits of the register clear; error 28 (from an issue report).
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from struct import unpack

from drivers.base import (
    GarbledAnswer,
    InstrumentFault,
    Measurement,
    NoAnswer,
    NotReady,
    Quantity,
    RequestRefused,
)
from drivers.dust import warm_up_of
from drivers.link import Line, Link
from drivers.registers import shortest32

LINE = Line(115200, "8N1")

MARK, ESCAPE = 0x7E, 0x7D
STUFFED = frozenset((0x7E, 0x7D, 0x11, 0x13))
LONGEST = 522
"""Both marks, and address, command, state, length, 255 bytes of data and checksum, all of them stuffed."""

START, STOP, MEASURED, SLEEP, WAKE, CLEAN = 0x00, 0x01, 0x03, 0x10, 0x11, 0x56
INTERVAL, INFORMATION, VERSION, STATUS = 0x80, 0xD0, 0xD1, 0xD2
PRODUCT_TYPE, SERIAL_NUMBER = b"\x00", b"\x03"
FLOATS = b"\x01\x03"
NOT_NOW, MAYBE = 0x43, 0x28
ERRORS = {
    0x01: "wrong length of data",
    0x02: "unknown command",
    0x03: "no access right",
    0x04: "illegal parameter",
    NOT_NOW: "not allowed in this state",
}
LASER, FAN, FAN_SPEED = 1 << 5, 1 << 4, 1 << 21

WARM_UP_S = 30.0
ANSWER_WITHIN_S = 0.5
CLEANING_S = 15.0
"""The fan blows for 10 s; the rest is for what it blew out."""
STATUS_EVERY = 60
"""Readings after which the status register is asked for, should bit 7 of the state not tell."""
FAULT_AGAIN_S = 10.0
"""A fault's bits are cleared once told. A fault that is still there sets them again within seconds."""

QUANTITIES = (
    *(Quantity(name, "ug/m3", 1) for name in ("pm1", "pm2_5", "pm4", "pm10")),
    *(Quantity(name, "1/cm3", 1) for name in ("n0_5", "n1_0", "n2_5", "n4_0", "n10")),
    Quantity("typical_particle_size", "um", 2),
)


@dataclass(frozen=True, slots=True)
class Reply:
    """What a sensor's frame says."""

    command: int
    state: int
    data: bytes

    @property
    def error(self) -> int:
        return self.state & 0x7F

    @property
    def flagged(self) -> bool:
        """True where the status register has something to tell."""
        return bool(self.state & 0x80)


def request(command: int, data: bytes = b"") -> bytes:
    """Make a command's frame."""
    body = bytes([0, command, len(data)]) + data
    return _framed(body)


def cut(got: bytes) -> tuple[bytes, int] | None:
    """Find the first whole frame with a good checksum, past any noise."""
    start = got.find(MARK)
    while start >= 0:
        end = got.find(MARK, start + 1)
        if end < 0:
            return None
        if end - start < LONGEST and parse(got[start : end + 1]) is not None:
            return got[start : end + 1], end + 1
        start = end  # what closed the rubbish may open a frame
    return None


def parse(frame: bytes) -> Reply | None:
    """Take an answer's frame apart; None where it is no good."""
    body = unstuff(frame[1:-1])
    if body is None or len(body) < 5 or ~sum(body[:-1]) & 0xFF != body[-1]:
        return None
    if body[0] != 0 or body[3] != len(body) - 5:
        return None
    return Reply(body[1], body[2], body[4:-1])


def stuff(body: bytes) -> bytes:
    """Hide the bytes that mean something to the wire."""
    wire = bytearray()
    for byte in body:
        wire += bytes([ESCAPE, byte ^ 0x20]) if byte in STUFFED else bytes([byte])
    return bytes(wire)


def unstuff(wire: bytes) -> bytes | None:
    """Bring hidden bytes back; None where an escape hides nothing."""
    body = bytearray()
    flip = 0
    for byte in wire:
        if byte == ESCAPE and not flip:
            flip = 0x20
            continue
        if flip and byte ^ flip not in STUFFED:
            return None
        body.append(byte ^ flip)
        flip = 0
    return None if flip else bytes(body)


def decode(data: bytes) -> tuple[dict[str, float], tuple[str, ...]]:
    """Give the numbers in the 40 bytes of a reading, and notes on those that are none."""
    numbers = dict(zip((q.name for q in QUANTITIES), shortest32(unpack(">10f", data)), strict=True))
    bad = tuple(f"{name}: not a number" for name, number in numbers.items() if not math.isfinite(number))
    return {name: number for name, number in numbers.items() if math.isfinite(number)}, bad


class Driver:
    """One SPS30. `warm_up_s`: no number before that, after each start."""

    title = "Sensirion SPS30"
    medium = "air"
    shares_bus = False
    default_address = None
    source = "Sensirion SPS30 datasheet V1.0 (March 2020), section 5"
    verified = "against Sensirion's own driver and framer, and PyPMS 0.8.1; not yet with hardware"
    minimum_period_s = 1.0
    quantities: tuple[Quantity, ...] = QUANTITIES

    def __init__(self, address: int | None = None, *, warm_up_s: float = WARM_UP_S) -> None:
        if address not in (None, 0):
            raise ValueError(f"sps30: the address is always 0, not {address}: leave it out")
        self.warm_up_s = warm_up_of("sps30", warm_up_s)
        self._opened_at_s: float | None = None
        self._started = False
        self._ready_at_s = 0.0  # loop time, as all times here: warm, and cleaned
        self._misses = 0
        self._reads = 0
        self._has_status = True  # firmware before 2.2 may not know the register
        self._fault = ""
        self._fault_at_s = 0.0

    async def read(self, link: Link) -> Measurement:
        """Take one measurement. Blocks at most some 3 s."""
        await self._attach(link)
        if not self._started:
            await self._start(link)
        now_s = asyncio.get_running_loop().time()
        if self._ready_at_s > now_s:
            wait_s = self._ready_at_s - now_s
            raise NotReady(f"warming up or cleaning for another {wait_s:.0f} s", wait_s=wait_s)
        notes = await self._after_a_fault(link)
        reply, frame = await self._ask(link, MEASURED)
        if reply.error == NOT_NOW:
            self._forget()
            await self._start(link)
            raise NotReady("it was not measuring: started again", wait_s=max(self.warm_up_s, 1.0))
        notes += _note(reply)
        self._reads += 1
        if reply.flagged or self._reads % STATUS_EVERY == 0:
            notes += await self._status(link)
        if not reply.data:
            raise NotReady("no new value yet", wait_s=1.0)
        if len(reply.data) != 4 * len(QUANTITIES):  # someone started it with whole numbers
            self._forget()
            raise GarbledAnswer(f"{len(reply.data)} bytes of data instead of {4 * len(QUANTITIES)}", frame)
        values, bad = decode(reply.data)
        return Measurement(values, frame, (*notes, *bad))

    async def identify(self, link: Link) -> dict[str, str]:
        """Give product type, serial number, firmware, hardware and the interval of cleaning."""
        await self._attach(link)
        product = await self._get(link, INFORMATION, PRODUCT_TYPE)
        serial = await self._get(link, INFORMATION, SERIAL_NUMBER)
        version = await self._get(link, VERSION)
        interval = await self._get(link, INTERVAL, b"\x00")
        found = {"product_type": _text(product), "serial": _text(serial)}
        if len(version) >= 4:
            found |= {"firmware": f"{version[0]}.{version[1]}", "hardware": str(version[3])}
        if len(interval) == 4:
            found["cleaning_interval_s"] = str(int.from_bytes(interval, "big"))
        return found

    async def clean(self, link: Link) -> None:
        """Let the fan blow the dust out for 10 s. `read` is NotReady meanwhile."""
        await self._attach(link)
        if not self._started:
            await self._start(link)
        await self._do(link, CLEAN)
        ready_s = asyncio.get_running_loop().time() + CLEANING_S
        self._ready_at_s = max(self._ready_at_s, ready_s)

    async def sleep(self, link: Link) -> None:
        """Stop fan and laser, and the UART where the firmware can. The next `read` starts it again."""
        await self._attach(link)
        self._forget()
        await self._do(link, STOP, fine=(NOT_NOW,))
        await self._do(link, SLEEP, fine=(0x02,))

    async def wake(self, link: Link) -> None:
        """Wake and start the sensor, and the warm-up."""
        await self._attach(link)
        self._forget()
        await self._start(link)

    # ── inside ──────────────────────────────────────────────────────────────────────────────────────────

    async def _attach(self, link: Link) -> None:
        """Open the port. A sensor behind a port opened anew may be freshly powered: forget its state."""
        await link.open()
        if link.opened_at_s != self._opened_at_s:
            self._opened_at_s = link.opened_at_s
            self._forget()

    def _forget(self) -> None:
        self._started = False
        self._fault = ""

    async def _start(self, link: Link) -> None:
        """Start measuring in floats, from any state, and begin the warm-up."""
        try:
            reply, _ = await self._ask(link, START, FLOATS)
        except NoAnswer:  # asleep? A byte FF opens its UART for 100 ms
            await link.send(b"\xff")
            await self._do(link, WAKE, fine=(NOT_NOW,))
            reply, _ = await self._ask(link, START, FLOATS)
        if reply.error == NOT_NOW:  # measuring already, perhaps in another format
            await self._do(link, STOP, fine=(NOT_NOW,))
            await self._do(link, START, FLOATS)
        else:
            _refuse(reply)
        self._started = True
        self._misses = self._reads = 0
        self._ready_at_s = asyncio.get_running_loop().time() + self.warm_up_s

    async def _after_a_fault(self, link: Link) -> tuple[str, ...]:
        """Give no number after a fault until the sensor had the time to find it again, and has not."""
        if not self._fault:
            return ()
        if asyncio.get_running_loop().time() < self._fault_at_s + FAULT_AGAIN_S:
            raise InstrumentFault(self._fault)
        notes = await self._status(link)
        self._fault = ""
        return notes

    async def _status(self, link: Link) -> tuple[str, ...]:
        """Look at the status register. Raises InstrumentFault for laser or fan; notes the fan's speed."""
        if not self._has_status:
            return ()
        reply, _ = await self._ask(link, STATUS, b"\x00")
        if reply.error == 0x02:
            self._has_status = False
            return ()
        _refuse(reply)
        bits = int.from_bytes(reply.data[:4], "big")
        ill = [name for bit, name in ((LASER, "laser"), (FAN, "fan")) if bits & bit]
        if ill:
            self._fault = f"the sensor reports a fault of its {' and its '.join(ill)} (status 0x{bits:08X})"
            self._fault_at_s = asyncio.get_running_loop().time()
            await self._ask(link, STATUS, b"\x01")
            raise InstrumentFault(self._fault)
        return ("fan speed out of range",) if bits & FAN_SPEED else ()

    async def _get(self, link: Link, command: int, data: bytes = b"") -> bytes:
        reply, _ = await self._ask(link, command, data)
        _refuse(reply)
        return reply.data

    async def _do(self, link: Link, command: int, data: bytes = b"", fine: tuple[int, ...] = ()) -> None:
        reply, _ = await self._ask(link, command, data)
        if reply.error not in fine:
            _refuse(reply)

    async def _ask(self, link: Link, command: int, data: bytes = b"") -> tuple[Reply, bytes]:
        """Send a command and get its answer, past late answers to others."""
        await link.send(request(command, data))
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + ANSWER_WITHIN_S
        passed = b""
        while (left_s := deadline_s - loop.time()) > 0:
            try:
                frame = await link.receive_frame(cut, left_s)
            except (NoAnswer, GarbledAnswer) as e:
                if passed:
                    break
                if isinstance(e, GarbledAnswer):
                    raise
                self._misses += 1
                if self._misses >= 2:  # asleep, or without power
                    self._forget()
                raise
            reply = parse(frame)
            if reply is not None and reply.command == command:
                self._misses = 0
                return reply, frame
            passed = frame
        raise GarbledAnswer(
            f"{link.port}: other frames came, not the one asked for: {passed.hex(' ')}", passed
        )


def _framed(body: bytes) -> bytes:
    return bytes([MARK]) + stuff(body + bytes([~sum(body) & 0xFF])) + bytes([MARK])


def _refuse(reply: Reply) -> None:
    """Raise RequestRefused where an answer says that its command was not carried out."""
    if reply.error not in (0, MAYBE):
        meaning = ERRORS.get(reply.error, "unknown error")
        raise RequestRefused(f"command 0x{reply.command:02X}: {meaning} (0x{reply.error:02X})")


def _note(reply: Reply) -> tuple[str, ...]:
    _refuse(reply)
    return (f"state 0x{reply.state:02X}",) if reply.error == MAYBE else ()


def _text(data: bytes) -> str:
    return data.split(b"\0", 1)[0].decode("ascii", "replace").strip()
