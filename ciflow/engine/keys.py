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
    """The id of a run when the journal knows so many: a number for people, and what tells two journals' runs apart."""
    return f"R-{known + 1}-{secrets.token_hex(3)}"
