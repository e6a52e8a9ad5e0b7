"""The connection of the MQTT sink: aiomqtt with three things added that the sink needs and it does not give.

- The reason in a PUBACK (MQTT 5, section 3.4.2.1): a broker that refuses a message also acknowledges it, and
  says so only there.
- The Receive Maximum in the CONNACK (section 3.2.2.3.3): more messages under way than that, and the broker
  hangs up. Mosquitto allows 20.
- A broker that hangs up before its CONNACK: many that know only MQTT 3.1.1 do so, and waiting for the
  time-out would not help.

Messages are handed to paho in one go and their acknowledgements counted: one wake-up for a batch, not one for
a message.

This module imports aiomqtt and paho, so it is itself imported only when a broker is configured.

Sources: MQTT Version 5.0 and MQTT Version 3.1.1, OASIS standards; aiomqtt 2.5.1 and paho-mqtt 2.2.0 as they
are.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import aiomqtt
from paho.mqtt.client import Client as Paho
from paho.mqtt.client import ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from gateway.errors import Unreachable
from gateway.tcp import Carried

NAMES = {5: "MQTT 5", 4: "MQTT 3.1.1"}

_MENDABLE = {0x87, 0x97}  # in a PUBACK: not authorized, quota exceeded; the other reasons condemn the message
_WRONG_VERSION = 0x84  # unsupported protocol version; paho gives it also for the 0x01 of MQTT 3.1.1
_WRONG_SECRET = {0x86, 0x87, 0x8C}  # bad user name or password, not authorized, bad authentication method

_quiet = logging.getLogger("gateway.mqtt.paho")  # what goes wrong is raised, and said once, by the follower
_quiet.setLevel(logging.CRITICAL)


@dataclass(frozen=True, slots=True)
class Broker:
    """Where and as whom to connect."""

    host: str
    port: int
    client_id: str
    username: str | None
    password: str | None
    tls: bool
    ca: str | None  # a file with the authorities to trust, instead of the system's
    keepalive_s: int
    answer_s: float  # how long the broker may take to answer anything
    certificate: str | None = None  # with mutual TLS: files with our own certificate and its key
    key: str | None = None

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class VersionRefused(Exception):
    """The broker does not speak this version of MQTT, or hung up on it without a word."""


class Silence(Unreachable):
    """The broker took the connection and does not answer our CONNECT."""


@dataclass(slots=True)
class Answers:
    """What became of a batch, by sequence number; with the broker's reason where it took a message not."""

    confirmed: set[int] = field(default_factory=set)
    refused: dict[int, str] = field(default_factory=dict)
    mendable: dict[int, str] = field(default_factory=dict)
    """Not taken for a reason that the broker's owner can mend: the same message again, later."""


