"""Signatures inside a CycloneDX document: JSON Signature Format 0.82 over RFC 8785 (JCS), as its schema has them.

The document is its own envelope: what is signed is all of it but the value of the signature. The key stands beside
the value, so whoever checks says which key is trusted.
"""

from __future__ import annotations

import base64
import json
from typing import Any

from ciflow.supply import bounded
from ciflow.supply.canonical import to_bytes
from ciflow.supply.errors import DocumentError, SignatureError
from ciflow.supply.keys import PublicKey, SigningKey

_ALGORITHMS = {"ecdsa-p256": "ES256", "ed25519": "Ed25519"}
_HALF = 32  # bytes of each coordinate, and of each half of an ECDSA signature (RFC 7518, 3.4)


def sign(content: bytes, key: SigningKey) -> bytes:
    """The document with a signature; one that it had is replaced.

    Raises:
        DocumentError: no JSON, no CycloneDX, or with numbers that JSON writers disagree on.
    """
    document = _document(content)
    document["signature"] = {"algorithm": _ALGORITHMS[key.public.kind], "publicKey": _jwk(key.public)}
    signature = key.sign(canonical(document))
    raw = _raw(signature) if key.public.kind == "ecdsa-p256" else signature
    document["signature"]["value"] = _b64(raw)
    return to_bytes(document)


def verify(content: bytes, trusted: PublicKey) -> None:
    """Return when the signature holds and is by this key.

    Raises:
        DocumentError: as for `sign`.
        SignatureError: there is none, it is by another key, or of another content.
    """
    document = _document(content)
    signature = document.get("signature")
    if not isinstance(signature, dict) or not isinstance(signature.get("value"), str):
        raise SignatureError("there is no signature in the document")
    value = _unb64(signature.pop("value"))
    if signature.get("algorithm") != _ALGORITHMS[trusted.kind] or signature.get("publicKey") != _jwk(trusted):
        raise SignatureError("the document is signed by another key")
    if trusted.kind == "ecdsa-p256":
        if len(value) != 2 * _HALF:
            raise SignatureError("the signature is not as long as ES256 makes it")
        value = _der(value)
    trusted.verify(canonical(document), value)


def canonical(value: Any) -> bytes:
    """RFC 8785 for texts, whole numbers and truth values; a bill of materials needs no other."""
    return _text(value).encode()


def _text(value: Any) -> str:
    if isinstance(value, dict):
        keys = sorted(value, key=lambda key: key.encode("utf-16-be", "surrogatepass"))
        return "{" + ",".join(f"{_text(key)}:{_text(value[key])}" for key in keys) + "}"
    if isinstance(value, list):
        return "[" + ",".join(_text(one) for one in value) + "]"
    if isinstance(value, float) or (isinstance(value, int) and abs(value) >= 1 << 53):
        raise DocumentError(f"{value}: only whole numbers below 2^53 can be signed")
    return json.dumps(value, ensure_ascii=False)


def _document(content: bytes) -> dict[str, Any]:
    document = bounded.read_json(content)
    if not isinstance(document, dict) or document.get("bomFormat") != "CycloneDX":
        raise DocumentError("line 1: only CycloneDX in JSON has a place for a signature; `ciflow sign` signs any file")
    return document


def _jwk(key: PublicKey) -> dict[str, str]:
    """RFC 7517, from the end of its DER form (RFC 5480, RFC 8410), where the point stands."""
    der = base64.b64decode("".join(key.pem.decode().splitlines()[1:-1]))
    if key.kind == "ed25519":
        return {"kty": "OKP", "crv": "Ed25519", "x": _b64(der[-_HALF:])}
    return {"kty": "EC", "crv": "P-256", "x": _b64(der[-2 * _HALF : -_HALF]), "y": _b64(der[-_HALF:])}


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _unb64(text: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError as e:
        raise SignatureError("the value of the signature is no base64url") from e


def _raw(der: bytes) -> bytes:
    """r and s one after the other, of an ASN.1 SEQUENCE of two INTEGERs that `cryptography` made."""
    first = der[3]
    r, s = der[4 : 4 + first], der[6 + first :]
    return int.from_bytes(r, "big").to_bytes(_HALF, "big") + int.from_bytes(s, "big").to_bytes(_HALF, "big")


def _der(raw: bytes) -> bytes:
    """The way back; an INTEGER has a zero before a set highest bit."""

    def integer(half: bytes) -> bytes:
        number = int.from_bytes(half, "big")
        content = number.to_bytes(number.bit_length() // 8 + 1, "big")
        return b"\x02" + bytes([len(content)]) + content

    body = integer(raw[:_HALF]) + integer(raw[_HALF:])
    return b"\x30" + bytes([len(body)]) + body
