"""Keys and certificates for one test cluster: an authority, and leaves signed by it."""

import datetime
import ipaddress
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

VALID = datetime.timedelta(days=2)


class Authority:
    """Signs certificates into a folder as `<name>.crt` and `<name>.key` (PEM)."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = subject("test-ca")
        basics = x509.BasicConstraints(ca=True, path_length=None)
        authority = self._unsigned(self.name, self.key).add_extension(basics, critical=True)
        self.ca = folder / "ca.crt"
        self.ca.write_bytes(authority.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))

    def leaf(
        self,
        name: str,
        common_name: str,
        organisation: str = "",
        alternatives: Sequence[str] = (),
        valid: datetime.timedelta = VALID,
    ) -> None:
        """A certificate; `organisation` is what Kubernetes reads as the group, `alternatives` are names and IPs. Below
        zero, `valid` says how long ago it ended."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._unsigned(subject(common_name, organisation), key, valid)
        if alternatives:
            certificate = certificate.add_extension(
                x509.SubjectAlternativeName([general_name(text) for text in alternatives]), critical=False
            )
        signed = certificate.sign(self.key, hashes.SHA256())
        (self.folder / f"{name}.crt").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        write_key(self.folder / f"{name}.key", key)

    def pair(self, name: str) -> None:
        """A bare key pair (`.key`, `.pub`), with which service account tokens are signed."""
        key = ec.generate_private_key(ec.SECP256R1())
        write_key(self.folder / f"{name}.key", key)
        public = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        (self.folder / f"{name}.pub").write_bytes(public)

    def _unsigned(
        self, name: x509.Name, key: ec.EllipticCurvePrivateKey, valid: datetime.timedelta = VALID
    ) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - VALID)
            .not_valid_after(now + valid)
        )


def subject(common_name: str, organisation: str = "") -> x509.Name:
    parts = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
    if organisation:
        parts.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation))
    return x509.Name(parts)


def general_name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    encoded = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.touch(mode=0o600)
    path.write_bytes(encoded)
