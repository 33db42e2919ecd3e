"""Bundles: what openssl and Sigstore's own library say of ours, we of theirs; no byte can be changed unseen."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from ciflow.supply import bundle
from ciflow.supply.bundle import attestation_name, is_of, signature_name
from ciflow.supply.dsse import PROVENANCE, Statement, Subject
from ciflow.supply.errors import SignatureError
from ciflow.supply.keys import KINDS, PublicKey, SigningKey
from tests.parts.sigstore import Sigstore
from tests.supply.test_keys import openssl_accepts

DATA = b"what was built\n"
SHA256 = hashlib.sha256(DATA).hexdigest()
STATEMENT = Statement((Subject("shield-server", {"sha256": SHA256}),), "https://example.org/p/v1", {"a": 1})


@pytest.fixture(scope="module")
def key() -> SigningKey:
    return SigningKey.fresh()


@pytest.fixture(scope="module")
def other() -> SigningKey:
    return SigningKey.fresh()


def both(key: SigningKey) -> list[bytes]:
    return [bundle.sign_blob(DATA, key), bundle.attest(STATEMENT, key)]


@pytest.mark.parametrize("kind", KINDS)
def test_openssl_accepts_the_signature_in_a_bundle(kind: str, tmp_path: Path) -> None:
    key = SigningKey.fresh(kind)
    document = json.loads(bundle.sign_blob(DATA, key))
    assert openssl_accepts(tmp_path, key.public, base64.b64decode(document["messageSignature"]["signature"]), DATA)


@pytest.mark.parametrize("kind", KINDS)
def test_openssl_accepts_the_signature_of_an_attestation(kind: str, tmp_path: Path) -> None:
    key = SigningKey.fresh(kind)
    content = json.loads(bundle.attest(STATEMENT, key))["dsseEnvelope"]
    payload, name = base64.b64decode(content["payload"]), content["payloadType"]
    signed = f"DSSEv1 {len(name)} {name} {len(payload)} ".encode() + payload
    assert openssl_accepts(tmp_path, key.public, base64.b64decode(content["signatures"][0]["sig"]), signed)


def test_sigstores_own_library_accepts_our_bundles(key: SigningKey, other: SigningKey, sigstore: Sigstore) -> None:
    for made in both(key):
        assert sigstore.verifies(made, DATA, key.public) == ""
        assert sigstore.verifies(made, DATA, other.public) != ""
    assert sigstore.verifies(both(key)[0], DATA + b"x", key.public) != ""


def test_we_accept_bundles_of_sigstores_own_library(sigstore: Sigstore) -> None:
    for what in ("message", "attestation"):
        made, pem = sigstore.makes(what, DATA, STATEMENT.to_bytes())
        theirs = PublicKey(pem)
        found = bundle.verify(made, DATA, [theirs])
        assert found.key is theirs
        assert found.statement == (None if what == "message" else STATEMENT)


def test_a_bundle_names_its_key(key: SigningKey) -> None:
    for made in both(key):
        document = json.loads(made)
        assert document["mediaType"] == "application/vnd.dev.sigstore.bundle.v0.3+json"
        assert document["verificationMaterial"]["publicKey"] == {"hint": key.public.id}


def test_a_bundle_is_of_one_file_and_one_key(key: SigningKey, other: SigningKey) -> None:
    blob, attested = both(key)
    assert bundle.verify(blob, DATA, [other.public, key.public]).key is key.public
    assert bundle.verify(attested, DATA, [key.public]).statement == STATEMENT
    for made, why in ((blob, "another file"), (attested, "another artifact")):
        with pytest.raises(SignatureError, match=why):
            bundle.verify(made, DATA + b"x", [key.public])
        with pytest.raises(SignatureError, match="another key"):
            bundle.verify(made, DATA, [other.public])


def test_a_forged_hint_does_not_help(key: SigningKey, other: SigningKey) -> None:
    for made in both(other):
        document = json.loads(made.replace(other.public.id.encode(), key.public.id.encode()))
        with pytest.raises(SignatureError, match=r"does not match|no signature is by this key"):
            bundle.verify(json.dumps(document).encode(), DATA, [key.public])


@pytest.mark.parametrize("kind", KINDS)
def test_no_bit_of_a_bundle_can_be_changed_unseen(kind: str) -> None:
    """Every bit of the signature, the attestation, and of all that stands around them."""
    key = SigningKey.fresh(kind)
    for made in both(key):
        for at in range(len(made)):
            for bit in range(8):
                changed = made[:at] + bytes([made[at] ^ 1 << bit]) + made[at + 1 :]
                with pytest.raises(SignatureError):
                    bundle.verify(changed, DATA, [key.public])


def test_no_byte_of_the_file_can_be_changed_unseen(key: SigningKey) -> None:
    for made in both(key):
        for at in range(len(DATA)):
            with pytest.raises(SignatureError):
                bundle.verify(made, DATA[:at] + bytes([DATA[at] ^ 1]) + DATA[at + 1 :], [key.public])


def test_a_bundle_that_was_cut_off_anywhere_is_refused(key: SigningKey) -> None:
    for made in both(key):
        for length in range(len(made)):
            with pytest.raises(SignatureError):
                bundle.verify(made[:length], DATA, [key.public])


def _without(document: dict[str, Any], *path: str) -> dict[str, Any]:
    holder = document
    for step in path[:-1]:
        holder = holder[step]
    del holder[path[-1]]
    return document


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda d: d | {"mediaType": "application/json"}, "not a Sigstore bundle v0.3"),
        (lambda d: d | {"dsseEnvelope": {}}, "either a signature of a file or an attestation"),
        (lambda d: _without(d, "messageSignature"), "either a signature of a file or an attestation"),
        (lambda d: d | {"verificationMaterial": {"certificate": {"rawBytes": ""}}}, "good for minutes"),
        (lambda d: _without(d, "verificationMaterial", "publicKey"), "either a public key or a certificate"),
        (lambda d: d["verificationMaterial"].update(tlogEntries=[{}]) or d, "entries of a log"),
        (
            lambda d: d["verificationMaterial"]["timestampVerificationData"].update(rfc3161Timestamps=[{}]) or d,
            "timestamps, which are not checked",
        ),
        (lambda d: d["messageSignature"]["messageDigest"].update(algorithm="SHA2_512") or d, "not 'SHA2_512'"),
        (lambda d: d["messageSignature"]["messageDigest"].update(algorithm=None) or d, "'algorithm' is missing"),
        (lambda d: d["messageSignature"].update(algorithm="none") or d, "unknown field 'algorithm'"),
    ],
)
def test_what_is_not_understood_is_refused_with_its_place(key: SigningKey, change: Any, why: str) -> None:
    document = change(json.loads(bundle.sign_blob(DATA, key)))
    with pytest.raises(SignatureError, match=why):
        bundle.verify(json.dumps(document).encode(), DATA, [key.public])


def test_an_attestation_with_two_signatures_is_no_bundle(key: SigningKey) -> None:
    document = json.loads(bundle.attest(STATEMENT, key))
    document["dsseEnvelope"]["signatures"] *= 2
    with pytest.raises(SignatureError, match="a bundle has one, not 2"):
        bundle.verify(json.dumps(document).encode(), DATA, [key.public])


def test_a_key_of_another_kind_under_the_same_hint_is_no_way_in() -> None:
    """Algorithm confusion: how a signature is checked comes from the policy's key, never from the message."""
    ours, forger = SigningKey.fresh("ecdsa-p256"), SigningKey.fresh("ed25519")
    forged = bundle.sign_blob(DATA, forger).replace(forger.public.id.encode(), ours.public.id.encode())
    with pytest.raises(SignatureError, match="does not match"):
        bundle.verify(forged, DATA, [ours.public])


def test_files_of_an_artifact_are_told_from_those_of_one_with_a_longer_name() -> None:
    assert attestation_name("server", PROVENANCE) == "server.provenance.intoto.sigstore.json"
    assert attestation_name("server", "https://example.org/p/v1") == "server.example-org-p-v1.intoto.sigstore.json"
    for name in (signature_name("server"), attestation_name("server", PROVENANCE)):
        assert is_of("server", name)
    for name in (signature_name("server.x"), attestation_name("server.x", PROVENANCE), "server.sigstore.jsonx"):
        assert not is_of("server", name)
