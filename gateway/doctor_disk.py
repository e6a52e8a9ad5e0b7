"""The doctor's look at the disk that the journal is on: room, rights, wear."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

from gateway import config
from gateway.doctor_finding import Finding, in_thread, said
from gateway.doctor_journal import Evidence, megabytes
from gateway.journal_disk import KEEP_FREE_BYTES


async def check_disk(wanted: config.Station, evidence: Evidence) -> Sequence[Finding]:
    """Room, rights and wear of the disk that the journal is on."""
    folder = wanted.data
    try:
        folder = await in_thread(lambda: _there(wanted.data), 10.0)
        disk = await in_thread(lambda: os.statvfs(folder), 10.0)
    except TimeoutError:
        text = said("the disk does not answer")
        return [Finding("disk", str(folder), "failure", text, said("look at: dmesg | tail"))]
    except OSError as e:
        remedy = said("give this user the right to it")
        return [Finding("disk", str(folder), "failure", e.strerror or str(e), remedy)]
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
    room = {"free": megabytes(free), "size": megabytes(size)}
    remedy = said("make room, or move [station] data to a larger disk")
    if disk.f_files and not disk.f_favail:
        text = said("{free} of {size} free, and no file more (inodes used up)", **room)
        return Finding("disk", str(folder), "failure", text, remedy)
    if free < 2_000_000:
        text = said("full: {free} of {size} free; the journal takes nothing", **room)
        return Finding("disk", str(folder), "failure", text, remedy)
    if free < KEEP_FREE_BYTES:
        text = said(
            "{free} of {size} free: less than the {kept} kept for the system; the journal forgets the oldest",
            **room, kept=megabytes(KEEP_FREE_BYTES),
        )  # fmt: skip
        return Finding("disk", str(folder), "warning", text, remedy)
    return Finding("disk", str(folder), "ok", said("{free} of {size} free", **room))


def _rights(data: Path, folder: Path, disk: os.statvfs_result, evidence: Evidence) -> Finding:
    if disk.f_flag & os.ST_RDONLY:
        remedy = said("look at dmesg (a dying card goes read-only), then: sudo mount -o remount,rw")
        return Finding("disk", str(folder), "failure", said("the file system is read-only"), remedy)
    if not os.access(folder, os.W_OK | os.X_OK):
        if evidence.pid is not None:
            text = said("only the service's user may write here, as it should be")
            return Finding("disk", str(data), "ok", text)
        remedy = said("sudo chown -R suuaba {folder}, or run as its owner", folder=folder)
        uid = folder.stat().st_uid
        text = said("this user may not write here; its owner has user number {uid}", uid=uid)
        return Finding("disk", str(data), "failure", text, remedy)
    return Finding("disk", str(data), "ok", said("may be written"))


def _promise(wanted: config.Station) -> Finding:
    from gateway.plan import plan

    card = plan(wanted).card
    text = said(
        "about {written} MB a day are written, {kept} MB of it kept",
        written=f"{card.written / 1e6:.0f}", kept=f"{card.kept / 1e6:.1f}",
    )  # fmt: skip
    if card.written > 500e6:
        return Finding("disk", "wear", "warning", text, said("write [journal] sync longer, or use a disk"))
    return Finding("disk", "wear", "ok", text)
