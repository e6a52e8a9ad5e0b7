"""`suuaba rules test`: the examples that are shipped, what a failure looks like, and files that are none."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.cli import main

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted((ROOT / "deploy" / "rules").glob("*.toml"))
CASE = """
about = "Mud."
start = "2026-11-23 14:00"
[[contact]]
id = "duty"
[[rule]]
id = "mud"
sensor = "turb1"
quantity = "turbidity"
unit = "NTU"
above = 50
priority = "critical"
send = [["duty"]]
[[series]]
sensor = "turb1"
quantity = "turbidity"
values = ["20 for 1 min", "80 for 1 min"]
[expect]
states = ["14:01:00 mud active_unacknowledged"]
sms = ["14:01:00 duty: ALARM station turb1: turbidity 80.0 > 50 NTU since 14:01. Reply ACK 1001"]
"""


def play(*words: str | Path) -> int:
    return main(["rules", "test", *map(str, words)])


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.name)
def test_the_examples(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = play(file)
    said = capsys.readouterr().out
    assert code == 0, said
    assert said.startswith(f"ok    {file.name}  ")
    assert said.count("\n") == 1


def test_the_examples_are_there_and_a_folder_plays_them_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert len(EXAMPLES) >= 3
    assert play(ROOT / "deploy" / "rules") == 0
    assert [line.split()[:2] for line in capsys.readouterr().out.splitlines()] == [
        ["ok", file.name] for file in EXAMPLES
    ]


def test_a_failure_shows_what_came_otherwise(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = tmp_path / "good.toml"
    good.write_text(CASE, encoding="utf-8")
    bad = tmp_path / "bad.toml"
    bad.write_text(CASE.replace('values = ["20', 'values = ["90 for 10 s", "20'), encoding="utf-8")
    over = "Back to normal station turb1: turbidity 20.0 NTU, limit 50, since 14:00, highest 90.0"
    assert play(bad, good) == 1
    assert capsys.readouterr().out.splitlines() == [
        "FAIL  bad.toml   Mud.",
        "      states",
        "      - 14:01:00 mud active_unacknowledged",
        "      + 14:00:00 mud active_unacknowledged",
        "      + 14:00:10 mud returned_unacknowledged",
        "      + 14:01:10 mud active_unacknowledged",
        "      sms",
        "      - 14:01:00 duty: ALARM station turb1: turbidity 80.0 > 50 NTU since 14:01. Reply ACK 1001",
        "      + 14:00:00 duty: ALARM station turb1: turbidity 90.0 > 50 NTU since 14:00. Reply ACK 1001",
        f"      + 14:00:10 duty: {over}",
        "      + 14:01:10 duty: ALARM station turb1: turbidity 80.0 > 50 NTU since 14:01. Reply ACK 1002",
        "ok    good.toml  Mud.",
    ]


def test_what_came_can_be_copied(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "new.toml"
    file.write_text(CASE.partition("[expect]")[0], encoding="utf-8")
    assert play(file, "--show") == 1
    shown = capsys.readouterr().out.partition("\n")[2]
    file.write_text(CASE.partition("[expect]")[0] + "[expect]\n" + shown, encoding="utf-8")
    assert play(file) == 0


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("nothing = [", "case.toml"),
        ("[[rule]]\nabov = 5\n", "abov: not known"),
        ("[[rule]]\nid = 'x'\n", "one of above, below, change"),
        ("[[series]]\nvalues = ['much']\n", "'much' is not understood"),
        ("[[series]]\nvalues = ['5 for 50 d']\n", "40 days are the most"),
        ("timezone = 'Asia/Bischkek'\n", "Bischkek"),
        ("answers = ['14:00 ACK 1001']\n", "CONTACT: ACK 1001"),
        ("expect = 3\n", "case.toml"),
        (None, "No such file"),
        ("\0" * 1_000_001, "this is no rule case"),
        (b"\xff\xfe", "no UTF-8"),
    ],
    ids=lambda x: str(x)[:20],
)
def test_what_is_no_case_gets_one_line(
    tmp_path: Path, text: str | bytes | None, error: str, capsys: pytest.CaptureFixture[str]
) -> None:
    good = tmp_path / "good.toml"
    good.write_text(CASE, encoding="utf-8")
    file = tmp_path / "case.toml"
    if text is not None:
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
    assert play(file, good) == 2
    said = capsys.readouterr()
    assert said.err.count("\n") == 1
    assert error in said.err
    assert "ok    good.toml" in said.out, "the others are played all the same"


def test_an_empty_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert play(tmp_path) == 2
    assert "no *.toml is in this folder" in capsys.readouterr().err
