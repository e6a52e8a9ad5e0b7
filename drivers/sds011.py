"""Nova Fitness SDS011 dust sensor (and SDS018, SDS021) on a UART, often with a CH340 USB adapter.

9600 8N1. Real frames: the query, its answer, and an acknowledgement ("sleep" was taken):

    AA B4 04 00 00 00 00 00 00 00 00 00 00 00 00 FF FF 02 AB
    hh cc 1. 2. 3. ----------------------------- iiiii ss tt
    AA C0 BB 00 9C 01 A1 60 59 AB      a  PM2.5 = 0x00BB / 10 = 18.7 ug/m3   LOW BYTE FIRST
    hh cc aaaaa bbbbb iiiii ss tt      b  PM10  = 0x019C / 10 = 41.2 ug/m3
    AA C5 06 01 00 00 A1 60 08 AB
    hh cc 1. 2. 3. -- iiiii ss tt

    h t  AA, AB      c  B4 to the sensor, C0 data, C5 every other answer      1 2 3  command and its data
    i    the sensor's id, here A160; FFFF = any      s  sum of all bytes between c and s, 8 bits

Report mode and working period stay in the sensor's flash over a power cut, so both are read first and written
only where they differ. In "active" mode (from the factory) it streams once a second, and answers to commands
come among the data. Any byte on the wire wakes a sleeping sensor. Both values zero: its first seconds, never
clean air. Ask no more often than every 3 s. The laser is said to live 8000 h: 11 months without a pause.

Sources: Nova Fitness "Laser Dust Sensor Control Protocol" V1.3, sections 1 to 6 (frames, what is
persistent, 3 s, waking); esphome components/sds011; PyPMS pms/sensors/novafitness (frames). Unverified: the
laser's life; that two minutes of zeros mean a fault (our rule); one owner (mkfrey/sds011-esp-raw) saw only
the wake command wake his sensor, so that is what we send first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from drivers.base import (
    GarbledAnswer,
    Measurement,
    NoAnswer,
    NotReady,
    Quantity,
)
from drivers.dust import WarmUp, hear, unasked
from drivers.link import Line, Link

LINE = Line(9600, "8N1")

HEAD, TAIL = 0xAA, 0xAB
DATA, REPLY = 0xC0, 0xC5
LENGTH = 10
ANY = 0xFFFF
MODE, QUERY, WORK, FIRMWARE, PERIOD = 0x02, 0x04, 0x06, 0x07, 0x08
MODES = {"active": 0, "query": 1}

WARM_UP_S = 30.0
ANSWER_WITHIN_S = 1.0
STREAM_WITHIN_S = 3.0
TOO_SOON_S = 2.5
"""The protocol wants 3 s between queries; a schedule of 3 s may come a little early."""


def command(code: int, *data: int, to: int = ANY) -> bytes:
    """Make a command's 19 bytes."""
    body = bytes([code, *data]).ljust(13, b"\0") + to.to_bytes(2, "big")
    return bytes([HEAD, 0xB4]) + body + bytes([sum(body) & 0xFF, TAIL])


def cut(got: bytes) -> tuple[bytes, int] | None:
    """Find the first whole answer with a good sum, past any noise."""
    at = got.find(HEAD)
    while at >= 0:
        frame = got[at : at + LENGTH]
        if len(frame) < 2 or (frame[1] in (DATA, REPLY) and len(frame) < LENGTH):
            return None
        if frame[1] in (DATA, REPLY) and frame[9] == TAIL and sum(frame[2:8]) & 0xFF == frame[8]:
            return frame, at + LENGTH
        at = got.find(HEAD, at + 1)
    return None


def decode(frame: bytes) -> dict[str, float]:
    """Give the numbers of a data frame. Raises NotReady when both are zero."""
    pm2_5, pm10 = int.from_bytes(frame[2:4], "little"), int.from_bytes(frame[4:6], "little")
    if not pm2_5 and not pm10:
        raise NotReady("all zero: the sensor has just started, or its laser or fan stands still")
    return {"pm2_5": pm2_5 / 10, "pm10": pm10 / 10}


def id_of(frame: bytes) -> int:
    """Give the id of the sensor that sent a frame."""
    return int.from_bytes(frame[6:8], "big")


