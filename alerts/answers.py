"""Who may, and what becomes of it: commands of people (alerts.commands) against what the alarms remember.

    status, list, help   from a known number; so too
    doctor               answered when the examination is over (`examined`)
    ack, mute, unmute    from a known number, with the one-time code that this contact was sent, or its PIN

The number that a message seems to come from can be forged, so it proves nothing by itself, and nothing else
is possible here: no settings, no switches. Three wrong codes within a day close the number: for an hour, the
next time for two, at last for a day. So nobody who forges it can try many codes. Its owner is told, with a
long code that opens it again: only who holds the telephone gets it, so nobody can shut the owner out. Replies
are few in a day, and cost at most a part of the budget.

`decide` looks and changes nothing; what it finds is an Event "answer" without code, PIN or number, and `act`
does what stands there, once for each `key`. So after a crash nothing is done twice.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from alerts.codes import LONG, number_of
from alerts.commands import Command, Verb
from alerts.memory import Memory, Now, Said, is_up
from alerts.messages import brief
from alerts.policy import Notice
from alerts.rules import State
from alerts.watch import Watch

TRIES = 3
TRIES_WITHIN_S = 86_400.0
LOCK_S = 3600.0
LOCK_MOST_S = 86_400.0
LOCKS_WITHIN_S = 7 * 86_400.0
"""Each lock within so long is twice as long as the one before."""
SEEN_KEPT = 200
"""Messages whose keys are remembered, so that one that lies in the store still is not done again."""
LIST_SEGMENTS = 3
DOCTOR_EACH_S = 600.0
"""From one examination by SMS to the next."""
_ASKING = (Verb.STATUS, Verb.DOCTOR, Verb.LIST, Verb.HELP, Verb.NONE)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a message comes to. `result`: "ok", "wrong", "locked", "unlocked" or "no_code"; `rules` it is
    about.
    """

    by: str
    verb: Verb
    result: str
    rules: tuple[str, ...] = ()
    minutes: int = 0
    why: str = ""
    key: str = ""

    def detail(self) -> dict[str, Any]:
        """As an event has it."""
        detail: dict[str, Any] = {"by": self.by, "verb": str(self.verb), "result": self.result}
        detail |= {"rules": list(self.rules), "key": self.key}
        return detail | ({"minutes": self.minutes, "why": self.why} if self.verb is Verb.MUTE else {})


def read(detail: Mapping[str, Any]) -> Answer | None:
    """The answer of an event; None for one that makes no sense."""
    by, result, rules = detail.get("by"), detail.get("result"), detail.get("rules")
    minutes, why, key = detail.get("minutes", 0), detail.get("why", ""), detail.get("key", "")
    strings = (by, result, why, key)
    if not isinstance(rules, list) or not isinstance(minutes, int):
        return None
    if not all(isinstance(word, str) for word in (*strings, *rules)) or detail.get("verb") not in list(Verb):
        return None
    return Answer(str(by), Verb(detail["verb"]), str(result), tuple(rules), minutes, str(why), str(key))


def decide(watch: Watch, by: str, command: Command, now: Now, key: str) -> Answer:
    """What a command from this contact comes to."""
    memory, verb = watch.memory, command.verb
    if verb in _ASKING:
        return Answer(by, verb, "ok", key=key)
    if memory.desk.locked_ms.get(by, 0) > now.ms:
        opens = hmac.compare_digest(memory.desk.unlock.get(by, "-").encode(), command.token.encode())
        return Answer(by, verb, "unlocked" if opens else "locked", key=key)
    if not command.token:
        return Answer(by, verb, "no_code", key=key)
    rules = _granted(watch, by, command.token, now)
    if rules is None:
        return Answer(by, verb, "wrong", key=key)
    return Answer(by, verb, "ok", rules, command.minutes, command.why, key)


def is_news(watch: Watch, answer: Answer, now: Now) -> bool:
    """Whether it comes to anything. A thousand questions, or tries at a locked number, must not fill the
    records.
    """
    if answer.result == "locked":
        return False
    asks = answer.verb in _ASKING or answer.result == "no_code"
    return not asks or len(_lately(watch, answer.by, now)) < watch.mail.limits.replies


