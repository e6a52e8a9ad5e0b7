"""SMS by HTTP providers: what goes out, what the answers mean, and that nothing hangs, leaks or lies."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
import ssl
import threading
import time
import tomllib
import urllib.parse
import xml.etree.ElementTree as ET
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerts import provider
from alerts.alphabet import TextError
from alerts.cms import SmsError, SmsFix, SmsRefused, SmsRetry, SmsUnknown
from alerts.provider import Balance, Provider, of_url
from alerts.provider_answer import ANSWER_LIMIT, HttpAnswer, elements, judge
from alerts.provider_format import PROVIDERS, BadFile, UnknownProvider, load, wrong_settings
from alerts.provider_format import Provider as Form
from alerts.provider_request import make
from alerts.provider_wire import HANGING_LIMIT, Web
from tests.services import Asked, Reply, ScriptedWeb, make_certificates

SCHEMA = Path(__file__).parent.parent / "docs" / "schema" / "provider.schema.json"
SHIPPED = sorted(PROVIDERS.glob("*.toml"))
TO = "+996555000001"
KYRGYZ = "Суу: ылайлык 62 > 50 NTU. Өң ү"
HOSTILE = "a&b \"c\" 'd' <e>]]>&amp;{sender}{{}}%00%s\\n\n\r\t+=?#;\u0000\u000b\u2028\ufffe😀 Ң"

SETTINGS: dict[str, dict[str, str]] = {
    "twilio": {"account_sid": "AC1", "auth_token": "s3cret+/&", "sender": "+15550001"},
    "vonage": {"api_key": "key", "api_secret": "s3cret+/&", "sender": "SuuAba"},
    "nikita-smspro": {"login": "lo<gin", "password": "s3cret+/&", "sender": "SuuAba"},
    "kannel": {"url": "http://x", "username": "station", "password": "s3cret+/&"},
    "generic-form": {"url": "http://x", "token": "s3cret+/&", "accepted": "OK"},
    "generic-json": {"url": "http://x", "token": "s3cret+/&", "accepted": "ok", "status": "result.code"},
    "generic-xml": {"url": "http://x", "token": "s3cret+/&", "accepted": "0", "id_field": "id"},
}
GOOD = {
    "twilio": Reply(201, '{"sid":"SM7","status":"queued","error_code":null,"error_message":null}'),
    "vonage": Reply(200, '{"message-count":"1","messages":[{"status":"0","message-id":"0C0"}]}'),
    "nikita-smspro": Reply(
        200, '<?xml version="1.0"?><response xmlns="http://Giper.mobi/schema/Message"><id>a</id>'
        "<status>0</status><phones>1</phones><smscnt>1</smscnt><message></message></response>"
    ),
    "kannel": Reply(202, "0: Accepted for delivery"),
    "generic-form": Reply(200, "OK 17\n"),
    "generic-json": Reply(200, '{"result": {"code": "ok"}}'),
    "generic-xml": Reply(200, "<r><status>0</status></r>"),
}  # fmt: skip
TAKEN = {"twilio": ("SM7",), "vonage": ("0C0",)}


def at(name: str, web: ScriptedWeb, **more: Any) -> Provider:
    """The shipped provider, but at the scripted server."""
    form = provider.find(name)
    given = SETTINGS[name] | ({"url": f"{web.url}/send"} if "url" in form.settings else {})
    return Provider(moved(form, web.url), given | more.pop("settings", {}), **more)


def moved(form: Form, url: str) -> Form:
    """A copy whose requests go to another server; it is never asked to wait long before it asks again."""

    def there(request: Any) -> Any:
        for host in ("https://api.twilio.com", "https://rest.nexmo.com", "https://smspro.nikita.kg"):
            request = request.model_copy(update={"url": request.url.replace(host, url)})
        return request

    balance = form.balance and form.balance.model_copy(update={"request": there(form.balance.request)})
    again = form.again and form.again.model_copy(update={"after_s": 0.01})
    return form.model_copy(update={"request": there(form.request), "balance": balance, "again": again})


def send(path: Provider, text: str = "pH 4.1 < 6.5", **more: Any) -> Any:
    return asyncio.run(path.send(TO, text, reference=7, **more))


def failing(path: Provider, **more: Any) -> SmsError:
    with pytest.raises(SmsError) as e:
        send(path, **more)
    return e.value


# ── what comes with the product ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_a_shipped_file_loads_and_keeps_to_the_published_schema(file: Path) -> None:
    form = load(file)
    assert form.name == file.stem
    assert form.name in SETTINGS, "a new provider needs its rows in this file"
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    jsonschema.validate(tomllib.loads(file.read_text(encoding="utf-8")), schema)
    assert not list(wrong_settings(form, SETTINGS[form.name]))


def test_the_published_schema_is_the_code_s() -> None:
    made = json.dumps(provider.schema(), indent=1, ensure_ascii=False) + "\n"
    assert SCHEMA.read_text(encoding="utf-8") == made, (
        "write it anew: python -c 'import json; from alerts import provider; "
        "print(json.dumps(provider.schema(), indent=1, ensure_ascii=False))' > "
        "docs/schema/provider.schema.json"
    )


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_every_shipped_request_goes_by_tls_or_where_the_owner_says(file: Path) -> None:
    form = load(file)
    urls = [form.request.url, *([form.balance.request.url] if form.balance else [])]
    assert all(url.startswith(("https://", "{url}")) for url in urls)


def test_the_example_in_the_readme_is_a_provider(tmp_path: Path) -> None:
    text = (PROVIDERS / "README.md").read_text(encoding="utf-8")
    block = text[text.index('    name = "example"') :].partition("\nEvery value")[0]
    (tmp_path / "example.toml").write_text(block.replace("\n    ", "\n").strip(), encoding="utf-8")
    assert load(tmp_path / "example.toml").codes[0].remedy == "Top the account up"


def test_the_readme_names_every_provider() -> None:
    text = (PROVIDERS / "README.md").read_text(encoding="utf-8")
    assert [file.stem for file in SHIPPED if f"`{file.stem}`" not in text] == []


def test_own_files_go_first_and_unknown_names_are_named(tmp_path: Path) -> None:
    text = (PROVIDERS / "kannel.toml").read_text(encoding="utf-8")
    (tmp_path / "kannel.toml").write_text(text.replace('title = "Kannel', 'title = "Ours'), encoding="utf-8")
    assert provider.find("kannel", (tmp_path,)).title.startswith("Ours")
    for name in ("kanel", "../kannel", "", "kannel.toml", "a" * 300):
        with pytest.raises(UnknownProvider, match="there are: generic-form, generic-json"):
            provider.find(name)


# ── mistakes ────────────────────────────────────────────────────────────────────────────────────────────────

HEAD = """name = "it"
title = "It"
verified = "not"
source = { document = "d", revision = "r" }
"""
REQUEST = '[request]\nmethod = "GET"\nurl = "https://h/s"\nquery = { to = "{to}", text = "{text}" }\n'
ANSWER = '[answer]\nformat = "text"\naccepted = ["OK"]\n'
IT = HEAD + REQUEST + ANSWER


def it(old: str, new: str) -> str:
    assert old in IT
    return IT.replace(old, new)


MISTAKES = [
    ("", "it.toml: name: is missing; the file's name"),
    ("name = ", "it.toml: is not TOML"),
    ("#" * 70000, "has more than 65536 bytes"),
    (it('"it"', '"other"'), "name: 'other' is not the file's name; name the file other.toml"),
    (it("source =", "sauce ="), "sauce: no such key; did you mean source?"),
    (it('revision = "r"', 'revsion = "r"'), "source.revsion: no such key; did you mean revision?"),
    (it("verified", "number = 7\nverified"), "number: 7 cannot be used; how numbers are written"),
    (it('"GET"', '"PUT"'), "request.method: 'PUT' cannot be used; GET or POST"),
    (it('"https://h/s"', '"ftp://h/s"'), "request.url: does not say where to; begin with"),
    (it('"https://h/s"', '"{to}/s"'), "request.url: does not say where to"),
    (it("{to}", "{too}"), "request: {too} is nothing; there are: digits, id, text, to"),
    (it("{to}", "{to"), "request: '{to' has a brace alone; write {{ and }}"),
    (it("{to}", "{alphabet}"), "request: {alphabet} is nothing"),
    (it('method = "GET"', 'method = "GET"\nbasic = ["a"]'), "request.basic: is no pair"),
    (it('method = "GET"', 'method = "GET"\nheaders = { x = "{text}" }'), "headers: {text} is nothing"),
    (it('method = "GET"', 'method = "GET"\nformat = "form"'), "request.method: GET has no body"),
    (it('"GET"', '"POST"\nfields = { a = "b" }'), "request.format: is none, and there are fields"),
    (it('"GET"', '"POST"\nformat = "xml"'), "request.root: is missing or too much"),
    (it('"GET"', '"POST"\nformat = "form"\nfields = { a = 1 }'), "request.fields: a form holds texts only"),
    (it('"GET"', '"POST"\nformat = "xml"\nroot = "a b"'), "request.fields: 'a b' is no name of an element"),
    (it('"GET"', '"POST"\nformat = "xml"\nroot = "a"\nfields = { "1" = "b" }'), "'1' is no name of"),
    (it('accepted = ["OK"]', ""), "answer.accepted: is missing; what stands there when"),
    (it('accepted = ["OK"]', "accepted = []"), "answer.accepted: cannot be used"),
    (it('"text"\nacc', '"json"\nacc'), "answer.status: is missing; say where"),
    (IT + 'status = ["a"]\n', "answer.status: a text has no places"),
    (IT + '[[code]]\nmeans = "fix"\nsays = "x"\n', "code 1: applies to nothing; give status or http"),
    (IT + '[[code]]\nhttp = [200]\nmeans = "fix"\nsays = "x"\n', "code 1.http 1: 200 cannot be used"),
    (IT + '[[code]]\nhttp = [400]\nmeans = "fixed"\nsays = "x"\n', "code 1.means: 'fixed' cannot be used"),
    (IT + '[[code]]\nstatus = ["1"]\nmeans = "duplicate"\nsays = "x"\n', "code 1.means: the request has"),
    (HEAD + "again = { after_s = 5.0, times = 1 }\n" + REQUEST + ANSWER, "again: the request has no {id}"),
    (IT + '[settings.Url]\nsays = "x"\n', "settings.Url: is no name"),
    (IT + '[settings.text]\nsays = "x"\n', "settings.text: is the name of a placeholder of ours"),
    (IT + '[settings.a]\nkind = "password"\nsays = "x"\n', "settings.a.kind: 'password' cannot be used"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "says"), MISTAKES, ids=range(len(MISTAKES)))
def test_a_mistake_is_one_line_with_file_key_and_remedy(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "it.toml").write_text(text, encoding="utf-8")
    with pytest.raises(BadFile) as e:
        load(tmp_path / "it.toml")
    assert says in str(e.value)
    assert str(tmp_path / "it.toml") in str(e.value)
    assert all("\n" not in line and len(line) < 700 for line in e.value.lines)


def test_the_file_without_mistakes_has_none(tmp_path: Path) -> None:
    (tmp_path / "it.toml").write_text(IT, encoding="utf-8")
    assert load(tmp_path / "it.toml").name == "it"


def test_settings_are_checked_by_name_and_never_shown() -> None:
    form = provider.find("kannel")
    given = {"url": "ftp://hunter2", "usename": "hunter2", "password": "hunter2\n"}
    lines = list(wrong_settings(form, given))
    assert [(key, what) for key, what, _ in lines] == [
        ("usename", "kannel has no such setting"),
        ("url", "is no address: it begins with https://HOST or http://HOST"),
        ("username", "is missing"),
        ("password", "has a control character or a line break in it"),
    ]
    assert lines[0][2] == "there are: url, username, password, sender, smsc"
    assert "hunter2" not in str(lines)
    with pytest.raises(ValueError, match=r"^usename: kannel has no such setting") as e:
        Provider(form, given)
    assert "hunter2" not in str(e.value)


# ── what goes out ───────────────────────────────────────────────────────────────────────────────────────────


def fields_of(asked: Asked) -> dict[str, str]:
    query = urllib.parse.urlsplit(asked.line.split()[1]).query
    return dict(
        urllib.parse.parse_qsl(query or asked.body.decode(), keep_blank_values=True, strict_parsing=True)
    )


def test_what_each_provider_is_sent(web: ScriptedWeb) -> None:
    """Literally, for one message; the values are checked for every text below."""
    for name in SETTINGS:
        web.script.append(GOOD[name])
        taken = send(at(name, web), message_id="m")
        assert taken.references == TAKEN.get(name, taken.references)
    twilio = web.asked[list(SETTINGS).index("twilio")]
    assert twilio.line == "POST /2010-04-01/Accounts/AC1/Messages.json HTTP/1.1"
    assert twilio.headers["authorization"] == "Basic QUMxOnMzY3JldCsvJg=="
    assert twilio.headers["content-type"] == "application/x-www-form-urlencoded"
    assert twilio.body == b"To=%2B996555000001&From=%2B15550001&Body=pH+4.1+%3C+6.5&ValidityPeriod=14400"
    vonage = fields_of(web.asked[list(SETTINGS).index("vonage")])
    assert len(vonage.pop("client-ref")) == 32
    assert vonage == {
        "from": "SuuAba", "to": "996555000001", "text": "pH 4.1 < 6.5", "type": "text", "ttl": "14400000",
    }  # fmt: skip
    nikita = web.asked[list(SETTINGS).index("nikita-smspro")]
    assert nikita.line == "POST /api/message HTTP/1.1"
    message = ET.fromstring(nikita.body)  # noqa: S314  our own
    assert message.tag == "message"
    assert [child.tag for child in message] == ["login", "pwd", "id", "sender", "text", "phones"]
    assert message.findtext("phones/phone") == "996555000001"
    assert message.findtext("login") == "lo<gin"
    our_id = message.findtext("id") or ""
    assert len(our_id) == 12
    assert our_id.isascii()
    assert our_id.isalnum()
    kannel = web.asked[list(SETTINGS).index("kannel")]
    assert kannel.line == (
        "GET /send/cgi-bin/sendsms?username=station&password=s3cret%2B%2F%26&to=%2B996555000001"
        "&text=pH+4.1+%3C+6.5&charset=UTF-8&coding=0 HTTP/1.1"
    )
    form = web.asked[list(SETTINGS).index("generic-form")]
    assert form.headers["authorization"] == "Bearer s3cret+/&"
    assert form.body == b"to=996555000001&text=pH+4.1+%3C+6.5"
    assert web.asked[list(SETTINGS).index("generic-json")].body == (
        b'{"to": "996555000001", "text": "pH 4.1 < 6.5"}'
    )
    xml = web.asked[list(SETTINGS).index("generic-xml")].body.decode()
    assert xml.startswith(
        '<?xml version="1.0" encoding="UTF-8"?>\n<message><to>996555000001</to><text>pH 4.1 &lt;'
    )


def test_an_optional_header_is_left_out_when_there_is_nothing_to_say(web: ScriptedWeb) -> None:
    web.script.append(GOOD["generic-form"])
    send(at("generic-form", web, settings={"token": ""}))
    assert "authorization" not in web.asked[0].headers


@pytest.mark.parametrize(
    ("text", "coding", "kind"), [("Hello [pH] 4.1", "0", "text"), (KYRGYZ, "2", "unicode")]
)
def test_the_provider_hears_of_the_alphabet(web: ScriptedWeb, text: str, coding: str, kind: str) -> None:
    web.script += [GOOD["kannel"], GOOD["vonage"]]
    send(at("kannel", web), text)
    send(at("vonage", web), text)
    assert fields_of(web.asked[0])["coding"] == coding
    assert fields_of(web.asked[1])["type"] == kind


def seen(name: str, form: Form, text: str) -> str:
    """The text as the other side reads it in the request."""
    values = {key: setting.default or "" for key, setting in form.settings.items()} | SETTINGS[name]
    values |= {"to": "1", "digits": "1", "id": "i", "alphabet": "a", "text": text}
    request = make(form.request, values)
    if form.request.format == "json":
        return str(json.loads(request.body or b"")["text"])
    if form.request.format == "xml":
        return str(ET.fromstring(request.body or b"").findtext("text") or "")  # noqa: S314  our own
    body = request.body.decode() if request.body else urllib.parse.urlsplit(request.url).query
    fields = dict(urllib.parse.parse_qsl(body, keep_blank_values=True, strict_parsing=True))
    return fields.get("text") or fields.get("Body") or ""


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize(
    "text", [HOSTILE, KYRGYZ, "</text><text>x", "{to}{auth_token}{", "]]>", "\r\n", "&#13;"]
)
def test_a_hostile_text_arrives_as_it_is(name: str, text: str) -> None:
    expected = text
    if provider.find(name).request.format == "xml":  # XML has no way to write these three
        expected = text.replace("\u0000", " ").replace("\u000b", " ").replace("\ufffe", " ")
    assert seen(name, provider.find(name), text) == expected


_any_text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60)


@settings(max_examples=120, deadline=None, derandomize=True)
@given(
    text=_any_text, name=st.sampled_from([n for n in SETTINGS if provider.find(n).request.format != "xml"])
)
def test_any_text_arrives_as_it_is(text: str, name: str) -> None:
    assert seen(name, provider.find(name), text) == text


@settings(max_examples=120, deadline=None, derandomize=True)
@given(text=_any_text, secret=_any_text)
def test_no_text_and_no_secret_breaks_the_xml(text: str, secret: str) -> None:
    form = provider.find("nikita-smspro")
    values = SETTINGS["nikita-smspro"] | {"password": secret, "test": "", "to": "1", "id": "i", "text": text}
    message = ET.fromstring(make(form.request, values).body or b"")  # noqa: S314  our own
    assert [child.tag for child in message] == ["login", "pwd", "id", "sender", "text", "phones"]


def test_what_cannot_be_sent_is_said_before_anything_goes_out(web: ScriptedWeb) -> None:
    path = at("nikita-smspro", web)
    for number in (
        "0555000001",
        "996555000001",
        "+996",
        "+99655500000a",
        "",
        "+996555000001\n",
        "+٩٩٦٥٥٥٠٠٠٠٠١",
    ):
        with pytest.raises(SmsRefused, match="no international number"):
            asyncio.run(path.send(number, "x", reference=0))
    with pytest.raises(SmsRefused, match="the text has 801 characters, nikita-smspro takes 800"):
        send(path, "x" * 801)
    with pytest.raises(TextError):
        send(path, "half \ud800")
    latin = at("generic-form", web, settings={"token": "слово"})
    assert "a header can only hold Latin letters" in str(failing(latin))
    broken = at("generic-xml", web, settings={"root": "a b"})
    assert isinstance(failing(broken), SmsFix)
    assert web.asked == []


# ── what the answers mean ───────────────────────────────────────────────────────────────────────────────────


def nikita(status: int | str, words: str = "") -> Reply:
    body = f"<response><id>x</id><status>{status}</status><message>{words}</message></response>"
    return Reply(200, body)


def vonage(*statuses: str, words: str = "") -> Reply:
    parts = [{"status": s} | ({"message-id": "i"} if s == "0" else {"error-text": words}) for s in statuses]
    return Reply(200, json.dumps({"message-count": str(len(parts)), "messages": parts}))


def twilio(http: int, code: int, words: str = "w") -> Reply:
    return Reply(http, json.dumps({"code": code, "message": words, "more_info": "…", "status": http}))


ANSWERS: list[tuple[str, Reply, type[SmsError], str]] = [
    ("nikita-smspro", nikita(1), SmsRefused, "finds a mistake in the request"),
    ("nikita-smspro", nikita(2, "bad auth"), SmsFix, "wrong login or password (bad auth). Correct login"),
    ("nikita-smspro", nikita(3), SmsFix, "IP address are not allowed. Ask the administrator"),
    ("nikita-smspro", nikita(4), SmsFix, "there is no money on the account. Top the account up"),
    ("nikita-smspro", nikita(5), SmsFix, "the sender's name is not approved"),
    ("nikita-smspro", nikita(6), SmsRefused, "a word in the text is on its stop list"),
    ("nikita-smspro", nikita(7), SmsRefused, "it calls the number wrong"),
    ("nikita-smspro", nikita(8), SmsRefused, "it calls the time wrong"),
    ("nikita-smspro", nikita(11), SmsFix, "test mode: checked, and not sent"),
    ("nikita-smspro", nikita(12, "new"), SmsRetry, "says 12, which its file does not list (new)"),
    ("nikita-smspro", nikita(""), SmsUnknown, "its answer is not understood"),
    ("vonage", vonage("1", words="Throttled"), SmsRetry, "too many messages at once (Throttled)"),
    ("vonage", vonage("2"), SmsRefused, "cannot process"),
    ("vonage", vonage("3"), SmsRefused, "cannot process"),
    ("vonage", vonage("4", words="Bad Credentials"), SmsFix, "wrong API key or secret (Bad Credentials)"),
    ("vonage", vonage("5"), SmsRetry, "an error in its platform"),
    ("vonage", vonage("6"), SmsRefused, "cannot process"),
    ("vonage", vonage("7"), SmsRefused, "barred or not in use"),
    ("vonage", vonage("8"), SmsFix, "the account is barred"),
    ("vonage", vonage("9"), SmsFix, "no money"),
    ("vonage", vonage("12"), SmsRefused, "cannot process"),
    ("vonage", vonage("15"), SmsFix, "the sender is not allowed"),
    ("vonage", vonage("29"), SmsFix, "a trial account"),
    ("vonage", vonage("99"), SmsRetry, "says 99, which its file does not list"),
    ("vonage", vonage("0", "0", "9"), SmsUnknown, "only some of 3 parts were taken"),
    ("vonage", vonage("9", "0"), SmsUnknown, "only some of 2 parts were taken"),
    ("vonage", Reply(200, '{"message-count":"0","messages":[]}'), SmsUnknown, "its answer is not understood"),
    ("twilio", twilio(401, 20003, "Authenticate"), SmsFix, "wrong Account SID or Auth Token (Authenticate)"),
    ("twilio", twilio(404, 20404), SmsFix, "wrong Account SID"),
    ("twilio", twilio(429, 20429), SmsRetry, "too many messages at once"),
    ("twilio", twilio(400, 21211), SmsRefused, "it cannot send to this number"),
    ("twilio", twilio(400, 21408), SmsFix, "may not send to this country"),
    ("twilio", twilio(400, 21606), SmsFix, "the sender is not one of this account's"),
    ("twilio", twilio(400, 21608), SmsFix, "a trial account sends to verified numbers only"),
    ("twilio", twilio(400, 21610), SmsRefused, "blocked messages from this sender"),
    ("twilio", twilio(400, 21611), SmsRetry, "too many messages at once"),
    ("twilio", twilio(400, 21617), SmsRefused, "too long, or empty"),
    ("twilio", twilio(400, 29999), SmsRetry, "says 29999, which its file does not list (w)"),
    ("twilio", Reply(201, '{"sid":"SM","status":"failed","error_code":30004}'), SmsRefused, "blocked"),
    ("twilio", Reply(201, '{"sid":"SM","status":"failed","error_code":null}'), SmsRefused, "could not send"),
    ("kannel", Reply(403, "Authorization failed for sendsms"), SmsFix, "wrong user name or password"),
    ("kannel", Reply(404, "Unknown request."), SmsFix, "there is no sendsms at this address"),
    ("kannel", Reply(400, "Sender missing and no global set, rejected"), SmsFix, "it has no sender"),
    ("kannel", Reply(400, "Number(s) has/have been denied by black-lists."), SmsRefused, "this number"),
    ("kannel", Reply(503, "Temporal failure, try again later."), SmsRetry, "temporary failure in Kannel"),
    ("kannel", Reply(400, "Coding field misformed, rejected"), SmsRefused, "HTTP 400 (Coding field"),
    ("kannel", Reply(200, "<html>Log in to this hotel's network"), SmsUnknown, "not understood"),
    ("generic-form", Reply(200, "ERROR 5\nmore"), SmsUnknown, "not understood (ERROR 5)"),
    ("generic-json", Reply(200, '{"result": {"code": "err"}, "message": "no"}'), SmsRetry, "says err"),
    ("generic-xml", Reply(200, "<r><status>7</status><message>no</message></r>"), SmsRetry, "says 7"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "reply", "kind", "says"), ANSWERS, ids=range(len(ANSWERS)))
def test_an_answer_is_the_right_error(
    web: ScriptedWeb, name: str, reply: Reply, kind: type[SmsError], says: str
) -> None:
    web.otherwise = reply
    error = failing(at(name, web))
    assert type(error) is kind
    assert says in str(error)
    assert str(error).startswith(name + ": ")
    assert "s3cret" not in str(error)


HTTP = [
    (301, SmsFix, "it sends us elsewhere"), (307, SmsFix, "nothing is followed"),
    (400, SmsRefused, "does not want"),
    (401, SmsFix, "does not let us in"), (402, SmsFix, "wants money"), (403, SmsFix, "does not let us in"),
    (404, SmsFix, "nothing at this address"), (408, SmsRetry, "no time"), (413, SmsRefused, "does not want"),
    (429, SmsRetry, ""), (500, SmsUnknown, "it failed, perhaps after taking the message (HTTP 500"),
    (502, SmsUnknown, "it failed"), (503, SmsRetry, "no time"), (504, SmsUnknown, "it failed"),
    (200, SmsUnknown, "not understood"), (204, SmsUnknown, "not understood"),
]  # fmt: skip


@pytest.mark.parametrize(("status", "kind", "says"), HTTP)
@pytest.mark.parametrize("name", ["twilio", "vonage", "nikita-smspro", "generic-json", "generic-xml"])
def test_an_http_status_means_the_same_everywhere(
    web: ScriptedWeb, name: str, status: int, kind: type[SmsError], says: str
) -> None:
    where = {"Location": "http://evil.example/steal?password=1"} if status in (301, 307) else {}
    web.otherwise = Reply(status, "" if status == 204 else "<html>oh</html>", where)
    error = failing(at(name, web))
    assert type(error) is kind or (name == "vonage" and status == 401)
    assert says in str(error) or (name == "vonage" and status == 401)
    asked = len(web.asked)
    assert asked == (3 if kind is SmsUnknown and name == "nikita-smspro" else 1), "redirects are not followed"
    assert "steal" not in str(error)


def test_http_200_alone_never_means_taken(web: ScriptedWeb) -> None:
    for name in SETTINGS:
        for body in (
            "",
            "<html></html>",
            "{}",
            "[]",
            "null",
            "<a/>",
            "<a></b>",
            '{"status": {}}',
            "\x00",
            "0",
            "1",
        ):
            web.script = []
            web.otherwise = Reply(200, body)
            assert isinstance(failing(at(name, web)), SmsError), (name, body)


def test_taken_by_the_body_but_with_an_http_error_is_not_taken(web: ScriptedWeb) -> None:
    for name, good in GOOD.items():
        web.otherwise = Reply(500, good.body)
        assert type(failing(at(name, web))) is SmsUnknown, name


HOSTILE_ANSWERS = [
    '<!DOCTYPE r [<!ENTITY a "0">]><response><status>&a;</status></response>',
    '<!DOCTYPE r [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;">]><r><status>&b;</status></r>',
    '<!DOCTYPE r SYSTEM "http://127.0.0.1:1/x.dtd"><response><status>0</status></response>',
    '<!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/passwd">]><r><status>0</status><message>&x;</message></r>',
    "<a>" * 20000,
    "<a>" * 20 + "<status>0</status>" + "</a>" * 20,
    "<response><status>0</status>",
    '<?xml version="1.0" encoding="klingon"?><response><status>0</status></response>',
    "<response><status>0",
    "<response><sta\x00tus>0</status></response>",
    "[" * 60000,
    '{"status": ' * 9000,
    '{"result": {"code": "ok"}',
    '{"result": {"code": "ok"}} trailing',
    '{"result": {"code": ' + "9" * 5000 + "}}",
    '{"result": {"code": NaN}}',
    '{"result": [[[[{"code": "ok"}]]]]}',
    '{"messages": ' + json.dumps([{"status": "1"}] * 3000) + "}",
]  # fmt: skip


@pytest.mark.parametrize("body", HOSTILE_ANSWERS, ids=range(len(HOSTILE_ANSWERS)))
@pytest.mark.parametrize("name", ["nikita-smspro", "generic-json", "vonage"])
def test_a_hostile_answer_is_an_error_and_soon(web: ScriptedWeb, name: str, body: str) -> None:
    web.otherwise = Reply(200, body)
    error = failing(at(name, web))
    assert len(str(error)) < 600
    assert "root:" not in str(error)


def test_an_entity_is_refused_before_it_is_declared() -> None:
    assert elements(b"<r><status>0</status></r>") == [(("status",), "0"), ((), "")]
    assert elements(b'<!DOCTYPE r [<!ENTITY a "0">]><r><status>&a;</status></r>') is None
    assert elements(b"<r>" * 20 + b"</r>" * 20) is not None
    assert elements(b"<r>" * 21 + b"</r>" * 21) is None
    bomb = b"".join(b'<!ENTITY e%d "%s">' % (i, b"&e%d;" % (i - 1) * 50) for i in range(1, 30))
    began_s = time.monotonic()
    assert elements(b'<!DOCTYPE r [<!ENTITY e0 "ha">' + bomb + b"]><r>&e29;</r>") is None
    assert time.monotonic() - began_s < 5


@settings(max_examples=150, deadline=None, derandomize=True)
@given(body=st.binary(max_size=200), status=st.integers(100, 599), name=st.sampled_from(sorted(SETTINGS)))
def test_whatever_comes_it_is_judged_and_never_taken(body: bytes, status: int, name: str) -> None:
    form = provider.find(name)
    values = {key: setting.default or "" for key, setting in form.settings.items()} | SETTINGS[name]
    verdict = judge(HttpAnswer(status, body), form.answer, form.codes, values)
    assert verdict.means != "accepted" or body.startswith((b"OK", b"0: Acc", b"3: Que"))
    assert verdict.means == "accepted" or verdict.says


def test_an_answer_that_is_not_whole_is_not_read_even_if_it_could_be() -> None:
    form = provider.find("nikita-smspro")
    body = b"<response><status>0</status></response>"
    for whole, means in ((True, "accepted"), (False, "unknown")):
        assert judge(HttpAnswer(200, body, whole), form.answer, form.codes, {}).means == means


def test_a_huge_answer_is_read_up_to_a_limit(web: ScriptedWeb) -> None:
    web.otherwise = Reply(200, "<response><status>0</status>" + " " * (64 * ANSWER_LIMIT) + "</response>")
    assert "cut, or too long" in str(failing(at("nikita-smspro", web)))
    web.otherwise = Reply(202, "0: Accepted for delivery" + "\n" * (64 * ANSWER_LIMIT))
    assert send(at("kannel", web)).references


def test_a_cut_answer_leaves_the_end_open(web: ScriptedWeb) -> None:
    for name, good in GOOD.items():
        web.otherwise = Reply(good.status, good.body + " " * 200, cut=True)
        assert type(failing(at(name, web))) is SmsUnknown, name


def test_an_answer_that_shows_the_secret_does_not_get_it_into_the_error(web: ScriptedWeb) -> None:
    web.otherwise = Reply(
        200, "<r><status>2</status><message>login lo&lt;gin with s3cret+/&amp; failed</message></r>"
    )
    said = str(failing(at("nikita-smspro", web)))
    assert "s3cret" not in said
    assert "with … failed" in said


def test_a_secret_is_taken_out_before_a_long_answer_is_cut_and_however_it_is_written(
    web: ScriptedWeb,
) -> None:
    for secret in ("s3cret+/&", "s3cret%2B%2F%26"):
        for before in range(100, 125):
            web.otherwise = Reply(400, "x" * before + secret + " is what you sent")
            assert "s3c" not in str(failing(at("kannel", web)))


# ── the same id again ───────────────────────────────────────────────────────────────────────────────────────


def ids(web: ScriptedWeb) -> list[str]:
    return [ET.fromstring(asked.body).findtext("id") or "" for asked in web.asked]  # noqa: S314  our own


def test_a_message_with_an_unknown_end_is_asked_for_again_with_the_same_id(web: ScriptedWeb) -> None:
    web.script = [nikita(9), Reply(500), nikita(0)]
    assert send(at("nikita-smspro", web), message_id="m").references == (ids(web)[0],)
    assert len(set(ids(web))) == 1
    assert len(ids(web)) == 3


def test_a_repeated_id_after_an_unknown_end_means_that_it_was_taken(web: ScriptedWeb) -> None:
    web.script = [Reply(cut=True, status=200, body="<response>"), nikita(10)]
    assert send(at("nikita-smspro", web)).references == (ids(web)[0],)


def test_the_end_stays_unknown_when_nothing_better_is_heard(web: ScriptedWeb) -> None:
    web.otherwise = nikita(9)
    path = at("nikita-smspro", web)
    assert type(failing(path, message_id="m")) is SmsUnknown
    assert len(web.asked) == 3
    web.otherwise = nikita(10)  # the owner's repetition: the same id, so the first one was taken
    assert send(path, message_id="m")
    assert len(set(ids(web))) == 1


def test_a_failure_after_an_unknown_end_counts_only_if_the_body_says_it(web: ScriptedWeb) -> None:
    web.script = [nikita(9), Reply(503), Reply(403)]
    assert type(failing(at("nikita-smspro", web))) is SmsUnknown
    web.script = [nikita(9), nikita(4)]
    assert type(failing(at("nikita-smspro", web))) is SmsFix


def test_after_a_certain_failure_the_id_is_new(web: ScriptedWeb) -> None:
    path = at("nikita-smspro", web)
    web.script = [nikita(4), nikita(0)]
    failing(path, message_id="m")
    send(path, message_id="m")
    assert len(set(ids(web))) == 2


def test_an_id_that_only_the_provider_knows_is_replaced_once(web: ScriptedWeb) -> None:
    """After a restart nobody can tell whether that message went: it goes again, and its text says so."""
    web.script = [nikita(10), nikita(0)]
    assert send(at("nikita-smspro", web), message_id="m").references == (ids(web)[1],)
    web.asked.clear()
    web.otherwise = nikita(10)
    assert type(failing(at("nikita-smspro", web), message_id="m")) is SmsUnknown
    assert len(web.asked) < 6


def test_ids_differ_by_message_reference_and_station_and_are_the_same_after_a_restart(
    web: ScriptedWeb,
) -> None:
    web.otherwise = nikita(0)
    for station, message_id in [("a", "m"), ("a", "m"), ("b", "m"), ("a", "n"), ("a", ""), ("a", "")]:
        send(at("nikita-smspro", web, station=station), message_id=message_id)
    asyncio.run(at("nikita-smspro", web, station="a").send(TO, "x", reference=8, message_id="m"))
    first, again, *others = ids(web)
    assert first == again
    assert len({first, *others}) == 6


def test_providers_that_do_not_cut_duplicates_are_asked_once(web: ScriptedWeb) -> None:
    for name in ("twilio", "vonage", "kannel"):
        web.asked.clear()
        web.otherwise = Reply(500)
        assert type(failing(at(name, web))) is SmsUnknown
        assert len(web.asked) == 1


def test_an_unlisted_code_is_tried_a_few_times_only(web: ScriptedWeb) -> None:
    web.script = [nikita(77), nikita(4)]
    error = failing(at("nikita-smspro", web))
    assert isinstance(error, SmsRetry)
    assert error.tries == 3


# ── the wire ────────────────────────────────────────────────────────────────────────────────────────────────


@contextlib.contextmanager
def raw_server(serve: Callable[[socket.socket], None], tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """A server that does what the test says with each connection."""
    listening = socket.create_server(("127.0.0.1", 0))
    ending = threading.Event()
    threads: list[threading.Thread] = []
    connections: list[socket.socket] = []

    def one(connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            if tls:
                connection = tls.wrap_socket(connection, server_side=True)
            serve(connection)
        with contextlib.suppress(OSError):
            connection.close()

    def accept() -> None:
        while not ending.is_set():
            with contextlib.suppress(OSError):
                connection, _ = listening.accept()
                connections.append(connection)
                threads.append(threading.Thread(target=one, args=(connection,), daemon=True))
                threads[-1].start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield int(listening.getsockname()[1])
    finally:
        ending.set()
        with contextlib.suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.close()
        for each in (thread, *threads):
            each.join(10)


def kannel_at(port: int, scheme: str = "http", **web: Any) -> Provider:
    url = {"url": f"{scheme}://127.0.0.1:{port}"}
    return Provider(provider.find("kannel"), SETTINGS["kannel"] | url, web=Web(**web))


def no_thread_is_left() -> bool:
    return not any(thread.name == "sms-provider" for thread in threading.enumerate())


def until(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def measured(work: Coroutine[Any, Any, Any]) -> tuple[Any, int]:
    """Run it beside a task that counts; give what it raised, and how often the loop came by meanwhile."""

    async def run() -> tuple[Any, int]:
        ticks = 0

        async def count() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0.01)
                ticks += 1

        counting = asyncio.create_task(count())
        try:
            result: Any = await work
        except SmsError as e:
            result = e
        counting.cancel()
        return result, ticks

    return asyncio.run(run())


def test_a_server_that_hangs_leaves_the_end_open_and_the_loop_free(web: ScriptedWeb) -> None:
    web.otherwise = Reply(hang_s=60)
    path = kannel_at(web.port, answer_s=0.4)
    error, ticks = measured(path.send(TO, "x", reference=0))
    assert type(error) is SmsUnknown
    assert "no answer within 0.4 s" in str(error)
    assert ticks > 3
    until(no_thread_is_left)  # its socket was shut, so the thread is gone long before the server is


@pytest.mark.parametrize(
    "sent", [b"HTTP/1.1 202 OK\r\nX: ", b"HTTP/1.1 202 OK\r\nContent-Length: 500\r\n\r\n0: Acc"]
)
def test_a_server_that_dribbles_for_ever_is_given_up(sent: bytes) -> None:
    def dribble(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(sent)
        while True:
            connection.sendall(b"a")
            time.sleep(0.02)

    with raw_server(dribble) as port:
        error, _ = measured(kannel_at(port, answer_s=0.4).send(TO, "x", reference=0))
        assert type(error) is SmsUnknown
        until(no_thread_is_left)


def test_nobody_there_is_a_retry_and_nothing_was_sent() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        error = failing(kannel_at(int(sock.getsockname()[1])))
    assert type(error) is SmsRetry
    assert "127.0.0.1 cannot be reached: Connection refused" in str(error)


def test_a_name_that_is_none_is_a_retry(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(*_: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nowhere)
    error = failing(Provider(provider.find("kannel"), SETTINGS["kannel"] | {"url": "http://sms.example"}))
    assert type(error) is SmsRetry
    assert "sms.example cannot be reached: " in str(error)


def test_a_name_that_is_looked_up_for_ever_is_given_up_and_never_sent_to_later(
    web: ScriptedWeb, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing interrupts the resolver: its thread hangs on, and must not send when it gets through."""
    hanging, look_up = threading.Event(), socket.getaddrinfo

    def slowly(*args: Any, **more: Any) -> Any:
        hanging.wait(60)
        return look_up(*args, **more)

    monkeypatch.setattr(socket, "getaddrinfo", slowly)
    error, ticks = measured(kannel_at(web.port, reach_s=0.3).send(TO, "x", reference=0))
    assert type(error) is SmsRetry
    assert "no connection within 0.3 s" in str(error)
    assert ticks > 3
    hanging.set()
    until(no_thread_is_left)
    assert web.asked == []


