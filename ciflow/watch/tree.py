"""The files that matter, as they are at one moment; two such looks tell what has changed between them.

Nothing is made of what the system says of single events: editors write a file in many ways (in place, or a new one
that takes its name), and a checkout is a thousand events. What is there afterwards is the same whatever the way was.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterable, Iterator, Mapping, Set
from pathlib import Path

from ciflow.dataclass import dataclass
from ciflow.diagnostics import Refused
from ciflow.watch.ignore import CACHE_SIGNATURE, CACHE_TAG, FILES, Rules, ignored, read, usual

MOST = 100_000  # files of a project: with more each look would take seconds
LONGEST = 2**20  # bytes of patterns
STALE = 600.0  # seconds after which a lock of git's is nobody's
Mark = tuple[int, int, int, int]  # when it was written (ns), its size, inode and mode
ABSENT: Mark = (0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Look:
    """`files` by their absolute path; `folders` that they lie in, with their inodes."""

    files: Mapping[str, Mark]
    folders: Mapping[str, int]

    def since(self, before: Look) -> tuple[str, ...]:
        """What is not as it was: written, new, or gone."""
        paths = self.files.keys() | before.files.keys()
        return tuple(sorted(path for path in paths if self.files.get(path) != before.files.get(path)))

    def without(self, paths: Set[str]) -> Look:
        return Look({path: mark for path, mark in self.files.items() if path not in paths}, self.folders)


class Tree:
    """A project's folders but what they ignore, and files elsewhere by name."""

    def __init__(self, folders: Iterable[Path], apart: Iterable[Path] = ()) -> None:
        """`apart` are files and folders within that never count, such as that of the journal."""
        self.folders = tuple(dict.fromkeys(folder.resolve() for folder in folders))
        self._tops = tuple(_Top.of(folder) for folder in self.folders)
        self._apart = frozenset(str(folder.resolve()) for folder in apart)
        self.named: frozenset[str] = frozenset()

    def also(self, paths: Iterable[str]) -> None:
        """Files that matter wherever they lie, from now on."""
        self.named = frozenset(str(Path(path).absolute()) for path in paths) - self._apart

    def leave(self, paths: Set[str]) -> None:
        """Files that count no more, wherever they lie."""
        self._apart |= paths
        self.named -= paths

    def look(self) -> Look:
        """Raises Refused where there is too much to look at."""
        files: dict[str, Mark] = {}
        folders: dict[str, int] = {}
        for top in self._tops:
            for path, mark in self._walk(top, folders):
                files[path] = mark
                if len(files) > MOST:
                    raise Refused(
                        f"{top.path} has more than {MOST:,} files that nothing ignores",
                        help="name folders with `--folder`, or what is no source in `.ignore`",
                    )
        for path in self.named:
            files[path] = _mark(path)
            folder = path.rpartition("/")[0] or "/"
            if folder not in folders and Path(folder).is_dir():
                folders[folder] = os.stat(folder).st_ino  # noqa: PTH116
        return Look(files, folders)

    def holds(self, path: str) -> bool:
        """Whether a file counts by where it lies: below the folders, and not ignored there."""
        top = next((one for one in self._tops if path.startswith(f"{one.path}/")), None)
        if top is None:
            return False
        folder, chain = top.path, top.above()
        *above, _ = path[len(folder) + 1 :].split("/")
        for name in above:
            chain = top.with_own(folder, chain)
            folder = f"{folder}/{name}"
            if self._ignored(folder, top, chain, folder=True):
                return False
        return not self._ignored(path, top, top.with_own(folder, chain), folder=False)

    def checked_out(self) -> bool:
        """Whether git is changing files of it at the moment."""
        return any(being_checked_out(one.checkout) for one in self._tops if one.checkout is not None)

    # --- private -----------------------------------------------------------------------------------------

    def _walk(self, top: _Top, folders: dict[str, int]) -> Iterator[tuple[str, Mark]]:
        """Depth first, without following links to folders. What can't be read is not there."""
        waiting = [(top.path, top.above())]
        while waiting:
            folder, chain = waiting.pop()
            try:
                entries = list(os.scandir(folder))
                inode = os.stat(folder).st_ino  # noqa: PTH116
            except OSError:
                continue
            names = {entry.name for entry in entries}
            if CACHE_TAG in names and folder != top.path and _is_cache(folder):
                continue
            folders[folder] = inode
            chain = top.with_own(folder, chain) if names.intersection(FILES) else chain
            for entry in entries:
                is_folder = entry.is_dir(follow_symlinks=False)
                if self._ignored(entry.path, top, chain, folder=is_folder):
                    continue
                if is_folder:
                    waiting.append((entry.path, chain))
                elif (mark := _mark(entry.path)) != ABSENT:
                    yield entry.path, mark

    def _ignored(self, path: str, top: _Top, chain: tuple[Rules, ...], *, folder: bool) -> bool:
        if path in self._apart or usual(path.rpartition("/")[2], folder=folder):
            return True
        return bool(chain) and ignored(path[len(top.start) :], chain, folder=folder)


