"""An emulated Atlas Scientific EZO-pH circuit: speaks by itself, forgets T, keeps its calibration.

Written after the EZO-pH datasheet V5.8 (UART mode) and ezo-driver's notes, not after our driver. What they
leave open is marked "assumed".
"""

from __future__ import annotations

from collections.abc import Callable

from drivers.emulators.base import Answer
from drivers.emulators.electrode import NERNST_MV, Points, Wear

Sense = Callable[[str, float], float]

_BOTTLES = {"mid": 7.0, "low": 4.0, "high": 10.0}
"""What the points that it has from the start were taken in."""
BOOT_S = 1.0
READ_S = 0.9
COMMAND_S = 0.3
LINE_AT_MOST = 64


class Atlas:
    """An EZO-pH circuit. `sense` is asked for ph.

    `points` are the calibrated points and outlast a power cut; `temperature_degc` does not. Faults: `tokens`
    (said before the next answer: "*OV", "*UV"), `errors` (so many commands are answered by *ER), `stuck`,
    `silent`; and `power_cycle`, `power_off`, `power_on`. `wear` is the electrode behind it, and `bath` the pH
    of the bottle it stands in, if any.
    """

    def __init__(
        self,
        sense: Sense,
        *,
        name: str = "atlas",
        continuous_s: int = 1,
        response_codes: bool = True,
        points: tuple[str, ...] = ("mid", "low", "high"),
        slope: tuple[float, float, float] = (99.7, 100.3, -0.89),
        firmware: str = "2.10",
        supply_v: float = 5.038,
    ) -> None:
        self.name = name
        self.firmware = firmware
        self.supply_v = supply_v
        self.points: set[str] = set(points)
        acid, base, offset_mv = slope
        self.wear = Wear(acid / 100, base / 100, -offset_mv / NERNST_MV)
        self.bath: float | None = None
        self._taken = {name: (self.wear.sees(ph), ph) for name, ph in _BOTTLES.items() if name in points}
        self.continuous_s = continuous_s
        self.response_codes = response_codes
        self.temperature_degc = 25.0
        self.extended = False
        self.label = ""
        self.restart_reason = "P"
        self.tokens: list[str] = []
        self.errors = 0
        self.stuck = False
        self.silent = False
        self.powered = True
        self.awake = True
        self._sense = sense
        self._line = b""
        self._ready_s = 0.0
        self._boot_lines: list[tuple[float, str]] = []
        self._next_s = 1.0
        self._busy_until_s = 0.0
        self._last: float | None = None

    def power_cycle(self, now_s: float, reason: str = "P") -> None:
        """Off and on: *RS, then *RE when it is ready; it speaks by itself again and has forgotten T."""
        self.power_off()
        self.power_on(now_s, reason)

    def power_off(self) -> None:
        self.powered = False

    def power_on(self, now_s: float, reason: str = "P") -> None:
        self.powered = self.awake = True
        self.restart_reason = reason
        self.temperature_degc = 25.0
        self.continuous_s = 1
        self._line = b""
        self._ready_s = now_s + BOOT_S
        self._boot_lines = [(now_s + 0.1, "*RS"), (now_s + BOOT_S, "*RE")]
        self._next_s = now_s + BOOT_S + 1.0

    def feed(self, data: bytes, now_s: float) -> list[Answer]:
        if not self.powered or self.silent or not data or now_s < self._ready_s:
            return []
        if not self.awake:
            self.awake = True
            self._line = b""
            self._next_s = now_s + max(1, self.continuous_s)
            return self._say("*WA") if self.response_codes else []
        answers: list[Answer] = []
        for byte in data:
            if byte == 0x0D:
                answers += self._obey(self._line, now_s)
                self._line = b""
            else:
                self._line = (self._line + bytes((byte,)))[:LINE_AT_MOST]
        return answers

    def due_s(self, now_s: float) -> float | None:
        if not self.powered or self.silent:
            return None
        if self._boot_lines:
            return self._boot_lines[0][0]
        return self._next_s if self.awake and self.continuous_s else None

    def speak(self, now_s: float) -> list[Answer]:
        due_s = self.due_s(now_s)
        if due_s is None or now_s < due_s:
            return []
        if self._boot_lines:
            _, token = self._boot_lines.pop(0)
            return self._say(token) if self.response_codes else []
        self._next_s = max(self._next_s + self.continuous_s, now_s)
        text, value = self._reading(now_s)
        return [Answer(f"{text}\r".encode(), 0.0, {"ph": value}, asked=False)]

    # ── inside ──────────────────────────────────────────────────────────────────────────────────────────

    def _obey(self, line: bytes, now_s: float) -> list[Answer]:
        before = [answer for token in self.tokens for answer in self._say(token)]
        self.tokens.clear()
        text = line.decode("ascii", "replace").strip()
        name, _, rest = text.partition(",")
        arguments = rest.lower().split(",") if rest else []
        if self.errors > 0:
            self.errors -= 1
            return before + self._done(False)
        known: dict[str, Callable[[list[str], float], list[Answer]]] = {
            "r": self._read, "rt": self._read_at, "c": self._continuous, "t": self._temperature,
            "cal": self._calibrate, "slope": self._tell_slope, "phext": self._extend, "status": self._status,
            "i": self._information, "name": self._name, "sleep": self._sleep, "*ok": self._codes,
            "factory": self._factory,
        }  # fmt: skip
        obey = known.get(name.lower())
        return before + (obey(arguments, now_s) if obey is not None else self._done(False))

    def _read(self, arguments: list[str], now_s: float) -> list[Answer]:
        if arguments:
            return self._done(False)
        text, value = self._reading(now_s)
        end = "*OK\r" if self.response_codes else ""
        return [Answer(f"{text}\r{end}".encode(), READ_S, {"ph": value})]

    def _read_at(self, arguments: list[str], now_s: float) -> list[Answer]:
        answers = self._temperature(arguments, now_s)
        return self._read([], now_s) if b"*ER" not in answers[0].data else answers

    def _continuous(self, arguments: list[str], now_s: float) -> list[Answer]:
        if arguments == ["?"]:
            return self._tell(f"?C,{self.continuous_s}")
        seconds = _whole(arguments, 0, 99)
        if seconds is None:
            return self._done(False)
        self.continuous_s = seconds
        self._next_s = now_s + seconds
        return self._done(True)

    def _temperature(self, arguments: list[str], now_s: float) -> list[Answer]:
        if arguments == ["?"]:
            return self._tell(f"?T,{self.temperature_degc:.1f}")
        degc = _number(arguments)
        if degc is None or not -126.0 < degc < 1254.0:
            return self._done(False)
        self.temperature_degc = degc
        return self._done(True)

    def _calibrate(self, arguments: list[str], now_s: float) -> list[Answer]:
        if arguments == ["?"]:
            return self._tell(f"?Cal,{len(self.points)}")
        if arguments == ["clear"]:
            self.points.clear()
            self._taken.clear()
            return self._done(True)
        if (
            len(arguments) != 2
            or arguments[0] not in ("mid", "low", "high")
            or _number(arguments[1:]) is None
        ):
            return self._done(False)
        point, value = arguments[0], _number(arguments[1:])
        if value is None:
            return self._done(False)
        if point == "mid":
            self.points = {"mid"}  # mid erases the others
            self._taken.clear()
        elif "mid" not in self.points:
            return self._done(False)  # mid must be first
        else:
            self.points.add(point)
        self._taken[point] = (self._seen(now_s), value)
        return self._done(True, READ_S)

    def _tell_slope(self, arguments: list[str], now_s: float) -> list[Answer]:
        if not self.points:
            return self._tell("?Slope,100,100,0")
        seen, ph = self._taken["mid"]
        slopes = {"low": 100.0, "high": 100.0}
        for name in slopes:
            if name in self._taken and self._taken[name][1] != ph:
                slopes[name] = 100 * (self._taken[name][0] - seen) / (self._taken[name][1] - ph)
        # the offset is that of the middle point, brought to pH 7 by the slope of its side: assumed
        side = slopes["low"] if ph > 7 else slopes["high"]
        offset_mv = -(seen - ph + (ph - 7) * (1 - side / 100)) * NERNST_MV
        return self._tell(f"?Slope,{slopes['low']:.1f},{slopes['high']:.1f},{offset_mv:.2f}")

    def _extend(self, arguments: list[str], now_s: float) -> list[Answer]:
        if arguments == ["?"]:
            return self._tell(f"?pHext,{int(self.extended)}")
        on = _whole(arguments, 0, 1)
        self.extended = bool(on)
        return self._done(on is not None)

    def _status(self, arguments: list[str], now_s: float) -> list[Answer]:
        return self._tell(f"?Status,{self.restart_reason},{self.supply_v:.3f}")

    def _information(self, arguments: list[str], now_s: float) -> list[Answer]:
        return self._tell(f"?i,pH,{self.firmware}")

    def _name(self, arguments: list[str], now_s: float) -> list[Answer]:
        if arguments == ["?"]:
            return self._tell(f"?Name,{self.label}")
        self.label = ",".join(arguments)[:16]
        return self._done(True)

    def _sleep(self, arguments: list[str], now_s: float) -> list[Answer]:
        self.awake = False
        return self._done(True) + (self._say("*SL") if self.response_codes else [])

    def _codes(self, arguments: list[str], now_s: float) -> list[Answer]:
        if arguments == ["?"]:
            return [Answer(f"?*OK,{int(self.response_codes)}\r".encode(), COMMAND_S)]
        on = _whole(arguments, 0, 1)
        if on is not None:
            self.response_codes = bool(on)
        return self._done(on is not None)

    def _factory(self, arguments: list[str], now_s: float) -> list[Answer]:
        self.points.clear()
        self._taken.clear()
        self.response_codes = True
        self.label = ""
        answers = self._done(True)
        self.power_cycle(now_s, "S")
        return answers

    def _reading(self, now_s: float) -> tuple[str, float]:
        if self._last is None or not self.stuck:
            lowest, highest = (-1.6, 15.6) if self.extended else (0.001, 14.0)
            said = Points(sorted(self._taken.values())).says(self._seen(now_s))
            self._last = min(max(said, lowest), highest)
        text = f"{self._last:.3f}"
        return text, float(text)

    def _seen(self, now_s: float) -> float:
        """What the electrode gives, as pH of a perfect one."""
        return self.wear.sees(self._sense("ph", now_s) if self.bath is None else self.bath)

    def _tell(self, text: str) -> list[Answer]:
        end = "*OK\r" if self.response_codes else ""
        return [Answer(f"{text}\r{end}".encode(), COMMAND_S)]

    def _done(self, well: bool, after_s: float = COMMAND_S) -> list[Answer]:
        if not self.response_codes:
            return []
        return [Answer(b"*OK\r" if well else b"*ER\r", after_s)]

    def _say(self, token: str) -> list[Answer]:
        return [Answer(f"{token}\r".encode(), 0.0, asked=False)]


def _number(arguments: list[str]) -> float | None:
    try:
        return float(arguments[0]) if len(arguments) == 1 else None
    except ValueError:
        return None


def _whole(arguments: list[str], lowest: int, highest: int) -> int | None:
    number = _number(arguments)
    if number is None or not lowest <= number <= highest or number != int(number):
        return None
    return int(number)
