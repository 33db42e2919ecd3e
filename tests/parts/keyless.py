"""What keyless signing needs, in small and on this machine: an issuer of identity tokens as GitHub's is, an authority
as Fulcio is, and a log as Rekor is. They stand in for Sigstore's public services, which tests can't reach, and speak
their API (GitHub's OIDC request; Fulcio's /api/v2/signingCert; Rekor's /api/v1/log/entries)."""

from __future__ import annotations

import base64
import contextlib
import datetime
import hashlib
import json
import threading
import time
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature, encode_dss_signature
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

ISSUER = "https://issuer.example"
JOB = "https://forge.example/acme/shield/.github/workflows/release.yml@refs/heads/main"
NAME = "log.example"
SECRET = "of-this-job"
SHA256 = ec.ECDSA(hashes.SHA256())


def _compact(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def _url64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _unurl64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _der(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _pem(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


class Issuer:
    """Says who a job is, to whoever knows the job's secret: a JSON Web Token (RFC 7519), signed by ES256."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())

    def token(self, job: str = JOB, audience: str = "sigstore", lasts: float = 300) -> str:
        claims = {"iss": ISSUER, "sub": job, "aud": audience, "exp": int(time.time() + lasts)}
        signed = ".".join(_url64(_compact(part)) for part in ({"alg": "ES256", "typ": "JWT"}, claims))
        r, s = decode_dss_signature(self.key.sign(signed.encode(), SHA256))
        return f"{signed}.{_url64(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"

    def who(self, token: str) -> str:
        """Raises ValueError unless the token is its own, for Sigstore, and not over."""
        head, claims, signature = token.split(".")
        raw = _unurl64(signature)
        pair = (int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
        try:
            self.key.public_key().verify(encode_dss_signature(*pair), f"{head}.{claims}".encode(), SHA256)
        except InvalidSignature as e:
            raise ValueError("not a token of the issuer") from e
        said = json.loads(_unurl64(claims))
        if said["aud"] != "sigstore" or said["exp"] < time.time():
            raise ValueError("a token for somebody else, or of another time")
        return str(said["sub"])


class Authority:
    """Certifies keys for ten minutes: a root, and an intermediate that issues."""

    def __init__(self) -> None:
        self.root_key, self.key = (ec.generate_private_key(ec.SECP384R1()) for _ in range(2))
        root, self.name = (
            x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)]) for text in ("ca.example", "ca.example issuing")
        )
        self.root = self._ca(root, self.root_key.public_key(), root)
        self.issuing = self._ca(self.name, self.key.public_key(), root)
        self.chain = b"".join(one.public_bytes(serialization.Encoding.PEM) for one in (self.issuing, self.root))

    def _ca(self, name: x509.Name, key: ec.EllipticCurvePublicKey, by: x509.Name) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateBuilder(by, name, key, x509.random_serial_number())
        builder = builder.not_valid_before(now - datetime.timedelta(days=1))
        builder = builder.not_valid_after(now + datetime.timedelta(days=3650))
        builder = builder.add_extension(x509.BasicConstraints(True, None), critical=True)
        return builder.sign(self.root_key, hashes.SHA256())

    def certify(self, key: ec.EllipticCurvePublicKey, job: str, **change: Any) -> x509.Certificate:
        """As Fulcio does. `change`: `usage`, `issuer` and `begins` (datetime) otherwise than they should be, `critical`
        an extension that nobody knows."""
        begins = change.get("begins") or datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=5)
        vouched = str(change.get("issuer", ISSUER)).encode()
        usage = x509.KeyUsage(True, False, False, False, False, False, False, False, False)
        names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(job)])
        extended = x509.ExtendedKeyUsage([change.get("usage", ExtendedKeyUsageOID.CODE_SIGNING)])
        text = x509.UnrecognizedExtension(
            ObjectIdentifier("1.3.6.1.4.1.57264.1.8"), bytes([0x0C, len(vouched)]) + vouched
        )
        builder = x509.CertificateBuilder(self.name, x509.Name([]), key, x509.random_serial_number())
        builder = builder.not_valid_before(begins).not_valid_after(begins + datetime.timedelta(minutes=10))
        builder = builder.add_extension(usage, True).add_extension(extended, False).add_extension(names, True)
        builder = builder.add_extension(text, False).add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), False
        )
        if change.get("critical"):
            builder = builder.add_extension(x509.UnrecognizedExtension(ObjectIdentifier("1.2.3.4"), b"\5\0"), True)
        return builder.sign(self.key, hashes.SHA256())

    def answer(self, asked: Mapping[str, Any], issuer: Issuer) -> dict[str, Any]:
        job = issuer.who(asked["credentials"]["oidcIdentityToken"])
        request = x509.load_pem_x509_csr(base64.b64decode(asked["certificateSigningRequest"]))
        if not request.is_signature_valid:
            raise ValueError("the request is not signed by its own key")
        made = self.certify(request.public_key(), job)
        chain = [one.public_bytes(serialization.Encoding.PEM).decode() for one in (made, self.issuing, self.root)]
        return {"signedCertificateEmbeddedSct": {"chain": {"certificates": chain}}}


class Log:
    """Takes down what holds, and proves that it has: RFC 6962's tree, signed checkpoints, signed timestamps."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.pem, self.id = _pem(self.key.public_key()), hashlib.sha256(_der(self.key.public_key())).digest()
        self.leaves = [hashlib.sha256(b"\0other %d" % number).digest() for number in range(5)]
        self.late = 0.0  # seconds that its clock goes wrong

    def answer(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        spec = {"hashedrekord": self._hashedrekord, "dsse": self._dsse}[asked["kind"]](asked)
        body = _compact({"apiVersion": "0.0.1", "kind": asked["kind"], "spec": spec})
        index = len(self.leaves)
        self.leaves.append(hashlib.sha256(b"\0" + body).digest())
        entry = {
            "body": base64.b64encode(body).decode(),
            "integratedTime": int(time.time() + self.late),
            "logID": self.id.hex(),
            "logIndex": index,
        }
        top, size = root(self.leaves), len(self.leaves)
        text = f"{NAME} - 42\n{size}\n{base64.b64encode(top).decode()}\n"
        signed = base64.b64encode(self.id[:4] + self.key.sign(text.encode(), SHA256)).decode()
        proof = {
            "logIndex": index,
            "rootHash": top.hex(),
            "treeSize": size,
            "hashes": [one.hex() for one in path(index, self.leaves)],
            "checkpoint": f"{text}\n\u2014 {NAME} {signed}\n",
        }
        promise = base64.b64encode(self.key.sign(_compact(entry), SHA256)).decode()
        verification = {"inclusionProof": proof, "signedEntryTimestamp": promise}
        return {"24296fb24b8ad77a" * 5: {**entry, "verification": verification}}

    def _hashedrekord(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        spec: dict[str, Any] = asked["spec"]
        digest = bytes.fromhex(spec["data"]["hash"]["value"])
        key = _key(spec["signature"]["publicKey"]["content"])
        key.verify(base64.b64decode(spec["signature"]["content"]), digest, ec.ECDSA(Prehashed(hashes.SHA256())))
        return spec

    def _dsse(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        text = asked["spec"]["proposedContent"]["envelope"]
        envelope, (verifier,) = json.loads(text), asked["spec"]["proposedContent"]["verifiers"]
        payload, kind = base64.b64decode(envelope["payload"]), envelope["payloadType"]
        signature = envelope["signatures"][0]["sig"]
        signed = f"DSSEv1 {len(kind)} {kind} {len(payload)} ".encode() + payload
        _key(verifier).verify(base64.b64decode(signature), signed, SHA256)
        return {
            "envelopeHash": {"algorithm": "sha256", "value": hashlib.sha256(text.encode()).hexdigest()},
            "payloadHash": {"algorithm": "sha256", "value": hashlib.sha256(payload).hexdigest()},
            "signatures": [{"signature": signature, "verifier": verifier}],
        }


def _key(pem64: str) -> ec.EllipticCurvePublicKey:
    key = x509.load_pem_x509_certificate(base64.b64decode(pem64)).public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    return key


def root(leaves: list[bytes]) -> bytes:
    """RFC 6962, section 2.1."""
    if len(leaves) == 1:
        return leaves[0]
    middle = 1 << (len(leaves) - 1).bit_length() - 1
    return hashlib.sha256(b"\1" + root(leaves[:middle]) + root(leaves[middle:])).digest()


def path(index: int, leaves: list[bytes]) -> list[bytes]:
    """RFC 6962, section 2.1.1."""
    if len(leaves) == 1:
        return []
    middle = 1 << (len(leaves) - 1).bit_length() - 1
    if index < middle:
        return [*path(index, leaves[:middle]), root(leaves[middle:])]
    return [*path(index - middle, leaves[middle:]), root(leaves[:middle])]


class Services:
    """The three of them behind one address. `env` is what a job on GitHub has."""

    def __init__(self) -> None:
        self.issuer, self.authority, self.log = Issuer(), Authority(), Log()
        self.url = ""

    @property
    def env(self) -> dict[str, str]:
        return {
            "ACTIONS_ID_TOKEN_REQUEST_URL": f"{self.url}/token?api-version=2.0",
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN": SECRET,
        }

    def get(self, path: str, headers: Mapping[str, str]) -> dict[str, Any]:
        asked = urlsplit(path)
        if asked.path != "/token" or headers.get("Authorization") != f"bearer {SECRET}":
            raise ValueError("nothing for you here")
        return {"value": self.issuer.token(audience=parse_qs(asked.query)["audience"][0])}

    def post(self, path: str, asked: Mapping[str, Any]) -> dict[str, Any]:
        if path == "/api/v2/signingCert":
            return self.authority.answer(asked, self.issuer)
        if path == "/api/v1/log/entries":
            return self.log.answer(asked)
        raise ValueError("nothing for you here")


@contextlib.contextmanager
def services() -> Iterator[Services]:
    """They serve on a free port of this machine until the end."""
    made = Services()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._tell(lambda: made.get(self.path, self.headers))

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self._tell(lambda: made.post(self.path, asked))

        def _tell(self, answer: Any) -> None:
            try:
                status, body = 201, json.dumps(answer()).encode()
            except (ValueError, KeyError, InvalidSignature) as error:
                status, body = 400, json.dumps({"message": str(error)}).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args: object) -> None:
            """Tests are quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        made.url = f"http://127.0.0.1:{server.server_address[1]}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield made
        server.shutdown()
