"""The doctor's look at the time: who says that the clock is right, and whether that can be."""

from __future__ import annotations

from collections.abc import Sequence

from gateway import config
from gateway.clock import Clock, Machine
from gateway.doctor_finding import Finding
from gateway.doctor_journal import Evidence

APART_S = 5.0
_NO_NTP = "sudo timedatectl set-ntp true, and look at: timedatectl timesync-status"


async def check_clock(
    wanted: config.Station, evidence: Evidence, machine: Machine | None = None
) -> Sequence[Finding]:
    """Source, synchronisation, hardware clock, and what the station was once sure of."""
    machine = machine or Machine()
    source = wanted.clock.source
    clock = Clock(source, memory=evidence.dating, machine=machine)
    at = clock.stamp()
    rtc_s, synced = machine.rtc_s(), machine.synced()
    hold = f"readings wait up to [clock] hold ({wanted.clock.hold_s:g} s), then go out flagged"
    found = []
    if clock.doubt is not None:
        remedy = "set the clock (timedatectl), or wait for NTP"
        found.append(Finding("clock", "", "failure", f"not believed: {clock.doubt}", remedy))
    elif at.synced:
        by = "the kernel's clock is disciplined" if synced else f'by [clock] source = "{source}"'
        found.append(Finding("clock", "", "ok", f"right: {by}"))
    elif source == "modem":
        found.append(_by_modem(evidence, hold))
    elif source == "rtc" and rtc_s is None:
        remedy = 'add one (dtoverlay=i2c-rtc), or write [clock] source = "ntp"'
        found.append(Finding("clock", "", "failure", "there is no hardware clock, and no NTP", remedy))
    elif source == "rtc":
        text = "the hardware clock and the system clock do not agree, and nothing disciplines either"
        found.append(
            Finding("clock", "", "failure", text, "sudo hwclock --hctosys, or --systohc when NTP is right")
        )
    else:
        remedy = f'{_NO_NTP}; without a network: a hardware clock and [clock] source = "rtc"'
        text = f'nothing synchronises it (source "{source}"); {hold}'
        found.append(Finding("clock", "", "warning", text, remedy))
    found.append(_rtc(rtc_s, at.utc_ms / 1000 if at.synced else None))
    return found


def _by_modem(evidence: Evidence, hold: str) -> Finding:
    """The service asks the modem; here only its word counts."""
    told, now = evidence.told, evidence.now
    if told is not None and now is not None and told.at.boot == now.boot:
        return Finding("clock", "", "ok", "told by the mobile network, to within some seconds")
    text = f"the mobile network has not told the time since this machine started; {hold}"
    return Finding("clock", "", "warning", text, "see the modem's lines; not every network tells the time")


def _rtc(rtc_s: float | None, right_s: float | None) -> Finding:
    if rtc_s is None:
        return Finding("clock", "rtc", "ok", "no hardware clock: after a power cut the time comes with NTP")
    if right_s is not None and abs(rtc_s - right_s) > APART_S:
        text = f"the hardware clock is {rtc_s - right_s:+.0f} s off"
        return Finding("clock", "rtc", "warning", text, "sudo hwclock --systohc, and change its battery")
    return Finding("clock", "rtc", "ok", "there is a hardware clock")
