"""Atlas Scientific EZO-pH circuit on its UART, or on a USB carrier board.

9600 8N1, alone on its wire, no address. Text; every line, both ways, ends with one CR and has no LF:

    52 0D                            we ask             R        one reading, 0.9 s later:
    37 2E 31 35 36 0D 2A 4F 4B 0D    it answers         7.156    pH
    -- number --- cr -- *OK -- cr                       *OK      done

From the factory it speaks by itself once a second ("continuous"), so its lines come among the answers to
commands, and so do its tokens: *RS reset, *RE ready after a start, *SL asleep, *WA awake, *OV over and *UV
under its supply voltage, *ER command unknown or failed. We start with C,0 (be quiet), *OK,1 (say when done)
and T. The temperature for the correction (T,19.5; without it 25 degC) is lost at every restart. So *RS, *RE,
*WA, or lines that nobody asked for, mean: start again, T included, before the next number is believed.
The calibration stays in the circuit. A slope of exactly 100,100,0 means that it was never calibrated.

Sources: Atlas Scientific EZO-pH datasheet V5.8 (UART pages: commands, 0.9 s, defaults); AtlasScientific
Raspberry-Pi-sample-code uart.py (9600, CR, C,0 first); feastorg/ezo-driver src/ezo_uart.c and docs (tokens,
order of lines). Unverified: the voltages behind *OV and *UV; the letters for the reason of a restart; what
happens to T in sleep (sent again to be sure).
"""

from __future__ import annotations

import asyncio
import logging
import math
import re
from dataclasses import dataclass

from drivers.base import (
    GarbledAnswer,
    InstrumentFault,
    Measurement,
    NoAnswer,
    NotReady,
    Quantity,
    RequestRefused,
)
from drivers.calibrates import Calibrates
from drivers.link import Line, Link

log = logging.getLogger(__name__)

LINE = Line(9600, "8N1")

END = b"\r"
LONGEST_LINE = 80
READ_WITHIN_S = 2.0
"""A reading takes 0.9 s."""
ANSWER_WITHIN_S = 1.5
QUIET_WITHIN_S = 3.0
LINES_AT_MOST = 12
"""Lines between a command and its end; more is not an EZO."""
LOWEST_PH, HIGHEST_PH = -2.0, 16.0
"""pHext reaches below 0 and above 14; what is outside of this is a damaged line."""

_NUMBER = re.compile(rb"-?\d{1,2}\.\d{1,3}")
_RESTARTED = (b"*RS", b"*RE", b"*WA")
_VOLTAGE = {b"*OV": "its supply voltage is too high", b"*UV": "its supply voltage is too low"}
_RESTARTS = {"P": "power", "S": "software", "B": "brown-out", "W": "watchdog", "U": "unknown"}
_POINTS = {"0": "never", "1": "mid", "2": "mid, low", "3": "mid, low, high"}


@dataclass(frozen=True, slots=True)
class Heard:
    """What came between a command and its end."""

    end: bytes
    """*OK, *ER, or nothing."""
    data: tuple[bytes, ...]
    tokens: tuple[bytes, ...]
    frame: bytes


def command(text: str) -> bytes:
    """Make a command's bytes."""
    return text.encode("ascii") + END


def compensation(temperature_degc: float) -> str:
    """Make the command that sets the water's temperature. Raises ValueError for what is none."""
    if not -5.0 <= temperature_degc <= 105.0:
        raise ValueError(f"atlas: temperature_degc is a temperature of water, not {temperature_degc!r}")
    return f"T,{temperature_degc:.1f}"


def cut(got: bytes) -> tuple[bytes, int] | None:
    """Find the first line that is not empty, past noise before it; without its CR."""
    start = 0
    while (end := got.find(END, start)) >= 0:
        line = clean(got[start:end])
        if line:
            return line, end + 1
        start = end + 1
    return None


def clean(line: bytes) -> bytes:
    """Strip what cannot be text from a line's start: a switched bus or a powered-up USB chip leaves some."""
    last = max((at for at, byte in enumerate(line) if not 0x20 <= byte < 0x7F), default=-1)
    return line[last + 1 :].strip()


def decode(line: bytes) -> float:
    """Give the pH of a reading's line. Raises GarbledAnswer where it is none."""
    if not _NUMBER.fullmatch(line):
        raise GarbledAnswer(f"no number: {line[:LONGEST_LINE]!r}", line)
    ph = float(line)
    if not LOWEST_PH <= ph <= HIGHEST_PH:
        raise GarbledAnswer(f"no pH: {line[:LONGEST_LINE]!r}", line)
    return ph


