"""The emulated station as a whole: what station.toml says is there and can be read; `simulate`; the load."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from pymodbus.client import ModbusTcpClient

from drivers import catalogue
from drivers.base import InstrumentError, Measurement, NotReady
from drivers.emulators import load
from drivers.emulators.faults import BadFault
from drivers.emulators.modem_network import EmulatedSms
from drivers.emulators.port import answered
from drivers.emulators.record import load as load_record
from drivers.emulators.station import EXTRAS, LAYOUT, EmulatedStation, simulate
from drivers.link import Line, Link
from gateway import config

WITHIN_S = 30.0


async def read_all(described: dict[str, Any]) -> dict[str, Measurement]:
    """Read every sensor of a station.toml once, as the station would: each with its own model's driver."""
    buses = {bus["id"]: bus for bus in described.get("bus", [])}
    links: dict[str, Link] = {}
    got: dict[str, Measurement] = {}
    try:
        for sensor in described["sensor"]:
            wire = buses.get(sensor.get("bus"), sensor)
            line = Line(wire["baudrate"], wire["format"]) if "baudrate" in wire else None
            link = links.setdefault(wire["port"], Link(wire["port"], line))
            model = catalogue.find(sensor["model"])
            driver = model.make(sensor.get("address"), sensor.get("options"))
            async with asyncio.timeout(WITHIN_S):
                while sensor["id"] not in got:
                    try:
                        got[sensor["id"]] = await driver.read(link)
                    except NotReady as e:
                        await asyncio.sleep(min(e.wait_s or 0.1, 1.0))
                    except InstrumentError as e:
                        raise AssertionError(f"{sensor['id']}: {e}") from e
    finally:
        for link in links.values():
            link.close()
    return got


def test_everything_in_the_station_toml_can_be_read_and_is_what_the_record_says(tmp_path: Path) -> None:
    record_file = tmp_path / "record.jsonl"
    outside = EmulatedStation(tmp_path / "ports", also=EXTRAS, story="calm", record_file=record_file)
    with outside.in_thread():
        described = tomllib.loads(outside.station_toml())
        assert {sensor["id"] for sensor in described["sensor"]} == set(outside.places)
        got = asyncio.run(read_all(described))
    said = answered(outside.record)  # only now: an entry follows its bytes by a moment
    for sensor, measurement in got.items():
        assert measurement.values, sensor
        for quantity, value in measurement.values.items():
            values = [v for _, v in said[sensor, quantity]]
            assert any(v == pytest.approx(value, rel=1e-6, abs=1e-9) for v in values), (sensor, quantity)
    assert answered(load_record(record_file)).keys() >= said.keys()
    water = {quantity: got["turb1"].values[quantity] for quantity in ("turbidity", "water_temperature")}
    assert 3 <= water["turbidity"] <= 8  # the world's calm river
    assert 7.5 <= got["ph1"].values["ph"] <= 8.4
    assert 15 <= got["dust1"].values["pm2_5"] <= 130
    assert got["dust1"].values["pm2_5"] == pytest.approx(got["dust2"].values["pm2_5"], rel=0.15)


def test_the_station_toml_is_one_the_gateway_accepts(tmp_path: Path) -> None:
    outside = EmulatedStation(tmp_path / "ports", also=EXTRAS)
    with outside.in_thread():
        file = tmp_path / "station.toml"
        for how in (
            {},
            {"mqtt_url": "embedded", "data": tmp_path / "data", "on_delay": "2 s"},
            {"mqtt_url": "mqtt://127.0.0.1:1883", "influx": {"url": "http://127.0.0.1:8086"}},
        ):
            file.write_text(outside.station_toml(**how), encoding="utf-8")
            station = config.load(file)
            assert {sensor.id for sensor in station.sensors} == set(outside.places)


