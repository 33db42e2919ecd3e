"""Sigstore bundles v0.3 (sigstore/protobuf-specs, sigstore_bundle.proto): a signature of a file, or an attestation."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

from ciflow.dataclass import dataclass
from ciflow.supply.dsse import IN_TOTO, PREDICATES, Statement, b64, compact, envelope, open_envelope, statement_of
from ciflow.supply.errors import SignatureError
from ciflow.supply.keys import PublicKey, SigningKey
from ciflow.supply.strict import Json, read

MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
ENDING = ".sigstore.json"


def signature_name(name: str) -> str:
    """The file that the signature of an artifact goes to."""
    return f"{name}{ENDING}"


def attestation_name(name: str, kind: str) -> str:
    """The file that an attestation goes to: `server.provenance.intoto.sigstore.json`, one for each predicate type."""
    short = next((short for short, address in PREDICATES.items() if address == kind), kind.partition("://")[2] or kind)
    return f"{name}.{re.sub('[^A-Za-z0-9_-]+', '-', short)}.intoto{ENDING}"


def is_of(name: str, file: str) -> bool:
    """Whether a file is one of the two for the artifact of this name (and not of one whose name only begins so)."""
    kind = re.escape(name) + r"\.[A-Za-z0-9_-]+\.intoto" + re.escape(ENDING)
    return file == signature_name(name) or re.fullmatch(kind, file) is not None


@dataclass(frozen=True, slots=True)
class Vouched:
    """Whose key signed it, and what it says: of a file nothing but that these are its bytes (None)."""

    key: PublicKey
    statement: Statement | None


def sign_blob(data: bytes, key: SigningKey) -> bytes:
    """A bundle over the bytes of a file (`messageSignature`), as `cosign verify-blob --key` takes it."""
    digest = {"algorithm": "SHA2_256", "digest": b64(hashlib.sha256(data).digest())}
    return _bundle({"messageSignature": {"messageDigest": digest, "signature": b64(key.sign(data))}}, key)


def attest(statement: Statement, key: SigningKey) -> bytes:
    """A bundle around a statement in its envelope (`dsseEnvelope`)."""
    return _bundle({"dsseEnvelope": envelope(statement.to_bytes(), IN_TOTO, key)}, key)


def _bundle(content: Mapping[str, Any], key: SigningKey) -> bytes:
    material = {
        "publicKey": {"hint": key.public.id},
        "tlogEntries": [],
        "timestampVerificationData": {"rfc3161Timestamps": []},
    }
    return compact({"mediaType": MEDIA_TYPE, "verificationMaterial": material, **content})


def verify(bundle: bytes, data: bytes, keys: Iterable[PublicKey]) -> Vouched:
    """What a bundle says of the file with these bytes, and which of the keys says so.

    Raises:
        SignatureError: damaged, about another file, by another key, or with something in it that is not understood.
    """
    document = read(bundle, "bundle")
    document.only("mediaType", "verificationMaterial", "messageSignature", "dsseEnvelope")
    if document.text("mediaType") != MEDIA_TYPE:
        raise SignatureError(f"not a Sigstore bundle v0.3: mediaType is {document.text('mediaType')!r}")
    if document.has("messageSignature") == document.has("dsseEnvelope"):
        raise SignatureError("bundle: it is to hold either a signature of a file or an attestation")
    key = _key_of(document.object("verificationMaterial"), keys)
    if document.has("messageSignature"):
        _check_message(document.object("messageSignature"), data, key)
        return Vouched(key, None)
    return Vouched(key, _attested(document.object("dsseEnvelope"), hashlib.sha256(data).hexdigest(), key))


def _key_of(material: Json, keys: Iterable[PublicKey]) -> PublicKey:
    """The key that the bundle names, out of those that may sign."""
    material.only("publicKey", "tlogEntries", "timestampVerificationData")
    if not material.has("publicKey"):
        raise SignatureError(f"{material.path}: it names no public key")
    if material.objects("tlogEntries"):
        raise SignatureError(f"{material.path}.tlogEntries: entries of a log, which are not checked here")
    if material.has("timestampVerificationData"):
        stamps = material.object("timestampVerificationData")
        stamps.only("rfc3161Timestamps")
        if stamps.objects("rfc3161Timestamps"):
            raise SignatureError(f"{stamps.path}: timestamps, which are not checked here")
    named = material.object("publicKey")
    named.only("hint")
    found = next((key for key in keys if key.id == named.text("hint")), None)
    if found is None:
        raise SignatureError(f"it was signed by another key: {named.text('hint')}")
    return found


def _check_message(message: Json, data: bytes, key: PublicKey) -> None:
    message.only("messageDigest", "signature")
    digest = message.object("messageDigest")
    digest.only("algorithm", "digest")
    if digest.text("algorithm") != "SHA2_256":
        raise SignatureError(f"{digest.path}.algorithm: it is to be SHA2_256, not {digest.text('algorithm')!r}")
    if digest.bytes("digest") != hashlib.sha256(data).digest():
        raise SignatureError("it is the signature of another file: digests differ")
    key.verify(data, message.bytes("signature"))


def _attested(content: Json, sha256: str, key: PublicKey) -> Statement:
    signatures = content.objects("signatures")
    if len(signatures) != 1:
        raise SignatureError(f"{content.path}.signatures: a bundle has one, not {len(signatures)}")
    if signatures[0].text("keyid", "") not in ("", key.id):
        raise SignatureError(f"{signatures[0].path}.keyid: another key than the bundle's")
    kind, payload, _ = open_envelope(content, [key])
    statement = statement_of(kind, payload)
    if not statement.is_about(sha256):
        raise SignatureError("the attestation is about another artifact: no subject has this digest")
    return statement
