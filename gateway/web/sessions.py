"""Who may: the password (Argon2id), the one-time code of the first start, sessions, and how often one may
try.

No password is built in. Either station.toml names one ([web] password), or the first start prints a code with
which a password is set on the page; its hash lies in the data folder (`web.password`, mode 600).

Argon2id with 19 MiB, two passes: OWASP Password Storage Cheat Sheet, "Argon2id" (the least it recommends),
for a machine with little memory. One check at a time: a hundred at once would be two gigabytes.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import ipaddress
import os
import secrets
from collections import OrderedDict, deque
from dataclasses import dataclass
from pathlib import Path

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

TRIES, PER_S = 5, 60.0
TRIES_OF_ALL = 60
"""From everywhere together: a thousand addresses are no way around."""
ADDRESSES = 1000
SESSIONS = 50
LASTS_S = 12 * 3600.0
IDLE_S = 2 * 3600.0
LEAST_LENGTH, MOST_LENGTH = 10, 200
_ALPHABET = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"  # nothing that is mistaken for something else


@dataclass(slots=True)
class Session:
    """Somebody who signed in. `csrf` comes with every request that changes something."""

    csrf: str
    name: str
    began_s: float
    seen_s: float


class Sessions:
    """The sessions, in memory: a restart signs everybody out. Only hashes of the cookies are kept."""

    def __init__(self) -> None:
        self._sessions: OrderedDict[str, Session] = OrderedDict()

    def begin(self, name: str) -> tuple[str, Session]:
        """A new session: the cookie's value, and what belongs to it."""
        now_s = asyncio.get_running_loop().time()
        cookie = secrets.token_urlsafe(32)
        session = Session(secrets.token_urlsafe(24), name, now_s, now_s)
        self._sessions[_key(cookie)] = session
        while len(self._sessions) > SESSIONS:
            self._sessions.popitem(last=False)
        return cookie, session

    def find(self, cookie: str) -> Session | None:
        now_s = asyncio.get_running_loop().time()
        session = self._sessions.get(_key(cookie))
        if session is None:
            return None
        if now_s - session.began_s > LASTS_S or now_s - session.seen_s > IDLE_S:
            del self._sessions[_key(cookie)]
            return None
        session.seen_s = now_s
        return session

    def end(self, cookie: str) -> None:
        self._sessions.pop(_key(cookie), None)

    def end_all(self) -> None:
        self._sessions.clear()


class Tries:
    """So many tries a minute from an address, and from all together."""

    def __init__(self, most: int = TRIES, of_all: int = TRIES_OF_ALL) -> None:
        self._most, self._of_all = most, of_all
        self._by: OrderedDict[str, deque[float]] = OrderedDict()
        self._all: deque[float] = deque()

    def wait_s(self, address: str) -> float:
        """Count a try; 0 if it may be made, else in how long the next may."""
        now_s = asyncio.get_running_loop().time()
        network = _network(address)
        mine = self._by.setdefault(network, deque())
        self._by.move_to_end(network)
        while len(self._by) > ADDRESSES:
            self._by.popitem(last=False)
        for tries, most in ((mine, self._most), (self._all, self._of_all)):
            while tries and now_s - tries[0] >= PER_S:
                tries.popleft()
            if len(tries) >= most:
                return PER_S - (now_s - tries[0])
        mine.append(now_s)
        self._all.append(now_s)
        return 0.0


class Password:
    """The technicians' password. `given`: as station.toml names it, plain or as an Argon2 hash."""

    def __init__(self, folder: Path, given: str | None) -> None:
        self._file = folder / "web.password"
        self._hasher = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)
        self._given = given
        self._hash = ""
        self._one_at_a_time = asyncio.Lock()
        self.code = ""
        """What sets the first password; "" where there is one."""

    async def open(self) -> None:
        """Read or make the hash; without any, make a code. Raises OSError."""
        if self._given is not None:
            given, self._given = self._given, None
            self._hash = (
                given if given.startswith("$argon2") else await asyncio.to_thread(self._hasher.hash, given)
            )
            return
        with contextlib.suppress(FileNotFoundError):
            self._hash = (await asyncio.to_thread(self._file.read_text, "ascii")).strip()
        if not self._hash:
            raw = "".join(secrets.choice(_ALPHABET) for _ in range(12))
            self.code = "-".join(raw[i : i + 4] for i in (0, 4, 8))

    @property
    def is_set(self) -> bool:
        return bool(self._hash)

    async def fits(self, password: str) -> bool:
        """Whether it is the one. Takes some hundredths of a second, in a thread."""
        async with self._one_at_a_time:
            return await asyncio.to_thread(self._fits, password)

    async def set_first(self, code: str, password: str) -> bool:
        """Set the first password with the printed code. Whether the code was right. Raises OSError."""
        wanted = self.code.replace("-", "")
        given = code.upper().replace("-", "").replace(" ", "")
        if not wanted or not hmac.compare_digest(wanted.encode(), given.encode()):
            return False
        async with self._one_at_a_time:
            if not self.code:
                return False
            made = await asyncio.to_thread(self._hasher.hash, password)
            await asyncio.to_thread(self._keep, made)
            self._hash, self.code = made, ""
        return True

    def _fits(self, password: str) -> bool:
        try:
            return self._hasher.verify(self._hash, password)
        except (VerificationError, InvalidHashError):
            return False

    def _keep(self, made: str) -> None:
        beside = self._file.with_name("web.password.new")
        with open(
            os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="ascii"
        ) as file:
            file.write(made + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, self._file)


def _key(cookie: str) -> str:
    return hashlib.sha256(cookie.encode("utf-8", "replace")).hexdigest()


def _network(address: str) -> str:
    """An IPv4 address, or the /64 that one customer has."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]
    if parsed.version == 6:
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return address
