"""What the broker hands to this collector: MQTT 5, QoS 1, acknowledged only when somebody says so.

    $share/collectors/suuaba/1/#     every message to one of the collectors of the group
    suuaba/1/+/status                retained, to each of them: who is there
    suuaba/1/+/again                 to each of them: what another has asked a station for

The session outlives the connection, so what is not acknowledged comes again, here or, if this collector stays
away for longer than its session lives, never: the broker then drops what it kept for it. Acknowledgements go
out in the order in which the messages came ([MQTT-4.6.0-2]) and only on the connection that brought them.
The broker keeps at most `window` messages under way (Receive Maximum, 3.1.2.11.3), which bounds the memory
here.

paho and not aiomqtt: aiomqtt 2 acknowledges on arrival, and drops what its queue does not hold.

Source: MQTT Version 5.0, OASIS Standard, 7 March 2019, 4.8.2 (shared subscriptions).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from gateway.collector_paho import Paho

log = logging.getLogger(__name__)

KEEPALIVE_S = 30
AGAIN_S, AGAIN_CEILING_S = 1, 60
TOPICS = "suuaba/1/#"
STATUS, AGAIN = "suuaba/1/+/status", "suuaba/1/+/again"
MESSAGE_LIMIT = 128 * 1024
"""Bytes of a message (Maximum Packet Size, 3.1.2.11.4): a station's own limit is half of it. The broker
throws away what is larger, so `window` bounds the memory.
"""
SHORT_S, SHORTS = 10.0, 3
"""So many connections in a row that lasted no longer: somebody takes the session from us."""
HELD_WINDOWS = 2
_TAKEN_OVER = 0x8E


@dataclass(frozen=True, slots=True)
class Broker:
    """Where and as whom to connect."""

    url: str
    name: str
    group: str = "collectors"
    username: str | None = None
    password: str | None = None
    ca: str | None = None
    certificate: str | None = None
    key: str | None = None
    session_s: int = 7 * 86400
    window: int = 10_000


@dataclass(frozen=True, slots=True)
class Message:
    """One message, and the connection that brought it."""

    topic: str
    payload: bytes
    number: int
    """Its packet identifier; 0: needs no acknowledgement."""
    connection: int


class Inbox:
    """Connects, and again after each failure, until `close`. paho's network loop has a thread of its own."""

    def __init__(self, broker: Broker) -> None:
        self.connected = False
        self.why = "not connected yet"
        """Why it is not connected."""
        self.sessions_lost = 0
        """How often the broker had forgotten us, and with us what waited for us."""
        self.broker = broker
        self._connection = 0
        self._known = False
        self._since_s = 0.0
        self._short = 0
        self._waiting: deque[Message] = deque()
        self._held: dict[tuple[str, bytes], Message] = {}
        """What an earlier connection brought and nobody took yet. The broker sends it again, or has forgotten
        it since (it was killed between two of its saves), and then it is only here.
        """
        self._more = asyncio.Event()
        self._asleep = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._client = self._make(broker)

    def open(self) -> None:
        """Begin to connect; does not block. Raises OSError when the files for TLS cannot be used."""
        self._loop = asyncio.get_running_loop()
        parts = urlsplit(self.broker.url)
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho leaves it so
        properties.SessionExpiryInterval = self.broker.session_s
        properties.ReceiveMaximum = self.broker.window
        properties.MaximumPacketSize = MESSAGE_LIMIT
        self._client.connect_async(
            parts.hostname or "",
            parts.port or (8883 if parts.scheme == "mqtts" else 1883),
            KEEPALIVE_S,
            clean_start=False,
            properties=properties,
        )
        self._client.loop_start()

    async def take(self, limit: int, linger_s: float) -> list[Message]:
        """Wait for messages, then a little for more; give at most `limit`, in their order. No deadline."""
        while not self._waiting and not self._held:
            self._more.clear()
            self._asleep = True
            if not self._waiting and not self._held:
                await self._more.wait()
            self._asleep = False
        if len(self._waiting) < limit:
            await asyncio.sleep(linger_s)
        taken: list[Message] = []
        while self._waiting and len(taken) < limit:
            taken.append(self._waiting.popleft())
        while self._held and len(taken) < limit:
            with contextlib.suppress(KeyError):  # the broker sent the last of them again at this moment
                taken.append(self._held.popitem()[1])
        return taken

    def confirm(self, messages: Sequence[Message]) -> None:
        """Acknowledge, in their order. Those of an earlier connection come again; that does no harm."""
        here = self._connection
        self._client.ack_all(one.number for one in messages if one.number and one.connection == here)

    @property
    def busy(self) -> bool:
        """Whether messages wait here to be taken."""
        return bool(self._waiting or self._held)

    def ask(self, station: str, payload: bytes) -> None:
        """Ask a station to send something once more. A request that is lost is made again, later."""
        self._client.publish(f"suuaba/1/{station}/again", payload, qos=0)

    async def close(self) -> None:
        """Disconnect; the session stays, and with it what is not acknowledged."""
        self._client.disconnect()
        await asyncio.to_thread(self._client.loop_stop)

    # ── inside: on paho's thread ────────────────────────────────────────────────────────────────

    def _make(self, broker: Broker) -> Paho:
        client = Paho(
            self._on_message,
            CallbackAPIVersion.VERSION2,
            client_id=f"suuaba-collect-{broker.name}",
            protocol=MQTTProtocolVersion.MQTTv5,
            manual_ack=True,
        )
        client.reconnect_delay_set(AGAIN_S, AGAIN_CEILING_S)
        if broker.username is not None:
            client.username_pw_set(broker.username, broker.password)
        if urlsplit(broker.url).scheme == "mqtts":
            context = ssl.create_default_context(cafile=broker.ca)
            if broker.certificate is not None:
                context.load_cert_chain(broker.certificate, broker.key)
            client.tls_set_context(context)
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        return client

    def _on_connect(
        self, client: Client, _: Any, flags: ConnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        if reason.is_failure:
            self._down(f"{self.broker.url} refuses us: {reason}")
            return
        self._hold()
        self._connection += 1
        if self._known and not flags.session_present:
            self.sessions_lost += 1
            log.warning("mqtt: the broker has forgotten this collector, and what waited for it")
        self._known = True
        at_least_once = SubscribeOptions(qos=1)
        error, _ = client.subscribe(
            [
                (f"$share/{self.broker.group}/{TOPICS}", at_least_once),
                (STATUS, at_least_once),
                (AGAIN, at_least_once),
            ]
        )
        if error is not MQTTErrorCode.MQTT_ERR_SUCCESS:
            self._down(f"{self.broker.url}: the subscription could not be sent")
            return
        self._since_s = time.monotonic()
        if not self.connected and self._short < SHORTS:
            log.warning("mqtt: connected to %s", self.broker.url)
        self.connected, self.why = True, ""

    def _hold(self) -> None:
        with contextlib.suppress(IndexError):  # who takes them takes them at the same time
            while True:
                message = self._waiting.popleft()
                if len(self._held) < HELD_WINDOWS * self.broker.window:
                    self._held[message.topic, message.payload] = message
        if self._asleep and self._held and self._loop is not None:
            self._asleep = False
            self._loop.call_soon_threadsafe(self._more.set)

    def _on_connect_fail(self, client: Client, _: Any) -> None:
        self._down(f"{self.broker.url} does not answer")

    def _on_disconnect(
        self,
        client: Client,
        _: Any,
        flags: DisconnectFlags,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        short = time.monotonic() - self._since_s < SHORT_S
        self._short = self._short + 1 if short else 0
        if reason.value == _TAKEN_OVER or self._short >= SHORTS:  # Mosquitto mostly hangs up without a word
            self._down(
                f"it looks as if another collector were called {self.broker.name!r} too: the broker "
                "hangs up on one when the other comes; give each a name of its own"
            )
        else:
            self._down(f"{self.broker.url}: {reason}")

    def _down(self, why: str) -> None:
        if self.why != why:
            log.warning("mqtt: %s", why)
        self.connected, self.why = False, why

    def _on_message(self, topic: str, payload: bytes, number: int) -> None:
        if self._held:
            self._held.pop((topic, payload), None)
        self._waiting.append(Message(topic, payload, number, self._connection))
        if self._asleep and self._loop is not None:
            self._asleep = False
            self._loop.call_soon_threadsafe(self._more.set)
