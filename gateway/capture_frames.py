"""Bytes on a wire as lines that a person reads: one for each frame, with its time, direction, bytes, meaning.

    2026-11-24T03:20:01.123Z river > 01 03 00 00 00 0A C5 CD  | unit 1: read 10 registers …; CRC good
    2026-11-24T03:20:01.181Z river < 01 83 02 C0 F1           | unit 1: refused (exception 2: …); CRC good

`>` is what we sent, `<` what came. A frame ends where the direction turns or the wire rests; the time is that
of its first bytes, as they reached this program. Modbus: MODBUS over Serial Line V1.02; streams and lines are
recognised as a scan does it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from drivers import frames
from drivers.link import Link
from gateway.model import Stamp
from gateway.scan_listen import recognise

REST_MS = 40
"""A pause this long ends a frame; an adapter may hold bytes back for 16 ms."""
FRAME_LIMIT = 1024
"""Longer ones are cut into lines of this many bytes."""
_EXCEPTIONS = {
    1: "illegal function", 2: "illegal data address", 3: "illegal data value", 4: "device failure",
    5: "acknowledged, takes long", 6: "busy",
}  # fmt: skip


class Frames:
    """Puts what a link says and hears together to frames. `put` gets whole lines; it must not raise.

    Set as `link.tap`; call `flush` now and then, and at the end.
    """

    def __init__(
        self, name: str, link: Link, stamp: Callable[[], Stamp], put: Callable[[str], object]
    ) -> None:
        self._name, self._link, self._stamp, self._put = name, link, stamp, put
        self._sent, self._data = False, b""
        self._first_ms = self._last_ms = 0
        self._utc_ms = 0
        self._asked = b""

    def __call__(self, sent: bool, data: bytes) -> None:
        at = self._stamp()
        rest_ms = max(REST_MS, 4000 * self._link.line.char_s)
        turned = sent != self._sent or sent or at.mono_ms - self._last_ms > rest_ms
        if turned or len(self._data) + len(data) > FRAME_LIMIT:
            self.flush()
        if not self._data:
            self._sent, self._utc_ms = sent, at.utc_ms
        self._data += data[:FRAME_LIMIT]
        self._last_ms = at.mono_ms

    def flush(self, *, resting: bool = False) -> None:
        """Say what has come; with `resting` only if the wire is at rest."""
        if not self._data or (resting and self._stamp().mono_ms - self._last_ms <= REST_MS):
            return
        data, self._data = self._data, b""
        means = meaning(self._link.framing, data, sent=self._sent)
        hex_ = data.hex(" ").upper()
        arrow = ">" if self._sent else "<"
        self._put(f"{when(self._utc_ms)} {self._name} {arrow} {hex_}" + (f"  | {means}" if means else ""))


def when(utc_ms: int) -> str:
    """An instant as ISO 8601 writes it, in milliseconds."""
    at = datetime.fromtimestamp(utc_ms / 1000, UTC)
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"


def meaning(framing: str, data: bytes, *, sent: bool) -> str:
    """What a frame says, as far as that shows in itself; "" where it does not."""
    if framing == "tcp":
        if len(data) >= 9 and data[2:4] == b"\0\0" and int.from_bytes(data[4:6]) == len(data) - 6:
            return f"transaction {int.from_bytes(data[:2])}, {_modbus(data[6], data[7:], sent=sent)}"
        return "no whole Modbus TCP frame"
    if len(data) >= 4 and frames.crc16(data[:-2]) == data[-2] | data[-1] << 8:
        return f"{_modbus(data[0], data[1:-2], sent=sent)}; CRC good"
    heard = recognise(data)
    if heard is not None and heard.model:
        values = ", ".join(f"{name} {value:g}" for name, value in list(heard.values.items())[:4])
        return f"{heard.model}: {values}" if values else heard.model
    text = data.decode("ascii", "replace").strip("\r\n\0")
    if text and text.isascii() and text.isprintable():
        return f'text "{text}"'
    if data[0] == data[-1] == 0x7E and len(data) > 5:
        return "SHDLC frame (SPS30)"
    return ""


# ── inside ──────────────────────────────────────────────────────────────────────────────────────────


def _modbus(unit: int, pdu: bytes, *, sent: bool) -> str:
    function, rest = pdu[0], pdu[1:]
    who = f"unit {unit}"
    if function & 0x80:
        code = rest[0] if rest else 0
        return f"{who}: refused (exception {code}: {_EXCEPTIONS.get(code, 'the maker knows')})"
    if function in (1, 2, 3, 4):
        what = "bits" if function < 3 else "registers"
        if sent and len(rest) == 4:
            first, count = int.from_bytes(rest[:2]), int.from_bytes(rest[2:])
            return f"{who}: read {count} {what} (function {function}) from 0x{first:04X}"
        if not sent and rest and rest[0] == len(rest) - 1:
            shown = rest[1:].hex(" ", 2 if function > 2 else 1)
            return f"{who}: {len(rest) // 2 if function > 2 else 8 * rest[0]} {what}: {shown}"
    if function in (5, 6, 15, 16) and len(rest) >= 4:
        first = int.from_bytes(rest[:2])
        what = "write" if sent else "written"
        count = int.from_bytes(rest[2:4]) if function > 6 else 1
        return f"{who}: {what} {count} (function {function}) at 0x{first:04X}"
    return f"{who}: function {function}, {len(rest)} bytes"
