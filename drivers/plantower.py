"""Plantower dust sensors on a UART: PMS1003, PMS5003, PMS7003, PMSA003, and the PMS5003T with temperature.

9600 8N1, 3.3 V logic, alone on their wire, no address. A real answer, big-endian, 32 bytes:

    42 4D 00 1C 00 0C 00 12 00 15 00 0C 00 12 00 15 09 06 02 8A 00 62 00 0C 00 03 00 01 97 00 02 B5
    hhhhh lllll aaaaa bbbbb ccccc AAAAA BBBBB CCCCC ddddd eeeee fffff ggggg iiiii jjjjj vv EE sssss

    h      42 4D                            l  bytes after here, 28
    a b c  PM1, PM2.5, PM10 as for test dust ("CF=1"), 1 ug/m3     12 18 21   pm1_cf1 pm2_5_cf1 pm10_cf1
    A B C  PM1, PM2.5, PM10 "under atmospheric environment"        12 18 21   pm1 pm2_5 pm10
    d … j  particles LARGER than 0.3 0.5 1 2.5 5 10 um in 0.1 L    2310 … 1   n0_3 … n10 in 1/cm3, so / 100
    v      firmware                         s  sum of all bytes before it, 16 bits
    E      error byte, 0 = none; the maker does not say what its bits mean: any other value is a fault here
    PMS5003T: i temperature, int16, 0.1 degC; j humidity, 0.1 %. Nothing in a frame tells the two apart.

A command is 42 4D, code, two data bytes, 16-bit sum; some are acknowledged: 42 4D 00 04 E1 00 01 74. After
power-up the sensor streams ("active"); we switch it to "passive" and ask, so that no number is older than its
request. A sensor that streams again by itself has been without power: it is set up anew and warms up again.

The counts of a Sensirion SPS30 have the same names but count particles SMALLER than the size: never compare
them. For the EPA's correction of PM2.5 use pm2_5_cf1.

Sources: Plantower PMS5003 data manual V2.3 (appendix I frames, appendix II commands); esphome
components/pmsx003 (30 s, stream intervals, acknowledgements); PyPMS pms/sensors/plantower (PMS5003T, check of
counts). Unverified: the error byte's bits; that two minutes of zeros mean a dead laser or fan (our rule).
"""

from __future__ import annotations

from struct import unpack_from

from drivers.base import (
    GarbledAnswer,
    InstrumentFault,
    Measurement,
    NoAnswer,
    NotReady,
    Quantity,
)
from drivers.dust import WarmUp, hear, unasked
from drivers.link import Line, Link

LINE = Line(9600, "8N1")

HEAD = b"\x42\x4d"
DATA_LENGTH = 32
ACK_LENGTH = 8
WARM_UP_S = 30.0
ANSWER_WITHIN_S = 1.0
STREAM_WITHIN_S = 4.0
"""A streaming sensor speaks every 2.3 s in steady air, every 0.2 to 0.8 s in changing air."""

_MASSES = tuple(
    Quantity(name, "ug/m3", 0) for name in ("pm1_cf1", "pm2_5_cf1", "pm10_cf1", "pm1", "pm2_5", "pm10")
)
_COUNTS = tuple(Quantity(name, "1/cm3", 2) for name in ("n0_3", "n0_5", "n1_0", "n2_5", "n5_0", "n10"))
QUANTITIES: dict[str, tuple[Quantity, ...]] = {
    "pms5003": _MASSES + _COUNTS,
    "pms5003t": (
        *_MASSES,
        *_COUNTS[:4],
        Quantity("air_temperature", "degC", 1),
        Quantity("humidity", "%", 1),
    ),
}
ALSO_PMS5003 = ("pms1003", "pms7003", "pmsa003")
MODES = ("passive", "active")


def command(code: int, data: int = 0) -> bytes:
    """Make a command's seven bytes."""
    body = HEAD + bytes([code, data >> 8, data & 0xFF])
    return body + sum(body).to_bytes(2, "big")


PASSIVE = command(0xE1, 0)
ACTIVE = command(0xE1, 1)
READ = command(0xE2)
SLEEP = command(0xE4, 0)
WAKE = command(0xE4, 1)


def cut(got: bytes) -> tuple[bytes, int] | None:
    """Find the first whole frame with a good sum (data or acknowledgement), past any noise."""
    at = got.find(HEAD)
    while at >= 0:
        if len(got) < at + 4:
            return None
        length = int.from_bytes(got[at + 2 : at + 4], "big") + 4
        if length in (DATA_LENGTH, ACK_LENGTH):
            if len(got) < at + length:
                return None
            frame = got[at : at + length]
            if sum(frame[:-2]) == int.from_bytes(frame[-2:], "big"):
                return frame, at + length
        at = got.find(HEAD, at + 1)
    return None


def decode(frame: bytes, variant: str = "pms5003") -> dict[str, float]:
    """Give the numbers of a data frame.

    Raises InstrumentFault (error byte), NotReady (all zero: laser or fan is not up) and GarbledAnswer (mass
    without particles).
    """
    fields = unpack_from(">12H", frame, 4)
    masses, counts = fields[:6], fields[6:] if variant == "pms5003" else fields[6:10]
    if frame[29]:
        raise InstrumentFault(f"error byte 0x{frame[29]:02X} (the maker does not say what it means)")
    if not any(masses) and not any(counts):
        raise NotReady("all zero: the sensor has just started, or its laser or fan stands still")
    if not counts[0] and any(masses):
        raise GarbledAnswer(f"inconsistent: PM10 of {masses[5]} ug/m3 without a single particle", frame)
    values = {q.name: float(mass) for q, mass in zip(_MASSES, masses, strict=True)}
    values |= {q.name: count / 100 for q, count in zip(_COUNTS, counts, strict=False)}
    if variant == "pms5003t":
        temperature, humidity = unpack_from(">hH", frame, 24)
        values |= {"air_temperature": temperature / 10, "humidity": humidity / 10}
    return values


