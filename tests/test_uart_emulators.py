"""The UART emulators and framers against implementations that are not ours: PyPMS, sds011lib, and Sensirion's
own driver and framer. Our driver and our emulator could be wrong in the same way; these are not.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import sds011lib
import serial
from hypothesis import given, settings
from hypothesis import strategies as st
from pms.core.sensor import Sensor
from pms.sensors.novafitness import extra_commands
from sensirion_driver_adapters.shdlc_adapter.shdlc_channel import ShdlcChannel
from sensirion_shdlc_driver import ShdlcSerialPort
from sensirion_shdlc_driver.errors import ShdlcDeviceError
from sensirion_shdlc_driver.serial_frame_builder import (
    ShdlcSerialMisoFrameBuilder,
    ShdlcSerialMosiFrameBuilder,
)
from sensirion_uart_sps30.commands import OutputFormat
from sensirion_uart_sps30.device import Sps30Device

from drivers import plantower, sds011, sps30
from drivers.emulators.atlas import Atlas
from drivers.emulators.base import Answer, Emulator
from drivers.emulators.plantower import Plantower
from drivers.emulators.port import PortThread, PtyPort
from drivers.emulators.sds011 import Sds011
from drivers.emulators.sps30 import NAMES, Sps30
from drivers.link import Line

AIR = {
    "pm1": 12.2, "pm2_5": 18.4, "pm4": 19.9, "pm10": 21.0,
    "pm1_cf1": 12.2, "pm2_5_cf1": 18.4, "pm10_cf1": 21.0,
    "n0_3": 23.104, "n0_5": 6.5, "n1_0": 0.98, "n2_5": 0.12, "n4_0": 0.05, "n5_0": 0.03, "n10": 0.01,
    "typical_particle_size": 0.625, "air_temperature": -5.34, "humidity": 41.2, "ph": 7.1564,
}  # fmt: skip


def sense(quantity: str, now_s: float) -> float:
    return AIR[quantity]


def one(answers: list[Answer]) -> Answer:
    (answer,) = answers
    return answer


def warm_pms(variant: str = "pms5003") -> Plantower:
    sensor = Plantower(sense, variant=variant, warm_up_s=0)
    sensor.feed(plantower.PASSIVE, 1.0)
    return sensor


# ── commands ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (plantower.PASSIVE, "passive_mode"),
        (plantower.ACTIVE, "active_mode"),
        (plantower.READ, "passive_read"),
        (plantower.SLEEP, "sleep"),
        (plantower.WAKE, "wake"),
    ],
)
def test_plantower_commands_are_those_of_pypms(ours: bytes, theirs: str) -> None:
    assert ours == Sensor["PMSx003"].command(theirs).command


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (sds011.command(sds011.QUERY), Sensor["SDS01x"].command("passive_read").command),
        (sds011.command(sds011.MODE, 1, 1), Sensor["SDS01x"].command("passive_mode").command),
        (sds011.command(sds011.MODE, 1, 0), Sensor["SDS01x"].command("active_mode").command),
        (sds011.command(sds011.WORK, 1, 0), Sensor["SDS01x"].command("sleep").command),
        (sds011.command(sds011.WORK, 1, 1), Sensor["SDS01x"].command("wake").command),
        (sds011.command(sds011.FIRMWARE), extra_commands.firmware_version().command),
        (sds011.command(sds011.FIRMWARE, to=0xA160), extra_commands.firmware_version(0xA160).command),
        (sds011.command(sds011.PERIOD, 1, 5), extra_commands.work_period(5).command),
        (sds011.command(sds011.PERIOD, 1, 0), extra_commands.work_period(0).command),
    ],
)
def test_sds011_commands_are_those_of_pypms(ours: bytes, theirs: bytes) -> None:
    assert ours == theirs


@pytest.mark.parametrize(
    ("command", "data"),
    [
        (sps30.START, sps30.FLOATS), (sps30.STOP, b""), (sps30.MEASURED, b""), (sps30.SLEEP, b""),
        (sps30.WAKE, b""), (sps30.CLEAN, b""), (sps30.INTERVAL, b"\x00"),
        (sps30.INTERVAL, b"\x00\x00\x09\x3a\x80"), (sps30.INFORMATION, b"\x03"), (sps30.VERSION, b""),
        (sps30.STATUS, b"\x01"), (0x7E, bytes(range(255))),
    ],
)  # fmt: skip
def test_shdlc_requests_are_those_of_sensirion(command: int, data: bytes) -> None:
    assert sps30.request(command, data) == ShdlcSerialMosiFrameBuilder(0, command, data).to_bytes()


@settings(derandomize=True, deadline=None, max_examples=150)
@given(st.integers(0, 255), st.binary(max_size=255))
def test_any_shdlc_request_is_that_of_sensirion(command: int, data: bytes) -> None:
    assert sps30.request(command, data) == ShdlcSerialMosiFrameBuilder(0, command, data).to_bytes()


def answer_of(command: int, state: int, data: bytes) -> bytes:
    """An answer on the wire, stuffed by Sensirion's code."""
    body = bytearray((0, command, state, len(data))) + data
    body.append(ShdlcSerialMosiFrameBuilder._calculate_checksum(body))
    return b"\x7e" + bytes(ShdlcSerialMosiFrameBuilder._stuff_data_bytes(body)) + b"\x7e"


