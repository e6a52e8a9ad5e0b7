"""What may stand in a file of alerts/providers: an SMS provider as data, and what is wrong with one.

A file holds where a request goes, how it looks, and what the answers mean. It computes nothing: there are
only placeholders, each escaped for the place where it stands.

    {to}        the recipient, as `number` says: +996555000001 or 996555000001
    {digits}    the recipient without +
    {text}      the message
    {id}        our id of the message; a repetition has the same one
    {alphabet}  what `alphabet` says for this text
    {name}      a setting `name`, which the station's [sms.provider_settings] give

`{{` and `}}` are braces. A field, a header or a parameter is left out when all placeholders in its value are
empty, or its name is. The description of a key is also the remedy in an error message.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field

from drivers.datafile import BadFile, Mistake, content, parse

PROVIDERS = Path(__file__).parent / "providers"
OURS = ("to", "digits", "text", "id", "alphabet")
"""Placeholders that are not settings."""
PLACEHOLDER = re.compile(r"\{\{|\}\}|\{([a-z][a-z0-9_]*)\}")
XML_NAME = re.compile(r"@?[A-Za-z_][A-Za-z0-9_.-]{0,63}")
FILE_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")

Fields = dict[str, Any]
"""Names and what they hold: texts with placeholders, in JSON and XML also numbers, tables and lists."""


def _says(text: str, **limits: Any) -> Any:
    return Field(description=text, **limits)


_Text = Annotated[str, Field(min_length=1, max_length=500)]
_Names = Annotated[dict[str, str], Field(max_length=50)]
_Place = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=200)]],
    _says(
        'places in the answer, the first that is there counts: ["code", "messages.*.status"]', max_length=8
    ),
]
_Words = Annotated[list[Annotated[str, Field(min_length=1, max_length=200)]], Field(max_length=64)]
_AnswerFormat = Annotated[
    Literal["json", "xml", "text"], _says("what the answer's body is: json, xml or text")
]


class Part(BaseModel):
    """What all parts share: an unknown key is a mistake, and nothing changes once it is read."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Source(Part):
    """Where the facts come from."""

    document: Annotated[_Text, _says("the document's title, or the programs the facts are taken from")]
    revision: Annotated[_Text, _says('its revision or date, or "unknown"')]
    link: Annotated[str, _says("where it can be read", max_length=300)] = ""


class Setting(Part):
    """Something that the provider gives to its customer, or that the customer chooses."""

    says: Annotated[_Text, _says("what it is, and where one finds it")]
    kind: Annotated[
        Literal["text", "secret", "url"],
        _says("text, secret (only from a file or the environment, never shown) or url (where requests go)"),
    ] = "text"
    default: Annotated[
        str | None, _says("what counts when it is not given; without it, it must be given")
    ] = None


class Request(Part):
    """A request to the provider."""

    method: Annotated[Literal["GET", "POST"], _says("GET or POST")]
    url: Annotated[str, _says('"https://HOST/PATH"; {placeholders} are allowed', max_length=500)]
    query: Annotated[_Names, _says('what stands behind the ?: { to = "{to}" }')] = {}
    headers: Annotated[_Names, _says('headers: { Authorization = "Bearer {token}" }')] = {}
    basic: Annotated[
        list[str], _says('["{user}", "{password}"]: HTTP basic authentication', max_length=2)
    ] = []
    format: Annotated[
        Literal["none", "form", "json", "xml"], _says("what the body is: none, form, json or xml")
    ] = "none"
    root: Annotated[str, _says("the name of the outermost element, for xml", max_length=64)] = ""
    fields: Annotated[Fields, _says('what the body holds: { phone = "{to}", text = "{text}" }')] = {}


class Alphabet(Part):
    """What the provider wants to hear about the alphabet of a text."""

    gsm7: Annotated[str, _says("for a text in the GSM alphabet (160 characters a part)", max_length=40)]
    ucs2: Annotated[str, _says("for any other text (70 characters a part)", max_length=40)]


class Identity(Part):
    """How our id of a message may look."""

    longest: Annotated[int, _says("signs it may have: 8 to 64 (small letters and digits)", ge=8, le=64)] = 32


class Again(Part):
    """Only where the provider cuts duplicates by our id: ask again at once when the end is not known."""

    after_s: Annotated[float, _says("seconds to wait before, 1 to 60", ge=1, le=60)]
    times: Annotated[int, _says("how often, 1 to 5", ge=1, le=5)]


class Answer(Part):
    """Where in the answer's body it stands whether the message was taken."""

    format: _AnswerFormat
    status: Annotated[
        _Place,
        _says('where it says how it went: ["status"]; "messages.*.status" looks at all; none for text'),
    ] = []
    accepted: Annotated[
        _Words,
        _says(
            'what stands there when the message was taken: ["0"]; for text: how the answer begins',
            min_length=1,
        ),
    ]
    message: Annotated[_Place, _says("where the provider's own words about an error stand")] = []
    reference: Annotated[_Place, _says("where the provider's id of the message stands")] = []


