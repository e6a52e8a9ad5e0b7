"""A part of the station that fails is started again, and the journal and the evidence pack say so."""

from __future__ import annotations

import asyncio
import csv
import zipfile
from pathlib import Path

import pytest

from gateway import cli
from gateway.evidence_heads import Heads
from gateway.station import Station
from tests.crash.hours import wanted
from tests.journals import everything
from tests.site import events
from tests.virtual_time import run


def test_a_defect_is_in_the_journal_and_in_the_pack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    starts = 0

    async def breaks(heads: Heads) -> None:
        nonlocal starts
        starts += 1
        if starts == 1:
            raise KeyError("s3cret")

    monkeypatch.setattr(Heads, "run", breaks)

    async def job() -> list[dict[str, object]]:
        station = Station(wanted(tmp_path))
        await station.open()
        work = asyncio.create_task(station.work())
        await asyncio.sleep(5.0)
        station.stop()
        await work
        found = events(await everything(station.journal), "defect")
        await station.close()
        return found

    [said] = run(job())
    assert starts == 2, "it was started again"
    assert said["part"] == "chain"
    assert str(said["error"]).startswith("KeyError, test_defects.py line ")
    out = tmp_path / "pack.zip"
    assert cli.main(["export", str(tmp_path / "station.toml"), "--evidence", "--output", str(out)]) == 0
    with zipfile.ZipFile(out) as pack:
        rows = list(csv.DictReader(pack.read("data/events.csv").decode().splitlines()))
    assert [row["what"] for row in rows if "KeyError" in str(row)] == ["defect"]
    assert "s3cret" not in str(rows)