SHDLC_ANSWERS = [
    (0x03, 0, b""),
    (0x03, 0x80, bytes(36) + b"\x3f\x7d\x31\x11"),  # the torture case: 7D 5D 31 must not become 11
    (0x03, 0x43, b"\x7e\x7d\x11\x13" * 63),
    (0x7D, 0x7E, b"\x7d\x5e\x7d\x5d\x7d\x31\x7d\x33"),
    (0xD0, 0, b"8FCB5ED08D89F10B\0"),  # its length is 0x11
]


def check_answer(command: int, state: int, data: bytes) -> None:
    wire = answer_of(command, state, data)
    theirs = ShdlcSerialMisoFrameBuilder()
    theirs.add_data(wire)
    assert theirs.interpret_data() == (0, command, state, data)
    assert sps30.parse(wire) == sps30.Reply(command, state, data)
    for before in (b"", b"\x00\x7e", b"\x7e\x00\x03\x00\x7e"):
        assert sps30.cut(before + wire + b"\x7e\x00") == (wire, len(before) + len(wire))
    assert all(sps30.cut(wire[:end]) is None for end in range(len(wire)))


@pytest.mark.parametrize(("command", "state", "data"), SHDLC_ANSWERS)
def test_shdlc_answers_are_read_as_sensirion_reads_them(command: int, state: int, data: bytes) -> None:
    check_answer(command, state, data)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(st.integers(0, 255), st.integers(0, 255), st.binary(max_size=48))
def test_any_shdlc_answer_is_read_as_sensirion_reads_it(command: int, state: int, data: bytes) -> None:
    check_answer(command, state, data)


def test_the_longest_shdlc_answer() -> None:
    wire = b"\x7e" + sps30.stuff(b"\x7d" * 260) + b"\x7e"
    assert len(wire) == sps30.LONGEST == ShdlcSerialMisoFrameBuilder._MAX_RAW_FRAME_LENGTH
    check_answer(0x11, 0x13, b"\x7e" * 255)


@settings(derandomize=True, deadline=None, max_examples=150)
@given(st.binary(max_size=80))
def test_stuffing_comes_back(body: bytes) -> None:
    wire = sps30.stuff(body)
    assert sps30.unstuff(wire) == body
    assert not {0x7E, 0x11, 0x13} & set(wire)


# ── frames ────────────────────────────────────────────────────────────────────────────────────────────────


def test_plantower_frames_are_read_by_pypms() -> None:
    answer = one(warm_pms().feed(plantower.READ, 2.0))
    theirs = Sensor["PMSx003"].decode(answer.data)
    assert (theirs.pm01, theirs.pm25, theirs.pm10) == (12, 18, 21)
    assert (theirs.raw01, theirs.raw25, theirs.raw10) == (12, 18, 21)
    assert (theirs.n0_3, theirs.n0_5, theirs.n10_0) == (23.1, 6.5, 0.01)
    ours = plantower.decode(answer.data)
    assert ours == answer.values
    assert (ours["pm2_5"], ours["pm10_cf1"], ours["n0_3"], ours["n2_5"]) == (
        theirs.pm25,
        theirs.raw10,
        23.1,
        theirs.n2_5,
    )


