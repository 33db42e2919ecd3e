"""Signatures and attestations: ECDSA P-256 with SHA-256, DSSE, in-toto statements, Sigstore bundles.

Specifications: DSSE v1.0.2 (secure-systems-lab/dsse, protocol.md and envelope.md), in-toto Attestation
Framework v1, Sigstore bundle v0.3 (sigstore/protobuf-specs). The only user of `cryptography`, which is
imported when a key is first used: planning and checking don't pay for it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ciflow.dataclass import dataclass
from ciflow.supply.errors import KeyFault, SignatureError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
IN_TOTO = "application/vnd.in-toto+json"
BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
CYCLONEDX_PREDICATE = "https://cyclonedx.org/bom"
SPDX_PREDICATE = "https://spdx.dev/Document"


@dataclass(frozen=True)
class KeyPair:
    """`private` is PKCS #8 PEM, encrypted (PBES2); `public` is SubjectPublicKeyInfo PEM."""

    private: bytes
    public: bytes


@dataclass(frozen=True)
class Subject:
    """What a statement is about: a name, and its digests in hex by algorithm (`sha256`)."""

    name: str
    digest: Mapping[str, str]


# Keys


def generate_key(passphrase: bytes) -> KeyPair:
    """A new P-256 key pair. An empty passphrase is refused: a key file is never written in the clear."""
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric import ec

    if not passphrase:
        raise KeyFault("a signing key needs a passphrase")
    key = ec.generate_private_key(ec.SECP256R1())
    lock = form.BestAvailableEncryption(passphrase)
    private = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, lock)
    return KeyPair(private, _public_pem(key.public_key()))


def public_of(private_pem: bytes, passphrase: bytes) -> bytes:
    """The public half, as PEM."""
    return _public_pem(_private_key(private_pem, passphrase).public_key())


def key_id(public_pem: bytes) -> str:
    """Base64 of the SHA-256 of the DER form: the hint of a bundle and the keyid of an envelope."""
    return _hint(_public_key(public_pem))


def _hint(key: EllipticCurvePublicKey) -> str:
    from cryptography.hazmat.primitives import serialization as form

    der = key.public_bytes(form.Encoding.DER, form.PublicFormat.SubjectPublicKeyInfo)
    return _b64(hashlib.sha256(der).digest())


def _public_pem(key: EllipticCurvePublicKey) -> bytes:
    from cryptography.hazmat.primitives import serialization as form

    return key.public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo)


def _private_key(pem: bytes, passphrase: bytes) -> EllipticCurvePrivateKey:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(pem, passphrase)
    except (ValueError, TypeError, UnsupportedAlgorithm) as e:
        raise KeyFault("cannot read the signing key: not an encrypted PEM key, or another passphrase") from e
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise KeyFault("the signing key is not an ECDSA P-256 key")
    return key


def _public_key(pem: bytes) -> EllipticCurvePublicKey:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(pem)
    except (ValueError, TypeError, UnsupportedAlgorithm) as e:
        raise KeyFault("cannot read the public key: not PEM") from e
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise KeyFault("the public key is not an ECDSA P-256 key")
    return key


# Bare signatures


def sign(data: bytes, private_pem: bytes, passphrase: bytes) -> bytes:
    """A DER signature, as `openssl dgst -sha256 -verify` takes it."""
    return _sign(_private_key(private_pem, passphrase), data)


def verify(data: bytes, signature: bytes, public_pem: bytes) -> None:
    """Return when the signature holds.

    Raises:
        SignatureError: it does not.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    try:
        _public_key(public_pem).verify(signature, data, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature as e:
        raise SignatureError("the signature does not match: other content, or another key") from e


def _sign(key: EllipticCurvePrivateKey, data: bytes) -> bytes:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    return key.sign(data, ec.ECDSA(hashes.SHA256()))


# Statements and envelopes


def statement(subjects: Iterable[Subject], predicate_type: str, predicate: Mapping[str, Any]) -> bytes:
    """An in-toto Statement v1: these subjects, and what is said of them."""
    listed = [{"name": s.name, "digest": dict(s.digest)} for s in sorted(subjects, key=lambda s: s.name)]
    if not listed or not all(subject["digest"] for subject in listed):
        raise SignatureError("a statement needs a subject, and each subject a digest")
    document = {
        "_type": STATEMENT_TYPE,
        "subject": listed,
        "predicateType": predicate_type,
        "predicate": dict(predicate),
    }
    return _json(document)


def pae(payload_type: str, payload: bytes) -> bytes:
    """Pre-authentication encoding: what is signed, so that type and payload cannot be shifted."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def envelope(payload: bytes, payload_type: str, private_pem: bytes, passphrase: bytes) -> bytes:
    """A DSSE envelope with one signature, as JSON."""
    return _json(_envelope(payload, payload_type, private_pem, passphrase)[0])


def open_envelope(text: bytes, public_pem: bytes) -> tuple[str, bytes]:
    """Type and payload of an envelope, once one of its signatures holds.

    Raises:
        SignatureError: damaged, or signed by others only.
    """
    return _opened(_object(text, "envelope"), public_pem)


