"""Ready-made rules: every limit with its source and its certainty, usable as printed, never on by itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from alerts.readymade import as_rule, names, ruleset, snippet
from alerts.rulewords import CaseError
from gateway import config
from gateway.alarms_config import watch

AIR = {"pm2_5": "ug/m3", "pm10": "ug/m3"}
HEAD = """[station]
id = "river-1"
[sms]
modem = "/dev/serial/by-id/modem"
[[contact]]
id = "duty"
phone = "+996555000001"
[[sensor]]
id = "dust1"
port = "/dev/serial/by-id/dust"
model = "plantower"
every = "1 s"
"""


def test_the_sets_there_are() -> None:
    assert names() == ["eu-2024-2881", "kyrgyzstan", "us-aqi-2024", "who-2021"]
    with pytest.raises(CaseError, match="there are eu-2024-2881"):
        ruleset("../../etc/passwd")


@pytest.mark.parametrize("name", names())
def test_every_rule_has_a_source_a_date_and_a_certainty(name: str) -> None:
    given = ruleset(name)
    assert len(given.source) > 20
    assert given.date.startswith("20")
    for rule in given.rules:
        assert as_rule(rule, "s").id == rule.id
        assert rule.certainty in ("seen", "memory")
        assert rule.certainty == "seen" or "unverified" in rule.note


@pytest.mark.parametrize("name", names())
def test_what_is_printed_can_be_pasted(tmp_path: Path, name: str) -> None:
    text = snippet(ruleset(name), "dust1", AIR, "outdoor air")
    file = tmp_path / "station.toml"
    file.write_text(HEAD + text, encoding="utf-8")
    rules = watch(config.load(file, environment={})).rules
    wanted = [rule for rule in ruleset(name).rules if rule.quantity in AIR]
    assert [rule.id for rule in rules.values()] == [f"{rule.id}-dust1" for rule in wanted]
    assert all(rule.over_s >= 1800 or rule.nowcast for rule in rules.values())
    assert ruleset(name).source in text


def test_the_limits_themselves() -> None:
    """The table that the files were made from, once more by hand."""
    limits = {
        rule.id: (rule.keys.get("below"), rule.keys.get("above"), rule.certainty)
        for name in names()
        for rule in ruleset(name).rules
    }
    assert limits["who-pm2_5-day"] == (None, 15, "seen")
    assert limits["who-pm10-day"] == (None, 45, "seen")
    assert limits["eu-pm2_5-day"] == (None, 25, "seen")
    assert limits["eu-pm10-day"] == (None, 45, "seen")
    assert limits["kg-pm2_5-single"] == (None, 160, "seen")
    assert limits["kg-ph-surface-water"] == (6.5, 8.5, "memory")
    aqi = [
        limits[f"aqi-pm2_5-{word}"][1] for word in ("sensitive", "unhealthy", "very-unhealthy", "hazardous")
    ]
    assert aqi == [35.4, 55.4, 125.4, 225.4]


def test_nothing_for_a_sensor_that_measures_nothing_of_it() -> None:
    assert snippet(ruleset("us-aqi-2024"), "ph1", {"ph": "pH"}, "surface water") == ""
    assert snippet(ruleset("us-aqi-2024"), "dust1", {"pm2_5": "mg/m3"}, "outdoor air") == ""


def test_the_unverified_say_so() -> None:
    text = snippet(ruleset("kyrgyzstan"), "ph1", {"ph": "pH"}, "surface water")
    assert "UNVERIFIED: confirm this limit" in text
    assert text.count("[[rule]]") == 1
