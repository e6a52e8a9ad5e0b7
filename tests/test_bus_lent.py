"""A bus lends its port to a scan: nobody else has it meanwhile, the watchdog is content, it takes it back."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from drivers.base import PortLost
from drivers.emulators.station import EmulatedStation
from drivers.link import Link
from gateway import bus_lent
from gateway.bus_lent import lent
from gateway.station import Station
from tests.services import until
from tests.stations import run


async def _lent_and_back(station: Station, beats: list[float]) -> None:
    bus = station.buses[0]
    other = Link(bus.link.port, bus.link.line)
    async with lent(bus, beats.append):
        assert not bus.link.is_open
        await other.open()  # which is for one at a time
        other.close()
        with pytest.raises(PortLost):
            async with lent(bus, beats.append):
                pass
        await asyncio.to_thread(until, "signs of life", lambda: len(beats) > 2, 20)
        assert min(beats) > bus_lent.BEAT_S
    taken = bus.sensors[0].taken
    await asyncio.to_thread(until, "readings again", lambda: bus.sensors[0].taken > taken + 1, 30)
    with pytest.raises(PortLost):
        await other.open()


def test_a_port_is_lent_and_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bus_lent, "BEAT_S", 0.2)
    monkeypatch.setattr(bus_lent, "GIVEN_WITHIN_S", 1.0)
    beats: list[float] = []
    run(EmulatedStation(tmp_path / "ports"), tmp_path, lambda station: _lent_and_back(station, beats))


def test_a_forgotten_port_is_taken_back_and_a_station_that_ends_waits_for_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bus_lent, "BEAT_S", 0.2)
    monkeypatch.setattr(bus_lent, "AT_MOST_S", 1.0)

    async def forget(station: Station) -> float:
        bus = station.buses[0]
        async with lent(bus, lambda within_s: None):
            taken = bus.sensors[0].taken
            await asyncio.to_thread(until, "readings again", lambda: bus.sensors[0].taken > taken, 30)
        monkeypatch.setattr(bus_lent, "AT_MOST_S", 900.0)
        async with lent(bus, lambda within_s: None):
            station.stop()
            began_s = asyncio.get_running_loop().time()
            await asyncio.to_thread(until, "its end", lambda: not bus.link.is_open and bus._stopping, 30)
            return asyncio.get_running_loop().time() - began_s

    assert run(EmulatedStation(tmp_path / "ports"), tmp_path, forget) < 5.0
