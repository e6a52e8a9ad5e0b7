"""Everything that the doctor can say is there in Kyrgyz, Russian and English: judged from its source."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from alerts import cms
from gateway import doctor
from gateway.doctor_finding import Finding, said
from gateway.doctor_words import FOLDER, LEVEL_WORDS, NAMES, texts, title, told

FILES = sorted(Path(doctor.__file__).parent.glob("doctor*.py"))
FINDING = {"what": 3, "remedy": 4}
"""Where these stand in a call of Finding."""


def templates() -> dict[str, set[str]]:
    """Every text that is said, and what is given for its places."""
    found: dict[str, set[str]] = {}
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "said":
                [text] = node.args
                assert isinstance(text, ast.Constant), (file.name, node.lineno)
                found[text.value] = places(text.value)
                named = {keyword.arg for keyword in node.keywords if keyword.arg}
                assert named <= places(text.value), (file.name, node.lineno)
                if all(keyword.arg for keyword in node.keywords):  # no **given
                    assert named == places(text.value), (file.name, node.lineno)
    return found


def places(text: str) -> set[str]:
    return set(re.findall(r"\{(\w+)\}", text))


def test_every_text_has_its_like_with_the_same_places_in_every_language() -> None:
    every = templates()
    assert len(every) > 200
    for language in ("ru", "ky"):
        table = texts(language)
        assert sorted(set(every) - set(table)) == []
        for english, text in table.items():
            assert places(text) == places(english), (language, english)
            assert text.strip(), (language, english)
    assert set(texts("ru")) == set(texts("ky"))


def test_no_text_is_kept_that_nobody_says() -> None:
    """What is not the doctor's own is what a modem's errors mean."""
    modems = {m.text for m in (*cms.CMS.values(), *cms.CME.values())}
    modems |= {m.remedy for m in (*cms.CMS.values(), *cms.CME.values())}
    session = (Path(cms.__file__).parent / "modem_session.py").read_text(encoding="utf-8")
    every = templates()
    left = [t for t in texts("ru") if t not in every and t not in modems and t not in session]
    assert left == []


def plain(node: ast.expr) -> Iterator[ast.expr]:
    """Texts that stand there as they are, with no `said` around them."""
    if isinstance(node, ast.IfExp):
        yield from plain(node.body)
        yield from plain(node.orelse)
    elif isinstance(node, ast.JoinedStr):
        words = "".join(v.value for v in node.values if isinstance(v, ast.Constant))
        if re.search(r"[a-z]{3}", words):
            yield node
    elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value:
        yield node


def test_no_finding_has_a_text_that_cannot_be_translated() -> None:
    wrong = []
    for file in FILES:
        for function in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            used = set()
            for node in ast.walk(function):
                if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Finding":
                    given = [*node.args[3:], *(k.value for k in node.keywords if k.arg in FINDING)]
                    wrong += [(file.name, text.lineno) for arg in given for text in plain(arg)]
                    used |= {arg.id for arg in given if isinstance(arg, ast.Name)}
            for node in ast.walk(function):
                if isinstance(node, ast.Assign) and any(getattr(t, "id", "") in used for t in node.targets):
                    wrong += [(file.name, text.lineno) for text in plain(node.value)]
    assert wrong == []


def test_a_text_within_a_text_is_told_too() -> None:
    age = said("{seconds} s ago", seconds="40")
    last = said("last reading {age}", age=age)
    text = said("{last}; the service says {why}", last=last, why="dead: no answer")
    assert text == "last reading 40 s ago; the service says dead: no answer"
    assert told(text, "en") == text
    assert told(text, "ru") == "последнее показание 40 с назад; служба говорит: dead: no answer"
    assert told(text, "ky") == "акыркы көрсөткүч 40 сек. мурун; кызмат айтат: dead: no answer"
    assert told("no such device", "ru") == "no such device"  # the kernel's word


@pytest.mark.parametrize("language", ["ky", "ru", "en"])
def test_a_report_is_told_whole_and_stays_machine_readable(language: str) -> None:
    found = [
        Finding("port", "river", "failure", said("{port} is not there", port="/dev/x"), said("try again")),
        Finding("broker", "test point", "ok", said("written and read back")),
    ]
    report = json.loads(doctor.as_json("s", found, language))
    assert [(f["check"], f["about"], f["level"]) for f in report["findings"]] == [
        ("port", "river", "failure"), ("broker", "test point", "ok"),
    ]  # fmt: skip
    assert report["level"] == "failure"
    shown = "\n".join(line for f in found for line in doctor.render(f, language))
    for f in report["findings"]:
        assert f["what"] in shown
        assert f["title"] in shown
    if language != "en":
        assert not re.search(r"[a-z]{4,}", shown.replace("river", "").replace("/dev/x", ""))


def test_every_name_of_a_check_is_there_in_every_language() -> None:
    assert {file.stem for file in FOLDER.glob("*.toml")} | {"en"} == set(LEVEL_WORDS)
    used = {
        argument.value
        for file in FILES
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Finding"
        for argument in node.args[:2]
        if isinstance(argument, ast.Constant) and argument.value
    }
    assert len(used) > 25
    assert sorted(used - set(NAMES)) == []
    assert title(Finding("journal", "set aside", "ok", ""), "ru") == "журнал отложенное"
    assert title(Finding("sensor", "ph1", "ok", ""), "ky") == "датчик ph1"
