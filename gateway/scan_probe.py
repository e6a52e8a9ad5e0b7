"""What a scan asks, and what an answer means. Pure: gateway.scan_wire sends and waits.

Only reads are asked: Modbus functions 1 to 4 with at least one register (some probes take a read of none as a
command), and of other instruments the questions in `QUESTIONS`. `may_be_sent` says so for every frame. Reads
that start a measurement (`read_one`, `read_zero` of a profile) are never among them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from drivers import atlas, catalogue, frames, plantower, profile, sdi12, sds011, sps30
from drivers.base import InstrumentError
from drivers.catalogue import BadProfile
from drivers.link import Line
from drivers.modbus_instrument import identity_text
from drivers.profile_format import Identity, Profile
from drivers.profile_plan import judge, plan
from drivers.profile_sizes import SIZES
from gateway.scan_listen import Heard, recognise

FUNCTIONS = {"holding": 3, "input": 4}
ANYBODY = frames.read_pdu(3, 0, 1)
"""What units that follow the specification answer, be it with an exception."""
LINES = (
    Line(9600, "8N1"), Line(115200, "8N1"), Line(4800, "8N1"), Line(9600, "8N2"), Line(19200, "8N2"),
    Line(19200, "8E1"), Line(9600, "8E1"), Line(19200, "8N1"), Line(38400, "8N1"), Line(2400, "8N1"),
    Line(57600, "8N1"), Line(115200, "8E1"),
)  # fmt: skip
"""The likeliest first; factory settings of the profiles are added where they are missing."""
LIKELY = {
    "ph": (1, 13), "water_temperature": (-2, 45), "air_temperature": (-40, 50), "humidity": (1, 100),
    "turbidity": (0, 4000), "conductivity": (0, 100_000), "electrode_potential": (-600, 600),
    "orp": (-1000, 1200), "voltage": (8, 60), "pm2_5": (0, 1000), "pm10": (0, 2000), "pressure": (500, 1100),
    "charge": (0, 100), "suspended_solids": (0, 5000),
}  # fmt: skip
"""What a probe in use shows: for the choice between models whose registers look alike."""


@dataclass(frozen=True, slots=True)
class Question:
    """One read of an instrument that is no Modbus unit, and how its answer is recognised."""

    name: str
    data: bytes
    line: Line
    within_s: float
    meant: Callable[[bytes], Heard | None]


@dataclass(frozen=True, slots=True)
class Kind:
    """A Modbus model as the scan sees it."""

    profile: Profile
    line: Line
    identify: tuple[tuple[bytes, Identity], ...]
    plan: tuple[bytes, ...]

    @property
    def model(self) -> str:
        return self.profile.model

    @property
    def first(self) -> bytes:
        """What one of this model surely answers."""
        return self.identify[0][0] if self.identify else self.plan[0]


@dataclass(frozen=True, slots=True)
class Match:
    """How well a unit's answers fit a model."""

    kind: Kind
    score: float
    sure: bool
    identity: dict[str, str]
    values: dict[str, float]


Answers = Mapping[bytes, bytes | None]
"""By request: the answer's PDU, or None where there was none or an exception."""


def may_be_sent(framing: str, data: bytes) -> bool:
    """Whether a frame only reads."""
    if data in _ASKED or sdi12.is_read(data):
        return True
    pdu = data[7:] if framing == "tcp" else data[1:-2]
    return len(pdu) == 5 and 1 <= pdu[0] <= 4 and (pdu[3] << 8 | pdu[4]) > 0


def kinds(folders: Sequence[Path] = ()) -> tuple[Kind, ...]:
    """All Modbus models there are, factory line by factory line. A profile that cannot be read is left out.

    Reads files.
    """
    found = []
    for name in catalogue.names(folders):
        files = [folder / f"{name}.toml" for folder in (*folders, catalogue.PROFILES)]
        file = next((file for file in files if file.is_file()), None)
        if file is None:
            continue
        try:
            found.append(_kind(profile.load(file)))
        except BadProfile:  # `suuaba check` says what is wrong with it
            continue
    return tuple(found)


def lines(known: Sequence[Kind]) -> tuple[Line, ...]:
    """The line settings to try, the likeliest first."""
    return tuple(dict.fromkeys((*LINES, *(kind.line for kind in known))))


def hellos(known: Sequence[Kind]) -> tuple[bytes, ...]:
    """As few requests as make every model show that it is there: those with no answer for others need one
    of their own, all others answer anything, be it with an exception.
    """
    left = [kind for kind in known if kind.profile.silent]
    chosen: list[bytes] = []
    while left:
        asks = [{pdu for pdu, _ in kind.identify} | set(kind.plan) for kind in left]
        best = max(sorted(set().union(*asks)), key=lambda pdu: sum(pdu in some for some in asks))
        chosen.append(best)
        left = [kind for kind, some in zip(left, asks, strict=True) if best not in some]
    return (*chosen, ANYBODY)


def factory(known: Sequence[Kind], line: Line) -> tuple[tuple[int, bytes, float], ...]:
    """(unit, request, how long to wait) for the models that leave the factory with these settings."""
    asked: dict[tuple[int, bytes], float] = {}
    for kind in known:
        if kind.line == line:
            key = kind.profile.address, kind.first
            asked[key] = max(asked.get(key, 0.0), min(kind.profile.timing.answer_s, 1.0))
    return tuple((unit, pdu, wait_s) for (unit, pdu), wait_s in asked.items())


