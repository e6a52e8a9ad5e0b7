"""SMS by HTTP providers: what goes out, what the answers mean, and that nothing hangs, leaks or lies."""

from __future__ import annotations

import asyncio
import json
import tomllib
from pathlib import Path

import jsonschema
import pytest

from alerts import provider
from alerts.cms import SmsFix, SmsRetry, SmsUnknown
from alerts.provider import Balance, Provider, of_url
from alerts.provider_format import PROVIDERS, BadFile, UnknownProvider, load, wrong_settings
from tests.provider_desk import KYRGYZ, SETTINGS, at, failing, fields_of, send
from tests.services import Reply, ScriptedWeb

SCHEMA = Path(__file__).parent.parent / "docs" / "schema" / "provider.schema.json"
SHIPPED = sorted(PROVIDERS.glob("*.toml"))


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
