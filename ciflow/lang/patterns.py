"""Host patterns (`web:&prod:!old`, `~regex`, `db[0:2]`) and ranges of names (`web[01:50]`)."""

from __future__ import annotations

import fnmatch
import re
import string
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice

from ciflow.lang.limits import timed

MOST_HOSTS = 250_000  # of an inventory: 25 times what was measured; a range is written in few letters
_RANGE = re.compile(r"\[([0-9a-zA-Z]+):([0-9a-zA-Z]+)(?::([0-9]+))?\]")
_SUBSCRIPT = re.compile(r"^(.+)\[(?:(-?\d+)|(-?\d*):(-?\d*))\]$")
_CLOSES = {"[": "]", "(": ")", "{": "}"}


def expand_range(name: str) -> list[str]:
    """Names of a pattern such as `web[01:03]`, `db-[a:c]`, `n[0:10:5]`; zeros are kept. Raises ValueError in words."""
    names = list(islice(_expanded(name), MOST_HOSTS + 1))
    if len(names) > MOST_HOSTS:
        raise ValueError(f"{name} names more than {MOST_HOSTS:,} hosts")
    return names


def _expanded(name: str) -> Iterator[str]:
    found = _RANGE.search(name)
    if found is None:
        yield name
        return
    for part in _between(found[1], found[2], int(found[3] or 1)):
        yield from _expanded(name[: found.start()] + part + name[found.end() :])


def _between(first: str, last: str, step: int) -> Iterator[str]:
    if step < 1:
        raise ValueError("the step of a range is at least 1")
    if first.isdigit() and last.isdigit():
        width = len(first) if first.startswith("0") and len(first) > 1 else 0
        if width and len(first) != len(last):
            raise ValueError(f"[{first}:{last}]: both ends of a padded range have the same width")
        if int(first) > int(last):
            raise ValueError(f"[{first}:{last}] counts down")
        return (str(number).zfill(width) for number in range(int(first), int(last) + 1, step))
    letters = string.ascii_letters
    if len(first) == len(last) == 1 and first in letters and last in letters:
        start, end = letters.index(first), letters.index(last)
        if start > end:
            raise ValueError(f"[{first}:{last}] counts down")
        return iter(letters[start : end + 1 : step])
    raise ValueError(f"[{first}:{last}] is neither a range of numbers nor of letters")


def split_pattern(pattern: str) -> list[str]:
    """The terms of a pattern. IPv6 addresses, subscripts and what a regular expression has in brackets stay whole."""
    terms = []
    for part in _cut(pattern, ","):
        if part.count(":") > 1 and re.fullmatch(r"[!&]?[0-9a-fA-F:]+", part):
            terms.append(part)
        else:
            terms += _cut(part, ":")
    return terms


def _cut(text: str, separator: str) -> list[str]:
    """The parts between separators that stand in no bracket, without blanks around them."""
    parts, closing = [""], ""
    at = iter(text)
    for character in at:
        if character == separator and not closing:
            parts.append("")
            continue
        parts[-1] += character + (next(at, "") if character == "\\" else "")
        if closing[-1:] == character:
            closing = closing[:-1]
        elif character in _CLOSES and closing[-1:] != "]":  # in `[(]` the other brackets mean themselves
            closing += _CLOSES[character]
    return [part for part in map(str.strip, parts) if part]


def select(pattern: str, hosts: Sequence[str], groups: Mapping[str, Sequence[str]],
           lines_of: Callable[[str], Iterable[str]]) -> tuple[list[str], list[str]]:  # fmt: skip
    """Names of hosts that match, in the inventory's order, and terms that match nothing.

    As Ansible does: plain terms add up, then `&` keeps the common ones, then `!` takes out. `lines_of` reads `@file`.
    Raises ValueError for a regular expression that is none, or that takes too long.
    """
    terms = split_pattern(pattern)
    plain = [term for term in terms if term[0] not in "&!"] or ["all"]
    chosen: dict[str, None] = {}
    unknown: list[str] = []
    for term in plain:
        names = _term(term, hosts, groups, lines_of)
        if not names and term not in groups and term not in ("all", "*"):
            unknown.append(term)
        chosen |= dict.fromkeys(names)
    for sign in "&!":
        for term in (term[1:] for term in terms if term[0] == sign):
            listed = set(_term(term, hosts, groups, lines_of))
            chosen = {name: None for name in chosen if (name in listed) == (sign == "&")}
    return list(chosen), unknown


def _term(
    term: str, hosts: Sequence[str], groups: Mapping[str, Sequence[str]], lines_of: Callable[[str], Iterable[str]]
) -> list[str]:
    if term.startswith("@"):
        names = {line.strip() for line in lines_of(term[1:])}
        return [name for name in hosts if name in names]
    if term.startswith("~"):
        try:
            expression = re.compile(term[1:])
        except re.error as error:
            raise ValueError(f"`{term}` is no regular expression: {error}") from error
        return timed(lambda: _matching(lambda name: bool(expression.match(name)), hosts, groups))
    subscript = _SUBSCRIPT.match(term)
    if subscript and term not in groups:
        found = _term(subscript[1], hosts, groups, lines_of)
        return _subscripted(found, subscript)
    if term in ("all", "*"):
        return list(hosts)
    if not any(character in term for character in "*?["):
        if term in groups:
            return list(groups[term])
        return [term] if term in hosts else []
    return _matching(lambda name: fnmatch.fnmatchcase(name, term), hosts, groups)


def _subscripted(found: list[str], subscript: re.Match[str]) -> list[str]:
    """`[1]`, `[-1]`, `[1:3]` (the end is counted in, as in Ansible), `[2:]`."""
    if subscript[2] is not None:
        index = int(subscript[2])
        return [found[index]] if -len(found) <= index < len(found) else []
    first = int(subscript[3] or 0)
    last = int(subscript[4]) if subscript[4] else None
    if last is None:
        return found[first:]
    return found[first : (last + 1) or None]


def _matching(test: Callable[[str], bool], hosts: Sequence[str], groups: Mapping[str, Sequence[str]]) -> list[str]:
    in_groups = {host for name, members in groups.items() if test(name) for host in members}
    return [host for host in hosts if host in in_groups or test(host)]
