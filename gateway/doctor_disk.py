"""The doctor's look at the disk that the journal is on: room, rights, wear."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

from gateway import config
from gateway.doctor_finding import Finding, in_thread
from gateway.doctor_journal import Evidence, megabytes
from gateway.journal_disk import KEEP_FREE_BYTES


async def check_disk(wanted: config.Station, evidence: Evidence) -> Sequence[Finding]:
    """Room, rights and wear of the disk that the journal is on."""
    folder = wanted.data
    try:
        folder = await in_thread(lambda: _there(wanted.data), 10.0)
        disk = await in_thread(lambda: os.statvfs(folder), 10.0)
    except TimeoutError:
        return [Finding("disk", str(folder), "failure", "the disk does not answer", "look at: dmesg | tail")]
    except OSError as e:
        return [
            Finding("disk", str(folder), "failure", e.strerror or str(e), "give this user the right to it")
        ]
    return [
        _room(folder, disk),
        _rights(wanted.data, folder, disk, evidence),
        await asyncio.to_thread(_promise, wanted),
    ]


def _there(folder: Path) -> Path:
    """The folder, or the nearest above it that is there. Raises OSError where nobody may look."""
    while True:
        try:
            folder.stat()
        except FileNotFoundError:
            folder = folder.parent
        else:
            return folder


def _room(folder: Path, disk: os.statvfs_result) -> Finding:
    free, size = disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize
    text = f"{megabytes(free)} of {megabytes(size)} free"
    remedy = "make room, or move [station] data to a larger disk"
    if disk.f_files and not disk.f_favail:
        return Finding("disk", str(folder), "failure", f"{text}, and no file more (inodes used up)", remedy)
    if free < 2_000_000:
        return Finding("disk", str(folder), "failure", f"full: {text}; the journal takes nothing", remedy)
    if free < KEEP_FREE_BYTES:
        guard = (
            f"less than the {megabytes(KEEP_FREE_BYTES)} kept for the system; the journal forgets the oldest"
        )
        return Finding("disk", str(folder), "warning", f"{text}: {guard}", remedy)
    return Finding("disk", str(folder), "ok", text)


def _rights(data: Path, folder: Path, disk: os.statvfs_result, evidence: Evidence) -> Finding:
    if disk.f_flag & os.ST_RDONLY:
        remedy = "look at dmesg (a dying card goes read-only), then: sudo mount -o remount,rw"
        return Finding("disk", str(folder), "failure", "the file system is read-only", remedy)
    if not os.access(folder, os.W_OK | os.X_OK):
        owner = f"its owner has user number {folder.stat().st_uid}"
        if evidence.pid is not None:
            return Finding("disk", str(data), "ok", "only the service's user may write here, as it should be")
        remedy = f"sudo chown -R suuaba {folder}, or run as its owner"
        return Finding("disk", str(data), "failure", f"this user may not write here; {owner}", remedy)
    return Finding("disk", str(data), "ok", "may be written")


def _promise(wanted: config.Station) -> Finding:
    from gateway.plan import plan

    card = plan(wanted).card
    text = f"about {card.written / 1e6:.0f} MB a day are written, {card.kept / 1e6:.1f} MB of it kept"
    if card.written > 500e6:
        return Finding("disk", "wear", "warning", text, "write [journal] sync longer, or use a disk")
    return Finding("disk", "wear", "ok", text)
