"""Ready-made rules as data: limits of the WHO, the EU, the US and Kyrgyzstan, each with its source and how
sure it is. They are never on by themselves: `snippet` gives text to copy into station.toml, where somebody
decides.

    kind        which water or air a limit is for (alerts.kinds)
    certainty   "seen"    the figure stands in the source that the file names
                "memory"  from memory, found in no source: unverified
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from itertools import chain
from typing import Any

from alerts.kinds import KINDS, fits
from alerts.rules import Rule
from alerts.rulewords import CaseError, rule_from

CERTAINTY = ("seen", "memory")
_EXTRA = ("certainty", "note")


@dataclass(frozen=True, slots=True)
class ReadyRule:
    """One rule of a set, without a sensor and without contacts. `keys` are those of station.toml."""

    id: str
    quantity: str
    kind: str
    certainty: str
    note: str
    keys: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RuleSet:
    """A set of rules from one source."""

    name: str
    title: str
    source: str
    date: str
    about: str
    rules: tuple[ReadyRule, ...]


def names() -> list[str]:
    """The sets there are."""
    folder = resources.files("alerts").joinpath("rulesets")
    return sorted(file.name.removesuffix(".toml") for file in folder.iterdir() if file.name.endswith(".toml"))


def ruleset(name: str) -> RuleSet:
    """One set. Blocks on the disk once. Raises CaseError for a name that is not there."""
    if name not in names():
        raise CaseError(f"there is no rule set {name!r}; there are {', '.join(names())}")
    file = resources.files("alerts").joinpath("rulesets", f"{name}.toml")
    table = tomllib.loads(file.read_text(encoding="utf-8"))
    rules = []
    for given in table["rule"]:
        keys = {key: value for key, value in given.items() if key not in _EXTRA}
        if given["certainty"] not in CERTAINTY:
            raise CaseError(f"{name}: {given['id']}: certainty: one of {', '.join(CERTAINTY)} is allowed")
        if given["kind"] not in chain(*KINDS.values()):
            raise CaseError(
                f"{name}: {given['id']}: kind: one of {', '.join(chain(*KINDS.values()))} is allowed"
            )
        rules.append(
            ReadyRule(
                given["id"], given["quantity"], given["kind"], given["certainty"], given.get("note", ""), keys
            )
        )
    return RuleSet(name, table["title"], table["source"], table["date"], table["about"].strip(), tuple(rules))


def as_rule(rule: ReadyRule, sensor: str) -> Rule:
    """The rule for a sensor, to be tried. Raises RuleError."""
    return rule_from({**rule.keys, "sensor": sensor}, rule.id)


def snippet(given: RuleSet, sensor: str, quantities: Mapping[str, str], kind: str) -> str:
    """The rules of a set for a sensor in this kind of water or air that measures these quantities (name to
    unit), as text for station.toml. Empty when the set has none for it.
    """
    measured = [rule for rule in given.rules if quantities.get(rule.quantity) == rule.keys["unit"]]
    rules = [rule for rule in measured if fits(rule.kind, kind)]
    if not rules:
        return ""
    lines = [f"# {given.title}", f"# Source: {given.source}; {given.date}."]
    lines += [f"# {line}" for line in given.about.splitlines()]
    for rule in rules:
        lines += ["", "[[rule]]", f'id = "{rule.id}-{sensor}"', f'sensor = "{sensor}"']
        for key, value in rule.keys.items():
            if key != "id":
                lines.append(f"{key} = {_toml(value)}")
        if rule.certainty == "memory":
            lines.append("# UNVERIFIED: confirm this limit with the authority before you rely on it.")
        if rule.note:
            lines.append(f"# {rule.note}")
        lines.append('send = [["duty"]]')
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f'"{value}"' if isinstance(value, str) else str(value)