def test_plantower_frames_with_temperature_are_read_by_pypms() -> None:
    answer = one(warm_pms("pms5003t").feed(plantower.READ, 2.0))
    theirs = Sensor["PMS5003T"].decode(answer.data)
    ours = plantower.decode(answer.data, "pms5003t")
    assert (theirs.temp, theirs.rhum) == (ours["air_temperature"], ours["humidity"]) == (-5.3, 41.2)
    assert ours == answer.values


def test_sds011_frames_are_read_by_pypms() -> None:
    sensor = Sds011(sense, warm_up_s=0)
    answer = one(sensor.feed(sds011.command(sds011.QUERY), 5.0))
    theirs = Sensor["SDS01x"].decode(answer.data)
    assert {"pm2_5": theirs.pm25, "pm10": theirs.pm10} == answer.values == sds011.decode(answer.data)
    assert answer.values == {"pm2_5": 18.4, "pm10": 21.0}


def test_sps30_frames_are_read_by_pypms() -> None:
    sensor = Sps30(sense)
    sensor.feed(sps30.request(sps30.START, sps30.FLOATS), 0.0)
    answer = one(sensor.feed(sps30.request(sps30.MEASURED), 2.0))
    assert len(answer.data) == 47, (
        "nothing stuffed in it: PyPMS cannot undo that (its replaces run into each other)"
    )
    theirs = Sensor["SPS30"].decode(answer.data)
    ours, notes = sps30.decode(sps30.unstuff(answer.data[1:-1])[4:-1])  # type: ignore[index]  # it unstuffs
    assert notes == ()
    assert list(ours) == list(NAMES)
    assert ours == answer.values
    names = ("pm01", "pm25", "pm04", "pm10", "n0_5", "n1_0", "n2_5", "n4_0", "n10_0", "diam")
    wire = struct.Struct(">10f")  # theirs are the float32s themselves, ours the short decimals they mean
    assert wire.pack(*(getattr(theirs, name) for name in names)) == wire.pack(*ours.values())


def test_zeros_are_no_numbers_for_pypms_either() -> None:
    zeros = one(Plantower(sense, version=0).speak(0.0))  # PyPMS wants the version to be zero, too
    assert not zeros.values
    with pytest.raises(UserWarning, match="warming up"):
        Sensor["PMSx003"].decode(zeros.data)


# ── on a port, with their clients ─────────────────────────────────────────────────────────────────────────


def on_a_pty(sensor: Emulator, line: Line, talk: Callable[[str], None]) -> None:
    with PortThread(PtyPort([sensor], line=line)) as ports:
        talk(ports[0].path)


def test_sds011lib_drives_the_emulated_sds011() -> None:
    sensor = Sds011(sense, warm_up_s=0, period_min=5)

    def talk(path: str) -> None:
        with serial.Serial(path, 9600, timeout=5, exclusive=True) as port:
            reader = sds011lib.SDS011QueryReader(port, send_command_sleep=0)
            assert reader.get_reporting_mode().state is sds011lib.ReportingMode.QUERYING
            reading = reader.query()
            assert (reading.pm25, reading.pm10, reading.device_id) == (18.4, 21.0, b"\xa1\x60")
            assert reader.get_working_period().interval == 5
            assert reader.set_working_period(0).interval == 0
            firmware = reader.get_firmware_version()
            assert (firmware.year, firmware.month, firmware.day) == (18, 11, 16)
            assert reader.sleep().state is sds011lib.SleepState.SLEEP
            assert not sensor.awake
            assert reader.wake().state is sds011lib.SleepState.WAKE
            assert reader.set_device_id(b"\x12\x34").device_id == b"\x12\x34"
            assert reader.query(device_id=b"\x12\x34").device_id == b"\x12\x34"

    on_a_pty(sensor, sds011.LINE, talk)
    assert not sensor.active
    assert sensor.flash_writes == 3  # mode, period, id


