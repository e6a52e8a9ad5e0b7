"""A field visit on the whole station: its process, emulated EZO and Y532 on PTYs, the control socket.

Found, cleaned, buffers, left: the ledger has it, history is corrected as a new version, raw is untouched.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from drivers.emulators.atlas import Atlas
from drivers.emulators.modbus_models import Y532
from gateway import cli
from gateway.calibration import Version, corrected
from gateway.calibration_entry import sha256
from gateway.control import ask
from gateway.errors import ControlError
from gateway.model import Reading, Record
from tests.site import Site, events, site

QUICK = '[sensor.calibration]\nstable = { within = 0.05, over = "1 s" }\nevery = "30 d"\n'


class Technician:
    """What somebody with boots does, by the control socket."""

    def __init__(self, place: Site, name: str = "Aibek") -> None:
        self.place, self.name = place, name
        self.session = ""

    def says(self, verb: str, **body: Any) -> dict[str, Any]:
        return asyncio.run(ask(self.place.folder / "data", verb, **body))

    def begin(self, sensor: str, *nominals: float) -> dict[str, Any]:
        standards = [{"nominal": n, "lot": f"LOT-{n:g}", "expires": "2999-12"} for n in nominals]
        state = self.says("calibrate_begin", sensor=sensor, by=self.name, standards=standards)
        self.session = state["session"]
        return state

    def step(self, do: str = "look", **given: Any) -> dict[str, Any]:
        return self.says("calibrate_step", session=self.session, do=do, given=given)

    def stable(self) -> dict[str, Any]:
        deadline_s = time.monotonic() + 60
        while not (state := self.step())["stable"]:
            assert time.monotonic() < deadline_s, state
            time.sleep(0.1)
        return state

    def check(self, sensor: str, *nominals: float, into: Callable[[float | None], None]) -> dict[str, Any]:
        """Bottles alone, nothing adjusted: from here on fouling and drift of the next visit grow."""
        self.begin(sensor, *nominals)
        self.step("skip")
        state = self.step("skip")
        while state["step"] == "check":
            into(state["standard"])
            self.stable()
            state = self.step("take", temperature_degc=25.0)
        assert state["step"] == "decide", state
        self.step("take", adjust=False)
        into(None)
        return self.says("calibrate_finish", session=self.session)

    def visit(
        self, sensor: str, *nominals: float, into: Callable[[float | None], None], clean: Callable[[], None]
    ) -> dict[str, Any]:
        """The whole of it. `into` puts the probe into a bottle, or None: back into the river."""
        assert self.begin(sensor, *nominals)["step"] == "found"
        self.stable()
        assert self.step("take")["step"] == "cleaned"
        clean()
        self.stable()
        state = self.step("take")
        while state["step"] in ("check", "left", "adjust", "decide"):
            if state["step"] == "decide":
                state = self.step("take", adjust=True)
                continue
            into(state["standard"])
            self.stable()
            given = {"confirm": True} if state["step"] == "adjust" else {"temperature_degc": 25.0}
            state = self.step("take", **given)
            assert not state["problem"], state
        into(None)
        return self.says("calibrate_finish", session=self.session, photo="IMG_0412.jpg", note="reeds cut")


def wait(place: Site, what: str, condition: Callable[[], bool], within_s: float = 60) -> None:
    deadline_s = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline_s, f"{what}: {place.log.read_text(errors='replace')[-2000:]}"
        time.sleep(0.2)


def begin(place: Site) -> Technician:
    place.file.write_text(with_calibration(place.file.read_text(encoding="utf-8")), encoding="utf-8")
    place.start()
    technician = Technician(place)

    def answers() -> bool:
        try:
            return bool(technician.says("status"))
        except ControlError:
            return False

    wait(place, "the control socket", answers)
    return technician


def with_calibration(toml: str) -> str:
    """station.toml with a quick criterion for the pH probes."""
    parts = toml.split("\n\n")
    return "\n\n".join(
        part + "\n" + QUICK if 'id = "ph1"' in part or 'id = "ph2"' in part else part for part in parts
    )


def report_of(place: Site) -> str:
    """What the month's report says, without its HTML."""
    month = datetime.now(ZoneInfo("Asia/Bishkek")).strftime("%Y-%m")
    out = place.folder / "report.html"
    command = ["report", str(place.file), "--month", month, "--language", "en", "--output", str(out)]
    assert cli.main(command) == 0
    text = re.sub(
        r"<svg.*?</svg>|<style>.*?</style>|<[^>]*>", " ", out.read_text(encoding="utf-8"), flags=re.DOTALL
    )
    return re.sub(r"\s+", " ", text)


