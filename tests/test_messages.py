"""Every text in every language: one segment each, as alerts/README.md shows them; operators' own files.

`python -m tests.test_messages` writes the table of alerts/README.md anew after a text was changed.
"""

from __future__ import annotations

import string
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerts.alphabet import GSM7, segments
from alerts.messages import (
    LANGUAGES,
    REPLIES,
    TEXTS,
    Facts,
    Texts,
    TextsError,
    brief,
    how_to_answer,
    mark_repeated,
    packaged,
    parse,
    render,
    say,
    which,
)
from alerts.policy import ABOUT_A_RULE, Notice
from alerts.rules import OF_STATION, STATES, Kind, Priority

README = Path(__file__).parent.parent / "alerts" / "README.md"
BEGIN, END = "<!-- texts: python -m tests.test_messages -->", "<!-- end of texts -->"

SINCE, NOW = datetime(2026, 11, 23, 14, 5), datetime(2026, 11, 23, 14, 25)  # noqa: DTZ001  # local times, as texts use them
FACTS = Facts(
    station="kanysh-kyia-1",
    sensor="turb1",
    kind=Kind.ABOVE,
    priority=Priority.CRITICAL,
    since=SINCE,
    now=NOW,
    quantity="turbidity",
    unit="NTU",
    value=63.2,
    limit=50,
    worst=112.4,
    minutes=15,
    count=3,
    code="4711",
)
WORDS = {
    "station": "kanysh-kyia-1", "now": "14:25", "sensors": "turb1, ph1, dust1", "count": "3", "open": "2",
    "muted": "1", "until": "16:25", "tries": "2", "used": "141", "budget": "200", "code": "48151623",
    "failures": "1", "warnings": "1", "good": "11",
}  # fmt: skip
DOCTOR = {
    "ky": "экинчи модем SIM: SIM жок; диск: орун аз", "ru": "второй модем SIM: нет SIM; диск: мало места",
    "en": "modem 2 SIM: no SIM; disk: little room",
}  # fmt: skip
UNITS = {
    "ph": "pH", "orp": "mV", "turbidity": "NTU", "conductivity": "uS/cm", "dissolved_oxygen": "mg/L",
    "water_temperature": "degC", "air_temperature": "degC", "suspended_solids": "mg/L", "level": "m",
    "pm1": "ug/m3", "pm2_5": "ug/m3", "pm4": "ug/m3", "pm10": "ug/m3", "humidity": "%", "pressure": "hPa",
    "wind_speed": "m/s", "wind_direction": "deg", "rain": "mm", "voltage": "V", "current": "A", "power": "W",
    "charge": "%", "signal": "dBm", "cpu_temperature": "degC",
}  # fmt: skip
MOST = {"status": 2, "list": 3, "doctor": 3}
CONDITIONS = (Kind.ABOVE, *STATES)


def facts_of(notice: Notice, kind: Kind, priority: Priority = Priority.CRITICAL) -> Facts:
    clear = notice is Notice.CLEAR
    minutes = 30 if notice is Notice.FLAPPING else 15
    value, since = (38.2, SINCE + timedelta(minutes=20)) if clear else (63.2, SINCE)
    facts = replace(FACTS, kind=kind, priority=priority, value=value, minutes=minutes, since=since)
    return replace(facts, sensor="", quantity="", unit="") if kind in OF_STATION else facts


def say_reply(language: str, key: str, **more: str) -> str:
    """An answer, or a message about several, as it would be sent."""
    texts = packaged(language)
    items = brief(texts, "raise", FACTS)
    if key in ("digest", "list"):
        items += "; " + brief(texts, "raise", replace(FACTS, kind=Kind.NO_DATA, sensor="ph1"))
    if key == "status":
        items = brief(texts, "reading", FACTS)
    if key == "doctor":
        items = DOCTOR[language]
    words = {**WORDS, "items": items, "answer": how_to_answer(texts, "4711"), **more}
    names = ("ph-low",) if key == "life_muted" else ()
    return say(texts, key, words, most=MOST.get(key, 1), names=names)


