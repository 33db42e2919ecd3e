"""Signatures inside CycloneDX: by its schema, by an example of RFC 8785, and by a verifier of the standard alone."""

from __future__ import annotations

import base64
import json

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

from ciflow.supply import formats, jsf
from ciflow.supply.errors import DocumentError, SignatureError
from ciflow.supply.keys import KINDS, SigningKey
from tests.supply.bills import CREATION, full

DOCUMENT = formats.emit(full(), CREATION, "cyclonedx-json")


def test_members_are_sorted_as_the_rfc_shows() -> None:
    """RFC 8785, 3.2.3."""
    given = {"\u20ac": "Euro Sign", "\r": "Carriage Return", "\ufb33": "Hebrew Letter Dalet With Dagesh", "1": "One",
             "\U0001f600": "Emoji: Grinning Face", "\u0080": "Control", "\u00f6": "o with diaeresis"}  # fmt: skip
    order = list(json.loads(jsf.canonical(given)))
    assert order == ["\r", "1", "\u0080", "\u00f6", "\u20ac", "\U0001f600", "\ufb33"]
    assert jsf.canonical({"a": '\u000f\n"\\', "b": [True, None, 1]}) == b'{"a":"\\u000f\\n\\"\\\\","b":[true,null,1]}'


@pytest.mark.parametrize("kind", KINDS)
def test_a_signed_document_is_valid_and_holds_only_as_it_is(kind: str) -> None:
    key, other = SigningKey.fresh(kind), SigningKey.fresh(kind)
    signed = jsf.sign(DOCUMENT, key)
    jsf.verify(signed, key.public)
    assert formats.read(signed)[1].signed
    assert formats.read(signed)[1].bom == full()
    with pytest.raises(SignatureError, match="by another key"):
        jsf.verify(signed, other.public)
    with pytest.raises(SignatureError, match="does not match"):
        jsf.verify(signed.replace(b'"alpha"', b'"alphb"'), key.public)
    with pytest.raises(SignatureError, match="there is no signature"):
        jsf.verify(DOCUMENT, key.public)
    jsf.verify(json.dumps(json.loads(signed)).encode(), key.public)  # another layout is the same document
    jsf.verify(jsf.sign(signed, other), other.public)


@pytest.mark.parametrize("kind", KINDS)
def test_the_schema_of_cyclonedx_takes_the_signature(kind: str) -> None:
    validation = pytest.importorskip("cyclonedx.validation.json")
    schema = pytest.importorskip("cyclonedx.schema")
    validator = validation.JsonStrictValidator(schema.SchemaVersion.V1_7)
    assert validator.validate_str(jsf.sign(DOCUMENT, SigningKey.fresh(kind)).decode()) is None


def test_the_key_in_the_document_verifies_by_the_standard_alone() -> None:
    """The public key as a JWK (RFC 7517), r and s side by side (RFC 7518, 3.4), put together here by hand."""
    document = json.loads(jsf.sign(DOCUMENT, SigningKey.fresh("ecdsa-p256")))
    value = _bytes(document["signature"].pop("value"))
    jwk = document["signature"]["publicKey"]
    x, y = (int.from_bytes(_bytes(jwk[name]), "big") for name in "xy")
    public = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
    r, s = int.from_bytes(value[:32], "big"), int.from_bytes(value[32:], "big")
    plain = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    public.verify(utils.encode_dss_signature(r, s), plain, ec.ECDSA(hashes.SHA256()))


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def test_the_same_document_under_an_ed25519_key_gives_the_same_bytes() -> None:
    key = SigningKey.fresh("ed25519")
    assert jsf.sign(DOCUMENT, key) == jsf.sign(DOCUMENT, key)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (formats.emit(full(), CREATION, "spdx-json"), "only CycloneDX in JSON has a place"),
        (b'{"bomFormat": "CycloneDX", "x": 1.5}', "only whole numbers"),
        (b'{"bomFormat": "CycloneDX", "x": 9007199254740992}', "only whole numbers"),
    ],
)
def test_what_cannot_be_signed_is_refused(content: bytes, why: str) -> None:
    with pytest.raises(DocumentError, match=why):
        jsf.sign(content, SigningKey.fresh("ed25519"))


@pytest.mark.parametrize("value", ["", "AAAA", "!!!!", "A" * 86])
def test_a_damaged_signature_never_holds(value: str) -> None:
    key = SigningKey.fresh("ecdsa-p256")
    document = json.loads(jsf.sign(DOCUMENT, key))
    document["signature"]["value"] = value
    with pytest.raises(SignatureError):
        jsf.verify(json.dumps(document).encode(), key.public)