def test_requests_that_hang_are_limited() -> None:
    with raw_server(lambda connection: time.sleep(2)) as port:
        path = kannel_at(port, answer_s=0.05)
        path._web._hanging = HANGING_LIMIT
        error = failing(path)
    assert type(error) is SmsRetry
    assert "4 earlier requests still hang" in str(error)


def test_requests_that_have_ended_are_not_counted(web: ScriptedWeb) -> None:
    path = at("kannel", web)
    web.script = [GOOD["kannel"], Reply(403), Reply(hang_s=0.01)] * HANGING_LIMIT

    async def run() -> None:
        for _ in range(len(web.script)):
            with contextlib.suppress(SmsFix, SmsUnknown):
                await path.send(TO, "x", reference=0)

    asyncio.run(run())
    assert len(web.asked) == 3 * HANGING_LIMIT


def test_cancelling_frees_the_caller_at_once_and_the_thread_soon(web: ScriptedWeb) -> None:
    web.otherwise = Reply(hang_s=60)

    async def run() -> float:
        sending = asyncio.create_task(at("kannel", web).send(TO, "x", reference=0))
        await asyncio.to_thread(until, lambda: bool(web.asked))
        began_s = time.monotonic()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        return time.monotonic() - began_s

    assert asyncio.run(run()) < 10
    until(no_thread_is_left)


