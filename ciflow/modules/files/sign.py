"""Signs one file. Reads a JSON object on standard input, writes one on standard output; run by `modules/sign.py`.

Keys stay in this process: a private key is an encrypted PEM file (0600), its public half lies beside it (.pub).
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import sys
from pathlib import Path
from typing import Any

from ciflow.supply import dsse
from ciflow.supply.errors import SignatureError, SupplyError


def main() -> int:
    try:
        print(json.dumps(signed(json.load(sys.stdin))))
    except (SupplyError, OSError) as error:
        print(f"can't sign: {error}", file=sys.stderr)
        return 1
    return 0


def signed(wish: dict[str, Any]) -> dict[str, Any]:
    """Make what is missing: the key if asked, the bundle, an attestation for each statement."""
    created = _create_key(wish) if wish["create_key"] else False
    private, passphrase = _private(wish)
    public = dsse.public_of(private, passphrase)
    data = Path(wish["path"]).read_bytes()
    bundle = Path(wish["bundle"])
    changed = not _holds(data, bundle, public)
    if changed:
        _put(bundle, dsse.sign_blob(data, private, passphrase), 0o644)
    digest = hashlib.sha256(data).hexdigest()
    attestations = [
        _attest(wish, Path(path), kind, digest, (private, passphrase)) for path, kind in wish["statements"].items()
    ]
    return {
        "changed": changed or created or bool(attestations),
        "path": wish["path"],
        "sha256": digest,
        "bundle": str(bundle),
        "attestations": attestations,
        "key_id": dsse.key_id(public),
        "public_key": public.decode(),
        "key_created": created,
    }


def _attest(wish: dict[str, Any], document: Path, kind: str, digest: str, key: tuple[bytes, bytes]) -> str:
    """A bundle that says of the artifact what `document` (JSON) says; its path."""
    predicate = {"cyclonedx": dsse.CYCLONEDX_PREDICATE, "spdx": dsse.SPDX_PREDICATE}.get(kind, kind)
    try:
        said = json.loads(document.read_bytes())
    except ValueError as error:
        raise SignatureError(f"{document} is not JSON: {error}") from error
    subject = dsse.Subject(wish["name"], {"sha256": digest})
    path = Path(wish["bundle"]).with_name(f"{document.name}.sigstore.json")
    _put(path, dsse.attest(dsse.statement([subject], predicate, said), *key), 0o644)
    return str(path)


def _create_key(wish: dict[str, Any]) -> bool:
    """Whether one was made. With `passphrase_file`, its passphrase is made as well where there is none."""
    key = Path(wish["key"]).expanduser()
    if key.exists():
        return False
    secret = Path(wish["passphrase_file"]).expanduser()
    if wish["passphrase_file"] and not secret.exists():
        _put(secret, secrets.token_urlsafe(32).encode() + b"\n", 0o600)
    pair = dsse.generate_key(_passphrase(wish))
    _put(key, pair.private, 0o600)
    _put(key.with_name(f"{key.name}.pub"), pair.public, 0o644)
    return True


def _private(wish: dict[str, Any]) -> tuple[bytes, bytes]:
    key = Path(wish["key"]).expanduser()
    if not key.exists():
        raise SignatureError(f"no key at {key}; `create_key: true` makes one")
    if key.stat().st_mode & 0o077:
        raise SignatureError(f"{key} can be read by others: chmod 600 {key}")
    return key.read_bytes(), _passphrase(wish)


def _passphrase(wish: dict[str, Any]) -> bytes:
    if wish["passphrase_file"]:
        return Path(wish["passphrase_file"]).expanduser().read_bytes().strip()
    if not wish["passphrase"]:
        raise SignatureError("a key has a passphrase: say `passphrase` or `passphrase_file`")
    return str(wish["passphrase"]).encode()


def _holds(data: bytes, bundle: Path, public: bytes) -> bool:
    """Whether a bundle that is there already is good for this file and this key."""
    if not bundle.exists():
        return False
    try:
        dsse.verify_blob(data, bundle.read_bytes(), public)
    except SignatureError:
        return False
    return True


def _put(path: Path, content: bytes, mode: int) -> None:
    """Atomically, with its mode from the first byte on, and on the disk before it counts."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


if __name__ == "__main__":
    sys.exit(main())