def readings(records: list[Record], sensor: str) -> list[Reading]:
    return [r.body for r in records if isinstance(r.body, Reading) and r.body.sensor == sensor]


def test_a_visit_to_an_ezo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("drivers.emulators.atlas.READ_S", 0.1)  # the real one takes 0.9 s
    monkeypatch.setattr("drivers.emulators.atlas.COMMAND_S", 0.05)
    with site(tmp_path, None, None, also=("ezo",), story="calm") as place:
        ezo = place.outside.instruments["ph2"]
        assert isinstance(ezo, Atlas)

        def bottle(ph: float | None) -> None:
            place.ports.call(lambda: setattr(ezo, "bath", ph))

        technician = begin(place)
        with pytest.raises(ControlError, match="there is no sensor"):
            technician.begin("ph9", 7.0)
        first = technician.check("ph2", 7.0, into=bottle)
        assert first["entry"]["verdict"] == "checked", first

        # weeks in a few seconds: the electrode drifts by 0.3 and fouls by 0.2
        def age(offset: float) -> None:
            place.ports.call(lambda: setattr(ezo.wear, "offset", offset))

        time.sleep(3)
        age(ezo.wear.offset + 0.5)
        time.sleep(4)
        late = Technician(place, "Nurgul")
        state = technician.begin("ph2", 4.0, 7.0)
        with pytest.raises(ControlError, match="Aibek is calibrating ph2 just now"):
            late.begin("ph1", 4.0, 6.86, 9.18)
        with pytest.raises(ControlError, match="Aibek is calibrating"):
            late.says("calibrate_step", session="0" * 16, do="take", given={})
        technician.says("calibrate_finish", session=state["session"], note="forgot the buffers")
        second = technician.visit(
            "ph2", 4.0, 7.0, 10.01, into=bottle, clean=lambda: age(ezo.wear.offset - 0.2)
        )
        time.sleep(4)
        place.stop()
        records, _ = place.journal()
        page = report_of(place)

    # the report shows it
    assert page.count("LOT-10.01") == page.count("LOT-7") - 1 == 1, "once measured, 7 twice"
    assert re.search(r"Aibek.*passed.*10\.01: 10\.3\d → 10\.0\d", page)
    assert "reads 7.3 in 7" not in page
    assert re.search(r"ph2 pH: Correction \d+, fouling and drift spread over time, holds from", page)
    assert re.search(r"pH: \d+ values corrected; monthly mean \d\.\d+ → \d\.\d+", page)

    # the ledger
    entries = events(records, "calibrated")
    assert [(e["sensor"], e["verdict"]) for e in entries] == [
        ("ph2", "checked"), ("ph2", "failed"), ("ph2", "passed"),
    ]  # fmt: skip
    assert entries[1]["reasons"][0] == "no standard was measured"
    entry = entries[2]
    assert entry == second["entry"]
    assert entry["sha256"] == sha256(entry)
    assert entry["by"] == "Aibek"
    assert entry["photo"] == "IMG_0412.jpg"
    assert [p["lot"] for p in entry["points"]] == ["LOT-4", "LOT-7", "LOT-10.01"]
    assert [p["value"] for p in entry["points"]] == [4.0, 7.0, 10.01]
    assert entry["fouling"] == pytest.approx(-0.2, abs=0.05)
    assert [d["error"] for d in entry["drift"]] == pytest.approx([0.3, 0.3, 0.3], abs=0.02)
    assert [p["left"] for p in entry["points"]] == pytest.approx([4.0, 7.0, 10.01], abs=0.01)
    assert 99 < entry["slope_percent"] < 101
    assert entry["next_due_ms"] == entry["ended_ms"] + 30 * 86_400_000
    said = {p["nominal"]: p["says"]["points"] for p in entry["points"]}
    assert said == {7.0: "mid", 4.0: "mid, low", 10.01: "mid, low, high"}

    # history is corrected as a new version, and raw is as it was
    [version] = [Version(**v) for v in second["versions"]]
    assert version.kind == "drift"
    assert (version.from_ms, version.to_ms) == (entries[0]["ended_ms"], entry["began_ms"])
    before = [r for r in readings(records, "ph2") if version.from_ms <= r.at.utc_ms < entry["began_ms"]]
    assert len(before) >= 3
    length_ms = entry["began_ms"] - version.from_ms
    for reading in before:
        v = reading.values["ph"]
        value, number = corrected(reading, "ph", [version])
        share = (reading.at.utc_ms - version.from_ms) / length_ms
        assert v.value == v.raw
        assert number == version.number
        assert value - v.raw == pytest.approx(-share * 0.5, abs=0.06)
    after = [r for r in readings(records, "ph2") if r.at.utc_ms > entry["ended_ms"]]
    assert after
    assert all(r.calibration == entry["number"] for r in after)
    assert all(corrected(r, "ph", [version])[0] == r.values["ph"].value for r in after)

    # and the visit itself
    during = [
        r for r in readings(records, "ph2") if entry["began_ms"] + 500 < r.at.utc_ms < entry["ended_ms"]
    ]
    assert during
    assert all((r.values["ph"].flag, r.values["ph"].why[-11:]) == (3, "maintenance") for r in during)
    assert [r.values["ph"].flag for r in after] == [2] * len(after), "nothing is expected of ph2"
    visits = events(records, "visit")
    assert [v["sensors"] for v in visits] == [["ph2"]] * 3
    assert {"calibrated", "correction"} <= {e["what"] for e in visits[2]["events"]}


