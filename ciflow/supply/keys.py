"""Keys that sign: ECDSA on P-256 with SHA-256 (FIPS 186-5), and Ed25519 (RFC 8032).

A key says by itself how it signs; nothing in a message can choose another way. The only user of `cryptography`, with
`certificates.py`, imported when a key is first used: planning and checking don't pay for it.
"""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING, Any

from ciflow.dataclass import dataclass
from ciflow.supply.errors import KeyFault, SignatureError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

KINDS = ("ecdsa-p256", "ed25519")
WANTED = "neither an ECDSA P-256 nor an Ed25519 key"


@dataclass(frozen=True)
class KeyPair:
    """`private` is PKCS #8 PEM, encrypted (PBES2); `public` is SubjectPublicKeyInfo PEM."""

    private: bytes
    public: bytes


class PublicKey:
    """A key that signatures are checked with. `id` is Base64 of the SHA-256 of its DER form: the hint of a bundle
    and the keyid of an envelope. KeyFault where it can't be read or is of another kind."""

    def __init__(self, pem: bytes) -> None:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.serialization import load_pem_public_key

        try:
            key = load_pem_public_key(pem)
        except (ValueError, TypeError, UnsupportedAlgorithm) as e:
            raise KeyFault("cannot read the public key: not PEM") from e
        self._take(key)

    @classmethod
    def of(cls, key: object) -> PublicKey:
        """Of a key as `cryptography` has it: that of a certificate, say."""
        made = cls.__new__(cls)
        made._take(key)
        return made

    def _take(self, key: object) -> None:
        from cryptography.hazmat.primitives import serialization as form

        self._key = _supported(key, "the public key")
        self.kind = "ed25519" if not hasattr(self._key, "curve") else "ecdsa-p256"
        der = self._key.public_bytes(form.Encoding.DER, form.PublicFormat.SubjectPublicKeyInfo)
        self.pem: bytes = self._key.public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo)
        self.id = base64.b64encode(hashlib.sha256(der).digest()).decode()

    def verify(self, data: bytes, signature: bytes) -> None:
        """Return when the signature holds; SignatureError when it does not."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec

        try:
            if self.kind == "ed25519":
                self._key.verify(signature, data)
            else:
                self._key.verify(signature, data, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature as e:
            raise SignatureError("the signature does not match: other content, or another key") from e


class SigningKey:
    """A private key that was opened with its passphrase. KeyFault where it can't be."""

    def __init__(self, pem: bytes, passphrase: bytes) -> None:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        try:
            key = load_pem_private_key(pem, passphrase)
        except (ValueError, TypeError, UnsupportedAlgorithm) as e:
            raise KeyFault("cannot read the signing key: not an encrypted PEM key, or another passphrase") from e
        self._take(key)

    @classmethod
    def fresh(cls, kind: str = KINDS[0]) -> SigningKey:
        """A new key, which is nowhere but here."""
        made = cls.__new__(cls)
        made._take(_new(kind))
        return made

    def _take(self, key: object) -> None:
        self._key = _supported(key, "the signing key")
        self.public = PublicKey.of(self._key.public_key())

    def sign(self, data: bytes) -> bytes:
        """DER for ECDSA, as `openssl dgst -sha256 -verify` takes it; the 64 bytes of RFC 8032 for Ed25519."""
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec

        if self.public.kind == "ed25519":
            return bytes(self._key.sign(data))
        return bytes(self._key.sign(data, ec.ECDSA(hashes.SHA256())))

    def certificate_request(self) -> bytes:
        """PKCS #10 as PEM, with nobody's name: whose the key is, says the token that goes with it."""
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.serialization import Encoding

        made = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(self._key, hashes.SHA256())
        return bytes(made.public_bytes(Encoding.PEM))

    def encrypted(self, passphrase: bytes) -> KeyPair:
        """Both halves as files. An empty passphrase is refused: a key file is never written in the clear."""
        from cryptography.hazmat.primitives import serialization as form

        if not passphrase:
            raise KeyFault("a signing key needs a passphrase")
        lock = form.BestAvailableEncryption(passphrase)
        private = self._key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, lock)
        return KeyPair(private, self.public.pem)


def generate(passphrase: bytes, kind: str = KINDS[0]) -> KeyPair:
    """A new key pair, its private half encrypted."""
    return SigningKey.fresh(kind).encrypted(passphrase)


def _new(kind: str) -> EllipticCurvePrivateKey | Ed25519PrivateKey:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519

    if kind not in KINDS:
        raise KeyFault(f"no kind of key is called {kind!r}: {' or '.join(KINDS)}")
    return ed25519.Ed25519PrivateKey.generate() if kind == "ed25519" else ec.generate_private_key(ec.SECP256R1())


def _supported(key: object, what: str) -> Any:
    """The key, when it is of one of our kinds. Typed loosely: the two kinds share only the names used here."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519

    if isinstance(key, ed25519.Ed25519PrivateKey | ed25519.Ed25519PublicKey):
        return key
    if isinstance(key, ec.EllipticCurvePrivateKey | ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    raise KeyFault(f"{what} is {WANTED}")
