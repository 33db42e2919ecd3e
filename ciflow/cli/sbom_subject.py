"""What a path is - a workspace, a lock, a program, a folder, an image - and the bill of it."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from ciflow.dataclass import dataclass
from ciflow.diagnostics import CiflowError, NoSuch, Refused
from ciflow.supply import subject
from ciflow.supply.errors import SupplyError
from ciflow.supply.model import Bom
from ciflow.supply.wanted import Entry, Wanted, driven


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
    try:
        if asked.path.startswith(subject.DAEMON) and not path.exists():
            return _saved(asked, asked.path.removeprefix(subject.DAEMON))
        if not path.exists():
            raise NoSuch(f"{asked.path}: there is nothing")
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
    if path.is_dir():
        return _folder(asked, path)
    return _file(asked, path)


def _folder(asked: Asked, path: Path) -> Bom:
    """Folders of version control and links are not looked into."""
    asking = subject.folder(list(_entries(path)), path.absolute().name, _called(asked))
    return driven(asking, lambda wanted: _part(path / wanted.path, wanted))


def _entries(root: Path) -> Iterator[Entry]:
    for folder, folders, files in os.walk(root, onerror=_unreadable):
        folders[:] = sorted(one for one in folders if subject.looked_into(one))
        for name in sorted(files):
            path = Path(folder, name)
            found = path.lstat()
            if stat.S_ISREG(found.st_mode):
                yield subject.listed(path.relative_to(root).as_posix(), found.st_size, found.st_mode)


def _unreadable(error: OSError) -> None:
    """A list that silently lacks a folder is worse than none."""
    raise error


def _file(asked: Asked, path: Path) -> Bom:
    """A lock, a program, or an image in an archive; by what is in it."""
    entry = Entry(path.name, path.stat().st_size, executable=True)
    with path.open("rb") as file:
        head = file.read(subject.HEAD)
        if subject.is_image(head, path.name):
            file.seek(0)
            return _image(asked, file)
    return driven(subject.single(entry, head, _called(asked)), lambda wanted: _part(path, wanted))


def _image(asked: Asked, file: BinaryIO) -> Bom:
    return subject.image(file, Path(asked.path).stem, _called(asked))


def _saved(asked: Asked, name: str) -> Bom:
    """An image of the daemon, by way of an archive that has no name and goes with the command."""
    import subprocess
    import tempfile

    with tempfile.TemporaryFile() as file:
        try:
            done = subprocess.run(["docker", "save", "--", name], stdout=file, stderr=subprocess.PIPE, check=False)
        except FileNotFoundError as error:
            raise NoSuch("docker is not installed here", help="`docker save NAME > image.tar` elsewhere") from error
        if done.returncode:
            raise NoSuch(f"docker saves no image {name}: {done.stderr.decode(errors='replace').strip()}")
        file.seek(0)
        return _image(asked, file)


def _part(path: Path, wanted: Wanted) -> bytes:
    with path.open("rb") as file:
        file.seek(wanted.offset)
        return file.read(wanted.length)


def _called(asked: Asked) -> subject.Called:
    from ciflow.supply.parties import parse_party

    return subject.Called(asked.name, asked.version, parse_party(asked.supplier or ""))


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
    told = answered(sbom.ask(args, Context(now=time.time())), partial(_meanwhile, path))
    if isinstance(told, Outcome):
        raise CiflowError(told.msg)
    return sbom.bill(args, told)


def _meanwhile(path: Path) -> None:
    """What the answer needs is loaded while cargo works."""
    from ciflow.cli.sbom_ahead import remember
    from ciflow.supply import cargo_build, cyclonedx, formats  # noqa: F401

    remember(path)
