"""The doctor's look at the broker: name, connection, certificate, login, and a message there and back.

The test message goes to suuaba/1/STATION/doctor, with a client identifier of its own: the service's would
throw the service off the broker (OASIS MQTT 5.0, 3.1.4). Nothing is retained.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
import ssl
from collections.abc import Sequence
from urllib.parse import urlsplit

import msgspec

from gateway import config
from gateway.clock import Clock
from gateway.doctor_finding import Finding, in_thread, one_line, said
from gateway.errors import Unreachable
from gateway.mqtt_messages import level
from gateway.sinks import opened
from gateway.tcp import Carried

NAME_WITHIN_S = 8.0
CONNECT_WITHIN_S = 8.0
ANSWER_S = 8.0
BACK_WITHIN_S = 5.0
SOON_DAYS = 14
_EXPIRED, _NOT_YET = 10, 9  # X509_V_ERR_CERT_HAS_EXPIRED, X509_V_ERR_CERT_NOT_YET_VALID: openssl, x509_vfy.h
_UNKNOWN = (18, 19, 20, 21)  # self-signed, or of an issuer that is not known
_NAME = 62  # X509_V_ERR_HOSTNAME_MISMATCH


async def check_broker(wanted: config.Station) -> Sequence[Finding]:
    """The broker of [mqtt]."""
    mqtt = wanted.mqtt
    if mqtt is None:
        return []
    if mqtt.url == "embedded":
        return [Finding("broker", "", "ok", said("inside the station: keeps nothing, for looking only"))]
    parts = urlsplit(mqtt.url)
    tls = parts.scheme == "mqtts"
    host, port = parts.hostname or "", parts.port or (8883 if tls else 1883)
    found = await check_address("broker", host, port, tls=tls, ca=mqtt.ca)
    if any(finding.level == "failure" for finding in found):
        return found
    return [*found, *await _there_and_back(wanted.id, mqtt, host, port, tls)]


async def check_address(check: str, host: str, port: int, *, tls: bool, ca: str | None) -> list[Finding]:
    """Whether the name is known, the address takes a connection, and its certificate is good."""
    try:
        await in_thread(lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM), NAME_WITHIN_S)
    except TimeoutError:
        text = said("{host}: no name server answers", host=host)
        return [Finding(check, "name", "failure", text, said("is there a network? look at /etc/resolv.conf"))]
    except (OSError, ValueError) as e:
        why = one_line(getattr(e, "strerror", None) or e)
        text = said("{host} has no address: {why}", host=host, why=why)
        remedy = said("correct the name in url, or look at the name server")
        return [Finding(check, "name", "failure", text, remedy)]
    if not tls:
        return [] if (wrong := await _connects(check, host, port)) is None else [wrong]
    return await _certificate(check, host, port, ca)


# ── inside ──────────────────────────────────────────────────────────────────────────────────────


async def _connects(check: str, host: str, port: int) -> Finding | None:
    try:
        async with asyncio.timeout(CONNECT_WITHIN_S):
            _, writer = await asyncio.open_connection(host, port)
    except (OSError, TimeoutError) as e:
        return _closed(check, host, port, e)
    writer.transport.abort()
    return None


def _closed(check: str, host: str, port: int, e: Exception) -> Finding:
    where = f"{host}:{port}"
    if isinstance(e, ConnectionRefusedError):
        text = said("{where}: refuses the connection: nothing listens there", where=where)
        remedy = said("start the server, or correct the port in url")
    elif isinstance(e, TimeoutError):
        text = said("{where}: no answer within {within} s", where=where, within=f"{CONNECT_WITHIN_S:g}")
        remedy = said("is the network up, and does a firewall let it through?")
    else:
        why = one_line(getattr(e, "strerror", None) or e)
        text = said("{where}: {why}", where=where, why=why)
        remedy = said("is the network up? ip route; ping the host")
    return Finding(check, "connection", "failure", text, remedy)


async def _certificate(check: str, host: str, port: int, ca: str | None) -> list[Finding]:
    try:
        context = ssl.create_default_context(cafile=ca)
        async with asyncio.timeout(CONNECT_WITHIN_S):
            _, writer = await asyncio.open_connection(host, port, ssl=context)
    except ssl.SSLCertVerificationError as e:
        return [_not_trusted(check, host, e)]
    except ssl.SSLError as e:
        text = said("{where}: no TLS: {why}", where=f"{host}:{port}", why=one_line(e.reason or e))
        remedy = said("is this the port for TLS? or write url without the s")
        return [Finding(check, "certificate", "failure", text, remedy)]
    except (OSError, TimeoutError) as e:
        return [_closed(check, host, port, e)]
    shown = writer.get_extra_info("peercert") or {}
    writer.transport.abort()
    until = str(shown.get("notAfter", ""))
    if not until:
        return [Finding(check, "certificate", "ok", said("trusted"))]
    left_days = (ssl.cert_time_to_seconds(until) - Clock("trust").stamp().utc_ms / 1000) / 86_400
    if left_days < SOON_DAYS:
        text = said("expires in {days} days ({until})", days=f"{left_days:.0f}", until=until)
        return [Finding(check, "certificate", "warning", text, said("have the server's certificate renewed"))]
    return [Finding(check, "certificate", "ok", said("trusted, valid until {until}", until=until))]


def _not_trusted(check: str, host: str, e: ssl.SSLCertVerificationError) -> Finding:
    if e.verify_code == _EXPIRED:
        text = said("the certificate has expired")
        remedy = said("have it renewed; if it is not that old, the clock here is wrong")
    elif e.verify_code == _NOT_YET:
        text = said("the certificate is not valid yet")
        remedy = said("the clock here is wrong: see the clock's line")
    elif e.verify_code == _NAME:
        text = said("the certificate is not {host}'s", host=host)
        remedy = said("write the name in url as the certificate has it")
    elif e.verify_code in _UNKNOWN:
        text = said("the certificate's issuer is not known here")
        remedy = said('write ca = "/etc/suuaba/ca.pem" with its certificate')
    else:
        text = said("the certificate is not good: {why}", why=one_line(e.verify_message))
        remedy = said("look at it: openssl s_client -connect HOST:PORT")
    return Finding(check, "certificate", "failure", text, remedy)


async def _there_and_back(
    station: str, mqtt: config.Mqtt, host: str, port: int, tls: bool
) -> Sequence[Finding]:
    """Log in, subscribe, publish, and wait for what was published."""
    from gateway.mqtt_link import NAMES, Broker, MqttLink, Silence, VersionRefused

    topic = f"suuaba/1/{level(station)}/doctor"
    token = secrets.token_hex(8)
    payload = msgspec.json.encode({"station": station, "test": token})
    name = f"suuaba-{station[:40]}-doctor-{token[:6]}"
    broker = Broker(
        host,
        port,
        name,
        mqtt.username,
        opened(mqtt.password),
        tls,
        mqtt.ca,
        30,
        ANSWER_S,
        mqtt.certificate,
        mqtt.key,
    )
    last: Exception | None = None
    for version in (5, 4):
        try:
            link = MqttLink(
                broker, version, 20, (topic, b""), ANSWER_S / 2 if version == 5 else ANSWER_S, Carried()
            )
            await link.open()
        except (VersionRefused, Silence) as e:
            last = e
            continue
        except Unreachable as e:
            return [_refused(mqtt, e)]
        except OSError as e:
            text = said("the certificates cannot be used: {why}", why=one_line(e))
            remedy = said("correct [mqtt] ca, certificate and key")
            return [Finding("broker", "certificate", "failure", text, remedy)]
        try:
            return await _round_trip(link, topic, payload, NAMES[version])
        except Unreachable as e:
            remedy = said("look into the broker's log")
            return [Finding("broker", "test message", "failure", one_line(e), remedy)]
        finally:
            await link.close(1.0)
    remedy = said("is this an MQTT broker's port?")
    return [Finding("broker", "connection", "failure", one_line(last), remedy)]


async def _round_trip(link: object, topic: str, payload: bytes, version: str) -> Sequence[Finding]:
    import aiomqtt

    from gateway.mqtt_link import MqttLink

    assert isinstance(link, MqttLink)  # nosec B101  # noqa: S101  for the type checker: it is imported late
    lets_in = said("{broker} lets us in ({version})", broker=link.broker, version=version)
    login = Finding("broker", "login", "ok", lets_in)
    rights = said(
        "the account may not use {topic}: give it the right to write suuaba/1/STATION/#", topic=topic
    )
    may_read = True
    try:
        async with asyncio.timeout(ANSWER_S):
            granted = await link.subscribe(topic, qos=1)
        may_read = all((code if isinstance(code, int) else code.value) < 0x80 for code in granted)
    except (aiomqtt.MqttError, TimeoutError):
        may_read = False
    answers = await link.send([(1, topic, payload, False)])
    if reasons := [*answers.mendable.values(), *answers.refused.values()]:
        text = said("the broker does not take our message: {why}", why=one_line(reasons[0]))
        return [login, Finding("broker", "test message", "failure", text, rights)]
    if may_read:
        try:
            async with asyncio.timeout(BACK_WITHIN_S):
                async for message in link.messages:
                    if message.payload == payload:
                        text = said("published and got back")
                        return [login, Finding("broker", "test message", "ok", text)]
        except (TimeoutError, aiomqtt.MqttError):
            pass
    if version == "MQTT 5":
        text = said("published and confirmed; this account may not read it back, which a station need not")
        return [login, Finding("broker", "test message", "ok", text)]
    text = said("published, but it did not come back: this account may not read it, or not write it")
    return [login, Finding("broker", "test message", "warning", text, rights)]


def _refused(mqtt: config.Mqtt, e: Unreachable) -> Finding:
    text = one_line(e)
    if "refuses user" in text or "refuses a client without" in text:
        remedy = said("write [mqtt] username and password")
        if mqtt.username:
            remedy = said("correct [mqtt] username and password")
        return Finding("broker", "login", "failure", text, remedy)
    return Finding("broker", "connection", "failure", text, said("look into the broker's log"))
