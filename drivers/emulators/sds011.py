"""An emulated Nova SDS011: streams from the factory, keeps its settings over a power cut, wakes by any byte.

Written after the control protocol V1.3, not after our driver. What it leaves open is marked "assumed".
"""

from __future__ import annotations

from collections.abc import Callable

from drivers.emulators.base import Answer

Sense = Callable[[str, float], float]

ANSWER_S = 0.02  # assumed
ZEROS_S = 3.0  # assumed: until laser and fan are up
PENDING_AT_MOST = 64


class Sds011:
    """An SDS011. `sense` is asked for pm2_5 and pm10.

    `active`, `period_min` and `sensor_id` are what its flash holds at the start; `flash_writes` counts how
    often it was written. `wakes_by_any_byte=False` is a sensor that only the "work" command wakes.
    `warm_up_s`: as long after a start its answers carry no numbers worth recording; the first 3 s are zeros
    (0: it has been running for long). Faults: `zeros` (laser dead), `stuck`, `silent`; and `power_cycle`,
    `power_off`, `power_on`.
    """

    def __init__(
        self,
        sense: Sense,
        *,
        name: str = "sds011",
        active: bool = True,
        period_min: int = 0,
        sensor_id: int = 0xA160,
        firmware: tuple[int, int, int] = (18, 11, 16),
        warm_up_s: float = 30.0,
        wakes_by_any_byte: bool = True,
    ) -> None:
        self.name = name
        self.active = active
        self.period_min = period_min
        self.sensor_id = sensor_id
        self.firmware = firmware
        self.warm_up_s = warm_up_s
        self.wakes_by_any_byte = wakes_by_any_byte
        self.flash_writes = 0
        self.zeros = False
        self.stuck = False
        self.silent = False
        self.powered = True
        self.awake = True
        self._sense = sense
        self._pending = b""
        self._fan_since_s = 0.0
        self._next_s = 1.0
        self._last: tuple[int, int] | None = None

    def power_cycle(self, now_s: float) -> None:
        """Off and on: mode and period are as before, it works, and warms up again."""
        self.power_off()
        self.power_on(now_s)

    def power_off(self) -> None:
        self.powered = False

    def power_on(self, now_s: float) -> None:
        self.powered = True
        self._pending = b""
        self._wake(now_s)

    def feed(self, data: bytes, now_s: float) -> list[Answer]:
        if not self.powered or self.silent or not data:
            return []
        if not self.awake and self.wakes_by_any_byte:
            self._wake(now_s)
        self._pending += data
        answers: list[Answer] = []
        while (at := self._pending.find(b"\xaa\xb4")) >= 0:
            command = self._pending[at : at + 19]
            if len(command) < 19:
                break
            if command[18] != 0xAB or sum(command[2:17]) & 0xFF != command[17]:
                self._pending = self._pending[at + 2 :]
                continue
            self._pending = self._pending[at + 19 :]
            if command[15:17] in (b"\xff\xff", self.sensor_id.to_bytes(2, "big")):
                answers += self._obey(command[2:15], now_s)
        self._pending = self._pending[-PENDING_AT_MOST:]
        return answers

    def due_s(self, now_s: float) -> float | None:
        if not (self.powered and self.awake and self.active) or self.silent:
            return None
        return self._next_s

    def speak(self, now_s: float) -> list[Answer]:
        if self.due_s(now_s) is None or now_s < self._next_s:
            return []
        self._next_s = max(self._next_s + (60.0 * self.period_min or 1.0), now_s)
        return [self._report(now_s, asked=False)]

    # ── inside ──────────────────────────────────────────────────────────────────────────────────────────

    def _wake(self, now_s: float) -> None:
        self.awake = True
        self._fan_since_s = now_s
        self._next_s = now_s + (30.0 if self.period_min else 1.0)

    def _obey(self, command: bytes, now_s: float) -> list[Answer]:
        code, is_set, value = command[0], command[1] == 1, command[2]
        if not self.awake:
            if (code, is_set, value) != (6, True, 1):
                return []
            self._wake(now_s)
        if code == 4:
            return [self._report(now_s, asked=True)]
        if code == 2:
            if is_set:
                self.active = value == 0
                self._next_s = now_s + 1.0
            return [self._reply(code, is_set, 0 if self.active else 1)]
        if code == 5:
            self.sensor_id = int.from_bytes(command[11:13], "big")
            self.flash_writes += 1
            return [self._frame(0xC5, bytes((5, 0, 0, 0)))]
        if code == 6:
            if is_set:
                self.awake = value == 1
            return [self._frame(0xC5, bytes((6, is_set, value if is_set else 1, 0)))]
        if code == 7:
            return [self._frame(0xC5, bytes((7, *self.firmware)))]
        if code == 8 and value <= 30:
            if is_set:
                self.period_min = value
                self._next_s = now_s + (30.0 if value else 1.0)
            return [self._reply(code, is_set, self.period_min)]
        return []

    def _reply(self, code: int, is_set: bool, value: int) -> Answer:
        self.flash_writes += is_set
        return self._frame(0xC5, bytes((code, is_set, value, 0)))

    def _report(self, now_s: float, *, asked: bool) -> Answer:
        if self._last is None or not self.stuck:
            self._last = (_tenths(self._sense("pm2_5", now_s)), _tenths(self._sense("pm10", now_s)))
        pm2_5, pm10 = self._last
        running_s = now_s - self._fan_since_s
        if self.zeros or running_s < min(ZEROS_S, self.warm_up_s):
            return self._frame(0xC0, bytes(4), asked=asked)
        is_good = running_s >= self.warm_up_s and (pm2_5 or pm10)
        values = {"pm2_5": pm2_5 / 10, "pm10": pm10 / 10} if is_good else {}
        return self._frame(
            0xC0, pm2_5.to_bytes(2, "little") + pm10.to_bytes(2, "little"), values, asked=asked
        )

    def _frame(
        self, kind: int, data: bytes, values: dict[str, float] | None = None, *, asked: bool = True
    ) -> Answer:
        body = data + self.sensor_id.to_bytes(2, "big")
        frame = bytes((0xAA, kind)) + body + bytes((sum(body) & 0xFF, 0xAB))
        return Answer(frame, ANSWER_S if asked else 0.0, values or {}, asked)


def _tenths(number: float) -> int:
    return round(min(max(number, 0.0), 999.9) * 10)