def test_the_loop_may_end_before_the_request() -> None:
    with raw_server(lambda connection: time.sleep(0.3)) as port:

        async def run() -> None:
            sending = asyncio.create_task(kannel_at(port).send(TO, "x", reference=0))
            await asyncio.sleep(0.05)
            sending.cancel()

        asyncio.run(run())
        until(no_thread_is_left)


def accepting(connection: socket.socket) -> None:
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 202 A\r\nContent-Length: 24\r\n\r\n0: Accepted for delivery")


def test_a_certificate_is_checked_against_the_authority_and_the_name(tmp_path: Path) -> None:
    make_certificates(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "server.crt", tmp_path / "server.key")
    with raw_server(accepting, tls) as port:
        error = failing(kannel_at(port, "https"))
        assert type(error) is SmsFix
        assert "its certificate does not fit" in str(error)
        assert "Check this station's clock" in str(error)
        url = {"url": f"https://localhost:{port}"}
        ours = Web(ca=str(tmp_path / "ca.crt"))
        assert send(Provider(provider.find("kannel"), SETTINGS["kannel"] | url, web=ours))
    error = failing(kannel_at(1, "https", ca=str(tmp_path / "none.crt")))
    assert type(error) is SmsFix
    assert "the certificate authority's file: No such file" in str(error)


