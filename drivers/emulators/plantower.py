"""An emulated Plantower PMS5003 or PMS5003T: streams from power-up, takes commands, sleeps, zeros at first.

Written after the PMS5003 data manual V2.3, not after our driver. What the manual leaves open is marked
"assumed".
"""

from __future__ import annotations

from collections.abc import Callable
from struct import pack

from drivers.emulators.base import Answer

Sense = Callable[[str, float], float]

STREAM_S = 2.3
"""In steady air; in changing air it is 0.2 to 0.8 s."""
ANSWER_S = 0.03  # assumed
ZEROS_S = 5.0  # assumed: until laser and fan are up
PENDING_AT_MOST = 64
MASSES = ("pm1_cf1", "pm2_5_cf1", "pm10_cf1", "pm1", "pm2_5", "pm10")
COUNTS = ("n0_3", "n0_5", "n1_0", "n2_5", "n5_0", "n10")


class Plantower:
    """A Plantower sensor. `sense` is asked for every quantity that its frame carries.

    `warm_up_s`: as long after a start its answers carry no numbers worth recording; the first 5 s are zeros
    (0: it has been running for long). Faults: `error_byte`; `zero_counts` (masses without particles); `zeros`
    (laser dead); `stuck` (values stand still); `silent`; and `power_cycle`, `power_off`, `power_on`.
    """

    def __init__(
        self,
        sense: Sense,
        *,
        name: str = "plantower",
        variant: str = "pms5003",
        warm_up_s: float = 30.0,
        stream_s: float = STREAM_S,
        version: int = 0x97,
    ) -> None:
        self.name = name
        self.variant = variant
        self.warm_up_s = warm_up_s
        self.stream_s = stream_s
        self.version = version
        self.error_byte = 0
        self.zero_counts = False
        self.zeros = False
        self.stuck = False
        self.silent = False
        self.powered = True
        self.awake = True
        self.active = True
        self._sense = sense
        self._pending = b""
        self._fan_since_s = 0.0
        self._next_s = 0.0
        self._last: tuple[int, ...] | None = None

    def power_cycle(self, now_s: float) -> None:
        """Off and on: it streams again and warms up again."""
        self.power_off()
        self.power_on(now_s)

    def power_off(self) -> None:
        self.powered = False

    def power_on(self, now_s: float) -> None:
        self.powered = self.awake = self.active = True
        self._pending = b""
        self._fan_since_s = now_s
        self._next_s = now_s + 0.5

    def feed(self, data: bytes, now_s: float) -> list[Answer]:
        if not self.powered or self.silent:
            return []
        self._pending += data
        answers: list[Answer] = []
        while (at := self._pending.find(b"\x42\x4d")) >= 0:
            command = self._pending[at : at + 7]
            if len(command) < 7:
                break
            if sum(command[:5]) != int.from_bytes(command[5:], "big"):
                self._pending = self._pending[at + 2 :]
                continue
            self._pending = self._pending[at + 7 :]
            answers += self._obey(command[2], int.from_bytes(command[3:5], "big"), now_s)
        self._pending = self._pending[-PENDING_AT_MOST:]
        return answers

    def due_s(self, now_s: float) -> float | None:
        if not (self.powered and self.awake and self.active) or self.silent:
            return None
        return self._next_s

    def speak(self, now_s: float) -> list[Answer]:
        if self.due_s(now_s) is None or now_s < self._next_s:
            return []
        self._next_s = max(self._next_s + self.stream_s, now_s)
        return [self._frame(now_s, asked=False)]

    # ── inside ──────────────────────────────────────────────────────────────────────────────────────────

    def _obey(self, code: int, data: int, now_s: float) -> list[Answer]:
        if not self.awake:
            if (code, data) == (0xE4, 1):
                self.awake = True
                self._fan_since_s = now_s
                self._next_s = now_s + 0.5
            return []
        if code == 0xE1:
            self.active = bool(data)
            self._next_s = now_s + self.stream_s
            return [_acknowledge(code, data)]
        if code == 0xE2 and not self.active:  # assumed: a streaming sensor does not answer "read"
            return [self._frame(now_s, asked=True)]
        if code == 0xE4 and data == 0:
            self.awake = False
            return [_acknowledge(code, data)]
        return []

    def _frame(self, now_s: float, *, asked: bool) -> Answer:
        fields, values = self._numbers(now_s)
        running_s = now_s - self._fan_since_s
        is_up = running_s >= min(ZEROS_S, self.warm_up_s) and not self.zeros and any(fields[:10])
        if not is_up:
            fields = (0,) * 10 + fields[10:] if self.variant == "pms5003t" else (0,) * 12
        elif self.zero_counts:
            fields = fields[:6] + (0,) * 4 + (fields[10:] if self.variant == "pms5003t" else (0, 0))
        body = pack(">2s13H", b"\x42\x4d", 28, *(field & 0xFFFF for field in fields))
        body += bytes((self.version, self.error_byte))
        is_good = is_up and running_s >= self.warm_up_s and not self.error_byte and not self.zero_counts
        data = body + sum(body).to_bytes(2, "big")
        return Answer(data, ANSWER_S if asked else 0.0, values if is_good else {}, asked)

    def _numbers(self, now_s: float) -> tuple[tuple[int, ...], dict[str, float]]:
        """The frame's twelve fields, and what they mean."""
        fields = self._last
        if fields is None or not self.stuck:
            fields = self._last = self._measure(now_s)
        values = {name: float(field) for name, field in zip(MASSES, fields, strict=False)}
        if self.variant == "pms5003t":
            values |= {name: field / 100 for name, field in zip(COUNTS[:4], fields[6:], strict=False)}
            values |= {"air_temperature": fields[10] / 10, "humidity": fields[11] / 10}
        else:
            values |= {name: field / 100 for name, field in zip(COUNTS, fields[6:], strict=False)}
        return fields, values

    def _measure(self, now_s: float) -> tuple[int, ...]:
        masses = tuple(_field(self._sense(name, now_s)) for name in MASSES)
        counts = tuple(_field(100 * self._sense(name, now_s)) for name in COUNTS)
        counts = (max(counts[0], int(any(masses))), *counts[1:])  # no dust without a particle
        if self.variant == "pms5003t":
            degc, percent = self._sense("air_temperature", now_s), self._sense("humidity", now_s)
            counts = (*counts[:4], round(min(max(degc, -99.0), 99.0) * 10), _field(10 * min(percent, 100.0)))
        return masses + counts


def _acknowledge(code: int, data: int) -> Answer:
    body = b"\x42\x4d\x00\x04" + bytes((code, data))
    return Answer(body + sum(body).to_bytes(2, "big"), 0.01)


def _field(number: float) -> int:
    return round(min(max(number, 0.0), 65535.0))