class Driver:
    """One SDS011. With an `address` (its id, 0xA160) only the sensor with this id is listened to.

    `mode`: "query" (we ask) or "active" (it streams). `warm_up_s`: no number before, after each start.
    """

    title = "Nova SDS011, SDS018, SDS021"
    medium = "air"
    shares_bus = False
    default_address = None
    source = "Nova Fitness Laser Dust Sensor Control Protocol V1.3"
    verified = "against PyPMS 0.8.1 and sds011lib 0.4.0; not yet with hardware"
    minimum_period_s = 3.0
    quantities: tuple[Quantity, ...] = (Quantity("pm2_5", "ug/m3", 1), Quantity("pm10", "ug/m3", 1))

    def __init__(
        self, address: int | None = None, *, mode: str = "query", warm_up_s: float = WARM_UP_S
    ) -> None:
        if address is not None and not 0 <= address < ANY:
            raise ValueError(
                f"sds011: address is the sensor's id, 0 to 0xFFFE, not {address}; or leave it out"
            )
        if mode not in MODES:
            raise ValueError(f"sds011: mode is query or active, not {mode!r}")
        self.address = ANY if address is None else address
        self.mode = mode
        self._warm_up = WarmUp("sds011", warm_up_s)
        self._opened_at_s: float | None = None
        self._started = False
        self._answered_at_s: float | None = None
        self._misses = 0
        self._unasked = 0

    async def read(self, link: Link) -> Measurement:
        """Take one measurement. Blocks at most some 6 s. Asked again within 2.5 s it is NotReady."""
        await self._attach(link)
        self._look_for_a_stream(link)
        if not self._started:
            await self._start(link)
        self._warm_up.check()
        frame = await self._data(link)
        try:
            values = decode(frame)
        except NotReady as e:
            raise self._warm_up.zeros(str(e)) from None
        self._warm_up.numbers()
        return Measurement(values, frame)

    async def identify(self, link: Link) -> dict[str, str]:
        """Give firmware date and id. Wakes a sleeping sensor."""
        await self._attach(link)
        frame = await self._ask(link, FIRMWARE)
        year, month, day = frame[3:6]
        return {"firmware": f"20{year:02d}-{month:02d}-{day:02d}", "serial": f"{id_of(frame):04X}"}

    async def sleep(self, link: Link) -> None:
        """Stop fan and laser. The next `read` (or any byte on the wire) wakes the sensor."""
        await self._attach(link)
        self._forget()
        await self._ask(link, WORK, 1, 0)

    async def wake(self, link: Link) -> None:
        """Start fan and laser again, and the warm-up."""
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
        self._warm_up.numbers()
        self._answered_at_s = None

    def _look_for_a_stream(self, link: Link) -> None:
        """A sensor set to queries that streams was exchanged or set otherwise. A late answer is no stream."""
        if self.mode == "active" or not self._started:
            return
        self._unasked += unasked(link, cut, _is_data, late=bool(self._misses))
        if self._unasked >= 2:
            self._forget()

    async def _start(self, link: Link) -> None:
        """Wake the sensor, see to its mode and its working period, and begin the warm-up."""
        await self._ask(link, WORK, 1, 1)
        wanted = MODES[self.mode]
        if (await self._ask(link, MODE, 0))[4] != wanted:
            await self._ask(link, MODE, 1, wanted)
        if (await self._ask(link, PERIOD, 0))[4] != 0:
            await self._ask(link, PERIOD, 1, 0)
        self._started = True
        self._misses = self._unasked = 0
        self._warm_up.begin()

    async def _ask(self, link: Link, code: int, *data: int) -> bytes:
        """Send a command and get its acknowledgement; a second time if the first only woke the sensor."""
        request = command(code, *data, to=self.address)

        def fits(frame: bytes) -> bool:
            # The echoed data tell an answer to "get" from an answer to "set", late ones included.
            return frame[1] == REPLY and frame[2] == code and frame[3 : 3 + len(data)] == bytes(data)

        await link.send(request)
        try:
            return await self._hear(link, fits, ANSWER_WITHIN_S)
        except (NoAnswer, GarbledAnswer):
            await link.send(request)
            return await self._hear(link, fits, ANSWER_WITHIN_S)

    async def _data(self, link: Link) -> bytes:
        """Get one data frame: ask for it, or wait for the next of the stream."""
        loop = asyncio.get_running_loop()
        try:
            if self.mode == "active":
                link.discard()  # what waits in the buffer may be minutes old
                return await self._hear(link, _is_data, STREAM_WITHIN_S)
            if self._answered_at_s is not None and loop.time() - self._answered_at_s < TOO_SOON_S:
                wait_s = self._answered_at_s + self.minimum_period_s - loop.time()
                raise NotReady("asked again too soon: this sensor wants 3 s between queries", wait_s=wait_s)
            await link.send(command(QUERY, to=self.address))
            frame = await self._hear(link, _is_data, ANSWER_WITHIN_S)
        except NoAnswer:
            self._misses += 1
            if self.mode == "active" or self._misses >= 2:  # without power, or gone
                self._forget()
            raise
        self._misses = 0
        self._answered_at_s = loop.time()
        return frame

    async def _hear(self, link: Link, fits: Callable[[bytes], bool], within_s: float) -> bytes:
        """Wait for a frame that fits, past others: acknowledgements arrive among data frames."""
        return await hear(
            link, cut, lambda frame: fits(frame) and self.address in (ANY, id_of(frame)), within_s
        )


def _is_data(frame: bytes) -> bool:
    return frame[1] == DATA
