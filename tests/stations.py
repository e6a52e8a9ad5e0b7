"""A station in this process, on emulated instruments, for tests that hold its parts in their hands."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

from drivers.emulators.station import EmulatedStation
from gateway import config
from gateway.station import Station, live
from tests.services import until


def run(outside: EmulatedStation, tmp_path: Path, what: Any) -> Any:
    """A station on emulated instruments, in this process, while `what` does something with it."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]

    async def go() -> Any:
        station = Station(config.load(tmp_path / "station.toml"), embedded_port=port, say=lambda _: None)
        running = asyncio.create_task(live(station))
        try:
            async with asyncio.timeout(50):
                bus = station.buses[0]
                await asyncio.to_thread(until, "some readings", lambda: bus.sensors[0].taken > 1, 40)
                return await what(station)
        finally:
            station.stop()
            await running

    (tmp_path / "station.toml").write_text(outside.station_toml(data=tmp_path / "data"), encoding="utf-8")
    with outside.in_thread():
        return asyncio.run(go())
