"""The emulated Modbus instruments before independent masters, and before our own driver."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import minimalmodbus
import pytest
from pymodbus.client import ModbusSerialClient, ModbusTcpClient
from pymodbus.framer import FramerType
from pymodbus.pdu import ExceptionResponse

from drivers import catalogue
from drivers.base import NoAnswer, NotReady
from drivers.emulators.modbus_models import MODELS, Y511, unit_for
from drivers.emulators.modbus_unit import ModbusUnit
from drivers.emulators.port import PortThread, PtyPort, Record, TcpPort
from drivers.link import Line, Link
from tests import virtual_time
from tests.modbus_units import WITHIN_S, river, sense

# ── independent masters ─────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def on_a_terminal(*units: ModbusUnit, line: Line | None = None) -> Iterator[str]:
    port = PtyPort(units, name="river", line=line or Line())
    with PortThread(port):
        yield port.path


@contextmanager
def pymodbus_on(path: str, framer: FramerType = FramerType.RTU) -> Iterator[ModbusSerialClient]:
    client = ModbusSerialClient(path, framer=framer, baudrate=9600, timeout=5, retries=1)
    assert client.connect()
    try:
        yield client
    finally:
        client.close()


def test_pymodbus_reads_three_units_on_one_terminal() -> None:
    units = [unit_for("aqualabo-ntu", 40, river, "ntu"), unit_for("xy-md02", 3, river, "air"),
             unit_for("hamilton-ph-arc", 7, river, "ph")]  # fmt: skip
    with on_a_terminal(*units) as path, pymodbus_on(path) as client:
        air = client.read_input_registers(1, count=2, device_id=3)
        assert client.convert_from_registers(air.registers, client.DATATYPE.INT16) == [-105, 546]
        ph = client.read_holding_registers(2089, count=10, device_id=7)
        value = client.convert_from_registers(ph.registers[2:4], client.DATATYPE.FLOAT32, word_order="little")
        assert value == pytest.approx(6.86, abs=1e-6)
        assert not client.write_register(1, 0x000F, device_id=40).isError()
        (wait_ms,) = client.read_holding_registers(0xA4, count=1, device_id=40).registers
        assert wait_ms == 500
        units[0].ready_s = 0.0  # type: ignore[attr-defined]  # the Aqualabo's own; saves half a second
        block = client.read_holding_registers(0x53, count=8, device_id=40)
        assert client.convert_from_registers(block.registers, client.DATATYPE.FLOAT32) == [
            18.25,
            42.5,
            42.5,
            98.0,
        ]
        refused = client.read_holding_registers(0x7777, count=1, device_id=40)
        assert isinstance(refused, ExceptionResponse)
        assert refused.exception_code == 2


def test_pymodbus_reads_modbus_ascii() -> None:
    unit = unit_for("renke-rs-ph-n01", 1, sense(ph=7.12, water_temperature=-3.5), "ph", framing="ascii")
    with on_a_terminal(unit) as path, pymodbus_on(path, FramerType.ASCII) as client:
        got = client.read_holding_registers(0, count=2, device_id=1)
        assert client.convert_from_registers(got.registers, client.DATATYPE.INT16) == [712, -35]


def test_pymodbus_reads_modbus_tcp() -> None:
    port = TcpPort([unit_for("teledyne-t640", 1, river, "t640", framing="tcp")], name="air")
    with PortThread(port):
        client = ModbusTcpClient(port.host, port=port.port, timeout=5)
        try:
            assert client.connect()
            got = client.read_input_registers(6, count=4, device_id=1)
            assert client.convert_from_registers(got.registers, client.DATATYPE.FLOAT32) == [20.5, 12.25]
            pressure = client.read_input_registers(34, count=2, device_id=1)
            assert client.convert_from_registers(pressure.registers, client.DATATYPE.FLOAT32) == 81.0  # kPa
            assert client.read_discrete_inputs(0, count=8, device_id=1).bits == [False] * 8
        finally:
            client.close()


@contextmanager
def minimalmodbus_on(path: str, address: int) -> Iterator[minimalmodbus.Instrument]:
    instrument = minimalmodbus.Instrument(path, address, close_port_after_each_call=False)
    instrument.serial.baudrate = 9600
    instrument.serial.timeout = 5
    try:
        yield instrument
    finally:
        instrument.serial.close()


def test_minimalmodbus_reads_the_byte_orders() -> None:
    ph, sun = unit_for("yosemitech-y532", 1, river, "ph"), unit_for("epever-tracer", 2, river, "sun")
    little, low_word_first = minimalmodbus.BYTEORDER_LITTLE, minimalmodbus.BYTEORDER_LITTLE_SWAP
    with on_a_terminal(ph, sun) as path:
        with minimalmodbus_on(path, 1) as one:
            assert one.read_float(0x2800, byteorder=little) == pytest.approx(6.86, abs=1e-6)
            assert one.read_float(0x2400, byteorder=little) == 18.25
            assert one.read_float(0x1200, byteorder=little) == -12.5
            one.write_float(0x2300, 6.86, byteorder=little)
            assert one.read_register(0x0E00) >> 8 == 2  # one point of three
        with minimalmodbus_on(path, 2) as two:
            current = two.read_long(0x331B, functioncode=4, signed=True, byteorder=low_word_first)
            assert current / 100 == -1.23
            assert two.read_register(0x3110, 2, functioncode=4, signed=True) == -12.5


@pytest.mark.skipif(shutil.which("mbpoll") is None, reason="mbpoll is not installed")
def test_mbpoll_reads_floats_and_integers() -> None:
    """Its defaults are traps: 8E1, 19200 Bd, first register 1; so -P none, -b, -0. -B: high word first."""
    units = [unit_for("aqualabo-ntu", 40, river, "ntu"), unit_for("dfrobot-sen0710", 1, river, "turb")]
    units[0].feed(bytes.fromhex("28 06 00 01 00 0F 9F F7"), 0.0)
    units[0].ready_s = 0.0  # type: ignore[attr-defined]  # the Aqualabo's own
    with on_a_terminal(*units) as path:

        def mbpoll(*options: str) -> list[float]:
            ran = subprocess.run(
                ["mbpoll", "-m", "rtu", "-b", "9600", "-P", "none", "-0", "-1", "-q", *options, path],
                capture_output=True, text=True, timeout=30, check=True,
            )  # fmt: skip
            return [
                float(number) for number in re.findall(r"^\[\d+\]:\s+(-?[\d.]+)", ran.stdout, re.MULTILINE)
            ]

        assert mbpoll("-a", "40", "-r", "83", "-c", "4", "-t", "4:float", "-B") == [18.25, 42.5, 42.5, 98.0]
        assert mbpoll("-a", "1", "-r", "0", "-c", "2", "-t", "4") == [425, 182]


# ── our own driver ──────────────────────────────────────────────────────────────────────────────────────────


def test_every_profile_has_its_emulator_and_only_they() -> None:
    profiles = {name for name in catalogue.names() if catalogue.find(name).kind == "profile"}
    assert {kind.model for kind in MODELS} == profiles


@pytest.mark.parametrize("kind", MODELS, ids=lambda kind: kind.model)
@pytest.mark.parametrize("framing", ["rtu", "tcp"])
def test_our_driver_reads_what_the_emulator_says_it_said(kind: type[ModbusUnit], framing: str) -> None:
    model = catalogue.find(kind.model)
    numbers = {q.name: 11.0 + i / 7 for i, q in enumerate(model.quantities)} | {
        "ph": 7.123,
        "pressure": 811.0,
    }
    unit = unit_for(kind.model, 17, lambda q, t: numbers[q], "it", framing=framing)
    unit.wait_ms = 20  # type: ignore[attr-defined]  # the Aqualabo's half second, shortened
    record = Record()
    port: Any = (
        PtyPort([unit], name="p", record=record) if framing == "rtu" else TcpPort([unit], record=record)
    )
    instrument = model.make(17, {"warm_up_s": 0})

    async def read() -> Any:
        link = Link(port.path, model.line)
        try:
            await instrument.read(link)
            start = len(record.entries)
            return await instrument.read(link), start
        finally:
            link.close()

    with PortThread(port):
        got, start = asyncio.run(asyncio.wait_for(read(), WITHIN_S))
    told: dict[str, float] = {}
    for entry in record.entries[start:]:
        told |= entry.values
    assert got.values == told  # to the last bit
    assert set(told) == {q.name for q in model.quantities}
    assert got.notes == ()
    for name, value in got.values.items():
        assert value == pytest.approx(numbers[name], abs=0.51 if name == "charge" else 0.051)


def test_our_driver_lives_through_a_power_cut_and_a_wipe() -> None:
    """In virtual time, with the probe's own times: silence, not ready, numbers; none while it wipes."""
    unit = unit_for("yosemitech-y511", 5, river, "turb")
    assert isinstance(unit, Y511)
    instrument = catalogue.find("yosemitech-y511").make(5)

    async def story() -> list[tuple[str, float]]:
        loop = asyncio.get_running_loop()
        port = PtyPort([unit], name="p")
        await port.start()
        link = Link(port.path)
        heard: list[tuple[str, float]] = []  # what came, and when it first did

        async def read_on_to(end: str) -> None:
            while not heard or heard[-1][0] != end:
                try:
                    got = await instrument.read(link)
                    assert got.values == {"water_temperature": 18.25, "turbidity": 42.5}
                    now = "numbers"
                except NoAnswer:
                    now = "silence"
                except NotReady as e:
                    now = str(e)
                if [what for what, _ in heard[-1:]] != [now]:
                    heard.append((now, loop.time() - port.wire.zero_s))
                await asyncio.sleep(1.0)

        try:
            await read_on_to("numbers")
            unit.power_cycle(loop.time() - port.wire.zero_s)
            await read_on_to("silence")
            await read_on_to("numbers")
            await instrument.clean(link)  # type: ignore[attr-defined]  # this profile has it
            await read_on_to("wiping")
            await read_on_to("numbers")
        finally:
            link.close()
            await port.stop()
        return heard

    heard = virtual_time.run(story())
    assert [what for what, _ in heard] == [
        "starting up", "warming up", "numbers", "silence", "warming up", "numbers", "wiping", "numbers",
    ]  # fmt: skip
    began = [at_s for _, at_s in heard]
    assert began[2] - began[0] >= 48  # 8 s to boot, 40 s from the start of measuring
    assert began[5] - began[4] >= 40
    assert 19 <= began[7] - began[6] <= 22
    assert unit.wipes == 2
