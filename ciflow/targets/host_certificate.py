"""Certificates of hosts (PROTOCOL.certkeys of OpenSSH): what one says, and whether it vouches for a host now."""

from __future__ import annotations

import struct

import paramiko

from ciflow.dataclass import dataclass
from ciflow.targets.ssh_keywords import listed

SUFFIX = "-cert-v01@openssh.com"
OF_A_HOST = 2  # SSH_CERT_TYPE_HOST
_FIELDS = {"ssh-ed25519": 1, "ssh-rsa": 2}  # of a public key; two of an ECDSA one: its curve, and its point


@dataclass(frozen=True, slots=True)
class Certificate:
    """`since` and `until` are seconds since the epoch; `authority` is the public key by which `signed` was signed."""

    kind: int
    principals: tuple[str, ...]
    since: int
    until: int
    critical: bytes
    authority: bytes
    signed: bytes
    signature: bytes

    @staticmethod
    def read(blob: bytes) -> Certificate:
        """Raises SSHException: it makes no sense."""
        try:
            return Certificate._read(paramiko.Message(blob))
        except (ValueError, struct.error) as e:
            raise paramiko.SSHException(f"the host's certificate can't be read: {e}") from e

    @staticmethod
    def _read(message: paramiko.Message) -> Certificate:
        name = message.get_text().removesuffix(SUFFIX)
        for _ in range(1 + _FIELDS.get(name, 2)):  # a nonce, and the key
            message.get_binary()
        message.get_int64()  # its serial number
        kind = message.get_int()
        message.get_binary()  # what its authority calls it
        principals = tuple(_strings(message.get_binary()))
        since, until, critical = message.get_int64(), message.get_int64(), message.get_binary()
        message.get_binary()  # extensions
        message.get_binary()  # reserved
        authority = message.get_binary()
        return Certificate(
            kind, principals, since, until, critical, authority, message.get_so_far(), message.get_binary()
        )

    def trouble(self, name: str, now: float, signatures: str) -> str:
        """Why it does not vouch for the host `name`; "" where it does. `signatures`: see CASignatureAlgorithms."""
        if self.kind != OF_A_HOST:
            return "it is a user's"
        if name.lower() not in map(str.lower, self.principals):
            return f"it is for {', '.join(self.principals) or 'nobody by name (ssh-keygen -n)'}"
        if not self.since <= now < self.until:
            return "its time has not begun" if now < self.since else "its time is over"
        if self.critical:
            return "it has conditions that nothing here knows"
        if not _allowed(_name(self.signature), signatures):
            return "it is signed in a way that CASignatureAlgorithms does not allow"
        return "" if self._is_signed() else "its signature is wrong"

    def _is_signed(self) -> bool:
        try:
            key = paramiko.PKey.from_type_string(_name(self.authority), self.authority)
            return bool(key.verify_ssh_sig(self.signed, paramiko.Message(self.signature)))
        except (paramiko.pkey.UnknownKeyType, paramiko.SSHException, ValueError, struct.error):
            return False


def _name(blob: bytes) -> str:
    """What a key or a signature begins with."""
    return paramiko.Message(blob).get_binary().decode("ascii", "replace")


def _strings(packed: bytes) -> list[str]:
    message, found = paramiko.Message(packed), []
    while message.get_remainder():
        found.append(message.get_text())
    return found


def _allowed(algorithm: str, said: str) -> bool:
    if said[:1] in ("", "+", "^"):
        return True
    return not listed(algorithm, said[1:]) if said.startswith("-") else listed(algorithm, said)
