"""Signs one file. Reads a JSON object on standard input, writes one on standard output; run by `modules/sign.py`."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from ciflow.diagnostics import CiflowError
from ciflow.modules.files import keyfile, keyless
from ciflow.supply import bundle
from ciflow.supply.errors import SignatureError, SupplyError
from ciflow.supply.keys import PublicKey


def main() -> int:
    try:
        print(json.dumps(signed(json.load(sys.stdin))))
    except (SupplyError, CiflowError, OSError) as error:
        print(f"can't sign: {error}", file=sys.stderr)
        return 1
    return 0


def signed(wish: dict[str, Any]) -> dict[str, Any]:
    """Make what is missing: the key if asked, and the bundle. Without a key, each signature is a new one."""
    if "fulcio" in wish:
        return _keyless(wish)
    created = keyfile.make(wish) if wish["create_key"] else False
    key = keyfile.opened(wish)
    data, place = Path(wish["path"]).read_bytes(), Path(wish["bundle"])
    changed = not _holds(data, place, key.public)
    if changed:
        keyfile.put(place, bundle.sign_blob(data, key), 0o644)
    return {
        "changed": changed or created,
        "path": wish["path"],
        "sha256": hashlib.sha256(data).hexdigest(),
        "bundle": str(place),
        "key_id": key.public.id,
        "public_key": key.public.pem.decode(),
        "key_created": created,
    }


def _keyless(wish: dict[str, Any]) -> dict[str, Any]:
    data, place = Path(wish["path"]).read_bytes(), Path(wish["bundle"])
    made = keyless.signed(wish, lambda key: bundle.signature(data, key))
    keyfile.put(place, made, 0o644)
    return {
        "changed": True,
        "path": wish["path"],
        "sha256": hashlib.sha256(data).hexdigest(),
        "bundle": str(place),
        "key_id": bundle.claimed(made),
        "public_key": "",
        "key_created": False,
    }


def _holds(data: bytes, place: Path, key: PublicKey) -> bool:
    """Whether a bundle that is there already is good for this file and this key."""
    if not place.exists():
        return False
    try:
        return bundle.verify(place.read_bytes(), data, [key]).statement is None
    except SignatureError:
        return False


if __name__ == "__main__":
    sys.exit(main())
