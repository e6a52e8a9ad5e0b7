"""Rules: operators' cases from tests/rules, a literal table of steps, and what must hold for any series."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerts.rulecase import CaseError, read, run
from alerts.rules import (
    Kind,
    Observation,
    Phase,
    Quality,
    Rule,
    RuleError,
    State,
    What,
    acknowledge,
    happened,
    resume,
    standing,
    step,
)
from alerts.window import Window, add, add_hour, change, mean, nowcast

CASES = sorted((Path(__file__).parent / "rules").glob("*.toml"))
HIGH = Rule(
    "r", "s", Kind.ABOVE, "turbidity", "NTU", high=50, hysteresis=5, on_delay_s=20, off_delay_s=20, gap_s=15
)


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_case(path: Path) -> None:
    assert run(read(path.read_text(encoding="utf-8"), path.name)).failures == ()


def test_a_case_tells_what_is_missing_and_what_is_too_much() -> None:
    source = CASES[0].parent.joinpath("storm.toml").read_text(encoding="utf-8")
    changed = source.replace('"14:27:00 chief: НЕТ', '"14:28:00 chief: НЕТ')
    outcome = run(read(changed, "storm.toml"))
    assert len(outcome.failures) == 2
    assert outcome.failures[0].startswith("storm.toml: sms expected, did not come: 14:28:00 chief")
    assert outcome.failures[1].startswith("storm.toml: sms came, not expected: 14:27:00 chief")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"20 for 5 min"', '"20 during 5 min"', "is not understood"),
        ('"20 for 5 min"', '"20 for 5 weeks"', "is no duration"),
        ("above = 50", "abowe = 50", "abowe: not known; allowed are above"),
        ("above = 50", "", "one of above, below, change, no_data, fault, stuck, watch is needed"),
        ('every = "10 s"\nvalues', 'every = "0 s"\nvalues', "above zero"),
        ('start = "2026-11-23 14:00"', "start = 5", "see alerts/README.md"),
        ("hysteresis = 5", "hysteresis = -1", "0 or more is allowed"),
        ("[expect]", "[expct]", "expct: not known"),
        ("[[rule]]", "[[rule", "storm.toml: "),
    ],
)
def test_a_bad_case_is_one_clear_line(old: str, new: str, message: str) -> None:
    source = CASES[0].parent.joinpath("storm.toml").read_text(encoding="utf-8")
    assert old in source
    with pytest.raises((CaseError, RuleError)) as caught:
        read(source.replace(old, new, 1), "storm.toml")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def good(at_s: float, value: float) -> Observation:
    return Observation(int(at_s * 1000), Quality.GOOD, value)


def play(rule: Rule, observations: list[Observation], state: State | None = None) -> State:
    state = state or State()
    for seen in observations:
        state = step(rule, state, seen.at_ms, seen)
    return state


@pytest.mark.parametrize(
    ("values", "phase", "occurrence"),
    [
        ([49.9], Phase.NORMAL, 0),
        ([50.0], Phase.NORMAL, 0),  # the limit itself is not above it
        ([50.1], Phase.PENDING, 0),
        ([50.1, 50.1], Phase.PENDING, 0),
        ([50.1, 50.1, 50.1], Phase.ACTIVE, 1),
        ([50.1, 46.0, 50.1], Phase.ACTIVE, 1),  # 46 is within the hysteresis
        ([50.1, 45.0, 50.1], Phase.PENDING, 0),  # 45 is not: the delay begins anew
        ([60, 60, 60, 45.1], Phase.ACTIVE, 1),
        ([60, 60, 60, 45.0], Phase.RECOVERING, 1),
        ([60, 60, 60, 45, 49], Phase.RECOVERING, 1),
        ([60, 60, 60, 45, 51], Phase.ACTIVE, 1),  # the same alarm, not a second one
        ([60, 60, 60, 45, 45], Phase.RECOVERING, 1),
        ([60, 60, 60, 45, 45, 45], Phase.NORMAL, 1),
        ([60, 60, 60, 45, 45, 45, 60, 60, 60], Phase.ACTIVE, 2),
    ],
)
def test_steps_each_ten_seconds(values: list[float], phase: Phase, occurrence: int) -> None:
    state = play(HIGH, [good(10 * i, value) for i, value in enumerate(values)])
    assert (state.phase, state.occurrence) == (phase, occurrence)


@pytest.mark.parametrize(
    "bad",
    [
        Observation(30_000, Quality.BAD, 20.0),
        Observation(30_000, Quality.BAD),
        Observation(30_000, Quality.FAULT),
        Observation(30_000, Quality.GOOD, float("nan")),
        Observation(30_000, Quality.GOOD, float("inf")),
    ],
)
def test_what_is_not_known_changes_no_phase(bad: Observation) -> None:
    for values in ([20.0], [60.0], [60.0, 60, 60], [60.0, 60, 60, 20]):
        before = play(HIGH, [good(5 * i, value) for i, value in enumerate(values)])
        after = step(HIGH, before, bad.at_ms, bad)
        assert (after.phase, after.occurrence) == (before.phase, before.occurrence)
        assert happened(before, after) is None


def test_a_gap_proves_nothing() -> None:
    state = play(HIGH, [good(0, 60), good(10, 60), good(100, 60)])
    assert state.phase is Phase.PENDING
    assert play(HIGH, [good(110, 60)], state).phase is Phase.ACTIVE


def test_late_and_repeated_data_is_history() -> None:
    state = play(HIGH, [good(1000, 20), good(1010, 20)])
    assert step(HIGH, state, 1_010_000, good(1005, 99)) == state  # out of order
    assert step(HIGH, state, 1_010_000, good(1010, 99)) == state  # the same again
    rule = replace(HIGH, on_delay_s=0, late_s=60)
    late = step(rule, State(), 1_061_000, good(1000, 99))
    assert late.phase is Phase.NORMAL
    assert step(rule, State(), 1_060_000, good(1000, 99)).phase is Phase.ACTIVE


def test_isa_states_and_what_happened() -> None:
    steps = [good(10 * i, value) for i, value in enumerate([60, 20, 60, 60, 60, 20, 60, 20, 20, 20])]
    state, seen = State(), []
    for one in steps:
        after = step(HIGH, state, one.at_ms, one)
        seen.append((happened(state, after), standing(after)))
        state = after
    assert seen == [
        (What.PENDING, "pending"),
        (What.ABANDONED, "normal"),
        (What.PENDING, "pending"),
        (None, "pending"),
        (What.RAISED, "active_unacknowledged"),
        (What.RECOVERING, "recovering"),
        (What.RELAPSED, "active_unacknowledged"),
        (What.RECOVERING, "recovering"),
        (None, "recovering"),
        (What.CLEARED, "returned_unacknowledged"),
    ]
    noticed = acknowledge(state)
    assert happened(state, noticed) is What.ACKNOWLEDGED
    assert standing(noticed) == "normal"


def test_a_restart_is_no_silence_of_the_sensor() -> None:
    rule = Rule("r", "s", Kind.NO_DATA, no_data_s=600)
    state = step(rule, State(), 0, good(0, 7))
    assert step(rule, state, 600_000).phase is Phase.ACTIVE
    resumed = resume(state, 7_200_000)
    assert step(rule, resumed, 7_200_000 + 599_000).phase is Phase.NORMAL
    assert step(rule, resumed, 7_200_000 + 600_000).phase is Phase.ACTIVE


def test_a_standing_silence_is_not_over_by_a_restart() -> None:
    rule = Rule("r", "s", Kind.NO_DATA, no_data_s=600)
    active = step(rule, step(rule, State(), 0, good(0, 7)), 600_000)
    resumed = resume(active, 7_200_000)
    assert step(rule, resumed, 7_201_000).phase is Phase.ACTIVE
    assert step(rule, resumed, 7_202_000, good(7202, 7)).phase is Phase.NORMAL


@pytest.mark.parametrize(
    "change",
    [
        {"high": None},
        {"high": float("nan")},
        {"quantity": ""},
        {"hysteresis": -1.0},
        {"on_delay_s": float("inf")},
        {"kind": Kind.NO_DATA, "no_data_s": 0.0},
        {"kind": Kind.OUTSIDE, "low": 45.0},  # 45 + 5 to 50 - 5: nothing is left
        {"over_s": 60.0, "every_s": 600.0},
    ],
)
def test_rules_that_make_no_sense_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(RuleError, match="rule r: "):
        replace(HIGH, **change)  # type: ignore[arg-type]  # the table holds the wrong values on purpose


def test_mean_needs_three_quarters_and_forgets() -> None:
    window = Window()
    for i in range(44):
        window = add(window, i * 10_000, 90, 600, 10)
    assert mean(window, 600, 10) is None
    window = add(window, 440_000, 90, 600, 10)
    assert mean(window, 600, 10) == 90
    for i in range(45, 105):
        window = add(window, i * 10_000, 20, 600, 10)
    assert mean(window, 600, 10) == 20
    assert len(window.bins) <= 60


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.sampled_from([10, 20, 30]), st.floats(0, 100)), min_size=1, max_size=120))
def test_mean_is_that_of_the_values_in_the_window(steps: list[tuple[int, float]]) -> None:
    window, at_ms, seen = Window(), 0, list[tuple[int, float]]()
    for pause_s, value in steps:
        at_ms += pause_s * 1000
        window = add(window, at_ms, value, 600, 10)
        seen = [(t, v) for t, v in [*seen, (at_ms, value)] if t // 10_000 > at_ms // 10_000 - 60]
        got = mean(window, 600, 10)
        if len(seen) < 45:
            assert got is None
        else:
            assert got == pytest.approx(sum(v for _, v in seen) / len(seen))


def test_a_change_in_ten_minutes() -> None:
    window = Window()
    for i in range(61):
        window = add(window, i * 10_000, 20 + i / 2, 600, 10)
    assert change(window, 600, 10) == pytest.approx(29.5)  # a bin is ten seconds: from the second to the last
    for i in range(61, 121):
        window = add(window, i * 10_000, 50 - (i - 60), 600, 10)
    assert change(window, 600, 10) == pytest.approx(59)  # down counts as up does
    assert change(add(Window(), 0, 5, 600, 10), 600, 10) is None


def hours(*means: float | None) -> Window:
    """Hour after hour, a value a minute; None: none."""
    window = Window()
    for hour, c in enumerate(means):
        for minute in range(60):
            window = add_hour(window, (hour * 60 + minute) * 60_000, c)
    return add_hour(window, len(means) * 3_600_000, None)


@pytest.mark.parametrize(
    ("means", "result"),
    [
        ((13, 16, 10, 21, 74, 64, 53, 82, 90, 75, 80, 50), 64.26),  # w = 10/90, so 0.5: worked out by hand
        ((10.0,) * 12, 10.0),
        ((20.0, 40.0), (40 + 20 * 0.5) / 1.5),
        ((20.0, 40.0, None), (40 * 0.5 + 20 * 0.25) / 0.75),
        ((20.0, None, None), None),
        ((40.0, None, None, 20.0, 20.0), (20 + 20 * 0.5 + 40 * 0.5**4) / (1 + 0.5 + 0.5**4)),
        ((0.0, 0.0), 0.0),
        ((500.0, *(10.0,) * 12), 10.0),  # thirteen hours ago is forgotten
    ],
)
def test_nowcast(means: tuple[float | None, ...], result: float | None) -> None:
    got = nowcast(hours(*means), 60)
    assert got == (None if result is None else pytest.approx(result, abs=0.005))


def test_an_hour_with_too_few_values_is_no_hour() -> None:
    window = hours(10, 10)
    for minute in range(61, 100):
        window = add_hour(window, (120 + minute) * 60_000, 90)
    window = add_hour(window, 5 * 3_600_000, None)
    assert nowcast(window, 60) is None  # 39 of 60, and the hour before it has none


def test_a_rule_that_waits_for_another() -> None:
    rule = Rule("r", "s", Kind.ABOVE, "x", high=50, and_rule="rain")
    state = step(rule, State(), 0, Observation(0, Quality.GOOD, 80), allowed=False)
    assert state.phase is Phase.NORMAL
    state = step(rule, state, 1000, Observation(1000, Quality.GOOD, 80))
    assert state.phase is Phase.ACTIVE
    state = step(rule, state, 2000, Observation(2000, Quality.GOOD, 80), allowed=False)
    assert state.phase is Phase.NORMAL


OBSERVATIONS = st.lists(
    st.tuples(st.integers(1, 30), st.sampled_from(list(Quality)), st.sampled_from([20.0, 47.0, 60.0])),
    max_size=80,
)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(OBSERVATIONS)
def test_any_series_raises_only_what_is_proven(series: list[tuple[int, Quality, float]]) -> None:
    """Raised only after good values beyond the limit for `on_delay`, cleared only by good ones within."""
    state, at_ms = State(), 0
    over_ms = under_ms = 0
    last_good_ms: int | None = None
    for pause_s, quality, value in series:
        at_ms += pause_s * 1000
        seen = Observation(at_ms, quality, value)
        after = step(HIGH, state, at_ms, seen)
        linked = last_good_ms is not None and at_ms - last_good_ms <= HIGH.gap_s * 1000
        gap_ms = at_ms - (last_good_ms or 0) if linked else 0
        if quality is Quality.GOOD:
            over_ms = over_ms + gap_ms if value > 45 else 0
            under_ms = under_ms + gap_ms if value <= 50 else 0
        last_good_ms = at_ms if quality is Quality.GOOD else None
        match happened(state, after):
            case What.RAISED:
                assert quality is Quality.GOOD
                assert over_ms >= HIGH.on_delay_s * 1000
                assert after.occurrence == state.occurrence + 1
            case What.CLEARED:
                assert quality is Quality.GOOD
                assert under_ms >= HIGH.off_delay_s * 1000
        state = after