def _envelope(payload: bytes, payload_type: str, private_pem: bytes, passphrase: bytes) -> tuple[dict[str, Any], str]:
    key = _private_key(private_pem, passphrase)
    hint = _hint(key.public_key())
    signature = {"sig": _b64(_sign(key, pae(payload_type, payload))), "keyid": hint}
    return {"payload": _b64(payload), "payloadType": payload_type, "signatures": [signature]}, hint


def _opened(document: Mapping[str, Any], public_pem: bytes) -> tuple[str, bytes]:
    kind, signatures = document.get("payloadType"), document.get("signatures")
    if not isinstance(kind, str) or not isinstance(signatures, list) or not signatures:
        raise SignatureError("the envelope lacks payloadType or signatures")
    payload = _bytes_of(document, "payload")
    encoded = pae(kind, payload)
    if not any(_holds(encoded, signature, public_pem) for signature in signatures):
        raise SignatureError("no signature of the envelope is by this key over this content")
    return kind, payload


def _holds(encoded: bytes, signature: object, public_pem: bytes) -> bool:
    if not isinstance(signature, dict):
        raise SignatureError("the envelope has a signature that is no object")
    try:
        verify(encoded, _bytes_of(signature, "sig"), public_pem)
    except SignatureError:
        return False
    return True


# Sigstore bundles


def sign_blob(data: bytes, private_pem: bytes, passphrase: bytes) -> bytes:
    """A bundle over the bytes of a file (`messageSignature`), as `cosign verify-blob --key` takes it."""
    key = _private_key(private_pem, passphrase)
    digest = {"algorithm": "SHA2_256", "digest": _b64(hashlib.sha256(data).digest())}
    content = {"messageSignature": {"messageDigest": digest, "signature": _b64(_sign(key, data))}}
    return _bundle(content, _hint(key.public_key()))


def verify_blob(data: bytes, bundle: bytes, public_pem: bytes) -> None:
    """Return when the bundle holds for these bytes and this key; SignatureError otherwise."""
    content = _bundle_content(bundle, public_pem).get("messageSignature")
    if not isinstance(content, dict):
        raise SignatureError("the bundle holds no signature of a file")
    digest = content.get("messageDigest")
    if not isinstance(digest, dict) or digest.get("algorithm") != "SHA2_256":
        raise SignatureError("the bundle's digest is not SHA-256")
    if _bytes_of(digest, "digest") != hashlib.sha256(data).digest():
        raise SignatureError("the bundle is of another file: digests differ")
    verify(data, _bytes_of(content, "signature"), public_pem)


def attest(statement_json: bytes, private_pem: bytes, passphrase: bytes) -> bytes:
    """A bundle around a statement in its envelope (`dsseEnvelope`)."""
    document, hint = _envelope(statement_json, IN_TOTO, private_pem, passphrase)
    return _bundle({"dsseEnvelope": document}, hint)


def verify_attestation(bundle: bytes, public_pem: bytes, sha256: str) -> dict[str, Any]:
    """The statement of a bundle, once it holds for this key and speaks of a subject with this digest (hex)."""
    content = _bundle_content(bundle, public_pem).get("dsseEnvelope")
    if not isinstance(content, dict):
        raise SignatureError("the bundle holds no attestation")
    kind, payload = _opened(content, public_pem)
    document = _object(payload, "statement")
    if kind != IN_TOTO or document.get("_type") != STATEMENT_TYPE:
        raise SignatureError("what was signed is no in-toto statement v1")
    subjects = document.get("subject")
    digests = [s.get("digest") for s in subjects if isinstance(s, dict)] if isinstance(subjects, list) else []
    if not any(isinstance(d, dict) and d.get("sha256") == sha256 for d in digests):
        raise SignatureError("the attestation is about another artifact: no subject has this digest")
    return document


def _bundle(content: Mapping[str, Any], hint: str) -> bytes:
    material = {"publicKey": {"hint": hint}, "tlogEntries": [], "timestampVerificationData": {"rfc3161Timestamps": []}}
    return _json({"mediaType": BUNDLE, "verificationMaterial": material, **content})


def _bundle_content(bundle: bytes, public_pem: bytes) -> dict[str, Any]:
    document = _object(bundle, "bundle")
    if document.get("mediaType") != BUNDLE:
        raise SignatureError(f"not a Sigstore bundle v0.3: mediaType is {document.get('mediaType')!r}")
    material = document.get("verificationMaterial")
    named = material.get("publicKey") if isinstance(material, dict) else None
    if not isinstance(named, dict):
        raise SignatureError("the bundle names no public key; certificates are not covered")
    if named.get("hint") != key_id(public_pem):
        raise SignatureError("the bundle was signed by another key")
    return document


# Encoding


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _object(text: bytes, what: str) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as e:
        raise SignatureError(f"the {what} is not JSON") from e
    if not isinstance(document, dict):
        raise SignatureError(f"the {what} is not a JSON object")
    return document


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes_of(document: Mapping[str, Any], key: str) -> bytes:
    value = document.get(key)
    if not isinstance(value, str):
        raise SignatureError(f"the field {key} is missing")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as e:
        raise SignatureError(f"the field {key} is not base64") from e
