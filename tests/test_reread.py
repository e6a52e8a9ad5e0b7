"""SIGHUP on the whole station: changed rules, contacts and texts are taken; a file with mistakes changes
nothing."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from alerts.memory import Now
from alerts.messages import packaged
from alerts.policy import Contact
from alerts.rules import Kind, Phase, Priority, Rule, Tier
from alerts.watch import Watch
from tests.services import Mosquitto, Subscriber, running, until
from tests.site import Site, site
from tests.test_alarms_command import RULES, Terminal, retained

NEW = """
[[rule]]
id = "ph-new"
sensor = "ph1"
quantity = "ph"
unit = "pH"
below = 13.2
priority = "critical"
send = [["duty"]]
"""


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with running(Mosquitto(tmp_path / "mosquitto")) as server:
        yield server


class Configured:
    """Says what the station tells of its configuration, one SIGHUP after the other."""

    def __init__(self, place: Site, broker: Mosquitto) -> None:
        self.place = place
        self.watching = Subscriber(broker.port, "suuaba/1/+/event")
        self.seen = 0

    def again(self, text: str) -> dict[str, Any]:
        """Write the file, send the signal, and give what comes of it."""
        assert self.place.process is not None
        self.place.file.write_text(text, encoding="utf-8")
        self.place.process.send_signal(signal.SIGHUP)
        self.seen += 1

        def said(got: list[Any]) -> Any:
            events = [g.json for g in got if g.json["what"] == "reread"]
            return len(events) >= self.seen and events[self.seen - 1]["detail"]

        return dict(self.watching.wait("an event of it", said))


def test_rules_contacts_and_texts_are_taken_without_a_restart(tmp_path: Path, broker: Mosquitto) -> None:
    with site(tmp_path, broker, None) as place:
        plain = place.file.read_text(encoding="utf-8")
        place.file.write_text(plain + RULES, encoding="utf-8")
        terminal = Terminal(place)
        configured = Configured(place, broker)
        place.start()
        until("the alarm's message", lambda: any("ph1" in sms.text for sms in place.outside.modem.sent))
        terminal("ack", "ph-stands")

        never = RULES[RULES.index('\n[[rule]]\nid = "ph-never"') :]
        changed = RULES.replace(never, "").replace("13.5", "13.4")
        contact = plain[plain.index("[[contact]]") : plain.index("[[rule]]")]
        english = plain.replace(contact, contact.replace('language = "ru"', 'language = "en"'))
        assert english != plain
        assert configured.again(english + changed + NEW) == {
            "state": "taken",
            "rules": {"new": ["ph-new"], "changed": ["ph-stands"], "gone": ["ph-never"]},
            "contacts": {"new": [], "changed": ["duty"], "gone": []},
            "texts": ["en"],
            "needs_restart": [],
        }
        until("a message of the new rule", lambda: "< 13.2" in place.outside.modem.sent[-1].text)
        assert place.outside.modem.sent[-1].text.startswith("ALARM "), "in the new language"
        rows = terminal.rows()
        assert rows["ph-stands"]["state"] == "active_acknowledged", "the alarm that stood is as it was"
        assert rows["ph-stands"]["occurrence"] == 1
        assert rows["ph-new"]["state"] == "active_unacknowledged"
        assert "ph-never" not in rows
        assert retained(broker, "ph-never") == "removed"

        for text, why in (
            (english + changed + NEW.replace("below", "belov"), "belov"),
            (english + changed + NEW.replace('"ph1"', '"ph9"'), "ph9"),
            ((english + changed).replace('"ph1"', '"ph7"'), "the sensor ph7 is new; restart"),
            (english + "[[[", "station.toml"),
            (english.replace("turbidity-high", "ph-new") + NEW, "ph-new"),
        ):
            refused = configured.again(text)
            assert refused["state"] == "refused", refused
            assert why in refused["why"][0]
            assert all("\n" not in line for line in refused["why"])
        assert terminal.rows().keys() == rows.keys()

        slower = english.replace('timezone = "Asia/Bishkek"', 'timezone = "UTC"')
        taken = configured.again(slower + changed + NEW)
        assert taken["needs_restart"] == ["timezone"], "the rules are taken, the rest is said"
        history = ["Asia/Bishkek", "Asia/Bishkek", "UTC"]  # at the start, and each file that was taken

        def told(got: list[Any]) -> Any:
            texts = [g.json["detail"]["text"] for g in got if g.json["what"] == "configuration"]
            return [
                next(zone for zone in ("UTC", "Asia/Bishkek") if zone in text) for text in texts
            ] == history

        configured.watching.wait("the history of the configuration", told)
        assert not any(taken["rules"].values())
        sent = len(place.outside.modem.sent)
        assert place.stop() < 5.0
        assert len(place.outside.modem.sent) == sent, "nothing was told anew"
        configured.watching.close()


def test_a_rule_that_is_gone_takes_its_messages_with_it_and_one_of_another_subject_begins_anew() -> None:

    contacts = [Contact("duty", "+996555000001", "en")]
    mud = Rule(
        "mud",
        "turb1",
        Kind.ABOVE,
        "turbidity",
        "NTU",
        high=50,
        priority=Priority.CRITICAL,
        send=(Tier(("duty",)),),
    )
    dust = replace(mud, id="dust", sensor="dust1", quantity="pm10", unit="ug/m3")
    texts = {"en": packaged("en")}

    def watch(*rules: Rule) -> Watch:
        return Watch("river-1", rules, contacts, texts)

    old = watch(mud, dust)
    for ms in (0, 10_000):
        old.see_values("turb1", ms, {"turbidity": (80.0, True)}, Now(ms, ms))
        old.see_values("dust1", ms, {"pm10": (80.0, True)}, Now(ms, ms))
    assert {row.rule for row in old.memory.outbox.rows.values()} == {"mud", "dust"}
    new = watch(replace(mud, high=60))
    new.go_on_from(old, Now(11_000, 11_000))
    assert {row.rule for row in new.memory.outbox.rows.values()} == {"mud"}
    assert new.memory.states["mud"].phase is Phase.ACTIVE
    other = watch(replace(mud, over_s=600.0))
    other.go_on_from(new, Now(12_000, 12_000))
    assert other.memory.states["mud"].phase is Phase.NORMAL
    assert other.memory.states["mud"].occurrence == 1, "its next alarm must not have the number of the last"
    assert other.memory.outbox.rows == {}