def act(watch: Watch, answer: Answer, now: Now) -> list[Said]:
    """Do what an answer asks for, and reply."""
    desk = watch.memory.desk
    if answer.by not in watch.contacts or (answer.key and answer.key in desk.seen):
        return []
    desk.seen = (*desk.seen, answer.key)[-SEEN_KEPT:]
    match answer.verb, answer.result:
        case _, "locked":
            return []
        case _, "wrong":
            return _wrong(watch, answer.by, now)
        case _, "unlocked":
            desk.locked_ms.pop(answer.by, None)
            desk.unlock.pop(answer.by, None)
            return _reply(watch, answer.by, "unlocked", {}, now)
        case _, "no_code":
            return _reply(watch, answer.by, "no_code", {}, now)
    if answer.verb not in _ASKING:
        desk.tries.pop(answer.by, None)  # a right code: the wrong ones were slips
    match answer.verb, answer.result:
        case Verb.ACK, _:
            return _acknowledge(watch, answer, now)
        case Verb.MUTE, _:
            return _mute(watch, answer, now)
        case Verb.UNMUTE, _:
            said = [one for rule in answer.rules for one in watch.unshelve(rule, answer.by, now)]
            return said + _reply(watch, answer.by, "unmute", _about(watch, answer, now), now)
        case Verb.STATUS, _:
            return _reply(watch, answer.by, "status", _status(watch, answer.by, now), now, most=2)
        case Verb.DOCTOR, _:
            return _doctor(watch, answer.by, now)
        case Verb.LIST, _:
            words = {"items": _list(watch, answer.by, now)}
            key = "list" if words["items"] else "list_none"
            return _reply(watch, answer.by, key, words, now, most=LIST_SEGMENTS)
    if answer.verb is Verb.NONE:  # a telephone that answers by itself must not start a conversation
        if now.ms - desk.helped_ms.get(answer.by, -(10**10)) < 86_400_000:
            return []
        desk.helped_ms[answer.by] = now.ms
    return _reply(watch, answer.by, "help", {}, now)


def examined(watch: Watch, detail: Mapping[str, Any], now: Now) -> list[Said]:
    """An event "doctor": an examination has begun, is done, or failed. Its end is told to those who wait for
    one in its language, once.
    """
    desk, contacts = watch.memory.desk, watch.contacts
    if detail.get("state") == "begun":
        desk.doctor_tries += 1
        return []
    desk.doctor_tries = 0
    counts = {name: str(detail.get(name)) for name in ("failures", "warnings", "good")}
    items = detail.get("items")
    key = "doctor" if detail.get("state") == "done" and isinstance(items, list) else "doctor_failed"
    words = {**counts, "items": "; ".join(map(str, items if isinstance(items, list) else ()))}
    said: list[Said] = []
    for by in _waiting(watch):
        if contacts[by].language == detail.get("language"):
            desk.doctor[by] = False
            said += _reply(watch, by, key, words, now, most=LIST_SEGMENTS)
    return said


def doctor_wanted(watch: Watch) -> str | None:
    """The language in which somebody waits for an examination; None when nobody does."""
    return next((watch.contacts[by].language for by in _waiting(watch)), None)


def _waiting(watch: Watch) -> list[str]:
    return [by for by, waits in watch.memory.desk.doctor.items() if waits and by in watch.contacts]


def _doctor(watch: Watch, by: str, now: Now) -> list[Said]:
    """Ask for an examination, or join those who wait for the one under way; not again so soon."""
    desk = watch.memory.desk
    if desk.doctor.get(by):
        return []  # it will be told
    until_ms = 0 if desk.doctor_ms is None else desk.doctor_ms + int(DOCTOR_EACH_S * 1000)
    if now.ms < until_ms and (by in desk.doctor or not _waiting(watch)):
        until = watch.mail.clock(watch.contacts[by], until_ms, now)
        return _reply(watch, by, "doctor_soon", {"until": until}, now)
    if not _waiting(watch):
        desk.doctor, desk.doctor_ms, desk.doctor_tries = {}, now.ms, 0
    desk.doctor[by] = True
    return []


def _granted(watch: Watch, by: str, token: str, now: Now) -> tuple[str, ...] | None:
    """The rules that a token is good for: those of a code, or with the PIN all whose alarm stands."""
    memory = watch.memory
    pin = watch.contacts[by].pin
    if pin and hmac.compare_digest(pin.encode(), token.encode()):
        stands = [rule for rule in watch.rules if is_up(memory, rule) or rule in memory.overlays]
        return tuple(stands)
    grant = memory.codes.get(token)
    if grant is None or grant.expires_ms <= now.ms or by not in grant.to:
        return None
    return tuple(dict.fromkeys(rule for rule, number in grant.alarms if _lives(memory, rule, number)))


def _lives(memory: Memory, rule: str, occurrence: int) -> bool:
    """Whether a code for this occurrence is good for anything yet: not after its end and its
    acknowledgement.
    """
    state = memory.states.get(rule)
    if state is None or state.occurrence != occurrence:
        return False
    return is_up(memory, rule) or not state.acknowledged or rule in memory.overlays


def _acknowledge(watch: Watch, answer: Answer, now: Now) -> list[Said]:
    memory = watch.memory
    known = [rule for rule in answer.rules if rule in memory.states]
    open_rules = [rule for rule in known if not memory.states[rule].acknowledged]
    said = [one for rule in open_rules for one in watch.acknowledge(rule, answer.by, now)]
    key = "ack"
    if not open_rules:
        key = "ack_again" if any(is_up(memory, rule) for rule in answer.rules) else "over"
    what = "reading" if key == "over" else "raise"
    words = {"items": "; ".join(_briefs(watch, answer.by, answer.rules, now, what))}
    return said + _reply(watch, answer.by, key, words, now)