def test_plain_http_where_tls_is_asked_for_is_not_spoken_to() -> None:
    got: list[bytes] = []
    with raw_server(lambda connection: got.append(connection.recv(4096))) as port:
        error = failing(kannel_at(port, "https"))
    assert type(error) is SmsRetry
    assert b"password" not in b"".join(got)


def test_secrets_stay_out_of_logs_errors_and_repr(web: ScriptedWeb, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for name, good in GOOD.items():
        path = at(name, web)
        web.script = [
            good,
            Reply(401),
            Reply(cut=True, status=200, body="x" * 50),
            Reply(200, "?"),
            Reply(200, "?"),
        ]
        send(path)
        for _ in range(2):
            error = failing(path)
            assert error.__cause__ is None
            assert "s3cret" not in repr(error)
            assert urllib.parse.quote("s3cret+/&", safe="") not in str(error)
        for attribute in (
            path,
            path.form,
            path._web,
            make(path.form.request, path._values(TO, "x") | {"id": "i"}),
        ):
            assert "s3cret" not in repr(attribute)
            assert "s3cret" not in str(attribute)
        web.script = []
    assert "s3cret" not in caplog.text


def test_a_mended_secret_counts_without_a_restart(web: ScriptedWeb) -> None:
    words = ["old", "new"]
    path = at("kannel", web, settings={"password": lambda: words[0]})
    web.script = [Reply(403, "Authorization failed for sendsms"), GOOD["kannel"]]
    failing(path)
    words.pop(0)
    send(path)
    assert [fields_of(asked)["password"] for asked in web.asked] == ["old", "new"]


# ── balance ─────────────────────────────────────────────────────────────────────────────────────────────────

INFO = '<r xmlns="http://Giper.mobi/schema/Info"><status>{}</status><state>0</state><account>{}</account></r>'
BALANCES = [
    ("nikita-smspro", Reply(200, INFO.format(0, "20123.12")), Balance(20123.12, "")),
    ("nikita-smspro", Reply(200, INFO.format(2, "1")), None),
    ("nikita-smspro", Reply(200, INFO.format(0, "much")), None),
    ("nikita-smspro", Reply(200, INFO.format(0, "nan")), None),
    ("nikita-smspro", Reply(200, INFO.format(0, "1e999")), None),
    ("nikita-smspro", Reply(200, "no"), None),
    ("twilio", Reply(200, '{"balance": "-0.5", "currency": "USD"}'), Balance(-0.5, "USD")),
    ("twilio", Reply(401, '{"balance": "1", "currency": "USD"}'), None),
    ("vonage", Reply(200, '{"value": 3.25, "autoReload": false}'), Balance(3.25, "EUR")),
    ("vonage", Reply(cut=True, status=200, body='{"value": 3.25}'), None),
]  # fmt: skip


@pytest.mark.parametrize(("name", "reply", "expected"), BALANCES, ids=range(len(BALANCES)))
def test_the_balance_is_read_or_an_error(
    web: ScriptedWeb, name: str, reply: Reply, expected: Balance | None
) -> None:
    web.otherwise = reply
    path = at(name, web)
    if expected is None:
        with pytest.raises(SmsRetry) as e:
            asyncio.run(path.balance())
        assert "s3cret" not in str(e.value)
    else:
        assert asyncio.run(path.balance()) == expected
    assert len(web.asked) == 1


def test_where_there_is_no_balance_nobody_is_asked(web: ScriptedWeb) -> None:
    assert asyncio.run(at("kannel", web).balance()) is None
    assert web.asked == []


# ── a URL that says everything ──────────────────────────────────────────────────────────────────────────────


def test_a_url_with_placeholders_is_a_provider(web: ScriptedWeb) -> None:
    path = of_url(f"{web.url}/send?key=s3cret%2B&to={{digits}}&plus={{to}}&text={{text}}#OK ")
    web.script = [Reply(200, "OK: 17"), Reply(200, "NO MONEY"), Reply(404)]
    assert send(path, KYRGYZ).references
    assert web.asked[0].line.startswith(
        "GET /send?key=s3cret%2B&to=996555000001&plus=%2B996555000001&text=%D0%A1"
    )
    assert fields_of(web.asked[0])["text"] == KYRGYZ
    assert type(failing(path)) is SmsUnknown
    assert type(failing(path)) is SmsFix
    assert "s3cret" not in repr(path)
    assert provider.warnings(path) == []


def test_a_url_that_does_not_say_how_the_answer_begins_counts_http_200_and_warns(web: ScriptedWeb) -> None:
    path = of_url(f"{web.url}/?t={{text}}&n={{to}}\n")
    web.script = [Reply(200, "whatever"), Reply(403), Reply(500)]
    assert send(path)
    assert type(failing(path)) is SmsFix
    assert type(failing(path)) is SmsUnknown
    [line] = provider.warnings(path)
    assert "HTTP 200 counts as taken; write it behind a #" in line


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "is no address"),
        ("ftp://h/?t={text}&n={to}", "is no address"),
        ("https:///?t={text}&n={to}", "is no address"),
        ("https://h:99999/?t={text}&n={to}", "is no address"),
        ("https://u:hunter2@h/?t={text}&n={to}", "has a name or password in it"),
        ("https://h/?k=hunter2&t={text}", "lacks {text}, or {to} or {digits}"),
        ("https://h/?k=hunter2&n={to}", "lacks {text}"),
        ("https://h/?k=hunter2&t={text}&n={to}&x={y}", "has other braces"),
        ("https://h/?k=hunter2&t={text}&n={to}{", "has other braces"),
    ],
)
def test_a_url_that_cannot_be_used_is_said_without_showing_it(url: str, says: str) -> None:
    with pytest.raises(ValueError, match="the address") as e:
        of_url(url)
    assert says in str(e.value)
    assert "hunter2" not in str(e.value)


def test_plain_http_is_warned_of_unless_it_is_this_machine() -> None:
    def said(url: str) -> list[str]:
        return provider.warnings(Provider(provider.find("kannel"), SETTINGS["kannel"] | {"url": url}))

    assert said("http://127.0.0.1:13013") == said("http://localhost") == said("https://sms.example") == []
    assert "use https://" in said("http://10.0.0.5:13013")[0]
    assert "use https://" in said("http://127.0.0.1.evil.example")[0]
    assert "use https://" in provider.warnings(of_url("http://h/?t={text}&n={to}#OK"))[0]
