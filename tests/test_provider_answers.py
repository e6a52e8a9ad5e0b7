"""What the answers of providers mean, also hostile, cut and endless ones."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerts import provider
from alerts.cms import SmsError, SmsFix, SmsRefused, SmsRetry, SmsUnknown
from alerts.provider_answer import ANSWER_LIMIT, HttpAnswer, elements, judge
from tests.provider_desk import GOOD, SETTINGS, at, failing, nikita, send
from tests.services import Reply, ScriptedWeb


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
