"""What bytes on a wire are, when nobody asked for them: streams that name their instrument. Pure.

Plantower and SDS011 from the factory send a frame every second or two, an EZO circuit a line each second; GPS
receivers and weather stations send lines with a check ($…*hh, NMEA 0183). Whole Modbus requests that we did
not send mean that another master is at work there: then nothing is sent at all.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from drivers import atlas, frames, plantower, sds011
from drivers.base import GarbledAnswer, InstrumentError

_CHECKED = re.compile(rb"\$([ -)+-~]{4,80})\*([0-9A-Fa-f]{2})")
EZO_LINES = 2
"""So many numbers on lines of their own are an EZO circuit; one may be anything."""


@dataclass(frozen=True, slots=True)
class Heard:
    """An instrument that spoke: its model ("" where no driver knows it) and what it said of itself."""

    model: str
    identity: dict[str, str]
    values: dict[str, float]


def recognise(got: bytes) -> Heard | None:
    """The instrument that streams this; None when the bytes are none that we know."""
    return _plantower(got) or _sds011(got) or _ezo(got) or _lines(got)


def another_master(got: bytes) -> bool:
    """Whether these hold a whole Modbus read request with a good CRC."""
    for at in range(len(got) - 7):
        request = got[at : at + 8]
        if 1 <= request[1] <= 4 and frames.crc16(request[:6]) == request[6] | request[7] << 8:
            return True
    return False


# ── inside ──────────────────────────────────────────────────────────────────────────────────────


def _plantower(got: bytes) -> Heard | None:
    while (found := plantower.cut(got)) is not None:
        frame, used = found
        got = got[used:]
        if len(frame) != plantower.DATA_LENGTH:
            continue
        try:
            values = plantower.decode(frame)
        except InstrumentError:
            values = {}
        return Heard("plantower", {"firmware": f"0x{frame[28]:02X}"}, values)
    return None


def _sds011(got: bytes) -> Heard | None:
    while (found := sds011.cut(got)) is not None:
        frame, used = found
        got = got[used:]
        if frame[1] != sds011.DATA:
            continue
        try:
            values = sds011.decode(frame)
        except InstrumentError:
            values = {}
        return Heard("sds011", {"serial": f"{sds011.id_of(frame):04X}"}, values)
    return None


def _ezo(got: bytes) -> Heard | None:
    numbers = []
    while (found := atlas.cut(got)) is not None:
        line, used = found
        got = got[used:]
        try:
            numbers.append(atlas.decode(line))
        except GarbledAnswer:
            continue
    return Heard("atlas", {}, {"ph": numbers[-1]}) if len(numbers) >= EZO_LINES else None


def _lines(got: bytes) -> Heard | None:
    for body, check in _CHECKED.findall(got):
        sum_ = 0
        for byte in body:
            sum_ ^= byte
        if sum_ == int(check, 16):
            return Heard("", {"line": f"${body.decode('ascii')}*{check.decode('ascii')}"}, {})
    return None
