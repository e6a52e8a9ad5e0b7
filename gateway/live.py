"""What one instrument says now, live: through the running service where it has the port, as a table on a
terminal, as lines elsewhere.

    async for shot in through_service(station.data, "ph1"): screen.show(shot)       # raises NotRunning

The verb `read` follows the journal and adds the last frame's bytes (which are not journaled); an instrument
that gives nothing is told each `QUIET_S`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drivers.base import Measurement, Quantity
from gateway.control import Answer, Request, stream
from gateway.errors import ControlError
from gateway.model import Reading

if TYPE_CHECKING:
    from gateway.station import Station

QUIET_S = 5.0
FRAME_BYTES = 256
ROWS = 8
"""Readings of the past that the table shows beside the newest."""
FLAGS = {1: "good", 2: "not evaluated", 3: "suspect", 4: "fail", 9: "missing"}


@dataclass(frozen=True, slots=True)
class Shot:
    """One reading as it is shown, or why there was none."""

    sensor: str
    values: Mapping[str, tuple[str, str, str]] = field(default_factory=dict)
    """By quantity: the number, its unit, and what is to be said of it."""
    frame: str = ""
    trouble: str = ""
    notes: str = ""


def read_verb(station: Station) -> Callable[[Request], AsyncIterator[Answer]]:
    """The control verb `read`: each reading of `sensor` as it is journaled, until the client leaves."""

    async def verb(request: Request) -> AsyncIterator[Answer]:
        sensors = {sensor.id: sensor for bus in station.buses for sensor in bus.sensors}
        name = request.text("sensor")
        if name not in sensors:
            raise ControlError(f"there is no sensor {name!r}; there are {', '.join(sensors)}")
        journal, sensor = station.journal, sensors[name]
        seq = journal.committed_seq
        while True:
            try:
                async with asyncio.timeout(max(QUIET_S, 2 * sensor.every_s)):
                    body, seq = await _next(station, name, seq)
            except TimeoutError:
                yield {"sensor": name, "trouble": f"{sensor.state}: {sensor.why}".strip(": ")}
                continue
            values = {
                quantity: {"value": value.value, "unit": value.unit, "flag": value.flag, "why": value.why}
                for quantity, value in body.values.items()
            }
            frame = sensor.last_frame[:FRAME_BYTES].hex(" ")
            yield {"sensor": name, "values": values, "frame": frame, "utc_ms": body.at.utc_ms}

    return verb


async def through_service(
    data: Path, sensor: str, quantities: Mapping[str, Quantity]
) -> AsyncGenerator[Shot, None]:
    """The readings that the running service takes. Raises NotRunning, ControlError."""
    async with aclosing(stream(data, "read", sensor=sensor)) as answers:
        async for answer in answers:
            if "values" not in answer:
                yield Shot(sensor, trouble=str(answer.get("trouble", "")))
                continue
            values = {
                name: (_number(name, value["value"], quantities), value["unit"], _said(value))
                for name, value in answer["values"].items()
            }
            yield Shot(sensor, values, str(answer.get("frame", "")))


def shot(sensor: str, measurement: Measurement, quantities: Mapping[str, Quantity], frame: str = "") -> Shot:
    """A measurement that was taken here; `frame`: what went over the wire for it."""
    values = {
        name: (_number(name, value, quantities), quantities[name].unit, "")
        for name, value in measurement.values.items()
    }
    return Shot(sensor, values, frame or measurement.frame.hex(" "), notes="; ".join(measurement.notes))


class Lines:
    """One line for each reading: for a pipe, a log, a single reading."""

    def __init__(self, say: Callable[[str], object], *, frames: bool) -> None:
        self._say, self._frames = say, frames

    def show(self, new: Shot) -> None:
        if new.trouble:
            self._say(f"{new.sensor}: {new.trouble}")
            self._show_frame(new)
            return
        parts = [
            f"{name} {text} {unit}" + (f" ({why})" if why else "")
            for name, (text, unit, why) in new.values.items()
        ]
        notes = f"  ({new.notes})" if new.notes else ""
        self._say(f"{new.sensor}: {', '.join(parts)}{notes}")
        self._show_frame(new)

    def _show_frame(self, new: Shot) -> None:
        for line in new.frame.splitlines() if self._frames else ():
            self._say(f"  {line}")

    def close(self) -> None:
        """Nothing is left open."""


class Table:
    """A table on a terminal that is drawn anew with each reading: a row for each quantity, newest first."""

    def __init__(self, *, frames: bool, console: Any = None) -> None:
        from rich.live import Live

        self._frames = frames
        self._past: list[Shot] = []
        self._live = Live(console=console, auto_refresh=False)
        self._live.start()

    def show(self, new: Shot) -> None:
        self._past = [new, *self._past][: ROWS + 1]
        self._live.update(self._drawn(), refresh=True)

    def close(self) -> None:
        self._live.stop()

    def _drawn(self) -> Any:
        from rich.console import Group
        from rich.table import Table as RichTable
        from rich.text import Text

        newest = self._past[0]
        good = next((each for each in self._past if each.values), newest)
        table = RichTable(title=Text(newest.sensor))
        for title in ("quantity", "now", "unit", "", "before"):
            table.add_column(title, justify="right" if title in ("now", "before") else "left")
        for name, (text, unit, why) in good.values.items():
            before = "  ".join(each.values[name][0] for each in self._past[1:] if name in each.values)
            table.add_row(*(Text(cell) for cell in (name, text, unit, why, before)))
        below = [f"! {newest.trouble}"] if newest.trouble else []
        below += [newest.notes] if newest.notes else []
        below += [newest.frame or good.frame] if self._frames else []
        return Group(table, *(Text(line) for line in below))


# ── inside ──────────────────────────────────────────────────────────────────────────────────────


async def _next(station: Station, name: str, seq: int) -> tuple[Reading, int]:
    while True:
        await station.journal.more(seq)
        for record in await station.journal.after(seq, 100):
            seq = record.seq
            if isinstance(record.body, Reading) and record.body.sensor == name:
                return record.body, seq


def _number(name: str, value: float, quantities: Mapping[str, Quantity]) -> str:
    digits = quantities[name].digits if name in quantities else 3
    return f"{value:.{digits}f}"


def _said(value: Mapping[str, Any]) -> str:
    if value["flag"] in (1, 2):
        return ""
    return f"{FLAGS.get(value['flag'], '?')} {value['why']}".strip()
