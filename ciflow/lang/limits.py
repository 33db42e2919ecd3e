"""How much a template may take: of time, for itself and for a regular expression, of memory for what it makes.

What hosts say goes into templates, so that one line of output could else hold up a whole run.
"""

from __future__ import annotations

import functools
import re
import signal
import threading
import time
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any, TypeVar

T = TypeVar("T")

SLOWEST = 2.0  # seconds of this process's own time that one regular expression may take
LONGEST = 30.0  # and that rendering one template may take
_AT_ONCE = 1e-4  # seconds: no time is left, and 0 would mean for ever
MOST_CHARACTERS = 50_000_000  # of one text that a template makes
MOST_ITEMS = 1_000_000  # of a list that a template makes
MOST_DIGITS = 4_300  # of a whole number: what `str` takes (sys.int_info.default_max_str_digits)
_LARGEST = 10**MOST_DIGITS


class TooMuch(ValueError):
    """A template asked for more than it may have."""


class _Expired(BaseException):
    """The time is over. No Exception, so that nothing in between takes it for a fault of its own."""


class _Clock:
    """The timer that stops us, and until when it lets us: a reading of the process's own time; 0 without a limit."""

    def __init__(self) -> None:
        signal.signal(signal.SIGVTALRM, self._stop)
        self.until = 0.0

    def set(self, until: float) -> None:
        self.until = until
        signal.setitimer(signal.ITIMER_VIRTUAL, max(until - time.process_time(), _AT_ONCE) if until else 0)

    def _stop(self, _signal: int, _frame: Any) -> None:
        raise _Expired


@functools.cache
def _clock() -> _Clock:
    return _Clock()


def timed(match: Callable[[], T]) -> T:
    """What `match` gives, a search for a regular expression. Raises TooMuch after SLOWEST seconds: Python's matcher
    looks for signals now and then. Backtracking takes exponential time for some patterns, and no check of the pattern
    alone tells them apart."""
    return _within(SLOWEST, match, f"this regular expression takes longer than {SLOWEST:g} s on this text; make it "
                                   "say less twice, as in `(a+)+` or `.*.*`")  # fmt: skip


def unhurried(make: Callable[[], T]) -> T:
    """What `make` renders. Raises TooMuch after LONGEST seconds: loops in loops, say, over more than anybody meant."""
    return _within(LONGEST, make, f"this template has been rendered for {LONGEST:g} s and is not done; let it loop "
                                  "over less, or give it what is computed already")  # fmt: skip


def _within(seconds: float, make: Callable[[], T], message: str) -> T:
    """What `make` gives, or TooMuch after so many seconds of the process's own time, so that a busy machine fails
    nothing. Within another `_within` no longer than that one lasts. Signals reach only the main thread, which renders
    in every command; in another thread there is no limit."""
    if threading.current_thread() is not threading.main_thread():
        return make()
    clock, now = _clock(), time.process_time()
    around = clock.until
    if around and now >= around:  # a timer goes off some milliseconds late, and would never where it is set so often
        raise _Expired
    own = not around or now + seconds < around
    clock.set(now + seconds if own else around)
    try:
        return make()
    except _Expired as expired:
        if not own:
            raise
        raise TooMuch(message).with_traceback(expired.__traceback__) from None
    finally:
        clock.set(around)


def flags(ignorecase: bool, multiline: bool) -> re.RegexFlag:
    return (re.I if ignorecase else re.RegexFlag(0)) | (re.M if multiline else re.RegexFlag(0))


def bounded(items: Iterable[T]) -> list[T]:
    """The items as a list. Raises TooMuch where they are more than MOST_ITEMS."""
    found = list(islice(items, MOST_ITEMS + 1))
    if len(found) > MOST_ITEMS:
        raise TooMuch(f"a list made by a template has at most {MOST_ITEMS:,} items")
    return found


def check_number(value: int) -> int:
    """The number. Raises TooMuch where Python itself would not write it down, in a message or in the journal."""
    if -_LARGEST < value < _LARGEST:
        return value
    raise TooMuch(f"a number made by a template has at most {MOST_DIGITS:,} digits")


def check_length(length: int) -> None:
    """Raises TooMuch where a text of `length` characters (or a list of as many items) is too long to be made."""
    if length > MOST_CHARACTERS:
        raise TooMuch(f"a template may make at most {MOST_CHARACTERS:,} characters at once")
