"""What a provider's answer means. HTTP 200 alone never means that a message was taken: the body does.

    HTTP/1.1 200 OK            <response xmlns="…"><id>a1</id><status>4</status></response>     no money: fix
    HTTP/1.1 201 Created       {"sid": "SM…", "status": "queued", "error_code": null}           taken
    HTTP/1.1 202 Accepted      0: Accepted for delivery                                         taken

In this order: the status in the body, if the file lists it; the HTTP status, if the file lists it; what an
HTTP status means anywhere. An answer of 200 to 299 that nobody understands is UNKNOWN: the message may have
gone.

All answers are hostile. An XML answer with a document type is not read at all, so that no entity is ever
declared, and none expands; JSON and XML are read as they come, without fetching anything.

Sources: HTTP status numbers: RFC 9110, 15; RFC 6585 (429).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from xml.parsers import expat

import msgspec

from alerts.provider_format import Answer, Balance, Code
from alerts.provider_request import fill

ANSWER_LIMIT = 64 * 1024
"""Bytes read of an answer; those of providers have some hundred."""
SHOWN_LIMIT = 120
MOST_FOUND = 300
"""Values looked at under a `*`: a message has at most 255 parts."""

Means = Literal["accepted", "retry", "fix", "refused", "unknown", "duplicate"]


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """What came back. `whole` is False for an answer that was cut, or longer than ANSWER_LIMIT."""

    status: int
    body: bytes
    whole: bool = True
    location: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an answer means. `sure` when the body says it: then it is about this message, and no proxy's."""

    means: Means
    says: str = ""
    remedy: str = ""
    references: tuple[str, ...] = ()
    sure: bool = False
    listed: bool = True


def judge(
    answer: HttpAnswer,
    form: Answer,
    codes: Iterable[Code],
    settings: Mapping[str, str],
    clean: Callable[[str], str] = str,
) -> Verdict:
    """What the answer to a message means. `clean` takes our secrets out of what the provider says."""
    codes = list(codes)
    document = _read(answer, form.format)
    statuses = _first(document, [fill(place, settings) for place in form.status])
    words = _shown(clean(" ".join(_first(document, [fill(place, settings) for place in form.message]))))
    if form.format == "text":
        statuses = [document] if document else []
        words = _shown(clean(document.splitlines()[0] if document else ""))
    accepted = [fill(word, settings) for word in form.accepted]
    is_text = form.format == "text"
    bad = next((status for status in statuses if not _among(status, accepted, is_text)), None)
    good = 200 <= answer.status <= 299
    if good and statuses and bad is None:
        references = _first(document, [fill(place, settings) for place in form.reference])
        return Verdict(
            "accepted", references=tuple(_shown(clean(reference)) for reference in references), sure=True
        )
    if good and bad is not None and any(_among(status, accepted, is_text) for status in statuses):
        return Verdict("unknown", _with(f"only some of {len(statuses)} parts were taken", words), sure=True)
    if bad is not None:
        for code in codes:
            if _among(bad, code.status, is_text):
                return Verdict(code.means, _with(code.says, words), code.remedy, sure=True)
    if not good:
        for code in codes:
            if answer.status in code.http:
                return Verdict(code.means, _with(code.says, words or f"HTTP {answer.status}"), code.remedy)
    if bad is not None and not is_text and answer.status < 500:
        return Verdict(
            "retry", _with(f"says {_shown(clean(bad))}, which its file does not list", words), listed=False
        )
    return _by_http(answer, words, _shown(clean(answer.location)))


def left(answer: HttpAnswer, form: Balance) -> tuple[float, str] | None:
    """The amount and the currency in an answer to a balance request; None when they are not there."""
    document = _read(answer, form.format)
    statuses = _first(document, form.status)
    if not 200 <= answer.status <= 299 or (form.status and not statuses):
        return None
    if any(not _among(status, form.accepted, form.format == "text") for status in statuses):
        return None
    amounts = [document.strip()] if form.format == "text" else _first(document, form.amount)
    try:
        amount = float(amounts[0])
    except (IndexError, ValueError):
        return None
    if not abs(amount) < 1e12:
        return None
    return amount, _shown("".join(_first(document, form.currency)[:1])) or form.unit


# ── the body ──────────────────────────────────────────────────────────────────────────────────────────


