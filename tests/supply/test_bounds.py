"""Every kind of bad input in one table: what it is, that it is refused and where, and what that took. `pytest -s`
prints the figures. Memory is held to a bound that goes by the input's size; time only to a guard against hanging."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import time
import tracemalloc
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ciflow.cli.sbom_subject import Asked, bill
from ciflow.diagnostics import CiflowError
from ciflow.modules.files import advisories
from ciflow.supply import bundle, cargo_lock, formats, jsf, vex
from ciflow.supply.dsse import PROVENANCE, Statement, Subject
from ciflow.supply.errors import SupplyError
from ciflow.supply.evidence import unpack
from ciflow.supply.keys import PublicKey, SigningKey
from ciflow.supply.provenance import Build, predicate_of
from ciflow.supply.rpm import packages
from ciflow.supply.trust import Policy, Signer
from ciflow.supply.verify import judge
from tests.supply.bills import CREATION, full

MIB = 1024 * 1024
LEAST = 24 * MIB  # bytes that any of it may take
GROWTH = 40  # bytes of memory for each of input: what a tree of Python's takes
HANGS = 60.0  # seconds
NOW = 1_800_000_000.0
DATA = b"what was built\n"
KEY, OTHER = SigningKey.fresh(), SigningKey.fresh("ed25519")
POLICY = Policy((Signer("release", KEY.public),))
Read = Callable[[bytes, Path], object]


def document(content: bytes, _folder: Path) -> object:
    return formats.read(content)


def vouched(content: bytes, _folder: Path) -> object:
    return judge(DATA, {"server.sigstore.json": content}, POLICY, NOW)


def late(content: bytes, _folder: Path) -> object:
    expired = replace(POLICY, signers=(replace(POLICY.signers[0], ends=NOW),))
    return judge(DATA, {"server.sigstore.json": content}, expired, NOW)


def proven(content: bytes, _folder: Path) -> object:
    return judge(DATA, {"server.provenance.intoto.sigstore.json": content}, replace(POLICY, signature=False), NOW)


def public_key(content: bytes, _folder: Path) -> object:
    return PublicKey(content)


def inside(content: bytes, _folder: Path) -> object:
    return jsf.verify(content, KEY.public)


def locked(content: bytes, _folder: Path) -> object:
    return cargo_lock.from_lock(content.decode(), "x")


def statements(content: bytes, _folder: Path) -> object:
    return vex.parse(content.decode(), "vex.json")


def installed(content: bytes, _folder: Path) -> object:
    return packages("db", content, {})


def evidence(content: bytes, _folder: Path) -> object:
    return unpack(content)


def listed(content: bytes, folder: Path) -> object:
    (folder / "image.tar").write_bytes(content)
    return bill(Asked(str(folder / "image.tar")))


def looked_up(content: bytes, folder: Path) -> object:
    (folder / "db.zip").write_bytes(content)
    return advisories.opened(folder / "db.zip", folder / "cache")


def tar_of(files: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), 0o755
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def image(layer: bytes) -> bytes:
    manifest = json.dumps([{"Config": "c", "RepoTags": ["app:1"], "Layers": ["layer"]}]).encode()
    return tar_of({"manifest.json": manifest, "c": b"{}", "layer": layer})


def zipped(name: str, content: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return out.getvalue()


def changed(made: bytes, change: Callable[[dict[str, Any]], Any]) -> bytes:
    document = json.loads(made)
    change(document)
    return json.dumps(document).encode()


def proof(finished: float) -> bytes:
    build = Build("https://ci.example", {}, {}, {}, [], "R-1", finished - 10, finished)
    digest = {"sha256": hashlib.sha256(DATA).hexdigest()}
    return bundle.attest(Statement((Subject("server", digest),), PROVENANCE, predicate_of(build)), KEY)


def plain_text(document: dict[str, Any]) -> None:
    document["dsseEnvelope"]["payloadType"] = "text/plain"


def sha1(document: dict[str, Any]) -> None:
    document["messageSignature"]["messageDigest"]["algorithm"] = "SHA1"


def again(document: dict[str, Any]) -> None:
    document["components"].append(document["components"][0])


def hs256(document: dict[str, Any]) -> None:
    document["signature"]["algorithm"] = "HS256"


def lock(*blocks: str) -> bytes:
    return ("version = 4\n\n" + "\n".join(f"[[package]]\n{block}" for block in blocks)).encode()


RSA = rsa.generate_private_key(65537, 2048).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
SIGNED, ATTESTED = bundle.sign_blob(DATA, KEY), proof(NOW - 60)
XML = b'<bom xmlns="http://cyclonedx.org/schema/bom/1.6">'
ENTITIES = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 12))
SPDX = b'spdxVersion: "SPDX-2.3"\n'
BOMB = f'<!DOCTYPE bom [<!ENTITY e0 "ha">{ENTITIES}]>'.encode() + XML + b"&e11;</bom>"
OUTSIDE = b'<!DOCTYPE Document [<!ENTITY x SYSTEM "file:///etc/passwd">]><Document>&x;</Document>'
TWICE = b'{"bomFormat": "CycloneDX", "bomFormat": 1}'
FORGED = bundle.sign_blob(DATA, OTHER).replace(OTHER.public.id.encode(), KEY.public.id.encode())
ALIASES = SPDX + b"a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 9)
).encode()  # fmt: skip
CYCLONEDX = formats.emit(full(), CREATION, "cyclonedx-json")

NINES = CYCLONEDX.replace(b'"version": 1\n', b'"version": ' + b"9" * 100_000 + b"\n")
LONE = 'name = "a"\nversion = "1.0.0"\n'
NEEDY = LONE + 'dependencies = [\n "b",\n]\n'
# kind: what it is, a part of what is said of it, who reads it, and the input
TABLE: Sequence[tuple[str, str, str, Read, bytes]] = (
    ("truncated", "a document", "line ", document, CYCLONEDX[: len(CYCLONEDX) // 2]),
    ("truncated", "protocol buffers", "byte ", document, formats.emit(full(), CREATION, "cyclonedx-proto")[:90]),
    ("truncated", "a bundle", "not JSON at line 1", vouched, SIGNED[:200]),
    ("truncated", "an image", "image.tar: ", listed, image(tar_of({"a": b"x"}))[:2600]),
    ("truncated", "an archive of advisories", "db.zip", looked_up, zipped("A-1.json", b"{}")[:60]),
    ("truncated", "a database of packages", "db: ", installed, b"SQLite format 3\0" + bytes(90)),
    ("huge", "17 MiB of a bundle", "larger than 16 MiB", vouched, b" " * (17 * MIB)),
    ("huge", "a number of 100,000 digits", "more than 4300 digits", document, NINES),
    ("huge", "a version of 100,000 digits", "Cargo.lock is not TOML", locked, lock(LONE) + b"x = " + b"9" * 100_000),
    ("huge", "30 GiB said in 10 bytes", "are said to follow", document, b"\x0a\x031.6\x2a\xff\xff\xff\xff\x7f"),
    ("cyclic", "a YAML list that holds itself", "", document, SPDX + b"a: &a [*a]\n"),
    ("cyclic", "a lock that leads nowhere", "needs 'b'", locked, lock(NEEDY)),
    ("duplicate", "a name in one object", "'bomFormat' stands twice", document, TWICE),
    ("duplicate", "a name in a bundle", "stands twice", vouched, SIGNED.replace(b"{", b'{"mediaType":"x",', 1)),
    ("duplicate", "a reference", "", document, changed(CYCLONEDX, again)),
    ("duplicate", "a package in a lock", "twice", locked, lock(LONE, LONE)),
    ("bomb", "an advisory of 64 MiB in 64 kB", "A-1.json", looked_up, zipped("A-1.json", b" " * (64 * MIB))),
    ("bomb", "entities of 10^11 letters", "declares a document type", document, BOMB),
    ("bomb", "aliases of 10^9 letters", "aliases expand", document, ALIASES),
    ("traversal", "a layer whose file leads up", "leads out of the image", listed, image(tar_of({"../../x": b"y"}))),
    ("traversal", "a file that an entity names", "declares a document type", document, OUTSIDE),
    ("deep", "JSON of 200,000 levels", "nested deeper than 100", document, b'{"bomFormat": ' + b"[" * 200_000),
    ("deep", "XML of 200,000 levels", "nested deeper than 100", document, XML + b"<a>" * 200_000),
    ("deep", "YAML of 5,000 levels", "", document, SPDX + b"a: " + b"[" * 5_000),
    ("deep", "a bundle of 200,000 levels", "nested deeper", vouched, b'{"a":' * 200_000),
    ("deep", "VEX of 200,000 levels", "", statements, b'{"statements":' + b"[" * 200_000),
    ("wrong type", "an envelope of text", "no signature is by this key", vouched, changed(ATTESTED, plain_text)),
    ("wrong type", "a digest of SHA-1", "it is to be SHA2_256", vouched, changed(SIGNED, sha1)),
    ("wrong type", "an RSA key", "neither an ECDSA P-256 nor", public_key, RSA),
    ("confusion", "another kind under this hint", "does not match", vouched, FORGED),
    ("confusion", "HS256 by the public key", "signed by another key", inside, changed(jsf.sign(CYCLONEDX, KEY), hs256)),
    ("expired", "a key", "has expired", late, SIGNED),
    ("future", "a build of next year", "in the future", proven, proof(NOW + 3e7)),
    ("tampered", "an archive of evidence", "", evidence, b"\1" * 4096),
)


@pytest.mark.parametrize(("kind", "what", "said", "read", "content"), TABLE, ids=[" ".join(one[:2]) for one in TABLE])
def test_it_is_refused_with_its_place_in_bounded_memory(
    kind: str, what: str, said: str, read: Read, content: bytes, tmp_path: Path
) -> None:
    began = time.monotonic()
    tracemalloc.start()
    try:
        with pytest.raises((SupplyError, CiflowError)) as refused:
            read(content, tmp_path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    took, told = time.monotonic() - began, str(refused.value)
    print(f"{kind:<11}{what:<32}{len(content):>11,} B {took:7.2f} s {peak / MIB:6.1f} MiB  {told[:100]}")
    assert said in told and told
    assert peak < LEAST + GROWTH * len(content)
    assert took < HANGS
