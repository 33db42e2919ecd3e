"""Where stores are and whose requests to them are: addresses, keys, logins, tokens of a registry that asks for them."""

from __future__ import annotations

import base64
import contextlib
import json
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from ciflow.diagnostics import ArtifactError, Refused
from ciflow.store.artifacts import Shelf, open_shelf
from ciflow.store.artifacts.logins import Badge
from ciflow.store.artifacts.records import read
from ciflow.store.artifacts.s3 import Account, account, bucket_of
from ciflow.store.artifacts.web import Web
from tests.conftest import Start
from tests.parts import process
from tests.parts.registry import registry


@pytest.fixture(autouse=True)
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has logged in anywhere."""
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN", "PROFILE", "REGION", "DEFAULT_REGION",
                 "ENDPOINT_URL", "ENDPOINT_URL_S3"):  # fmt: skip
        monkeypatch.delenv(f"AWS_{name}", raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))


@pytest.mark.parametrize(
    ("where", "url", "prefix", "region"),
    [
        ("s3://crates", "https://crates.s3.us-east-1.amazonaws.com", "", "us-east-1"),
        ("s3://crates/ci/shop?region=eu-west-1", "https://crates.s3.eu-west-1.amazonaws.com", "ci/shop", "eu-west-1"),
        ("s3://my.crates/ci", "https://s3.us-east-1.amazonaws.com/my.crates", "ci", "us-east-1"),
        ("s3://crates/ci/?endpoint=http://minio:9000/", "http://minio:9000/crates", "ci", "us-east-1"),
    ],
)
def test_a_bucket_is_where_its_address_says(where: str, url: str, prefix: str, region: str) -> None:
    found = bucket_of(where)
    assert (found.url, found.prefix, found.region) == (url, prefix, region)


@pytest.mark.parametrize(
    "where",
    ["s3://", "s3://key:secret@crates", "s3://crates?color=red", "oci://example.org", "oci://example.org/Shop",
     "oci://me:secret@example.org/shop", "oci://example.org/shop?tls=maybe", "ftp://example.org/x"],
)  # fmt: skip
def test_an_address_that_makes_no_sense_or_holds_a_secret_is_refused(tmp_path: Path, where: str) -> None:
    with pytest.raises(Refused):
        open_shelf(tmp_path, where)


def test_keys_come_from_the_environment_then_from_the_profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Refused, match="no keys for S3"):
        account()
    (tmp_path / "credentials").write_text(
        "[default]\naws_access_key_id = A\naws_secret_access_key = S%1\n"
        "[ci]\naws_access_key_id = B\naws_secret_access_key = T\naws_session_token = U\n"
    )
    assert account() == Account("A", "S%1")
    monkeypatch.setenv("AWS_PROFILE", "ci")
    assert account() == Account("B", "T", "U")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "C")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "V")
    assert account() == Account("C", "V")


# --- a registry that asks who one is ------------------------------------------------------------------------------


class TokenServer:
    """Gives tokens that the registry believes, to whoever knows the password; `asked` is who asked for what."""

    def __init__(self, folder: Path) -> None:
        self.key = rsa.generate_private_key(65537, 2048)
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "tokens")])
        now = datetime.now(UTC)
        made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(self.key.public_key())
        made = made.serial_number(1).not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
        self.certificate = made.sign(self.key, hashes.SHA256())
        self.bundle = folder / "bundle.pem"
        self.bundle.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))
        self.lifetime = 60.0
        self.asked: list[str] = []

    def token(self, scope: str, service: str) -> str:
        der = self.certificate.public_bytes(serialization.Encoding.DER)
        kind, name, actions = scope.split(":")
        now = int(time.time())
        claims = {
            "iss": "tokens", "sub": "ci", "aud": service, "exp": now + int(self.lifetime), "nbf": now - 60, "iat": now,
            "jti": str(len(self.asked)), "access": [{"type": kind, "name": name, "actions": actions.split(",")}],
        }  # fmt: skip
        head = {"typ": "JWT", "alg": "RS256", "x5c": [base64.b64encode(der).decode()]}
        text = b".".join(map(_url, (json.dumps(head).encode(), json.dumps(claims).encode())))
        return b".".join((text, _url(self.key.sign(text, padding.PKCS1v15(), hashes.SHA256())))).decode()


def _url(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


@contextlib.contextmanager
def serving(tokens: TokenServer) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            query = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
            right = "Basic " + base64.b64encode(b"ci:open sesame").decode()
            well = self.headers.get("Authorization") == right
            tokens.asked.append(query["scope"])
            said = {"token": tokens.token(query["scope"], query["service"])} if well else {"errors": []}
            self.send_response(200 if well else 401)
            self.end_headers()
            self.wfile.write(json.dumps(said).encode())

        def log_message(self, *_arguments: object) -> None:
            """A test reads `asked`."""

    server = ThreadingHTTPServer(("127.0.0.1", process.free_port()), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/token"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def guarded(tmp_path: Path, start: Start) -> Iterator[tuple[str, TokenServer]]:
    """`host:port` of a registry that lets nobody in without a token."""
    tokens = TokenServer(tmp_path)
    with serving(tokens) as realm:
        auth = f"token: {{realm: '{realm}', service: registry, issuer: tokens, rootcertbundle: {tokens.bundle}}}"
        yield start(registry(tmp_path, auth)), tokens


def logged_in(tmp_path: Path, at: str, password: str = "open sesame") -> None:
    (tmp_path / "docker").mkdir(exist_ok=True)
    known = {"auths": {at: {"auth": base64.b64encode(f"ci:{password}".encode()).decode()}}}
    (tmp_path / "docker" / "config.json").write_text(json.dumps(known))


def kept(shelf: Shelf, content: bytes) -> str:
    digest = shelf.here.blobs.put(content)
    shelf.name("thing", digest, {})
    return digest


def test_a_login_opens_a_registry_that_hands_out_tokens(tmp_path: Path, guarded: tuple[str, TokenServer]) -> None:
    at, tokens = guarded
    logged_in(tmp_path, at)
    digest = kept(open_shelf(tmp_path / "one", f"oci://{at}/ci/shop"), b"abc")
    assert open_shelf(tmp_path / "two", f"oci://{at}/ci/shop").take(digest).read_bytes() == b"abc"
    asked = {(name, *sorted(actions.split(","))) for _, name, actions in (one.split(":") for one in tokens.asked)}
    assert ("ci/shop", "pull", "push") in asked, "the registry names actions in any order"


def test_a_token_that_ends_in_the_middle_is_renewed(
    tmp_path: Path, guarded: tuple[str, TokenServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is over after one request, so that every request in an upload of parts meets a 401 first."""
    monkeypatch.setattr("ciflow.store.artifacts.registry.Registry.part", 1000)
    at, tokens = guarded
    tokens.lifetime = -120.0  # the registry allows a minute
    over = tokens.token("repository:ci/shop:pull,push", "registry")
    tokens.lifetime = 600.0

    def used_once(badge: Badge) -> dict[str, str]:
        header, badge._header = badge._header, f"Bearer {over}"
        return {"authorization": header} if header else {}

    monkeypatch.setattr(Badge, "headers", property(used_once))
    logged_in(tmp_path, at)
    shelf = open_shelf(tmp_path / "one", f"oci://{at}/ci/shop")
    content = b"abc" * 1000
    first = kept(shelf, content)
    asked = len(tokens.asked)
    assert asked > 3
    kept(shelf, content[1:])
    assert len(tokens.asked) > asked
    assert open_shelf(tmp_path / "two", f"oci://{at}/ci/shop").take(first).read_bytes() == content


