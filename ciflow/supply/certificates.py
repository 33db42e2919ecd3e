"""Certificates that an authority gives to an identity for some minutes, so that nobody keeps a key (Fulcio).

Format: sigstore/fulcio, docs/certificate-specification.md and docs/oid-info.md; chains of RFC 5280, section 6, as far
as such authorities use them. That the certificate stands in a certificate transparency log is not checked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ciflow.dataclass import dataclass
from ciflow.supply.errors import KeyFault, SignatureError
from ciflow.supply.keys import PublicKey

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

ISSUER = "1.3.6.1.4.1.57264.1.8"  # who vouched for the identity: a DER UTF8String
LONGEST_CHAIN = 5
_DER_TEXT = 0x0C


@dataclass(frozen=True, slots=True)
class Authority:
    """Whom to believe: the certificates (DER) that may issue, and the key of the log that says when."""

    certificates: tuple[bytes, ...]
    log: PublicKey

    @classmethod
    def of(cls, chain: bytes, log: bytes) -> Authority:
        """Of PEM files. Raises KeyFault where they can't be read."""
        from cryptography import x509

        try:
            found = x509.load_pem_x509_certificates(chain)
        except ValueError as e:
            raise KeyFault("cannot read the certificates of the authority: not PEM") from e
        return cls(tuple(_der(one) for one in found), PublicKey(log))


@dataclass(frozen=True, slots=True)
class Identity:
    """Who held the key: the name in the certificate (an address or URI), and who vouched for it."""

    name: str
    issuer: str


@dataclass(frozen=True, slots=True)
class Holder:
    """Somebody without a key of their own: `identity` is a pattern (`patterns.matches`) of the certificate's name."""

    identity: str
    issuer: str
    authority: Authority

    kind = "keyless"

    @property
    def id(self) -> str:
        return f"{self.issuer} {self.identity}"


def certified(der: bytes, authority: Authority, at: float) -> tuple[PublicKey, Identity]:
    """The key of a certificate, and whose it was at that time (Unix seconds).

    Raises:
        SignatureError: not issued by the authority, not for signing, or not good at that time.
    """
    from cryptography import x509

    with _understood():
        leaf = x509.load_der_x509_certificate(der)
        _for_signing(leaf)
        _issued(leaf, [x509.load_der_x509_certificate(one) for one in authority.certificates], at)
        return PublicKey.of(leaf.public_key()), _identity(leaf)


def public_key(der: bytes) -> PublicKey:
    """Of a certificate that nobody has been asked about. Raises SignatureError, where it is none."""
    from cryptography import x509

    with _understood():
        return PublicKey.of(x509.load_der_x509_certificate(der).public_key())


def named(der: bytes) -> str:
    """Whom it names, whoever issued it. Raises SignatureError."""
    from cryptography import x509

    with _understood():
        return _identity(x509.load_der_x509_certificate(der)).name


def der_of(pem: bytes) -> bytes:
    """A certificate that is written as PEM (RFC 7468). Raises SignatureError."""
    from cryptography import x509

    with _understood():
        return _der(x509.load_pem_x509_certificate(pem))


def pem_of(der: bytes) -> bytes:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    return x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM)


@contextmanager
def _understood() -> Iterator[None]:
    """What the library can't read is refused in our words; it has no error that all of its own are."""
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        yield
    except SignatureError:
        raise
    except x509.ExtensionNotFound as e:
        raise SignatureError(f"certificate: it lacks {e.oid.dotted_string}") from e
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion, x509.DuplicateExtension,
            x509.UnsupportedGeneralNameType) as e:  # fmt: skip
        raise SignatureError(f"certificate: {e}") from e


def _der(certificate: Certificate) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.DER)


def _for_signing(leaf: Certificate) -> None:
    """What it must and must not say of its use; a critical word that nobody here understands is a fault (RFC 5280)."""
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID

    known = (x509.KeyUsage, x509.ExtendedKeyUsage, x509.BasicConstraints, x509.SubjectAlternativeName)
    for extension in leaf.extensions:
        if extension.critical and not isinstance(extension.value, known):
            raise SignatureError(f"certificate: {extension.oid.dotted_string} is critical, and not understood")
        if isinstance(extension.value, x509.BasicConstraints) and extension.value.ca:
            raise SignatureError("certificate: it is an authority's own")
    uses = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    if ExtendedKeyUsageOID.CODE_SIGNING not in uses:
        raise SignatureError("certificate: it is not for signing code")
    if not leaf.extensions.get_extension_for_class(x509.KeyUsage).value.digital_signature:
        raise SignatureError("certificate: its key is not for signatures")


def _issued(leaf: Certificate, chain: Sequence[Certificate], at: float) -> None:
    """Step by step from the leaf to the last certificate of the authority, each good at that time."""
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature

    current, moment = leaf, datetime.fromtimestamp(at, UTC)
    for _ in range(LONGEST_CHAIN):
        if not current.not_valid_before_utc <= moment <= current.not_valid_after_utc:
            whose = "it" if current is leaf else current.subject.rfc4514_string()
            raise SignatureError(f"certificate: {whose} was not good at {moment:%Y-%m-%dT%H:%M:%SZ}")
        above = next((one for one in chain if one.subject == current.issuer), None)
        if above is None or above == current:
            if current is leaf:
                raise SignatureError("certificate: it was issued by somebody else")
            return
        try:
            current.verify_directly_issued_by(above)
        except (InvalidSignature, ValueError, TypeError) as e:
            raise SignatureError("certificate: it was not issued by whom it names") from e
        if not above.extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
            raise SignatureError("certificate: its issuer is no authority")
        current = above
    raise SignatureError(f"certificate: a chain of more than {LONGEST_CHAIN}")


def _identity(leaf: Certificate) -> Identity:
    from cryptography import x509

    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    found = [*names.get_values_for_type(x509.UniformResourceIdentifier), *names.get_values_for_type(x509.RFC822Name)]
    raw = leaf.extensions.get_extension_for_oid(x509.ObjectIdentifier(ISSUER)).value
    text = raw.value if isinstance(raw, x509.UnrecognizedExtension) else b""
    short = len(text) > 2 and text[:2] == bytes([_DER_TEXT, (len(text) - 2) & 0x7F]) and len(text) < 0x82
    if len(found) != 1 or not short:
        raise SignatureError("certificate: it is to name one identity, and who vouched for it")
    return Identity(found[0], text[2:].decode())
