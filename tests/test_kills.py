"""The whole real station, killed with -9 at random moments: nothing confirmed is lost, nothing is doubled.

`python -m tests.bench.crash` does it a thousand times.
"""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import Mock

import pytest

from drivers.emulators.record import Said
from gateway.model import Reading, Stamp, Value
from tests.crash.kills import Killer, Sum, killed, reconcile_instruments, reconcile_mqtt

SLACK_S = 3.0
"""What a busy machine adds to the time between an answer and its commit."""
WINDOWS = {2: 16, 10: 3}
"""Averages by the length of their windows in seconds, so many at least; half of them with a kill inside.
Whether a whole minute lies in half a minute of kills is luck; minutes and hours are in test_killed_or_not."""
FLAGS = {"user range": 10, "rate of change": 4, "flat line": 4, "gap": 2, "attenuated signal": 1, "spike": 1}


def test_kills_lose_and_double_nothing_of_packed_messages(tmp_path: Path) -> None:
    found = killed(tmp_path, 10, 3, 'pack = "1 min"')
    assert not found.wrong, found
    assert found.journaled > 20, f"the kills left it no time to work: {found}"


@pytest.mark.parametrize("seed", [1, 2])
def test_25_kills_lose_and_double_nothing(tmp_path: Path, seed: int) -> None:
    found = killed(tmp_path, 25, seed)
    assert not found.wrong, found
    assert found.journaled > 60, f"the kills left it no time to work: {found}"
    assert found.late_s < SLACK_S, found
    # What the same readings make in one go was compared, and there was enough of everything.
    seen = found.compared
    assert found.flags > 300, found
    assert all(seen.windows[length_s] >= least for length_s, least in WINDOWS.items()), seen
    assert all(seen.straddling[length_s] >= least // 2 + 1 for length_s, least in WINDOWS.items()), seen
    assert all(seen.flags[test] >= least for test, least in FLAGS.items()), seen


# The sum itself: two lives with a commit interval of 1 s, killed at 10 s and at 20 s.
ANSWERS = {1.0: 7.1, 5.0: 7.2, 9.5: 7.3, 12.0: 7.4, 19.8: 7.1}


def said(at_s: float, number: float, **other: Any) -> Said:
    about: dict[str, Any] = {"asked": True, "spoiled": False, "fault": ""} | other
    return Said("ph1", "river", at_s, int(at_s * 1000), {"ph": number}, **about)


def kept(at_s: float, number: float) -> Reading:
    stamp = Stamp(int(at_s * 1000) + 20, "boot0001", 0, True)
    return Reading("ph1", "m", "water", stamp, {"ph": Value(number, number, "pH", 1)})


@pytest.mark.parametrize(
    ("journal", "wrong", "missing"),
    [
        pytest.param([1.0, 5.0, 9.5, 12.0, 19.8], {}, 0, id="everything"),
        pytest.param([1.0, 5.0, 12.0], {}, 2, id="the last before each kill are missing"),
        pytest.param([1.0, 9.5, 12.0, 19.8], {"out_of_order": 1}, 1, id="one in the middle is missing"),
        pytest.param([5.0, 9.5, 12.0, 19.8], {"out_of_order": 1}, 1, id="its value came again later"),
        pytest.param([1.0, 5.0, 9.5, 12.0, 19.8, 5.0], {"invented": 1}, 0, id="one is there twice"),
    ],
)
def test_the_sum_of_what_the_instruments_said(
    journal: list[float], wrong: dict[str, float], missing: int
) -> None:
    killer = Killer(Mock(), Mock(), Mock(), Random(1), ends_s=[10.0, 20.0], commits_s=[1.0, 1.0])
    heard = [said(at_s, number) for at_s, number in ANSWERS.items()]
    heard += [said(3.0, 1.0, spoiled=True), said(3.0, 1.0, asked=False)]
    found = Sum()
    reconcile_instruments(found, heard, [kept(at_s, ANSWERS[at_s]) for at_s in journal], killer)
    assert (found.wrong, found.missing) == (wrong, missing)
    if missing == 2:
        assert found.late_s == pytest.approx(-0.5)  # 9.5 s, half a second before the kill


def message(seq: int, number: float, at: str = "10:00") -> tuple[str, Any]:
    body = {"seq": seq, "sensor": "ph1", "time": at, "values": {"ph": {"raw": number}}}
    return "suuaba/1/kyia/reading/ph1", body


@pytest.mark.parametrize(
    ("got", "wrong"),
    [
        pytest.param([message(1, 7.1), message(2, 7.2), message(2, 7.2)], {}, id="at least once"),
        pytest.param([message(1, 7.1)], {"lost_mqtt": 1}, id="one never came"),
        pytest.param([message(1, 7.1), message(2, 7.2), message(3, 7.3)], {"lost_mqtt": 1}, id="taken back"),
        pytest.param([message(1, 7.1), message(2, 7.2), message(2, 9.9)], {"reused": 2}, id="another value"),
        pytest.param(
            [message(1, 7.1), message(2, 7.2), message(2, 7.2, "11:00")], {"reused": 1}, id="another time"
        ),
    ],
)
def test_the_sum_of_what_mqtt_saw(got: list[tuple[str, Any]], wrong: dict[str, float]) -> None:
    found = Sum()
    reconcile_mqtt(found, got, {1: kept(1.0, 7.1), 2: kept(5.0, 7.2)})
    assert found.wrong == wrong
