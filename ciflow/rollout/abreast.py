"""Several routers asked at once: none waits for another that is far away, or slow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias, TypeVar

from ciflow.diagnostics import TargetError
from ciflow.model import Abreast
from ciflow.rollout.routers.dial import Asked, Fenced, RouterError

T = TypeVar("T")
Trouble: TypeAlias = RouterError | TargetError | Fenced
TROUBLES = (RouterError, TargetError, Fenced)


def abreast(parts: Sequence[Asked[T]]) -> Asked[list[T | Trouble]]:
    """What each of `parts` came to, in their order: its value, or the error that ended it."""
    found: dict[int, T | Trouble] = {}

    def kept(number: int, part: Asked[T]) -> Asked[None]:
        try:
            found[number] = yield from part
        except TROUBLES as error:
            found[number] = error

    running = tuple(kept(number, part) for number, part in enumerate(parts))
    if len(running) == 1:
        yield from running[0]
    elif running:
        yield Abreast(running)
    return [found[number] for number in range(len(running))]


def all_of(parts: Sequence[Asked[T]]) -> Asked[list[T]]:
    """The same where one's trouble is trouble of all: it is raised when all have ended, Fenced before others."""
    found = yield from abreast(parts)
    troubles = [one for one in found if isinstance(one, TROUBLES)]
    if troubles:
        raise next((one for one in troubles if isinstance(one, Fenced)), troubles[0])
    return [one for one in found if not isinstance(one, TROUBLES)]
