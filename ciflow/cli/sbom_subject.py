"""What a path is - a workspace, a lock, a program, a folder, an image - and the bill of it."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from ciflow.dataclass import dataclass
from ciflow.diagnostics import CiflowError, NoSuch, Refused
from ciflow.supply.errors import SupplyError
from ciflow.supply.model import Bom, Component, Party
from ciflow.supply.wanted import Asking, Entry, Wanted

DAEMON = "docker:"
_SKIPPED = {".git", ".hg", ".svn"}


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
        if asked.path.startswith(DAEMON) and not path.exists():
            return _saved(asked, asked.path.removeprefix(DAEMON))
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
    from ciflow.supply.catalogue import catalogue
    from ciflow.supply.model import Component, Kind
    from ciflow.supply.purls import purl

    name = asked.name or path.absolute().name or "root"
    own = purl("generic", name, asked.version)
    subject = Component(own, Kind.APPLICATION, name, asked.version, own, supplier=_supplier(asked))
    return _driven(catalogue(list(_entries(path)), subject), lambda wanted: _part(path / wanted.path, wanted))


def _entries(root: Path) -> Iterator[Entry]:
    for folder, folders, files in os.walk(root, onerror=_unreadable):
        folders[:] = sorted(one for one in folders if one not in _SKIPPED)
        for name in sorted(files):
            path = Path(folder, name)
            found = path.lstat()
            if stat.S_ISREG(found.st_mode):
                executable = bool(found.st_mode & 0o111) or ".so" in name
                yield Entry(path.relative_to(root).as_posix(), found.st_size, executable)


def _unreadable(error: OSError) -> None:
    """A list that silently lacks a folder is worse than none."""
    raise error


def _file(asked: Asked, path: Path) -> Bom:
    """A lock, a program, or an image in an archive; by what is in it."""
    from ciflow.supply.catalogue import catalogue
    from ciflow.supply.elf import MAGIC

    entry = Entry(path.name, path.stat().st_size, executable=True)
    with path.open("rb") as file:
        head = file.read(512)
        if head[257:262] == b"ustar" or path.suffix == ".tar":
            file.seek(0)
            return _image(asked, file)
    if head[:4] != MAGIC and path.name not in ("package-lock.json",):
        raise Refused(f"{asked.path} is no lock file, no program and no image", help="docs/sbom.md says what is known")
    whole = catalogue([entry], _nobody())
    bom = _driven(whole, lambda wanted: _part(path, wanted))
    tops = [relation.target for relation in bom.relations if relation.source == bom.subject.ref]
    if len(tops) != 1:
        raise Refused(f"{asked.path} does not say what it was built of",
                      help="build with cargo-auditable, or list the workspace with --built")  # fmt: skip
    return _lifted(asked, bom, tops[0])


def _nobody() -> Component:
    from ciflow.supply.model import Kind

    return Component("ciflow:nobody", Kind.APPLICATION, "nobody", None, None)


def _lifted(asked: Asked, bom: Bom, ref: str) -> Bom:
    """The one thing that was found is itself the subject."""
    subject = next(part for part in bom.components if part.ref == ref)
    subject = replace(subject, name=asked.name or subject.name, version=asked.version or subject.version)
    rest = tuple(part for part in bom.components if part.ref != ref)
    edges = tuple(relation for relation in bom.relations if relation.source != bom.subject.ref)
    return replace(bom, subject=subject, components=rest, relations=edges)


def _image(asked: Asked, file: BinaryIO) -> Bom:
    from ciflow.supply.catalogue import catalogue
    from ciflow.supply.image import Image

    with Image(file, Path(asked.path).stem) as image:
        subject = image.subject
        subject = replace(subject, name=asked.name or subject.name, version=asked.version or subject.version)
        return _driven(catalogue(image.entries(), subject), image.read)


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


def _driven(asking: Asking[Bom], read: Callable[[Wanted], bytes]) -> Bom:
    """Answers a catalogue's questions until it knows."""
    content: bytes | None = None
    while True:
        try:
            wanted = next(asking) if content is None else asking.send(content)
        except StopIteration as end:
            result: Bom = end.value
            return result
        content = read(wanted)


def _part(path: Path, wanted: Wanted) -> bytes:
    with path.open("rb") as file:
        file.seek(wanted.offset)
        return file.read(wanted.length)


def _supplier(asked: Asked) -> Party | None:
    from ciflow.supply.parties import parse_party

    return parse_party(asked.supplier or "")


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
