"""Signing without a key of one's own: what is asked of an authority and of a log, and the bundle their answers make.

A key is made for one signature and thrown away. The authority (Fulcio, API v2) certifies it for the identity in a token
that the CI gives to a job; the log (Rekor, API v1) takes down what was signed by it, and when.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping
from typing import Any

from ciflow.supply.bundle import MEDIA_TYPE
from ciflow.supply.certificates import der_of, pem_of, public_key
from ciflow.supply.dsse import b64, compact
from ciflow.supply.errors import SignatureError
from ciflow.supply.keys import SigningKey
from ciflow.supply.strict import read

FULCIO, REKOR = "https://fulcio.sigstore.dev", "https://rekor.sigstore.dev"
CERTIFICATES, ENTRIES = "/api/v2/signingCert", "/api/v1/log/entries"
AUDIENCE = "sigstore"  # whom a token is for

_ANSWERS = ("signedCertificateEmbeddedSct", "signedCertificateDetachedSct")

Ask = Callable[[str, bytes], bytes]  # (path at the authority or log, JSON) to what it answers


def signed(content: Callable[[SigningKey], Mapping[str, Any]], token: str, fulcio: Ask, rekor: Ask) -> bytes:
    """A bundle around what `content` makes with a fresh key: `bundle.signature` or `bundle.attestation`.

    Raises:
        SignatureError: an answer that is not what was asked for.
    """
    key = SigningKey.fresh()
    certificate = _certificate(fulcio(CERTIFICATES, _request(key, token)), key)
    made = content(key)
    entry = _entry(rekor(ENTRIES, compact(_proposed(made, certificate))))
    material = {"certificate": {"rawBytes": b64(certificate)}, "tlogEntries": [entry]}
    return compact({"mediaType": MEDIA_TYPE, "verificationMaterial": material, **made})


def _request(key: SigningKey, token: str) -> bytes:
    """Its own signature on the request proves that the key is there."""
    return compact(
        {"credentials": {"oidcIdentityToken": token}, "certificateSigningRequest": b64(key.certificate_request())}
    )


def _certificate(answer: bytes, key: SigningKey) -> bytes:
    document = read(answer, "answer of the authority")
    form = next((one for one in _ANSWERS if document.has(one)), "")
    if not form:
        raise SignatureError("the authority gave no certificate")
    chain = document.object(form).object("chain").value.get("certificates")
    if not isinstance(chain, list) or not chain or not isinstance(chain[0], str):
        raise SignatureError("the authority gave no certificate")
    found = der_of(chain[0].encode())
    if public_key(found).id != key.public.id:
        raise SignatureError("the authority gave a certificate for another key")
    return found


def _proposed(made: Mapping[str, Any], certificate: bytes) -> dict[str, Any]:
    """What the log is to take down: the type of entry that goes with a signature, or with an envelope."""
    pem = b64(pem_of(certificate))
    if "dsseEnvelope" in made:
        proposed = {"envelope": json.dumps(made["dsseEnvelope"]), "verifiers": [pem]}
        return {"apiVersion": "0.0.1", "kind": "dsse", "spec": {"proposedContent": proposed}}
    message = made["messageSignature"]
    digest = {"algorithm": "sha256", "value": base64.b64decode(message["messageDigest"]["digest"]).hex()}
    signature = {"content": message["signature"], "publicKey": {"content": pem}}
    return {"apiVersion": "0.0.1", "kind": "hashedrekord", "spec": {"data": {"hash": digest}, "signature": signature}}


def _entry(answer: bytes) -> dict[str, Any]:
    """A log's answer in the words of a bundle: numbers as texts, hexadecimal as base64."""
    document = read(answer, "answer of the log")
    if len(document.value) != 1:
        raise SignatureError("answer of the log: it is to hold one entry")
    entry = document.object(next(iter(document.value)))
    proof = entry.object("verification").object("inclusionProof")
    said = read(entry.bytes("body"), "entry of the log")
    try:
        return {
            "logIndex": str(int(entry.value["logIndex"])),
            "logId": {"keyId": _hex(entry.text("logID"))},
            "kindVersion": {"kind": said.text("kind"), "version": said.text("apiVersion")},
            "integratedTime": str(int(entry.value["integratedTime"])),
            "inclusionPromise": {"signedEntryTimestamp": entry.object("verification").text("signedEntryTimestamp")},
            "inclusionProof": {
                "logIndex": str(int(proof.value["logIndex"])),
                "rootHash": _hex(proof.text("rootHash")),
                "treeSize": str(int(proof.value["treeSize"])),
                "hashes": [_hex(str(one)) for one in proof.value["hashes"]],
                "checkpoint": {"envelope": proof.text("checkpoint")},
            },
            "canonicalizedBody": entry.text("body"),
        }
    except (KeyError, TypeError, ValueError, binascii.Error) as e:
        raise SignatureError(f"answer of the log: it lacks or misplaces {e}") from e


def _hex(text: str) -> str:
    return b64(bytes.fromhex(text))