def match(kind: Kind, answers: Answers, line: Line, unit: int) -> Match | None:
    """How well answers fit a model; None where they do not. `answers` holds all its requests."""
    identity, sure = {}, False
    for pdu, entry in kind.identify:
        answer = answers.get(pdu)
        if answer is None:
            if entry.tells is not None:
                return None
            continue
        text = identity_text(entry, answer[2:])
        identity[entry.name] = text
        if entry.tells is not None:
            if not _told(entry, text):
                return None
            sure = True
    got = [answers.get(pdu) for pdu in kind.plan]
    have = [answer for answer in got if answer is not None]
    values: dict[str, float] = {}
    notes: tuple[str, ...] = ()
    if len(have) == len(got):
        requests, numbers, states = plan(kind.profile)
        try:
            values, notes = judge(have, requests, numbers, states)
        except InstrumentError as e:
            notes = (str(e),)
    elif not sure:
        return None
    wanted = len(kind.profile.registers)
    if not sure and len(values) < wanted and not identity:
        return None
    score = 10.0 * sure + 3.0 * bool(identity) + 2.0 * (kind.line == line) + (kind.profile.address == unit)
    score += sum(_likely(name, value) for name, value in values.items()) / wanted
    score += 0.1 * len(kind.plan) + 0.5 * bool(kind.profile.status and not notes and values)
    if kind.profile.start:
        values = {}  # it has not been told to measure: these are old
    return Match(kind, score, sure, identity, values)


def best(found: Sequence[Match]) -> tuple[Match | None, tuple[str, ...]]:
    """The model that fits best, and those that fit as well as it without being told apart."""
    if not found:
        return None, ()
    ranked = sorted(found, key=lambda m: (-m.score, m.kind.model))
    first = ranked[0]
    if first.sure:
        return first, ()
    return first, tuple(m.kind.model for m in ranked[1:4] if not m.sure)


def questions(line: Line) -> tuple[Question, ...]:
    """What is asked of instruments that are no Modbus units, at these settings."""
    return tuple(question for question in QUESTIONS if question.line == line)


# ── inside ──────────────────────────────────────────────────────────────────────────────────────


def _kind(p: Profile) -> Kind:
    identify = tuple(
        (frames.read_pdu(FUNCTIONS[e.table], e.address, SIZES.get(e.format, e.count)), e) for e in p.identify
    )
    acts = {step.read_one for step in (*p.start, *p.before)} | {s.read_zero for s in (*p.start, *p.before)}
    requests = tuple(request.pdu for request in plan(p)[0])
    harmless = tuple(pdu for pdu in requests if pdu[1] << 8 | pdu[2] not in acts)
    return Kind(p, Line(p.line.baudrate, p.line.format), identify, harmless or requests[:0])


def _told(entry: Identity, text: str) -> bool:
    tells = entry.tells
    if tells is None:
        return False
    return tells.text in text if tells.at is None else text[tells.at :].startswith(tells.text)


def _likely(quantity: str, value: float) -> float:
    low, high = LIKELY.get(quantity, (-math.inf, math.inf))
    return 1.0 if low <= value <= high and value != 0 else 0.0


def _ezo(got: bytes) -> Heard | None:
    while (found := atlas.cut(got)) is not None:
        line, used = found
        got = got[used:]
        if line.lower().startswith(b"?i,"):
            kind, _, firmware = line[3:].decode("ascii", "replace").partition(",")
            model = "atlas" if kind.lower() == "ph" else ""
            return Heard(model, {"circuit": f"EZO-{kind}", "firmware": firmware}, {})
    return None


def _sds011(got: bytes) -> Heard | None:
    while (found := sds011.cut(got)) is not None:
        frame, used = found
        got = got[used:]
        if frame[1] == sds011.REPLY and frame[2] == sds011.FIRMWARE:
            made = "20{:02d}-{:02d}-{:02d}".format(*frame[3:6])
            return Heard("sds011", {"firmware": made, "serial": f"{sds011.id_of(frame):04X}"}, {})
    return None


def _sps30(got: bytes) -> Heard | None:
    found = sps30.cut(got)
    reply = sps30.parse(found[0]) if found else None
    if reply is None or reply.command != sps30.INFORMATION:
        return None
    serial = reply.data.split(b"\0")[0].decode("ascii", "replace")
    return Heard("sps30", {"serial": serial} if serial else {}, {})


def _modem(got: bytes) -> Heard | None:
    return Heard("modem", {}, {}) if b"\r\nOK\r\n" in got else None


UART = Line(9600, "8N1")
# A modem and an EZO take lines: they are asked before what is no text stands in their line.
QUESTIONS = (
    Question("EZO", atlas.command("i"), UART, 0.8, _ezo),
    Question("AT modem", b"AT\r", UART, 0.5, _modem),
    Question("Plantower", plantower.READ, UART, 0.6, recognise),
    Question("SDS011", sds011.command(sds011.FIRMWARE), UART, 0.6, _sds011),
    Question("AT modem", b"AT\r", Line(115200, "8N1"), 0.5, _modem),
    Question(
        "SPS30", sps30.request(sps30.INFORMATION, sps30.SERIAL_NUMBER), Line(115200, "8N1"), 0.5, _sps30
    ),
)
_ASKED = frozenset(question.data for question in QUESTIONS)
