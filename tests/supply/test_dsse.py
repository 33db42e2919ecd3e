"""Signatures, envelopes and bundles; openssl is the judge of the cryptography."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ciflow.supply import dsse
from ciflow.supply.dsse import KeyPair, Subject
from ciflow.supply.errors import KeyFault, SignatureError

PASSPHRASE = b"correct horse"
DATA = b"what was built\n"
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture(scope="module")
def key() -> KeyPair:
    return dsse.generate_key(PASSPHRASE)


@pytest.fixture(scope="module")
def other() -> KeyPair:
    return dsse.generate_key(PASSPHRASE)


@pytest.fixture(scope="module")
def statement() -> bytes:
    return dsse.statement([Subject("shield-server", {"sha256": SHA256})], "https://example.org/p/v1", {"a": 1})


def openssl(*args: str | Path) -> str:
    if shutil.which("openssl") is None:
        pytest.skip("openssl verifies the signatures of this test")
    done = subprocess.run(["openssl", *map(str, args)], capture_output=True, text=True, timeout=20)
    return done.stdout + done.stderr


def openssl_says(tmp_path: Path, public: bytes, signature: bytes, data: bytes) -> str:
    for name, content in (("pub.pem", public), ("sig", signature), ("data", data)):
        (tmp_path / name).write_bytes(content)
    return openssl(
        "dgst", "-sha256", "-verify", tmp_path / "pub.pem", "-signature", tmp_path / "sig", tmp_path / "data"
    )


def test_pae_is_that_of_the_specification() -> None:
    # the test vector of DSSE's protocol.md
    expected = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    assert dsse.pae("http://example.com/HelloWorld", b"hello world") == expected


def test_pae_counts_bytes_not_characters() -> None:
    assert dsse.pae("é", b"") == b"DSSEv1 2 \xc3\xa9 0 "


def test_openssl_accepts_our_signature(key: KeyPair, tmp_path: Path) -> None:
    signature = dsse.sign(DATA, key.private, PASSPHRASE)
    assert "Verified OK" in openssl_says(tmp_path, key.public, signature, DATA)
    assert "Verified OK" not in openssl_says(tmp_path, key.public, signature, DATA + b"x")


def test_we_accept_a_signature_and_a_key_of_openssl(tmp_path: Path) -> None:
    private, clear, sig, data = (tmp_path / n for n in ("key.pem", "clear.pem", "sig", "data"))
    openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", clear)
    openssl("pkcs8", "-topk8", "-in", clear, "-out", private, "-passout", "pass:secret")
    data.write_bytes(DATA)
    openssl("dgst", "-sha256", "-sign", private, "-passin", "pass:secret", "-out", sig, data)
    public = dsse.public_of(private.read_bytes(), b"secret")
    dsse.verify(DATA, sig.read_bytes(), public)


def test_the_key_id_is_the_hash_of_the_der_form(key: KeyPair) -> None:
    body = b"".join(key.public.splitlines()[1:-1])
    assert dsse.key_id(key.public) == base64.b64encode(hashlib.sha256(base64.b64decode(body)).digest()).decode()


def test_the_private_key_is_written_encrypted(key: KeyPair) -> None:
    assert key.private.startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
    assert dsse.public_of(key.private, PASSPHRASE) == key.public
    with pytest.raises(KeyFault, match="another passphrase"):
        dsse.sign(DATA, key.private, b"wrong")
    with pytest.raises(KeyFault, match="passphrase"):
        dsse.generate_key(b"")


def test_keys_of_another_kind_are_refused(tmp_path: Path) -> None:
    for name, options in (("ed", ["ED25519"]), ("p384", ["EC", "-pkeyopt", "ec_paramgen_curve:P-384"])):
        private, public = tmp_path / name, tmp_path / f"{name}.pub"
        openssl("genpkey", "-algorithm", *options, "-aes256", "-pass", "pass:x", "-out", private)
        openssl("pkey", "-in", private, "-passin", "pass:x", "-pubout", "-out", public)
        with pytest.raises(KeyFault, match="not an ECDSA P-256"):
            dsse.sign(DATA, private.read_bytes(), b"x")
        with pytest.raises(KeyFault, match="not an ECDSA P-256"):
            dsse.verify(DATA, b"", public.read_bytes())


def test_a_key_file_in_the_clear_is_refused(tmp_path: Path) -> None:
    openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", tmp_path / "k")
    with pytest.raises(KeyFault, match="not an encrypted PEM"):
        dsse.sign(DATA, (tmp_path / "k").read_bytes(), PASSPHRASE)


def test_an_envelope_gives_its_payload_to_the_right_key_only(key: KeyPair, other: KeyPair) -> None:
    text = dsse.envelope(DATA, "text/plain", key.private, PASSPHRASE)
    assert dsse.open_envelope(text, key.public) == ("text/plain", DATA)
    with pytest.raises(SignatureError, match="by this key"):
        dsse.open_envelope(text, other.public)


def test_an_envelope_holds_when_one_of_several_signatures_does(key: KeyPair, other: KeyPair) -> None:
    ours, theirs = (json.loads(dsse.envelope(DATA, "t", k.private, PASSPHRASE)) for k in (key, other))
    both = ours | {"signatures": theirs["signatures"] + ours["signatures"]}
    assert dsse.open_envelope(json.dumps(both).encode(), key.public) == ("t", DATA)


@pytest.mark.parametrize("field", ["payload", "payloadType", "sig"])
def test_a_changed_envelope_is_refused(key: KeyPair, field: str) -> None:
    document = json.loads(dsse.envelope(DATA, "text/plain", key.private, PASSPHRASE))
    holder: dict[str, Any] = document["signatures"][0] if field == "sig" else document
    holder[field] = base64.b64encode(b"something else").decode()
    with pytest.raises(SignatureError):
        dsse.open_envelope(json.dumps(document).encode(), key.public)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b"[" * 100_000,
        b'{"payloadType": "a", "payload": "", "signatures": []}',
        b'{"payloadType": "a", "payload": "", "signatures": [1]}',
        b'{"payloadType": "a", "payload": "%%", "signatures": [{"sig": ""}]}',
        b'{"payloadType": "a", "payload": "", "signatures": [{"sig": 5}]}',
    ],
)
def test_what_is_no_envelope_is_refused(key: KeyPair, text: bytes) -> None:
    with pytest.raises(SignatureError):
        dsse.open_envelope(text, key.public)


def test_openssl_accepts_the_signature_in_a_bundle(key: KeyPair, tmp_path: Path) -> None:
    document = json.loads(dsse.sign_blob(DATA, key.private, PASSPHRASE))
    signature = base64.b64decode(document["messageSignature"]["signature"])
    assert "Verified OK" in openssl_says(tmp_path, key.public, signature, DATA)


def test_openssl_accepts_the_signature_of_an_attestation(key: KeyPair, statement: bytes, tmp_path: Path) -> None:
    content = json.loads(dsse.attest(statement, key.private, PASSPHRASE))["dsseEnvelope"]
    payload = base64.b64decode(content["payload"])
    kind = content["payloadType"]
    signed = f"DSSEv1 {len(kind)} {kind} {len(payload)} ".encode() + payload
    signature = base64.b64decode(content["signatures"][0]["sig"])
    assert "Verified OK" in openssl_says(tmp_path, key.public, signature, signed)


def test_the_dsse_library_of_others_accepts_an_envelope(key: KeyPair, statement: bytes) -> None:
    theirs = pytest.importorskip("securesystemslib.dsse")
    signer = pytest.importorskip("securesystemslib.signer")
    content = json.loads(dsse.attest(statement, key.private, PASSPHRASE))["dsseEnvelope"]
    public = {"keytype": "ecdsa", "scheme": "ecdsa-sha2-nistp256", "keyval": {"public": key.public.decode()}}
    known = signer.SSlibKey.from_dict(content["signatures"][0]["keyid"], public)
    assert theirs.Envelope.from_dict(content).verify([known], 1)


def test_a_bundle_names_its_key(key: KeyPair, statement: bytes) -> None:
    for bundle in (dsse.sign_blob(DATA, key.private, PASSPHRASE), dsse.attest(statement, key.private, PASSPHRASE)):
        document = json.loads(bundle)
        assert document["mediaType"] == "application/vnd.dev.sigstore.bundle.v0.3+json"
        assert document["verificationMaterial"]["publicKey"] == {"hint": dsse.key_id(key.public)}


def test_a_blob_bundle_is_of_one_file_and_one_key(key: KeyPair, other: KeyPair, statement: bytes) -> None:
    bundle = dsse.sign_blob(DATA, key.private, PASSPHRASE)
    dsse.verify_blob(DATA, bundle, key.public)
    with pytest.raises(SignatureError, match="another file"):
        dsse.verify_blob(DATA + b"x", bundle, key.public)
    with pytest.raises(SignatureError, match="another key"):
        dsse.verify_blob(DATA, bundle, other.public)
    with pytest.raises(SignatureError, match="no signature of a file"):
        dsse.verify_blob(DATA, dsse.attest(statement, key.private, PASSPHRASE), key.public)


def test_a_forged_hint_does_not_help(key: KeyPair, other: KeyPair) -> None:
    document = json.loads(dsse.sign_blob(DATA, other.private, PASSPHRASE))
    document["verificationMaterial"]["publicKey"]["hint"] = dsse.key_id(key.public)
    with pytest.raises(SignatureError, match="does not match"):
        dsse.verify_blob(DATA, json.dumps(document).encode(), key.public)


def test_an_attestation_is_about_its_subject(key: KeyPair, statement: bytes) -> None:
    bundle = dsse.attest(statement, key.private, PASSPHRASE)
    assert dsse.verify_attestation(bundle, key.public, SHA256)["predicate"] == {"a": 1}
    with pytest.raises(SignatureError, match="another artifact"):
        dsse.verify_attestation(bundle, key.public, "0" * 64)


def test_a_signed_text_that_is_no_statement_is_refused(key: KeyPair) -> None:
    with pytest.raises(SignatureError, match="no in-toto statement"):
        dsse.verify_attestation(dsse.attest(b"{}", key.private, PASSPHRASE), key.public, SHA256)


def test_a_statement_needs_subjects_with_digests() -> None:
    for subjects in ([], [Subject("a", {})]):
        with pytest.raises(SignatureError, match="needs a subject"):
            dsse.statement(subjects, "t", {})


def test_planning_does_not_pay_for_cryptography() -> None:
    code = "import sys, ciflow.supply.dsse, ciflow.supply.cargo_build; sys.exit('cryptography' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
