"""Which Docker daemon is meant: the one that was named, or the one that the docker command would use. No SDK needed."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ciflow.dataclass import dataclass
from ciflow.diagnostics import Refused
from ciflow.targets.connection import Connection
from ciflow.targets.docker_relay import connection_of, relay_to

TLS_FILES = ("ca.pem", "cert.pem", "key.pem")


@dataclass(frozen=True, slots=True)
class Daemon:
    """Where a daemon listens, and by which files TLS is spoken with it. `url` "" is the SDK's default socket."""

    url: str = ""
    tls: bool = False
    verify: bool = True
    ca: str = ""
    cert: str = ""
    key: str = ""


def daemon_of(said: Mapping[str, Any]) -> Daemon:
    """The daemon that was named (`docker_host`, else `context`), else the one that the docker command would use:
    DOCKER_HOST, DOCKER_CONTEXT, the current context, the default socket. Refused: no such context."""
    if said.get("docker_host"):
        files = {name: str(said.get(name) or "") for name in ("ca", "cert", "key")}
        verify = said.get("verify") in (True, "true", "yes")
        return Daemon(str(said["docker_host"]), bool(said.get("tls")) or verify or any(files.values()), verify, **files)
    if not said.get("context") and os.environ.get("DOCKER_HOST"):
        return _of_environment()
    return _of_context(str(said.get("context") or os.environ.get("DOCKER_CONTEXT") or ""))


def daemon_for(said: Mapping[str, Any], host: Connection | None) -> Daemon:
    """The daemon that a task on `host` means (None: beside the controller). Of a host that is reached by ssh it is the
    one on that host, unless an address or a context names one that is reached from here."""
    if host is not None and host.kind == "docker":
        return daemon_for({**dict(host.options), **said}, None)
    url = str(said.get("docker_host") or "")
    if host is not None and not said.get("context") and (not url or url.startswith("unix://")):
        return Daemon(relay_to(host, url.removeprefix("unix://")))
    daemon = daemon_of(said)
    return Daemon(relay_to(connection_of(daemon.url))) if daemon.url.startswith("ssh://") else daemon


def _of_environment() -> Daemon:
    """DOCKER_HOST, with TLS where DOCKER_TLS_VERIFY or DOCKER_CERT_PATH say so."""
    host, said = os.environ["DOCKER_HOST"], os.environ.get("DOCKER_CERT_PATH")
    verify = bool(os.environ.get("DOCKER_TLS_VERIFY"))
    if not said and not verify:
        return Daemon(host)
    files = Path(said) if said else _config_folder()
    return Daemon(host, True, verify, *(str(files / name) for name in TLS_FILES))


def _of_context(name: str) -> Daemon:
    """A context of the docker command, as it keeps them: in folders named by the SHA-256 of their names. Read here
    and not by the SDK, which finds none where there is no config.json beside them."""
    try:
        name = name or str(
            json.loads((_config_folder() / "config.json").read_text()).get("currentContext") or "default"
        )
    except FileNotFoundError:
        name = "default"
    except (OSError, ValueError, AttributeError) as e:
        raise Refused(f"{_config_folder() / 'config.json'} can't be read: {e}") from e
    if name == "default":
        return Daemon()
    digest = hashlib.sha256(name.encode()).hexdigest()
    contexts = _config_folder() / "contexts"
    try:
        end = json.loads((contexts / "meta" / digest / "meta.json").read_text())["Endpoints"]["docker"]
    except FileNotFoundError as e:
        raise Refused(f"there is no Docker context {name}", help="docker context ls") from e
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise Refused(f"the Docker context {name} can't be read: {e}") from e
    files = [contexts / "tls" / digest / "docker" / file for file in TLS_FILES]
    there = [str(file) if file.is_file() else "" for file in files]
    return Daemon(str(end.get("Host") or ""), any(there), not end.get("SkipTLSVerify"), *there)


def _config_folder() -> Path:
    return Path(os.environ.get("DOCKER_CONFIG") or "~/.docker").expanduser()
