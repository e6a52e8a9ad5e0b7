"""Limits and the water or air that they are for: a river is not held against the limits of drinking water."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from alerts.air_quality import cut, nowcast
from alerts.kinds import KINDS, fits, usual
from alerts.readymade import names, ruleset, snippet
from gateway import config
from gateway.alarms_config import watch
from gateway.config_part import Kind
from gateway.export_source import Span
from gateway.report_limits import Limit, judge, of_set, unfit
from gateway.report_sums import STEP_MS, Series, Sums

DRINKING = [Limit("kg", "turbidity", "NTU", 600, 2.6, None, True, kind="drinking water")]
DAY = [0, 86_400_000]
HEAD = """[station]
id = "river-1"
[sms]
modem = "/dev/serial/by-id/modem"
[[contact]]
id = "duty"
phone = "+996555000001"
[[sensor]]
id = "turb1"
port = "/dev/serial/by-id/turb"
model = "yosemitech-y511"
"""


def series(sensor: str, quantity: str, unit: str, steps: int = 144) -> Series:
    made = Series(sensor, quantity, unit, "air" if quantity.startswith("pm") else "water", steps)
    for step in range(steps):
        made.take(step, (50.0,), (50.0,))
    return made


def sums(*given: Series) -> Sums:
    return Sums(Span(0, 144 * STEP_MS), {(one.sensor, one.quantity): one for one in given})


def test_the_words_of_the_file_are_the_words_of_the_limits() -> None:
    assert set(get_args(Kind)) == {kind for kinds in KINDS.values() for kind in kinds}


@pytest.mark.parametrize(
    ("limit", "sensor", "is_so"),
    [
        ("drinking water", "drinking water", True),
        ("drinking water", "surface water", False),
        ("outdoor air", "indoor air", False),
        ("", "surface water", True),
    ],
)
def test_a_limit_fits_its_own_kind(limit: str, sensor: str, is_so: bool) -> None:
    assert fits(limit, sensor) is is_so


def test_who_says_nothing_is_in_a_river_or_in_the_open(tmp_path: Path) -> None:
    assert (usual("water"), usual("air"), usual("power")) == ("surface water", "outdoor air", "")
    file = tmp_path / "station.toml"
    file.write_text(HEAD, encoding="utf-8")
    assert config.load(file, environment={}).sensors[0].kind == "surface water"
    file.write_text(HEAD + 'kind = "mine water"\n', encoding="utf-8")
    assert config.load(file, environment={}).sensors[0].kind == "mine water"


@pytest.mark.parametrize("name", names())
def test_every_ready_made_limit_is_for_a_kind_that_fits_what_it_measures(name: str) -> None:
    for rule in ruleset(name).rules:
        assert rule.kind in KINDS["air" if rule.quantity.startswith("pm") else "water"]
    drinking = [rule.id for rule in ruleset(name).rules if rule.kind == "drinking water"]
    assert drinking == {"kyrgyzstan": ["kg-turbidity-drinking"], "who-2021": ["who-turbidity-visible"]}.get(
        name, []
    )


@pytest.mark.parametrize(("kind", "rules"), [("surface water", 0), ("drinking water", 1)])
def test_what_is_printed_is_for_the_sensors_kind(tmp_path: Path, kind: str, rules: int) -> None:
    text = snippet(ruleset("kyrgyzstan"), "turb1", {"turbidity": "NTU"}, kind)
    assert text.count("[[rule]]") == rules
    file = tmp_path / "station.toml"
    file.write_text(f'{HEAD}kind = "{kind}"\n{text}', encoding="utf-8")
    assert len(watch(config.load(file, environment={})).rules) == rules


@pytest.mark.parametrize(
    ("kinds", "held"),
    [
        ({"turb1": "drinking water"}, True),
        ({"turb1": "surface water"}, False),
        ({}, False),  # one that is no longer in station.toml was in a river, as if it had said nothing
    ],
)
def test_the_report_holds_a_limit_only_against_its_kind(kinds: dict[str, str], held: bool) -> None:
    river = sums(series("turb1", "turbidity", "NTU"))
    found = judge(DRINKING, river, DAY, kinds)
    assert [one.beyond for one in found] == ([144] if held else [])
    assert unfit(DRINKING, river, kinds) == ([] if held else [("kg", "drinking water")])


def test_one_tap_is_judged_beside_a_river_and_nothing_is_said_of_the_rest() -> None:
    both = sums(series("river", "turbidity", "NTU"), series("tap", "turbidity", "NTU"))
    kinds = {"river": "surface water", "tap": "drinking water"}
    assert [one.series.sensor for one in judge(DRINKING, both, DAY, kinds)] == ["tap"]
    assert unfit(DRINKING, both, kinds) == []
    assert unfit(DRINKING, sums(series("dust", "pm10", "ug/m3")), kinds) == []


def test_a_limit_of_the_usual_kind_is_held_against_a_sensor_that_is_gone() -> None:
    limits = [Limit("x", "ph", "pH", 600, 8.5, None, True, kind="surface water")]
    assert len(judge(limits, sums(series("old", "ph", "pH")), DAY, {})) == 1


def test_limits_by_nowcast_are_judged_hour_by_hour() -> None:
    """Against the NowCasts worked out here from the hours' means."""
    means: list[int | None] = [
        10, 20, 200, 90, 60, None, 40, None, None, 30, 30, 80, 90, 100, 110, 120, 130, 140, 20, 10, 5, 5, 5,
        5,
    ]  # fmt: skip
    dust = Series("dust1", "pm2_5", "ug/m3", "air", 144)
    for hour, mean in enumerate(means):
        for step in range(6 if mean is not None else 4):  # four of six steps are less than three quarters
            dust.take(6 * hour + step, (float(mean or 999),), (float(mean or 999),))
    expected = {}
    for hour in range(24):
        ago = {i: float(m) for i in range(12) if hour >= i and (m := means[hour - i]) is not None}
        value = nowcast(ago)
        if value is not None and means[hour] is not None:
            expected[hour] = cut("pm2_5", value)
    [limit] = [one for one in of_set(ruleset("us-aqi-2024")) if one.id == "aqi-pm2_5-unhealthy"]
    [one] = judge([limit], sums(dust), DAY, {"dust1": "outdoor air"})
    assert one.windows == len(expected) > 15
    assert one.beyond == sum(value > 55.4 for value in expected.values()) > 3
    assert one.worst == max(expected.values())
    assert one.worst_ms == 3_600_000 * max(expected, key=expected.__getitem__)
