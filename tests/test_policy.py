"""Who is told what and when: literal stories, and what must hold for any."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerts.policy import (
    Contact,
    Moment,
    Notice,
    Notification,
    Quiet,
    Story,
    minutes_without_answer,
    on_change,
    on_time,
)
from alerts.rules import Kind, Phase, Priority, Rule, State, Tier, What

MIN = 60_000
HOUR = 60 * MIN
NIGHT = Quiet(22 * 60, 7 * 60)
CONTACTS = {
    "duty": Contact("duty", "+996555000001"),
    "night": Contact("night", "+996555000002", quiet=NIGHT),
    "chief": Contact("chief", "+996555000003"),
}
RULE = Rule(
    "r", "s", Kind.ABOVE, "x", high=1,
    send=(Tier(("duty",)), Tier(("chief", "duty"), 900), Tier(("night",), 1800)),
)  # fmt: skip
ACTIVE = State(Phase.ACTIVE, False, 1)
OVER = State(Phase.NORMAL, False, 1)


def brief(notices: tuple[Notification, ...]) -> list[str]:
    return [notice.id for notice in notices]


def raised(rule: Rule = RULE, at_ms: int = 0, local_min: int | None = 600) -> tuple[Story, list[str]]:
    story, notices = on_change(rule, Story(), ACTIVE, What.RAISED, CONTACTS, Moment(at_ms, local_min))
    return story, brief(notices)


def test_the_first_tier_is_told_at_once_and_the_end_goes_to_those_who_were_told() -> None:
    story, ids = raised()
    assert ids == ["r/1/raise/duty"]
    story, notices = on_change(RULE, story, OVER, What.CLEARED, CONTACTS, Moment(5 * MIN, 605))
    assert brief(notices) == ["r/1/clear/duty"]
    assert notices[0].reason == "it is over"
    assert story.episode_ms is None
    assert on_change(RULE, story, OVER, What.CLEARED, CONTACTS, Moment(6 * MIN, 606))[1] == ()


@pytest.mark.parametrize("what", [What.PENDING, What.ABANDONED, What.RECOVERING, What.RELAPSED])
def test_what_nobody_is_told(what: What) -> None:
    assert on_change(RULE, Story(), ACTIVE, what, CONTACTS, Moment(0, 600)) == (Story(), ())


def test_escalation_and_reminders_go_on_until_somebody_acknowledges() -> None:
    story, _ = raised()
    got: list[tuple[int, str]] = []
    for minute in range(1, 60 * 60):
        story, notices = on_time(RULE, story, ACTIVE, CONTACTS, Moment(minute * MIN, (600 + minute) % 1440))
        got += [(minute, notice.id) for notice in notices]
    assert got == [
        (15, "r/1/escalate/chief"),
        (30, "r/1/escalate/night"),
        *((30, f"r/1/remind1/{name}") for name in ("duty", "chief", "night")),
        *((120, f"r/1/remind2/{name}") for name in ("duty", "chief", "night")),
        *((360, f"r/1/remind3/{name}") for name in ("duty", "chief", "night")),
        *((1800, f"r/1/remind4/{name}") for name in ("duty", "chief", "night")),
        *((3240, f"r/1/remind5/{name}") for name in ("duty", "chief", "night")),
    ]
    assert minutes_without_answer(story, 3240 * MIN) == 3240


def test_after_an_acknowledgement_nothing_more() -> None:
    story, _ = raised()
    story, notices = on_change(RULE, story, ACTIVE, What.ACKNOWLEDGED, CONTACTS, Moment(MIN, 601))
    assert notices == ()
    assert on_time(RULE, story, ACTIVE, CONTACTS, Moment(100 * HOUR, 600))[1] == ()


def test_no_reminder_at_the_heels_of_a_message_that_an_outage_held_back() -> None:
    story, _ = raised()
    story = replace(story, tiers=3, reached_ms=29 * MIN)
    got = []
    for minute in range(29, 60):
        story, notices = on_time(RULE, story, ACTIVE, CONTACTS, Moment(minute * MIN, 600 + minute))
        got += [(minute, notice.id) for notice in notices]
    assert got == [(39, "r/1/remind1/duty")]


def test_while_it_recovers_nobody_is_woken() -> None:
    story, _ = raised()
    recovering = State(Phase.RECOVERING, False, 1)
    assert on_time(RULE, story, recovering, CONTACTS, Moment(HOUR, 660))[1] == ()


def test_after_a_long_stop_each_is_told_once() -> None:
    story, _ = raised()
    _, notices = on_time(RULE, story, ACTIVE, CONTACTS, Moment(50 * HOUR, 600))
    assert brief(notices) == [
        "r/1/escalate/chief",
        "r/1/escalate/night",
        *(f"r/1/remind4/{name}" for name in ("duty", "chief", "night")),
    ]


@pytest.mark.parametrize(
    ("local", "priority", "held_min"),
    [
        (21 * 60 + 59, Priority.HIGH, 0),
        (22 * 60, Priority.HIGH, 540),
        (23 * 60, Priority.LOW, 480),
        (0, Priority.HIGH, 420),
        (6 * 60 + 59, Priority.HIGH, 1),
        (7 * 60, Priority.HIGH, 0),
        (12 * 60, Priority.LOW, 0),
        (0, Priority.CRITICAL, 0),
        (None, Priority.LOW, 0),  # the station does not know the time
    ],
)
def test_quiet_hours(local: int | None, priority: Priority, held_min: int) -> None:
    rule = replace(RULE, priority=priority, send=(Tier(("night",)),))
    _, notices = on_change(rule, Story(), ACTIVE, What.RAISED, CONTACTS, Moment(1000, local))
    assert [notice.due_ms for notice in notices] == [1000 + held_min * MIN]
    assert notices[0].reason == ("first raise; held back by quiet hours" if held_min else "first raise")


@pytest.mark.parametrize(
    ("passes", "held"), [(Priority.CRITICAL, True), (Priority.HIGH, False), (Priority.LOW, False)]
)
def test_what_a_contact_lets_through(passes: Priority, held: bool) -> None:
    contacts = {"duty": Contact("duty", "+996555000001", quiet=replace(NIGHT, passes=passes))}
    _, notices = on_change(RULE, Story(), ACTIVE, What.RAISED, contacts, Moment(0, 0))
    assert (notices[0].due_ms > 0) is held


def test_quiet_hours_within_a_day_and_none_at_all() -> None:
    for quiet, held in ((Quiet(600, 660), True), (Quiet(660, 720), False), (Quiet(600, 600), False)):
        contacts = {"duty": Contact("duty", "+996555000001", quiet=quiet)}
        _, notices = on_change(RULE, Story(), ACTIVE, What.RAISED, contacts, Moment(0, 630))
        assert (notices[0].due_ms > 0) is held


def test_no_reminder_in_the_quiet_hours() -> None:
    rule = replace(RULE, send=(Tier(("night", "duty")),))
    story, _ = raised(rule)
    _, notices = on_time(rule, story, ACTIVE, CONTACTS, Moment(HOUR, 23 * 60))
    assert brief(notices) == ["r/1/remind1/duty"]


def test_three_raises_in_half_an_hour_become_one_message() -> None:
    rule = replace(RULE, send=(Tier(("duty",)),))
    story, ids = Story(), list[str]()
    for n, minute in enumerate(range(0, 60, 10), 1):
        active, over = State(Phase.ACTIVE, False, n), State(Phase.NORMAL, False, n)
        for what, state, at in ((What.RAISED, active, minute), (What.CLEARED, over, minute + 5)):
            story, notices = on_change(rule, story, state, what, CONTACTS, Moment(at * MIN, 600))
            ids += brief(notices)
    assert ids == [
        "r/1/raise/duty",
        "r/1/clear/duty",
        "r/2/raise/duty",
        "r/2/clear/duty",
        "r/3/flapping/duty",
    ]
    assert on_time(rule, story, over, CONTACTS, Moment(79 * MIN, 600))[1] == ()
    settled, notices = on_time(rule, story, over, CONTACTS, Moment(80 * MIN, 600))
    assert brief(notices) == ["r/6/clear/duty"]
    assert settled.episode_ms is None
    settled, notices = on_time(rule, story, State(Phase.ACTIVE, True, 6), CONTACTS, Moment(80 * MIN, 600))
    assert brief(notices)[0] == "r/6/raise/duty"
    assert not settled.flapping


def test_contacts_that_do_not_exist_are_passed_over() -> None:
    rule = replace(RULE, send=(Tier(("nobody", "duty")), Tier(("nobody",), 60)))
    story, ids = raised(rule)
    assert ids == ["r/1/raise/duty"]
    assert on_time(rule, story, ACTIVE, CONTACTS, Moment(2 * MIN, 600))[1] == ()
    assert raised(replace(RULE, send=()))[1] == []


STEPS = st.lists(
    st.tuples(st.integers(1, 40), st.sampled_from(["raise", "clear", "ack", "time"])), max_size=60
)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(STEPS)
def test_in_any_story_each_message_is_made_once_and_an_end_follows_a_beginning(
    steps: list[tuple[int, str]],
) -> None:
    story, state, at_ms = Story(), State(), 0
    ids: list[str] = []
    standing: set[str] = set()
    for pause_min, what in steps:
        at_ms += pause_min * MIN
        moment = Moment(at_ms, at_ms // MIN % 1440)
        active = state.phase is Phase.ACTIVE
        if what == "raise" and not active:
            state = State(Phase.ACTIVE, False, state.occurrence + 1)
            story, notices = on_change(RULE, story, state, What.RAISED, CONTACTS, moment)
        elif what == "clear" and active:
            state = replace(state, phase=Phase.NORMAL)
            story, notices = on_change(RULE, story, state, What.CLEARED, CONTACTS, moment)
        elif what == "ack" and active and not state.acknowledged:
            state = replace(state, acknowledged=True)
            story, notices = on_change(RULE, story, state, What.ACKNOWLEDGED, CONTACTS, moment)
        else:
            story, notices = on_time(RULE, story, state, CONTACTS, moment)
        for notice in notices:
            if notice.notice is Notice.CLEAR:
                assert notice.contact in standing
                standing.discard(notice.contact)
            elif notice.notice is Notice.REMIND:
                assert notice.contact in standing
            else:
                standing.add(notice.contact)
        ids += brief(notices)
    assert len(ids) == len(set(ids))
