"""Every dialogue in tests/dialogues against its driver, three ways; and the player itself, which must be
able to fail.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from drivers.base import Measurement, Quantity
from drivers.link import Line, Link
from tests.dialogue import WAYS, BadDialogue, Dialogue, DialogueFailed, Way, parse, play

FILES = sorted((Path(__file__).parent / "dialogues").glob("*.txt"))


PLAYED = [
    pytest.param(file, way, id=f"{file.stem}, {way}")
    for file in FILES
    for way in WAYS
    if way != "trailing rubbish"
    or not re.search(r"^trailing:", file.read_text(encoding="utf-8"), re.MULTILINE)
]


@pytest.mark.parametrize(("file", "way"), PLAYED)
def test_dialogue(file: Path, way: Way) -> None:
    play(parse(file.read_text(encoding="utf-8"), file.name), way)


# ── the player ────────────────────────────────────────────────────────────────────────────────────────────


class Thermometer:
    """Asks R and gets a line; reads `streams` lines that nobody asked for when set."""

    quantities = (Quantity("water_temperature", "degC", 2),)

    def __init__(self, address: int | None, options: dict[str, Any]) -> None:
        self.asks = int(options.get("asks", 1))
        self.ask = "R\r" if address is None else f"{address}R\r"

    async def read(self, link: Link) -> Measurement:
        line = b""
        for _ in range(self.asks):
            await link.send(self.ask.encode())
        line = await link.receive_until(b"\r", 30.0)
        text = line.decode("ascii", "replace").strip("\0\r ")
        if text == "bad":
            return Measurement({}, line, ("water_temperature: bad",))
        return Measurement({"water_temperature": float(text)}, line)

    async def listen(self, link: Link, lines: int) -> Measurement:
        for _ in range(lines):
            line = await link.receive_until(b"\r", 2.0)
        return Measurement({"water_temperature": float(line)}, line)

    async def identify(self, link: Link) -> dict[str, str]:
        await link.send(b"I\r")
        return {"serial": (await link.receive_until(b"\r", 1.0)).decode().strip()}

    async def sleep(self, link: Link) -> None:
        await link.send(b"Sleep\r")


@dataclass
class Model:
    line: Line

    def make(self, address: int | None, options: dict[str, Any]) -> Thermometer:
        return Thermometer(address, options)


def thermometer(body: str) -> Dialogue:
    return parse("# A thermometer made up for this test\nmodel: thermometer\n" + body, "made-up")


def play_it(body: str, way: Way = "whole") -> None:
    play(thermometer(body), way, lambda _: Model(Line(9600, "8N1")))


TWO_READS = r"""
port: tcp
> "R\r"
< "20.5\r"
= water_temperature 20.5 degC
> "R\r"
< "21\r"
= water_temperature 21 degC
"""

THREE_CALLS = r"""
call: identify
> "I\r"
< "12\r"
= serial 12
call: sleep
> "Sleep\r"
=
call: read
wait 60
> "R\r"
< "3\r"
= water_temperature 3 degC
"""


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "body",
    [
        '> "R\\r"\n< "20.5\\r"\n= water_temperature 20.5 degC',
        'address: 7\n> "7R\\r"\n< 32 30 "." 35*1 0D   # comment\n= water_temperature 20.5 degC',
        TWO_READS,
        'echo: yes\n> "R\\r"\n~ 00\n< "20.5\\r"\n= water_temperature 20.5 degC',
        'options: asks=2\n> "R\\r"\n> "R\\r"\nwait 29\n< "20.5\\r"\n= water_temperature 20.5 degC',
        '> "R\\r"\n< "bad\\r"\n=\nnote water_temperature: bad',
        '> "R\\r"\nsilence\n! NoAnswer within 30 s',
        'trailing: no, lines only\ncall: listen 2\n< "1\\r"\n< "2\\r"\n= water_temperature 2 degC',
        THREE_CALLS,
    ],
)
def test_plays(body: str, way: Way) -> None:
    play_it(body, way)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ('> "X\\r"\n< "20.5\\r"\n= water_temperature 20.5 degC', "expected 58 0d"),
        ('options: asks=2\n> "R\\r"\n< "20.5\\r"\n= water_temperature 20.5 degC', "unexpected: 52 0d"),
        ('> "R\\r"\n< "20.5\\r"\n> "R\\r"\n= water_temperature 20.5 degC', "never sent: 52 0d"),
        (
            '> "R\\r"\n< "20.5\\r"\n= water_temperature 20.6 degC',
            "expected {'water_temperature': '20.6 degC'}",
        ),
        ('> "R\\r"\n< "20.5\\r"\n= water_temperature 20.5 K', "expected"),
        ('> "R\\r"\n< "20.5\\r"\n= water_temperature 20.5 degC; ph 7 pH', "ph"),
        ('> "R\\r"\n< "20.5\\r"\n=', "water_temperature"),
        ('> "R\\r"\n< "20.5\\r"\n= water_temperature 20.5 degC\nnote fan', "expected the notes"),
        ('> "R\\r"\n< "bad\\r"\n=', "expected the notes"),
        ('> "R\\r"\n< "20.5\\r"\n! NoAnswer', "expected NoAnswer, got"),
        ('> "R\\r"\nsilence\n= water_temperature 20.5 degC', "NoAnswer"),
        ('> "R\\r"\nsilence\n! GarbledAnswer', "expected GarbledAnswer"),
        ('> "R\\r"\nsilence\n! NoAnswer within 3 s', "expected NoAnswer with"),
        ('call: identify\n> "I\\r"\n< "12\\r"\n= serial 13', "expected .*13"),
        ('call: sleep\n> "Sleep\\r"\n= done yes', "expected .*done"),
    ],
)
def test_fails(body: str, why: str) -> None:
    with pytest.raises(DialogueFailed, match=why):
        play_it(body)


def test_trailing_rubbish_is_sent_unless_the_file_forbids_it() -> None:
    stream = 'call: listen 1\n< "1\\r"\n= water_temperature 1 degC\n< "2\\r"\n= water_temperature 2 degC'
    with pytest.raises(ValueError, match="could not convert"):  # the thermometer does not resynchronise
        play_it(stream, "trailing rubbish")
    play_it("trailing: no, it does not resynchronise\n" + stream, "trailing rubbish")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("model: x\n> 00\n=", "1: the first line must name the source"),
        ("# A made-up source\n> 00\n=", "no model"),
        ("# A made-up source\nmodel: x\n> 00\n< 01", "3: a call without its meaning"),
        ("# A made-up source\nmodel: x", "a call without its meaning"),
        ("# A made-up source\nmodel: x\n> 0", "3: "),
        ("# A made-up source\nmodel: x\nport: usb", "3: port is one of"),
        ("# A made-up source\nmodel: x\ntrailing: no", "3: trailing: no, and the reason"),
        ("# A made-up source\nmodel: x\n> 00\n=\naddress: 1", "5: address must stand before"),
        ("# A made-up source\nmodel: x\n? 00", "3: not a line of a dialogue"),
    ],
)
def test_bad_dialogue(text: str, why: str) -> None:
    with pytest.raises(BadDialogue, match=why):
        parse(text, "made-up")
