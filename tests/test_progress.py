"""The bar of exports and reports: on a terminal how far and how long yet, elsewhere nothing."""

from __future__ import annotations

import os
import pty
import re
import sys

import pytest

from gateway.export import progress


def test_a_terminal_sees_how_far_and_how_long_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    master, slave = pty.openpty()
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")
    with os.fdopen(slave, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        with progress("kyia_readings.csv") as tell:
            for done in range(1, 51):
                tell(done / 100)
        terminal.flush()
        shown = os.read(master, 65_536).decode()
    os.close(master)
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown)
    lines = [line for line in re.split(r"[\r\n]+", plain) if line.strip()]
    assert "kyia_readings.csv" in lines[0]
    assert re.search(r" 50% \d:\d\d:\d\d\s*$", lines[-1]), lines


def test_a_file_gets_no_bar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with progress("kyia_readings.csv") as tell:
        tell(0.5)
    assert capsys.readouterr() == ("", "")
