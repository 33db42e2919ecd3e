"""Keys and bare signatures; openssl is the judge of the cryptography."""

from __future__ import annotations

import base64
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ciflow.supply.errors import KeyFault, SignatureError
from ciflow.supply.keys import KINDS, PublicKey, SigningKey, generate

PASSPHRASE = b"correct horse"
DATA = b"what was built\n"


def openssl(*args: str | Path) -> str:
    if shutil.which("openssl") is None:
        pytest.skip("openssl verifies the signatures of this test")
    done = subprocess.run(["openssl", *map(str, args)], capture_output=True, text=True, timeout=20)
    return done.stdout + done.stderr


def openssl_accepts(folder: Path, key: PublicKey, signature: bytes, data: bytes) -> bool:
    for name, content in (("pub.pem", key.pem), ("sig", signature), ("data", data)):
        (folder / name).write_bytes(content)
    files = ("-sigfile", folder / "sig", "-in", folder / "data")
    how = ("-rawin",) if key.kind == "ed25519" else ("-rawin", "-digest", "sha256")
    said = openssl("pkeyutl", "-verify", "-pubin", "-inkey", folder / "pub.pem", *how, *files)
    return "Signature Verified Successfully" in said


@pytest.mark.parametrize("kind", KINDS)
def test_openssl_accepts_our_signature(kind: str, tmp_path: Path) -> None:
    key = SigningKey.fresh(kind)
    signature = key.sign(DATA)
    assert openssl_accepts(tmp_path, key.public, signature, DATA)
    assert not openssl_accepts(tmp_path, key.public, signature, DATA + b"x")


@pytest.mark.parametrize("kind", KINDS)
def test_we_accept_a_signature_and_a_key_of_openssl(kind: str, tmp_path: Path) -> None:
    private, sig, data = (tmp_path / n for n in ("key.pem", "sig", "data"))
    made = ("EC", "-pkeyopt", "ec_paramgen_curve:P-256") if kind == "ecdsa-p256" else ("ED25519",)
    openssl("genpkey", "-algorithm", *made, "-aes256", "-pass", "pass:secret", "-out", private)
    data.write_bytes(DATA)
    how = ("-digest", "sha256") if kind == "ecdsa-p256" else ()
    openssl("pkeyutl", "-sign", "-inkey", private, "-passin", "pass:secret", "-rawin", *how, "-in", data, "-out", sig)
    key = SigningKey(private.read_bytes(), b"secret").public
    assert key.kind == kind
    key.verify(DATA, sig.read_bytes())


def test_the_key_id_is_the_hash_of_the_der_form() -> None:
    key = SigningKey.fresh().public
    body = b"".join(key.pem.splitlines()[1:-1])
    assert key.id == base64.b64encode(hashlib.sha256(base64.b64decode(body)).digest()).decode()


@pytest.mark.parametrize("kind", KINDS)
def test_the_private_key_is_written_encrypted(kind: str) -> None:
    pair = generate(PASSPHRASE, kind)
    assert pair.private.startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
    assert SigningKey(pair.private, PASSPHRASE).public.pem == pair.public
    with pytest.raises(KeyFault, match="another passphrase"):
        SigningKey(pair.private, b"wrong")
    with pytest.raises(KeyFault, match="passphrase"):
        generate(b"", kind)


def test_keys_of_another_kind_are_refused(tmp_path: Path) -> None:
    for name, options in (("rsa", ["RSA"]), ("p384", ["EC", "-pkeyopt", "ec_paramgen_curve:P-384"])):
        private, public = tmp_path / name, tmp_path / f"{name}.pub"
        openssl("genpkey", "-algorithm", *options, "-aes256", "-pass", "pass:x", "-out", private)
        openssl("pkey", "-in", private, "-passin", "pass:x", "-pubout", "-out", public)
        with pytest.raises(KeyFault, match="neither an ECDSA P-256 nor an Ed25519 key"):
            SigningKey(private.read_bytes(), b"x")
        with pytest.raises(KeyFault, match="neither an ECDSA P-256 nor an Ed25519 key"):
            PublicKey(public.read_bytes())
    with pytest.raises(KeyFault, match="no kind of key"):
        SigningKey.fresh("rsa")


def test_a_key_file_in_the_clear_is_refused(tmp_path: Path) -> None:
    openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", tmp_path / "k")
    with pytest.raises(KeyFault, match="not an encrypted PEM"):
        SigningKey((tmp_path / "k").read_bytes(), PASSPHRASE)


def test_a_signature_of_one_kind_is_none_of_the_other() -> None:
    one, other = (SigningKey.fresh(kind) for kind in KINDS)
    for signer, reader in ((one, other), (other, one)):
        with pytest.raises(SignatureError, match="does not match"):
            reader.public.verify(DATA, signer.sign(DATA))


@pytest.mark.parametrize("signature", [b"", b"\x30\x00", b"\x00" * 64, b"\x30\x06\x02\x01\x00\x02\x01\x00"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_signature_is_refused(kind: str, signature: bytes) -> None:
    """Zeros are the signature that some verifiers took for good (CVE-2022-21449)."""
    with pytest.raises(SignatureError):
        SigningKey.fresh(kind).public.verify(DATA, signature)


def test_planning_does_not_pay_for_cryptography() -> None:
    code = "import sys, ciflow.supply.bundle, ciflow.supply.cargo_build; sys.exit('cryptography' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
