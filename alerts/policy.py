"""Who is told what and when: pure functions from an alarm's changes, the contacts and the time to
notifications with their reason.

    raised ──► first tier at once ── not acknowledged ──► next tiers, each after its time    (escalate)
                                                     └──► all who know: 30 min, 2 h, 6 h, then daily (remind)
    cleared ─► those who were told of it, nobody else
    three raises in half an hour ──► one "unstable", then silence until half an hour has passed without a
    raise

Quiet hours hold a message back until they end; what a contact lets through (critical, unless set otherwise)
is sent at once. While the station does not know the time there are no quiet hours: rather wake somebody
than miss it.

The `Story` of a rule says who was told what; it is kept with the rule's state, in the same transaction as
the notifications that it led to. So each notification is made once, whatever happens to the power: its id
is rule/occurrence/kind/contact.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from alerts.rules import Phase, Priority, Rule, State, What

FLAPPING_COUNT = 3
FLAPPING_WITHIN_S = 1800.0
REMIND_AFTER_S = (1800.0, 7200.0, 21_600.0)
REMIND_GAP_S = 600.0
"""No reminder sooner after a message about the same: after an outage an alarm may leave late."""
REMIND_EVERY_S = 86_400.0
"""After the last of REMIND_AFTER_S."""

_DAY_MIN = 1440
_RANK = {Priority.CRITICAL: 0, Priority.HIGH: 1, Priority.LOW: 2}


class Notice(StrEnum):
    """The kinds of notification."""

    RAISE = "raise"
    CLEAR = "clear"
    ESCALATE = "escalate"
    REMIND = "remind"
    FLAPPING = "flapping"
    DIGEST = "digest"
    REPLY = "reply"
    LIFE = "life"
    BUDGET = "budget"


ABOUT_A_RULE = (Notice.RAISE, Notice.CLEAR, Notice.ESCALATE, Notice.REMIND, Notice.FLAPPING)
"""The others: several of these in one message, an answer to a person, the daily sign of life, a warning."""


@dataclass(frozen=True, slots=True)
class Quiet:
    """Quiet hours in minutes of the local day, over midnight where `from_min` is the later one."""

    from_min: int
    to_min: int
    passes: Priority = Priority.CRITICAL
    """This priority and higher ones are sent all the same."""


@dataclass(frozen=True, slots=True)
class Contact:
    """A person to tell. The phone number and the PIN stay here: they go into no record."""

    id: str
    phone: str
    language: str = "en"
    quiet: Quiet | None = None
    pin: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Moment:
    """Now, on the rules' scale, and as minutes of the local day; None while nobody knows the time."""

    now_ms: int
    local_min: int | None = None


@dataclass(frozen=True, slots=True)
class Notification:
    """One message to one contact. `number` counts reminders; `due_ms` is not before."""

    rule: str
    occurrence: int
    notice: Notice
    contact: str
    priority: Priority
    due_ms: int
    reason: str
    number: int = 0

    @property
    def id(self) -> str:
        return f"{self.rule}/{self.occurrence}/{self.notice}{self.number or ''}/{self.contact}"


@dataclass(frozen=True, slots=True)
class Story:
    """What people know of a rule's alarm. An episode begins with the first raise and ends when those told
    were told that it is over.
    """

    episode_ms: int | None = None
    told: tuple[str, ...] = ()
    tiers: int = 0
    reminders: int = 0
    acknowledged: bool = False
    raises_ms: tuple[int, ...] = ()
    flapping: bool = False
    reached_ms: int | None = None
    """When a message about it last left: a reminder does not follow at its heels."""


Told = tuple[Story, tuple[Notification, ...]]


def on_change(
    rule: Rule,
    story: Story,
    state: State,
    what: What,
    contacts: Mapping[str, Contact],
    moment: Moment,
    reason: str = "first raise",
) -> Told:
    """What a change leads to. `state` is the one after it; `reason` that of a first raise."""
    match what:
        case What.RAISED:
            return _on_raise(rule, story, state, contacts, moment, reason)
        case What.ACKNOWLEDGED:
            return replace(story, acknowledged=True), ()
        case What.CLEARED if not story.flapping:
            notices = _notices(rule, state, Notice.CLEAR, story.told, contacts, moment, "it is over")
            return _over(story), notices
    return story, ()


def on_time(rule: Rule, story: Story, state: State, contacts: Mapping[str, Contact], moment: Moment) -> Told:
    """What the passing of time leads to: the end of flapping, escalation, reminders."""
    if story.episode_ms is None:
        return story, ()
    age_s = (moment.now_ms - story.episode_ms) / 1000
    notices: tuple[Notification, ...] = ()
    quiet_ms = moment.now_ms - max(story.raises_ms, default=0)
    if story.flapping and quiet_ms >= FLAPPING_WITHIN_S * 1000:
        story = replace(story, flapping=False)
        if story.acknowledged and not state.acknowledged:  # what was acknowledged was an earlier occurrence
            at_once = sum(1 for tier in rule.send if tier.after_s <= 0)
            story = replace(story, acknowledged=False, episode_ms=moment.now_ms, tiers=at_once, reminders=0)
            age_s = 0.0
        if state.phase not in (Phase.ACTIVE, Phase.RECOVERING):
            reason = "it has settled and is over"
            return _over(story), _notices(rule, state, Notice.CLEAR, story.told, contacts, moment, reason)
        reason = "it has settled and stands"
        notices = _notices(rule, state, Notice.RAISE, story.told, contacts, moment, reason)
    if story.acknowledged or state.phase is not Phase.ACTIVE:
        return story, notices
    while story.tiers < len(rule.send) and (age_s >= rule.send[story.tiers].after_s or not story.told):
        tier = rule.send[story.tiers]
        new = [name for name in tier.contacts if name in contacts and name not in story.told]
        notice, reason = Notice.ESCALATE, f"nobody has acknowledged for {tier.after_s / 60:g} min"
        if age_s < tier.after_s:  # to these it is the first message of all
            notice, reason = Notice.RAISE, "nobody could be told before"
        notices += _notices(rule, state, notice, new, contacts, moment, reason)
        story = replace(story, tiers=story.tiers + 1, told=_join(story.told, new))
    due = _reminders_due(age_s)
    just_told = story.reached_ms is not None and moment.now_ms - story.reached_ms < REMIND_GAP_S * 1000
    if due > story.reminders and not just_told:
        awake = [c for c in story.told if c in contacts and _held_ms(contacts[c], rule.priority, moment) == 0]
        reason = f"not acknowledged, reminder {due}"
        notices += _notices(rule, state, Notice.REMIND, awake, contacts, moment, reason, number=due)
        story = replace(story, reminders=due)
    return story, notices


