"""What a bill is about - a folder, a program, an image - wherever its files are read: on this machine or on a host."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import BinaryIO

from ciflow.dataclass import dataclass
from ciflow.supply.errors import UnsupportedError
from ciflow.supply.model import Bom, Component, Kind, Party
from ciflow.supply.wanted import Asking, Entry, driven

DAEMON = "docker:"
HEAD = 512  # bytes; the first header of a tar archive
_SKIPPED = frozenset({".git", ".hg", ".svn"})


@dataclass(frozen=True)
class Called:
    """What the subject is called, in place of what it says itself."""

    name: str | None = None
    version: str | None = None
    supplier: Party | None = None

    def of(self, subject: Component) -> Component:
        return replace(subject, name=self.name or subject.name, version=self.version or subject.version)


def looked_into(folder: str) -> bool:
    """Folders of version control are not: what lies in them is not what is delivered."""
    return folder not in _SKIPPED


def listed(path: str, size: int, mode: int) -> Entry:
    """A regular file; libraries need no permission to run, and are asked as programs are."""
    return Entry(path, size, bool(mode & 0o111) or ".so" in path.rpartition("/")[2])


def folder(entries: Sequence[Entry], own: str, called: Called) -> Asking[Bom]:
    """The bill of a folder whose own name is `own`."""
    from ciflow.supply.catalogue import catalogue
    from ciflow.supply.purls import purl

    name = called.name or own or "root"
    identity = purl("generic", name, called.version)
    subject = Component(identity, Kind.APPLICATION, name, called.version, identity, supplier=called.supplier)
    return catalogue(entries, subject)


def is_image(head: bytes, name: str) -> bool:
    return head[257:262] == b"ustar" or name.endswith(".tar")


def single(entry: Entry, head: bytes, called: Called) -> Asking[Bom]:
    """The bill of one file: the one thing that it tells of is itself the subject.

    Raises:
        UnsupportedError: it is nothing that is known, or does not say what it was built of.
    """
    from ciflow.supply.catalogue import catalogue
    from ciflow.supply.elf import MAGIC

    if head[:4] != MAGIC and entry.path != "package-lock.json":
        raise UnsupportedError("it is no lock file, no program and no image; docs/sbom.md says what is known")
    nobody = Component("ciflow:nobody", Kind.APPLICATION, "nobody", None, None)
    bom = yield from catalogue([entry], nobody)
    tops = [relation.target for relation in bom.relations if relation.source == nobody.ref]
    if len(tops) != 1:
        raise UnsupportedError("it does not say what it was built of: build with cargo-auditable, or list the "
                               "workspace and say that this file was built of it")  # fmt: skip
    subject = next(part for part in bom.components if part.ref == tops[0])
    rest = tuple(part for part in bom.components if part.ref != tops[0])
    edges = tuple(relation for relation in bom.relations if relation.source != nobody.ref)
    return replace(bom, subject=called.of(subject), components=rest, relations=edges)


def image(archive: BinaryIO, own: str, called: Called) -> Bom:
    """The bill of an image in an archive; `own` is its name where it has no tag."""
    from ciflow.supply.catalogue import catalogue
    from ciflow.supply.image import Image

    with Image(archive, own) as opened:
        return driven(catalogue(opened.entries(), called.of(opened.subject)), opened.read)
