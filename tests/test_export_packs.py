"""Evidence packs prove themselves; what was changed in one is found and named."""

from __future__ import annotations

import csv
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest

from gateway import cli
from gateway.evidence_config import without_secrets
from tests.exports import (
    keep,
    ph,
    some_of_all,
    suuaba,
)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return some_of_all(tmp_path)


@pytest.fixture
def pack(place: Path) -> Path:
    assert suuaba("--evidence", "--output", "pack.zip") == 0
    return place / "pack.zip"


def verify(path: Path, capsys: pytest.CaptureFixture[str], *more: str) -> tuple[int, str]:
    capsys.readouterr()
    code = cli.main(["verify", str(path), *more])
    return code, capsys.readouterr().out


def changed(pack: Path, name: str, edit: Any) -> Path:
    """The pack with one file edited, and everything else as it was; None takes it out."""
    other = pack.with_name("forged.zip")
    with zipfile.ZipFile(pack) as old, zipfile.ZipFile(other, "w") as new:
        for info in old.infolist():
            data = old.read(info)
            if info.filename == name:
                data = edit(data)
            if data is not None:
                new.writestr(info, data)
        if name not in old.namelist():
            new.writestr(name, edit(b""))
    return other


def test_a_pack_proves_itself(pack: Path, capsys: pytest.CaptureFixture[str]) -> None:
    subprocess.run(["unzip", "-tq", pack], check=True, capture_output=True, timeout=30)
    code, out = verify(pack, capsys, "--key", str(pack.parent / "data" / "station.pub"))
    assert (code, "WRONG" in out) == (0, False), out
    assert "by its own words of station" in out
    with zipfile.ZipFile(pack) as opened:
        rows = list(csv.DictReader(opened.read("data/readings.csv").decode().splitlines()))
        assert len(rows) == 30  # the tail is in no block yet
        assert [r["seq"] for r in rows if r["flag"] == "4"] == ["6"]
        [gap] = csv.DictReader(opened.read("data/gaps.csv").decode().splitlines())
        assert gap["what"] == "missed"
        page = opened.read("index.html").decode()
        assert 'lang="ru"' in page
        assert "Пакет доказательств" in page


def bit(at: int) -> Any:
    return lambda data: data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :]


def lines(keep_line: Any) -> Any:
    return lambda data: b"".join(
        line for i, line in enumerate(data.splitlines(keepends=True)) if keep_line(i)
    )


PACK_FORGERIES = {
    "a value": ("data/readings.csv", lambda d: d.replace(b",7.03,", b",7.93,"), "data/readings.csv: line 11 is not"),  # noqa: E501  a table
    "a flag": ("data/readings.csv", lambda d: d.replace(b',4,"spike"', b',1,""'), "data/readings.csv: line 8 is not"),  # noqa: E501  a table
    "a row removed": ("data/readings.csv", lines(lambda i: i != 5), "data/readings.csv: line 6 is not"),
    "the last row removed": ("data/readings.csv", lines(lambda i: i != 30), "data/readings.csv: line 31 is not"),  # noqa: E501  a table
    "a row added": ("data/readings.csv", lambda d: d + d.splitlines(keepends=True)[-1], "data/readings.csv: line 32 is not"),  # noqa: E501  a table
    "a gap removed": ("data/gaps.csv", lines(lambda i: i == 0), "data/gaps.csv: line 2 is not"),
    "a bit of a block": ("chain/blocks.bin", bit(300), "block 2, seq 2 to 21"),
    "a block removed": ("chain/blocks.jsonl", lines(lambda i: i != 1), "does not fit"),
    "a number": ("chain/blocks.jsonl", lambda d: d.replace(b'"records": 20', b'"records": 21'), "block 2, seq 2 to 21"),  # noqa: E501  a table
    "a file added": ("data/more.csv", lambda d: b"x", "data/more.csv: is no part"),
    "the page": ("index.html", lambda d: d.replace(b"kyia", b"kyja"), "index.html: was changed"),
    "the key": ("chain/station.pub", lambda d: d[:40] + b"A" + d[41:], "chain/station.pub: is not the key"),
    "a table gone": ("data/events.csv", lambda d: None, "data/events.csv: is missing"),
    "rubbish": ("manifest.json", lambda d: b"{", "is no whole evidence pack"),
}  # fmt: skip


@pytest.mark.parametrize("name", PACK_FORGERIES)
def test_a_forged_pack_is_found_and_named(pack: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    file, edit, said = PACK_FORGERIES[name]
    code, out = verify(changed(pack, file, edit), capsys)
    assert code == 1
    assert said in out.splitlines()[0]


def test_a_pack_signed_anew_needs_the_key(pack: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Another station's pack with this one's name: sound in itself, and not by this key."""
    other = pack.parent / "other"
    other.mkdir()
    keep(other, [[ph(0, 9.9)]])
    code, out = verify(pack, capsys, "--key", str(other / "data" / "station.pub"))
    assert code == 1
    assert "which is none that you named" in out


@pytest.mark.parametrize("cut", [0, 10, 500, -30])
def test_a_torn_pack_is_one_line(pack: Path, cut: int, capsys: pytest.CaptureFixture[str]) -> None:
    torn = pack.with_name("torn.zip")
    torn.write_bytes(pack.read_bytes()[:cut])
    code, out = verify(torn, capsys)
    assert code == 1
    assert "is no whole evidence pack" in out


def test_the_configuration_is_journaled_without_secrets() -> None:
    text = without_secrets(
        'password = "hush"\nurl = "mqtt://me:hush@host:1"\ntoken = \'hush\'\n[[contact]]\nphone = "+996555000001"\n'  # noqa: E501  a table
        'pin = { file = "duty.pin" }\nwifi_password = "hush"\na = { password = "hush", b = 1 }\nabove = 50\n'
    )
    assert "hush" not in text
    assert "+996" not in text
    assert "above = 50" in text
    assert 'file = "duty.pin"' in text
