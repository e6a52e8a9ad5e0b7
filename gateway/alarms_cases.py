"""`suuaba rules test FILE…`: plays operators' rule cases (alerts.rulecase) and says what came otherwise.

    ok    river.toml   A storm: one alarm, acknowledged, back to normal.
    FAIL  dust.toml    A dusty evening.
          sms
            14:05:00 duty: …          came as expected
          - 14:09:50 duty: …          expected, did not come
          + 14:19:50 duty: …          came, not expected

Exit codes: 0 all came as expected, 1 something did not, 2 a file cannot be used.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from alerts import rulecase
from alerts.messages import TextsError
from alerts.rules import RuleError
from alerts.rulewords import CaseError
from gateway.errors import ConfigError

Say = Callable[[str], object]
MOST_BYTES = 1_000_000
MOST_LINES = 60
"""Of a difference; what is longer is not read anyway."""


def play(paths: Sequence[Path], say: Say, *, show: bool = False) -> int:
    """Play the cases; a folder means the *.toml in it. `show` also says all that came, to be copied. Gives
    the exit code. Raises ConfigError with one line for each file that cannot be used, after all others were
    played.
    """
    files = [file for path in paths for file in _files(path)]
    wide = max((len(file.name) for file in files), default=0)
    wrong: list[str] = []
    code = 0
    for file in files:
        try:
            case = rulecase.read(_text(file), file.name)
        except (CaseError, RuleError, TextsError, _UnusableError) as e:
            wrong.append(_one_line(str(e), file.name))
            continue
        outcome = rulecase.run(case)
        code |= bool(outcome.failures)
        verdict = "FAIL" if outcome.failures else "ok  "
        say(f"{verdict}  {file.name.ljust(wide)}  {case.about}".rstrip())
        parts = (("states", case.states, outcome.states), ("sms", case.sms, outcome.sms))
        for name, expected, came in parts:
            if show:
                say(f"{name} = [")
                for line in came:
                    say(f"  {_toml(line)},")
                say("]")
            elif sorted(expected) != sorted(came):
                say(f"      {name}")
                for line in difference(expected, came):
                    say(f"      {line}")
    if wrong:
        raise ConfigError(wrong)
    return code


def difference(expected: Sequence[str], came: Sequence[str]) -> Iterator[str]:
    """What came as expected (blank), what did not come (-), what came beside (+); in the order of time."""
    count = 0
    matcher = difflib.SequenceMatcher(None, expected, came, autojunk=False)
    for what, a, a_end, b, b_end in matcher.get_opcodes():
        lines = [f"  {line}" for line in expected[a:a_end]] if what == "equal" else []
        if what != "equal":
            lines = [f"- {line}" for line in expected[a:a_end]] + [f"+ {line}" for line in came[b:b_end]]
        for line in lines:
            count += 1
            if count > MOST_LINES:
                yield "… and more"
                return
            yield line


class _UnusableError(Exception):
    pass


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = sorted(path.glob("*.toml"))
    if not found:
        raise ConfigError([f"{path}: no *.toml is in this folder"])
    return found


def _text(file: Path) -> str:
    try:
        if file.stat().st_size > MOST_BYTES:
            raise _UnusableError(f"{file}: larger than {MOST_BYTES // 1000} kB; this is no rule case")
        return file.read_text(encoding="utf-8")
    except OSError as e:
        raise _UnusableError(f"{file}: {e.strerror}") from e
    except UnicodeDecodeError as e:
        raise _UnusableError(f"{file}: no UTF-8 text") from e


def _one_line(text: str, name: str) -> str:
    line = " ".join(text.split())
    return line if name in line else f"{name}: {line}"


def _toml(line: str) -> str:
    return '"' + line.replace("\\", "\\\\").replace('"', '\\"') + '"'