def untell(story: Story, contact: str) -> Story:
    """What was meant for this contact need not be sent any more. Nobody told: the episode has not begun."""
    story = unreached(story, contact)
    return story if story.told else _over(story)


def unreached(story: Story, contact: str) -> Story:
    """This contact could not be told. The alarm goes on looking for somebody who can."""
    return replace(story, told=tuple(name for name in story.told if name != contact))


def tell_again(
    rule: Rule, story: Story, state: State, contact: str, contacts: Mapping[str, Contact], moment: Moment,
    number: int,
) -> Told:  # fmt: skip
    """The message by which a contact was to learn of an alarm has become too old, and the alarm stands: a new
    one.
    """
    reason = "it stands, and could not be told before"
    to = [contact]
    notices = _notices(rule, state, Notice.RAISE, to, contacts, moment, reason, number=number)
    return replace(story, told=_join(story.told, to)), notices


def minutes_without_answer(story: Story, now_ms: int) -> int:
    """How long nobody has acknowledged: what an escalation says."""
    if story.episode_ms is None:
        return 0
    return max(0, (now_ms - story.episode_ms) // 60_000)


def rank(priority: Priority) -> int:
    """0 is the most urgent."""
    return _RANK[priority]


def _on_raise(
    rule: Rule,
    story: Story,
    state: State,
    contacts: Mapping[str, Contact],
    moment: Moment,
    reason: str,
) -> Told:
    now_ms = moment.now_ms
    recent = [at for at in story.raises_ms if now_ms - at < FLAPPING_WITHIN_S * 1000]
    raises_ms = (*recent, now_ms)[-FLAPPING_COUNT:]
    if story.flapping:
        return replace(story, raises_ms=raises_ms), ()
    if story.episode_ms is None:
        story = replace(story, episode_ms=now_ms, told=(), tiers=0, reminders=0, acknowledged=False)
    at_once = 0
    told = story.told
    for tier in rule.send:
        if tier.after_s > 0:
            break
        at_once += 1
        told = _join(told, tier.contacts)
    flapping = len(raises_ms) >= FLAPPING_COUNT
    minutes = f"{FLAPPING_WITHIN_S / 60:g} min"
    if flapping:
        reason = f"{FLAPPING_COUNT} raises in {minutes}: no more until it settles"
    notice = Notice.FLAPPING if flapping else Notice.RAISE
    told = tuple(contact for contact in told if contact in contacts)
    story = replace(story, told=told, tiers=max(at_once, story.tiers), raises_ms=raises_ms, flapping=flapping)
    return story, _notices(rule, state, notice, told, contacts, moment, reason)


def _over(story: Story) -> Story:
    return Story(raises_ms=story.raises_ms)


def _notices(
    rule: Rule,
    state: State,
    notice: Notice,
    to: Iterable[str],
    contacts: Mapping[str, Contact],
    moment: Moment,
    reason: str,
    *,
    number: int = 0,
) -> tuple[Notification, ...]:
    notices = []
    for name in to:
        contact = contacts.get(name)
        if contact is None:
            continue
        held_ms = _held_ms(contact, rule.priority, moment)
        why = f"{reason}; held back by quiet hours" if held_ms else reason
        due_ms = moment.now_ms + held_ms
        notices.append(
            Notification(rule.id, state.occurrence, notice, name, rule.priority, due_ms, why, number)
        )
    return tuple(notices)


def _held_ms(contact: Contact, priority: Priority, moment: Moment) -> int:
    """How long the contact's quiet hours hold a message of this priority back from now on."""
    quiet, local_min = contact.quiet, moment.local_min
    if quiet is None or local_min is None or quiet.from_min == quiet.to_min:
        return 0
    if _RANK[priority] <= _RANK[quiet.passes]:
        return 0
    since_start = (local_min - quiet.from_min) % _DAY_MIN
    if since_start >= (quiet.to_min - quiet.from_min) % _DAY_MIN:
        return 0
    return (quiet.to_min - local_min) % _DAY_MIN * 60_000


def _reminders_due(age_s: float) -> int:
    due = sum(1 for after_s in REMIND_AFTER_S if age_s >= after_s)
    if due == len(REMIND_AFTER_S):
        due += int((age_s - REMIND_AFTER_S[-1]) // REMIND_EVERY_S)
    return due


def _join(told: tuple[str, ...], more: Iterable[str]) -> tuple[str, ...]:
    return told + tuple(dict.fromkeys(name for name in more if name not in told))
