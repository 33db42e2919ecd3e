"""The known word that somebody may have meant, looked for when it is to be said."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from difflib import get_close_matches


def did_you_mean(word: object, known: Iterable[object], *, otherwise: str = "") -> Callable[[], str]:
    """What is said beside an unknown `word`: the nearest of `known`, or `otherwise` where none is near."""

    def say() -> str:
        near = nearest(word, known)
        return f"did you mean `{near}`?" if near else otherwise

    return say


def nearest(word: object, known: Iterable[object]) -> str:
    """The known word most like `word`; "" where none is like it."""
    return next(iter(get_close_matches(str(word), [str(one) for one in known], n=1)), "")
