"""Which host keys are trusted: the known_hosts format of sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT". Pure."""

from __future__ import annotations

import base64
import binascii
import fnmatch
import functools
import hashlib
import hmac
from collections.abc import Iterable

from ciflow.dataclass import dataclass


@dataclass(frozen=True, slots=True)
class KnownKey:
    """One line. `marker` is "", "@revoked" or "@cert-authority"."""

    marker: str
    hosts: str
    kind: str
    key: bytes


@functools.lru_cache(maxsize=8)  # each connection reads the same few files
def parse_known_hosts(text: str) -> tuple[KnownKey, ...]:
    """All lines that make sense; OpenSSH passes over the others as well."""
    return tuple(key for line in text.splitlines() if (key := _parse_line(line.split())) is not None)


def _parse_line(words: list[str]) -> KnownKey | None:
    marker = words.pop(0) if words and words[0].startswith("@") else ""
    if len(words) < 3 or words[0].startswith("#"):
        return None
    try:
        return KnownKey(marker, words[0], words[1], base64.b64decode(words[2], validate=True))
    except binascii.Error:
        return None


def host_name(address: str, port: int) -> str:
    """How known_hosts names an address with a port."""
    return address if port == 22 else f"[{address}]:{port}"


def keys_for(known: Iterable[KnownKey], name: str) -> tuple[KnownKey, ...]:
    """The lines that speak about the host `name` (see `host_name`)."""
    return tuple(key for key in known if _matches(key.hosts, name))


def verdict(known: Iterable[KnownKey], name: str, kind: str, key: bytes) -> str:
    """trusted | unknown | changed | revoked."""
    lines = keys_for(known, name)
    if any(line.marker == "@revoked" and line.key == key for line in lines):
        return "revoked"
    plain = [line for line in lines if not line.marker]
    if any(line.key == key for line in plain):
        return "trusted"
    return "changed" if any(line.kind == kind for line in plain) else "unknown"


def fingerprint(key: bytes) -> str:
    """As ssh-keygen -l prints it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(key).digest()).decode().rstrip("=")


def _matches(hosts: str, name: str) -> bool:
    if hosts.startswith("|1|"):
        return _matches_hash(hosts, name)
    found, name = False, name.lower()
    for pattern in hosts.lower().split(","):
        negated = pattern.startswith("!")
        if _fits(name, pattern.lstrip("!")):
            if negated:
                return False
            found = True
    return found


def _fits(name: str, pattern: str) -> bool:
    """Only * and ? are wild, brackets stand for themselves. Few patterns are wild: to make an expression of each, for
    each of a thousand hosts that have a line each, would take minutes."""
    if "*" not in pattern and "?" not in pattern:
        return name == pattern
    return fnmatch.fnmatchcase(name, pattern.replace("[", "[[]"))


def _matches_hash(hosts: str, name: str) -> bool:
    try:
        salt, digest = (base64.b64decode(part) for part in hosts[3:].split("|", 1))
    except (binascii.Error, ValueError):
        return False
    return hmac.compare_digest(hmac.digest(salt, name.encode(), "sha1"), digest)
