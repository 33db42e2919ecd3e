"""Sigstore's own library (npm's @sigstore/verify and @sigstore/bundle), asked through a script beside its packages."""

import base64
import json
import os
import subprocess
from pathlib import Path
from typing import Any

from ciflow.supply.keys import PublicKey
from tests.parts import process
from tests.parts.process import MissingPart

SCRIPT = Path(__file__).parent / "sigstore" / "check.js"


class Sigstore:
    """Answers whether bundles hold, and makes some. Skips by name where it is missing."""

    def __init__(self) -> None:
        self.node = process.find("node", "sigstore")
        found = sorted(process.BUILT.glob("sigstore-*/node_modules"))
        if not found:
            raise MissingPart("@sigstore/verify is missing: tests/parts/install sigstore")
        self.modules = found[-1]

    def verifies(self, bundle: bytes, data: bytes, key: PublicKey) -> str:
        """Why it is refused; "" when it holds."""
        asked = {"bundle": json.loads(bundle), "artifact": _b64(data), "pem": _b64(key.pem)}
        return str(self._ask({"verify": asked}).get("refused", ""))

    def trusts(self, bundle: bytes, data: bytes, chain: bytes, log: bytes, identity: str, issuer: str) -> str:
        """Why a bundle with a certificate is refused; "" when it holds. `chain` and `log` are PEM."""
        asked = {
            "bundle": json.loads(bundle), "artifact": _b64(data), "chain": chain.decode(), "log": _b64(log),
            "identity": identity, "issuer": issuer,
        }  # fmt: skip
        return str(self._ask({"trust": asked}).get("refused", ""))

    def makes(self, what: str, data: bytes, statement: bytes) -> tuple[bytes, bytes]:
        """A bundle (`message` or `attestation`), and the public key (PEM) of a key made for it."""
        made = self._ask({"make": {"what": what, "artifact": _b64(data), "statement": _b64(statement)}})
        return json.dumps(made["bundle"]).encode(), made["pem"].encode()

    def _ask(self, asked: dict[str, Any]) -> dict[str, Any]:
        env = {**os.environ, "NODE_PATH": str(self.modules)}
        done = subprocess.run([self.node, SCRIPT], input=json.dumps(asked).encode(), env=env, capture_output=True)
        assert done.returncode == 0, done.stderr.decode()
        found: dict[str, Any] = json.loads(done.stdout)
        return found


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()
