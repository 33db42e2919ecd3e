"""Sigstore bundles v0.3 (sigstore/protobuf-specs, sigstore_bundle.proto): a signature of a file, or an attestation."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

from ciflow.dataclass import dataclass
from ciflow.supply.certificates import Holder, Identity, certified, named
from ciflow.supply.dsse import IN_TOTO, PREDICATES, Statement, b64, compact, envelope, open_envelope, statement_of
from ciflow.supply.errors import SignatureError
from ciflow.supply.keys import PublicKey, SigningKey
from ciflow.supply.patterns import matches
from ciflow.supply.strict import Json, read
from ciflow.supply.transparency import Entry, log_of, logged

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
    """Who of those that may sign has signed it, and what it says: of a file nothing but that these are its bytes
    (None). `witness` is what certificate and log tell of somebody without a key of their own."""

    key: PublicKey | Holder
    statement: Statement | None
    witness: Witness | None = None


@dataclass(frozen=True, slots=True)
class Witness:
    """Whose certificate it was, and when the log was told of the signature, in Unix seconds."""

    identity: Identity
    at: int


def signature(data: bytes, key: SigningKey) -> dict[str, Any]:
    """What a bundle over the bytes of a file holds."""
    digest = {"algorithm": "SHA2_256", "digest": b64(hashlib.sha256(data).digest())}
    return {"messageSignature": {"messageDigest": digest, "signature": b64(key.sign(data))}}


def attestation(statement: Statement, key: SigningKey, keyid: str | None = None) -> dict[str, Any]:
    """What a bundle around a statement holds."""
    return {"dsseEnvelope": envelope(statement.to_bytes(), IN_TOTO, key, keyid)}


def sign_blob(data: bytes, key: SigningKey) -> bytes:
    """A bundle over the bytes of a file (`messageSignature`), as `cosign verify-blob --key` takes it."""
    return _bundle(signature(data, key), key)


def attest(statement: Statement, key: SigningKey) -> bytes:
    """A bundle around a statement in its envelope (`dsseEnvelope`)."""
    return _bundle(attestation(statement, key), key)


def _bundle(content: Mapping[str, Any], key: SigningKey) -> bytes:
    material = {
        "publicKey": {"hint": key.public.id},
        "tlogEntries": [],
        "timestampVerificationData": {"rfc3161Timestamps": []},
    }
    return compact({"mediaType": MEDIA_TYPE, "verificationMaterial": material, **content})


def verify(bundle: bytes, data: bytes, signers: Iterable[PublicKey | Holder]) -> Vouched:
    """What a bundle says of the file with these bytes, and who of the signers says so.

    Raises:
        SignatureError: damaged, about another file, by somebody else, or with something in it that is not understood.
    """
    document = read(bundle, "bundle")
    document.only("mediaType", "verificationMaterial", "messageSignature", "dsseEnvelope")
    if document.text("mediaType") != MEDIA_TYPE:
        raise SignatureError(f"not a Sigstore bundle v0.3: mediaType is {document.text('mediaType')!r}")
    if document.has("messageSignature") == document.has("dsseEnvelope"):
        raise SignatureError("bundle: it is to hold either a signature of a file or an attestation")
    signer = _signer(document.object("verificationMaterial"), tuple(signers))
    if document.has("messageSignature"):
        _check_message(document.object("messageSignature"), data, signer)
        return Vouched(signer.known, None, signer.witness)
    statement = _attested(document.object("dsseEnvelope"), hashlib.sha256(data).hexdigest(), signer)
    return Vouched(signer.known, statement, signer.witness)


def claimed(bundle: bytes) -> str:
    """Whom the certificate of a bundle names, whoever issued it: what there is to tell of one that was just made."""
    material = read(bundle, "bundle").object("verificationMaterial")
    return named(material.object("certificate").bytes("rawBytes"))


@dataclass(frozen=True, slots=True)
class _Signer:
    """The key to check with, and who of those that may sign it stands for. With a certificate, the log's entry is to
    be about this very signature."""

    key: PublicKey
    known: PublicKey | Holder
    keyid: str
    certificate: bytes = b""
    entry: Entry | None = None
    witness: Witness | None = None


def _signer(material: Json, signers: Iterable[PublicKey | Holder]) -> _Signer:
    material.only("publicKey", "certificate", "tlogEntries", "timestampVerificationData")
    if material.has("publicKey") == material.has("certificate"):
        raise SignatureError(f"{material.path}: it is to name either a public key or a certificate")
    if material.has("timestampVerificationData"):
        stamps = material.object("timestampVerificationData")
        stamps.only("rfc3161Timestamps")
        if stamps.objects("rfc3161Timestamps"):
            raise SignatureError(f"{stamps.path}: timestamps, which are not checked here")
    if material.has("certificate"):
        return _by_certificate(material, [one for one in signers if isinstance(one, Holder)])
    return _by_key(material, [one for one in signers if isinstance(one, PublicKey)])


def _by_key(material: Json, keys: Iterable[PublicKey]) -> _Signer:
    """The key that the bundle names, out of those that may sign."""
    if material.objects("tlogEntries"):
        raise SignatureError(f"{material.path}.tlogEntries: entries of a log, which are checked with certificates only")
    public = material.object("publicKey")
    public.only("hint")
    found = next((key for key in keys if key.id == public.text("hint")), None)
    if found is None:
        raise SignatureError(f"it was signed by another key: {public.text('hint')}")
    return _Signer(found, found, found.id)


def _by_certificate(material: Json, holders: Iterable[Holder]) -> _Signer:
    """Whom the certificate names, at the time that the log tells, out of those that may sign."""
    entries = material.objects("tlogEntries")
    if len(entries) != 1:
        why = "a certificate is good for minutes, and one entry of a log is to say when it was used"
        raise SignatureError(f"{material.path}.tlogEntries: {why}; there are {len(entries)}")
    certificate = material.object("certificate")
    certificate.only("rawBytes")
    der, log = certificate.bytes("rawBytes"), b64(log_of(entries[0]))
    trusted = [one for one in holders if one.authority.log.id == log]
    if not trusted:
        raise SignatureError(f"{entries[0].path}.logId: nobody in the policy signs by way of this log")
    entry = logged(entries[0], trusted[0].authority.log)
    key, holder, identity = _held(der, trusted, entry.at)
    return _Signer(key, holder, "", der, entry, Witness(identity, entry.at))


def _held(der: bytes, trusted: Iterable[Holder], at: int) -> tuple[PublicKey, Holder, Identity]:
    """Whose certificate it is; an authority that has not issued it has no say in who that is."""
    faults: list[str] = []
    for holder in trusted:
        try:
            key, identity = certified(der, holder.authority, at)
        except SignatureError as error:
            faults.append(str(error))
            continue
        if identity.issuer == holder.issuer and matches(holder.identity, identity.name):
            return key, holder, identity
        faults.insert(0, f"it was signed by {identity.name}, for whom {identity.issuer} vouched: nobody of the policy")
    raise SignatureError(faults[0])


def _check_message(message: Json, data: bytes, signer: _Signer) -> None:
    message.only("messageDigest", "signature")
    digest = message.object("messageDigest")
    digest.only("algorithm", "digest")
    if digest.text("algorithm") != "SHA2_256":
        raise SignatureError(f"{digest.path}.algorithm: it is to be SHA2_256, not {digest.text('algorithm')!r}")
    if digest.bytes("digest") != hashlib.sha256(data).digest():
        raise SignatureError("it is the signature of another file: digests differ")
    signer.key.verify(data, message.bytes("signature"))
    if signer.entry is not None:
        signer.entry.is_of_file(hashlib.sha256(data).hexdigest(), message.bytes("signature"), signer.certificate)


def _attested(content: Json, sha256: str, signer: _Signer) -> Statement:
    signatures = content.objects("signatures")
    if len(signatures) != 1:
        raise SignatureError(f"{content.path}.signatures: a bundle has one, not {len(signatures)}")
    if signatures[0].text("keyid", "") not in ("", signer.keyid):
        raise SignatureError(f"{signatures[0].path}.keyid: another key than the bundle's")
    kind, payload, _ = open_envelope(content, [signer.key])
    if signer.entry is not None:
        signer.entry.is_of_envelope(payload, signatures[0].bytes("sig"), signer.certificate)
    statement = statement_of(kind, payload)
    if not statement.is_about(sha256):
        raise SignatureError("the attestation is about another artifact: no subject has this digest")
    return statement
