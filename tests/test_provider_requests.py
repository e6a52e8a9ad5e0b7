"""What a provider is sent: each field, hostile texts, alphabets, and an id that stays the same."""

from __future__ import annotations

import asyncio
import json
import urllib.parse
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerts import provider
from alerts.alphabet import TextError
from alerts.cms import SmsFix, SmsRefused, SmsRetry, SmsUnknown
from alerts.provider_format import Provider as Form
from alerts.provider_request import make
from tests.provider_desk import (
    GOOD,
    HOSTILE,
    KYRGYZ,
    SETTINGS,
    TAKEN,
    TO,
    at,
    failing,
    fields_of,
    nikita,
    send,
)
from tests.services import Reply, ScriptedWeb


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