def test_sensirions_driver_drives_the_emulated_sps30() -> None:
    sensor = Sps30(lambda quantity, now_s: struct.unpack(">f", b"\x3f\x7d\x31\x11")[0])

    def talk(path: str) -> None:
        with ShdlcSerialPort(port=path, baudrate=115200, additional_response_time=5.0) as port:
            device = Sps30Device(ShdlcChannel(port))
            assert device.read_serial_number() == "8FCB5ED08D89F10B"
            assert device.read_product_type() == "00080000"
            assert tuple(device.read_version())[:2] == (2, 2)
            assert device.read_auto_cleaning_interval() == 604800
            with pytest.raises(ShdlcDeviceError):  # idle: not allowed in this state
                device.start_fan_cleaning()
            device.start_measurement(OutputFormat.OUTPUT_FORMAT_FLOAT)
            with pytest.raises(ShdlcDeviceError):
                device.start_measurement(OutputFormat.OUTPUT_FORMAT_FLOAT)
            sensor._value_due_s = 0.0  # the first value is there
            values = device.read_measurement_values_float()
            assert [struct.pack(">f", value) for value in values] == [b"\x3f\x7d\x31\x11"] * 10
            device.start_fan_cleaning()
            device.write_auto_cleaning_interval(3600)
            assert device.read_device_status_register(False)[0] == 0
            sensor.fan_fault = True
            assert device.read_device_status_register(False)[0] == 1 << 4
            device.stop_measurement()
            device.start_measurement(OutputFormat.OUTPUT_FORMAT_UINT16)
            sensor._value_due_s = 0.0
            assert tuple(device.read_measurement_values_uint16())[::9] == (1, 989)
            device.device_reset()
            device.sleep()

    on_a_pty(sensor, sps30.LINE, talk)
    assert (sensor.cleanings, sensor.cleaning_interval_s, sensor.measuring) == (1, 3600, "")
    assert sensor.asleep


# ── behaviour that the sheets tell and no client above checks ─────────────────────────────────────────────


def said(answers: list[Answer]) -> str:
    return b"".join(answer.data for answer in answers).decode()


def test_ezo_speaks_by_itself_until_told_not_to() -> None:
    ezo = Atlas(sense)
    assert ezo.due_s(0.0) == 1.0
    line = one(ezo.speak(1.0))
    assert (line.data, line.values, line.asked) == (b"7.156\r", {"ph": 7.156}, False)
    assert said(ezo.feed(b"C,0\r", 1.5)) == "*OK\r"
    assert ezo.due_s(1.5) is None
    reading = one(ezo.feed(b"R\r", 2.0))
    assert (reading.data, reading.after_s, reading.asked) == (b"7.156\r*OK\r", 0.9, True)


def test_ezo_forgets_the_temperature_and_keeps_the_calibration() -> None:
    ezo = Atlas(sense, points=())
    assert said(ezo.feed(b"Slope,?\r", 0.0)) == "?Slope,100,100,0\r*OK\r"
    assert said(ezo.feed(b"cal,low,4.00\r", 0.0)) == "*ER\r"  # mid must be first
    assert said(ezo.feed(b"Cal,mid,7.00\rCal,low,4.00\rCal,high,10.00\rCal,?\r", 0.0)).endswith(
        "?Cal,3\r*OK\r"
    )
    assert said(ezo.feed(b"T,8.5\rT,?\r", 0.0)) == "*OK\r?T,8.5\r*OK\r"
    ezo.power_cycle(5.0)
    assert ezo.feed(b"R\r", 5.5) == []  # it boots
    assert said(ezo.speak(5.1)) + said(ezo.speak(6.0)) == "*RS\r*RE\r"
    assert said(ezo.feed(b"T,?\rCal,?\r", 7.0)) == "?T,25.0\r*OK\r?Cal,3\r*OK\r"
    assert said(ezo.feed(b"Cal,mid,7.00\rCal,?\r", 7.0)) == "*OK\r?Cal,1\r*OK\r"  # mid erases the others


