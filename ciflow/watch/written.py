"""Which files a run writes itself: what it writes must not begin the next one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from ciflow.watch.tree import Look

ALWAYS = 4  # runs in a row during which a file changed, until it is taken for theirs
AT_ONCE = 0.5  # seconds after something was said here, within which nobody answers it time and again


class Written:
    """What is known of that after some runs. A file that changes while nothing runs is somebody's, whatever was thought
    of it before.

    One that comes or goes is known by its folder: a run may give each of its logs another name.
    """

    def __init__(self) -> None:
        self._told: set[str] = set()  # by the run that goes on, or went on last
        self._rows: Counter[str] = Counter()
        self._own: frozenset[str] = frozenset()

    def began(self) -> None:
        self._told.clear()

    def tell(self, path: str) -> None:
        """The run says that it wrote this file."""
        self._told.add(path)

    def others(self, before: Look, after: Look) -> tuple[str, ...]:
        """Of what has changed during the run, what it is not known to have written itself."""
        changed = after.since(before)
        return tuple(
            path for path in changed if path not in self._told and _known(path, before, after) not in self._own
        )

    def ended(self, before: Look, after: Look) -> tuple[str, ...]:
        """The run has ended. Files that are taken for its own from now on."""
        known = {path: _known(path, before, after) for path in after.since(before) if path not in self._told}
        self._rows = Counter({name: self._rows[name] + 1 for name in set(known.values())})
        found = frozenset(name for name, row in self._rows.items() if row >= ALWAYS)
        new, self._own = found - self._own, self._own | found
        return tuple(path for path, name in known.items() if name in new)

    def idle(self, paths: Iterable[str]) -> None:
        """These have changed while nothing ran."""
        for path in paths:
            for name in (path, _folder(path)):
                del self._rows[name]
                self._own -= {name}


class Echo:
    """Files that change whenever something is said here: somebody writes what we say into them, as `| tee log` does."""

    def __init__(self) -> None:
        self._rows: Counter[str] = Counter()

    def heard(self, paths: Iterable[str], after: float) -> frozenset[str]:
        """These have changed, so many seconds after the last word. Those that are taken for an echo."""
        if after > AT_ONCE:
            self._rows.clear()
            return frozenset()
        self._rows = Counter({path: self._rows[path] + 1 for path in paths})
        return frozenset(path for path, row in self._rows.items() if row >= ALWAYS)


def _known(path: str, before: Look, after: Look) -> str:
    return path if path in before.files and path in after.files else _folder(path)


def _folder(path: str) -> str:
    return path.rpartition("/")[0] + "/"
