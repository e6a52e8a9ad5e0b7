"""Averages: the arithmetic against the standard library."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.averages_sums import Method, Sums, add_plain, add_special, mean, sort_out
from gateway.model import Mean, Value
from tests.averaging import Run, fold, one, reading


def mean_of(
    name: str, values: Sequence[float], method: Method | None = None, speeds: Sequence[float] = ()
) -> float | None:
    """The mean that a window would have of these values."""
    methods = {name: method} if method else {}
    sums: dict[str, Sums] = {}
    for i, x in enumerate(values):
        entry = {name: Value(x, x, "", 1)}
        if speeds:
            entry["wind_speed"] = Value(speeds[i], speeds[i], "m/s", 1)
        plain, special, _ = sort_out(entry, frozenset((1, 2)), methods)
        add_plain(sums, [p for p in plain if p[0] == name])
        add_special(sums, special)
    return mean(sums[name], method)


@pytest.mark.parametrize(
    ("name", "method", "values", "expected"),
    [
        ("turbidity", None, [1.0, 2.0, 6.0], 3.0),
        ("turbidity", None, [1e16, 1.0, -1e16], 1 / 3),  # a plain sum loses the 1
        ("turbidity", None, [0.1] * 10, 0.1),
        ("ph", Method.HYDROGEN, [4.0, 8.0], 4.300986),  # -log10((1e-4 + 1e-8) / 2)
        ("ph", Method.HYDROGEN, [7.0, 7.0, 7.0], 7.0),
        ("ph", Method.HYDROGEN, [6.0, 7.0], 6.259637),  # -log10(5.5e-7)
        ("ph", Method.ARITHMETIC, [4.0, 8.0], 6.0),
        ("ph", Method.MEDIAN, [4.0, 8.0, 7.25], 7.25),
        ("ph", Method.MEDIAN, [4.0, 7.0, 7.2, 9.9], 7.1),
        ("ph", Method.MEDIAN, [7.0, 7.0, 7.0, 9.9], 7.0),
        ("ph", Method.MEDIAN, [6.5], 6.5),
        ("wind_direction", Method.VECTOR, [350.0, 10.0], 0.0),
        ("wind_direction", Method.VECTOR, [90.0, 180.0], 135.0),
        ("wind_direction", Method.VECTOR, [350.0, 350.0, 350.0, 40.0], 1.8757),
        ("wind_direction", Method.VECTOR, [0.0, 180.0], None),
    ],
)
def test_means(name: str, method: Method | None, values: list[float], expected: float | None) -> None:
    found = mean_of(name, values, method)
    if expected is None:
        assert found is None
    elif name == "wind_direction":
        assert found is not None
        assert 0 <= found < 360
        assert (found - expected + 180) % 360 - 180 == pytest.approx(0, abs=1e-3)
    else:
        assert found == pytest.approx(expected, rel=1e-6 if method is Method.HYDROGEN else 1e-15)


def test_a_strong_wind_counts_for_more_than_a_weak_one() -> None:
    # 9 m/s from the east, 1 m/s from the north: atan2(9, 1) = 83.66 degrees
    found = mean_of("wind_direction", [90.0, 0.0], Method.VECTOR, speeds=[9.0, 1.0])
    assert found == pytest.approx(83.6598, abs=1e-4)
    assert mean_of("wind_direction", [90.0, 0.0], Method.VECTOR, speeds=[0.0, 0.0]) is None


@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=200))
@settings(deadline=None, derandomize=True, max_examples=150)
def test_plain_means_are_those_of_the_standard_library(values: list[float]) -> None:
    sums: dict[str, Sums] = {}
    add_plain(sums, [("q", 1, v, v) for v in values])
    found, s = mean(sums["q"], None), sums["q"]
    # The sum is right to an ulp of what is left when everything has cancelled out.
    assert found == pytest.approx(statistics.fmean(values), rel=1e-14, abs=1e-20 * max(map(abs, values)))
    assert (s.used, s.low, s.high) == (len(values), min(values), max(values))


@given(st.lists(st.floats(0, 14), min_size=1, max_size=100))
@settings(deadline=None, derandomize=True, max_examples=100)
def test_means_and_medians_of_ph(values: list[float]) -> None:
    ions = statistics.fmean(10.0**-v for v in values)
    assert mean_of("ph", values, Method.HYDROGEN) == pytest.approx(-math.log10(ions), abs=1e-12)
    assert mean_of("ph", values, Method.MEDIAN) == pytest.approx(statistics.median(values), abs=0.005001)


def test_a_mean_never_leaves_the_values_it_is_made_of() -> None:
    for i in range(1401):
        value = i / 100
        assert mean_of("ph", [value] * 7, Method.HYDROGEN) == value
        assert mean_of("turbidity", [value / 7] * 11) == value / 7


def test_what_cannot_be_used_does_no_harm() -> None:
    run = Run(fold())
    for i, bad in enumerate((math.nan, math.inf, -math.inf, 1e300)):
        run.see(reading(i * 1000, bad, ph=Value(-300.0, -300.0, "pH", 2)))
    run.see(reading(5000, 3.0, ph=Value(7.0, 7.0, "pH", 2)))
    average = one(run.tick(65_000))
    assert average.values["turbidity"] == Mean(3.0, 3.0, 3.0, 1, 6, "NTU", 3, "incomplete")
    assert average.values["ph"] == Mean(7.0, 7.0, 7.0, 1, 6, "pH", 3, "incomplete")


def test_a_mean_that_a_quantity_does_not_have_is_refused() -> None:
    with pytest.raises(ValueError, match="turbidity has no median mean"):
        fold(methods={"turbidity": Method.MEDIAN})
    with pytest.raises(ValueError, match="windows of 420 s do not divide a day"):
        fold([420])
