"""Raw frames of a bus for some minutes, both directions, as text to take along: for whoever must see what the
wire says (gateway.capture_frames has the format).

    capture.begin("river", minutes=5, by="Aibek")       raises ControlError
    for part in capture.text(): …                       while it runs, and afterwards until the next

Buses of instruments only: what goes to and comes from the SMS modem (telephone numbers, texts, a PIN) is no
bus and cannot be captured. The text is kept packed in memory, `PACKED_LIMIT` at most, and goes with the
process: nothing is written to the card. It ends by itself by its time or when it is full; events "capture"
say that there was one.
"""

from __future__ import annotations

import asyncio
import contextlib
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from gateway.capture_frames import Frames, when
from gateway.errors import ControlError
from gateway.model import Event, Reading

if TYPE_CHECKING:
    from gateway.bus import Bus
    from gateway.station import Station

MINUTES_AT_MOST = 60
PACKED_LIMIT = 2 * 1024 * 1024
TEXT_LIMIT = 32 * 1024 * 1024
LOOK_S = 0.25
PART = 64 * 1024


class Capture:
    """One at a time. `run` belongs under `supervise`; the rest may be called from the same loop."""

    def __init__(self, station: Station) -> None:
        self._station = station
        self.bus, self.by, self.why = "", "", ""
        self.begun_ms = self.until_ms = 0
        self.under_way = False
        self.lines = self.bytes = 0
        self._packed: list[bytes] = []
        self._packed_bytes = 0
        self._packer = zlib.compressobj(6)
        self._asked = asyncio.Event()
        self._stop = asyncio.Event()

    def begin(self, bus: str, *, minutes: float, by: str) -> None:
        """Begin; what was captured before is gone. Raises ControlError."""
        if self.under_way:
            raise ControlError(f"a capture of {self.bus} is under way, begun by {self.by}; stop it first")
        if not 0 < minutes <= MINUTES_AT_MOST:
            raise ControlError(f"capture: minutes: more than 0, and {MINUTES_AT_MOST} at most")
        one = self._found(bus)
        at = self._station.clock.stamp()
        self.bus, self.by, self.why, self.under_way = bus, by, "", True
        self.begun_ms, self.until_ms = at.utc_ms, at.utc_ms + int(60_000 * minutes)
        self.lines = self.bytes = 0
        self._packed, self._packed_bytes, self._packer = [], 0, zlib.compressobj(6)
        self._stop.clear()
        line = f" {one.link.line.baudrate} {one.link.line.format}" if one.link.is_serial else ""
        unsure = "" if at.synced else "; the clock is not sure"
        self._put(
            f"# {self._station.config.id}, {bus}: {one.link.port}{line}; from {when(at.utc_ms)}, "
            f"{minutes:g} min, by {by}{unsure}"
        )
        self._put("# time bus, > sent, < came, = what was read; bytes in hex | what they mean")
        self._asked.set()

    def stop(self) -> None:
        """End the one under way; what was captured stays."""
        self._stop.set()

    def text(self) -> Iterator[bytes]:
        """What was captured so far, in parts."""
        if self.under_way:
            self._keep(self._packer.flush(zlib.Z_SYNC_FLUSH))
        unpacker = zlib.decompressobj()
        for packed in list(self._packed):
            while packed:
                if part := unpacker.decompress(packed, PART):
                    yield part
                packed = unpacker.unconsumed_tail

    def state(self) -> dict[str, Any]:
        """How it is getting on, or what is there of the last one."""
        return {
            "under_way": self.under_way, "bus": self.bus, "by": self.by, "begun_ms": self.begun_ms,
            "until_ms": self.until_ms, "lines": self.lines, "bytes": self.bytes, "ended": self.why,
            "minutes_at_most": MINUTES_AT_MOST, "buses": [bus.name for bus in self._station.buses],
        }  # fmt: skip

    async def run(self) -> None:
        """Do what is asked for, until cancelled."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            await self._capture()

    # ── inside ──────────────────────────────────────────────────────────────────────────────────────────

    async def _capture(self) -> None:
        station, bus = self._station, self._found(self.bus)
        loop = asyncio.get_running_loop()
        end_s = loop.time() + (self.until_ms - self.begun_ms) / 1000
        detail = {"bus": bus.name, "by": self.by}
        station.journal.append([Event(station.clock.stamp(), "capture", {**detail, "state": "begun"})])
        frames = Frames(bus.name, bus.link, station.clock.stamp, self._put)
        bus.link.tap = frames
        seq, why = station.journal.committed_seq, "the station ended"
        try:
            while True:
                if self._stop.is_set():
                    why = "stopped"
                elif loop.time() >= end_s:
                    why = "its time was over"
                elif self._packed_bytes >= PACKED_LIMIT or self.bytes >= TEXT_LIMIT:
                    why = "it was full"
                else:
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(min(LOOK_S, max(end_s - loop.time(), 0.0))):
                            await self._stop.wait()
                    seq = await self._readings(bus, seq)
                    frames.flush(resting=True)
                    continue
                break
        finally:
            bus.link.tap = None
            frames.flush()
            self._put(f"# ended {when(station.clock.stamp().utc_ms)}: {why}")
            self._keep(self._packer.flush(zlib.Z_FINISH))
            self.under_way, self.why = False, why
            said = {**detail, "state": "ended", "why": why, "lines": self.lines}
            station.journal.append([Event(station.clock.stamp(), "capture", said)])

    async def _readings(self, bus: Bus, seq: int) -> int:
        """What was made of the frames, from the journal."""
        names = {sensor.id for sensor in bus.sensors}
        for record in await self._station.journal.after(seq, 200):
            seq, body = record.seq, record.body
            if isinstance(body, Reading) and body.sensor in names:
                values = ", ".join(f"{name} {v.raw:g} {v.unit}" for name, v in body.values.items())
                self._put(f"{when(body.at.utc_ms)} {bus.name} = {body.sensor}: {values}")
            elif isinstance(body, Event) and body.what == "sensor" and body.detail.get("sensor") in names:
                state, why = body.detail.get("state"), body.detail.get("why", "")
                self._put(
                    f"{when(body.at.utc_ms)} {bus.name} = {body.detail['sensor']}: {state} {why}".strip()
                )
        return seq

    def _put(self, line: str) -> None:
        data = (line + "\n").encode("utf-8", "replace")
        if self.bytes + len(data) > TEXT_LIMIT + PART or self._packed_bytes > PACKED_LIMIT + PART:
            return  # full; `run` ends it in a moment
        self.lines += 1
        self.bytes += len(data)
        self._keep(self._packer.compress(data))

    def _keep(self, packed: bytes) -> None:
        if packed:
            self._packed.append(packed)
            self._packed_bytes += len(packed)

    def _found(self, name: str) -> Bus:
        for bus in self._station.buses:
            if bus.name == name:
                return bus
        known = ", ".join(bus.name for bus in self._station.buses)
        raise ControlError(f"capture: there is no bus {name!r}; there are {known}")
