"""What a person types by mistake: one line with a hint, the right exit code, never a traceback."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import pytest

from gateway import cli, verify
from gateway.export import instant

STATION = '[station]\nid = "x"\ndata = "{data}"\n[[sensor]]\nid = "d"\nport = "/dev/x"\nmodel = "plantower"\n'


@pytest.fixture
def station(tmp_path: Path) -> Path:
    file = tmp_path / "station.toml"
    file.write_text(STATION.format(data=tmp_path / "data"))
    return file


@pytest.mark.parametrize(
    "words",
    [
        ("alarms", "STATION", "ack", "r", "--by", "A\udcff"),
        ("maintenance", "STATION", "begin", "--why", "\udcff"),
        ("calibrate", "STATION", "d", "--points", "7=7", "--by", "\udcff"),
        ("export", "STATION", "--sensor", "\udcff"),
    ],
)
def test_words_that_are_no_text(
    station: Path, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([str(station) if word == "STATION" else word for word in words]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert "no UTF-8 text" in said[0]


def test_a_terminal_that_lacks_a_sign_is_still_answered(
    station: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(shown, "ascii"))
    assert cli.main(["check", str(station)]) == 0
    sys.stdout.flush()
    assert b"\\u2013" in shown.getvalue()


def test_who_breaks_off_a_verification_is_not_told_that_all_is_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken_off(*_: object) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(verify, "verify", broken_off)
    assert cli.main(["verify", str(tmp_path)]) == 130


def test_a_folder_without_a_journal_cannot_be_verified(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["verify", str(tmp_path)]) == 2
    assert "journal.db" in capsys.readouterr().err


@pytest.mark.parametrize("address", ["127.0.0.1:999999", "a..b", "[::1"])
def test_an_address_to_scan_that_is_none(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["scan", "--quick", "--tcp", address]) == 1
    assert "cannot be opened" in capsys.readouterr().out


def test_a_data_folder_that_cannot_be_made(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["demo", "--seconds", "1", "--data", "/proc/nothing"]) == 1
    assert "/proc/nothing: cannot be written" in capsys.readouterr().err.splitlines()[-1]


def test_a_day_at_the_end_of_the_calendar() -> None:
    with pytest.raises(ValueError, match="calendar"):
        instant("9999-12-31", "Asia/Bishkek", end=True)


def test_names_of_files_may_be_any_bytes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = os.fsdecode(bytes(tmp_path) + b"/\xff.toml")
    assert cli.main(["check", missing]) == 2
    assert "there is no such file" in capsys.readouterr().err
