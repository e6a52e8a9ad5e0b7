"""Secrets that would be recognised anywhere, for every secret that a configuration can hold.

The secrets are found in the parts of station.toml and collector.toml by their type: a new one is covered by
itself, or the test that uses this fails because nobody gave it a value that its check takes.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import subprocess
import sys
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import UnionType
from typing import Any, Union
from urllib.parse import quote

from pydantic import SecretStr

from gateway import config_collector
from gateway.config_part import Part
from gateway.config_parts import ONCE, SEVERAL

DIGITS = {"sms.pin": "70931846", "sms.second.pin": "70931847", "contact.pin": "60482917"}
"""What has to be digits; the others are words."""


def fields(sections: Mapping[str, type[Part]]) -> set[str]:
    """Where secrets stand: "mqtt.password", "sms.second.pin"; a table of them: "sms.provider_settings.*"."""
    return {path for name, part in sections.items() for path in _of(part, name)}


def station_fields() -> set[str]:
    return fields({**ONCE, **SEVERAL})


def collector_fields() -> set[str]:
    return fields(config_collector._SECTIONS)


def _of(part: type[Part], path: str) -> Iterator[str]:
    for name, field in part.model_fields.items():
        kinds = set(_kinds(field.annotation))
        if SecretStr in kinds:
            yield f"{path}.{name}" + (".*" if dict in kinds else "")
        for kind in kinds:
            if isinstance(kind, type) and issubclass(kind, Part):
                yield from _of(kind, f"{path}.{name}")


def _kinds(annotation: Any) -> Iterator[Any]:
    origin = typing.get_origin(annotation)
    if origin is None:
        yield annotation
        return
    if origin not in (Union, UnionType):
        yield origin
    for inner in typing.get_args(annotation):
        yield from _kinds(inner)


class Hush:
    """The secrets of one folder, and a search for them in whatever is shown."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder / "secrets"
        self.folder.mkdir(parents=True)
        self._name = name
        self._words: dict[str, str] = {}

    def word(self, path: str) -> str:
        """The secret for this place."""
        spoken = DIGITS.get(path) or f"hush-{path.replace('.', '-').replace('_', '-')}-{self._name}+/7x"
        return self._words.setdefault(path, spoken)

    def file(self, path: str, content: str = "") -> dict[str, str]:
        """The secret in a file of its own; what the configuration says of it. `content`: around the word."""
        self.write(path, content or self.word(path))
        return {"file": path}

    def write(self, path: str, content: str) -> None:
        file = self.folder / path
        file.write_text(content + "\n", encoding="utf-8")
        os.chmod(file, 0o600)

    def key(self, file: Path) -> None:
        """A private key: a line out of its middle is the secret."""
        self._words["key"] = file.read_text().splitlines()[2]

    @property
    def planted(self) -> set[str]:
        return set(self._words)

    def shown_in(self, text: str) -> list[str]:
        """The places whose secret stands in the text, as it is or written otherwise."""
        squeezed = re.sub(r"\s", "", text)
        found = []
        for path, word in self._words.items():
            raw = word.encode()
            ways = {word, quote(word, safe=""), quote(word), json.dumps(word)[1:-1], repr(word)[1:-1]}
            ways |= {raw.hex(), raw.hex().upper()}
            ways |= {base64.b64encode(b"." * i + raw)[4 if i else 0 : -4].decode() for i in range(3)}
            ways.add(_user(raw))
            if any(way in text or way in squeezed for way in ways if len(way) >= 6):
                found.append(path)
        return found


def _user(raw: bytes) -> str:
    """As a Basic Authorization of the user `hush` has it, but for the end."""
    return base64.b64encode(b"hush:" + raw)[:-4].decode()


def toml(parts: Mapping[str, Any]) -> str:
    """A configuration as TOML: tables within a section stand on one line."""
    lines = []
    for name, given in parts.items():
        for one in given if isinstance(given, list) else [given]:
            lines.append(f"[[{name}]]" if isinstance(given, list) else f"[{name}]")
            lines += [f"{key} = {_value(value)}" for key, value in one.items()]
    return "\n".join(lines) + "\n"


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(k)} = {_value(v)}" for k, v in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def processes(pid: int, *, own: bool = True) -> str:
    """Command line and environment of a process and of everything that it has started; `own`: its own
    environment too, where no secret is given by that.
    """
    said = Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
    said += Path(f"/proc/{pid}/environ").read_text(errors="replace") if own else ""
    for child in children(pid):
        with contextlib.suppress(OSError):  # it has ended
            said += Path(f"/proc/{child}/cmdline").read_text(errors="replace")
            said += Path(f"/proc/{child}/environ").read_text(errors="replace")
    return said


def children(pid: int) -> Iterator[int]:
    try:
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return
    for child in map(int, found):
        yield child
        yield from children(child)


def said_by(*words: str, more: Mapping[str, str] | None = None, within_s: float = 90) -> str:
    """All that a command says, as loudly as it can; `more`: of its environment."""
    command = [sys.executable, "-m", "gateway.cli", "-vv", *words]
    done = subprocess.run(
        command,
        capture_output=True,
        timeout=within_s,
        stdin=subprocess.DEVNULL,
        env=os.environ | (more or {}),
    )
    return (done.stdout + done.stderr).decode("utf-8", "replace")
