"""Our streaming tests against ioos_qc: its published vectors, its errors on missing data, random series.

The vectors are those of ioos_qc's own tests/test_qartod.py (Apache License 2.0). Each stands here with the
flags that ioos_qc publishes, which ioos_qc itself must give, and with ours where they differ (docs/quality.md
says why).
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from gateway.qc import Attenuation, Expect, Flat, worst
from tests.qc_many import TOGETHER, all_equal, random_heaps
from tests.qc_series import Series, Slots, equal, ioos, random_series, spikes, stream

_ = None  # a reading that was missed
QUARTER_S = 900  # its series have a value every 15 minutes
DAY_S = 86400

RANGES: list[tuple[list[float | None], list[int]]] = [
    ([5, 10, 15, 20, 25, 30, 35, 40, 45, 51], [4, 3, 3, 1, 1, 1, 1, 1, 3, 4]),
    ([_, 10, 15, 20, 25, 30, 35, 40, _, 51, _], [9, 3, 3, 1, 1, 1, 1, 1, 9, 4, 9]),
]


@pytest.mark.parametrize(("slots", "flags"), RANGES)
def test_ranges(slots: list[float | None], flags: list[int]) -> None:
    assert ioos("gross_range_test", slots, fail_span=(10, 50), suspect_span=(20, 40)) == flags
    assert stream(Expect(gross=(10, 50), usual=(20, 40)), slots) == flags


METHODS: list[float | None] = [3, 4.99, 5, 6, 8, 6, 6, 6.75, 6, 6, 5.3, 6, 6, 9, 5, _, 4, 4]
WAVE: list[float | None] = [
    -0.189, -0.0792, -0.0122, 0.0457, 0.0671, 0.0213, -0.0488, -0.1463, -0.2438, -0.3261, -0.3871, -0.4054,
    -0.3932, -0.3383, -0.2804, -0.2347, -0.2134, -0.2347, -0.2926, -0.3597, -0.442, -0.509, 0, -0.5944, -0.57,
    -0.4267, -0.2926, -0.1585, -0.0945, -0.0762,
]  # fmt: skip
SPIKES: list[tuple[list[float | None], tuple[float, float], str, list[int]]] = [
    ([10, 12, 999.99, 13, 15, 40, 9, 9], (25, 50), "average", [2, 4, 4, 4, 1, 3, 1, 2]),
    ([-10, -12, -999.99, -13, -15, -40, -9, -9], (25, 50), "average", [2, 4, 4, 4, 1, 3, 1, 2]),
    ([-100, -99, -99, -98], (25, 50), "average", [2, 1, 1, 2]),
    (
        [10, 12, 999.99, 13, 15, 40, 9, 9, _, 10, 10, 999.99, 10, _],
        (25, 50),
        "average",
        [2, 4, 4, 4, 1, 3, 1, 2, 9, 2, 4, 4, 2, 9],
    ),
    (METHODS, (0.5, 1), "average", [2, 3, 1, 1, 4, 3, 1, 3, 1, 1, 3, 1, 4, 4, 2, 9, 2, 2]),
    (METHODS, (0.5, 1), "differential", [2, 1, 1, 1, 4, 1, 1, 3, 1, 1, 3, 1, 1, 4, 2, 9, 2, 2]),
    (WAVE, (0.5, 1), "average", [2] + [1] * 21 + [3] + [1] * 6 + [2]),
]


@pytest.mark.parametrize(("slots", "limits", "method", "flags"), SPIKES)
def test_spike(slots: list[float | None], limits: tuple[float, float], method: Any, flags: list[int]) -> None:
    """What stands beside a missing value is not evaluated: ioos_qc too since its pull request 129."""
    low, high = limits
    assert ioos("spike_test", slots, suspect_threshold=low, fail_threshold=high, method=method) == flags
    ours = spikes(Expect(spike=limits, spike_method=method), slots)
    assert ours == {i: flag for i, flag in enumerate(flags) if flag in (3, 4)}


@pytest.mark.parametrize(
    ("slots", "theirs", "ours"),
    [
        (
            [2, 10, 2.1, 3, 4, 5, 7, 10, 0, 2, 2.2, 2, 1, 2, 3, 90, 91, 92, 93, 1, 2, 3, 4, 5],
            [1, 3, 3, 1, 1, 1, 1, 1, 3, 1, 1, 1, 1, 1, 1, 3, 1, 1, 1, 3, 1, 1, 1, 1],
            [2, 3, 3, 1, 1, 1, 1, 1, 3, 1, 1, 1, 1, 1, 1, 3, 1, 1, 1, 3, 1, 1, 1, 1],
        ),
        ([2, 10, 2, 3, _, _, 7, 10], [1, 3, 3, 1, 9, 9, 1, 1], [2, 3, 3, 1, 9, 9, 2, 1]),
        ([-2, -10, -2, -3], [1, 3, 3, 1], [2, 3, 3, 1]),
    ],
)
def test_rate_of_change(slots: list[float | None], theirs: list[int], ours: list[int]) -> None:
    """Without the reading before there is no rate: not evaluated. ioos_qc calls it GOOD."""
    per_s = 5 / 15 / 60
    assert ioos("rate_of_change_test", slots, every_s=QUARTER_S, threshold=per_s) == theirs
    assert stream(Expect(rate_per_s=per_s), slots, QUARTER_S) == ours


QUARTERS = Flat(0.01, 3000, 4800)
FLAT: list[tuple[list[float | None], float, Flat, list[int], list[int]]] = [
    (
        [1, 2, 2.0001, 2, 2.0001, 2, 2.0001, 2, 4, 5, 3, 3.0001, 3.0005, 3.00001],
        QUARTER_S,
        QUARTERS,
        [1, 1, 1, 1, 3, 3, 4, 4, 1, 1, 1, 1, 1, 3],
        [2, 1, 1, 1, 3, 3, 4, 4, 1, 1, 1, 1, 1, 3],
    ),
    (
        [2, 2.0001, 2, 2.0001, 2, 2.0001, 2, 4, 5, 3, 3.0001, 3.0005, 3.00001],
        QUARTER_S,
        QUARTERS,
        [1, 1, 1, 3, 3, 4, 4, 1, 1, 1, 1, 1, 3],
        [2, 2, 2, 3, 3, 4, 4, 1, 1, 1, 1, 1, 3],
    ),
    ([5], 1, Flat(0.1, 3, 5), [1], [2]),
    ([5, 5, 5, 5, 5, 5], 1, Flat(0.1, 3, 5), [1, 1, 1, 3, 3, 4], [2, 2, 2, 3, 3, 4]),
    (
        [1, 1, 1, 1, 1, 6, 5, 4, 3, 2],
        1,
        Flat(4, 3, 6),
        [1, 1, 1, 3, 3, 1, 1, 1, 3, 3],
        [2, 2, 2, 3, 3, 1, 1, 1, 3, 3],
    ),
    (  # the row of 2 begins at the fourth slot: the missing ones before it prove nothing
        [1, _, _, 2, 2.0001, 2, 2.0001, 2, 4, _, 3, _, _, 3.00001],
        QUARTER_S,
        QUARTERS,
        [1, 9, 9, 1, 3, 3, 4, 4, 1, 9, 1, 9, 9, 3],
        [2, 9, 9, 1, 1, 1, 3, 3, 1, 9, 1, 9, 9, 3],
    ),
    (  # ioos_qc issue 68: one value behind missing ones is called flat
        [1, _, _, _, _, _, _, 5, _, 7],
        1,
        Flat(0.1, 3, 5),
        [1, 9, 9, 9, 9, 9, 9, 4, 9, 1],
        [2, 9, 9, 9, 9, 9, 9, 2, 9, 1],
    ),
    ([7, 7, 7, 7, 7, 7], 1, Flat(0, 2, 4), [1] * 6, [2, 2, 3, 3, 4, 4]),  # ioos_qc: less than 0 apart, never
]


@pytest.mark.parametrize(("slots", "every_s", "flat", "theirs", "ours"), FLAT)
def test_flat_line(
    slots: list[float | None], every_s: float, flat: Flat, theirs: list[int], ours: list[int]
) -> None:
    limits = {"suspect_threshold": flat.suspect_s, "fail_threshold": flat.fail_s, "tolerance": flat.within}
    assert ioos("flat_line_test", slots, every_s=every_s, **limits) == theirs
    assert stream(Expect(flat=flat), slots, every_s) == ours


@pytest.mark.parametrize(
    ("slots", "over", "theirs", "ours"),
    [
        ([1, 2, 3, 100, 1000], Attenuation(2 * DAY_S, 100, 10), [2, 4, 4, 3, 1], [2, 4, 4, 3, 1]),
        ([1, _, 10, 100, 1000], Attenuation(2 * DAY_S, 100, 50), [2, 9, 2, 3, 1], [2, 9, 2, 3, 1]),
        # A missing value blinds ioos_qc's range for as long as it is in the window.
        ([1, 2, _, 4, 5, 6, 7], Attenuation(3 * DAY_S, 9, 1), [2, 3, 9, 2, 2, 3, 3], [2, 2, 9, 3, 3, 3, 3]),
    ],
)
def test_attenuated_signal(
    slots: list[float | None], over: Attenuation, theirs: list[int], ours: list[int]
) -> None:
    limits = {"suspect_threshold": over.suspect, "fail_threshold": over.fail, "test_period": int(over.over_s)}
    least = {"min_obs": 2, "check_type": "range"}
    assert ioos("attenuated_signal_test", slots, every_s=DAY_S, **limits, **least) == theirs
    assert stream(Expect(attenuated=over), slots, DAY_S) == ours


def test_climatology_by_month() -> None:
    """Its days are 2011-02-02 (9), 2013-02-03 (11), 2011-04-01 (21), 2011-12-31 (21), 2020-02-29 (15)."""
    days = [
        (1_296_604_800, 9),
        (1_359_849_600, 11),
        (1_301_616_000, 21),
        (1_325_289_600, 21),
        (1_582_934_400, 15),
    ]
    expect = Expect(climatology=dict.fromkeys((1, 2, 3), (10.0, 20.0)))
    assert [stream(expect, [x], start_s=s)[0] for s, x in days] == [3, 1, 2, 2, 1]
    from ioos_qc import qartod

    config = [{"tspan": (0, 3), "vspan": (10, 20), "period": "month"}]
    at_s, values = zip(*days, strict=True)
    theirs = qartod.climatology_test(config=config, inp=values, tinp=at_s, zinp=[float("nan")] * 5)
    assert theirs.tolist() == [3, 1, 2, 2, 1]


def test_climatology_of_what_is_missing() -> None:
    """ioos_qc 3.0.0 calls a missing value GOOD, here in a month that has no limits at all."""
    config = [{"tspan": (1, 1), "vspan": (0, 4), "period": "month"}]
    nowhere = [float("nan")] * 3
    assert ioos("climatology_test", [_, 1, 1], every_s=1, config=config, zinp=nowhere) == [1, 2, 2]
    assert stream(Expect(climatology={1: (0.0, 4.0)}), [_, 1, 1]) == [9, 2, 2]


@pytest.mark.parametrize(("step", "theirs", "ours"), [(0.5, 1, 3), (0.4, 1, 1), (1.0, 3, 3)])
def test_a_rate_within_a_second(step: float, theirs: int, ours: int) -> None:
    """ioos_qc cuts times to whole seconds: half of one is none, and then it takes the step for the rate."""
    from ioos_qc import qartod
    from numpy import array

    times = array(["2026-11-23T10:00:00.000", "2026-11-23T10:00:00.500"], dtype="datetime64[ms]")
    flags = qartod.rate_of_change_test(inp=[7.0, 7.0 + step], tinp=times, threshold=0.9).tolist()
    assert flags == [1, theirs]
    assert stream(Expect(rate_per_s=0.9), [7.0, 7.0 + step], 0.5) == [2, ours]


def test_precedence() -> None:
    from ioos_qc import qartod
    from numpy import array

    vectors = [[1, 1, 1, 9, 1, 1, 9, 9], [2, 1, 1, 1, 1, 1, 9, 9], [1, 3, 3, 4, 3, 1, 2, 9]]
    theirs = qartod.qartod_compare([array(v) for v in vectors]).tolist()
    assert theirs == [1, 3, 3, 4, 3, 1, 2, 9]
    assert [worst(list(flags)) for flags in zip(*vectors, strict=True)] == theirs


@settings(
    max_examples=300, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
@given(random_series())
def test_random_series(series: Series) -> None:
    """One at a time, so that hypothesis can make the one that differs short."""
    equal(series)


@settings(
    max_examples=10_000 // TOGETHER,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(random_heaps())
def test_ten_thousand_series(given: tuple[Series, list[Slots]]) -> None:
    assert all_equal(*given) == TOGETHER
