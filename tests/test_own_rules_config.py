"""Rules about the station itself in station.toml: what is taken, and what mistakes are told."""

from __future__ import annotations

from pathlib import Path

import pytest

from alerts.lifeline import switched_off
from alerts.memory import Now, Overlay
from alerts.messages import packaged
from alerts.policy import Contact
from alerts.rules import Kind, Rule
from alerts.watch import Limits, Watch
from gateway import config
from gateway.alarms_config import check_texts, watch
from gateway.errors import ConfigError
from tests.test_own_rules import DUTY_FIRST, UTC_MS, Desk, own

# ── in station.toml ─────────────────────────────────────────────────────────────────────────────────────────

HEAD = """
[station]
id = "kyia-1"
[sms]
modem = "/dev/ttyUSB9"
texts = "texts"
[[contact]]
id = "duty"
phone = "+996555000001"
language = "en"
[[sensor]]
id = "ph1"
model = "yosemitech-y532"
port = "/dev/ttyUSB0"
every = "10 s"
"""

NAMES = ("turb-high", "ph-low", "dust-high", "rain-strong", "level-high", "clock", "disk", "power", "sms")


@pytest.mark.parametrize(
    ("language", "off", "says"),
    [
        ("en", 0, "river-1 is working, 08:00. Alarms: 0. SMS: 0 of 200"),
        ("en", 1, "river-1 is working, 08:00. Alarms: 0. SMS: 0 of 200. Switched off 2: disk, ph-low"),
        ("ru", 1, "river-1 работает, 08:00. Тревог: 0. Отключено 2: disk, ph-low"),
        ("ky", 1, "river-1 иштеп жатат, 08:00. Эскертүү: 0. Өчүк 2: disk, ph-low"),
        ("ru", 9, "river-1 работает. Тревог: 0. Отключено 9: disk, clock, dust-high"),
        ("ky", 9, "river-1 иштеп жатат. Эскертүү: 0. Өчүк 9: disk, clock, dust-high"),
    ],
)
def test_the_sign_of_life_names_what_is_switched_off(language: str, off: int, says: str) -> None:
    """Out of service first: that has no end, and would be forgotten. In one segment."""
    rules = [Rule(name, "s", Kind.ABOVE, "x", "", high=5, send=DUTY_FIRST) for name in NAMES]
    people = [Contact("duty", "+996555000001", language)]
    limits = Limits(daily_min=8 * 60, daily_to=("duty",))
    watch = Watch("river-1", rules, people, {language: packaged(language)}, limits=limits)
    eight = 1_763_884_799_000  # 2025-11-23 07:59:59 UTC
    watch.tick(Now(0, eight, True))
    for name in {0: (), 1: ("disk", "ph-low"), 9: NAMES}[off]:
        watch.shelve(name, None if name == "disk" else 7200, "ana", "pump", Now(1, eight, True))
    watch.maintain("s", 7200, "ana", "cleaning", Now(1, eight, True))  # that is no rule
    watch.tick(Now(1001, eight + 1001, True))
    [row] = watch.memory.outbox.rows.values()
    assert (row.text, row.segments) == (says, 1)


def test_a_rule_that_is_gone_from_the_file_is_not_named() -> None:
    desk = Desk(own(Kind.CLOCK))
    desk.watch.memory.overlays["old"] = Overlay("out_of_service", "ana", "pump")
    assert switched_off(desk.watch.memory) == ["old"]
    desk.tick()
    assert switched_off(desk.watch.memory) == []


def write(folder: Path, rules: str) -> Path:
    file = folder / "station.toml"
    file.write_text(HEAD + rules, encoding="utf-8")
    return file


def test_a_station_toml_with_all_of_it(tmp_path: Path) -> None:
    toml = """
[[rule]]
id = "clock"
watch = "clock"
on_delay = "10 min"
send = [["duty"]]
[[rule]]
id = "still"
sensor = "ph1"
quantity = "ph"
unit = "pH"
stuck = "6 h"
hysteresis = 0.01
start_up = "30 min"
parent = "clock"
send = [["duty"]]
"""
    made = watch(config.load(write(tmp_path, toml)))
    clock, still_rule = made.rules.values()
    assert (clock.kind, clock.sensor, clock.on_delay_s) == (Kind.CLOCK, "", 600)
    assert (still_rule.kind, still_rule.stuck_s, still_rule.start_up_s) == (Kind.STUCK, 21_600, 1800)
    assert still_rule.parent == "clock"


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ('watch = "clock"\nsensor = "ph1"', "sensor (a): means nothing to a rule with watch"),
        ('watch = "moon"', "watch"),
        ('fault = true', "sensor (a): is missing"),
        ('sensor = "ph1"\nunit = "pH"\nstuck = "6 h"', "quantity (a): is missing"),
        ('sensor = "ph1"\nquantity = "ph"\nunit = "NTU"\nstuck = "6 h"', "is not the unit of ph"),
        ('sensor = "ph1"\nquantity = "ph"\nunit = "pH"\nstuck = "6 h"\nabove = 9', "stands beside above"),
        ('sensor = "ph1"\nfault = true\nparent = "b"', 'there is no rule "b"'),
        ('sensor = "ph1"\nfault = true\nparent = "a"', "would keep both silent"),
    ],
)  # fmt: skip
def test_what_check_says_of_mistakes(tmp_path: Path, keys: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config.load(write(tmp_path, f'[[rule]]\nid = "a"\n{keys}\n'))
    assert says in str(caught.value)
    assert len(caught.value.lines) == 1


def test_the_operators_own_texts(tmp_path: Path) -> None:
    file = write(tmp_path, '[[rule]]\nid = "a"\nsensor = "ph1"\nfault = true\nsend = [["duty"]]\n')
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "en.toml").write_text('[head]\nhigh = "Attention"\n')
    made = watch(config.load(file))
    made.see_health("ph1", 0, False, Now(0, UTC_MS))
    [row] = made.memory.outbox.rows.values()
    assert row.text.startswith("Attention kyia-1: sensor ph1 is faulty")
    check_texts(config.load(file))


def test_a_mistake_in_own_texts_is_said_by_check_and_silences_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = write(tmp_path, '[[rule]]\nid = "a"\nsensor = "ph1"\nfault = true\nsend = [["duty"]]\n')
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "en.toml").write_text('[text]\nfault = "{head} {password}"\n')
    with pytest.raises(ConfigError, match=r"en.toml: text.fault: \{password\} is not known"):
        check_texts(config.load(file))
    made = watch(config.load(file))
    made.see_health("ph1", 0, False, Now(0, UTC_MS))
    [row] = made.memory.outbox.rows.values()
    assert row.text.startswith("Warning kyia-1: sensor ph1 is faulty")
    assert "the texts of the program are used" in caplog.text
