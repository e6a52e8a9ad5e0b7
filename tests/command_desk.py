"""Alarms, and people who answer them by SMS; without a modem."""

from __future__ import annotations

import itertools

from alerts import answers
from alerts.answers import Answer, act, decide
from alerts.commands import parse
from alerts.memory import Now, Said
from alerts.messages import LANGUAGES, packaged
from alerts.outbox import Outcome
from alerts.policy import Contact
from alerts.rules import Kind, Rule, Tier
from alerts.watch import Limits, Watch

TEXTS = {language: packaged(language) for language in LANGUAGES}


# ── who may ─────────────────────────────────────────────────────────────────────────────────────────────────


class Desk:
    """A station with two rules and three people, one of whom has a PIN; a second passes with each message."""

    def __init__(self, **limits: int) -> None:
        rules = [
            Rule("mud", "turb1", Kind.ABOVE, "turbidity", "NTU", high=50, send=(Tier(("duty", "chief")),)),
            Rule("acid", "ph1", Kind.BELOW, "ph", "", low=5, send=(Tier(("duty",)),)),
        ]
        contacts = [
            Contact("duty", "+996555000001", "en"),
            Contact("chief", "+996555000002", "ru", pin="8642"),
            Contact("lab", "+996555000003", "ky"),
        ]
        count = itertools.count(3711)
        few = Limits(collect_s=0, **limits)
        self.watch = Watch("kyia-1", rules, contacts, TEXTS, limits=few, random=lambda _: next(count))
        self.ms = 0
        self.keys = itertools.count()

    @property
    def now(self) -> Now:
        return Now(self.ms, 1_763_883_600_000 + self.ms)

    def see(self, sensor: str, name: str, value: float) -> None:
        self.ms += 1000
        self.watch.see_values(sensor, self.ms, {name: (value, True)}, self.now)

    def drain(self) -> list[str]:
        """What is sent now, and thereby gone."""
        outbox, texts = self.watch.memory.outbox, []
        while (row := outbox.next(self.ms)) is not None:
            for state in ("sending", "accepted", "delivered"):
                self.watch.outcome(row.id, Outcome(state, row.attempts + 1), self.now)
            texts.append(f"{row.contact}: {row.text}")
        return texts

    def hears(self, by: str, text: str) -> tuple[Answer, list[Said]]:
        self.ms += 1000
        answer = decide(self.watch, by, parse(text), self.now, f"key{next(self.keys)}")
        known = answers.read(answer.detail())  # what an event keeps of it is enough
        assert known is not None
        return answer, act(self.watch, known, self.now)

    def says(self, by: str, text: str) -> list[str]:
        """The replies to a message."""
        self.hears(by, text)
        return self.drain()

    def state(self, rule: str) -> str:
        return self.watch.standing(rule)


def muddy() -> Desk:
    desk = Desk()
    desk.see("turb1", "turbidity", 80)
    assert desk.drain()[0].endswith("Reply ACK 4711")
    return desk
