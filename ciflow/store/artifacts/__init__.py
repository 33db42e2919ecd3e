"""Artifacts: content by its digest, in a folder, a bucket, or a container registry."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ciflow.diagnostics import Refused
from ciflow.store.artifacts.backend import Backend, Tickets
from ciflow.store.artifacts.folder import Folder
from ciflow.store.artifacts.shelf import Shelf

__all__ = ["BACKENDS", "Shelf", "open_shelf"]


def _s3(where: str, _tickets: Tickets) -> Backend:
    from ciflow.store.artifacts.s3 import S3

    return S3(where)


def _registry(where: str, tickets: Tickets) -> Backend:
    from ciflow.store.artifacts.registry import Registry

    return Registry(where, tickets)


BACKENDS: dict[str, Callable[[str, Tickets], Backend]] = {
    "s3": _s3,
    "oci": _registry,
    "file": lambda where, _tickets: Folder(Path(where.removeprefix("file://"))),
}


def open_shelf(state: Path, where: str = "") -> Shelf:
    """The artifacts of the machine whose journal lies in `state`, and of the store at `where`: a folder, or a URL of
    one of BACKENDS. Refused: it is neither."""
    here = Folder(state / "artifacts")
    if not where:
        return Shelf(here)
    scheme, found, _ = where.partition("://")
    if not found:
        return Shelf(here, Folder(Path(where).expanduser().absolute()))
    if scheme not in BACKENDS:
        raise Refused(
            f"artifacts can't be kept at {where}", help="a folder, s3://BUCKET/PREFIX or oci://HOST/REPOSITORY"
        )
    return Shelf(here, BACKENDS[scheme](where, Tickets(here.root / "uploads")))