class Driver:
    """One EZO-pH circuit.

    `temperature_degc` is the water's temperature for the correction; None leaves the circuit's 25 degC. It
    may be set anew at any time, from another instrument's reading, and goes out with the next `read`.
    """

    title = "Atlas Scientific EZO-pH"
    medium = "water"
    shares_bus = False
    default_address = None
    source = "Atlas Scientific EZO-pH datasheet V5.8, UART mode"
    verified = "frames of the datasheet and of ezo-driver's tests; not yet with hardware"
    minimum_period_s = 1.0
    quantities: tuple[Quantity, ...] = (Quantity("ph", "pH", 3),)
    calibrates = Calibrates("ph", least=1, most=3, first=7.0, settle_s=10.0)

    def __init__(self, address: int | None = None, *, temperature_degc: float | None = None) -> None:
        if address is not None:
            raise ValueError("atlas: on its UART the circuit has no address: leave it out")
        if isinstance(temperature_degc, bool) or not isinstance(temperature_degc, int | float | None):
            raise ValueError(f"atlas: temperature_degc is a number, not {temperature_degc!r}")
        if temperature_degc is not None:
            compensation(temperature_degc)
        self.temperature_degc: float | None = temperature_degc
        self._opened_at_s: float | None = None
        self._started = False
        self._set = ""  # the T command the circuit has last taken
        self._misses = 0

    async def read(self, link: Link) -> Measurement:
        """Take one reading. Blocks at most some 10 s: that long only where the circuit restarts meanwhile."""
        await self._attach(link)
        for _ in range(2):
            self._look_for_a_restart(link)
            if not self._started:
                await self._start(link)
            await self._compensate(link)
            heard = await self._ask(link, "R", READ_WITHIN_S)
            if self._started and heard.end == b"*ER":
                raise GarbledAnswer("*ER: the circuit did not understand R", heard.frame)
            if self._started and len(heard.data) == 1:
                return Measurement({"ph": decode(heard.data[0])}, heard.frame)
            self._started = False  # restarted, or speaking by itself: its T may be lost
        raise NotReady("the circuit restarts", wait_s=2.0)

    async def identify(self, link: Link) -> dict[str, str]:
        """Give firmware, reason of the last start, supply voltage, slope and calibration points."""
        await self._attach(link)
        if not self._started:
            await self._start(link)
        kind, firmware = await self._get(link, "i", 2)
        if kind.lower() != "ph":
            raise InstrumentFault(f"this EZO circuit measures {kind}, not pH")
        why, supply_v = await self._get(link, "Status", 2)
        slope = await self._get(link, "Slope,?", 2)
        (points,) = await self._get(link, "Cal,?", 1)
        found = {
            "firmware": firmware,
            "last_restart": _RESTARTS.get(why, why),
            "supply_v": supply_v,
            "calibrated": _POINTS.get(points, points),
            "slope_acid_percent": slope[0],
            "slope_base_percent": slope[1],
        }
        if len(slope) > 2:  # not before firmware 2
            found["offset_mv"] = slope[2]
        if [_number(part) for part in slope] == [100.0, 100.0, 0.0]:
            found["calibrated"] = "never"
        return found

    async def calibrate(self, link: Link, nominal: float, value: float) -> dict[str, str]:
        """Take the point it stands in: near 7 `mid`, which erases the others; below `low`, above `high`.

        Gives what it says of its calibration then. Raises RequestRefused where the circuit does not take it.
        """
        await self._attach(link)
        if not self._started:
            await self._start(link)
        await self._compensate(link)
        point = "mid" if 6.0 <= nominal <= 8.0 else "low" if nominal < 6.0 else "high"
        before = await self._get(link, "Cal,?", 1)
        if point != "mid" and before == ["0"]:
            raise RequestRefused("the circuit wants its middle point (7) first")
        # Not again by itself where it restarted meanwhile: the technician shall see that first.
        heard = await self._ask(link, f"Cal,{point},{value:.2f}", READ_WITHIN_S)
        if heard.end != b"*OK":
            raise RequestRefused(f"the circuit refuses Cal,{point},{value:.2f}")
        found = await self.calibration(link)
        if (found["points"] == "mid") != (point == "mid"):
            raise InstrumentFault(f"it took the point and says now that it has: {found['points']}")
        return found

    async def calibration(self, link: Link) -> dict[str, str]:
        """Which points it has, slopes in % and the offset in mV."""
        await self._attach(link)
        if not self._started:
            await self._start(link)
        (points,) = await self._get(link, "Cal,?", 1)
        slope = await self._get(link, "Slope,?", 2)
        names = ("slope_acid_percent", "slope_base_percent", "offset_mv")
        return {"points": _POINTS.get(points, points), **dict(zip(names, slope, strict=False))}

    async def sleep(self, link: Link) -> None:
        """Let the circuit sleep. The next `read` wakes it."""
        await self._attach(link)
        self._started = False
        await self._ask(link, "Sleep", ANSWER_WITHIN_S)

    async def wake(self, link: Link) -> None:
        """Wake the circuit and set it up."""
        await self._attach(link)
        await self._start(link)

    # ── inside ──────────────────────────────────────────────────────────────────────────────────────────

    async def _attach(self, link: Link) -> None:
        """Open the port. A circuit behind a port opened anew may be freshly powered: forget its state."""
        await link.open()
        if link.opened_at_s != self._opened_at_s:
            self._opened_at_s = link.opened_at_s
            self._started = False

    def _look_for_a_restart(self, link: Link) -> None:
        """See in what came between two readings whether the circuit restarted or speaks by itself again."""
        stale = link.discard()
        late = self._misses  # answers that came after we stopped waiting
        while (found := cut(stale)) is not None:
            line, used = found
            stale = stale[used:]
            _check_voltage(line)
            if line in _RESTARTED:
                self._started = False
            elif _NUMBER.fullmatch(line):
                late -= 1
        if late < 0:
            self._started = False

    async def _start(self, link: Link) -> None:
        """Make the circuit answer only when asked, and say so."""
        self._started, self._set = False, ""
        quiet = False
        try:
            quiet = (await self._ask(link, "C,0", QUIET_WITHIN_S)).end == b"*OK"
        except (NoAnswer, GarbledAnswer) as e:  # *OK is switched off, or the command only woke the circuit
            log.debug("%s: C,0: %s", link.port, e)
        await self._tell(link, "*OK,1")
        if not quiet:
            await self._tell(link, "C,0")
        self._started = True
        self._misses = 0

    async def _compensate(self, link: Link) -> None:
        """Tell the circuit the water's temperature where it does not know it yet."""
        degc = self.temperature_degc
        if degc is None or not math.isfinite(degc):
            return
        wanted = compensation(min(max(degc, -5.0), 105.0))
        if wanted != self._set:
            await self._tell(link, wanted)
            self._set = wanted

    async def _tell(self, link: Link, text: str) -> None:
        """Send a command that is answered by *OK only. Once more if the circuit restarted over it."""
        heard = await self._ask(link, text, ANSWER_WITHIN_S)
        if heard.end != b"*OK":
            heard = await self._ask(link, text, ANSWER_WITHIN_S)
        if heard.end == b"*ER":
            raise RequestRefused(f"the circuit refuses {text}")
        if heard.end != b"*OK":
            raise NotReady("the circuit restarts", wait_s=2.0)

    async def _get(self, link: Link, text: str, parts: int) -> list[str]:
        """Ask for settings: `?Slope,99.7,100.3,-0.89` is ["99.7", "100.3", "-0.89"]."""
        heard = await self._ask(link, text, ANSWER_WITHIN_S)
        name = f"?{text.split(',')[0]},".encode().lower()
        for line in heard.data:
            if line.lower().startswith(name):
                found = line[len(name) :].decode("ascii", "replace").split(",")
                if len(found) >= parts:
                    return [part.strip() for part in found]
        raise GarbledAnswer(f"no answer to {text}: {heard.frame[:LONGEST_LINE]!r}", heard.frame)

    async def _ask(self, link: Link, text: str, within_s: float) -> Heard:
        """Send a command and hear all lines up to *OK or *ER, or up to a restart, which eats the command."""
        await link.send(command(text))
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + within_s
        data: list[bytes] = []
        tokens: list[bytes] = []
        frame = b""
        while (left_s := deadline_s - loop.time()) > 0 and len(data) + len(tokens) < LINES_AT_MOST:
            try:
                line = await link.receive_frame(cut, left_s)
            except (NoAnswer, GarbledAnswer):  # nothing, or noise without an end
                if not frame:
                    self._missed()
                    raise
                break
            frame += line + END
            if line in (b"*OK", b"*ER"):
                self._misses = 0
                return Heard(line, tuple(data), tuple(tokens), frame)
            _check_voltage(line)
            if line in _RESTARTED:
                self._started = False
            if line.startswith(b"*"):
                tokens.append(line)
            else:
                data.append(line)
        if any(token in _RESTARTED for token in tokens):
            return Heard(b"", tuple(data), tuple(tokens), frame)
        self._missed()
        raise GarbledAnswer(f"{link.port}: no *OK after {text}, but {frame[:LONGEST_LINE]!r}", frame)

    def _missed(self) -> None:
        self._misses += 1
        if self._misses >= 2:  # asleep, or without power
            self._started = False


def _check_voltage(line: bytes) -> None:
    if line in _VOLTAGE:
        raise InstrumentFault(f"the circuit says that {_VOLTAGE[line]} ({line.decode()})")


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
