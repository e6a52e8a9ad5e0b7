"""gateway/README.md: the map names every module, the decisions stand in their order, each once."""

from __future__ import annotations

import fnmatch
import re
from itertools import pairwise
from pathlib import Path

GATEWAY = Path(__file__).parent.parent / "gateway"
TEXT = (GATEWAY / "README.md").read_text(encoding="utf-8")


def test_the_map_names_every_module() -> None:
    rows = [line for line in TEXT.partition("## Decisions")[0].splitlines() if line.startswith("| `")]
    named = [name for row in rows for name in re.findall(r"`([\w*]+\.py)`", row.split("|")[1])]
    found = {file.name for file in GATEWAY.glob("*.py")} - {"__init__.py"}
    assert [name for name in sorted(found) if not any(fnmatch.fnmatch(name, by) for by in named)] == []
    whole = [name for name in named if "*" not in name]
    assert sorted(whole) == sorted(set(whole)), "a module stands in two rows"


def test_every_decision_stands_once_and_in_its_order() -> None:
    numbers = [int(number) for number in re.findall(r"(?m)^\*\*D(\d+)\. ", TEXT)]
    assert all(one < other for one, other in pairwise(numbers)), numbers
    referred = {int(n) for n in re.findall(r"\(D(\d+)\)|\bD(\d+)\b", TEXT) for n in n if n}
    assert referred <= set(numbers), referred - set(numbers)
