"""Which server is trusted: the algorithms that are offered to it, and whether its host key is known."""

from __future__ import annotations

import base64
import binascii
import shlex
import time
from collections.abc import Sequence
from pathlib import Path

import paramiko

from ciflow.diagnostics import Refused, Unreachable
from ciflow.targets.host_certificate import SUFFIX, Certificate
from ciflow.targets.known_hosts import KnownKey, fingerprint, host_name, keys_for, parse_known_hosts, verdict
from ciflow.targets.ssh_keywords import fits
from ciflow.targets.ssh_options import Route

# The fastest first, measured on loopback; what else is as good stays on offer behind them.
KEX = ("curve25519-sha256@libssh.org", "ecdh-sha2-nistp256", "mlkem768x25519-sha256")
CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes128-ctr")
SAME = {"curve25519-sha256": "curve25519-sha256@libssh.org"}  # RFC 8731, 1: one method by two names
WEAK = ("*-cbc", "hmac-md5*", "hmac-sha1-96")  # paramiko has them; OpenSSH offers none of them unless it is told to
AUTHORITY = "@cert-authority"
REVOCATION_LIST = b"SSHKRL\n\0"  # how a KRL begins (PROTOCOL.krl of OpenSSH)


def known_keys(route: Route) -> tuple[KnownKey, ...]:
    """What the files of known hosts say of a host, also of its name without the port, which OpenSSH takes as well."""
    names = dict.fromkeys((_name(route), route.alias or route.address))
    return tuple(key for file in route.known_hosts for name in names for key in _known_in(file, name))


def offer(options: paramiko.transport.SecurityOptions, route: Route, known: tuple[KnownKey, ...]) -> None:
    """What is fast, or as the configuration says; and host keys of kinds that we can check: a server with several would
    look changed else. Refused: what the configuration wants is not to be had."""
    said = route.algorithms
    options.kex = chosen("KexAlgorithms", said.kex, options.kex, KEX)
    options.ciphers = chosen("Ciphers", said.ciphers, options.ciphers, CIPHERS)
    options.digests = chosen("MACs", said.macs, options.digests)
    certified = any(key.marker == AUTHORITY for key in known)
    vouched = tuple(kind + SUFFIX for kind in options.key_types) if certified else ()
    kinds = {key.kind for key in known if not key.marker}
    kinds |= {"rsa-sha2-512", "rsa-sha2-256"} if "ssh-rsa" in kinds else set()
    first = tuple(kind for kind in options.key_types if kind in kinds)
    ours = said.host_keys[:1] in ("", "+", "-")  # the order; a list has its own
    kinds_here = (*vouched, *options.key_types)
    options.key_types = chosen("HostKeyAlgorithms", said.host_keys, kinds_here, (*vouched, *first) if ours else ())


def chosen(word: str, said: str, ours: Sequence[str], first: Sequence[str] = ()) -> tuple[str, ...]:
    """Of the algorithms that are to be had here those that `said` asks for, as ssh_config(5) has it: a list; or with +
    these as well as the usual ones, with - without these, with ^ these before the others."""
    usual = [one for one in dict.fromkeys((*first, *ours)) if one in ours and not any(fits(one, w) for w in WEAK)]
    sign, patterns = (said[:1], said[1:]) if said[:1] in ("+", "-", "^") else ("", said)
    named = [one for pattern in patterns.split(",") for one in ours if fits(one, SAME.get(pattern, pattern))]
    if not said:
        found = usual
    elif sign == "-":
        found = [one for one in usual if one not in named]
    else:
        found = {"": named, "+": [*usual, *named], "^": [*named, *usual]}[sign]
    if not found:
        raise Refused(f"{word} {said}: ciflow has none of them", help=f"it has {', '.join(ours)}")
    return tuple(dict.fromkeys(found))


def check_host_key(key: paramiko.PKey, known: tuple[KnownKey, ...], route: Route, host: str) -> None:
    """Unreachable: the key is not trusted; with its fingerprint, and the command that accepts it."""
    name = _name(route)
    found = _verdict(key, known, name, route)
    if found == "trusted" or (found == "unknown" and route.strict == "no"):
        return
    line = f"{name} {key.get_name()} {key.get_base64()}"
    file = Path(route.new_keys)
    if found == "unknown" and route.strict == "accept-new":
        if route.new_keys:
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with file.open("a") as f:
                f.write(line + "\n")
        return
    accept = f"echo {shlex.quote(line)} >> {shlex.quote(str(file))}"  # no ssh-keyscan: it goes through no jump host
    accept = accept if route.new_keys else f"(UserKnownHostsFile is none: name one for it) {line}"
    held = next((held for held in route.known_hosts if _known_in(held, name)), str(file))
    remove = f"ssh-keygen -R {shlex.quote(name)} -f {shlex.quote(held)}"
    raise Unreachable(
        f"{host}: the host key of {name} is {found}: {key.get_name()} {fingerprint(key.asbytes())}",
        help={
            "unknown": f"compare the fingerprint with the host's own, then accept it:\n  {accept}",
            "changed": f"somebody may be in between. If the host was rebuilt:\n  {remove} && {accept}",
            "revoked": "this key must not be used any more: give the host a new one",
            "": "its authority has to give it another certificate, or its clock is wrong",
            "too short": f"RequiredRSASize is {route.least_rsa} bits: give the host a longer one, or one of ed25519",
        }["" if found.startswith("vouched") else found],
    )


def _verdict(key: paramiko.PKey, known: tuple[KnownKey, ...], name: str, route: Route) -> str:
    if too_short(key, route):
        return "too short"
    certificate = Certificate.read(key.public_blob.key_blob) if key.public_blob is not None else None
    shown = {key.asbytes()} | ({certificate.authority} if certificate is not None else set())
    refused = {line.key for line in known if line.marker == "@revoked"}
    if shown & (refused | (_revoked(route.revoked) if route.revoked else set())):
        return "revoked"
    why = ""
    if certificate is not None and any(one.marker == AUTHORITY and one.key == certificate.authority for one in known):
        why = certificate.trouble(route.alias or route.address, time.time(), route.algorithms.signatures)
        if not why:
            return "trusted"
    found = verdict(known, name, key.get_name(), key.asbytes())
    if found == "unknown" and not route.alias:
        bare = verdict(known, route.address, key.get_name(), key.asbytes())
        found = bare if bare in ("trusted", "revoked") else found
    return f"vouched for, but {why}" if why and found == "unknown" else found


def too_short(key: paramiko.PKey, route: Route) -> bool:
    return "rsa" in key.get_name() and key.get_bits() < route.least_rsa


def _revoked(file: str) -> set[bytes]:
    """The keys of a RevokedHostKeys. Unreachable: it can't be read, so that nobody can be trusted."""
    try:
        content = Path(file).read_bytes()
    except OSError as e:
        raise Unreachable(f"RevokedHostKeys {file}: {e.strerror}, so no host key can be trusted") from e
    if content.startswith(REVOCATION_LIST):
        raise Refused(f"RevokedHostKeys {file} is a KRL, which is not built", help="write the keys, one in a line")
    found = set()
    for words in map(bytes.split, content.splitlines()):
        for word in words[1:3]:  # its kind comes before it, and may have options before it
            try:
                found.add(base64.b64decode(word, validate=True))
            except binascii.Error:
                continue
    return found


def _name(route: Route) -> str:
    return route.alias or host_name(route.address, route.port)


def _known_in(file: str, name: str) -> tuple[KnownKey, ...]:
    path = Path(file)
    return keys_for(parse_known_hosts(path.read_text(errors="replace")), name) if path.is_file() else ()
