"""What a bus decides, as tables: time-outs, states, whose turn it is, which slots were missed."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.governor import (
    EPOCH,
    LEARN_AFTER,
    MARGIN,
    MARGIN_S,
    SHORTEST_S,
    AnswerTime,
    Health,
    Miss,
    Run,
    Slots,
    Tried,
    choose,
    longer_pause_s,
)

# ── time-outs ──────────────────────────────────────────────────────────────────────────────────────────────


def learned(limit_s: float, answers: list[float]) -> AnswerTime:
    made = AnswerTime(limit_s)
    for took_s in answers:
        made.heard(took_s)
    return made


@pytest.mark.parametrize(
    ("answers", "within_s"),
    [
        ([], 0.5),
        ([0.2] * (LEARN_AFTER - 1), 0.5),  # not known yet
        ([0.2] * LEARN_AFTER, 0.32),
        ([0.01] * 100, 0.1),  # never below the floor
        ([0.3, *[0.01] * 100], 0.47),  # the slowest counts
        ([0.4] * 20, 0.5),  # never above the maker's figure
        ([0.7] * 20, 0.5),  # a late one that was dropped
        ([0.3, *[0.01] * EPOCH], 0.47),
        ([0.3, *[0.01] * 2 * EPOCH], 0.1),  # forgotten at last
    ],
)
def test_a_time_out_is_half_as_much_again_as_was_needed(answers: list[float], within_s: float) -> None:
    assert learned(0.5, answers).within_s == pytest.approx(within_s)


def test_where_it_was_silent_it_gets_as_long_as_the_others_can_wait() -> None:
    answers = learned(0.5, [0.2] * 50)
    assert [answers.again_s(pause_s) for pause_s in (9.0, 0.4, 0.1, -1.0)] == [
        0.5,
        0.4,
        pytest.approx(0.32),
        pytest.approx(0.32),
    ]
    assert [learned(0.5, []).again_s(pause_s) for pause_s in (9.0, 0.4, -1.0)] == [0.5, 0.4, 0.1]
    assert learned(0.05, []).again_s(-1.0) == 0.05


@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.floats(0.01, 5), st.lists(st.floats(0, 3), max_size=60))
def test_no_time_out_is_shorter_than_what_was_needed(limit_s: float, took: list[float]) -> None:
    answers = AnswerTime(limit_s)
    longest_s = 0.0
    for took_s in took:
        answers.heard(took_s)
        longest_s = max(longest_s, took_s)
        least_s = max(MARGIN * longest_s + MARGIN_S, SHORTEST_S)
        assert min(least_s, limit_s) <= answers.within_s <= limit_s


# ── states ─────────────────────────────────────────────────────────────────────────────────────────────────

N, G, F, W = Miss.NO_ANSWER, Miss.GARBLED, Miss.FAULT, Miss.WARMING_UP
OK, LONG, TWO = Tried(None), Tried(None, strained=True), Tried(None, strained=True, crosstalk=True)


def states(start: str, *came: Tried | Miss) -> list[str]:
    """The states passed through, each once."""
    health, passed = Health(), [start]
    for one in came:
        state = health.after(passed[-1], one if isinstance(one, Tried) else Tried(one))
        if state != passed[-1]:
            passed.append(state)
    return passed


@pytest.mark.parametrize(
    ("start", "came", "passed"),
    [
        ("new", [OK], ["new", "alive"]),
        ("new", [N], ["new", "dead"]),
        ("new", [W], ["new", "alive"]),
        ("new", [G], ["new"]),
        ("alive", [N, N], ["alive"]),
        ("alive", [N, N, OK, N, N], ["alive"]),
        ("alive", [N, N, N], ["alive", "dead"]),
        ("alive", [G, G, G, G], ["alive"]),
        ("alive", [G, G, G, G, G], ["alive", "quarantined"]),
        ("alive", [G, G, N], ["alive", "dead"]),
        ("alive", [N, N, G], ["alive"]),
        ("alive", [F], ["alive", "faulty"]),
        ("alive", [F, OK], ["alive", "faulty", "alive"]),
        ("faulty", [W], ["faulty"]),
        ("faulty", [Miss.BAD_NUMBER], ["faulty"]),
        ("faulty", [N, N, N], ["faulty", "dead"]),
        ("dead", [N, N, N, N], ["dead"]),
        ("dead", [W], ["dead", "alive"]),
        ("dead", [OK], ["dead", "alive"]),
        ("dead", [G, G, G, G, G], ["dead", "quarantined"]),
        ("quarantined", [N], ["quarantined"]),
        ("quarantined", [N, N, N], ["quarantined", "dead"]),
        ("quarantined", [OK], ["quarantined", "alive"]),
        ("unplugged", [OK], ["unplugged", "alive"]),
        ("unplugged", [N, N, N], ["unplugged", "dead"]),
        ("alive", [LONG] * 4, ["alive"]),
        ("alive", [LONG] * 5, ["alive", "slow"]),
        ("alive", [LONG] * 5 + [OK] * 18, ["alive", "slow"]),  # two of twenty still were
        ("alive", [LONG] * 5 + [OK] * 19, ["alive", "slow", "alive"]),
        ("alive", [*[LONG, OK, OK, OK, OK] * 10], ["alive"]),  # four of twenty
        ("alive", [TWO, OK, TWO, OK], ["alive"]),
        ("alive", [TWO, OK, TWO, OK, TWO], ["alive", "crosstalk"]),
        ("alive", [TWO] * 3 + [OK] * 20, ["alive", "crosstalk", "alive"]),
        ("alive", [Tried(G, True, True)] * 3, ["alive", "crosstalk"]),
    ],
)
def test_what_an_instrument_is(start: str, came: list[Tried | Miss], passed: list[str]) -> None:
    assert states(start, *came) == passed


# ── turns ──────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Waiting:
    due_s: float
    cost_s: float = 0.5
    patience_s: float | None = None
    is_probe: bool = False


def living(due_s: float) -> Waiting:
    return Waiting(due_s)


def probe(due_s: float, patience_s: float = 2.0) -> Waiting:
    return Waiting(due_s, patience_s=patience_s, is_probe=True)


def second(due_s: float, patience_s: float = 0.3) -> Waiting:
    return Waiting(due_s, patience_s=patience_s)


@pytest.mark.parametrize(
    ("turns", "probe_from_s", "chosen", "wait_s"),
    [
        ([living(100)], 0, 0, 0),
        ([living(101)], 0, None, 1),
        ([probe(100)], 999, 0, 0),  # nobody whom it would cost anything
        ([living(100), living(99.9)], 0, 1, 0),
        ([living(100), living(100)], 0, 0, 0),  # those of one slot in their order
        ([living(101), living(100.2)], 0, None, 0.2),
        ([living(100), probe(99)], 0, 0, 0),  # the living first
        ([living(100.5), probe(99)], 0, 1, 0),  # a pause long enough
        ([living(100.4), probe(99)], 0, None, 0.4),  # one too short
        ([living(100.4), probe(98)], 0, 1, 0),  # too short, but it has waited for long
        ([living(100), probe(98)], 0, 1, 0),
        ([living(105), probe(99)], 103, None, 3),  # the living are still owed their time
        ([living(105), probe(101)], 103, None, 3),
        ([probe(100), probe(99)], 103, 1, 0),  # all dead: no reason to wait
        ([living(109), probe(99), probe(98)], 0, 2, 0),
        ([living(100.4), second(100)], 0, None, 0.3),
        ([living(100.6), second(100)], 0, 1, 0),
        ([living(100.2), second(99.7)], 0, 1, 0),
        ([second(99.9), probe(95)], 103, 0, 0),
    ],
)
def test_whose_turn_it_is(
    turns: list[Waiting], probe_from_s: float, chosen: int | None, wait_s: float
) -> None:
    turn, wait = choose(turns, 100.0, probe_from_s)
    assert turn is (None if chosen is None else turns[chosen])
    assert wait == pytest.approx(wait_s)


@settings(derandomize=True, deadline=None, max_examples=200)
@given(
    st.lists(
        st.builds(
            Waiting,
            st.floats(90, 110),
            st.floats(0, 2),
            st.one_of(st.none(), st.floats(0, 5)),
            st.just(False),
        ).map(lambda w: Waiting(w.due_s, w.cost_s, w.patience_s, w.patience_s is not None)),
        min_size=1,
        max_size=9,
    ),
    st.floats(90, 110),
)
def test_a_turn_always_comes_and_never_too_early(turns: list[Waiting], probe_from_s: float) -> None:
    now_s = 100.0
    for _ in range(100):
        turn, wait_s = choose(turns, now_s, probe_from_s)
        if turn is not None:
            break
        assert wait_s > 0
        now_s = now_s + wait_s + 1e-9
    assert turn is not None
    assert turn.due_s <= now_s
    assert all(
        w.patience_s is not None or turn.due_s <= w.due_s or turn.patience_s is not None for w in turns
    )


@pytest.mark.parametrize(
    ("pause_s", "every_s", "longer_s"),
    [(0, 10, 10), (10, 10, 20), (40, 10, 60), (60, 10, 60), (0, 600, 600), (600, 600, 600)],
)
def test_the_dead_are_probed_ever_more_rarely(pause_s: float, every_s: float, longer_s: float) -> None:
    assert longer_pause_s(pause_s, every_s) == longer_s


# ── slots ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_slots_in_a_row_with_one_reason_are_one_run() -> None:
    slots = Slots(2.0)
    slots.next = 10
    assert slots.missed(11, N) == []
    assert slots.missed(13, N) == []
    assert slots.missed(13, W) == []
    assert slots.open_from_ms == 20_000
    assert slots.missed(14, W) == [Run(10, 13, N)]
    assert slots.taken(14) == [Run(13, 14, W)]
    assert slots.taken(15) == []
    assert slots.missed(17, W) == []
    assert slots.close() == [Run(16, 17, W)]
    assert slots.missed(18, W) == []  # what follows is another
    assert slots.close() == [Run(17, 18, W)]
    assert slots.close() == []


@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.lists(st.tuples(st.integers(0, 4), st.sampled_from([None, "close", N, W, Miss.DEAD])), max_size=60))
def test_every_slot_is_told_once(story: list[tuple[int, Miss | str | None]]) -> None:
    slots, told, taken = Slots(1.0), [], []
    slots.next = 0
    for more, what in story:
        if what is None:
            told += slots.missed(slots.next + more, Miss.OVERRUN)
            taken.append(slots.next)
            told += slots.taken(slots.next)
        elif what == "close":
            told += slots.close()
        else:
            told += slots.missed(slots.next + more, Miss(what))
    told += slots.close()
    assert sorted([*taken, *(slot for run in told for slot in range(run.first, run.end))]) == list(
        range(slots.next)
    )
