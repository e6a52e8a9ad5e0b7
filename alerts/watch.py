"""All rules of a station together: what is observed goes in, changes and messages come out. No disk, no
clock, no broker.

    observation, time ──► rules.step ──► Change ──► policy ──► messages ──► outbox: Row
                                           │                                  │
                                           └────────► Said, in order ◄────────┘

Everything it remembers is in `memory`, plain values; gateway.alarms keeps it in the journal together with
the records of what was said, so that after a crash both are there or neither.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo

from alerts.alphabet import segments
from alerts.messages import Facts, Texts, mark_repeated, render
from alerts.outbox import Outbox, Row
from alerts.policy import (
    FLAPPING_COUNT,
    FLAPPING_WITHIN_S,
    Contact,
    Moment,
    Notice,
    Notification,
    Story,
    minutes_without_answer,
    on_change,
    on_time,
)
from alerts.rules import (
    Kind,
    Observation,
    Phase,
    Priority,
    Quality,
    Rule,
    State,
    What,
    acknowledge,
    happened,
    resume,
    step,
)
from alerts.window import Window, add, add_hour, change, mean, nowcast

LIFETIME_S = {Priority.CRITICAL: 86_400.0, Priority.HIGH: 21_600.0, Priority.LOW: 21_600.0}
"""How long a message is worth sending, from when it is due."""
UNWATCHED_S = 60.0
"""When nobody has looked for so long, nothing is concluded from the silence."""


@dataclass(frozen=True, slots=True)
class Now:
    """This moment: `ms` on the scale of the rules, `utc_ms` as the clock says, `sure` whether the clock is
    right.
    """

    ms: int
    utc_ms: int
    sure: bool = True


@dataclass(frozen=True, slots=True)
class Change:
    """A rule's alarm has changed."""

    rule: Rule
    what: What
    before: State
    after: State
    by: str = ""


@dataclass(frozen=True, slots=True)
class Dropped:
    """A message that will not be sent, and why."""

    row: Row
    why: str


Said = Change | Row | Dropped


@dataclass(slots=True)
class Memory:
    """What must survive: the rules' states and stories by rule id, and the outbox."""

    states: dict[str, State] = field(default_factory=dict)
    stories: dict[str, Story] = field(default_factory=dict)
    outbox: Outbox = field(default_factory=Outbox)
    windows: dict[str, Window] = field(default_factory=dict)