class Code(Part):
    """What another answer means, and what helps."""

    status: Annotated[_Words, _says('what stands there: ["2"]; for text: how the answer begins')] = []
    http: Annotated[
        list[Annotated[int, Field(ge=300, le=599)]],
        _says("HTTP status numbers, 300 to 599, where the body says nothing that is listed", max_length=32),
    ] = []
    means: Annotated[
        Literal["retry", "fix", "refused", "unknown", "duplicate"],
        _says(
            "retry (later may go better), fix (a person must do something), refused (this message never "
            "goes), unknown (it may have gone) or duplicate (it already has a message with our id)"
        ),
    ]
    says: Annotated[_Text, _says("what it means, in a technician's words")]
    remedy: Annotated[str, _says("what helps, and who must do it", max_length=300)] = ""


class Balance(Part):
    """How to ask what money is left."""

    request: Annotated[Request, _says("[balance.request]: as in [request]")]
    format: _AnswerFormat
    amount: Annotated[_Place, _says("where the amount stands", min_length=1)]
    currency: Annotated[_Place, _says("where its currency stands")] = []
    unit: Annotated[str, _says("its currency, where the answer does not say it", max_length=20)] = ""
    status: Annotated[_Place, _says("where it says how it went")] = []
    accepted: Annotated[_Words, _says("what stands there when the amount counts")] = []


class Provider(Part):
    """A provider of SMS over HTTP."""

    name: Annotated[
        str,
        _says("the file's name: small letters, digits and -", pattern=r"^[a-z0-9][a-z0-9-]{0,63}$"),
    ]
    title: Annotated[_Text, _says("who it is, and what for")]
    verified: Annotated[_Text, _says("against what it was checked, and what was not checked")]
    source: Annotated[Source, _says('{ document = "…", revision = "…" }: no fact without source')]
    number: Annotated[
        Literal["+996555000001", "996555000001"],
        _says('how numbers are written: "+996555000001" or "996555000001"'),
    ] = "+996555000001"
    longest: Annotated[int, _says("characters a text may have, 70 to 2000", ge=70, le=2000)] = 1000
    alphabet: Annotated[Alphabet | None, _says('{ gsm7 = "text", ucs2 = "unicode" }')] = None
    id: Identity = Identity()
    again: Again | None = None
    settings: Annotated[
        dict[str, Setting], _says("[settings.NAME]: what station.toml must give", max_length=20)
    ] = {}
    request: Annotated[Request, _says("[request]: how a message is handed over")]
    answer: Annotated[Answer, _says("[answer]: where it stands whether it was taken")]
    codes: Annotated[list[Code], _says("[[code]]: what other answers mean", alias="code", max_length=64)] = []
    balance: Balance | None = None


class UnknownProvider(LookupError):
    """No file has this name."""


def load(file: Path) -> Provider:
    """Read and check a provider's file. Raises BadFile, which has one line for each mistake."""
    see = "a provider's file is short: see alerts/providers"
    provider = parse(file, content(file), Provider, see=see)
    mistakes = list(_wrong(provider))
    if provider.name != file.stem:
        what = f"{provider.name!r} is not the file's name"
        mistakes.append(("name", what, f"name the file {provider.name}.toml, or write {file.stem!r}"))
    if mistakes:
        raise BadFile.of(file, mistakes)
    return provider


def find(name: str, folders: tuple[Path, ...] = ()) -> Provider:
    """The provider of this name: of your own folders first. Raises UnknownProvider, BadFile."""
    for folder in (*folders, PROVIDERS):
        file = folder / f"{name}.toml"
        if FILE_NAME.fullmatch(name) and file.is_file():
            return load(file)
    raise UnknownProvider(f"no SMS provider {name[:64]!r}; there are: {', '.join(names(folders))}")


def names(folders: tuple[Path, ...] = ()) -> list[str]:
    """Every provider there is a file for."""
    return sorted({file.stem for folder in (*folders, PROVIDERS) for file in folder.glob("*.toml")})


def schema() -> dict[str, Any]:
    """The JSON Schema of a file, for editors. docs/schema/provider.schema.json is this."""
    made = Provider.model_json_schema()
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return {**head, **made, "title": "Suu-Aba SMS provider"}


