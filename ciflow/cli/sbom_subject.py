"""What a path is - a workspace, a lock, a program, a folder, an image - and the bill of it."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from ciflow.dataclass import dataclass
from ciflow.diagnostics import CiflowError, NoSuch, Refused
from ciflow.supply.errors import SupplyError
from ciflow.supply.model import Bom


@dataclass(frozen=True)
class Asked:
    """What the command line says."""

    path: str
    lock_only: bool = False
    packages: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    all_features: bool = False
    default_features: bool = True
    target: str = ""
    built: tuple[str, ...] = ()
    name: str | None = None
    version: str | None = None
    supplier: str | None = None


def bill(asked: Asked) -> Bom:
    """The bill of what the path is.

    Raises:
        NoSuch, Refused: there is nothing there, or nothing that is known.
    """
    path = Path(asked.path)
    if not path.exists():
        raise NoSuch(f"{asked.path}: there is nothing")
    try:
        return _bill(asked, path)
    except SupplyError as error:
        raise Refused(f"{asked.path}: {error}") from error
    except OSError as error:
        raise NoSuch(f"{error.filename or asked.path} can't be read: {error.strerror}") from error


def _bill(asked: Asked, path: Path) -> Bom:
    if path.name == "Cargo.toml":
        path = path.parent
    if path.is_dir() and (path / "Cargo.toml").exists() and not asked.lock_only:
        return _workspace(asked, path)
    if asked.lock_only or path.name == "Cargo.lock":
        return _lock(asked, path if path.is_file() else path / "Cargo.lock")
    raise Refused(f"{asked.path} is neither a Rust workspace nor a Cargo.lock")


def _lock(asked: Asked, path: Path) -> Bom:
    from ciflow.supply.cargo_lock import from_lock

    return from_lock(path.read_text("utf-8"), asked.name or path.absolute().parent.name)


def _workspace(asked: Asked, path: Path) -> Bom:
    from ciflow.cli.asking import answered
    from ciflow.model import Context, Outcome
    from ciflow.modules import sbom

    args: dict[str, Any] = {
        "chdir": str(path),
        "packages": list(asked.packages),
        "features": list(asked.features),
        "all_features": asked.all_features,
        "default_features": asked.default_features,
        "target": asked.target,
        "built": [os.path.abspath(one) for one in asked.built],  # noqa: PTH100 - a link is what its maker called it
        "sha512": True,
        "name": asked.name,
        "version": asked.version,
        "supplier": asked.supplier,
        "authors": [],
    }
    told = answered(sbom.ask(args, Context(now=time.time())), _meanwhile)
    if isinstance(told, Outcome):
        raise CiflowError(told.msg)
    return sbom.bill(args, told)


def _meanwhile() -> None:
    """What the answer needs is loaded while cargo works."""
    from ciflow.supply import cargo_build, cyclonedx, formats  # noqa: F401