def test_ezo_tokens_and_sleep() -> None:
    ezo = Atlas(sense, continuous_s=0)
    assert said(ezo.feed(b"Bogus\r" + b"x" * 1000 + b"\rT,hot\rC,200\r", 0.0)) == "*ER\r" * 4
    assert said(ezo.feed(b"Sleep\r", 0.0)) == "*OK\r*SL\r"
    assert said(ezo.feed(b"R\r", 1.0)) == "*WA\r"  # the first command is lost
    assert said(ezo.feed(b"*OK,0\rT,9\rR\r*OK,?\r", 1.0)) == "7.156\r?*OK,0\r"


def test_plantower_in_sleep_hears_only_wake() -> None:
    pms = warm_pms()
    assert one(pms.feed(plantower.SLEEP, 3.0)).data == bytes.fromhex("424d0004e4000177")
    assert pms.feed(plantower.READ + plantower.PASSIVE, 4.0) == []
    assert pms.feed(plantower.WAKE, 5.0) == []
    assert one(pms.feed(plantower.READ, 6.0)).values


def test_plantower_streams_again_after_a_power_cut_and_starts_with_zeros() -> None:
    pms = Plantower(sense)
    pms.feed(b"\x42\x42\x4d" + plantower.PASSIVE, 40.0)
    assert pms.due_s(40.0) is None
    assert one(pms.feed(plantower.READ, 41.0)).values
    pms.power_cycle(50.0)
    assert pms.due_s(50.0) == 50.5
    assert not any(one(pms.speak(50.5)).data[4:28])
    late = one(pms.speak(60.0))
    assert any(late.data[4:28])
    assert not late.values  # warming up: nothing a driver may believe


@pytest.mark.parametrize("any_byte", [True, False])
def test_sds011_keeps_its_mode_and_wakes(any_byte: bool) -> None:
    sensor = Sds011(sense, active=False, wakes_by_any_byte=any_byte)
    assert one(sensor.feed(sds011.command(sds011.QUERY), 40.0)).values
    sensor.feed(sds011.command(sds011.WORK, 1, 0), 41.0)
    assert not sensor.awake
    sensor.feed(b"\x00", 42.0)
    assert sensor.awake is any_byte
    sensor.feed(sds011.command(sds011.WORK, 1, 1), 43.0)
    assert one(sensor.feed(sds011.command(sds011.QUERY), 44.0)).data[2:6] == bytes(4)
    sensor.power_cycle(50.0)
    assert sensor.due_s(50.0) is None  # still in query mode
    assert sensor.flash_writes == 0


def test_sps30_gives_each_value_once() -> None:
    sensor = Sps30(sense)
    ask = sps30.request(sps30.MEASURED)

    def state_and_length(now_s: float) -> tuple[int, int]:
        reply = sps30.parse(one(sensor.feed(ask, now_s)).data)
        assert reply is not None
        return reply.state, len(reply.data)

    assert state_and_length(0.0) == (0x43, 0)
    sensor.feed(sps30.request(sps30.START, sps30.FLOATS), 0.0)
    assert [state_and_length(t) for t in (0.5, 1.1, 1.2, 2.1)] == [(0, 0), (0, 40), (0, 0), (0, 40)]
    sensor.laser_fault = True
    assert state_and_length(3.1) == (0x80, 40)
    sensor.power_cycle(4.0)
    assert state_and_length(6.0) == (0x43, 0)


@pytest.mark.parametrize(
    "sensor", [Atlas(sense), Plantower(sense), Sds011(sense), Sps30(sense)], ids=lambda sensor: sensor.name
)
@settings(derandomize=True, deadline=None, max_examples=60)
@given(st.lists(st.binary(max_size=60), max_size=6))
def test_emulators_bear_any_bytes(sensor: Emulator, pieces: list[bytes]) -> None:
    for piece in pieces:
        for answer in sensor.feed(piece, 1.0):
            assert answer.data


def test_no_emulator_is_imported_by_a_driver() -> None:
    folder = Path(plantower.__file__).parent
    for name in ("atlas", "plantower", "sds011", "sps30"):
        assert "emulators" not in (folder / f"{name}.py").read_text()
