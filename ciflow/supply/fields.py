"""Fields of a document from elsewhere, with their paths: typed when asked for, and none passed over silently."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from enum import Enum
from typing import Any, Literal, TypeVar, overload

from ciflow.dataclass import dataclass
from ciflow.supply.errors import DocumentError
from ciflow.supply.model import Bom, Creation

E = TypeVar("E", bound=Enum)


@dataclass(frozen=True)
class Reading:
    """A document as it is understood here; `left_out` are the fields that there is no room for, by their paths.

    `version` is that of its format; `identified`: it has a name of its own in the world.
    """

    bom: Bom
    creation: Creation
    left_out: tuple[str, ...] = ()
    version: str = ""
    identified: bool = False
    signed: bool = False
    vulnerabilities: bool = False


class Fields:
    """One object. What nobody asks for is told by `unread`, with list indices as `*`."""

    def __init__(self, values: Mapping[str, Any], path: str) -> None:
        self._values, self.path = values, path
        self._asked: set[str] = set()
        self._inner: dict[str, list[Fields]] = {}

    @classmethod
    def of(cls, value: Any, path: str) -> Fields:
        if not isinstance(value, dict):
            raise DocumentError(f"{path or '/'}: an object is needed here")
        return cls(value, path)

    def raw(self, name: str) -> Any:
        self._asked.add(name)
        return self._values.get(name)

    def text(self, name: str) -> str:
        """A text that the format asks for."""
        value = self.maybe(name)
        if value is None:
            raise DocumentError(f"{self.path}/{name}: it is missing")
        return value

    def maybe(self, name: str) -> str | None:
        value = self.raw(name)
        if value is None or isinstance(value, str):
            return value
        raise DocumentError(f"{self.path}/{name}: a text is needed here")

    def texts(self, name: str) -> list[str]:
        values = self._list(name)
        if not all(isinstance(value, str) for value in values):
            raise DocumentError(f"{self.path}/{name}: a list of texts is needed here")
        return values

    @overload
    def object(self, name: str, needed: Literal[True] = True) -> Fields: ...

    @overload
    def object(self, name: str, needed: Literal[False]) -> Fields | None: ...

    def object(self, name: str, needed: bool = True) -> Fields | None:
        """The object of that name, an empty one where it is needed and missing."""
        if name not in self._inner:
            value = self.raw(name)
            if value is None and not needed:
                return None
            self._inner[name] = [Fields.of({} if value is None else value, f"{self.path}/{name}")]
        return self._inner[name][0]

    def objects(self, name: str) -> list[Fields]:
        if name not in self._inner:
            values = self._list(name)
            self._inner[name] = [Fields.of(value, f"{self.path}/{name}/{at}") for at, value in enumerate(values)]
        return self._inner[name]

    def _list(self, name: str) -> list[Any]:
        value = self.raw(name)
        if value is None:
            return []
        if not isinstance(value, list):
            raise DocumentError(f"{self.path}/{name}: a list is needed here")
        return value

    def skip(self, *names: str) -> None:
        """These say nothing that another place would not."""
        self._asked.update(names)

    def all_read(self) -> None:
        self._asked.update(self._values)

    def unread(self) -> tuple[str, ...]:
        return tuple(sorted(set(self._unread(""))))

    def _unread(self, at: str) -> Iterator[str]:
        yield from (f"{at}/{name}" for name in self._values if name not in self._asked)
        for name, inner in self._inner.items():
            many = isinstance(self._values.get(name), list)
            for fields in inner:
                yield from fields._unread(f"{at}/{name}" + ("/*" if many else ""))


def one_of(kinds: type[E], word: str, path: str) -> E:
    """The member with this value.

    Raises:
        DocumentError: there is none.
    """
    try:
        return kinds(word)
    except ValueError as e:
        raise DocumentError(f"{path}: {word!r} is none of {', '.join(kind.value for kind in kinds)}") from e


def refless(purl: str | None, name: str, version: str | None, taken: Set[str]) -> str:
    """A ref for a component that has none, one that nobody has."""
    ref = wanted = purl or f"{name}@{version or ''}"
    number = 1
    while ref in taken:
        number += 1
        ref = f"{wanted}#{number}"
    return ref
