"""How much a template may take: of time, for itself and for a regular expression, of memory for what it makes.

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
LONGEST = 30.0  # and that rendering one template may take
_AT_ONCE = 1e-4  # seconds: no time is left, and 0 would mean for ever
MOST_CHARACTERS = 50_000_000  # of one text that a template makes
MOST_ITEMS = 1_000_000  # of a list that a template makes


class TooMuch(ValueError):
    """A template asked for more than it may have."""


class _Expired(BaseException):
    """The time is over. No Exception, so that nothing in between takes it for a fault of its own."""


@functools.cache
def _alarmed() -> bool:
    """Whether the timer can stop us: signals reach only the main thread, which renders in every command."""
    if threading.current_thread() is not threading.main_thread():
        return False
    signal.signal(signal.SIGVTALRM, _stop)
    return True


def _stop(_signal: int, _frame: Any) -> None:
    raise _Expired


def timed(match: Callable[[], T]) -> T:
    """What `match` gives, a search for a regular expression. Raises TooMuch after SLOWEST seconds: Python's matcher
    looks for signals now and then. Backtracking takes exponential time for some patterns, and no check of the pattern
    alone tells them apart."""
    return _within(SLOWEST, match, f"this regular expression takes longer than {SLOWEST:g} s on this text; make it "
                                   "say less twice, as in `(a+)+` or `.*.*`")  # fmt: skip


def unhurried(make: Callable[[], T]) -> T:
    """What `make` renders. Raises TooMuch after LONGEST seconds: loops in loops, say, over more than anybody meant."""
    return _within(LONGEST, make, f"this template has been rendered for {LONGEST:g} s and is not done; let it loop over "
                                  "less, or give it what is computed already")  # fmt: skip


def _within(seconds: float, make: Callable[[], T], message: str) -> T:
    """What `make` gives, or TooMuch after so many seconds of the process's own time, so that a busy machine fails
    nothing; of those that `_within` around it has left, if they are fewer. In another thread there is no limit."""
    if not _alarmed() or threading.current_thread() is not threading.main_thread():
        return make()
    around, _ = signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    if 0 < around < seconds:
        signal.setitimer(signal.ITIMER_VIRTUAL, around)
    granted = min(around or seconds, seconds)
    try:
        return make()
    except _Expired as expired:
        raise TooMuch(message).with_traceback(expired.__traceback__) from None
    finally:
        left, _ = signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        if around:
            signal.setitimer(signal.ITIMER_VIRTUAL, max(around - (granted - left), _AT_ONCE))


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
