"""Statements and the envelopes they are signed in.

Specifications: DSSE v1.0.2 (secure-systems-lab/dsse, protocol.md and envelope.md), in-toto Attestation Framework v1.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from typing import Any

from ciflow.dataclass import dataclass
from ciflow.supply.errors import SignatureError
from ciflow.supply.keys import PublicKey, SigningKey
from ciflow.supply.strict import Json, read

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
IN_TOTO = "application/vnd.in-toto+json"
CYCLONEDX = "https://cyclonedx.org/bom"
SPDX = "https://spdx.dev/Document"
OPENVEX = "https://openvex.dev/ns/v0.2.0"
PROVENANCE = "https://slsa.dev/provenance/v1"
TEST_RESULT = "https://in-toto.io/attestation/test-result/v0.1"

# Short names of what people attest.
PREDICATES: Mapping[str, str] = {
    "cyclonedx": CYCLONEDX,
    "openvex": OPENVEX,
    "provenance": PROVENANCE,
    "spdx": SPDX,
    "test-result": TEST_RESULT,
}


@dataclass(frozen=True)
class Subject:
    """What a statement is about: a name, and its digests in hex by algorithm (`sha256`)."""

    name: str
    digest: Mapping[str, str]


@dataclass(frozen=True)
class Statement:
    """What somebody says of artifacts. `predicate` is in the terms of `kind`, the address of a predicate type."""

    subjects: tuple[Subject, ...]
    kind: str
    predicate: Mapping[str, Any]

    def is_about(self, sha256: str) -> bool:
        return any(subject.digest.get("sha256") == sha256 for subject in self.subjects)

    def to_bytes(self) -> bytes:
        """An in-toto Statement v1."""
        listed = [{"name": s.name, "digest": dict(s.digest)} for s in sorted(self.subjects, key=lambda s: s.name)]
        if not listed or not all(subject["digest"] for subject in listed):
            raise SignatureError("a statement needs a subject, and each subject a digest")
        return compact(
            {"_type": STATEMENT_TYPE, "subject": listed, "predicateType": self.kind, "predicate": self.predicate}
        )


def statement_of(kind: str, payload: bytes) -> Statement:
    """The statement in a payload whose signature holds; SignatureError when it is none."""
    if kind != IN_TOTO:
        raise SignatureError(f"what was signed is no in-toto statement v1: its type is {kind!r}")
    document = read(payload, "statement")
    document.only("_type", "subject", "predicateType", "predicate")
    if document.text("_type") != STATEMENT_TYPE:
        raise SignatureError("what was signed is no in-toto statement v1")
    subjects = tuple(_subject(one) for one in document.objects("subject"))
    if not subjects:
        raise SignatureError("statement.subject: it is about nothing")
    return Statement(subjects, document.text("predicateType"), document.object("predicate").value)


def _subject(item: Json) -> Subject:
    digest = item.object("digest")
    return Subject(item.text("name", ""), {name: digest.text(name) for name in digest.value})


# Envelopes


def pae(payload_type: str, payload: bytes) -> bytes:
    """Pre-authentication encoding: what is signed, so that type and payload cannot be shifted."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def envelope(payload: bytes, payload_type: str, key: SigningKey, keyid: str | None = None) -> dict[str, Any]:
    """A DSSE envelope with one signature."""
    signature = {"sig": b64(key.sign(pae(payload_type, payload))), "keyid": key.public.id if keyid is None else keyid}
    return {"payload": b64(payload), "payloadType": payload_type, "signatures": [signature]}


def open_envelope(document: Json, keys: Iterable[PublicKey]) -> tuple[str, bytes, PublicKey]:
    """Type and payload of an envelope, and the key of which one of its signatures is. What an envelope says of its
    keys is not signed, so each is tried.

    Raises:
        SignatureError: damaged, or signed by others only.
    """
    document.only("payload", "payloadType", "signatures")
    kind, payload = document.text("payloadType"), document.bytes("payload")
    signatures = document.objects("signatures")
    if not signatures:
        raise SignatureError(f"{document.path}.signatures: nobody has signed it")
    encoded = pae(kind, payload)
    known = tuple(keys)
    for signature in signatures:
        signature.only("sig", "keyid")
        signature.text("keyid", "")
        found = _by(known, encoded, signature.bytes("sig"))
        if found is not None:
            return kind, payload, found
    raise SignatureError(f"{document.path}: no signature is by this key over this content")


def _by(keys: Iterable[PublicKey], data: bytes, signature: bytes) -> PublicKey | None:
    for key in keys:
        try:
            key.verify(data, signature)
        except SignatureError:
            continue
        return key
    return None


# Encoding


def compact(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()
