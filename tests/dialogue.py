"""Plays dialogues: a driver's test as a text file that a technician can write from a manual or a capture.

    # Yosemitech Y532 manual V1.1, page 9 (printed by the vendor)        where the bytes come from: required
    model: yosemitech-y532
    address: 1                        optional, as are the next four
    options: unit=NTU average=3       as in station.toml; bare words are text
    port: tcp                         rtu (as it is when left out), ascii, tcp, rtu+tcp or raw
    echo: yes                         an adapter that hears itself
    trailing: no, the stream has no pauses      no rubbish behind the answers, and why

    call: read                        read when left out; also identify, sleep, wake, clean, …
    > 01 03 28 00 00 02 CD AB         what we send, to the last byte
    ~ 00 FF                           noise just before the next answer
    < 01 03 04 1F 85 DB 40 B7 0E      what we get; also "text\\r", 02 "DA" 0D, and 00*36 for 36 zeros
    = ph 6.86 pH; water_temperature 20.5 degC       all it gives; for identify: = serial 123; firmware 2
    note ph: sentinel                 Measurement.notes, all of them, a line each

    call: read                        the next call of the same instrument on the same link
    wait 30                           seconds go by (before the call, when nothing was said in it yet)
    > "R\\r"
    silence                           no answer
    ! NoAnswer no answer within       the error (or one it derives from), and a part of its text

`<` answers at once after `>`; without a `>` before it, it is said by the instrument itself a moment later.
After `=`, `!` or `note`, a new `>`, `<` or `~` begins the next call, by the name of the last. Time is
virtual: deadlines pass at once.
"""

from __future__ import annotations

import ast
import asyncio
import math
import re
import shlex
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from drivers import catalogue
from drivers.base import InstrumentError, Measurement
from drivers.link import Line, Link
from tests.ptys import Pty, TcpPort
from tests.virtual_time import run

Way = Literal["whole", "byte by byte", "trailing rubbish"]
WAYS: tuple[Way, ...] = ("whole", "byte by byte", "trailing rubbish")
RUBBISH = b"\x00\xff\x00"

MOMENT_S = 0.05  # before an instrument says something by itself
LONG_S = 7200.0  # virtual: no driver waits longer

Find = Callable[[str], Any]
"""What gives a model: something with `.line` and `.make(address, options)`, as `drivers.catalogue.find`
does.
"""


class DialogueFailed(AssertionError):
    """The driver did not keep to the dialogue."""


class BadDialogue(ValueError):
    """The file itself is wrong: file, line, what."""


@dataclass
class Step:
    kind: Literal[">", "<", "~", "silence", "wait"]
    line: int
    data: bytes = b""
    seconds: float = 0.0


@dataclass
class Call:
    name: str
    arguments: list[Any] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    line: int = 0
    expected: dict[str, str] | None = None
    error: tuple[str, str] | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def is_told(self) -> bool:
        return self.expected is not None or self.error is not None


@dataclass
class Dialogue:
    name: str
    source: str
    model: str = ""
    address: int | None = None
    options: dict[str, Any] = field(default_factory=dict)
    port: str = "rtu"
    echo: bool = False
    trailing: bool = True
    calls: list[Call] = field(default_factory=list)


def parse(text: str, name: str) -> Dialogue:
    """Read a dialogue. Raises BadDialogue with the line that is wrong."""
    lines = text.splitlines()
    if not lines or not re.match(r"#\s*\S.{7}", lines[0]):
        raise BadDialogue(
            f"{name}:1: the first line must name the source: # document, revision, page; printed or computed"
        )
    dialogue = Dialogue(name, lines[0].lstrip("# "))
    call = Call("read")
    for number, raw in enumerate(lines[1:], 2):
        line = _without_comment(raw).strip()
        if not line:
            continue
        try:
            call = _take(dialogue, call, line, number)
        except (ValueError, SyntaxError, IndexError) as e:
            raise BadDialogue(f"{name}:{number}: {e}: {raw.strip()}") from e
    if not dialogue.model:
        raise BadDialogue(f"{name}: no model")
    untold = [call for call in dialogue.calls if not call.is_told]
    if untold or not dialogue.calls:
        raise BadDialogue(
            f"{name}:{untold[0].line if untold else 1}: a call without its meaning: = or ! is missing"
        )
    return dialogue


def play(dialogue: Dialogue, way: Way, find: Find = catalogue.find) -> None:
    """Play a dialogue against the real driver over a real link. Raises DialogueFailed."""
    run(_play(dialogue, way, find))


# ── reading a file ────────────────────────────────────────────────────────────────────────────────────────

_HEADER = re.compile(r"(model|address|options|port|echo|trailing|call):\s*(.*)")
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|\S+')
_PORTS = ("rtu", "ascii", "tcp", "rtu+tcp", "raw")


