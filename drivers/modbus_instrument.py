"""A Modbus instrument read by its profile: start it, wait as it wants, ask in few requests, judge.

    powered up ─ boot_s ► answers ─ start steps, settings ► measuring ─ warm_up_s ► numbers, numbers …
         ▲                                                                              │
         └─ its port was opened, two requests in a row stayed silent, a setting was lost ─┘

Before its numbers are good, while it wipes itself, and while it answers zeros that mean "not yet", a reading
is `NotReady` with the time to wait; it is never a number. What can be worked out once is worked out when the
object is made: a reading costs its requests, one unpacking each, and one pass over the quantities.

Registers that lie together are asked for together. Some firmwares refuse that (exception 02 or 03 to a
request they answer piece by piece): then the requests are taken apart, and put together again to see after
`JOIN_AGAIN_S`.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from drivers import modbus
from drivers.base import InstrumentFault, Measurement, NoAnswer, NotReady, RequestRefused
from drivers.calibrates import Calibrates
from drivers.link import Link
from drivers.profile_plan import FUNCTIONS, judge, plans, quantities
from drivers.profile_sizes import SIZES

if TYPE_CHECKING:
    from drivers.profile_format import Calibrate, Identity, Profile, Setting, Step

UNANSWERED = 2
"""Requests in a row without an answer after which the instrument is taken to have lost its power."""
LATE = 2.0
"""An answer is waited out for so many times `answer_s` before the same instrument is asked again."""
JOIN_AGAIN_S = 6 * 3600.0
"""After this long, requests that were taken apart are tried together again: the probe may be another one."""


class ModbusInstrument:
    """One instrument on a bus. Raises ValueError with a hint for an address or an option it cannot have."""

    clean: Callable[[Link], Awaitable[None]]
    """There only where the profile says how: make it wipe itself. Blocks for the request, not the wiping."""
    calibrates: Calibrates
    """There only where the profile says how, and so are these three: see drivers.calibrates."""
    calibrate: Callable[[Link, float, float], Awaitable[dict[str, str]]]
    adjust: Callable[[Link, float, float], Awaitable[dict[str, str]]]
    calibration: Callable[[Link], Awaitable[dict[str, str]]]
    identify: Callable[[Link], Awaitable[dict[str, str]]]
    """There only where the profile says how: serial number, versions."""

    def __init__(
        self, profile: Profile, address: int | None = None, options: Mapping[str, Any] | None = None
    ) -> None:
        self.profile = profile
        self.quantities = quantities(profile)
        self.address = profile.address if address is None else address
        if not 1 <= self.address <= 247:
            raise ValueError(f"address {self.address} is no Modbus address: 1 to 247")
        options = options or {}
        _know(profile, options)
        timing = profile.timing
        self._warm_up_s = float(options.get("warm_up_s", timing.warm_up_s))
        self._boot_s = min(timing.boot_s, self._warm_up_s) if "warm_up_s" in options else timing.boot_s
        self.answer_s = self.answer_within_s = float(options.get("answer_s", timing.answer_s))
        """The longest an answer may take; and how long the requests of a reading are waited for, which
        whoever learns how fast this instrument is may shorten.
        """
        self.took_s = 0.0
        """How long the slowest answer of the last reading took; a late one that was dropped counts too."""
        self.split = ""
        """Why a reading takes more requests than it could; "" when it does not."""
        self._gap_s = timing.gap_s
        self._settings = [(s, int(options[s.option])) for s in profile.setting if s.option in options]
        self._unit = bytes((self.address,))
        self._plans = plans(profile)
        self._requests, self._numbers, self._states = self._plans[0]
        self._level = 0
        self._whole_until_s = -math.inf
        self._join_s = math.inf
        """Loop time from which requests that were taken apart may be tried together again."""

        self._opened_at_s = -math.inf
        self._resting = True
        """It has to be started before it measures."""
        self._answers_s = self._ready_s = 0.0
        """Loop times from which it answers, and from which its numbers are good."""
        self._unanswered = 0
        self._check_s = math.inf
        """Loop time of the next look whether its settings still stand."""
        self._cleans: tuple[float, float] | None = None
        """When its own cleaning interval began, and how long it is."""
        self._clean_until_s = -math.inf

        if profile.calibrate:
            self._offer_calibration(profile.calibrate)
        if profile.identify:
            self.identify = self._identify
        if profile.clean:
            self.clean = self._clean

    async def read(self, link: Link) -> Measurement:
        """Take one measurement. Blocks for its requests and the waits its profile names.

        `frame` holds the answers from the unit address to the last data byte, without the framing's checksum.
        Raises NotReady while it starts up, warms up or wipes itself, and what `drivers.modbus` raises.
        """
        if not link.is_open:
            await link.open()
        now_s = asyncio.get_running_loop().time()
        self.took_s = 0.0
        if link.opened_at_s != self._opened_at_s:
            self._opened_at_s = link.opened_at_s
            self._answers_s = link.opened_at_s + self._boot_s
            self._ready_s = link.opened_at_s + self._warm_up_s
            self._resting = True
        if now_s < self._answers_s:
            raise NotReady("starting up", self._answers_s - now_s)
        try:
            if self._resting:
                await self._start(link)
            elif now_s >= self._check_s:
                await self._check(link)
            self._want_ready()
            answers = await self._ask(link)
        except NoAnswer:
            self._unanswered += 1
            if self._unanswered >= UNANSWERED:
                self._resting = True
            raise
        self._unanswered = 0
        values, notes = judge(answers, self._requests, self._numbers, self._states)
        return Measurement(values, self._unit + self._unit.join(answers), notes)

    def late_until_s(self, link: Link) -> float:
        """Loop time until which a late answer may come; asked before, it makes the next request wait."""
        return modbus.late_until_s(link, self.address)

    def _offer_calibration(self, asked: Calibrate) -> None:
        """See drivers.calibrates."""
        from drivers.modbus_calibrate import Wire, calibrates

        def wire(link: Link) -> Wire:
            return Wire(asked, link, self.address, self.answer_s, self._gap_s)

        async def calibrate(link: Link, nominal: float, value: float) -> dict[str, str]:
            return await wire(link).take(nominal)

        async def adjust(link: Link, slope: float, offset: float) -> dict[str, str]:
            return await wire(link).adjust(slope, offset)

        async def calibration(link: Link) -> dict[str, str]:
            return await wire(link).says()

        self.calibrates = calibrates(asked)
        self.calibration = calibration
        if self.calibrates.way == "points":
            self.calibrate = calibrate
        else:
            self.adjust = adjust

    # ── the life of an instrument ──────────────────────────────────────────────────────────────────────────

    async def _start(self, link: Link) -> None:
        """Make it measure. After a silence the warm-up begins with its first answer."""
        await self._walk(link, self.profile.start)
        for setting, value in self._settings:
            data = modbus.encode(value, setting.format, setting.order)
            await self._write(link, setting.function, setting.address, data)
            heard = await self._setting(link, setting)
            if heard != value:
                raise InstrumentFault(f"{setting.option} was set to {value} and reads back as {heard}")
        was_silent = self._unanswered >= UNANSWERED
        if was_silent and self._warm_up_s and not (self.profile.start or self._settings):
            await self._send(link, self._requests[0].pdu)  # a sign of life; its numbers are not good yet
        now_s = asyncio.get_running_loop().time()
        if self.profile.start or was_silent:
            self._ready_s = now_s + self._warm_up_s
        for setting, value in self._settings:
            self._check_s = now_s + setting.check_s
            if setting.cleans_every_s:
                self._cleans = (now_s, value * setting.cleans_every_s) if value else None
        self._unanswered = 0
        self._resting = False

    async def _check(self, link: Link) -> None:
        """See whether the settings still stand: an instrument that lost them was reset; start it again."""
        for setting, value in self._settings:
            heard = await self._setting(link, setting)
            if heard != value:
                self._resting = True
                raise NotReady(
                    f"it was reset: {setting.option} is {heard}, not {value}; starting it again", 0.0
                )
            self._check_s = asyncio.get_running_loop().time() + setting.check_s

    def _want_ready(self) -> None:
        """Raise NotReady while its numbers are not good."""
        now_s = asyncio.get_running_loop().time()
        if now_s < self._ready_s:
            raise NotReady("warming up", self._ready_s - now_s)
        until_s = self._clean_until_s
        if self._cleans and self.profile.clean:
            began_s, length_s = self._cleans
            rounds = math.floor((now_s - began_s) / length_s)
            if rounds > 0:
                until_s = max(until_s, began_s + rounds * length_s + self.profile.clean.busy_s)
        if now_s < until_s:
            raise NotReady("wiping", until_s - now_s)

    async def _clean(self, link: Link) -> None:
        if self.profile.clean:
            await self._walk(link, self.profile.clean.step)
            self._clean_until_s = asyncio.get_running_loop().time() + self.profile.clean.busy_s

    async def _identify(self, link: Link) -> dict[str, str]:
        """What it says of itself. A register it does not have is left out; raises when it has none."""
        found: dict[str, str] = {}
        trouble: NoAnswer | RequestRefused | None = None
        for entry in self.profile.identify:
            count = SIZES.get(entry.format, entry.count)
            try:
                answer = await self._read(link, FUNCTIONS[entry.table], entry.address, count)
            except (NoAnswer, RequestRefused) as e:
                trouble = e
                continue
            found[entry.name] = identity_text(entry, answer[2:])
        if trouble is not None and not found:
            raise trouble
        return found

    # ── asking ─────────────────────────────────────────────────────────────────────────────────────────────

    async def _ask(self, link: Link) -> list[bytes]:
        """The answers' PDUs of one reading."""
        if self.profile.before:
            await self._walk(link, self.profile.before)
        rule = self.profile.not_ready
        tries = rule.retries if rule else 0
        while True:
            answers = await self._answers(link)
            if rule is None or any(any(answer[2:]) for answer in answers):
                return answers
            if tries == 0:
                raise NotReady("it answers zeros, which mean that it has no number yet", rule.retry_s)
            tries -= 1
            await asyncio.sleep(rule.retry_s)

    async def _answers(self, link: Link) -> list[bytes]:
        """Ask for as much at once as it lets us. Raises RequestRefused where taking apart does not help."""
        now_s = asyncio.get_running_loop().time()
        if now_s >= self._join_s:
            self._take_apart(0, "")
        refusal: RequestRefused | None = None
        ways = range(self._level, len(self._plans)) if now_s >= self._whole_until_s else (0,)
        for level in ways:
            try:
                requests = self._plans[level][0]
                answers = [await self._send(link, request.pdu, self.answer_within_s) for request in requests]
            except (modbus.IllegalDataAddress, modbus.IllegalDataValue) as e:
                refusal = refusal or e
                continue
            if refusal is not None:
                self._take_apart(level, f"it takes {len(requests)} requests now: {refusal}")
                self._join_s = now_s + JOIN_AGAIN_S
            return answers
        if refusal is None:
            raise AssertionError("no way to ask")
        if len(ways) > 1:  # nothing helped: it is the wrong map
            self._whole_until_s = now_s + JOIN_AGAIN_S
            self._take_apart(0, "")
        raise refusal

    def _take_apart(self, level: int, why: str) -> None:
        self._level, self.split, self._join_s = level, why, math.inf
        self._requests, self._numbers, self._states = self._plans[level]

    async def _walk(self, link: Link, steps: Sequence[Step]) -> None:
        for step in steps:
            if (write := step.write) is not None:
                await self._write(link, write.function, write.address, write.value.to_bytes(2, "big"))
            elif step.write_zero is not None:
                await self._write(link, 16, step.write_zero, b"")
            elif step.read_zero is not None:
                await self._read(link, 3, step.read_zero, 0)
            elif step.read_one is not None:
                await self._read(link, 3, step.read_one, 1)
            elif step.wait_s is not None:
                await asyncio.sleep(step.wait_s)
            elif (wait := step.wait_register) is not None:
                answer = await self._read(link, FUNCTIONS[wait.table], wait.address, 1)
                wait_s = int.from_bytes(answer[2:], "big") * wait.scale + wait.plus_s
                await asyncio.sleep(min(wait_s, wait.at_most_s))

    async def _send(self, link: Link, pdu: bytes, within_s: float | None = None) -> bytes:
        within_s = self.answer_s if within_s is None else min(within_s, self.answer_s)
        link.took_s = 0.0
        unit, after_s, late_s = self.address, self._gap_s, LATE * self.answer_s
        try:
            return await modbus.ask(link, unit, pdu, within_s=within_s, after_s=after_s, late_s=late_s)
        finally:
            self.took_s = max(self.took_s, link.took_s)

    async def _read(self, link: Link, function: int, address: int, count: int) -> bytes:
        return await self._send(link, modbus.read_pdu(function, address, count))

    async def _write(self, link: Link, function: int, address: int, data: bytes) -> None:
        unit, within_s, after_s = self.address, self.answer_s, self._gap_s
        if function == 6:
            value = int.from_bytes(data, "big")
            await modbus.write_register(link, unit, address, value, within_s=within_s, after_s=after_s)
        else:
            await modbus.write_registers(link, unit, address, data, within_s=within_s, after_s=after_s)

    async def _setting(self, link: Link, setting: Setting) -> int:
        answer = await self._read(link, 3, setting.address, 1)
        return int(modbus.decode(answer[2:], setting.format, setting.order))


