"""The MQTT sink: readings and events as JSON at QoS 1, a birth and a last will, alarms retained.

    suuaba/1/STATION/status           retained {"state":"online",…}; last will {"state":"offline",…}
    suuaba/1/STATION/reading/SENSOR   {"station":"kyia-1","seq":18231,"time":"2026-11-23T10:00:00.000Z", …}
    suuaba/1/STATION/average/SENSOR   {"station":…,"seq":…,"start":…,"end":…,"length_s":60,"values":{…}, …}
    suuaba/1/STATION/event            {"station":…,"seq":…,"time":…,"what":"clock_step","detail":{…}, …}
    suuaba/1/STATION/alarm/RULE       retained: the alarm's present state
    suuaba/1/STATION/backfill/…       reading/SENSOR, average/SENSOR, event: what was held back while offline
    suuaba/1/STATION/packed           many of these in one, where bytes are paid for (gateway.mqtt_pack)
    suuaba/1/STATION/again            to the station: {"numbers":[[18200,18231]]}, to be sent once more

What the messages look like is said in gateway.mqtt_messages. A message may come twice (at least once): its
`seq` tells. MQTT 5 is tried first and MQTT 3.1.1 where the broker knows no other. With MQTT 5 a broker says
when it does not let us publish; with 3.1.1 it acknowledges and drops (OASIS MQTT 5.0, 3.4.2.1; 3.1.1,
3.3.5.2). What is history never touches a retained state: an old alarm goes to backfill/event, and the newest
state of every rule that the live records have jumped over goes out before them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from gateway.errors import Refused, Unreachable
from gateway.follow_again import Again
from gateway.follow_gather import Gathering
from gateway.model import Average, Body, Event, Reading, Record, Stamp
from gateway.mqtt_messages import (
    AgainMessage,
    StatusMessage,
    alarm_json,
    average_json,
    encode,
    event_json,
    iso,
    level,
    reading_json,
)
from gateway.mqtt_pack import MESSAGES_LIMIT, UNPACKED_LIMIT, Packer, packs, urgent
from gateway.tcp import SYN_BYTES, Carried, opens

if TYPE_CHECKING:
    from gateway.homeassistant import Discovery
    from gateway.mqtt_link import Broker, MqttLink

log = logging.getLogger(__name__)

WINDOW = 100
"""Messages under way without acknowledgement; fewer where the broker allows fewer (Mosquitto: 20). More is
slower (measured).
"""
STATUS_S = 60.0
KEEPALIVE_S = 30
"""A broker publishes the last will after one and a half times this (MQTT 5.0, 3.1.2.10)."""
ANSWER_S = 15.0
FIRST_ANSWER_S = 5.0
"""To our very first CONNECT with MQTT 5; a broker that stays silent is then tried with MQTT 3.1.1."""
UNANSWERED = 3
"""After so many times we do not ask any more whether we may listen: a broker that forbids it may hang up."""
HANG_UPS = 2
"""So often a connection may break while Home Assistant is told; then it is not told any more."""
PAYLOAD_LIMIT = 64 * 1024
"""A message above is refused here: some brokers hang up on it, and it would hold up everything behind it."""


class MqttSink:
    """A sink for `gateway.follow`. Connects with the first beat and holds the connection; after a failure,
    anew.

    `url` is mqtt://HOST[:1883] or mqtts://HOST[:8883]. A password given as a function is asked for at every
    connection, so that a mended secret counts without a restart. `health` gives what the status message shows
    beside the state, `standing` the last Event "alarm" of each rule that the live records are past. `version`
    5 or 4 (MQTT 3.1.1) keeps to that one. `ca` is a file with the authorities to trust; `identity`, for
    mutual TLS, the files with the station's own certificate and its key.
    """

    in_flight = 1  # the window is inside the batch
    batch_records = 500
    batch_bytes = 256 * 1024
    history_per_s = 1000.0
    """So that neither the line nor a small machine, nor who listens, is busy with history alone."""

    def __init__(
        self,
        station: str,
        url: str,
        *,
        stamp: Callable[[], Stamp],
        username: str | None = None,
        password: str | Callable[[], str] | None = None,
        ca: str | None = None,
        identity: tuple[str, str | None] | None = None,
        send: Sequence[str] = ("reading", "event"),
        averages_s: Collection[float] = (),
        health: Callable[[], Mapping[str, Any]] = dict,
        standing: Callable[[], Iterable[Record]] = tuple,
        keepalive_s: int = KEEPALIVE_S,
        answer_s: float = ANSWER_S,
        version: int | None = None,
        status_s: float = STATUS_S,
        discovery: Discovery | None = None,
        packer: Packer | None = None,
    ) -> None:
        parts = urlsplit(url)
        tls = parts.scheme == "mqtts"
        if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname:
            raise ValueError(f"{url!r} is not mqtt://HOST[:PORT] or mqtts://HOST[:PORT]")
        self.beat_s: float | None = status_s
        self.version: int | None = None
        """The version of MQTT in use: 5 or 4 (3.1.1); None before the first connection."""
        self._station = station
        self._host, self._port, self._tls = parts.hostname, parts.port or (8883 if tls else 1883), tls
        self._username, self._password, self._ca = username, password, ca
        self._identity: tuple[str | None, str | None] = identity or (None, None)
        self._keepalive_s, self._answer_s = keepalive_s, answer_s
        self._readings = "reading" in send
        self._events = "event" in send
        self._averages_s = frozenset(averages_s)
        self._stamp, self._health, self._standing = stamp, health, standing
        self._only = version
        self._discovery = discovery
        self._hang_ups = 0
        self._root = f"suuaba/1/{level(station)}"
        self._topics: dict[tuple[bool, str], str] = {}
        self._link: MqttLink | None = None
        self._confirmed: set[int] = set()  # of a batch that comes again: these need not go again
        self.again = Again()
        self._packer = packer
        self.gathering = Gathering() if packer is None else Gathering(packer.every_s, urgent)
        if packer is not None:
            self.batch_records, self.batch_bytes = MESSAGES_LIMIT, UNPACKED_LIMIT // 2
        self._unanswered = 0  # times the broker hung up before it said that we may listen
        self._packed: dict[int, list[int]] = {}  # the first number of a pack → all of it
        self._remarks: list[tuple[str, dict[str, object]]] = []
        self._carried = Carried()
        self._states: dict[str, int] = {}  # topic → seq of the state that this connection has retained there

    @property
    def carried_bytes(self) -> int:
        return self._carried.bytes

    def wants(self, body: Body) -> bool:
        if isinstance(body, Average):
            return body.length_s in self._averages_s
        return self._readings if isinstance(body, Reading) else self._events

    def corrects(self, body: Body) -> bool:
        return False  # each message stands for itself; who receives them goes by their numbers

    async def deliver(self, records: Sequence[Record], *, late: bool = False) -> None:
        """Publish the records. Raises as `gateway.follow.Sink` says."""
        link = await self._connected()
        wrong: list[str] = []
        try:
            if self._events and not late and (states := list(self._jumped())):
                await link.send(states)  # what is wrong with one, its own delivery will tell
            answers = await link.send(self._outgoing(records, wrong, late))
        except Unreachable:
            self._note(link.answers.confirmed)
            self._drop()
            raise
        self._note(answers.confirmed)
        if answers.mendable:
            reason = next(iter(answers.mendable.values()))
            raise Unreachable(f"{link.broker}: the broker does not take our messages: {reason}")
        if answers.refused or wrong:
            raise Refused("; ".join(sorted({*answers.refused.values(), *wrong}))[:500])
        self._confirmed.difference_update(record.seq for record in records)

    async def knock(self) -> bool:
        self._carried.add(2 * SYN_BYTES)
        return await opens(self._host, self._port)

    async def beat(self) -> None:
        """Connect if need be, and publish the retained status. Raises Unreachable."""
        if self._link is None or not self._link.is_open:
            await self._connected()
            return
        try:
            await self._publish_status(self._link, self._online())
        except Unreachable:
            self._drop()
            raise

    def remarks(self) -> Iterable[tuple[str, dict[str, object]]]:
        said, self._remarks = self._remarks, []
        return said

    async def close(self) -> None:
        """Publish that the station stops, and disconnect. Never raises."""
        link, self._link = self._link, None
        if link is None:
            return
        offline = StatusMessage("offline", self._station, iso(self._stamp().utc_ms), "stopped")
        try:
            async with asyncio.timeout(0.5):
                await self._publish_status(link, offline)
            await link.close(0.1)
        except (Unreachable, TimeoutError) as e:
            log.debug("saying goodbye: %s", e)
        finally:
            link.drop()  # not confirmed, so without a DISCONNECT: the broker publishes the last will

    # ── inside ──────────────────────────────────────────────────────────────────────────────────

    def _outgoing(
        self, records: Sequence[Record], wrong: list[str], late: bool
    ) -> Iterator[tuple[int, str, bytes, bool]]:
        """The messages as they go, packed where that is wanted. What is retained is for whoever looks now."""
        self._packed.clear()
        messages = self._messages(records, wrong, late)
        if self._packer is None:
            yield from messages
            return
        waiting: list[tuple[int, str, bytes]] = []
        for seq, topic, payload, retain in messages:
            if retain:
                yield seq, topic, payload, retain
            else:
                waiting.append((seq, topic[len(self._root) + 1 :], payload))
        for seqs, payload in packs(waiting):
            self._packed[seqs[0]] = seqs
            yield seqs[0], f"{self._root}/packed", payload, False

    def _note(self, confirmed: Iterable[int]) -> None:
        for seq in confirmed:
            self._confirmed.update(self._packed.get(seq, (seq,)))

    def _messages(
        self, records: Sequence[Record], wrong: list[str], late: bool
    ) -> Iterator[tuple[int, str, bytes, bool]]:
        for record in records:
            seq = record.seq
            retain = not late and isinstance(record.body, Event) and record.body.what == "alarm"
            if seq in self._confirmed and not retain:
                continue  # an alarm's state goes again all the same: the newest must be the last
            try:
                topic, payload = self._message(seq, record.body, late)
            except (ValueError, TypeError, msgspec.EncodeError) as e:
                wrong.append(f"cannot be written as JSON: {e}")
                continue
            if len(payload) > PAYLOAD_LIMIT:
                wrong.append(f"a message of {len(payload)} bytes is above the limit of {PAYLOAD_LIMIT}")
                continue
            if retain:
                retain = seq >= self._states.get(topic, 0)
                self._states[topic] = max(seq, self._states.get(topic, 0))
            yield seq, topic, payload, retain

    def _message(self, seq: int, body: Body, late: bool) -> tuple[str, bytes]:
        root = f"{self._root}/backfill" if late and self._packer is None else self._root
        if isinstance(body, Reading):
            topic = self._topics.get((late, body.sensor))
            if topic is None:
                topic = self._topics[late, body.sensor] = f"{root}/reading/{level(body.sensor)}"
            return topic, reading_json(self._station, seq, body)
        if isinstance(body, Average):
            if self._packer is not None:
                body = self._packer.rounded(body)
            return f"{root}/average/{level(body.sensor)}", average_json(self._station, seq, body)
        if body.what == "alarm" and not late:
            return self._alarm_topic(body), alarm_json(self._station, seq, body)
        return f"{root}/event", event_json(self._station, seq, body)

    def _alarm_topic(self, event: Event) -> str:
        return f"{self._root}/alarm/{level(str(event.detail.get('rule', '')))}"

    def _jumped(self) -> Iterator[tuple[int, str, bytes, bool]]:
        """The states that the live records have jumped over, or that this connection has not seen."""
        for record in self._standing():
            event = record.body
            if isinstance(event, Event) and record.seq > self._states.get(self._alarm_topic(event), 0):
                with contextlib.suppress(ValueError, TypeError, msgspec.EncodeError):
                    payload = alarm_json(self._station, record.seq, event)
                    if len(payload) <= PAYLOAD_LIMIT:
                        self._states[self._alarm_topic(event)] = record.seq
                        yield 0, self._alarm_topic(event), payload, True

    def _online(self) -> StatusMessage:
        return StatusMessage("online", self._station, iso(self._stamp().utc_ms), "", dict(self._health()))

    async def _publish_status(self, link: MqttLink, message: StatusMessage) -> None:
        answers = await link.send([(0, f"{self._root}/status", encode(message), True)])
        reasons = [*answers.mendable.values(), *answers.refused.values()]
        if reasons:
            raise Unreachable(f"{link.broker}: the broker does not take our status: {reasons[0]}")

    async def _connected(self) -> MqttLink:
        """The connection, made anew if need be, with the birth published. Raises Unreachable."""
        if self._link is not None:
            if self._link.is_open:
                return self._link
            self._drop()
        link = self._link = await self._connect()
        try:
            await self._publish_status(link, self._online())
            if self._unanswered < UNANSWERED:
                link.listen(f"{self._root}/again", self._asked)
            if self._discovery is not None:
                await self._discover(link, self._discovery)
        except Unreachable:
            self._drop()
            raise
        return link

    def _asked(self, payload: bytes) -> None:
        try:
            numbers = _AGAIN.decode(payload[:PAYLOAD_LIMIT]).numbers
        except (msgspec.DecodeError, RecursionError) as e:
            log.debug("mqtt: asked for what makes no sense: %s", e)
            return
        if self.again.hear(numbers, asyncio.get_running_loop().time()):
            log.info("mqtt: asked to send once more: %s", numbers[:8])

    async def _discover(self, link: MqttLink, discovery: Discovery) -> None:
        """Tell Home Assistant. A broker that does not let us is no reason to stop. Raises Unreachable."""
        try:
            answers = await link.send(list(discovery.messages()))
        except Unreachable:
            self._hang_ups += 1
            if self._hang_ups >= HANG_UPS:
                log.warning(
                    "mqtt: %s: hangs up on what Home Assistant is told; going on without", link.broker
                )
                self._discovery = None
            raise
        self._hang_ups = 0
        reasons = [*answers.mendable.values(), *answers.refused.values()]
        if reasons:
            said = "the broker does not take what Home Assistant is told"
            log.warning("mqtt: %s: %s: %s", link.broker, said, reasons[0])
        else:
            discovery.published()

    async def _connect(self) -> MqttLink:
        """Connect with the version that worked last, or else the other. Raises Unreachable."""
        from gateway.mqtt_link import NAMES, Silence, VersionRefused

        broker = self._broker()
        versions = (self._only,) if self._only else (4, 5) if self.version == 4 else (5, 4)
        said = ""
        for version in versions:
            first = version == 5 and self.version is None and not self._only
            try:
                link = await self._open(broker, version, FIRST_ANSWER_S if first else self._answer_s)
            except VersionRefused as e:
                said = str(e)
                continue
            except Silence as e:
                if not first:
                    raise
                said = str(e)  # amqtt, for one, stumbles over the CONNECT of MQTT 5 and says nothing
                continue
            if version != self.version and version == 4 and not self._only:
                log.warning("mqtt: %s does not speak MQTT 5: falling back to MQTT 3.1.1 (%s)", broker, said)
                self._remarks.append(("mqtt_version", {"broker": str(broker), "version": NAMES[version]}))
            elif version != self.version:
                log.info("mqtt: %s: connected with %s", broker, NAMES[version])
            self.version = version
            return link
        raise Unreachable(said)

    async def _open(self, broker: Broker, version: int, connack_s: float) -> MqttLink:
        from gateway.mqtt_link import MqttLink

        will = StatusMessage("offline", self._station, why="connection lost")
        try:
            link = MqttLink(
                broker,
                version,
                WINDOW,
                (f"{self._root}/status", encode(will)),
                min(connack_s, self._answer_s),
                self._carried,
            )
        except OSError as e:  # ssl.SSLError is one
            files = ", ".join(file for file in (self._ca, *self._identity) if file)
            raise Unreachable(f"{broker}: certificates ({files}) cannot be used: {e}") from e
        self._states.clear()  # another broker may be there now, or the same without its memory
        await link.open()
        return link

    def _broker(self) -> Broker:
        from gateway.mqtt_link import Broker

        try:
            password = self._password() if callable(self._password) else self._password
        except OSError as e:
            raise Unreachable(f"the password cannot be read: {e}") from e
        return Broker(
            self._host, self._port, f"suuaba-{self._station}", self._username, password, self._tls, self._ca,
            self._keepalive_s, self._answer_s, *self._identity,
        )  # fmt: skip

    def _drop(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            self._unanswered = self._unanswered + 1 if link.unanswered else 0
            link.drop()


_AGAIN = msgspec.json.Decoder(AgainMessage)
