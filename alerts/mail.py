"""From notices to messages: texts, one-time codes, what goes together, floods, budgets, the sign of life.

    critical   ──────────────────────────► at once
    others     ── 45 s, for company ──┐
    more than 10 in 10 min to one ────┴──► one message about several (a digest)
    beyond the contact's budget ─────────► dropped, and said; a critical alarm always goes

Pure: what is remembered is in the `Memory` given, time in `Now`, chance in `random`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, tzinfo

from alerts import lifeline, policy
from alerts.alphabet import segments
from alerts.codes import by_day, one_time_code
from alerts.lifeline import LIFE_WITHIN_S
from alerts.limits import Limits as Limits
from alerts.memory import Dropped, Memory, Now, Said, is_up
from alerts.messages import Facts, Texts, brief, clock, how_to_answer, mark_repeated, render, say
from alerts.outbox import TELLING, Outcome, Row
from alerts.policy import FLAPPING_COUNT, FLAPPING_WITHIN_S, Contact, Notice, Notification, Story
from alerts.rules import Kind, Phase, Priority, Rule, State, beyond

LIFETIME_S = {Priority.CRITICAL: 86_400.0, Priority.HIGH: 21_600.0, Priority.LOW: 21_600.0}
"""How long a message is worth sending, from when it is due."""
REPLY_LIFETIME_S = 1800.0
TOO_OLD = "too old to be of use"
_DAY_MS = 86_400_000


class Mail:
    """Puts messages into the outbox. `random(n)` gives a number from 0 to n-1 that nobody can guess."""

    def __init__(
        self,
        station: str,
        contacts: Mapping[str, Contact],
        texts: Mapping[str, Texts],
        zone: tzinfo,
        limits: Limits,
        random: Callable[[int], int],
    ) -> None:
        self.station, self.contacts, self.texts, self.zone = station, contacts, texts, zone
        self.limits = limits
        self.random = random

    # ── about a rule ────────────────────────────────────────────────────────────────────────────

    def notify(
        self,
        memory: Memory,
        rule: Rule,
        states: tuple[State, State],
        notices: Iterable[Notification],
        now: Now,
        story: Story,
    ) -> list[Said]:
        """Put a rule's notices into the outbox; `states` before and after what they are about."""
        after = states[1]
        said: list[Said] = []
        for notice in notices:
            contact = self.contacts[notice.contact]
            waiting = memory.outbox.is_waiting(rule.id, after.occurrence, contact.id)
            if notice.notice is Notice.REMIND and waiting:
                continue  # a reminder never joins a queue in which its alarm still waits
            kind = notice.notice
            if kind is Notice.ESCALATE and not memory.outbox.has_gone(rule.id, story.told):
                kind = Notice.RAISE  # nobody can have replied: no SMS has left yet
            facts = self._facts(rule, story, states, kind, now)
            if notice.notice is not Notice.CLEAR and self.limits.answers:
                facts = replace(
                    facts, code=self.code(memory, ((rule.id, after.occurrence),), contact.id, now)
                )
            texts = self.texts[contact.language]
            text = render(texts, kind, facts)
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
                expires_ms=notice.due_ms + int(LIFETIME_S[rule.priority] * 1000),
                reference=memory.outbox.number(contact.id),
                made=self._count(memory),
                brief=brief(texts, notice.notice, facts),
                sensor=rule.sensor,
            )
            said += self._put(memory, self._held(memory, row, now), now)
        return said

    def withdraw(
        self, memory: Memory, rule: str, now: Now, why: str, *, whole: bool = False
    ) -> tuple[list[Said], set[str]]:
        """Drop what need not be sent any more. Also gives who thus was never told: they are not told of the
        end either.
        """
        gone, untold = memory.outbox.withdraw(rule, now.ms, whole=whole)
        for contact in untold:
            self._untell(memory, rule, contact)
        return [Dropped(row, why) for row in gone], untold

    def code(self, memory: Memory, alarms: tuple[tuple[str, int], ...], to: str, now: Now) -> str:
        """The one-time code that this contact is sent for these occurrences."""
        return one_time_code(memory, alarms, to, now, self.random)

    # ── about no single rule ────────────────────────────────────────────────────────────────────

    def tell(
        self,
        memory: Memory,
        notice: Notice,
        key: str,
        contact_id: str,
        words: Mapping[str, str],
        now: Now,
        *,
        most: int = 1,
        reason: str = "",
        names: Sequence[str] = (),
    ) -> list[Said]:
        """Put a text that is about no single rule into the outbox, to go at once."""
        contact = self.contacts[contact_id]
        made = self._count(memory)
        usual = {"station": self.station, "now": self.clock(contact, now.ms, now)}
        usual |= {"used": str(self.spent(memory, contact.id)), "budget": str(self.limits.budget)}
        text = say(self.texts[contact.language], key, {**usual, **words}, most=most, names=names)
        lifetime_s = LIFE_WITHIN_S if notice is Notice.LIFE else REPLY_LIFETIME_S
        row = Row(
            id=f"{notice}/{made}/{contact.id}",
            rule="",
            occurrence=0,
            notice=notice,
            contact=contact.id,
            priority=Priority.HIGH,
            text=text,
            segments=segments(text).count,
            reason=reason or key,
            due_ms=now.ms,
            expires_ms=now.ms + int(lifetime_s * 1000),
            reference=memory.outbox.number(contact.id),
            made=made,
        )
        return self._put(memory, row, now)

    def tick(self, memory: Memory, now: Now) -> list[Said]:
        """Time passes: what has waited for company goes; what is past its use goes away; the sign of life."""
        for name, spent in memory.spent.items():  # also of a contact to whom nothing may go any more
            memory.spent[name] = by_day(spent, 0, now, self.limits.budget_s)
        said: list[Said] = []
        for contact, rows in memory.outbox.due_bundles(now.ms).items():
            said += self._bundle(memory, contact, rows, now)
        before = dict(memory.outbox.rows)
        gone = memory.outbox.expire(now.ms)
        for row in gone:
            if row.id in before:
                self._unreached(memory, row)
        said += [Dropped(row, TOO_OLD) for row in gone]
        return said + self._life(memory, now) + lifeline.check(memory.path, now)

    def outcome(self, memory: Memory, row_id: str, outcome: Outcome, error: str, now: Now) -> list[Said]:
        """What became of an attempt to send, as the journal has it."""
        outbox = memory.outbox
        row = outbox.rows.get(row_id)
        if row is None or row.group:
            return []
        members = outbox.members(row)
        gone = outbox.apply(row_id, outcome, now.ms)
        after = outbox.rows.get(row_id)
        if after is row:
            return []  # it did not fit, or was shown again
        said: list[Said] = [Dropped(old, "the alarm itself could not be sent") for old in gone]
        if outcome.state in ("failed", "undelivered") and after is None:
            for old in members:
                self._unreached(memory, old)
        for old in members if outcome.state == "accepted" else []:
            if old.notice in (*TELLING, Notice.REMIND) and old.rule in memory.stories:
                memory.stories[old.rule] = replace(memory.stories[old.rule], reached_ms=now.ms)
        if outcome.state in ("accepted", "unknown"):
            said += self._spend(memory, row, now)
        if outcome.state == "accepted" and lifeline.was_away(memory.path, now):
            outbox.again_now(now.ms)
        return said + lifeline.learn(memory.path, row.id, outcome, error, now)

    def text_of(self, row: Row) -> str:
        """The text to send: marked when it is a repetition of one that may have come."""
        contact = self.contacts.get(row.contact)
        if not row.repeat or contact is None:
            return row.text
        return mark_repeated(self.texts[contact.language], row.text)

    def spent(self, memory: Memory, contact: str) -> int:
        """Segments sent to a contact within the budget's time."""
        return sum(count for _, count in memory.spent.get(contact, ()))

    def local(self, ms: int, now: Now) -> datetime:
        """The local time of a moment on the rules' scale, by the clock as it is now."""
        utc_s = (now.utc_ms - (now.ms - ms)) / 1000
        return datetime.fromtimestamp(utc_s, UTC).astimezone(self.zone)

    def clock(self, contact: Contact, ms: int, now: Now) -> str:
        """The local time of a moment, as texts show it."""
        texts = self.texts[contact.language]
        return clock(texts, self.local(ms, now), self.local(now.ms, now), sure=now.sure)

    def facts(self, rule: Rule, state: State, now: Now) -> Facts:
        """What there is to say of a rule now."""
        return self._facts(rule, Story(), (state, state), Notice.RAISE, now)

    # ── inside ──────────────────────────────────────────────────────────────────────────────────

    def _facts(
        self, rule: Rule, story: Story, states: tuple[State, State], notice: Notice, now: Now
    ) -> Facts:
        before, after = states
        since_ms = after.begin_ms
        if notice is Notice.CLEAR:  # it came back when the recovery began, not when the delay was over
            since_ms = before.since_ms if before.phase is Phase.RECOVERING else after.since_ms
        minutes = int(FLAPPING_WITHIN_S // 60)
        if notice is Notice.ESCALATE:
            minutes = policy.minutes_without_answer(story, now.ms)
        return Facts(
            station=self.station,
            sensor=rule.sensor,
            kind=rule.kind,
            priority=rule.priority,
            since=self.local(since_ms, now),
            now=self.local(now.ms, now),
            quantity=rule.quantity,
            unit=rule.unit,
            value=after.value if notice is Notice.CLEAR else beyond(rule, after),
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

    def _count(self, memory: Memory) -> int:
        memory.outbox.made += 1
        return memory.outbox.made

    def _put(self, memory: Memory, row: Row, now: Now) -> list[Said]:
        outbox, limits = memory.outbox, self.limits
        vital = row.priority is Priority.CRITICAL and row.notice in TELLING
        share = 1.0 if row.priority is Priority.CRITICAL else 1.0 - limits.reserve
        used = self.spent(memory, row.contact) + outbox.segments_waiting(row.contact)
        too_dear = not vital and used + row.segments > limits.budget * share
        if row.notice is Notice.REPLY and row.reason != "locked":  # that one must come: it holds the key
            answered = by_day(memory.answered.get(row.contact, ()), row.segments, now, limits.budget_s)
            too_dear |= sum(count for _, count in answered) > limits.budget * limits.reply_share
            if not too_dear:
                memory.answered[row.contact] = answered
        if too_dear:
            self._unreached(memory, row)
            return [row, Dropped(row, "the contact's SMS budget is used up")]
        if row.rule and not row.bundle:  # answers do not count: who asks much must not delay an alarm
            self._lately(memory, row.contact, now)
        return [row, *self._too_many(memory, outbox.put(row))]

    def _too_many(self, memory: Memory, gone: list[Row]) -> list[Said]:
        for row in gone:
            self._unreached(memory, row)
        return [Dropped(row, "too many messages wait") for row in gone]

    def _held(self, memory: Memory, row: Row, now: Now) -> Row:
        """The row as it is put: at once, or to wait for others to go with."""
        limits, critical = self.limits, row.priority is Priority.CRITICAL
        began_ms = now.ms - int(limits.flood_s * 1000)
        flood = sum(ms > began_ms for ms in memory.lately.get(row.contact, ())) >= limits.flood_count
        if not flood and (critical or limits.collect_s <= 0):
            return row
        wait_ms = now.ms + int((limits.digest_s if flood else limits.collect_s) * 1000)
        if flood and not critical:
            last_ms = memory.digest_ms.get(row.contact, -_DAY_MS)
            wait_ms = max(wait_ms, last_ms + int(limits.flood_s * 1000))
        others = [old.due_ms for old in memory.outbox.bundled(row.contact) if now.ms < old.due_ms <= wait_ms]
        return replace(row, bundle=True, due_ms=max(row.due_ms, min(others, default=wait_ms)))

    def _lately(self, memory: Memory, contact: str, now: Now) -> None:
        memory.lately[contact] = (*memory.lately.get(contact, ()), now.ms)[-self.limits.flood_count :]

    def _bundle(self, memory: Memory, contact_id: str, rows: list[Row], now: Now) -> list[Said]:
        """Several become one message; a single one goes as it is."""
        outbox, contact = memory.outbox, self.contacts.get(contact_id)
        self._lately(memory, contact_id, now)
        if len(rows) == 1 or contact is None:
            for row in rows:
                outbox.alone(row)
            return []
        rows = sorted(rows, key=lambda row: (policy.rank(row.priority), row.made))
        alarms = tuple((r.rule, r.occurrence) for r in rows if r.notice is not Notice.CLEAR)
        answer = ""
        if alarms and self.limits.answers:
            answer = how_to_answer(self.texts[contact.language], self.code(memory, alarms, contact_id, now))
        words = {
            "station": self.station,
            "items": "; ".join(row.brief for row in rows),
            "sensors": ", ".join(dict.fromkeys(row.sensor or self.station for row in rows)),
            "count": str(len(rows)),
            "answer": answer,
        }
        text = say(self.texts[contact.language], "digest", words)
        made = self._count(memory)
        digest = Row(
            id=f"{Notice.DIGEST}/{made}/{contact_id}",
            rule="",
            occurrence=0,
            notice=Notice.DIGEST,
            contact=contact_id,
            priority=rows[0].priority,
            text=text,
            segments=segments(text).count,
            reason=f"{len(rows)} messages together: {', '.join(row.id for row in rows)}",
            due_ms=now.ms,
            expires_ms=max(row.expires_ms for row in rows),
            reference=outbox.number(contact_id),
            made=made,
        )
        memory.digest_ms[contact_id] = now.ms
        return [digest, *self._too_many(memory, outbox.join(digest, rows))]

    def _untell(self, memory: Memory, rule: str, contact: str) -> None:
        if rule in memory.stories:
            memory.stories[rule] = policy.untell(memory.stories[rule], contact)

    def _unreached(self, memory: Memory, row: Row) -> None:
        """A message could not be sent: who was to learn of an alarm by it does not know of it."""
        if row.notice in TELLING and row.rule in memory.stories:
            memory.stories[row.rule] = policy.unreached(memory.stories[row.rule], row.contact)

    def _spend(self, memory: Memory, row: Row, now: Now) -> list[Said]:
        """Count what was sent; tell the contact once when little is left."""
        limits, contact = self.limits, row.contact
        memory.spent[contact] = by_day(memory.spent.get(contact, ()), row.segments, now, limits.budget_s)
        used = self.spent(memory, contact)
        if used < limits.budget * limits.warn:
            memory.warned = tuple(name for name in memory.warned if name != contact)
        elif contact not in memory.warned and contact in self.contacts:
            memory.warned = (*memory.warned, contact)
            return self.tell(memory, Notice.BUDGET, "budget", contact, {}, now, reason="little is left")
        return []

    def _life(self, memory: Memory, now: Now) -> list[Said]:
        """The daily sign of life: by it, and by its delivery, a dead path is found."""
        limits, path = self.limits, memory.path
        if limits.daily_min is None or not now.sure:
            return []
        local = self.local(now.ms, now)
        minute, day = local.hour * 60 + local.minute, local.toordinal()
        if minute < limits.daily_min or day <= path.life_day:
            return []
        path.life_day = day
        if minute > limits.daily_min + LIFE_WITHIN_S / 60:
            return []  # the station was off at that time
        said: list[Said] = []
        count = str(sum(is_up(memory, rule) for rule in memory.states))
        off = lifeline.switched_off(memory)
        key, words = "life_muted" if off else "life", {"count": count, "muted": str(len(off))}
        for name in limits.daily_to:
            if name in self.contacts:
                said += self.tell(memory, Notice.LIFE, key, name, words, now, names=off)
        ids = [row.id for row in said if isinstance(row, Row) and row.id in memory.outbox.rows]
        path.life, path.life_due_ms = tuple(ids), now.ms + int(LIFE_WITHIN_S * 1000)
        return said