def table() -> str:
    """All texts with their segments, for native readers to check."""
    lines = []
    for notice in ABOUT_A_RULE:
        for kind in CONDITIONS:
            lines += [
                f"**{which(notice, kind)}**",
                "",
                "| | characters | segments | text |",
                "|---|---|---|---|",
            ]
            for language in LANGUAGES:
                text = render(packaged(language), notice, facts_of(notice, kind))
                lines.append(f"| {language} | {len(text)} | {segments(text).count} | {text} |")
            lines.append("")
    for key in REPLIES:
        lines += [f"**{key}**", "", "| | characters | segments | text |", "|---|---|---|---|"]
        for language in LANGUAGES:
            text = say_reply(language, key)
            lines.append(f"| {language} | {len(text)} | {segments(text).count} | {text} |")
        lines.append("")
    names = "| quantity | ky | ru | en |\n|---|---|---|---|\n"
    for quantity, unit in UNITS.items():
        words = []
        for language in LANGUAGES:
            texts = packaged(language)
            words.append(f"{texts.quantity[quantity]} {texts.unit.get(unit, unit)}".strip())
        names += f"| {quantity} | {' | '.join(words)} |\n"
    heads = "| priority | ky | ru | en |\n|---|---|---|---|\n"
    for priority in Priority:
        heads += (
            f"| {priority} | {' | '.join(packaged(language).head[priority] for language in LANGUAGES)} |\n"
        )
    return "\n".join(lines) + "\n" + heads + "\n" + names


def test_the_readme_shows_every_text_as_it_is() -> None:
    readme = README.read_text(encoding="utf-8")
    shown = readme.partition(BEGIN)[2].partition(END)[0]
    assert shown.strip() == table().strip(), "run: python -m tests.test_messages"


def everything() -> Iterator[tuple[str, Notice, Facts]]:
    for language in LANGUAGES:
        for notice in ABOUT_A_RULE:
            for priority in Priority:
                for kind in CONDITIONS:
                    yield language, notice, facts_of(notice, kind, priority)
                for quantity, unit in UNITS.items():
                    facts = facts_of(notice, Kind.ABOVE, priority)
                    yield language, notice, replace(facts, quantity=quantity, unit=unit)


def test_every_text_of_every_quantity_costs_one_segment() -> None:
    count = 0
    for language, notice, facts in everything():
        for repeat in (False, True):
            text = render(packaged(language), notice, facts, repeat=repeat)
            assert segments(text).count == 1, text
            if language == "en":
                assert segments(text).alphabet == GSM7, text
            assert "{" not in text
            assert "  " not in text
            assert facts.station in text
            if facts.kind is Kind.ABOVE and notice is not Notice.CLEAR:
                value = "63.2" if language == "en" else "63,2"
                assert f"{value} > 50" in text
            elif facts.kind not in (Kind.ABOVE, *OF_STATION):
                assert "turb1" in text or packaged(language).quantity["turbidity"] in text
            assert ("4711" in text) == (notice is not Notice.CLEAR)
            count += 1
    assert count == 3 * 5 * 3 * (len(CONDITIONS) + len(UNITS)) * 2