def test_sms_handed_to_the_emulated_modem_are_there_in_clear_text(tmp_path: Path) -> None:
    heard: list[EmulatedSms] = []
    outside = EmulatedStation(tmp_path, on_sms=heard.append)

    async def send() -> bytes:
        link = Link(outside.modem_port.path, Line(115200))
        try:
            for command in (b"ATE0\r", b"AT+CMGF=0\r"):
                await link.send(command)
                await link.receive_until(b"OK\r\n", WITHIN_S)
            # SMS-SUBMIT to +996555000001, 7-bit, "hi" (3GPP TS 23.040, 9.2.2.2; computed by hand)
            pdu = b"0001000C91" + b"995655000010" + b"000002E834"
            await link.send(b"AT+CMGS=%d\r" % (len(pdu) // 2 - 1))
            await link.receive_until(b"> ", WITHIN_S)
            await link.send(pdu + b"\x1a")
            return await link.receive_until(b"OK\r\n", WITHIN_S)
        finally:
            link.close()

    with outside.in_thread():
        assert b"+CMGS:" in asyncio.run(send())
    assert [(sms.to, sms.text) for sms in heard] == [("+996555000001", "hi")]
    assert outside.modem.sent == heard


def test_faults_and_extras_are_checked_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(BadFault, match="did you mean 'turb1'"):
        EmulatedStation(tmp_path, faults="dead:turb@3+4")
    with pytest.raises(BadFault, match="no instrument or port 'climate1'"):
        EmulatedStation(tmp_path, faults="dead:climate1")  # an extra that is not there
    EmulatedStation(tmp_path, faults="dead:climate1", also=["serial-server"])
    with pytest.raises(ValueError, match="there are ezo"):
        EmulatedStation(tmp_path, also=["gold"])


def test_simulate_says_what_is_where_and_cleans_up(tmp_path: Path) -> None:
    lines: list[str] = []

    async def run() -> dict[str, Measurement]:
        started = asyncio.Event()

        def prints(text: str) -> None:
            lines.append(text)
            if len([line for line in lines if "[[sensor]]" in line]) == len(LAYOUT):
                started.set()

        task = asyncio.create_task(simulate("stray:river@0.5", prints, folder=tmp_path / "ports"))
        await asyncio.wait_for(started.wait(), WITHIN_S)
        described = tomllib.loads("\n".join(line for line in lines if line.startswith("[")))
        for sensor in described["sensor"]:  # what is printed is enough to read it
            model = catalogue.find(sensor["model"])
            assert model.make(sensor.get("address"), sensor.get("options"))
        described["sensor"] = [s for s in described["sensor"] if s["id"] in ("ph1", "turb3", "climate1")]
        got = await read_all(described)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled()
        return got

    got = asyncio.run(run())
    assert {sensor: sorted(m.values) for sensor, m in got.items()} == {
        "ph1": ["electrode_potential", "ph", "water_temperature"],
        "turb3": ["turbidity", "water_temperature"],
        "climate1": ["air_temperature", "humidity"],
    }
    heads = [line for line in lines if "   " in line and "[" not in line]
    assert len(heads) == len(LAYOUT) + 1
    assert any(
        "9600 8N1, ph1: yosemitech-y532 at address 1, turb1: yosemitech-y511" in line for line in heads
    )
    assert any(line.startswith("tcp://127.0.0.1:") for line in heads)
    assert any(line.startswith("rtu+tcp://127.0.0.1:") and "climate1: xy-md02" in line for line in heads)
    assert os.listdir(tmp_path / "ports") == []


# ── the load ──────────────────────────────────────────────────────────────


@pytest.mark.parametrize("per_unit", [False, True])
def test_the_load_answers_pymodbus_and_counts(per_unit: bool) -> None:
    command = [sys.executable, "-m", "drivers.emulators.load", "--units", "3", "--floats", "40"]
    process = subprocess.Popen(
        [*command, *(["--port-per-unit"] if per_unit else [])], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        where = json.loads(process.stdout.readline())
        assert len(where["ports"]) == (3 if per_unit else 1)
        assert where["pid"] == process.pid
        for unit in where["units"]:
            port = where["ports"][unit - 1 if per_unit else 0]
            with ModbusTcpClient("127.0.0.1", port=port, timeout=WITHIN_S) as client:
                for generation in range(9):
                    reply = client.read_holding_registers(0, count=80, device_id=unit)
                    values = client.convert_from_registers(reply.registers, client.DATATYPE.FLOAT32)
                    assert isinstance(values, list)
                    assert values == [load.value(unit, i, generation % 8) for i in range(40)]
                assert client.read_input_registers(78, count=2, device_id=unit).registers
                assert client.read_holding_registers(78, count=3, device_id=unit).exception_code == 2
                assert client.write_register(0, 1, device_id=unit).exception_code == 1
                if per_unit:
                    assert client.read_holding_registers(0, count=1, device_id=9).exception_code == 0x0B
        process.send_signal(signal.SIGTERM)
        served = json.loads(process.stdout.readline())
        assert served["answers"] == 30
        assert served["per_unit"] == {"1": 10, "2": 10, "3": 10}
        assert served["refused"] == (9 if per_unit else 6)
        assert process.wait(WITHIN_S) == 0
    finally:
        process.kill()
        process.wait(WITHIN_S)
        if process.stdout is not None:
            process.stdout.close()


def test_rubbish_ends_a_clients_connection_to_the_load() -> None:
    async def run() -> None:
        units = load.Units(range(1, 2), 2)
        server = await asyncio.get_running_loop().create_server(lambda: load.Client(units), "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        request = bytes.fromhex("00 01 00 00 00 06 01 03 00 00 00 02")
        for i in range(len(request)):  # byte by byte
            writer.write(request[i : i + 1])
            await writer.drain()
        answer = await asyncio.wait_for(reader.readexactly(13), WITHIN_S)
        assert answer == bytes.fromhex("00 01 00 00 00 07 01 03 04 41 20 00 00")  # 10.0
        writer.write(request + request + b"GET / HTTP/1.1\r\n")
        first_two = await asyncio.wait_for(reader.readexactly(26), WITHIN_S)
        assert first_two[:2] == b"\x00\x01"
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await asyncio.wait_for(reader.readexactly(1), WITHIN_S)
        writer.close()
        server.close()

    asyncio.run(run())