class Watch:
    """The rules, the contacts and the memory of one station. `texts` holds the texts by language."""

    def __init__(
        self,
        station: str,
        rules: Sequence[Rule],
        contacts: Sequence[Contact],
        texts: Mapping[str, Texts],
        zone: tzinfo = UTC,
    ) -> None:
        self.station = station
        self.rules = {rule.id: rule for rule in rules}
        self.contacts = {contact.id: contact for contact in contacts}
        self.texts = texts
        self.zone = zone
        self.memory = Memory()
        self._last_ms: int | None = None  # None: has not looked since the start
        self._by_sensor: dict[str, list[Rule]] = {}
        self._timed = [rule for rule in rules if rule.kind in (Kind.NO_DATA, Kind.FAULT)]
        for rule in rules:
            self._by_sensor.setdefault(rule.sensor, []).append(rule)

    def see_values(
        self, sensor: str, at_ms: int, values: Mapping[str, tuple[float, bool]], now: Now
    ) -> list[Said]:
        """A reading: for each quantity its value and whether that is good. A quantity that a rule waits for
        and that is not there is bad.
        """
        said: list[Said] = []
        some_good = any(good for _, good in values.values())
        for rule in self._by_sensor.get(sensor, ()):
            if rule.quantity:
                value, good = values.get(rule.quantity, (None, False))
            else:
                value, good = None, some_good
            if (rule.over_s or rule.nowcast or rule.change_s) and now.ms - at_ms <= rule.late_s * 1000:
                value = self._looked_at(rule, at_ms, value if good else None)
                good = value is not None
            seen = Observation(at_ms, Quality.GOOD if good else Quality.BAD, value)
            said += self._step(rule, now, seen)
        return said

    def see_health(self, sensor: str, at_ms: int, works: bool, now: Now) -> list[Said]:
        """The instrument is at fault, or works again (which is no value yet)."""
        said: list[Said] = []
        for rule in self._by_sensor.get(sensor, ()):
            if not works:
                said += self._step(rule, now, Observation(at_ms, Quality.FAULT))
            elif rule.kind is Kind.FAULT:
                said += self._step(rule, now, Observation(at_ms, Quality.GOOD))
        return said

    def tick(self, now: Now) -> list[Said]:
        """Time passes: missing data, delays of faults, escalation, reminders, messages that are past their
        use.
        """
        last_ms, self._last_ms = self._last_ms, now.ms
        memory = self.memory
        if last_ms is None or now.ms - last_ms > UNWATCHED_S * 1000:
            for name, state in memory.states.items():
                memory.states[name] = resume(state, now.ms)
        said: list[Said] = []
        for rule in self._timed:
            said += self._step(rule, now, None)
        for name, story in list(memory.stories.items()):
            found = self.rules.get(name)
            if found is None or story.episode_ms is None:
                continue
            state = memory.states[name]
            after, notices = on_time(found, story, state, self.contacts, self._moment(now))
            memory.stories[name] = after
            ended = after.episode_ms is None
            said += self._enqueue(found, story, state, state, notices, now, ended=ended)
        said += [Dropped(row, "too old to be of use") for row in memory.outbox.expire(now.ms)]
        return said

    def acknowledge(self, rule_id: str, by: str, now: Now) -> list[Said]:
        """Somebody has taken notice: no more escalation, no more reminders."""
        rule, state = self.rules.get(rule_id), self.memory.states.get(rule_id)
        if rule is None or state is None:
            return []
        return self._change(rule, state, acknowledge(state), now, by=by)

    def outcome(self, row_id: str, outcome: str, attempt: int, now: Now) -> list[Said]:
        """What became of an attempt to send, as the journal has it."""
        gone = self.memory.outbox.apply(row_id, outcome, attempt, now.ms)
        return [Dropped(row, "the alarm itself could not be sent") for row in gone]

    def text_of(self, row: Row) -> str:
        """The text to send: marked when it is a repetition of one that may have come."""
        contact = self.contacts.get(row.contact)
        if not row.repeat or contact is None:
            return row.text
        return mark_repeated(self.texts[contact.language], row.text)

    def local(self, ms: int, now: Now) -> datetime:
        """The local time of a moment on the rules' scale, by the clock as it is now."""
        utc_s = (now.utc_ms - (now.ms - ms)) / 1000
        return datetime.fromtimestamp(utc_s, UTC).astimezone(self.zone)

    def _looked_at(self, rule: Rule, at_ms: int, value: float | None) -> float | None:
        """What a rule over a length looks at after this value: a mean, a NowCast, a change."""
        if value is not None and not math.isfinite(value):
            value = None
        window = self.memory.windows.get(rule.id, Window())
        if rule.nowcast:
            window = add_hour(window, at_ms, value)
        else:
            window = add(window, at_ms, value, rule.change_s or rule.over_s, rule.every_s)
        self.memory.windows[rule.id] = window
        if rule.nowcast:
            return nowcast(window, rule.every_s)
        if rule.change_s:
            return change(window, rule.change_s, rule.every_s)
        return mean(window, rule.over_s, rule.every_s)

    def _step(self, rule: Rule, now: Now, observation: Observation | None) -> list[Said]:
        before = self.memory.states.get(rule.id, State())
        other = self.memory.states.get(rule.and_rule)
        allowed = not rule.and_rule or (other is not None and other.phase in (Phase.ACTIVE, Phase.RECOVERING))
        after = step(rule, before, now.ms, observation, allowed=allowed)
        return self._change(rule, before, after, now)

    def _change(self, rule: Rule, before: State, after: State, now: Now, by: str = "") -> list[Said]:
        if after is before:
            return []
        self.memory.states[rule.id] = after
        what = happened(before, after)
        if what is None:
            return []
        story = self.memory.stories.get(rule.id, Story())
        later, notices = on_change(rule, story, after, what, self.contacts, self._moment(now))
        self.memory.stories[rule.id] = later
        said: list[Said] = [Change(rule, what, before, after, by)]
        ended = what is What.CLEARED and later.episode_ms is None
        return said + self._enqueue(rule, story, before, after, notices, now, ended=ended)

    def _enqueue(
        self,
        rule: Rule,
        story: Story,
        before: State,
        after: State,
        notices: Iterable[Notification],
        now: Now,
        *,
        ended: bool,
    ) -> list[Said]:
        """Put the notifications into the outbox; give the rows, and those that this makes needless."""
        outbox = self.memory.outbox
        said: list[Said] = []
        untold: set[str] = set()
        if ended:
            gone, untold = outbox.withdraw(rule.id, now.ms)
            said += [Dropped(row, "it was over before this was sent") for row in gone]
        for notice in notices:
            contact = self.contacts[notice.contact]
            if notice.notice is Notice.CLEAR and notice.contact in untold:
                continue
            if notice.notice is Notice.REMIND and outbox.is_waiting(rule.id, after.occurrence, contact.id):
                continue  # a reminder never joins a queue in which its alarm still waits
            facts = self._facts(rule, story, before, after, notice.notice, now)
            text = render(self.texts[contact.language], notice.notice, facts)
            lifetime_s = LIFETIME_S[rule.priority]
            outbox.made += 1
            row = Row(
                id=notice.id,
                rule=rule.id,
                occurrence=notice.occurrence,
                notice=notice.notice,
                contact=contact.id,
                priority=notice.priority,
                text=text,
                segments=segments(text).count,
                reason=notice.reason,
                due_ms=notice.due_ms,
                expires_ms=notice.due_ms + int(lifetime_s * 1000),
                reference=outbox.number(contact.id),
                made=outbox.made,
            )
            least = outbox.put(row)
            said.append(row)
            if least is not None:
                said.append(Dropped(least, "too many messages wait"))
        return said

    def _facts(
        self, rule: Rule, story: Story, before: State, after: State, notice: Notice, now: Now
    ) -> Facts:
        since_ms = after.begin_ms
        if notice is Notice.CLEAR:  # it came back when the recovery began, not when the delay was over
            since_ms = before.since_ms if before.phase is Phase.RECOVERING else after.since_ms
        minutes = int(FLAPPING_WITHIN_S // 60)
        if notice is Notice.ESCALATE:
            minutes = minutes_without_answer(story, now.ms)
        return Facts(
            station=self.station,
            sensor=rule.sensor,
            kind=rule.kind,
            priority=rule.priority,
            since=self.local(since_ms, now),
            now=self.local(now.ms, now),
            quantity=rule.quantity,
            unit=rule.unit,
            value=after.value,
            limit=after.limit,
            worst=after.worst,
            above=rule.kind is not Kind.BELOW and after.limit == rule.high,
            digits=rule.digits,
            over_s=rule.over_s,
            change_s=rule.change_s,
            nowcast=rule.nowcast,
            minutes=minutes,
            count=FLAPPING_COUNT,
            sure=now.sure,
        )

    def _moment(self, now: Now) -> Moment:
        local = self.local(now.ms, now)
        return Moment(now.ms, local.hour * 60 + local.minute if now.sure else None)