def test_the_texts_of_the_contract_s_rule() -> None:
    assert (
        render(packaged("ky"), "raise", FACTS)
        == "КООПТУУ kanysh-kyia-1: ылайлуулук 63,2 > 50 NTU, саат 14:05. Код 4711"
    )
    assert (
        render(packaged("ru"), "raise", FACTS)
        == "ТРЕВОГА kanysh-kyia-1 turb1: мутность 63,2 > 50 NTU с 14:05. Код 4711"
    )
    assert (
        render(packaged("en"), "raise", FACTS)
        == "ALARM kanysh-kyia-1 turb1: turbidity 63.2 > 50 NTU since 14:05. Reply ACK 4711"
    )
    bare = replace(FACTS, code="")  # nobody reads answers: there is no code
    text = render(packaged("ru"), "raise", bare)
    assert text == "ТРЕВОГА kanysh-kyia-1 turb1: мутность 63,2 > 50 NTU с 14:05"


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"above": False, "value": 5.1, "limit": 6.5, "quantity": "ph", "unit": "pH"}, "pH 5,1 < 6,5 с"),
        ({"value": 63.25, "digits": 2}, "мутность 63,25 > 50 NTU"),
        ({"value": 50.04}, "мутность 50,04 > 50 NTU"),  # rounded it would not be over
        ({"value": 50.0004}, "мутность 50,0004 > 50 NTU"),
        ({"value": -0.01, "limit": 10, "above": False, "unit": "degC"}, "мутность 0,0 < 10 °C"),
        ({"limit": 0.25}, "> 0,25 NTU"),
        ({"limit": 100000.0, "value": 123456.0, "digits": 0}, "123456 > 100000 NTU"),
        ({"since": SINCE - timedelta(days=2)}, "с 21.11 14:05"),
        ({"sure": False}, "turb1: мутность 63,2 > 50 NTU. Код"),
        ({"sure": False, "station": "k", "sensor": "t"}, "k t: мутность 63,2 > 50 NTU (часы не установлены)"),
        ({"over_s": 600.0}, "мутность за 10 мин 63,2"),
        ({"over_s": 86_400.0}, "мутность за 24 ч 63,2"),
        ({"quantity": "as_total", "unit": "mg/L"}, "as_total 63,2 > 50 мг/л"),
        ({"value": None}, "? > 50"),
    ],
)  # fmt: skip
def test_numbers_and_times(change: dict[str, object], text: str) -> None:
    assert text in render(packaged("ru"), "raise", replace(FACTS, **change))  # type: ignore[arg-type]  # a table


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("kind", Kind)
def test_while_the_clock_is_not_set_no_text_has_a_time(language: str, kind: Kind) -> None:
    texts = packaged(language)
    for notice in ABOUT_A_RULE:
        text = render(texts, notice, replace(FACTS, kind=kind, sure=False))
        assert "14:05" not in text
        assert "  " not in text
        assert not any(f" {word}." in text or text.endswith(f" {word}") for word in texts.before_time), text


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(
    "notice", [Notice.RAISE, Notice.CLEAR, Notice.ESCALATE, Notice.REMIND, Notice.FLAPPING]
)
def test_a_mean_is_said_to_be_one_in_every_text(language: str, notice: Notice) -> None:
    text = render(
        packaged(language),
        notice,
        replace(FACTS, station="kyia-1", sensor="dust", quantity="pm2_5", unit="ug/m3", over_s=86_400.0),
    )
    assert "24" in text, text


def test_a_long_station_name_does_not_push_the_number_out() -> None:
    for language in LANGUAGES:
        for length in (20, 30, 40, 64):
            station = ("a-very-long-name-of-a-station-below-the-tailings-dam-of-the-mine" * 2)[:length]
            text = render(packaged(language), "raise", replace(FACTS, station=station))
            assert segments(text).count == 1
            assert "> 50" in text
            assert station[:4] in text


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.sampled_from(LANGUAGES),
    st.sampled_from(ABOUT_A_RULE),
    st.floats(-1e6, 1e6),
    st.floats(-1e6, 1e6),
    st.text(string.ascii_letters + string.digits + "-", min_size=1, max_size=64),
)
def test_any_numbers_fit(language: str, notice: Notice, value: float, limit: float, station: str) -> None:
    facts = replace(FACTS, value=value, limit=limit, worst=value, station=station)
    assert segments(render(packaged(language), notice, facts)).count == 1


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("key", REPLIES)
def test_every_answer_costs_little(language: str, key: str) -> None:
    text = say_reply(language, key)
    assert segments(text).count <= MOST.get(key, 1)
    assert "{" not in text
    assert not text.endswith((":", ";", " "))
    if language == "en":
        assert segments(text).alphabet == GSM7
    if key == "digest":
        assert "4711" in text
    many = "; ".join(f"sensor{i} {i}.5>{i}" for i in range(30))
    for station in ("kanysh-kyia-1", "a-very-long-name-of-a-station-below-the-tailings-dam-of-the-mine"):
        long = say_reply(language, key, items=many, sensors=many, station=station)
        assert segments(long).count <= MOST.get(key, 1)