def _take(dialogue: Dialogue, call: Call, line: str, number: int) -> Call:
    """Take one line; gives the call that later lines belong to."""
    if header := _HEADER.fullmatch(line):
        key, value = header.groups()
        if key == "call":
            words = value.split()
            return _begin(dialogue, words[0], [_value(word) for word in words[1:]], number)
        if dialogue.calls:
            raise ValueError(f"{key} must stand before the first call")
        _take_header(dialogue, key, value)
        return call
    kind, _, rest = line.partition(" ")
    if not dialogue.calls or (call.is_told and kind in (">", "<", "~", "silence", "wait")):
        call = _begin(dialogue, call.name, call.arguments, number)
    if kind in (">", "<", "~"):
        call.steps.append(Step(kind, number, _bytes(rest)))  # type: ignore[arg-type]  # narrowed by the test above
    elif line == "silence":
        call.steps.append(Step("silence", number))
    elif kind == "wait":
        call.steps.append(Step("wait", number, seconds=float(rest)))
    elif kind == "=":
        call.expected = (call.expected or {}) | _meaning(rest)
    elif kind == "!":
        error, _, text = rest.strip().partition(" ")
        call.error = (error, text.strip())
    elif kind == "note":
        call.notes.append(rest.strip())
    else:
        raise ValueError("not a line of a dialogue")
    return call


def _begin(dialogue: Dialogue, name: str, arguments: list[Any], number: int) -> Call:
    call = Call(name, arguments, line=number)
    dialogue.calls.append(call)
    return call


def _take_header(dialogue: Dialogue, key: str, value: str) -> None:
    if key == "model":
        dialogue.model = value
    elif key == "address":
        dialogue.address = int(value, 0)
    elif key == "options":
        pairs = (word.partition("=") for word in shlex.split(value))
        dialogue.options = {name: _value(text) for name, _, text in pairs}
    elif key == "port":
        if value not in _PORTS:
            raise ValueError(f"port is one of {', '.join(_PORTS)}")
        dialogue.port = value
    elif key == "echo":
        dialogue.echo = value == "yes"
    elif key == "trailing":
        if not re.match(r"no\W+\w", value):
            raise ValueError("trailing: no, and the reason")
        dialogue.trailing = False


def _without_comment(line: str) -> str:
    """The line up to a # that stands outside quotes, at the beginning or after a blank."""
    for found in re.finditer(r'"(?:[^"\\]|\\.)*"|(?:(?<=\s)|^)#', line):
        if found.group() == "#":
            return line[: found.start()]
    return line


def _bytes(text: str) -> bytes:
    data = b""
    for token in _TOKEN.findall(text):
        if token.startswith('"'):
            data += ast.literal_eval("b" + token)
        else:
            digits, _, times = token.partition("*")
            data += bytes.fromhex(digits) * int(times or 1)
    if not data:
        raise ValueError("no bytes")
    return data


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"v = {text}")["v"]
    except tomllib.TOMLDecodeError:
        return text


def _meaning(text: str) -> dict[str, str]:
    items = (item.strip().partition(" ") for item in text.split(";") if item.strip())
    return {name: value.strip() for name, _, value in items}


# ── playing ───────────────────────────────────────────────────────────────────────────────────────────────


async def _play(dialogue: Dialogue, way: Way, find: Find) -> None:
    model = find(dialogue.model)
    instrument = model.make(dialogue.address, dialogue.options)
    async with asyncio.timeout(len(dialogue.calls) * LONG_S * 2):
        wire: Pty | TcpPort = await TcpPort.open() if "tcp" in dialogue.port else Pty()
        with wire:
            link = _link(dialogue, wire, model.line)
            try:
                await link.open()
                for call in dialogue.calls:
                    await _Player(dialogue, way, wire, call).play(instrument, link)
            finally:
                link.close()


def _link(dialogue: Dialogue, wire: Pty | TcpPort, line: Line) -> Link:
    framing = {"ascii": "ascii", "tcp": "tcp"}.get(dialogue.port, "rtu")
    port = wire.port.replace("tcp://", "rtu+tcp://") if dialogue.port == "rtu+tcp" else wire.port
    return Link(port, line, framing=framing, echo=dialogue.echo)


