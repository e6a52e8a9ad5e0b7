"""What the doctor says, in the reader's language.

A finding's text is English and knows how it was made (gateway.doctor_finding.said); doctor_texts/*.toml have
the same with its places in the other languages. What another program, the kernel or an instrument said stays
as it said it: it is evidence, and can be looked up.
"""

from __future__ import annotations

import functools
import tomllib
from pathlib import Path

from gateway.doctor_finding import Finding, Level, Said

FOLDER = Path(__file__).parent / "doctor_texts"
LEVEL_WORDS: dict[str, dict[Level, str]] = {
    "en": {"ok": "ok", "warning": "warning", "failure": "failure"},
    "ru": {"ok": "хорошо", "warning": "внимание", "failure": "сбой"},
    "ky": {"ok": "жакшы", "warning": "эскертүү", "failure": "бузулуу"},
}
NAMES = {
    "configuration": ("конфигурация", "конфигурация"), "clock": ("часы", "саат"), "disk": ("диск", "диск"),
    "journal": ("журнал", "журнал"), "port": ("порт", "порт"), "sensor": ("датчик", "датчик"),
    "broker": ("брокер", "брокер"), "database": ("база данных", "маалымат базасы"),
    "grafana live": ("Grafana Live", "Grafana Live"), "modem": ("модем", "модем"),
    "modem 2": ("второй модем", "экинчи модем"), "provider": ("провайдер SMS", "SMS провайдери"),
    "contact": ("контакт", "байланыш"), "contacts": ("контакты", "байланыштар"),
    "rule": ("правило", "эреже"), "service": ("служба", "кызмат"),
    "refused": ("отвергнутое", "четке кагылганы"),
    "sink": ("получатель", "алуучу"), "last day": ("последние сутки", "акыркы сутка"),
    "rtc": ("аппаратные", "аппараттык"), "size": ("размер", "көлөмү"),
    "set aside": ("отложенное", "четке коюлганы"), "losses": ("потери", "жоготуулар"),
    "wear": ("износ", "эскирүү"), "name": ("имя", "аты"), "connection": ("соединение", "туташуу"),
    "certificate": ("сертификат", "сертификат"), "login": ("вход", "кирүү"),
    "test message": ("пробное сообщение", "сынак билдирүүсү"),
    "test point": ("пробная точка", "сынак чекити"),
    "SIM": ("SIM", "SIM"), "network": ("сеть", "тармак"), "signal": ("сигнал", "сигнал"),
    "message centre": ("центр сообщений", "билдирүү борбору"), "store": ("память SIM", "SIM эси"),
    "time": ("время", "убакыт"), "balance": ("счёт", "эсеп"),
}  # fmt: skip
"""What is looked at, in Russian and Kyrgyz."""
_ABOUT_NAMES = (
    "rtc", "size", "set aside", "losses", "wear", "name", "connection", "certificate", "login",
    "test message", "test point", "SIM", "network", "signal", "message centre", "store", "time", "balance",
)  # fmt: skip
"""`about` may also be somebody's own word, a sensor's id: that stays."""


def told(text: str, language: str) -> str:
    """A text in this language; as it is where there is none."""
    if language == "en":
        return str(text)
    table = texts(language)
    if isinstance(text, Said):
        given = {
            name: told(value, language) if isinstance(value, str) else value
            for name, value in text.given.items()
        }
        return table.get(text.template, text.template).format(**given)
    return table.get(text, text)


def title(finding: Finding, language: str) -> str:
    """What a finding is about: the check, and of what."""
    about = _name(finding.about, language) if finding.about in _ABOUT_NAMES else finding.about
    return f"{_name(finding.check, language)} {about}".strip()


@functools.cache
def texts(language: str) -> dict[str, str]:
    """The table of a language, by the English text. Blocks for a file."""
    return tomllib.loads((FOLDER / f"{language}.toml").read_text(encoding="utf-8"))


def _name(word: str, language: str) -> str:
    if language == "en" or word not in NAMES:
        return word
    return NAMES[word][0 if language == "ru" else 1]
