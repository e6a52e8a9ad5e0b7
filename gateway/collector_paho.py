"""paho for a client that takes thousands of messages a second: reads in large pieces, acknowledges in one go.

paho asks the kernel for each message four times (the first byte, the length byte by byte, the rest), waits in
select between two messages, makes an object of properties that nobody looks at, and writes each
acknowledgement by itself, with a byte to wake its own thread: three quarters of what a collector would do
(measured). So some of its methods are replaced here. They are not public; what a new paho does differently
shows in the collector's tests, which all go through here, and in `python -m tests.bench.collect`.

    30 35  0011 "suuaba/1/s/status"  00  7b …  PUBLISH: topic, (QoS 1: packet identifier), properties, payload

Source: paho-mqtt 2.2.0, client.py (_packet_read, loop_read, _handle_publish, _packet_queue); MQTT 5.0, 3.3
(PUBLISH), 3.4 (PUBACK), 1.5.5 (length of the properties).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from typing import Any

from paho.mqtt.client import Client
from paho.mqtt.enums import MQTTErrorCode

AHEAD_BYTES = 64 * 1024
_PUBACK = struct.Struct("!BBH")  # type and flags, length of the rest, packet identifier; no reason: success


class Paho(Client):
    """A Client of MQTT 5 that gives what comes to `heard` (topic, payload, packet identifier or 0), on its
    own thread, and leaves the acknowledgement to `ack_all`.
    """

    def __init__(self, heard: Callable[[str, bytes, int], None], *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._heard = heard
        self._ahead = b""
        self._at = 0

    def ack_all(self, numbers: Iterable[int]) -> None:
        """Acknowledge these messages (QoS 1), in this order."""
        packets = b"".join(_PUBACK.pack(0x40, 2, number) for number in numbers)
        if packets:
            self._packet_queue(0x40, packets, 0, 0)

    def reconnect(self) -> MQTTErrorCode:
        self._ahead, self._at = b"", 0  # of a connection that is no more
        return super().reconnect()

    def loop_read(self, max_packets: int = 1) -> MQTTErrorCode:
        """Handle every packet that was read; select tells of none that lies here already."""
        while True:
            code = super().loop_read(max_packets)
            if code or self._sock is None or self._at >= len(self._ahead):
                return code

    def _sock_recv(self, bufsize: int) -> bytes:
        if self._at >= len(self._ahead):
            self._ahead, self._at = super()._sock_recv(max(bufsize, AHEAD_BYTES)), 0
        piece = self._ahead[self._at : self._at + bufsize]
        self._at += len(piece)
        return piece

    def _handle_publish(self) -> MQTTErrorCode:
        packet = bytes(self._in_packet["packet"])
        at = 2 + int.from_bytes(packet[:2])
        topic = packet[2:at].decode("utf-8", "replace")
        number = 0
        if self._in_packet["command"] & 0x06:  # QoS 1; we ask for no more
            number = int.from_bytes(packet[at : at + 2])
            at += 2
        length = shift = 0
        for octet in packet[at : at + 4]:
            at += 1
            length |= (octet & 0x7F) << shift
            shift += 7
            if octet < 0x80:
                break
        self._heard(topic, packet[at + length :], number)
        return MQTTErrorCode.MQTT_ERR_SUCCESS