@dataclass
class _Player:
    """One call: the driver on one end of the wire, the instrument's lines on the other."""

    dialogue: Dialogue
    way: Way
    wire: Pty | TcpPort
    call: Call
    at: Step | None = None

    async def play(self, instrument: Any, link: Link) -> None:
        steps = list(self.call.steps)
        if steps[:1] and steps[0].kind == "wait":
            await asyncio.sleep(steps.pop(0).seconds)
        method = getattr(instrument, self.call.name)
        driver = asyncio.create_task(method(link, *self.call.arguments), name="driver")
        wire = asyncio.create_task(self._speak(steps), name="wire")
        try:
            await asyncio.wait((driver, wire), return_when=asyncio.FIRST_COMPLETED)
            if not wire.done():  # the driver is through: what the instrument still has to say, it says now
                await asyncio.wait((wire,), timeout=MOMENT_S * (len(steps) + 2))
            if wire.done():
                wire.result()
                await asyncio.wait((driver,), timeout=LONG_S)
            if not driver.done():
                raise self._failed("the driver waits for ever; the dialogue has nothing more to say")
            await asyncio.sleep(MOMENT_S)
            heard = self.wire.overheard()
            if wire.done() and heard:
                raise self._failed(f"unexpected: {_hex(heard)}")
            self._judge(driver, instrument)
            if not wire.done():
                unsaid = self.at.data if self.at is not None else b""
                raise self._failed(f"never sent: {_hex(unsaid)}; on the wire: {_hex(heard)}")
        finally:
            for task in (driver, wire):
                task.cancel()
            await asyncio.gather(driver, wire, return_exceptions=True)

    async def _speak(self, steps: list[Step]) -> None:
        noise = b""
        answering = False
        for i, step in enumerate(steps):
            self.at = step
            if step.kind == ">":
                await self._expect(step)
            elif step.kind == "wait":
                await asyncio.sleep(step.seconds)
            elif step.kind == "~":
                noise += step.data
            elif step.kind == "<":
                if not answering:
                    await asyncio.sleep(MOMENT_S)
                is_last = all(other.kind not in ("<", "~") for other in steps[i + 1 : i + 2])
                rubbish = (
                    RUBBISH if self.way == "trailing rubbish" and self.dialogue.trailing and is_last else b""
                )
                await self._say(noise + step.data + rubbish)
                noise = b""
            answering = step.kind == ">" or (answering and step.kind == "~")

    async def _expect(self, step: Step) -> None:
        got = b""
        while len(got) < len(step.data):
            got += await self.wire.hear(1, LONG_S)
            if not step.data.startswith(got):
                await asyncio.sleep(MOMENT_S)
                got += self.wire.overheard()
                raise self._failed(f"expected {_hex(step.data)}, the driver sent {_hex(got)}")
        if self.dialogue.echo:
            self.wire.say(got)

    async def _say(self, data: bytes) -> None:
        if self.way != "byte by byte":
            self.wire.say(data)
            return
        for byte in data:
            self.wire.say(bytes((byte,)))
            await asyncio.sleep(0.001)

    def _judge(self, driver: asyncio.Task[Any], instrument: Any) -> None:
        """Compare what the call gave, or raised, with what the dialogue says it means."""
        error = driver.exception()
        if error is not None and not isinstance(error, InstrumentError):
            raise error
        if self.call.error is not None:
            kind, text = self.call.error
            if error is None:
                raise self._failed(f"expected {kind}, got {driver.result()}")
            if kind not in [c.__name__ for c in type(error).__mro__] or text not in str(error):
                raise self._failed(
                    f"expected {kind} with {text!r}, got {type(error).__name__}: {error}"
                ) from error
            return
        if error is not None:
            raise self._failed(f"{type(error).__name__}: {error}") from error
        result = driver.result()
        if isinstance(result, Measurement):
            self._compare(result, {q.name: q.unit for q in instrument.quantities})
        else:
            given = {} if result is None else {str(k): str(v) for k, v in result.items()}
            if given != self.call.expected:
                raise self._failed(f"expected {self.call.expected}, got {given}")

    def _compare(self, got: Measurement, units: Mapping[str, str]) -> None:
        expected = self.call.expected or {}
        shown = "; ".join(f"{name} {value!r} {units.get(name, '?')}" for name, value in got.values.items())
        wrong = set(expected) ^ set(got.values)
        for name, text in expected.items():
            number, _, unit = text.partition(" ")
            if name in got.values:
                close = math.isclose(got.values[name], float(number), rel_tol=1e-6, abs_tol=1e-9)
                if not close or unit.strip() != units.get(name):
                    wrong.add(name)
        if wrong:
            raise self._failed(f"expected {expected}, got {shown}: {', '.join(sorted(wrong))}")
        if list(got.notes) != self.call.notes:
            raise self._failed(f"expected the notes {self.call.notes}, got {list(got.notes)}")

    def _failed(self, why: str) -> DialogueFailed:
        line = self.at.line if self.at is not None else self.call.line
        return DialogueFailed(f"{self.dialogue.name}:{line}: {self.call.name}, {self.way}: {why}")


def _hex(data: bytes) -> str:
    return f"{data.hex(' ')} {data!r}" if data else "nothing"