def _mute(watch: Watch, answer: Answer, now: Now) -> list[Said]:
    answer = replace(answer, rules=tuple(rule for rule in answer.rules if is_up(watch.memory, rule)))
    if not answer.rules:
        return _reply(watch, answer.by, "over", {}, now)
    contact, seconds = watch.contacts[answer.by], answer.minutes * 60.0
    why = answer.why or "by SMS"
    said = [one for rule in answer.rules for one in watch.shelve(rule, seconds, answer.by, why, now)]
    until = watch.mail.clock(contact, now.ms + int(seconds * 1000), now)
    return said + _reply(watch, answer.by, "mute", {**_about(watch, answer, now), "until": until}, now)


def _wrong(watch: Watch, by: str, now: Now) -> list[Said]:
    desk = watch.memory.desk
    recent = [ms for ms in desk.tries.get(by, ()) if now.ms - ms < TRIES_WITHIN_S * 1000]
    tries = (*recent, now.ms)
    if len(tries) < TRIES:
        desk.tries[by] = tries
        return _reply(watch, by, "wrong", {"tries": str(TRIES - len(tries))}, now)
    desk.tries.pop(by, None)
    locks = [ms for ms in desk.locks.get(by, ()) if now.ms - ms < LOCKS_WITHIN_S * 1000]
    desk.locks[by] = (*locks, now.ms)[-10:]
    desk.locked_ms[by] = now.ms + int(min(LOCK_S * 2 ** len(locks), LOCK_MOST_S) * 1000)
    desk.unlock[by] = number_of(LONG, watch.mail.random)
    until = watch.mail.clock(watch.contacts[by], desk.locked_ms[by], now)
    words = {"until": until, "code": desk.unlock[by]}
    return watch.mail.tell(watch.memory, Notice.REPLY, "locked", by, words, now)


def _reply(
    watch: Watch, by: str, key: str, words: Mapping[str, str], now: Now, *, most: int = 1
) -> list[Said]:
    """Reply, unless this contact has had enough of them today: who forges a number could cost us money."""
    desk, recent = watch.memory.desk, _lately(watch, by, now)
    if len(recent) >= watch.mail.limits.replies:
        return []
    desk.replies[by] = (*recent, now.ms)
    return watch.mail.tell(watch.memory, Notice.REPLY, key, by, words, now, most=most)


def _lately(watch: Watch, by: str, now: Now) -> tuple[int, ...]:
    """When this contact was replied to within a day."""
    return tuple(ms for ms in watch.memory.desk.replies.get(by, ()) if now.ms - ms < 86_400_000)


def _about(watch: Watch, answer: Answer, now: Now) -> dict[str, str]:
    return {"items": "; ".join(_briefs(watch, answer.by, answer.rules, now))}


def _briefs(watch: Watch, by: str, rules: Iterable[str], now: Now, what: str = "raise") -> list[str]:
    texts = watch.mail.texts[watch.contacts[by].language]
    states = watch.memory.states
    known = [rule for rule in rules if rule in watch.rules]
    facts = (watch.mail.facts(watch.rules[r], states.get(r, State()), now) for r in known)
    if what == "reading":  # as it is now, whatever the alarm was about
        facts = (
            replace(one, value=states.get(r, State()).value) for one, r in zip(facts, known, strict=True)
        )
    return [brief(texts, what, one) for one in facts]


def _list(watch: Watch, by: str, now: Now) -> str:
    """Every alarm that stands, each with its code: the unanswered first."""
    memory = watch.memory
    rules = [rule for rule in watch.rules if is_up(memory, rule)]
    rules.sort(key=lambda rule: memory.states[rule].acknowledged)
    items = []
    for rule, text in zip(rules, _briefs(watch, by, rules, now), strict=True):
        state, code = memory.states[rule], ""
        if not state.acknowledged and watch.mail.limits.answers:
            code = f" ({watch.mail.code(memory, ((rule, state.occurrence),), by, now)})"
        items.append(text + code)
    return "; ".join(items)


def _status(watch: Watch, by: str, now: Now) -> dict[str, str]:
    memory = watch.memory
    up = [rule for rule in watch.rules if is_up(memory, rule)]
    seen = [
        rule.id
        for rule in watch.rules.values()
        if rule.quantity and not rule.change_s and memory.states.get(rule.id, State()).value is not None
    ]
    return {
        "count": str(len(up)),
        "open": str(sum(not memory.states[rule].acknowledged for rule in up)),
        "muted": str(len(memory.muted)),
        "items": "; ".join(dict.fromkeys(_briefs(watch, by, seen, now, "reading"))),
    }
