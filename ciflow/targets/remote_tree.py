"""Files as the Remote Execution API has them: a tree of Directory messages, each known by the digest of its bytes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from hashlib import file_digest, sha256
from pathlib import Path, PurePosixPath

from ciflow.dataclass import dataclass, field
from ciflow.diagnostics import Refused, TargetError
from ciflow.targets.protobuf import Fields, message
from ciflow.whole import write_whole


@dataclass(frozen=True, slots=True)
class Digest:
    """SHA-256 in hexadecimal, and bytes."""

    hash: str
    size: int

    @property
    def encoded(self) -> bytes:
        return message((1, self.hash), (2, self.size))

    @classmethod
    def of(cls, fields: Fields) -> Digest:
        return cls(fields.text(1), fields.number(2))


def digest_of(content: bytes) -> Digest:
    return Digest(sha256(content).hexdigest(), len(content))


@dataclass(slots=True)
class Inputs:
    """Everything that an action needs, by digest; `root` is the folder that it runs in. Files are read when sent."""

    root: Digest
    contents: dict[Digest, Callable[[], bytes]] = field(default_factory=dict)

    def add(self, content: bytes) -> Digest:
        digest = digest_of(content)
        self.contents[digest] = lambda: content
        return digest


def inputs_of(folder: Path, patterns: Iterable[str]) -> Inputs:
    """The files that match below `folder`, folders whole. Refused: nothing matches a pattern, or it leads out."""
    found = Inputs(Digest("", 0))
    tree: dict[str, object] = {}
    for pattern in patterns:
        if PurePosixPath(pattern).is_absolute() or ".." in PurePosixPath(pattern).parts:
            raise Refused(f"an input lies outside of {folder}: {pattern}")
        matches = [folder] if pattern in (".", "./") else sorted(folder.glob(pattern))
        if not matches:
            raise Refused(f"nothing in {folder} is called {pattern}")
        for path in matches:
            _take(path, folder, tree)
    found.root = _folder(tree, found)
    return found


def _take(path: Path, root: Path, tree: dict[str, object]) -> None:
    if path.is_dir() and not path.is_symlink():
        for below in sorted(path.iterdir()):
            _take(below, root, tree)
        return
    *folders, name = path.relative_to(root).parts
    for part in folders:
        inside = tree.setdefault(part, {})
        assert isinstance(inside, dict)
        tree = inside
    tree[name] = path


def _folder(tree: Mapping[str, object], found: Inputs) -> Digest:
    """A Directory, whose nodes are in the order of their names: one tree has one digest."""
    files, folders, links = [], [], []
    for name in sorted(tree):
        one = tree[name]
        if isinstance(one, dict):
            folders.append(message((1, name), (2, _folder(one, found).encoded)))
        elif isinstance(one, Path) and one.is_symlink():
            links.append(message((1, name), (2, str(one.readlink()))))
        elif isinstance(one, Path):
            with one.open("rb") as file:
                hashed = file_digest(file, "sha256").hexdigest()
                digest = Digest(hashed, file.tell())
            found.contents[digest] = partial(one.read_bytes)
            files.append(message((1, name), (2, digest.encoded), (4, os.access(one, os.X_OK))))
    return found.add(message((1, files), (2, folders), (3, links)))


@dataclass(frozen=True, slots=True)
class Place:
    """Where one output goes."""

    path: Path

    def write(self, content: bytes, *, executable: bool) -> None:
        """Whole or not at all."""
        write_whole(self.path, content, 0o755 if executable else 0o644)


def place_for(dest: Path, path: str, wanted: Iterable[str]) -> Place:
    """Below `dest`, whatever a farm calls its outputs, and whatever links lie there. TargetError otherwise."""
    named = PurePosixPath(path)
    asked = any(named == PurePosixPath(one) or PurePosixPath(one) in named.parents for one in wanted)
    if named.is_absolute() or ".." in named.parts or not asked:
        raise TargetError(f"the farm sends an output that nobody asked for: {path}")
    place = dest.joinpath(*named.parts)
    place.parent.mkdir(parents=True, exist_ok=True)
    if not place.parent.resolve().is_relative_to(dest.resolve()):
        raise TargetError(f"a link leads the output {path} out of {dest}")
    return Place(place)
