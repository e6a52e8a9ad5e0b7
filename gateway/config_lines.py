"""Mistakes in a station.toml, each as one line a technician can act on:

station.toml: sensor[2].address (turb1): 300 is out of range; allowed 1…247; did you mean 30?
file          key path, from 1  its id   what is wrong        what is allowed  what was probably meant
"""

from __future__ import annotations

import difflib
import re
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from gateway.config_parts import ONCE, SEVERAL, Part
from gateway.config_words import shown

KINDS = {**ONCE, **SEVERAL}


@dataclass(frozen=True, slots=True)
class Mistake:
    """One mistake. `section` and `index` say which part of the file it spoils."""

    section: str
    index: int | None
    key: str
    text: str

    def line(self, file: str, data: Mapping[str, Any]) -> str:
        where, name = self.section, ""
        if self.index is not None:
            where += f"[{self.index + 1}]"
            name = _name_of(data, self.section, self.index)
        where += f".{self.key}" if self.key else ""
        if self.key == "id":
            name = ""
        return f"{file}: {where}{f' ({name})' if name else ''}: {self.text}".strip()


def mean(given: str, known: Iterable[str], *, otherwise: bool = True) -> str:
    """ "; did you mean …?" or "; there are: …"."""
    known = list(dict.fromkeys(known))
    folded = {k.lower().replace("-", "").replace("_", ""): k for k in known}
    close = difflib.get_close_matches(
        given.lower().replace("-", "").replace("_", ""), folded, n=1, cutoff=0.6
    )
    if close:
        return f'; did you mean "{folded[close[0]]}"?'
    if not otherwise:
        return ""
    return f"; there are: {', '.join(known)}" if known else "; there is none"


def from_pydantic(
    e: ValidationError, section: str, index: int | None, given: Any, kind: type[Part] | None = None
) -> list[Mistake]:
    """The mistakes of one part, by default of the `kind` that station.toml has under this name. A misspelt
    key also looks like a missing one: then only its spelling is named.
    """
    kind = kind or KINDS[section]
    errors = e.errors(include_url=False)
    unknown = [x for x in errors if x["type"] == "extra_forbidden"]
    mistakes = [
        Mistake(section, index, _path(x["loc"]), _unknown_key(x["loc"], section, kind)) for x in unknown
    ]
    hinted = {m.group(1) for x in mistakes if (m := re.search(r'did you mean "(\w+)"', x.text))}
    for error in errors:
        path = error["loc"]
        if error["type"] == "extra_forbidden" or (error["type"] == "missing" and path[-1] in hinted):
            continue
        mistakes.append(Mistake(section, index, _path(path), _what(error, _at(given, path[:-1]))))
    return mistakes


def toml_mistake(said: str, example: str) -> str:
    """What Python's TOML reader says, where first and in a technician's words."""
    found = re.fullmatch(r"(.*?) \((at line \d+, column \d+|at end of document)\)", said, re.DOTALL)
    what, where = (found[1], found[2].removeprefix("at ")) if found else (said, "the file")
    for start, words in _TOML_WORDS.items():
        if what.startswith(start):
            twice = re.search(r"'([^']*)',?\)", what)
            return f"{where}: {words.format(name=twice[1] if twice else '…')}"
    return f"{where}: is not TOML: {what}; compare it with {example}"


_TOML_WORDS = {
    "Illegal character '\\n'": "the closing quote is missing; text stands between two of them",
    "Cannot declare": "[{name}] stands twice; write [[{name}]] where several may be, else make one of them",
    "Expected newline": "something stands behind the value; text, durations and times stand in quotes",
    "Invalid value": "what follows = is no value; text, durations and times stand in quotes",
    "Cannot overwrite a value": "this key stands twice; take one out",
    "Expected '=' after a key": '"=" is missing behind the key',
}


def _path(loc: tuple[int | str, ...]) -> str:
    text = ""
    for word in loc:
        text += f"[{word + 1}]" if isinstance(word, int) else f".{word}"
    return text.lstrip(".")