# ── inside ─────────────────────────────────────────────────────────────────────────────────────────────────


def identity_text(entry: Identity, data: bytes) -> str:
    """An identity register in words."""
    if entry.format == "version":
        return f"{data[0]}.{data[1]:02d}"
    if entry.format == "hex":
        return data.hex()
    if entry.format == "ascii":
        if entry.order in ("BADC", "DCBA"):
            data = b"".join(bytes((data[i + 1], data[i])) for i in range(0, len(data), 2))
        shown = "".join(chr(c) for c in data.split(b"\0")[0] if 32 <= c < 127)
        # Some probes put a stray `)` or `$` before their serial number; none of them begins with a sign.
        return shown.lstrip(" !\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~").rstrip()
    return f"{modbus.decode(data, entry.format, entry.order):.10g}"


def _know(profile: Profile, options: Mapping[str, Any]) -> None:
    """Refuse an option that the profile does not have, or a value out of its range."""
    allowed: dict[str, tuple[float, float]] = {"warm_up_s": (0, 3600), "answer_s": (0.01, 30)}
    allowed |= {s.option: (s.allowed[0], s.allowed[1]) for s in profile.setting}
    whole = {s.option for s in profile.setting}
    for name, value in options.items():
        if name not in allowed:
            from difflib import get_close_matches  # seldom, and it takes memory

            close = get_close_matches(name, allowed, n=1)
            hint = f"did you mean {close[0]}?" if close else f"it has: {', '.join(allowed)}"
            raise ValueError(f"{profile.model} has no option {name!r}: {hint}")
        lowest, highest = allowed[name]
        kind = "a whole number" if name in whole else "a number"
        right = isinstance(value, int if name in whole else int | float) and not isinstance(value, bool)
        if not right or not lowest <= value <= highest:
            raise ValueError(f"option {name} = {value!r}: must be {kind} from {lowest:g} to {highest:g}")