def wrong_settings(provider: Provider, given: Mapping[str, str]) -> Iterator[Mistake]:
    """What is wrong with the settings that a station gives: key, what, remedy. Never shows what was given."""
    there = ", ".join(provider.settings) or "none"
    for name in given:
        if name not in provider.settings:
            yield name, f"{provider.name} has no such setting", f"there are: {there}"
    for name, setting in provider.settings.items():
        value = given.get(name, setting.default)
        if value is None:
            yield name, "is missing", setting.says
        elif any(not sign.isprintable() for sign in value):
            yield name, "has a control character or a line break in it", "write it as one line"
        elif setting.kind == "url" and (reason := wrong_url(value)):
            yield name, reason, setting.says


def wrong_url(url: str) -> str:
    """Why this is no address for requests; "" when it is one."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "is no address"
    if parts.scheme not in ("http", "https") or not host:
        return "is no address: it begins with https://HOST or http://HOST"
    if parts.username or parts.password:
        return "has a name or password in it"
    return ""


# ── what no single key shows ───────────────────────────────────────────────────────────────────────────────


def _wrong(p: Provider) -> Iterator[Mistake]:
    for name in p.settings:
        if not re.fullmatch(r"[a-z][a-z0-9_]{0,39}", name):
            yield f"settings.{name}", "is no name", "small letters, digits and _"
        if name in OURS:
            yield f"settings.{name}", "is the name of a placeholder of ours", "take another name"
    known = {*p.settings, *OURS} - ({"alphabet"} if p.alphabet is None else set())
    yield from _wrong_request("request", p.request, known, p)
    if p.balance:
        yield from _wrong_request("balance.request", p.balance.request, set(p.settings), p)
        if p.balance.status and not p.balance.accepted:
            yield "balance.accepted", "is missing", "say what stands at status when the amount counts"
    if p.answer.format != "text" and not p.answer.status:
        yield "answer.status", "is missing", "say where in the answer it stands how it went"
    if p.answer.format == "text" and (p.answer.status or p.answer.reference):
        yield "answer.status", "a text has no places", "leave status and reference out"
    for place in (*p.answer.status, *p.answer.message, *p.answer.reference, *p.answer.accepted):
        yield from _wrong_template("answer", place, set(p.settings))
    if p.again and "{id}" not in repr(p.request):
        yield "again", "the request has no {id}", "a provider cuts duplicates only by an id"
    for number, code in enumerate(p.codes, 1):
        if not code.status and not code.http:
            yield f"code {number}", "applies to nothing", "give status or http"
        if code.means in ("duplicate",) and "{id}" not in repr(p.request):
            yield f"code {number}.means", "the request has no {id}", "without an id there are no duplicates"


def _wrong_request(key: str, r: Request, known: set[str], p: Provider) -> Iterator[Mistake]:
    for text in (r.url, r.root, *r.query, *r.query.values(), *r.basic, *_texts(r.fields)):
        yield from _wrong_template(key, text, known)
    for text in (*r.headers, *r.headers.values()):
        yield from _wrong_template(f"{key}.headers", text, known - {"text"})  # a text may have any sign in it
    first = PLACEHOLDER.match(r.url)
    by_setting = first and first[1] in p.settings and p.settings[first[1]].kind == "url"
    if not by_setting and not r.url.startswith(("https://", "http://")):
        yield f"{key}.url", "does not say where to", 'begin with "https://HOST", or a setting of kind "url"'
    if r.basic and len(r.basic) != 2:
        yield f"{key}.basic", "is no pair", 'write ["{user}", "{password}"]'
    if r.format == "none" and r.fields:
        yield f"{key}.format", "is none, and there are fields", "write form, json or xml"
    if r.format != "none" and r.method == "GET":
        yield f"{key}.method", "GET has no body", "write POST, or put the fields into query"
    if (r.format == "xml") != bool(r.root):
        yield f"{key}.root", "is missing or too much", "xml, and only xml, has a root"
    if r.format == "form" and not all(isinstance(value, str) for value in r.fields.values()):
        yield f"{key}.fields", "a form holds texts only", 'write "1" for 1'
    if r.format == "xml":
        for name in (r.root, *_keys(r.fields)):
            if "{" not in name and not XML_NAME.fullmatch(name):
                yield f"{key}.fields", f"{name!r:.60} is no name of an element", "letters, digits, _ . -"


def _wrong_template(key: str, text: str, known: set[str]) -> Iterator[Mistake]:
    if "{" in PLACEHOLDER.sub("", text) or "}" in PLACEHOLDER.sub("", text):
        yield key, f"{text!r:.60} has a brace alone", "write {{ and }} for braces"
    for found in PLACEHOLDER.finditer(text):
        if found[1] and found[1] not in known:
            yield key, f"{{{found[1]}}} is nothing", f"there are: {', '.join(sorted(known))}"


def _texts(value: Any) -> Iterator[str]:
    """Every text in fields, names included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield name
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)


def _keys(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield name
            yield from _keys(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _keys(inner)
