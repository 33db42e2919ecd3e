"""Advisories, from whichever database they come."""

from __future__ import annotations

import json
from collections.abc import Sequence
from enum import Enum

from ciflow.dataclass import dataclass
from ciflow.supply.errors import AdvisoryError
from ciflow.supply.versions import Range, order


class Kind(Enum):
    """What an advisory is about. Only the first is a hole; the others are told apart from it everywhere."""

    VULNERABILITY = "vulnerability"
    UNSOUND = "unsound"
    UNMAINTAINED = "unmaintained"
    NOTICE = "notice"
    YANKED = "yanked"


@dataclass(frozen=True)
class Advisory:
    """What one database says of one package.

    `registry` is empty for the ecosystem's own. `affected` are ranges in the ecosystem's order, `versions` those that
    are named one by one. `vectors` are CVSS vectors of any version; `rating` is a word of the database's own, for
    where it has no vector. `only` names platforms (`os windows`).
    """

    id: str
    ecosystem: str
    package: str
    title: str
    kind: Kind = Kind.VULNERABILITY
    aliases: tuple[str, ...] = ()
    affected: tuple[Range, ...] = ()
    versions: tuple[str, ...] = ()
    fixed: tuple[str, ...] = ()
    vectors: tuple[str, ...] = ()
    rating: str = ""
    url: str = ""
    date: str = ""
    registry: str = ""
    only: tuple[str, ...] = ()

    def concerns(self, version: str) -> bool:
        """Whether a version of the package is affected. Raises AdvisoryError on what is no version there."""
        if version in self.versions:
            return True
        if not self.affected:
            return False
        key = order(self.ecosystem)
        at = key(version)
        return any(one.holds(at, key) for one in self.affected)

    def runs_on(self, platforms: Sequence[str]) -> bool:
        """Whether it counts on any of these platforms: where both name some of a kind, one must be both's."""
        for kind in ("arch ", "os "):
            named = {one for one in self.only if one.startswith(kind)}
            given = {one for one in platforms if one.startswith(kind)}
            if named and given and named.isdisjoint(given):
                return False
        return True

    def fixes(self, version: str) -> tuple[str, ...]:
        """Fixed versions above one, nearest first; all of them where they can't be compared."""
        try:
            key = order(self.ecosystem)
            return tuple(sorted({one for one in self.fixed if key(one) > key(version)}, key=key))
        except AdvisoryError:
            return self.fixed

    def row(self) -> str:
        """As JSON, for an index."""
        return json.dumps({**vars(self), "kind": self.kind.value, "affected": [vars(one) for one in self.affected]})


def from_row(text: str) -> Advisory:
    """What `row` wrote."""
    found = json.loads(text)
    ranges = tuple(Range(**one) for one in found.pop("affected"))
    lists = {name: tuple(value) for name, value in found.items() if isinstance(value, list)}
    return Advisory(**{**found, **lists, "affected": ranges, "kind": Kind(found["kind"])})
