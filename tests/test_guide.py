"""`suuaba calibrate`: guided, and with noted readings; without a service, on emulated probes."""

from __future__ import annotations

import asyncio
import struct
from pathlib import Path
from typing import Any

import pytest

from drivers.emulators.modbus_models import Y510, Y532
from gateway import cli
from gateway.calibration import Version, corrected
from gateway.calibration_words import LANGUAGES, WORDS, say
from gateway.errors import ConfigError, ControlError
from gateway.guide import Wish, calibrate
from gateway.model import Reading, Stamp, Value
from tests.site import Site, events, site


class Scripted:
    """A technician who answers in order; before each answer `does` may put the probe somewhere."""

    def __init__(self, *answers: str, does: Any = None) -> None:
        self.answers = list(answers)
        self.said: list[str] = []
        self._does = does

    def say(self, text: str) -> None:
        self.said.append(text)
        if self._does is not None:
            self._does(text)

    def show(self, text: str) -> None:
        pass

    async def ask(self, text: str) -> str:
        self.said.append(f"? {text}")
        return self.answers.pop(0)


def quick(place: Site, sensor: str, more: str = "") -> None:
    """A quick criterion for one sensor, in English."""
    parts = place.file.read_text(encoding="utf-8").replace('"ru"', '"en"').split("\n\n")
    words = f'\n[sensor.calibration]\nstable = {{ within = 0.5, over = "1 s" }}\n{more}'
    parts = [part + words if f'id = "{sensor}"' in part else part for part in parts]
    place.file.write_text("\n\n".join(parts), encoding="utf-8")


def run(place: Site, wish: Wish, terminal: Scripted) -> int:
    return asyncio.run(calibrate(place.file, wish, terminal))


def test_a_guided_calibration_of_a_probe_with_coefficients(tmp_path: Path) -> None:
    with site(tmp_path, None, None, story="calm") as place:
        probe = place.outside.instruments["turb1"]
        assert isinstance(probe, Y510)
        quick(place, "turb1")

        def does(text: str) -> None:
            for standard in (1, 100):  # it reads 10 % and 3 NTU too much
                if f"standard {standard}:" in text or f"standard {standard}." in text:
                    place.ports.call(lambda n=standard: probe.bath.update(turbidity=1.1 * n + 3))

        terminal = Scripted(
            "Aibek", "1 100", "", "s", "", "s", "L1", "", "", "L2", "2999-01", "",
            "y", "y", "", "IMG.jpg", "", does=does,
        )  # fmt: skip
        code = run(place, Wish("turb1"), terminal)
        assert code == 0, terminal.said
        assert terminal.answers == []
        data = place.ports.call(lambda: b"".join(probe.memory[3][0x1100 + i] for i in range(4)))
        k, b = struct.unpack("<2f", data)
        assert (k, b) == pytest.approx((1 / 1.1, -3 / 1.1), abs=0.02), "K and B are in the probe"
        records, _ = place.journal()
        [entry] = events(records, "calibrated")
        assert (entry["method"], entry["verdict"], entry["by"]) == ("coefficients", "passed", "Aibek")
        assert entry["points"][1]["left"] == pytest.approx(100, abs=0.5)
        assert [p["lot"] for p in entry["points"]] == ["L1", "L2"]
        assert [m["minutes"] for m in events(records, "maintenance")] == [60, 0]


def test_noted_readings_are_kept_by_the_station(tmp_path: Path) -> None:
    with site(tmp_path, None, None, story="calm") as place:
        assert isinstance(place.outside.instruments["ph1"], Y532)
        quick(place, "ph1")
        terminal = Scripted()
        assert run(place, Wish("ph1", points="7.00=7.10,4.01=4.16", by="Aibek"), terminal) == 0
        visit = tmp_path / "visit.toml"
        visit.write_text(
            'by = "Nurgul"\nfound = 7.6\ncleaned = 7.5\n'
            '[[point]]\nnominal = 7.00\nreading = 7.20\nlot = "B7"\ntemperature_degc = 20\n'
            "[[point]]\nnominal = 4.01\nreading = 4.26\ntemperature_degc = 20\n",
            encoding="utf-8",
        )
        assert run(place, Wish("ph1", points=str(visit)), terminal) == 0
        records, _ = place.journal()
    first, second = events(records, "calibrated")
    assert (first["method"], first["by_hand"], first["number"]) == ("station", True, 2)
    assert [p["value"] for p in second["points"]] == [7.02, 4.0], "at 20 degC"
    versions = [Version(**v) for v in events(records, "correction")]
    assert [(v.number, v.kind) for v in versions] == [(1, "linear"), (3, "drift"), (4, "linear")]
    assert second["number"] == 5
    before = Reading("ph1", "y532", "water", at(second["began_ms"] - 1), {"ph": Value(7.2, 7.1, "pH", 1)}, 2)
    value, number = corrected(before, "ph", versions)
    assert number == 3
    assert value == pytest.approx(7.02 - 0.1, abs=0.02), "7.02 by drift, and 0.1 less by fouling"
    after = Reading("ph1", "y532", "water", at(second["ended_ms"]), {"ph": Value(7.2, 7.2, "pH", 1)}, 0)
    assert corrected(after, "ph", versions)[0] == pytest.approx(7.02)


def at(ms: int) -> Stamp:
    return Stamp(ms, "a", ms, synced=True)


@pytest.mark.parametrize(
    ("points", "said"),
    [
        ("7.00=x", "is no number"),
        ("7.00=7.1,7.00=7.2", "stands there twice"),
        ("7.00=8.30,4.00=4.1", None),
        ("nowhere.toml", "No such file"),
        ("7.00=4.1,4.01=7.1", "right bottle"),
    ],
)
def test_bad_points_get_one_line(tmp_path: Path, points: str, said: str | None) -> None:
    with site(tmp_path, None, None, story="calm") as place:
        quick(place, "ph1")
        if said is None:
            assert run(place, Wish("ph1", points=points, by="A"), Scripted()) == 1, "a slope of 140 % fails"
            return
        with pytest.raises((ConfigError, ControlError), match=said) as e:
            run(place, Wish("ph1", points=points, by="A"), Scripted())
        assert "\n" not in str(e.value)


def test_every_text_is_there_in_three_languages() -> None:
    for key, texts in WORDS.items():
        assert len(set(texts)) == 3, key
        assert len({text.count("{") for text in texts}) == 1, key
        for language in (*LANGUAGES, "de"):
            assert say(key, language, standard=7.0)


def test_maintenance_without_a_service_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with site(tmp_path, None, None) as place:
        assert cli.main(["maintenance", str(place.file), "begin", "--by", "A"]) == 1
    assert "no service runs" in capsys.readouterr().err