class Driver:
    """One Plantower sensor.

    `variant`: pms5003 (also for PMS1003, PMS7003, PMSA003) or pms5003t. `mode`: "passive" (we ask) or
    "active" (it streams; for where only the sensor's TX is wired). `warm_up_s`: no number before that, after
    each start.
    """

    title = "Plantower PMS5003, PMS7003, PMSA003, PMS5003T"
    medium = "air"
    shares_bus = False
    default_address = None
    source = "Plantower PMS5003 data manual V2.3, appendices I and II"
    verified = "against PyPMS 0.8.1 and its captured layout; not yet with hardware"
    minimum_period_s = 1.0
    quantities: tuple[Quantity, ...] = QUANTITIES["pms5003"]

    def __init__(
        self,
        address: int | None = None,
        *,
        variant: str = "pms5003",
        mode: str = "passive",
        warm_up_s: float = WARM_UP_S,
    ) -> None:
        if address is not None:
            raise ValueError("plantower: these sensors have no address: leave it out")
        variant = "pms5003" if variant in ALSO_PMS5003 else variant
        if variant not in QUANTITIES:
            raise ValueError(
                f"plantower: variant is one of {', '.join((*QUANTITIES, *ALSO_PMS5003))}, not {variant!r}"
            )
        if mode not in MODES:
            raise ValueError(f"plantower: mode is passive or active, not {mode!r}")
        self.variant = variant
        self.mode = mode
        self._warm_up = WarmUp("plantower", warm_up_s)
        self.quantities = QUANTITIES[variant]
        self._opened_at_s: float | None = None
        self._started = False
        self._misses = 0
        self._unasked = 0
        self._firmware: int | None = None

    async def read(self, link: Link) -> Measurement:
        """Take one measurement. Blocks at most some 4 s."""
        await self._attach(link)
        self._look_for_a_restart(link)
        if not self._started:
            await self._start(link)
        self._warm_up.check()
        frame = await self._data(link)
        try:
            values = decode(frame, self.variant)
        except NotReady as e:
            raise self._warm_up.zeros(str(e)) from None
        self._warm_up.numbers()
        return Measurement(values, frame)

    async def identify(self, link: Link) -> dict[str, str]:
        """Give the firmware's number. Works while the sensor warms up."""
        await self._attach(link)
        if not self._started:
            await self._start(link)
        if self._firmware is None:  # every data frame names it: no other is asked for when one has come
            await self._data(link)
        return {"model": self.variant, "firmware": f"0x{self._firmware or 0:02X}"}

    async def sleep(self, link: Link) -> None:
        """Stop fan and laser. The next `read` wakes the sensor and lets it warm up."""
        await self._attach(link)
        self._forget()
        await link.send(SLEEP)
        await self._hear(link, ACK_LENGTH, ANSWER_WITHIN_S, code=SLEEP[2])

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
        self._firmware = None
        self._warm_up.numbers()

    def _look_for_a_restart(self, link: Link) -> None:
        """A sensor told to be quiet that streams was switched off and on. A late answer is no stream."""
        if self.mode == "active" or not self._started:
            return
        late = bool(self._misses)
        self._unasked += unasked(link, cut, lambda frame: len(frame) == DATA_LENGTH, late=late)
        if self._unasked >= 2:
            self._forget()

    async def _start(self, link: Link) -> None:
        """Wake the sensor, set its mode, and begin the warm-up."""
        await link.send(WAKE)
        if self.mode == "active":
            await link.send(ACTIVE, after_s=0.1)
            await self._hear(link, DATA_LENGTH, STREAM_WITHIN_S)
        else:
            await self._silence(link)
        self._started = True
        self._misses = self._unasked = 0
        self._warm_up.begin()

    async def _silence(self, link: Link) -> None:
        for left in (2, 1, 0):  # a command that meets a frame on its way out is sometimes lost
            await link.send(PASSIVE, after_s=0.1)
            try:
                await self._hear(link, ACK_LENGTH, ANSWER_WITHIN_S, code=PASSIVE[2])
            except GarbledAnswer as e:
                if left == 0 and cut(e.frame) is not None:
                    raise GarbledAnswer(
                        'it streams but takes no commands: is its RX wired? If not, set mode = "active"',
                        e.frame,
                    ) from None
                if left == 0:
                    raise
            except NoAnswer:
                if left == 0:
                    raise
            else:
                return

    async def _data(self, link: Link) -> bytes:
        """Get one data frame: ask for it, or wait for the next of the stream."""
        try:
            if self.mode == "active":
                link.discard()  # what waits in the buffer may be minutes old
                frame = await self._hear(link, DATA_LENGTH, STREAM_WITHIN_S)
            else:
                await link.send(READ)
                frame = await self._hear(link, DATA_LENGTH, ANSWER_WITHIN_S)
        except NoAnswer:
            self._misses += 1
            if self.mode == "active" or self._misses >= 2:  # asleep, or without power
                self._forget()
            raise
        self._misses = 0
        self._firmware = frame[28]
        return frame

    async def _hear(self, link: Link, length: int, within_s: float, code: int | None = None) -> bytes:
        """Wait for a frame of this length (and code), past others: acknowledgements come among data."""
        return await hear(
            link, cut, lambda frame: len(frame) == length and (code is None or frame[4] == code), within_s
        )