def _read(answer: HttpAnswer, form: str) -> Any:
    """The body as JSON, as the elements of XML, or as text; None when it is none of the kind."""
    if form == "text":
        return answer.body.decode("utf-8", "replace").strip()
    if not answer.whole:
        return None
    if form == "json":
        try:
            return msgspec.json.decode(answer.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
    return elements(answer.body)


def elements(body: bytes) -> list[tuple[tuple[str, ...], str]] | None:
    """Every element of an XML text: its path below the root, without namespaces, and its text.

    None when it is no XML, is nested deeper than 20, or has a document type (which could declare entities).
    """
    found: list[tuple[tuple[str, ...], str]] = []
    open_names: list[str] = []
    texts: list[list[str]] = []

    def begin(name: str, _: dict[str, str]) -> None:
        open_names.append(name.rpartition(":")[2])
        texts.append([])
        if len(open_names) > 20:
            raise _Refused

    def end(_: str) -> None:
        found.append((tuple(open_names[1:]), "".join(texts.pop()).strip()))
        open_names.pop()

    def data(text: str) -> None:
        texts[-1].append(text)

    def refuse(*_: object) -> None:
        raise _Refused

    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = begin, end, data
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(body.strip(), True)
    except (expat.ExpatError, _Refused, ValueError, LookupError):
        return None
    return found


class _Refused(Exception):
    pass


def _first(document: Any, places: Sequence[str]) -> list[str]:
    """What stands at the first of these places where something stands."""
    for place in places:
        steps = tuple(place.split("."))
        if isinstance(document, list) and all(isinstance(item, tuple) for item in document):
            found = [text for path, text in document if path == steps and text][:MOST_FOUND]
        else:
            found = list(_in_json(document, steps))[:MOST_FOUND]
        if found:
            return found
    return []


def _in_json(value: Any, steps: tuple[str, ...]) -> Iterator[str]:
    if not steps:
        if isinstance(value, bool):
            yield "true" if value else "false"
        elif isinstance(value, str | float) or (isinstance(value, int) and abs(value) < 10**40):
            yield str(value)
        return
    step, rest = steps[0], steps[1:]
    if isinstance(value, dict):
        if step in value:
            yield from _in_json(value[step], rest)
    elif isinstance(value, list):
        chosen = value if step == "*" else value[int(step) :][:1] if step.isascii() and step.isdigit() else []
        for inner in chosen[:MOST_FOUND]:
            yield from _in_json(inner, rest)


def _among(status: str, words: Iterable[str], is_text: bool) -> bool:
    return any(status.startswith(word) if is_text else status == word for word in words if word)


# ── what an HTTP status means anywhere ────────────────────────────────────────────────────────────────────


def _by_http(answer: HttpAnswer, words: str, location: str) -> Verdict:
    status = answer.status
    what = f"HTTP {status}"
    if 200 <= status <= 299:
        why = "its answer is not understood" if answer.whole else "its answer is cut, or too long"
        return Verdict(
            "unknown", _with(why, words or what), "Look at the provider's file, and at its web page"
        )
    what = _with(what, words)
    if 300 <= status <= 399:
        to = f" to {location}" if location else ""
        return Verdict(
            "fix", f"it sends us elsewhere{to} ({what})", "Write the final address; nothing is followed"
        )
    match status:
        case 401 | 403 | 407:
            return Verdict(
                "fix", f"it does not let us in ({what})", "Correct the user's name and the password"
            )
        case 402:
            return Verdict("fix", f"it wants money ({what})", "Top the account up")
        case 404 | 405 | 410:
            return Verdict(
                "fix", f"there is nothing at this address ({what})", "Correct the provider's address"
            )
        case 408 | 425 | 429 | 503:
            return Verdict("retry", f"it has no time for us ({what})")
    if status >= 500:
        return Verdict("unknown", f"it failed, perhaps after taking the message ({what})")
    return Verdict("refused", f"it does not want this message ({what})")


def _with(says: str, words: str) -> str:
    return f"{says} ({words})" if words else says


def _shown(text: str) -> str:
    """A stranger's words, fit for one line of a log."""
    plain = " ".join("".join(sign if sign.isprintable() else " " for sign in text[:1000]).split())
    return plain if len(plain) <= SHOWN_LIMIT else plain[: SHOWN_LIMIT - 1] + "…"
