"""The doctor's look at the time: who says that the clock is right, and whether that can be."""

from __future__ import annotations

from collections.abc import Sequence

from gateway import config
from gateway.clock import Clock, Machine
from gateway.doctor_finding import Finding, Said, said
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
    hold = said(
        "readings wait up to [clock] hold ({hold} s), then go out flagged", hold=f"{wanted.clock.hold_s:g}"
    )
    found = []
    if clock.doubt is not None:
        remedy = said("set the clock (timedatectl), or wait for NTP")
        found.append(Finding("clock", "", "failure", said("not believed: {why}", why=clock.doubt), remedy))
    elif at.synced:
        by = said("right: the kernel's clock is disciplined")
        if not synced:
            by = said('right: by [clock] source = "{source}"', source=source)
        found.append(Finding("clock", "", "ok", by))
    elif source == "modem":
        found.append(_by_modem(evidence, hold))
    elif source == "rtc" and rtc_s is None:
        remedy = said('add one (dtoverlay=i2c-rtc), or write [clock] source = "ntp"')
        found.append(Finding("clock", "", "failure", said("there is no hardware clock, and no NTP"), remedy))
    elif source == "rtc":
        text = said("the hardware clock and the system clock do not agree, and nothing disciplines either")
        remedy = said("sudo hwclock --hctosys, or --systohc when NTP is right")
        found.append(Finding("clock", "", "failure", text, remedy))
    else:
        remedy = said(
            '{command}; without a network: a hardware clock and [clock] source = "rtc"', command=_NO_NTP
        )
        text = said('nothing synchronises it (source "{source}"); {hold}', source=source, hold=hold)
        found.append(Finding("clock", "", "warning", text, remedy))
    found.append(_rtc(rtc_s, at.utc_ms / 1000 if at.synced else None))
    return found


def _by_modem(evidence: Evidence, hold: Said) -> Finding:
    """The service asks the modem; here only its word counts."""
    told, now = evidence.told, evidence.now
    if told is not None and now is not None and told.at.boot == now.boot:
        return Finding("clock", "", "ok", said("told by the mobile network, to within some seconds"))
    text = said("the mobile network has not told the time since this machine started; {hold}", hold=hold)
    remedy = said("see the modem's lines; not every network tells the time")
    return Finding("clock", "", "warning", text, remedy)


def _rtc(rtc_s: float | None, right_s: float | None) -> Finding:
    if rtc_s is None:
        text = said("no hardware clock: after a power cut the time comes with NTP")
        return Finding("clock", "rtc", "ok", text)
    if right_s is not None and abs(rtc_s - right_s) > APART_S:
        text = said("the hardware clock is {off} s off", off=f"{rtc_s - right_s:+.0f}")
        remedy = said("sudo hwclock --systohc, and change its battery")
        return Finding("clock", "rtc", "warning", text, remedy)
    return Finding("clock", "rtc", "ok", said("there is a hardware clock"))
