"""When a rule raises and when it clears: pure functions of the rule, its state, the time and one observation.

                 over the limit         `on_delay` of it             back beyond the hysteresis
       NORMAL ──────────────────► PENDING ──────────► ACTIVE ──────────────────► RECOVERING
         ▲  ▲                        │                  ▲                          │     │
         │  └── within the limit ────┘                  └──── over the limit ──────┘     │
         └────────────────────── `off_delay` of good values ─────────────────────────────┘

Beside the phase stands whether somebody has acknowledged. Both together are the states of
ANSI/ISA-18.2-2016 (IEC 62682), see `standing`: normal, pending, active unacknowledged, active acknowledged,
returned unacknowledged, recovering. (The standard's text was not at hand; the states are those that open
descriptions of it give.)

What is not known changes nothing. A value that is absent or flagged FAIL, a sensor that is at fault, a gap
in the data: the phase stays as it is and the delays stand still; only the rules for missing data and for
sensor faults go on. What comes late (older than `late_s`) or out of order is history and raises nothing.

Times are milliseconds on a scale that never steps and that survives restarts (gateway.alarms makes it);
nothing here reads a clock.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum

from alerts.rule import OF_STATION, STATES, Kind, Priority, Rule, RuleError, Tier

__all__ = [
    "OF_STATION", "STATES", "Kind", "Observation", "Phase", "Priority", "Quality", "Rule", "RuleError",
    "State", "Tier", "What", "acknowledge", "beyond", "happened", "resume", "standing", "step",
]  # fmt: skip

_WITH_TIME = (Kind.NO_DATA, Kind.FAULT, *OF_STATION)


class Phase(StrEnum):
    """Where the condition is."""

    NORMAL = "normal"
    PENDING = "pending"
    ACTIVE = "active"
    RECOVERING = "recovering"


class Quality(StrEnum):
    """What an observation is worth: a number, no number, or the instrument says that it is ill."""

    GOOD = "good"
    BAD = "bad"
    FAULT = "fault"


class What(StrEnum):
    """What a step did to a state."""

    PENDING = "pending"
    ABANDONED = "abandoned"
    RAISED = "raised"
    RECOVERING = "recovering"
    RELAPSED = "relapsed"
    CLEARED = "cleared"
    ACKNOWLEDGED = "acknowledged"


@dataclass(frozen=True, slots=True)
class Observation:
    """What a rule is shown: one reading, or later one average (`at_ms` is then the window's end)."""

    at_ms: int
    quality: Quality
    value: float | None = None


@dataclass(frozen=True, slots=True)
class State:
    """All that a rule remembers; plain values, so that it can be kept.

    `occurrence` counts the raises. `begin_ms` is when the present excursion began, `since_ms` when the
    phase did. `held_ms` is how long the present side of the limit has been proven within the phase. `value`
    is the last good one, `worst` the farthest beyond `limit` of this occurrence. `seen_ms` is the last
    observation of any kind, `good_ms` the last good one, `linked_ms` the same unless a hole lies behind it.
    `still` is the value that a STUCK rule has seen since `still_since_ms`, for `still_ms` without holes.
    """

    phase: Phase = Phase.NORMAL
    acknowledged: bool = True
    occurrence: int = 0
    begin_ms: int = 0
    since_ms: int = 0
    held_ms: int = 0
    looked_ms: int | None = None
    seen_ms: int | None = None
    good_ms: int | None = None
    linked_ms: int | None = None
    faulty: bool = False
    value: float | None = None
    worst: float | None = None
    limit: float | None = None
    still: float | None = None
    still_ms: int = 0
    still_since_ms: int = 0


def step(
    rule: Rule,
    state: State,
    now_ms: int,
    observation: Observation | None = None,
    *,
    allowed: bool = True,
) -> State:
    """Give the state after `observation`, or after time alone has passed. `happened` tells what changed.

    Not `allowed`: the rule that must stand as well (`and_rule`) does not, so no value is over the limit.
    """
    if observation is not None and not _is_news(rule, state, now_ms, observation):
        observation = None
    if rule.kind in _WITH_TIME:
        return _step_with_time(rule, state, now_ms, observation)
    if observation is None:
        return state
    if not _is_good(observation) or observation.value is None:
        return replace(state, seen_ms=observation.at_ms, linked_ms=None)
    at_ms, value = observation.at_ms, observation.value
    gap_ms = 0 if state.linked_ms is None else at_ms - state.linked_ms
    proven_ms = gap_ms if gap_ms <= rule.gap_s * 1000 else 0
    if rule.kind is Kind.STUCK:
        state = _still(rule, state, at_ms, value, proven_ms)
        on, limit = state.still_ms >= rule.stuck_s * 1000, None
    else:
        on, limit = _compare(rule, state, value)
    state = replace(state, seen_ms=at_ms, good_ms=at_ms, linked_ms=at_ms, value=value)
    on = on and allowed
    was_normal = state.phase is Phase.NORMAL
    state = _advance(rule, state, at_ms, proven_ms, on=on)
    if rule.kind is Kind.STUCK:
        return replace(state, begin_ms=state.still_since_ms) if was_normal and on else state
    if state.phase is not Phase.NORMAL and on:
        state = replace(state, limit=limit, worst=_worse(state.worst, value, limit, rule))
    return state


def acknowledge(state: State) -> State:
    """Somebody has taken notice of the present occurrence."""
    return replace(state, acknowledged=True)


def resume(state: State, now_ms: int) -> State:
    """Nobody was looking until now (a restart): that silence proves nothing, neither for a delay nor for
    missing data.

    An alarm that stands goes on standing until data says otherwise.
    """
    good_ms = state.good_ms if state.phase is Phase.ACTIVE else now_ms
    return replace(state, linked_ms=None, looked_ms=now_ms, good_ms=good_ms)


def happened(before: State, after: State) -> What | None:
    """What lies between two states of one rule, or None when nothing an operator would call a change."""
    if after.occurrence != before.occurrence:
        return What.RAISED
    if after.phase is not before.phase:
        match after.phase:
            case Phase.PENDING:
                return What.PENDING
            case Phase.RECOVERING:
                return What.RECOVERING
            case Phase.ACTIVE:
                return What.RELAPSED
            case Phase.NORMAL:
                return What.ABANDONED if before.phase is Phase.PENDING else What.CLEARED
    if after.acknowledged and not before.acknowledged:
        return What.ACKNOWLEDGED
    return None


def beyond(rule: Rule, state: State) -> float | None:
    """The value to show of an alarm: within the limit again (hysteresis, recovering), the worst one, for
    "48 > 50" would be nonsense.
    """
    value, limit, worst = state.value, state.limit, state.worst
    if value is None or limit is None or worst is None:
        return value
    over = value > limit if limit == rule.high and rule.kind is not Kind.BELOW else value < limit
    return value if over else worst


def standing(state: State) -> str:
    """The state's name by ISA-18.2."""
    match state.phase:
        case Phase.ACTIVE:
            return "active_acknowledged" if state.acknowledged else "active_unacknowledged"
        case Phase.NORMAL:
            return "normal" if state.acknowledged else "returned_unacknowledged"
    return str(state.phase)


def _is_good(observation: Observation) -> bool:
    value = observation.value
    return observation.quality is Quality.GOOD and (value is None or math.isfinite(value))


def _is_news(rule: Rule, state: State, now_ms: int, observation: Observation) -> bool:
    if now_ms - observation.at_ms > rule.late_s * 1000:
        return False
    return state.seen_ms is None or observation.at_ms > state.seen_ms


def _compare(rule: Rule, state: State, value: float) -> tuple[bool, float | None]:
    """Which side of the limit a value is on, and which limit that is. Between limit and hysteresis it stays
    on its side.
    """
    was_on = state.phase in (Phase.PENDING, Phase.ACTIVE)
    margin = rule.hysteresis if was_on else 0.0
    if rule.high is not None and rule.kind is not Kind.BELOW and value > rule.high - margin:
        return True, rule.high
    if rule.low is not None and rule.kind is not Kind.ABOVE and value < rule.low + margin:
        return True, rule.low
    return False, state.limit


def _still(rule: Rule, state: State, at_ms: int, value: float, proven_ms: int) -> State:
    """For how long the value has not moved."""
    if state.still is None or abs(value - state.still) > rule.hysteresis:
        return replace(state, still=value, still_ms=0, still_since_ms=at_ms)
    return replace(state, still_ms=state.still_ms + proven_ms)


def _worse(worst: float | None, value: float, limit: float | None, rule: Rule) -> float:
    if worst is None or limit is None:
        return value
    return max(worst, value) if limit == rule.high else min(worst, value)


def _step_with_time(rule: Rule, state: State, now_ms: int, observation: Observation | None) -> State:
    """Missing data, faults, the station itself: here the time that passes is the evidence."""
    passed_ms = 0 if state.looked_ms is None else max(0, now_ms - state.looked_ms)
    last_ms = now_ms if state.good_ms is None else state.good_ms
    good_ms, faulty, seen_ms = last_ms, state.faulty, state.seen_ms
    if observation is not None:
        seen_ms = observation.at_ms
        if _is_good(observation):
            good_ms, faulty = max(last_ms, observation.at_ms), False
        elif observation.quality is Quality.FAULT:
            faulty = True
    looked_ms = now_ms if state.looked_ms is None else max(now_ms, state.looked_ms)
    state = replace(state, looked_ms=looked_ms, good_ms=good_ms, faulty=faulty, seen_ms=seen_ms)
    if rule.kind is not Kind.NO_DATA:
        return _advance(rule, state, now_ms, passed_ms, on=faulty)
    missing = now_ms - good_ms >= rule.no_data_s * 1000
    if state.phase is Phase.RECOVERING:  # only data proves that data is back
        passed_ms = good_ms - max(last_ms, state.since_ms) if good_ms > last_ms else 0
    after = _advance(rule, state, now_ms, max(0, passed_ms), on=missing)
    if missing and state.phase is Phase.NORMAL:
        after = replace(after, begin_ms=good_ms)  # an operator wants to know when the last value came
    return after


def _advance(rule: Rule, state: State, at_ms: int, proven_ms: int, *, on: bool) -> State:
    """Move the phase, given on which side of the limit the condition is and how much time that is proven
    for.
    """
    held_ms = state.held_ms + proven_ms
    match state.phase:
        case Phase.NORMAL if on:
            state = replace(state, phase=Phase.PENDING, begin_ms=at_ms, since_ms=at_ms, held_ms=0, worst=None)
            return _raise_if_held(rule, state, at_ms, 0)
        case Phase.PENDING if on:
            return _raise_if_held(rule, state, at_ms, held_ms)
        case Phase.PENDING:
            return replace(state, phase=Phase.NORMAL, since_ms=at_ms, held_ms=0)
        case Phase.ACTIVE if not on:
            state = replace(state, phase=Phase.RECOVERING, since_ms=at_ms, held_ms=0)
            return _close_if_held(rule, state, at_ms, 0)
        case Phase.RECOVERING if on:
            return replace(state, phase=Phase.ACTIVE, since_ms=at_ms, held_ms=0)
        case Phase.RECOVERING:
            return _close_if_held(rule, state, at_ms, held_ms)
    return state


def _raise_if_held(rule: Rule, state: State, at_ms: int, held_ms: int) -> State:
    if held_ms < rule.on_delay_s * 1000:
        return replace(state, held_ms=held_ms)
    return replace(
        state,
        phase=Phase.ACTIVE,
        acknowledged=False,
        occurrence=state.occurrence + 1,
        since_ms=at_ms,
        held_ms=0,
    )


def _close_if_held(rule: Rule, state: State, at_ms: int, held_ms: int) -> State:
    if held_ms < rule.off_delay_s * 1000 or (rule.latching and not state.acknowledged):
        return replace(state, held_ms=held_ms)
    return replace(state, phase=Phase.NORMAL, since_ms=at_ms, held_ms=0)
