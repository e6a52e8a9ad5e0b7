"""Providers at a web server that answers as the test says; what a message is sent with."""

from __future__ import annotations

import asyncio
import urllib.parse
from typing import Any

import pytest

from alerts import provider
from alerts.cms import SmsError
from alerts.provider import Provider
from alerts.provider_format import Provider as Form
from tests.services import Asked, Reply, ScriptedWeb

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


# ── what goes out ───────────────────────────────────────────────────────────────────────────────────────────


def fields_of(asked: Asked) -> dict[str, str]:
    query = urllib.parse.urlsplit(asked.line.split()[1]).query
    return dict(
        urllib.parse.parse_qsl(query or asked.body.decode(), keep_blank_values=True, strict_parsing=True)
    )


# ── what the answers mean ───────────────────────────────────────────────────────────────────────────────────


def nikita(status: int | str, words: str = "") -> Reply:
    body = f"<response><id>x</id><status>{status}</status><message>{words}</message></response>"
    return Reply(200, body)
