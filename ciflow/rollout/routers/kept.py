"""The manifest of a service in a file on its router's host: all that a rollback needs when the store is lost."""

from __future__ import annotations

import re

from ciflow.diagnostics import Refused
from ciflow.model import At, Change, Mkdir, Write
from ciflow.rollout.routers.dial import Asked, Manifest, done

MANIFESTS = "~/.local/state/ciflow/services"


def manifest_path(service: str) -> str:
    """Where it lies."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", service):
        raise Refused(f"`{service}` is no name of a service", help="letters, digits, `.`, `-` and `_`")
    return f"{MANIFESTS}/{service}.json"


def keep_file(host: str, manifest: Manifest) -> Asked[None]:
    """Write it."""
    done((yield At(host, Change(Mkdir(path=MANIFESTS, mode="0700")))), f"making {MANIFESTS}", host)
    where = manifest_path(manifest.service)
    write = Write(path=where, content=manifest.to_json().encode(), mode="0600")
    done((yield At(host, Change(write))), f"keeping the manifest {where}", host)
