"""How much a template may take: of time for a regular expression, of memory for what it makes.

What hosts say goes into templates, so that one line of output could else hold up a whole run.
"""

from __future__ import annotations

import functools
import re
import signal
import threading
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any, TypeVar

T = TypeVar("T")

SLOWEST = 2.0  # seconds of this process's own time that one regular expression may take
MOST_CHARACTERS = 50_000_000  # of one text that a template makes
MOST_ITEMS = 1_000_000  # of a list that a template makes


class TooMuch(ValueError):
    """A template asked for more than it may have."""


@functools.cache
def _alarmed() -> bool:
    """Whether the timer can stop a match: signals reach only the main thread, which renders in every command."""
    if threading.current_thread() is not threading.main_thread():
        return False
    signal.signal(signal.SIGVTALRM, _stop)
    return True


def _stop(_signal: int, _frame: Any) -> None:
    raise TooMuch(f"this regular expression takes longer than {SLOWEST:g} s on this text; make it say less twice, "
                  "as in `(a+)+` or `.*.*`")  # fmt: skip


def timed(match: Callable[[], T]) -> T:
    """What `match` gives. Raises TooMuch after SLOWEST seconds: Python's matcher looks for signals now and then.

    Backtracking takes exponential time for some patterns, and no check of the pattern alone tells them apart. The
    timer counts the process's own time, so that a busy machine fails no pattern. In another thread there is no limit.
    """
    if not _alarmed() or threading.current_thread() is not threading.main_thread():
        return match()
    signal.setitimer(signal.ITIMER_VIRTUAL, SLOWEST)
    try:
        return match()
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def flags(ignorecase: bool, multiline: bool) -> re.RegexFlag:
    return (re.I if ignorecase else re.RegexFlag(0)) | (re.M if multiline else re.RegexFlag(0))


def bounded(items: Iterable[T]) -> list[T]:
    """The items as a list. Raises TooMuch where they are more than MOST_ITEMS."""
    found = list(islice(items, MOST_ITEMS + 1))
    if len(found) > MOST_ITEMS:
        raise TooMuch(f"a list made by a template has at most {MOST_ITEMS:,} items")
    return found


def check_length(length: int) -> None:
    """Raises TooMuch where a text of `length` characters (or a list of as many items) is too long to be made."""
    if length > MOST_CHARACTERS:
        raise TooMuch(f"a template may make at most {MOST_CHARACTERS:,} characters at once")