def _what(error: Any, around: Any) -> str:
    kind, given, context = error["type"], error.get("input"), error.get("ctx", {})
    if kind == "value_error":
        return str(context["error"])
    if kind == "missing":
        key = str(error["loc"][-1])
        return f"is missing; add {key} = {_EXAMPLES.get(key, '…')}"
    if kind == "literal_error":
        allowed = str(context["expected"]).replace("'", '"').replace(" or ", ", ")
        words = re.findall(r'"([^"]*)"', allowed)
        hint = mean(given, words, otherwise=False) if isinstance(given, str) else ""
        return f"{shown(given)} cannot be used; allowed are {allowed}{hint}"
    if kind == "string_pattern_mismatch":
        return f"{shown(given)} cannot be used; allowed are letters, digits and -{_id_hint(given)}"
    for start, wanted in _WANTED.items():
        if kind.startswith(start):
            unquoted = given.strip() if isinstance(given, str) else ""
            if start in ("int", "float") and re.fullmatch(r"-?\d+(\.\d+)?", unquoted):
                return f"{shown(given)} is text; write it without quotes: {unquoted}"
            return f"{shown(given)} is not {wanted}"
    return f"{shown(given)}: {error['msg']}"


_WANTED = {
    "int": "a whole number", "float": "a number", "finite": "a number", "bool": "true or false",
    "string_type": 'text; write it in quotes: "…"', "string_too_long": "short enough", "dict": "a table",
    "model": "a table",
}  # fmt: skip

_EXAMPLES = {
    "id": '"…"', "port": '"/dev/serial/by-path/…"', "model": '"yosemitech-y532"', "url": '"…"', "unit": '"…"',
    "phone": '"+996555000001"', "sensor": '"…"', "quantity": '"…"', "suspect": '"30 min"', "fail": '"2 h"',
    "within": "0.01", "from": '"22:00"', "to": '"07:00"',
}  # fmt: skip


def _id_hint(given: Any) -> str:
    plain = re.sub(r"[^A-Za-z0-9]+", "-", given).strip("-") if isinstance(given, str) else ""
    return f'; did you mean "{plain}"?' if plain else ""


def _unknown_key(loc: tuple[int | str, ...], section: str, kind: type[Part]) -> str:
    key, inside = str(loc[-1]), _part_at(kind, loc[:-1])
    known = _keys(inside)
    hint = mean(key, known, otherwise=False)
    if not hint and len(loc) > 1 and key in _keys(kind):
        below = ".".join(str(word) for word in loc[:-1])
        hint = f"; it belongs to [[{section}]]: write it above [{section}.{below}]"
    return f"there is no such key{hint or mean(key, known)}"


def _keys(part: type[Part] | None) -> list[str]:
    return [field.alias or name for name, field in part.model_fields.items()] if part else []


def _part_at(part: type[Part], loc: tuple[int | str, ...]) -> type[Part] | None:
    here: type[Part] | None = part
    for word in loc:
        field = (
            next((f for n, f in here.model_fields.items() if word in (n, f.alias)), None) if here else None
        )
        if field is not None:  # else the word is a key of a dict, and `here` is what it holds already
            here = _part_in(field.annotation)
    return here


def _part_in(annotation: Any) -> type[Part] | None:
    if (
        isinstance(annotation, type)
        and not isinstance(annotation, types.GenericAlias)
        and issubclass(annotation, Part)
    ):
        return annotation
    return next((found for x in typing.get_args(annotation) if (found := _part_in(x))), None)


def _at(given: Any, path: tuple[int | str, ...]) -> Any:
    for word in path:
        try:
            given = given[word]
        except (KeyError, IndexError, TypeError):
            return None
    return given


def _name_of(data: Mapping[str, Any], section: str, index: int) -> str:
    name = _at(data, (section, index, "id"))
    return shown(name).strip('"') if isinstance(name, str) else ""
