"""Attests documents for one file. Reads a JSON object on standard input, writes one on standard output; run by
`modules/attest.py`."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from ciflow.modules.files import keyfile, keyless
from ciflow.supply import bundle
from ciflow.supply.dsse import Statement, Subject
from ciflow.supply.errors import SignatureError, SupplyError
from ciflow.supply.keys import SigningKey
from ciflow.supply.strict import read


def main() -> int:
    try:
        print(json.dumps(attested(json.load(sys.stdin))))
    except (SupplyError, OSError) as error:
        print(f"can't attest: {error}", file=sys.stderr)
        return 1
    return 0


def attested(wish: dict[str, Any]) -> dict[str, Any]:
    """A bundle for each statement; one that is there and says the same is kept."""
    key = None if "fulcio" in wish else keyfile.opened(wish)
    data = Path(wish["path"]).read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    changed, by = False, "" if key is None else key.public.id
    for one in wish["statements"]:
        content = Path(one["document"]).read_bytes()
        if one["sha256"] and hashlib.sha256(content).hexdigest() != one["sha256"]:
            raise SignatureError(f"{one['document']} was changed since it was kept")
        said = read(content, one["document"]).value
        statement = Statement((Subject(wish["name"], {"sha256": digest}),), one["kind"], said)
        place = Path(one["bundle"])
        if key is not None and _says(place, data, statement, key):
            continue
        made = bundle.attest(statement, key) if key is not None else _keyless(wish, statement)
        keyfile.put(place, made, 0o644)
        changed, by = True, by or bundle.claimed(made)
    return {
        "changed": changed,
        "path": wish["path"],
        "sha256": digest,
        "attestations": {one["kind"]: one["bundle"] for one in wish["statements"]},
        "key_id": by,
        "public_key": "" if key is None else key.public.pem.decode(),
    }


def _keyless(wish: dict[str, Any], statement: Statement) -> bytes:
    return keyless.signed(wish, lambda key: bundle.attestation(statement, key, keyid=""))


def _says(place: Path, data: bytes, statement: Statement, key: SigningKey) -> bool:
    if not place.exists():
        return False
    try:
        return bundle.verify(place.read_bytes(), data, [key.public]).statement == statement
    except SignatureError:
        return False


if __name__ == "__main__":
    sys.exit(main())
