"""`suuaba read --watch`: the table on a terminal, and the service's verbs `read` and `scan`."""

from __future__ import annotations

import asyncio
import io
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from drivers.base import Measurement, Quantity
from gateway.control import stream
from gateway.errors import ControlError
from gateway.live import Lines, Shot, Table, shot
from tests.ptys import Pty
from tests.services import until
from tests.site import site

PH = Quantity("ph", "pH", 2)


def test_the_table_shows_now_before_and_the_frame() -> None:
    out = io.StringIO()
    table = Table(frames=True, console=Console(file=out, force_terminal=True, width=100))
    for value in (7.004, 7.126):
        table.show(shot("ph1", Measurement({"ph": value}, b"\x01\x03", ("soon dry",)), {"ph": PH}))
    table.show(Shot("ph1", trouble="NoAnswer: [red]nothing[/red]"))
    table.close()
    last = out.getvalue()[out.getvalue().rindex("ph1") :]
    for text in ("7.13", "7.00", "pH", "01 03", "! NoAnswer: [red]nothing[/red]"):
        assert text in last


def test_lines_say_what_is_wrong_with_a_number() -> None:
    said: list[str] = []
    lines = Lines(said.append, frames=False)
    lines.show(Shot("ph1", {"ph": ("14.20", "pH", "fail gross")}, "01"))
    lines.show(Shot("ph1", trouble="dead: no answer"))
    assert said == ["ph1: ph 14.20 pH (fail gross)", "ph1: dead: no answer"]


def test_the_service_streams_what_it_reads_and_scans_a_free_port(tmp_path: Path) -> None:
    async def three(data: Path) -> list[dict[str, Any]]:
        got = []
        async with asyncio.timeout(60), aclosing(stream(data, "read", sensor="ph1")) as answers:
            async for answer in answers:
                got += [answer] if "values" in answer else []
                if len(got) == 3:
                    return got
        return got

    async def nobody(data: Path) -> None:
        async for _ in stream(data, "read", sensor="ph9"):
            pass

    async def examined(data: Path) -> dict[str, Any]:
        async with asyncio.timeout(90):
            [answer] = [answer async for answer in stream(data, "doctor", language="ru")]
        return dict(answer["report"])

    async def scanned(data: Path) -> list[dict[str, Any]]:
        with Pty() as dust:

            async def speak() -> None:
                while True:
                    dust.say(bytes.fromhex("AAC0BB009C01A16059AB"))
                    await asyncio.sleep(0.2)

            speaking = asyncio.create_task(speak())
            with pytest.raises(ControlError, match="begins with /dev/"):
                async for _ in stream(data, "scan", port="--help"):
                    pass
            async with asyncio.timeout(60):
                answers = [answer async for answer in stream(data, "scan", port=dust.port, quick="yes")]
            speaking.cancel()
            return answers

    with site(tmp_path, None, None) as place:
        place.start()
        until("the service listens", lambda: ((place.folder / "data") / "control.sock").exists(), 30)
        *progress, last = asyncio.run(scanned(place.folder / "data"))
        got = asyncio.run(three(place.folder / "data"))
        with pytest.raises(ControlError, match="no sensor 'ph9'; there are ph1, turb1"):
            asyncio.run(nobody(place.folder / "data"))
        report = asyncio.run(examined(place.folder / "data"))
        place.stop()
        said = {s.values.get("ph") for s in place.outside.record.snapshot() if s.name == "ph1"}
    assert len(got) == 3
    held = [finding["what"] for finding in report["findings"] if finding["check"] == "port"]
    assert any("он у службы" in what for what in held)
    assert {answer["values"]["ph"]["value"] for answer in got} <= said
    assert all(len(bytes.fromhex(answer["frame"])) > 10 for answer in got)
    assert progress
    assert all(set(answer["progress"][0]) >= {"port", "doing", "left_s", "done_s"} for answer in progress)
    [port] = last["report"]["ports"]
    assert port["instruments"][0]["model"] == "sds011"
