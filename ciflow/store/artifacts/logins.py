"""Who we are to a container registry: what `docker login` and credential helpers have kept, and bearer tokens.

https://distribution.github.io/distribution/spec/auth/token/
https://github.com/docker/docker-credential-helpers#development
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from ciflow.diagnostics import ArtifactError, Refused
from ciflow.store.artifacts.web import Web

_PAIR = re.compile(r'(\w+)="([^"]*)"')
_HUB = "https://index.docker.io/v1/"
_HELPER_PATIENCE = 30.0  # seconds
_TOKEN_USER = "<token>"  # what a helper says where its secret is an identity token


def login(registry: str) -> tuple[str, str]:
    """(name, password) for a registry, ("", "") where nobody has logged in. Refused: what is there can't be read."""
    folder = Path(os.environ.get("DOCKER_CONFIG") or "~/.docker").expanduser()
    path = folder / "config.json"
    try:
        known = json.loads(path.read_text())
        helper = known.get("credHelpers", {}).get(registry) or known.get("credsStore")
        found = known.get("auths", {}).get(_named(registry, known), {})
    except FileNotFoundError:
        return "", ""
    except (OSError, ValueError, AttributeError, TypeError) as e:
        raise Refused(f"{path} can't be read: {e}") from e
    if helper:
        return _helped(str(helper), registry)
    return _plain(found, path)


def _named(registry: str, known: Mapping[str, Any]) -> str:
    """What config.json calls it: its host, or an address that has it."""
    if registry in ("docker.io", "registry-1.docker.io"):
        registry = _HUB
    if registry in known.get("auths", {}):
        return registry
    return next((name for name in known.get("auths", {}) if urlsplit(name).netloc == registry), registry)


def _plain(found: Mapping[str, Any], path: Path) -> tuple[str, str]:
    if found.get("username"):
        return str(found["username"]), str(found.get("password", ""))
    try:
        name, _, password = base64.b64decode(str(found.get("auth", ""))).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError) as e:
        raise Refused(f"a login in {path} can't be read", help="`docker login` writes it anew") from e
    return name, password


def _helped(helper: str, registry: str) -> tuple[str, str]:
    program = f"docker-credential-{helper}"
    server = _HUB if registry in ("docker.io", "registry-1.docker.io") else registry
    try:
        done = subprocess.run(
            [program, "get"], input=server.encode(), capture_output=True, timeout=_HELPER_PATIENCE, check=False
        )
        if done.returncode:
            said = (done.stdout or done.stderr).decode(errors="replace").strip()
            if "not found" in said:
                return "", ""
            raise Refused(f"{program} doesn't give the login for {registry}: {said[:200]}")
        told = json.loads(done.stdout)
        return str(told["Username"]), str(told["Secret"])
    except (OSError, subprocess.TimeoutExpired, ValueError, KeyError, TypeError) as e:
        raise Refused(f"{program} doesn't give the login for {registry}: {e}") from e


class Badge:
    """What goes along with requests to one registry, renewed when it asks for it."""

    def __init__(self, registry: str, web: Web, *, tls: bool) -> None:
        self._registry = registry
        self._web = web
        self._tls = tls
        self._header = ""

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": self._header} if self._header else {}

    def renew(self, challenge: str) -> bool:
        """Answer a 401: whether there is something new to try. `challenge` is its WWW-Authenticate."""
        scheme, _, rest = challenge.partition(" ")
        name, password = login(self._registry)
        if scheme.lower() == "basic":
            before, self._header = self._header, _basic(name, password) if name else ""
            return bool(self._header) and before != self._header
        said = dict(_PAIR.findall(rest))
        if scheme.lower() != "bearer" or not said.get("realm"):
            return False
        self._header = f"Bearer {self._token(said, name, password)}"
        return True

    def _token(self, said: Mapping[str, str], name: str, password: str) -> str:
        realm = said["realm"]
        if self._tls and not realm.startswith("https://"):
            raise ArtifactError(f"{self._registry} wants its login sent without TLS, to {realm}")
        wanted = {key: said[key] for key in ("service", "scope") if said.get(key)}
        if name == _TOKEN_USER:
            form = {**wanted, "grant_type": "refresh_token", "client_id": "ciflow", "refresh_token": password}
            kind = {"content-type": "application/x-www-form-urlencoded"}
            answer = self._web.ask("POST", realm, kind, urlencode(form).encode())
        else:
            joint = "&" if "?" in realm else "?"
            headers = {"authorization": _basic(name, password)} if name else {}
            answer = self._web.ask("GET", f"{realm}{joint}{urlencode(wanted)}", headers)
        try:
            told = json.loads(answer.body) if answer.status == 200 else {}
            return str(told.get("token") or told["access_token"])
        except (ValueError, KeyError, AttributeError) as e:
            who = f"the login {name}" if name else "nobody's login"
            why = f"{urlsplit(realm).netloc} gives {who} no token for {self._registry} (it answers {answer.status})"
            raise ArtifactError(why, help=f"docker login {self._registry}") from e


def _basic(name: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()
