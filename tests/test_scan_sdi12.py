"""SDI-12 in a scan: sensors say who they are, at the wire's own settings and through adapters, and are asked
nothing else.

Answers have the standard's form with makers' names (Solinst Levelogger user guide, 5.3; METER; Campbell).
"""

from __future__ import annotations

import asyncio

import pytest

from drivers import sdi12
from drivers.base import PortLost
from drivers.emulators.port import PortThread, PtyPort
from drivers.emulators.sdi12 import Sdi12Sensor
from drivers.link import Line, Link
from gateway.init import Answers, compose
from gateway.scan import render, scan
from gateway.scan_port import Wish
from gateway.scan_probe import kinds, may_be_sent
from gateway.scan_result import PortReport, Report
from tests.ptys import Pty


@pytest.mark.parametrize(
    ("said", "of", "means"),
    [
        (
            b"013SOLINST M2010 1001017687\r\n", "0",
            {"protocol": "SDI-12 1.3", "maker": "SOLINST", "model": "M2010", "serial": "1017687"},
        ),
        (b"Z14CAMPBELLOBS501 1.0\r\n", "Z", {"protocol": "SDI-12 1.4", "model": "OBS501"}),
        (b"0I!013DECAGON GS3   405\r\n", "0", {"maker": "DECAGON", "firmware": "405"}),  # echoed
        (b"113DECAGON GS3   405\r\n", "0", None),  # another address
        (b"013DECAGON GS3   40\r\n", "0", None),  # a character is missing
        (b"013DECAGON GS3   405", "0", None),  # and its end
        (b"0\r\n", "0", None),
        (b"\xff13DECAGON GS3   405\r\n", "0", None),
    ],
)  # fmt: skip
def test_what_a_sensor_says_of_itself(said: bytes, of: str, means: dict[str, str] | None) -> None:
    found = sdi12.identity(said, of)
    assert (found is None) == (means is None)
    if found is not None and means is not None:
        assert means.items() <= found.items()
        assert found["sdi12_address"] == of


@pytest.mark.parametrize(
    ("said", "address"),
    [(b"0\r\n", "0"), (b"z\r\n", "z"), (b"", None), (b"0\r", None), (b"00\r\n\r\n", None), (b"?\r\n", None)],
)
def test_who_answers_when_anybody_is_asked(said: bytes, address: str | None) -> None:
    assert sdi12.address(said) == address


def test_only_questions_may_be_sent() -> None:
    for command in (b"?!", b"0I!", b"zI!"):
        assert may_be_sent("rtu", command)
    for command in (
        b"0A1!",
        b"0M!",
        b"0C!",
        b"0V!",
        b"0XRST!",
        b"0D0!",
        b"?I!",
        b"0I!0A1!",
        b"!",
        b"0I!\r\n",
    ):
        assert not may_be_sent("rtu", command), command


def test_a_break_puts_no_bytes_on_the_wire_and_a_pulled_plug_is_told() -> None:
    async def run() -> None:
        with Pty() as wire:
            link = Link(wire.port, Line(1200))
            await link.spacing(0.001, 0.001)
            assert wire.overheard() == b""
            wire.unplug()
            with pytest.raises(PortLost):
                await link.spacing(0.2, 0.01)
            link.close()

    asyncio.run(run())


def scanned(*ports: PtyPort) -> dict[str, PortReport]:
    async def run() -> Report:
        return await scan([port.path for port in ports], Wish(quick=True, kinds=kinds()))

    with PortThread(*ports):
        names = {port.path: port.name for port in ports}
        report = asyncio.run(run())
    return {names[port.port]: port for port in report.ports}


def test_sensors_are_found_on_the_wire_through_an_adapter_and_two_at_once() -> None:
    """A pseudo-terminal carries neither break nor parity: that a real sensor wakes up is not shown here."""
    alone, adapter = (
        Sdi12Sensor("7", name="alone"),
        Sdi12Sensor("0", "METER   TER12 410SN-0042", name="adapter"),
    )
    two = Sdi12Sensor("1", name="first"), Sdi12Sensor("3", "OTT     PLS   1.1", name="second")
    found = scanned(
        PtyPort([alone], name="wire", line=Line(1200), check_line=True, echo=True),
        PtyPort([adapter], name="adapter", line=Line(9600), check_line=True),
        PtyPort(two, name="two", line=Line(1200), check_line=True, timed=True),
    )
    [wire] = found["wire"].instruments
    assert (wire.baudrate, wire.format, wire.identity["sdi12_address"]) == (1200, "7E1", "7")
    [meter] = found["adapter"].instruments
    assert (meter.baudrate, meter.format, meter.identity["serial"]) == (9600, "8N1", "SN-0042")
    assert [one.identity["sdi12_address"] for one in found["two"].instruments] == ["1", "3"]
    assert [problem.code for problem in found["two"].problems] == ["sdi12", "sdi12"]
    for sensor in (alone, adapter, *two):
        assert set(sensor.heard) <= {b"?!", *(f"{n}I!".encode() for n in range(10))}
    for language, words in {"en": "does not read them yet", "ru": "пока не читает", "ky": "окубайт"}.items():
        text = "\n".join(render(Report(ports=list(found.values())), language))
        assert "SDI-12, 0: METER TER12" in text
        assert words in text
    draft = compose(Report(ports=list(found.values())), Answers("s", "s"))
    assert "no driver knows it" in draft
    assert "[[sensor]]" not in draft