@pytest.mark.parametrize("password", ["", "wrong"])
def test_who_has_no_login_is_told_how_to_get_one(
    tmp_path: Path, guarded: tuple[str, TokenServer], password: str
) -> None:
    at, _ = guarded
    if password:
        logged_in(tmp_path, at, password)
    with pytest.raises(ArtifactError, match="no token") as refused:
        open_shelf(tmp_path / "one", f"oci://{at}/ci/shop").entries()
    assert refused.value.help == f"docker login {at}"
    assert "open sesame" not in str(refused.value) + refused.value.help


def test_a_credential_helper_gives_the_login(
    tmp_path: Path, guarded: tuple[str, TokenServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is asked for the registry by its name, on its standard input, as Docker does."""
    at, _ = guarded
    helper = tmp_path / "bin" / "docker-credential-safe"
    helper.parent.mkdir()
    told = json.dumps({"Username": "ci", "Secret": "open sesame"})
    helper.write_text(f"#!/bin/sh\n[ \"$1 $(cat)\" = 'get {at}' ] && echo '{told}'\n")
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{helper.parent}:/usr/bin:/bin", prepend=":")
    (tmp_path / "docker").mkdir()
    (tmp_path / "docker" / "config.json").write_text(json.dumps({"credHelpers": {at: "safe"}}))
    digest = kept(open_shelf(tmp_path / "one", f"oci://{at}/ci/shop"), b"abc")
    assert open_shelf(tmp_path / "two", f"oci://{at}/ci/shop").take(digest).read_bytes() == b"abc"


def test_a_login_is_never_sent_without_tls_where_the_registry_has_it(tmp_path: Path) -> None:
    logged_in(tmp_path, "example.org")
    badge = Badge("example.org", Web("example.org"), tls=True)
    with pytest.raises(ArtifactError, match="without TLS"):
        badge.renew('Bearer realm="http://example.org/token",service="registry"')


@pytest.mark.parametrize(
    "text",
    ["", "[]", "null", "3", '{"name": 3}', '{"name": "a", "digest": "../x", "size": 1, "at": 1}',
     '{"name": 1, "digest": "%s", "size": 1, "at": 1}' % ("0" * 64), '{"digests": 3}',
     '{"name": "a", "digest": "%s", "size": "1", "at": 1}' % ("0" * 64), "[" * 100_000],
)  # fmt: skip
def test_what_others_keep_in_the_same_place_is_no_record(text: str) -> None:
    assert read(text) is None
