"""Keys on this machine's disk: opened, made, replaced. The private half is an encrypted PEM file (0600), the public
half lies beside it (.pub), and `signers.json` in their folder says which keys may sign, since when and until when."""

from __future__ import annotations

import json
import math
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ciflow.supply import keys
from ciflow.supply.certificates import Holder
from ciflow.supply.errors import KeyFault
from ciflow.supply.keys import KeyPair, PublicKey, SigningKey
from ciflow.supply.times import stamp
from ciflow.supply.trust import Signer, signers_of
from ciflow.whole import write_whole

SIGNERS = "signers.json"
VARIABLE = "CIFLOW_KEY_PASSPHRASE"


def opened(wish: Mapping[str, Any]) -> SigningKey:
    """The private key that a wish names: {key, passphrase, passphrase_file}. Raises KeyFault, OSError."""
    path = Path(wish["key"]).expanduser()
    if not path.exists():
        raise KeyFault(f"no key at {path}; `ciflow keys new {path}` makes one")
    if path.stat().st_mode & 0o077:
        raise KeyFault(f"{path} can be read by others: chmod 600 {path}")
    return SigningKey(path.read_bytes(), passphrase(wish))


def passphrase(wish: Mapping[str, Any]) -> bytes:
    """From the file, from what was said, or from the environment."""
    if wish["passphrase_file"]:
        return Path(wish["passphrase_file"]).expanduser().read_bytes().strip()
    said = wish["passphrase"] or os.environ.get(VARIABLE, "")
    if not said:
        raise KeyFault(f"a key has a passphrase: say `passphrase` or `passphrase_file`, or set {VARIABLE}")
    return str(said).encode()


def make(wish: Mapping[str, Any], kind: str = keys.KINDS[0]) -> bool:
    """Make the key where there is none, and its passphrase where its file is not there; whether it did."""
    path = Path(wish["key"]).expanduser()
    if path.exists():
        return False
    secret = Path(wish["passphrase_file"]).expanduser()
    if wish["passphrase_file"] and not secret.exists():
        put(secret, secrets.token_urlsafe(32).encode() + b"\n", 0o600)
    write(path, keys.generate(passphrase(wish), kind))
    return True


def write(path: Path, pair: KeyPair) -> None:
    put(path, pair.private, 0o600)
    put(path.with_name(f"{path.name}.pub"), pair.public, 0o644)


def name_of(path: Path, key: PublicKey) -> str:
    """What a signer is called: the file's name, and the beginning of the key's id in hexadecimal."""
    import base64

    return f"{path.name.partition('.')[0]}-{base64.b64decode(key.id).hex()[:8]}"


def known(folder: Path) -> dict[str, Signer]:
    """The signers of a folder, by name; none where nobody has written them down."""
    file = folder / SIGNERS
    if not file.exists():
        return {}
    found = signers_of(file.read_bytes(), str(file), lambda name: (folder / name).read_bytes())
    return {signer.name: signer for signer in found}


def remember(folder: Path, signers: Mapping[str, Signer]) -> None:
    """Write them down: a policy that asks for nothing but a signature by one of them."""
    listed = {name: _data(signer) for name, signer in sorted(signers.items())}
    put(folder / SIGNERS, (json.dumps({"signers": listed}, indent=2) + "\n").encode(), 0o644)


def _data(signer: Signer) -> dict[str, str]:
    if isinstance(signer.key, Holder):
        raise KeyFault(f"{signer.name} has no key of their own: that belongs into a policy, not into {SIGNERS}")
    found = {"pem": signer.key.pem.decode(), "from": stamp(signer.begins) if signer.begins else ""}
    found |= {"until": stamp(signer.ends) if signer.ends != math.inf else "", "revoked": signer.revoked}
    return {name: value for name, value in found.items() if value}


def put(path: Path, content: bytes, mode: int) -> None:
    """Whole or not at all, never open to more than `mode`, and on the disk before it counts."""
    write_whole(path, content, mode, durable=True)
