"""An emulated Sensirion SPS30: idle until started, one value a second, SHDLC with stuffing, status register.

Written after the SPS30 datasheet V1.0, section 5, not after our driver. What it leaves open is marked
"assumed".
"""

from __future__ import annotations

from collections.abc import Callable
from struct import pack, unpack

from drivers.emulators.base import Answer
from drivers.registers import shortest32

Sense = Callable[[str, float], float]

ANSWER_S = 0.005  # assumed; the datasheet allows 20 ms for most commands
PENDING_AT_MOST = 1200
NAMES = ("pm1", "pm2_5", "pm4", "pm10", "n0_5", "n1_0", "n2_5", "n4_0", "n10", "typical_particle_size")
WRONG_LENGTH, UNKNOWN, ILLEGAL, NOT_NOW = 1, 2, 4, 0x43
LASER, FAN, FAN_SPEED = 1 << 5, 1 << 4, 1 << 21


class Sps30:
    """An SPS30. `sense` is asked for each of `NAMES`.

    Faults: `laser_fault` and `fan_fault` (their bits stay until cleared), `fan_speed_warning` (its bit goes
    with it), `state_error` (an error code in every answer that was carried out all the same), `not_a_number`,
    `stuck`, `silent`; and `power_cycle`, `power_off`, `power_on`.
    """

    def __init__(
        self,
        sense: Sense,
        *,
        name: str = "sps30",
        serial: str = "8FCB5ED08D89F10B",
        firmware: tuple[int, int] = (2, 2),
    ) -> None:
        self.name = name
        self.serial = serial
        self.firmware = firmware
        self.laser_fault = False
        self.fan_fault = False
        self.fan_speed_warning = False
        self.state_error = 0
        self.not_a_number = False
        self.stuck = False
        self.silent = False
        self.powered = True
        self.measuring = ""
        """Empty in idle mode, else "float" or "uint16"."""
        self.asleep = False
        self.cleanings = 0
        self.cleaning_interval_s = 604800
        self._sense = sense
        self._pending = b""
        self._opened_s = -1.0  # when a byte FF opened the UART of a sleeping sensor
        self._value_due_s = 0.0
        self._cleaned_s = 0.0
        self._register = 0
        self._last: tuple[float, ...] | None = None

    def power_cycle(self, now_s: float) -> None:
        """Off and on: idle again; the cleaning interval stays, what it counted does not."""
        self.power_off()
        self.power_on(now_s)

    def power_off(self) -> None:
        self.powered = False

    def power_on(self, now_s: float) -> None:
        self.powered = True
        self._reset()

    def feed(self, data: bytes, now_s: float) -> list[Answer]:
        if not self.powered or self.silent:
            return []
        if self.asleep:
            return self._stir(data, now_s)
        self._pending += data
        answers: list[Answer] = []
        while True:
            start = self._pending.find(b"\x7e")
            end = self._pending.find(b"\x7e", start + 1)
            if start < 0 or end < 0:
                break
            body = _unstuff(self._pending[start + 1 : end])
            if body is None:
                self._pending = self._pending[end:]  # what closed rubbish may open a frame
                continue
            self._pending = self._pending[end + 1 :]
            answers += self._obey(body[1], body[3:-1], now_s)
        self._pending = self._pending[-PENDING_AT_MOST:]
        return answers

    def due_s(self, now_s: float) -> float | None:
        return None

    def speak(self, now_s: float) -> list[Answer]:
        return []

    # ── inside ──────────────────────────────────────────────────────────────────────────────────────────

    def _reset(self) -> None:
        self.measuring = ""
        self.asleep = False
        self._pending = b""
        self._register = 0

    def _stir(self, data: bytes, now_s: float) -> list[Answer]:
        """A sleeping sensor: any low pulse opens its UART for 100 ms; only "wake up" is then taken."""
        if self._opened_s >= 0 and now_s - self._opened_s <= 0.1:
            self._pending += data
        else:
            self._opened_s = now_s
            self._pending = b""
            if data[:1] == b"\xff":
                self._pending = data[1:]
        if b"\x7e\x00\x7d\x31\x00\xee\x7e" not in self._pending:
            return []
        self._reset()
        self._opened_s = -1.0
        return self._answer(0x11)

    def _obey(self, command: int, data: bytes, now_s: float) -> list[Answer]:
        self._watch_itself()
        if command == 0x00:
            return self._start(data, now_s)
        if command == 0x01:
            was, self.measuring = self.measuring, ""
            return self._answer(command, error=0 if was else NOT_NOW)
        if command == 0x03:
            return self._read(data, now_s)
        if command == 0x10:
            if self.firmware < (2, 0):
                return self._answer(command, error=UNKNOWN)
            self.asleep = not self.measuring
            return self._answer(command, error=0 if self.asleep else NOT_NOW)
        if command == 0x11:
            return self._answer(command, error=NOT_NOW)  # assumed: it is awake
        if command == 0x56:
            if not self.measuring:
                return self._answer(command, error=NOT_NOW)
            self.cleanings += 1
            self._cleaned_s = now_s + 10.0
            return self._answer(command)
        if command == 0x80:
            return self._interval(data)
        if command == 0xD0:
            texts = {b"\x00": "00080000", b"\x03": self.serial}
            if data not in texts:
                return self._answer(command, error=ILLEGAL)
            return self._answer(command, texts[data].encode() + b"\0")
        if command == 0xD1:
            return self._answer(command, bytes((*self.firmware, 0, 7, 0, 2, 0)))
        if command == 0xD2:
            answers = self._answer(command, self._register.to_bytes(4, "big") + b"\0")
            if data == b"\x01":
                self._register = 0
            return answers
        if command == 0xD3:
            answers = self._answer(command)
            self._reset()
            return answers
        return self._answer(command, error=UNKNOWN)

    def _start(self, data: bytes, now_s: float) -> list[Answer]:
        formats = {b"\x01\x03": "float", b"\x01\x05": "uint16"}
        if len(data) != 2:
            return self._answer(0x00, error=WRONG_LENGTH)
        if data not in formats:
            return self._answer(0x00, error=ILLEGAL)
        if self.measuring:
            return self._answer(0x00, error=NOT_NOW)
        self.measuring = formats[data]
        self._value_due_s = now_s + 1.0
        self._cleaned_s = 0.0
        return self._answer(0x00)

    def _read(self, data: bytes, now_s: float) -> list[Answer]:
        if data:
            return self._answer(0x03, error=WRONG_LENGTH)
        if not self.measuring:
            return self._answer(0x03, error=NOT_NOW)
        if now_s < self._value_due_s or now_s < self._cleaned_s:  # assumed: no values while it cleans
            return self._answer(0x03)
        self._value_due_s += 1.0 + (now_s - self._value_due_s) // 1.0
        if self._last is None or not self.stuck:
            self._last = self._measure(now_s)
        if self.measuring == "uint16":
            whole = [round(min(max(value, 0.0), 65535.0)) for value in self._last[:9]]
            return self._answer(0x03, pack(">10H", *whole, round(self._last[9] * 1000)))
        body = pack(">10f", *self._last)
        values = dict(zip(NAMES, shortest32(unpack(">10f", body)), strict=True))
        if self.not_a_number:
            body = body[:36] + b"\x7f\xc0\x00\x00"
            del values["typical_particle_size"]
        is_ill = bool(self._register & (LASER | FAN))
        return self._answer(0x03, body, {} if is_ill else values)

    def _interval(self, data: bytes) -> list[Answer]:
        if data == b"\x00":
            return self._answer(0x80, self.cleaning_interval_s.to_bytes(4, "big"))
        if len(data) == 5 and data[0] == 0:
            self.cleaning_interval_s = int.from_bytes(data[1:], "big")
            return self._answer(0x80)
        return self._answer(0x80, error=WRONG_LENGTH)

    def _watch_itself(self) -> None:
        self._register &= ~FAN_SPEED
        if self.measuring:
            ill = ((self.laser_fault, LASER), (self.fan_fault, FAN), (self.fan_speed_warning, FAN_SPEED))
            for is_so, bit in ill:
                self._register |= bit if is_so else 0

    def _measure(self, now_s: float) -> tuple[float, ...]:
        return tuple(max(0.0, self._sense(name, now_s)) for name in NAMES)

    def _answer(
        self, command: int, data: bytes = b"", values: dict[str, float] | None = None, *, error: int = 0
    ) -> list[Answer]:
        state = (0x80 if self._register else 0) | (error or self.state_error)
        body = bytes((0, command, state, len(data))) + data
        return [
            Answer(
                b"\x7e" + _stuff(body + bytes((0xFF - sum(body) % 256,))) + b"\x7e", ANSWER_S, values or {}
            )
        ]


_STUFF = {0x7E: b"\x7d\x5e", 0x7D: b"\x7d\x5d", 0x11: b"\x7d\x31", 0x13: b"\x7d\x33"}


def _stuff(body: bytes) -> bytes:
    return b"".join(_STUFF.get(byte, bytes((byte,))) for byte in body)


def _unstuff(wire: bytes) -> bytes | None:
    """The body of a request with a good checksum and length, or None."""
    pieces = wire.split(b"\x7d")
    body = pieces[0]
    for piece in pieces[1:]:
        if not piece:
            return None
        body += bytes((piece[0] ^ 0x20,)) + piece[1:]
    if len(body) < 4 or body[0] != 0 or body[2] != len(body) - 4 or sum(body) % 256 != 0xFF:
        return None
    return body