def test_a_visit_to_a_y532(tmp_path: Path) -> None:
    with site(tmp_path, None, None, story="calm") as place:
        y532 = place.outside.instruments["ph1"]
        assert isinstance(y532, Y532)

        def bottle(ph: float | None) -> None:
            def put() -> None:
                y532.bath = {} if ph is None else {"ph": ph, "water_temperature": 25.0}

            place.ports.call(put)

        def age(acid: float, offset: float) -> None:
            def wear() -> None:
                y532.wear.acid, y532.wear.offset = acid, offset

            place.ports.call(wear)

        technician = begin(place)
        with pytest.raises(ControlError, match="it does not know a standard of 7: it takes 4"):
            technician.begin("ph1", 4.0, 7.0, 9.18)
        first = technician.check("ph1", 4.0, 6.86, 9.18, into=bottle)["entry"]
        assert first["verdict"] == "checked", first
        time.sleep(2)
        age(0.94, 0.32)
        time.sleep(5)
        done = technician.visit(
            "ph1", 4.0, 6.86, 9.18, into=bottle, clean=lambda: age(0.94, 0.12)
        )  # 0.2 of it is dirt
        entry = done["entry"]
        time.sleep(3)
        place.stop()
        records, _ = place.journal()
        page = report_of(place)
    assert entry["verdict"] == "passed", entry
    assert entry["serial"], "it says who it is"
    assert [p["says"]["verdict"] for p in entry["points"]] == ["more points are needed"] * 2 + ["in force"]
    assert entry["points"][-1]["left"] == pytest.approx(9.18, abs=0.01)
    assert entry["slope_percent"] == pytest.approx(97, abs=1)
    assert entry["fouling"] == pytest.approx(-0.2, abs=0.05)
    assert [e["verdict"] for e in events(records, "calibrated")] == ["checked", "passed"]

    # history is corrected as a new version, and raw is as it was
    [version] = [Version(**v) for v in done["versions"]]
    assert (version.kind, version.quantity) == ("drift", "ph")
    assert (version.from_ms, version.to_ms) == (first["ended_ms"], entry["began_ms"])
    all_of_it = readings(records, "ph1")
    before = [r for r in all_of_it if version.from_ms <= r.at.utc_ms < entry["began_ms"]]
    assert len(before) >= 3
    changes = [corrected(r, "ph", [version])[0] - r.values["ph"].raw for r in before]
    assert changes == sorted(changes, reverse=True), "it grows with the time"
    assert changes[-1] < -0.15
    assert all(v.value == v.raw for r in all_of_it for v in r.values.values())
    after = [r for r in all_of_it if r.at.utc_ms > entry["ended_ms"]]
    assert after
    assert {r.calibration for r in after} == {entry["number"]}
    assert all(corrected(r, "ph", [version])[0] == r.values["ph"].value for r in after)

    # the report shows it: both entries, the bottles, the version, and what it changed
    assert page.count("LOT-9.18") == page.count("LOT-6.86") == 2, "at both visits"
    assert re.search(r"Aibek.*passed.*9\.18: 9\.\d+ → 9\.1\d", page)
    assert re.search(
        rf"ph1 pH: Correction {version.number}, fouling and drift spread over time, holds from", page
    )
    assert re.search(r"pH: \d+ values corrected; monthly mean \d\.\d+ → \d\.\d+", page)