def test_a_list_that_does_not_fit_is_cut_at_a_word() -> None:
    many = "; ".join(f"sensor{i} pH 4.1<5 (40{i:02})" for i in range(30))
    text = say_reply("en", "list", items=many)
    assert segments(text).count == 3
    assert many.startswith(text.partition(": ")[2])
    assert text[-1] not in " ;"


def test_a_repetition_is_marked() -> None:
    ru = packaged("ru")
    assert mark_repeated(ru, "мутность") == "(повтор) мутность"
    assert mark_repeated(ru, "я" * 64) == "(2) " + "я" * 64
    assert mark_repeated(ru, "я" * 68) == "(2) " + "я" * 68  # dearer, but marked
    assert mark_repeated(Texts("xx"), "x") == "x"


def test_an_operator_s_file_replaces_only_what_it_names() -> None:
    own = parse('[text]\nraise = "{station}! {value}"\n[unit]\nNTU = "ЕМФ"\n', "own.toml", packaged("ru"))
    assert render(own, "raise", FACTS) == "kanysh-kyia-1! 63,2"
    assert "ЕМФ" in render(own, "clear", facts_of(Notice.CLEAR, Kind.ABOVE))
    assert "Норма" in render(own, "clear", FACTS)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("[text", "own.toml: "),
        ("x = 1", "own.toml: x: not known; allowed are decimal"),
        ("[reply]\nacc = 'x'", "own.toml: reply.acc: not known; allowed are digest"),
        ("[reply]\nack = '{value}'", "own.toml: reply.ack: {value} is not known; allowed are station"),
        ("[short]\nvalue = '{items}'", "own.toml: short.value: {items} is not known; allowed are head"),
        ("answer = '{since}'", "own.toml: answer: {since} is not known; allowed are code"),
        ("[text]\nrise = 'x'", "own.toml: text.rise: not known; allowed are raise"),
        ("[text]\nraise = 5", "own.toml: text.raise: a text, or a list"),
        ("[text]\nraise = []", "own.toml: text.raise: a text, or a list"),
        ("[text]\nraise = [5]", "own.toml: text.raise: a short text in quotes"),
        ("[text]\nraise = '{valeu}'", "own.toml: text.raise: {valeu} is not known; allowed are head"),
        ("[text]\nraise = '{value.__class__}'", "{value.__class__} is not known"),
        ("text = 5", "own.toml: text: a table is needed"),
        ("head = 'x'", "own.toml: head: a table is needed"),
        ("[head]\ncritical = 5", "own.toml: head.critical: a short text in quotes"),
        ("decimal = 5", "own.toml: decimal: a short text in quotes"),
        ('[unit]\nNTU = "a\\u0000b"', "own.toml: unit.NTU: a short text in quotes"),
        (f"[unit]\nNTU = '{'x' * 500}'", "own.toml: unit.NTU: a short text in quotes"),
    ],
)
def test_a_bad_file_of_texts_is_one_clear_line(source: str, message: str) -> None:
    with pytest.raises(TextsError) as caught:
        parse(source, "own.toml", packaged("en"))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_each_language_has_every_text() -> None:
    for language in LANGUAGES:
        texts = packaged(language)
        assert set(texts.text) == set(TEXTS)
        assert set(texts.quantity) == set(UNITS)
        assert set(texts.reply) == set(REPLIES)
        assert set(texts.short) == {"value", "value_clear", "state", "state_clear", "reading"}
        for forms in texts.text.values():
            assert all(segments(form).count >= 1 for form in forms)
    with pytest.raises(TextsError, match="one of ky, ru, en"):
        packaged("../../etc/passwd")


if __name__ == "__main__":
    readme = README.read_text(encoding="utf-8")
    before, _, rest = readme.partition(BEGIN)
    README.write_text(f"{before}{BEGIN}\n\n{table()}\n{END}{rest.partition(END)[2]}", encoding="utf-8")
