"""Where two builds of one file differ: by section of a program, by member of an archive, by text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from ciflow.dataclass import dataclass
from ciflow.supply.errors import FormatFault
from ciflow.supply.members import Member, members
from ciflow.supply.objectfile import MAGIC, Elf, Section, parse_elf

DEEPEST = 6  # archives within archives
_TEXTS = re.compile(rb"[\x20-\x7e]{4,}")
_MOST_TEXTS = 8
_WIDEST = 160


@dataclass(frozen=True, slots=True)
class Difference:
    """`where` leads to it (`dist.tar: bin/server: .rodata`). `what` is content, order, only (in one of the two), or the
    name of a fact: time, mode, owner, .. `a` and `b` are the bytes that differ."""

    where: str
    what: str
    a: bytes
    b: bytes
    symbol: str = ""  # the first one of a program's that lies where they differ

    @property
    def place(self) -> str:
        """The last step of `where`."""
        return self.where.rpartition(": ")[2]

    def texts(self) -> list[tuple[str, str]]:
        """Texts that one has and the other hasn't, in pairs; of long ones the part that differs."""
        left, right = (dict.fromkeys(_TEXTS.findall(side)) for side in (self.a, self.b))
        only = ([one for one in side if one not in other] for side, other in ((left, right), (right, left)))
        return [_narrowed(one, two) for one, two in zip(*only, strict=False)][:_MOST_TEXTS]


def compare(where: str, a: bytes, b: bytes, deep: int = 0) -> list[Difference]:
    """All differences, in order. What can't be taken apart is compared byte by byte."""
    if a == b:
        return []
    found: list[Difference] = []
    try:
        if a.startswith(MAGIC) and b.startswith(MAGIC):
            found = list(_programs(where, parse_elf(a), parse_elf(b)))
        elif deep < DEEPEST and (pair := (members(a), members(b))) and pair[0] and pair[1] and pair[0][0] == pair[1][0]:
            found = list(_archives(where, pair[0][1], pair[1][1], deep))
    except FormatFault:
        return [Difference(where, "content", a, b)]  # it only looks like one
    return found or [Difference(where, "content", a, b)]


def _programs(where: str, a: Elf, b: Elf) -> Iterator[Difference]:
    left, right = ({one.name: one for one in side.sections} for side in (a, b))
    names = ([one.name for one in a.symbols], [one.name for one in b.symbols])
    if names[0] != names[1] and sorted(names[0]) == sorted(names[1]):
        yield Difference(f"{where}: symbols", "order", _lines(names[0]), _lines(names[1]))
    for name in dict.fromkeys((*left, *right)):
        one, two = left.get(name), right.get(name)
        if one is None or two is None:
            yield Difference(f"{where}: {name}", "only", one.data if one else b"", two.data if two else b"")
        elif one.data != two.data:
            yield Difference(f"{where}: {name}", "content", one.data, two.data, _symbol(a, one, two))


def _symbol(elf: Elf, one: Section, two: Section) -> str:
    """Which symbol the first byte that differs belongs to."""
    if not one.address:
        return ""
    first = next((at for at, (x, y) in enumerate(zip(one.data, two.data, strict=False)) if x != y), 0)
    at = one.address + first
    return next((symbol.name for symbol in elf.symbols if symbol.address <= at < symbol.address + symbol.size), "")


def _archives(where: str, a: Sequence[Member], b: Sequence[Member], deep: int) -> Iterator[Difference]:
    left, right = ({one.name: one for one in side} for side in (a, b))
    if list(left) != list(right) and left.keys() == right.keys():
        yield Difference(where, "order", _lines(list(left)), _lines(list(right)))
    for name in dict.fromkeys((*left, *right)):
        one, two = left.get(name), right.get(name)
        if one is None or two is None:
            yield Difference(f"{where}: {name}", "only", one.content if one else b"", two.content if two else b"")
            continue
        for fact in one.facts:
            if one.facts[fact] != two.facts.get(fact):
                yield Difference(f"{where}: {name}", fact, one.facts[fact].encode(), two.facts.get(fact, "").encode())
        yield from compare(f"{where}: {name}", one.content, two.content, deep + 1)


def _lines(names: Sequence[str]) -> bytes:
    return "\n".join(names).encode()


def _narrowed(one: bytes, two: bytes) -> tuple[str, str]:
    """Both without what they begin and end with in common, up to the word that this cuts."""
    start = next((at for at, (x, y) in enumerate(zip(one, two, strict=False)) if x != y), min(len(one), len(two)))
    start = max((one.rfind(b" ", 0, start) + 1, start - _WIDEST // 2))
    return tuple(side[start : start + _WIDEST].decode() for side in (one, two))  # type: ignore[return-value]