class MqttLink(aiomqtt.Client):
    """One connection, used once: `open`, then `send`, then `close`. One `send` at a time."""

    def __init__(
        self,
        broker: Broker,
        version: int,
        window: int,
        will: tuple[str, bytes],
        connack_s: float,
        carried: Carried,
    ) -> None:
        super().__init__(
            broker.host,
            broker.port,
            username=broker.username,
            password=broker.password,
            logger=_quiet,
            identifier=broker.client_id,
            protocol=aiomqtt.ProtocolVersion(version),
            will=aiomqtt.Will(will[0], will[1], qos=1, retain=True),
            clean_session=True if version == 4 else None,
            timeout=connack_s,
            keepalive=broker.keepalive_s,
            max_inflight_messages=window,
            socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
            tls_context=_tls(broker) if broker.tls else None,
        )
        self.broker = broker
        self.version = version
        self.window = window
        self._waiting: dict[int, int] = {}  # message id → seq
        self._answers = Answers()
        self._wake: asyncio.Future[None] | None = None
        self._wake_at = 0
        self._heard: Callable[[bytes], None] | None = None
        self._listening: int | None = None
        self._abandoned = False
        self._thread = threading.get_ident()
        self._carried = carried
        self._disconnected.add_done_callback(self._on_lost)

    async def open(self) -> None:
        """Connect. Blocks for `connack_s` and some seconds. Raises VersionRefused, Silence, Unreachable."""
        try:
            await self.__aenter__()
        except aiomqtt.MqttCodeError as e:
            code = e.rc.value if isinstance(e.rc, ReasonCode) else e.rc
            if code == _WRONG_VERSION or isinstance(e, _HungUp):
                raise VersionRefused(self._said(str(e.rc))) from e
            if code in _WRONG_SECRET:
                who = (
                    f"user {self.broker.username!r}" if self.broker.username else "a client without user name"
                )
                raise Unreachable(self._said(f"the broker refuses {who}: {e.rc}")) from e
            raise Unreachable(self._said(f"the broker refuses the connection: {e.rc}")) from e
        except (aiomqtt.MqttError, OSError, ValueError) as e:
            if str(e) == "Operation timed out":  # what aiomqtt calls its own deadline for the CONNACK
                raise Silence(self._said(f"no CONNACK within {self.timeout:g} s")) from e
            raise Unreachable(self._said(str(e) or type(e).__name__)) from e
        finally:
            if (
                not self._connected.done()
                or self._connected.cancelled()
                or self._connected.exception() is not None
            ):
                self.drop()

    @property
    def is_open(self) -> bool:
        return not self._disconnected.done()

    async def send(self, messages: Iterable[tuple[int, str, bytes, bool]]) -> Answers:
        """Publish (seq, topic, payload, retain) at QoS 1, at most `window` under way. Blocks until each is
        acknowledged.

        Raises Unreachable when the broker went away or stopped acknowledging; `answers` then says what it
        still confirmed.
        """
        self._answers = Answers()
        for seq, topic, payload, retain in messages:
            if len(self._waiting) >= self.window:
                await self._until(self.window // 2)
            self._check()
            info = self._client.publish(topic, payload, 1, retain)
            if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
                raise Unreachable(self._said(info.rc.name))
            self._waiting[info.mid] = seq
        await self._until(0)
        return self._answers

    @property
    def answers(self) -> Answers:
        return self._answers

    def listen(self, topic: str, heard: Callable[[bytes], None]) -> None:
        """Ask the broker for a topic; what comes is given to `heard`. Does not wait for its answer."""
        self._heard = heard
        self._listening = self._client.subscribe(topic, 1)[1]

    @property
    def unanswered(self) -> bool:
        """Whether the broker has not said yet that we may listen; some hang up instead."""
        return self._listening is not None

    async def close(self, within_s: float) -> None:
        """Disconnect in order, so that no last will is published, if the broker lets us. Never raises."""
        with contextlib.suppress(aiomqtt.MqttError, TimeoutError):
            async with asyncio.timeout(within_s):
                await self.__aexit__(None, None, None)
        self.drop()

    def drop(self) -> None:
        """Let go of the connection without a word: the broker publishes the last will. Safe to call twice.

        Also when a thread is just about to open it.
        """
        self._abandoned = True
        self._client._sock_close()  # paho has no public way to drop a dead connection

    # ── inside ──────────────────────────────────────────────────────────────────────────────────

    async def _until(self, left: int) -> None:
        """Wait until at most `left` messages are unacknowledged; some acknowledgement must come every
        `answer_s`.
        """
        while len(self._waiting) > left:
            self._check()
            before = len(self._waiting)
            self._wake = asyncio.get_running_loop().create_future()
            self._wake_at = left
            try:
                async with asyncio.timeout(self.broker.answer_s):
                    await self._wake
            except TimeoutError:
                if len(self._waiting) == before:
                    text = f"no acknowledgement within {self.broker.answer_s:g} s"
                    raise Unreachable(self._said(text)) from None
            finally:
                self._wake = None

    def _check(self) -> None:
        if self._disconnected.done():
            e = self._disconnected.exception()
            reason = str(e.rc if isinstance(e, aiomqtt.MqttCodeError) else e)
            if reason == "Unspecified error":  # paho's name for a connection that broke
                reason = "the connection broke"
            raise Unreachable(self._said(f"the broker is gone: {reason}"))

    def _said(self, text: str) -> str:
        return f"{self.broker}: {text}"

    def _on_lost(self, lost: asyncio.Future[None]) -> None:
        if not lost.cancelled():
            lost.exception()  # looked at: `_check` says it when somebody wants to send
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    # What aiomqtt hangs on paho's callbacks; the signatures are paho's.

    def _on_connect(
        self,
        client: Paho,
        userdata: Any,
        flags: ConnectFlags,
        reason_code: ReasonCode,
        properties: Properties | None = None,
    ) -> None:
        allowed = getattr(properties, "ReceiveMaximum", None)
        if isinstance(allowed, int) and allowed > 0:
            self.window = min(self.window, allowed)
        super()._on_connect(client, userdata, flags, reason_code, properties)

    def _on_disconnect(
        self,
        client: Paho,
        userdata: Any,
        flags: DisconnectFlags,
        reason_code: ReasonCode,
        properties: Properties | None = None,
    ) -> None:
        if not self._connected.done():
            self._connected.set_exception(_HungUp(reason_code, "the broker hung up"))
        super()._on_disconnect(client, userdata, flags, reason_code, properties)

    async def _misc_loop(self) -> None:
        # aiomqtt looks each second whether a ping is due; a wake-up costs more than a reading, and a broker
        # waits half a keep-alive longer than that (MQTT 5.0, 3.1.2.10).
        every_s = min(max(self.broker.keepalive_s / 6, 1.0), 10.0)
        while self._client.loop_misc() == MQTTErrorCode.MQTT_ERR_SUCCESS:  # noqa: ASYNC110  paho has no event
            await asyncio.sleep(every_s)

    def _on_publish(
        self,
        client: Paho,
        userdata: Any,
        mid: int,
        reason_code: ReasonCode,
        properties: Properties,
    ) -> None:
        seq = self._waiting.pop(mid, None)
        if seq is None:
            super()._on_publish(client, userdata, mid, reason_code, properties)
            return
        if reason_code.value < 0x80:
            self._answers.confirmed.add(seq)
        elif reason_code.value in _MENDABLE:
            self._answers.mendable[seq] = str(reason_code)
        else:
            self._answers.refused[seq] = str(reason_code)
        if self._wake is not None and len(self._waiting) <= self._wake_at and not self._wake.done():
            self._wake.set_result(None)

    def _on_subscribe(
        self,
        client: Paho,
        userdata: Any,
        mid: int,
        reason_codes: list[ReasonCode],
        properties: Properties | None = None,
    ) -> None:
        if mid == self._listening:
            self._listening = None
        else:
            super()._on_subscribe(client, userdata, mid, reason_codes, properties)

    def _on_message(self, client: Paho, userdata: Any, message: MQTTMessage) -> None:
        if self._heard is not None:
            self._heard(bytes(message.payload))
        else:
            super()._on_message(client, userdata, message)

    def _on_socket_open(self, client: Paho, userdata: Any, sock: Any) -> None:
        if self._abandoned:
            sock.close()
        else:
            self._carried.opened(sock)
            super()._on_socket_open(client, userdata, sock)

    def _on_socket_close(self, client: Paho, userdata: Any, sock: Any) -> None:
        self._carried.closing(sock)
        super()._on_socket_close(client, userdata, sock)

    def _on_socket_register_write(self, client: Paho, userdata: Any, sock: Any) -> None:
        # aiomqtt does this by way of the loop's next turn; by then we may have closed the socket and its
        # number be another's.
        if threading.get_ident() == self._thread:
            self._loop.add_writer(sock.fileno(), self._write, sock)
        else:
            super()._on_socket_register_write(client, userdata, sock)

    def _write(self, sock: socket.socket) -> None:
        # paho writes each message by itself. Corked, they leave together in full segments, and at once. And a
        # broker that uses Nagle's algorithm, as Mosquitto does, holds its acknowledgements back until the
        # kernel here acknowledges the one before, which it delays by 40 ms unless told not to (tcp(7)): 500
        # messages/s without these options, 10,000 with them (measured, loopback).
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
        self._client.loop_write()
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


class _HungUp(aiomqtt.MqttCodeError):
    pass


class _Socket(ssl.SSLSocket):
    """paho forgets a socket whose handshake fails."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except OSError:
            self.close()
            raise


def _tls(broker: Broker) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=broker.ca)
    if broker.certificate is not None:
        context.load_cert_chain(broker.certificate, broker.key)
    context.sslsocket_class = _Socket
    return context
