"""The identity of an operation: run, play and cell, host, path, number. The same after a kill and a resume."""

from __future__ import annotations

import secrets

from ciflow.dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Key:
    """A place in the run. Include, loop item, flush of handlers, retry each append to `path`."""

    run: str
    play: str
    host: str
    path: tuple[str, ...]

    def below(self, *parts: str | int) -> Key:
        """A place further in."""
        return Key(self.run, self.play, self.host, (*self.path, *map(str, parts)))

    @property
    def task(self) -> str:
        return "/".join(self.path)

    def __str__(self) -> str:
        return "|".join((self.run, self.play, self.host, self.task))


def new_run(known: int) -> str:
    """The id of a run when the journal knows so many: a number for people, and what tells two journals' runs apart.

    Every CI job begins a journal of its own with number 1, and a host remembers runs for a week: 40 bits keep ten
    thousand of them apart (two alike with a chance of 1 in 20,000), and a key of one is never taken for another's.
    """
    return f"R-{known + 1}-{secrets.token_hex(5)}"
