"""The policy that a verification holds: who may sign, and what they must say. A lone public key is the shortest one."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from ciflow.dataclass import dataclass
from ciflow.diagnostics import Findings, Invalid
from ciflow.lang.kinds import boolean, duration, listed
from ciflow.lang.place import Place
from ciflow.lang.schema import check_part
from ciflow.lang.yamltext import parse
from ciflow.supply.certificates import Authority, Holder
from ciflow.supply.dsse import PREDICATES
from ciflow.supply.errors import KeyFault
from ciflow.supply.keys import PublicKey
from ciflow.supply.times import seconds_of

Reader = Callable[[str], bytes]


@dataclass(frozen=True, slots=True)
class Signer:
    """Somebody who may sign from `begins` to `ends` (Unix seconds), by their key or whom a certificate names.
    `revoked` says why their key counts no more."""

    name: str
    key: PublicKey | Holder
    begins: float = 0.0
    ends: float = math.inf
    revoked: str = ""


@dataclass(frozen=True, slots=True)
class Origin:
    """What provenance must say. Patterns; an empty tuple asks for nothing. `max_age` in seconds."""

    builder: tuple[str, ...] = ()
    source: tuple[str, ...] = ()
    ref: tuple[str, ...] = ()
    clean: bool = False
    max_age: float = math.inf


@dataclass(frozen=True, slots=True)
class Policy:
    """`attestations` are addresses of predicate types; `count` is how many different signers there must be."""

    signers: tuple[Signer, ...]
    signature: bool = True
    provenance: Origin | None = None
    attestations: tuple[str, ...] = ()
    count: int = 1


def policy_of(content: bytes, name: str, reader: Reader) -> Policy:
    """The policy in a file: a public key (PEM), or YAML. `reader` reads the files that it names, relative to it.

    Raises:
        Invalid: every fault of it, each at its place.
        KeyFault: the lone key can't be read.
    """
    if content.lstrip().startswith(b"-----BEGIN"):
        return Policy((Signer(name, PublicKey(content)),))
    findings = Findings()
    place = parse(content, name, findings, trusted=False)
    policy = _policy(place, findings, reader) if place is not None and not findings.errors else None
    if policy is None or findings.errors:
        if not findings.errors:
            findings.error("CF0101", "a policy is a mapping with `signers`", place.span if place else None)
        raise Invalid(findings.items, {name: content.decode("utf-8", "replace")})
    return policy


def signers_of(content: bytes, name: str, reader: Reader) -> tuple[Signer, ...]:
    """All who may sign, of a policy or a file of signers."""
    return policy_of(content, name, reader).signers


def _policy(place: Place, findings: Findings, reader: Reader) -> Policy | None:
    if not isinstance(place.value, Mapping):
        return None
    check_part("policy", place, findings)
    if findings.errors:
        return None
    signers = _signers(place.fields["signers"], findings, reader)
    said: Mapping[str, Any] = place.value.get("require") or {}
    origin = said.get("provenance")
    asked = tuple(PREDICATES.get(str(kind), str(kind)) for kind in listed(said.get("attestations", [])))
    signature = said.get("signature", origin is None and not asked)
    return Policy(
        signers, boolean(signature), _origin(origin) if origin is not None else None, asked, int(said.get("signers", 1))
    )


def _origin(said: Mapping[str, Any]) -> Origin:
    def patterns(name: str) -> tuple[str, ...]:
        return tuple(str(one) for one in listed(said.get(name, [])))

    limit = duration(said["max_age"]) if said.get("max_age") is not None else math.inf
    return Origin(patterns("builder"), patterns("source"), patterns("ref"), boolean(said.get("clean", False)), limit)


def _signers(place: Place, findings: Findings, reader: Reader) -> tuple[Signer, ...]:
    if isinstance(place.value, str):
        content = _content(place, findings, reader)
        if content is None:
            return ()
        below = parse(content, place.value, findings, trusted=False)
        if below is None or not isinstance(below.value, Mapping) or not isinstance(below.value.get("signers"), Mapping):
            findings.error("CF0101", f"{place.value} holds no `signers`", place.span)
            return ()
        place = below.fields["signers"]
    found = [_signer(str(name), below, findings, reader) for name, below in place.fields.items()]
    if not found:
        findings.error("CF0104", "nobody may sign: `signers` is empty", place.span)
    return tuple(one for one in found if one is not None)


def _signer(name: str, place: Place, findings: Findings, reader: Reader) -> Signer | None:
    mark = len(findings.items)
    if not isinstance(place.value, Mapping):
        findings.error("CF0101", f"the signer `{name}` is a mapping with `key` or `pem`", place.span)
        return None
    check_part("signer", place, findings)
    if findings.failed_since(mark):
        return None
    begins, ends = _time(place, "from", findings, 0.0), _time(place, "until", findings, math.inf)
    key = (_holder if place.value.get("identity") else _key)(name, place, findings, reader)
    if key is None or findings.failed_since(mark):
        return None
    return Signer(name, key, begins, ends, str(place.value.get("revoked") or ""))


def _key(name: str, place: Place, findings: Findings, reader: Reader) -> PublicKey | None:
    pem = place.value.get("pem")
    content = str(pem).encode() if pem else _content(place.fields["key"], findings, reader)
    try:
        return PublicKey(content) if content is not None else None
    except KeyFault as fault:
        findings.error("CF0104", f"the signer `{name}`: {fault}", place.fields["pem" if pem else "key"].span)
        return None


def _holder(name: str, place: Place, findings: Findings, reader: Reader) -> Holder | None:
    lacking = [word for word in ("issuer", "certificates", "log") if not place.value.get(word)]
    if lacking:
        findings.error("CF0104", f"the signer `{name}` has an `identity`; that needs `{lacking[0]}`, too", place.span)
        return None
    chain, log = (_content(place.fields[word], findings, reader) for word in ("certificates", "log"))
    if chain is None or log is None:
        return None
    try:
        authority = Authority.of(chain, log)
    except KeyFault as fault:
        findings.error("CF0104", f"the signer `{name}`: {fault}", place.span)
        return None
    return Holder(str(place.value["identity"]), str(place.value["issuer"]), authority)


def _time(place: Place, word: str, findings: Findings, other: float) -> float:
    text = place.value.get(word)
    if text is None:
        return other
    try:
        return seconds_of(str(text))
    except ValueError as error:
        findings.error("CF0104", f"`{word}`: {error}", place.fields[word].span)
        return other


def _content(place: Place, findings: Findings, reader: Reader) -> bytes | None:
    try:
        return reader(str(place.value))
    except OSError as error:
        findings.error("CF0104", f"{error.filename}: {error.strerror}", place.span)
        return None
