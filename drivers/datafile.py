"""Facts kept as data: reading a TOML file against its format, and its mistakes in a technician's words.

A mistake is one line: the file, the key, what is wrong, what may be written instead.

    /etc/suuaba/profiles/it.toml: register 2 (turbidity).scale: '0.1' cannot be used; value = number x scale

The words of the remedy are the key's description in the format (a pydantic model): the schema made from it,
the documentation and the error message say the same. pydantic is imported when a file is read, so a station
whose instruments are drivers in code does not pay for it here.
"""

from __future__ import annotations

import tomllib
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

FILE_LIMIT = 65536
"""Bytes a data file may have; the longest of ours has a tenth of that."""

Mistake = tuple[str, str, str]  # key path, what is wrong, what to do

_Format = TypeVar("_Format", bound="BaseModel")


class BadFile(ValueError):
    """A data file that cannot be used. `lines` has one line for each mistake; the text is the first."""

    def __init__(self, file: Path, key: str, what: str, remedy: str, lines: Sequence[str] = ()) -> None:
        self.file, self.key, self.what, self.remedy = file, key, what, remedy
        self.lines = list(lines) or [bad_line(file, key, what, remedy)]
        super().__init__(self.lines[0])

    @classmethod
    def of(cls, file: Path, mistakes: Sequence[Mistake]) -> Self:
        """The error for several mistakes in a file."""
        return cls(file, *mistakes[0], lines=[bad_line(file, *mistake) for mistake in mistakes])


def bad_line(file: Path, key: str, what: str, remedy: str) -> str:
    """One line that says where, what is wrong, and what to do about it."""
    return f"{file}: {key}: {what}; {remedy}" if key else f"{file}: {what}; {remedy}"


def content(file: Path, error: type[BadFile] = BadFile) -> bytes:
    """The bytes of a data file, one more than allowed at most. Raises `error` when it cannot be read."""
    try:
        with file.open("rb") as opened:
            return opened.read(FILE_LIMIT + 1)
    except OSError as e:
        raise error(file, "", f"cannot be read: {e.strerror}", "let the station's user read it") from e


def parse(
    file: Path, text: bytes, form: type[_Format], *, see: str, error: type[BadFile] = BadFile
) -> _Format:
    """What stands in a file's bytes, checked key by key. Raises `error`, which has a line for each mistake.

    `see` is where a technician finds how such a file is written.
    """
    from pydantic import ValidationError

    try:
        if len(text) > FILE_LIMIT:
            raise error(file, "", f"has more than {FILE_LIMIT} bytes", see)
        data = tomllib.loads(text.decode("utf-8"))
    except UnicodeDecodeError as e:
        raise error(file, "", f"is not UTF-8 (byte {e.start})", "save it as UTF-8 text") from e
    except (tomllib.TOMLDecodeError, RecursionError) as e:
        raise error(file, "", f"is not TOML: {e}", "compare it with one that comes with the product") from e
    try:
        return form.model_validate(data)
    except ValidationError as e:
        # A misspelt key also looks like a missing one: the spelling is the mistake to show first.
        found = sorted(e.errors(include_url=False), key=lambda one: one["type"] != "extra_forbidden")
        raise error.of(file, [mistake(one, data, form) for one in found]) from None


def mistake(error: Mapping[str, Any], data: dict[str, Any], form: type[BaseModel]) -> Mistake:
    """A complaint of pydantic's in our words."""
    path: tuple[Any, ...] = error["loc"]
    key = _key(path, data)
    keys = _keys_at(form, path[:-1])
    if error["type"] == "extra_forbidden":
        from difflib import get_close_matches  # seldom, and it takes memory

        close = get_close_matches(str(path[-1]), list(keys), n=1)
        return key, "no such key", f"did you mean {close[0]}?" if close else f"there are: {', '.join(keys)}"
    *_, word = (part for part in path if isinstance(part, str))
    field = keys.get(word) or _keys_at(form, path[: path.index(word)]).get(word)
    remedy = (field.description if field else None) or str(error["msg"])
    if error["type"] == "missing":
        return key, "is missing", remedy
    given = error["input"]
    if isinstance(given, str | int | float):
        return key, f"{given!r:.60} cannot be used", remedy
    return key, f"cannot be used ({error['msg']})", remedy


# ── inside ──────────────────────────────────────────────────────────────────────────────────────────


def _key(path: tuple[Any, ...], data: Any) -> str:
    """`("register", 1, "scale")` → `register 2 (turbidity).scale`: counted from 1, with its name."""
    words: list[str] = []
    for part in path:
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            data = None
        if isinstance(part, int) and words:
            words[-1] += f" {part + 1}"
            if isinstance(data, dict):
                name = data.get("quantity") or data.get("name") or data.get("option")
                words[-1] += f" ({name:.40})" if isinstance(name, str) else ""
        else:
            words.append(str(part)[:60])
    return ".".join(words)


def _keys_at(form: type[BaseModel], path: tuple[Any, ...]) -> dict[str, FieldInfo]:
    """The keys there are in the part of the format that a key path leads to."""
    keys = _keys(form)
    for word in path:
        if isinstance(word, str):
            field = keys.get(word)
            inside = _part_in(field.annotation) if field else None
            keys = _keys(inside) if inside else {}
    return keys


def _keys(part: type[BaseModel]) -> dict[str, FieldInfo]:
    return {field.alias or name: field for name, field in part.model_fields.items()}


def _part_in(annotation: Any) -> type[BaseModel] | None:
    from pydantic import BaseModel

    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for inner in typing.get_args(annotation) if (found := _part_in(inner))), None)
