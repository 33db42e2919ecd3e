"""Choices made line by line: by number or by name, with names completed where readline is there.

No cursor is moved and nothing is drawn over, so that it works through ssh, in tmux, and with a screen reader. Ctrl-C
and Ctrl-D raise Left, wherever they are pressed.
"""

from __future__ import annotations

import sys
import termios
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext

import click

from ciflow.report.text import safe

MOST = 40  # things in one list


class Left(Exception):
    """Whoever sat there has left."""


def line(prompt: str, known: Sequence[str] = ()) -> str:
    """What is typed up to Enter, without blanks around it. TAB completes what is `known`."""
    try:
        with _as_a_key() if _complete(known) else nullcontext():
            return input(prompt).strip()
    except (EOFError, KeyboardInterrupt):
        click.echo()
        raise Left from None


def yes(question: str, *, usual: bool = False) -> bool:
    """`usual` is what Enter alone says."""
    answer = line(f"{question} [{'Y/n' if usual else 'y/N'}] ").lower()
    return answer in ("y", "yes") if answer else usual


def one(what: str, names: Sequence[str], *, none: str) -> str:
    """One of them; "" for Enter alone, which means `none`."""
    listed(names)
    while True:
        typed = line(f"{what} (Enter: {none}): ", names)
        if not typed or (found := _named(typed, names)):
            return found if typed else ""
        click.echo(f"there is no {safe(typed)}: a number from 1 to {len(names)}, or a name")


def several(what: str, names: Sequence[str], *, none: str) -> tuple[str, ...]:
    """Some of them, with commas or blanks between numbers; a name that holds such is typed alone."""
    listed(names)
    while True:
        typed = line(f"{what}, with commas (Enter: {none}): ", names)
        parts = [typed] if typed in names else [part.strip() for part in typed.split(",") if part.strip()]
        found = [_named(part, names) for part in parts]
        if all(found):
            return tuple(dict.fromkeys(found))
        lost = next(part for part, name in zip(parts, found, strict=True) if not name)
        click.echo(f"there is no {safe(lost)}: numbers from 1 to {len(names)}, or names")


def listed(names: Sequence[str]) -> None:
    for number, name in enumerate(names[:MOST], 1):
        click.echo(f"  {number:>2}  {safe(name)}")
    if len(names) > MOST:
        click.echo(f"      and {len(names) - MOST} more, by name")


def _named(typed: str, names: Sequence[str]) -> str:
    if typed in names:
        return typed
    return names[int(typed) - 1] if typed.isdecimal() and 1 <= int(typed) <= len(names) else ""


@contextmanager
def _as_a_key() -> Iterator[None]:
    """Ctrl-C comes as a key, which readline takes for Ctrl-D: a signal that comes just before Python waits for a key is
    not seen until the next one."""
    before = termios.tcgetattr(sys.stdin)
    changed = [*before]
    changed[6] = [*before[6]]
    changed[6][termios.VINTR] = b"\0"  # no key
    termios.tcsetattr(sys.stdin, termios.TCSADRAIN, changed)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _complete(known: Sequence[str]) -> bool:
    """Whether readline is there: a Python without it completes nothing."""
    try:
        import readline
    except ImportError:
        return False

    def offer(text: str, number: int) -> str | None:
        found = [name for name in known if name.startswith(text) and name.isprintable()]
        return found[number] if number < len(found) else None

    readline.set_completer_delims(",")
    readline.set_completer(offer)
    readline.parse_and_bind("tab: complete")
    readline.parse_and_bind(r'"\C-c": "\C-e\C-u\C-d"')
    return True
