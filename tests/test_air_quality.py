"""NowCast and US air quality index: published examples, the breakpoints, and another's program.

aqi-hub 0.3.3 has the breakpoints of 2024. It cuts the index where the EPA rounds it, and stops at 500: it is
asked only where that can be told apart.
"""

from __future__ import annotations

import math
import warnings
from fractions import Fraction

import pytest
from aqi_hub.aqi_usa import cal_iaqi_usa
from hypothesis import given, settings
from hypothesis import strategies as st

from alerts.air_quality import cut, index, nowcast

# ── NowCast ─────────────────────────────────────────────────────────────────────────────────────────


def ago(*oldest_first: float | None) -> dict[int, float]:
    return {i: mean for i, mean in enumerate(reversed(oldest_first)) if mean is not None}


EPA_SLIDES = ago(50, 80, 75, 90, 82, 53, 64, 74, 21, 10, 16, 13)
AIRNOW_FORUM = ago(34.9, 43, 50, 64.9, 69.2, 66.2, 53.7, 48.6, 49.2, 35, None, 21)


@pytest.mark.parametrize(
    ("hours", "concentration", "aqi"),
    [
        (EPA_SLIDES, 17.4, 66),  # US EPA, slides "Computing the NowCast": 17.4
        (
            AIRNOW_FORUM,
            28.4,
            87,
        ),  # forum.airnowtech.org, topic 172: 28.4 (and 85 by the breakpoints before 2024)
        (ago(*[0.0] * 11, 71.0), 35.5, 101),  # an hour's pulse: half of it, as 0.5^0 / (0.5^0 + … + 0.5^11)
        (ago(*[40.0] * 12), 40.0, 112),  # steady: the plain mean
        (ago(40.0, 50.0), 45.5, 126),  # w = 0.8: (50 + 40 w) / (1 + w) = 45.55…
        (ago(0.0, 0.0), 0.0, 0),
        (ago(-4.0, 8.0), 5.3, 29),  # below zero counts as 0: 8 / 1.5
    ],
)
def test_published_and_worked_examples(hours: dict[int, float], concentration: float, aqi: int) -> None:
    got = nowcast(hours)
    assert got is not None
    assert cut("pm2_5", got) == concentration
    assert index("pm2_5", got) == aqi


@pytest.mark.parametrize(
    ("hours", "there"),
    [
        (ago(5, 5, 5), True),
        (ago(5, 5, None), True),
        (ago(5, None, 5), True),
        (ago(None, 5, 5), True),
        (ago(5, None, None), False),
        (ago(*[5.0] * 9, None, None, 5), False),
        (ago(*[5.0] * 11, None), True),
        ({}, False),
    ],
)
def test_two_of_the_last_three_hours_are_needed(hours: dict[int, float], there: bool) -> None:
    assert (nowcast(hours) is not None) is there


def test_what_is_older_than_twelve_hours_does_not_count() -> None:
    assert nowcast({0: 10.0, 1: 10.0, 12: 500.0}) == 10.0


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.dictionaries(st.integers(0, 11), st.integers(1, 5000), min_size=2))
def test_the_eight_steps_of_the_fact_sheet(tenths: dict[int, int]) -> None:
    """Range, scaled by the maximum, taken from 1, at least a half; products over powers: in fractions."""
    hours = {i: Fraction(n, 10) for i, n in tenths.items()}
    scaled = (max(hours.values()) - min(hours.values())) / max(hours.values())
    factor = max(1 - scaled, Fraction(1, 2))
    expected = sum(c * factor**i for i, c in hours.items()) / sum(factor**i for i in hours)
    got = nowcast({i: float(c) for i, c in hours.items()})
    if len({0, 1, 2} & set(hours)) < 2:
        assert got is None
    else:
        assert got == pytest.approx(float(expected), rel=1e-12)
        assert got is not None
        assert min(hours.values()) <= Fraction(got) + Fraction(1, 10**9)
        assert Fraction(got) - Fraction(1, 10**9) <= max(hours.values())


# ── the index ───────────────────────────────────────────────────────────────────────────────────────

TABLE = [  # EPA, May 2024: both ends of every line
    ("pm2_5", 0.0, 0), ("pm2_5", 9.0, 50), ("pm2_5", 9.1, 51), ("pm2_5", 35.4, 100), ("pm2_5", 35.5, 101),
    ("pm2_5", 55.4, 150), ("pm2_5", 55.5, 151), ("pm2_5", 125.4, 200), ("pm2_5", 125.5, 201),
    ("pm2_5", 225.4, 300), ("pm2_5", 225.5, 301), ("pm2_5", 325.4, 500),
    ("pm10", 0, 0), ("pm10", 54, 50), ("pm10", 55, 51), ("pm10", 154, 100), ("pm10", 155, 101),
    ("pm10", 254, 150), ("pm10", 255, 151), ("pm10", 354, 200), ("pm10", 355, 201), ("pm10", 424, 300),
    ("pm10", 425, 301), ("pm10", 604, 500),
]  # fmt: skip


@pytest.mark.parametrize(("quantity", "concentration", "aqi"), TABLE)
def test_the_breakpoints_of_2024(quantity: str, concentration: float, aqi: int) -> None:
    assert index(quantity, concentration) == aqi


@pytest.mark.parametrize(
    ("quantity", "concentration", "aqi"),
    [
        ("pm2_5", 9.099, 50),  # cut, not rounded: 9.0
        ("pm2_5", 35.49, 100),
        ("pm2_5", math.nextafter(9.1, 0), 51),  # as a mean of values that are all 9.1 may be
        ("pm10", 154.99, 100),
        ("pm2_5", 4.5, 25),
        ("pm2_5", 12.0, 56),  # was 50 before 2024
        ("pm2_5", 35.9, 102),  # 101.98
        ("pm2_5", 0.9 * 1.05, 5),  # 0.9: exactly 5
        ("pm2_5", 326.4, 502),  # beyond the table along its last line: 501.99
        ("pm2_5", 425.3, 699),  # as far beyond 325.4 as that is from 225.5: 500 + 199
        ("pm10", 783, 699),
        ("pm2_5", -3.0, 0),
    ],
)
def test_between_and_beyond_the_breakpoints(quantity: str, concentration: float, aqi: int) -> None:
    assert index(quantity, concentration) == aqi


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.sampled_from([("pm2_5", 10, 3253, "PM25_24H"), ("pm10", 1, 603, "PM10_24H")]), st.data())
def test_another_program_has_the_same_index(of: tuple[str, int, int, str], data: st.DataObject) -> None:
    quantity, steps, most, item = of
    n = data.draw(st.integers(0, most))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = cal_iaqi_usa((n + 0.25) / steps, item)
    ours = index(quantity, (n + 0.25) / steps)
    assert theirs is not None
    assert ours - theirs in (0, 1)  # they cut 101.98 to 101
    if ours > theirs:
        assert index(quantity, (n + 1) / steps) >= ours


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.sampled_from(["pm2_5", "pm10"]), st.floats(-10, 5000), st.floats(0, 500))
def test_more_dust_is_never_a_lower_index(quantity: str, less: float, more: float) -> None:
    assert index(quantity, less) <= index(quantity, less + more)
    assert index(quantity, less) >= 0
    assert math.isclose(cut(quantity, cut(quantity, less)), cut(quantity, less))
