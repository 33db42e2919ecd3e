"""A kubeconfig that says all by itself: one file with certificates or a token, no program, proxy or provider to ask.

The package `kubernetes` takes a third of a second to import, which a rollback can't spare. What is not as plain as that
is left to it, and so is every complaint.
"""

from __future__ import annotations

import atexit
import base64
import binascii
import contextlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ciflow.dataclass import dataclass
from ciflow.lang.yamltext import load_data

CLUSTER = {"server", "certificate-authority", "certificate-authority-data", "insecure-skip-tls-verify",
           "tls-server-name", "extensions"}  # fmt: skip
USER = {"client-certificate", "client-certificate-data", "client-key", "client-key-data", "token", "tokenFile",
        "extensions"}  # fmt: skip
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


@dataclass(frozen=True, slots=True)
class Plain:
    """What it says, by the names of the package's `Configuration`. Files by their paths."""

    host: str
    namespace: str
    ssl_ca_cert: str
    cert_file: str
    key_file: str
    verify_ssl: bool
    tls_server_name: str
    token: str
    token_file: str
    proxy: str = ""

    def auth_settings(self) -> dict[str, dict[str, str]]:
        """The header that says who asks. A file is read each time: whoever writes it may renew it."""
        token = Path(self.token_file).read_text(encoding="utf-8").strip() if self.token_file else self.token
        return {"token": {"in": "header", "key": "authorization", "value": f"Bearer {token}"}} if token else {}


def plain(path: str, context: str) -> Plain | None:
    """The kubeconfig at `path`, or None where it takes more than this to understand it."""
    if any(os.environ.get(name) or os.environ.get(name.lower()) for name in PROXIES):
        return None
    try:
        text = Path(path).read_text(encoding="utf-8")
        said = json.loads(text) if text.lstrip().startswith("{") else load_data(text)[0]
        chosen = _named(said, "contexts", context or said["current-context"])["context"]
        cluster = _named(said, "clusters", chosen["cluster"])["cluster"]
        user = _named(said, "users", chosen["user"])["user"] or {}
        if set(cluster) - CLUSTER or set(user) - USER:
            return None
        return _read(Path(path).parent, cluster, user, str(chosen.get("namespace") or ""))
    except (OSError, ValueError, KeyError, TypeError, IndexError, StopIteration, binascii.Error):
        return None


def _named(said: Mapping[str, Any], kind: str, name: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = next(one for one in said[kind] if one["name"] == name)
    return found


def _read(folder: Path, cluster: Mapping[str, Any], user: Mapping[str, Any], namespace: str) -> Plain:
    def file(values: Mapping[str, Any], name: str) -> str:
        """Data wins over a file, as for kubectl; paths are seen from where the kubeconfig is."""
        if values.get(f"{name}-data"):
            return _kept(base64.b64decode(values[f"{name}-data"], validate=True))
        return str(folder / values[name]) if values.get(name) else ""

    return Plain(
        host=str(cluster["server"]).rstrip("/"),
        namespace=namespace,
        ssl_ca_cert=file(cluster, "certificate-authority"),
        cert_file=file(user, "client-certificate"),
        key_file=file(user, "client-key"),
        verify_ssl=not cluster.get("insecure-skip-tls-verify"),
        tls_server_name=str(cluster.get("tls-server-name") or ""),
        token=str(user.get("token") or ""),
        token_file=str(folder / user["tokenFile"]) if user.get("tokenFile") else "",
    )


def _kept(content: bytes) -> str:
    """In a file that only we can read, for as long as this process lives: OpenSSL takes keys from files alone."""
    handle, path = tempfile.mkstemp(prefix="ciflow-")
    with os.fdopen(handle, "wb") as made:
        made.write(content)
    atexit.register(_forget, path)
    return path


def _forget(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)  # noqa: PTH108