@dataclass(frozen=True, slots=True)
class _Top:
    """A folder with all below it. `start` is what comes before the paths that patterns are about: those of git begin at
    the top of its checkout."""

    path: str
    start: str
    checkout: Path | None

    @classmethod
    def of(cls, folder: Path) -> _Top:
        checkout = checkout_of(folder)
        return cls(str(folder), f"{checkout or folder}".rstrip("/") + "/", checkout)

    def above(self) -> tuple[Rules, ...]:
        """What this account and this clone say, and the folders from the checkout's top down to this one."""
        chain = tuple(read(text, "") for text in _for_all(self.checkout))
        for folder in reversed(Path(self.path).parents):
            if self.checkout is not None and folder.is_relative_to(self.checkout):
                chain = self.with_own(str(folder), chain)
        return chain

    def with_own(self, folder: str, chain: tuple[Rules, ...]) -> tuple[Rules, ...]:
        texts = (_text(Path(folder, name)) for name in FILES)
        return (*chain, *(read(text, f"{folder}/"[len(self.start) :]) for text in texts if text))


def checkout_of(folder: Path) -> Path | None:
    """The top of the git checkout that it lies in."""
    return next((one for one in (folder, *folder.parents) if (one / ".git").exists()), None)


def _for_all(checkout: Path | None) -> Iterator[str]:
    """Patterns of this account and of this clone: they come before those of the project."""
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    for path in (home / "git" / "ignore", *((checkout / ".git" / "info" / "exclude",) if checkout else ())):
        if text := _text(path):
            yield text


def _text(path: Path) -> str:
    return _head(path, LONGEST).decode("utf-8", "surrogateescape")


def _is_cache(folder: str) -> bool:
    return _head(Path(folder, CACHE_TAG), len(CACHE_SIGNATURE)) == CACHE_SIGNATURE


def _head(path: Path, length: int) -> bytes:
    """How a file begins; nothing of what is none, such as a pipe of that name, which would have us wait."""
    try:
        if not path.is_file():
            return b""
        with path.open("rb") as file:
            return file.read(length)
    except OSError:
        return b""


def _mark(path: str) -> Mark:
    """ABSENT for what is not there, and for what is no file: a pipe, a device. A link counts as what it leads to, and
    to a folder as itself."""
    try:
        found = os.stat(path)  # noqa: PTH116
        found = os.lstat(path) if stat.S_ISDIR(found.st_mode) else found
    except OSError:
        return ABSENT
    if stat.S_ISREG(found.st_mode) or stat.S_ISLNK(found.st_mode):
        return (found.st_mtime_ns, found.st_size, found.st_ino, found.st_mode)
    return ABSENT


def being_checked_out(checkout: Path) -> bool:
    """Whether git writes files of it now: it holds its index locked. A lock that is old was left by one that died."""
    link = checkout / ".git"
    try:
        folder = checkout / link.read_text().partition("gitdir:")[2].strip() if link.is_file() else link
        return time.time() - (folder / "index.lock").stat().st_mtime < STALE
    except (OSError, UnicodeDecodeError):
        return False
