"""A public log's word for what was signed and when (Rekor, API v1), checked without asking it.

Formats: sigstore/rekor, types hashedrekord 0.0.1 and dsse 0.0.1 and its signed entry timestamp; Merkle proofs of
RFC 9162, section 2.1.3.2; checkpoints of C2SP tlog-checkpoint and signed-note.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence

from ciflow.dataclass import dataclass
from ciflow.supply.certificates import der_of
from ciflow.supply.errors import SignatureError
from ciflow.supply.keys import PublicKey
from ciflow.supply.strict import Json, read


@dataclass(frozen=True, slots=True)
class Entry:
    """What the log says it was given (`body`), and when, in Unix seconds."""

    body: Json
    at: int

    def is_of_file(self, sha256: str, signature: bytes, certificate: bytes) -> None:
        """It is about this signature of a file, by this certificate (DER); else SignatureError."""
        spec = self._spec("hashedrekord")
        signed = spec.object("signature")
        self._same(spec.object("data").object("hash"), sha256)
        self._by(signed.bytes("content"), signed.object("publicKey").bytes("content"), signature, certificate)

    def is_of_envelope(self, payload: bytes, signature: bytes, certificate: bytes) -> None:
        """It is about this envelope; else SignatureError."""
        spec = self._spec("dsse")
        self._same(spec.object("payloadHash"), hashlib.sha256(payload).hexdigest())
        signed = spec.objects("signatures")
        if len(signed) != 1:
            raise SignatureError(f"{spec.path}.signatures: one is wanted, not {len(signed)}")
        self._by(signed[0].bytes("signature"), signed[0].bytes("verifier"), signature, certificate)

    def _spec(self, kind: str) -> Json:
        found = (self.body.text("kind"), self.body.text("apiVersion"))
        if found != (kind, "0.0.1"):
            raise SignatureError(f"{self.body.path}: it is to be {kind} 0.0.1, not {' '.join(found)}")
        return self.body.object("spec")

    def _same(self, digest: Json, sha256: str) -> None:
        if (digest.text("algorithm"), digest.text("value")) != ("sha256", sha256):
            raise SignatureError(f"{digest.path}: the log was given another content")

    def _by(self, signature: bytes, pem: bytes, wanted: bytes, certificate: bytes) -> None:
        if signature != wanted or der_of(pem) != certificate:
            raise SignatureError(f"{self.body.path}: the log was given another signature or certificate")


def logged(entry: Json, log: PublicKey) -> Entry:
    """What the entry of a bundle holds, once the log's promise and proof hold.

    Raises:
        SignatureError: by another log, changed, or without either.
    """
    entry.only("logIndex", "logId", "kindVersion", "integratedTime", "inclusionPromise", "inclusionProof",
               "canonicalizedBody")  # fmt: skip
    body, index, at = entry.bytes("canonicalizedBody"), _number(entry, "logIndex"), _number(entry, "integratedTime")
    promise = entry.object("inclusionPromise")
    promise.only("signedEntryTimestamp")
    known = base64.b64decode(log.id)
    if log_of(entry) != known:
        raise SignatureError(f"{entry.path}.logId: another log than the policy's")
    said = {"body": base64.b64encode(body).decode(), "integratedTime": at, "logID": known.hex(), "logIndex": index}
    log.verify(json.dumps(said, sort_keys=True, separators=(",", ":")).encode(), promise.bytes("signedEntryTimestamp"))
    _proven(entry.object("inclusionProof"), body, log)
    document = read(body, f"{entry.path}.canonicalizedBody")
    kind = entry.object("kindVersion")
    kind.only("kind", "version")
    if (kind.text("kind"), kind.text("version")) != (document.text("kind"), document.text("apiVersion")):
        raise SignatureError(f"{kind.path}: not what the entry is")
    return Entry(document, at)


def log_of(entry: Json) -> bytes:
    """Which log it says it is of: the SHA-256 of its key."""
    named = entry.object("logId")
    named.only("keyId")
    return named.bytes("keyId")


def _proven(proof: Json, body: bytes, log: PublicKey) -> None:
    proof.only("logIndex", "rootHash", "treeSize", "hashes", "checkpoint")
    index, size, root = _number(proof, "logIndex"), _number(proof, "treeSize"), proof.bytes("rootHash")
    listed = proof.value.get("hashes", [])
    if not isinstance(listed, list):
        raise SignatureError(f"{proof.path}.hashes: a list is wanted here")
    hashes = [Json({"hashes": one}, proof.path).bytes("hashes") for one in listed]
    if root_of(hashlib.sha256(b"\0" + body).digest(), index, size, hashes) != root:
        raise SignatureError(f"{proof.path}: it does not lead to the root of the log")
    checkpoint = proof.object("checkpoint")
    checkpoint.only("envelope")
    _noted(checkpoint.text("envelope"), size, root, log)


def root_of(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes:
    """The root that an audit path leads to; empty where the path has another length."""
    if index >= size:
        return b""
    node, last, found = index, size - 1, leaf
    for one in path:
        if last == 0:
            return b""
        if node % 2 or node == last:
            found = hashlib.sha256(b"\1" + one + found).digest()
            while not node % 2 and node:
                node, last = node // 2, last // 2
        else:
            found = hashlib.sha256(b"\1" + found + one).digest()
        node, last = node // 2, last // 2
    return found if last == 0 else b""


def _noted(envelope: str, size: int, root: bytes, log: PublicKey) -> None:
    """The checkpoint says this root and size, and the log has signed it: a dash, its name, base64 of four bytes of its
    id and the signature."""
    text, blank, signed = envelope.partition("\n\n")
    lines = text.split("\n")
    if not blank or lines[1:] != [str(size), base64.b64encode(root).decode()]:
        raise SignatureError("checkpoint: it is of another state of the log")
    head = f"\u2014 {lines[0].partition(' - ')[0]} "
    if not signed.startswith(head) or not signed.endswith("\n") or signed.count("\n") != 1:
        raise SignatureError("checkpoint: it is not signed by the log alone")
    raw = Json({"signature": signed[len(head) : -1]}, "checkpoint").bytes("signature")
    if raw[:4] != base64.b64decode(log.id)[:4]:
        raise SignatureError("checkpoint: it is signed by another key")
    log.verify(f"{text}\n".encode(), raw[4:])


def _number(document: Json, name: str) -> int:
    """As the JSON of protocol buffers has it: a text, in its only form."""
    text = document.text(name)
    if not text.isascii() or not text.isdecimal() or len(text) > 18 or str(int(text)) != text:
        raise SignatureError(f"{document.path}.{name}: a number is wanted here")
    return int(text)
