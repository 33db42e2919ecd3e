"""Values that templates see and give: undefined ones, lists and mappings of their own, and the text that all make."""

from __future__ import annotations

from collections.abc import ItemsView, Iterable, Iterator, KeysView, ValuesView
from typing import Any

import jinja2
from jinja2.exceptions import SecurityError
from jinja2.runtime import StrictUndefined, TemplateReference, Undefined
from jinja2.utils import missing
from markupsafe import soft_str

from ciflow.diagnostics import Invalid
from ciflow.lang.limits import check_number
from ciflow.lang.scope import OMIT


class Absent(jinja2.UndefinedError):
    """Use of a name that is not defined; knows which."""

    def __init__(self, message: str, name: str, owner: Any) -> None:
        super().__init__(message)
        self.name = name
        self.owner = owner


class Missing(StrictUndefined):
    """An undefined value: any use fails, but `a.b.c | default(1)` works through any depth, as in Ansible."""

    __slots__ = ()

    def __init__(
        self, hint: Any = None, obj: Any = missing, name: Any = None, exc: Any = jinja2.UndefinedError
    ) -> None:
        super().__init__(hint, obj, name, exc)
        if exc is not SecurityError:
            self._undefined_exception = lambda message: Absent(message, str(name), obj)  # type: ignore[assignment]

    def __getattr__(self, name: str) -> Any:
        if name[:2] == "__":
            raise AttributeError(name)
        return self

    def __getitem__(self, _key: Any) -> Any:
        return self


class Unmade(Missing):
    """A variable whose template reads an undefined one: undefined itself, as in Ansible. Its use fails as making it."""

    __slots__ = ()

    def __init__(self, name: str, fault: Invalid) -> None:
        super().__init__(name=name)
        self._undefined_exception = lambda _message: fault  # type: ignore[assignment]


class OwnList(list[Any]):
    """A list that the template made itself, which it may change: `{% set _ = found.append(1) %}`."""

    __slots__ = ()

    def __add__(self, other: Any) -> OwnList:
        return OwnList(list.__add__(self, other))

    def __radd__(self, other: Any) -> OwnList:
        return OwnList(list.__add__(other, self))


class OwnDict(dict[Any, Any]):
    """A mapping that the template made itself, which it may change."""

    __slots__ = ()


def own(value: Any) -> Any:
    """A constant as a value of the template's own, through all that is in it."""
    if isinstance(value, list):
        return OwnList(map(own, value))
    return OwnDict({key: own(below) for key, below in value.items()}) if isinstance(value, dict) else value


def joined(parts: Iterable[Any]) -> Any:
    """What a template gives: the value of the one expression that gives something, or the text of all."""
    whole = list(parts)
    if len(whole) == 1:
        return whole[0]
    found = [part for part in whole if part is not None]
    if len(found) <= 1 and whole:
        return found[0] if found else None
    return "".join([part if part.__class__ is str else text(part) for part in found])


def text(value: Any) -> str:
    """A value as text."""
    return str(check_number(value) if value.__class__ is int else finalize(value))


def finalize(value: Any) -> Any:
    """A value as it goes into text."""
    if type(value) is str:
        return value
    if value is None or value is OMIT or type(value) is Undefined:  # the last is of an `if` without `else`
        return ""
    return plain(value)


def plain(value: Any) -> Any:
    """A value as data: iterators and tuples as lists. Raises where something in it is undefined, or no data."""
    if type(value) in _SCALARS:
        return value
    if type(value) is int:
        return check_number(value)
    if isinstance(value, list):
        made = [item if type(item) in _SCALARS else plain(item) for item in value]
        return made if type(value) is OwnList or any(a is not b for a, b in zip(made, value, strict=True)) else value
    if isinstance(value, _LISTED):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        of = {key: item if type(item) in _SCALARS else plain(item) for key, item in value.items()}
        return of if type(value) is OwnDict or any(of[key] is not value[key] for key in value) else value
    check(value)
    return value


def check(value: Any) -> None:
    """Raises for a single thing that is undefined, a function, or something of Jinja's own."""
    if isinstance(value, Undefined):
        str(value)
        if not isinstance(value, StrictUndefined):  # Jinja's own, of an `if` without `else`
            raise ValueError("an `if` without `else` gives nothing here; say what else")
    elif callable(value) or isinstance(value, TemplateReference):
        raise ValueError("this is a function; call it, with (), for its value")


# Lists for whoever reads the value: those that are only made while somebody walks them, and views of mappings.
_LISTED = (tuple, Iterator, range, KeysView, ValuesView, ItemsView)
_SCALARS = frozenset({str, float, bool, type(None)})


def string(value: Any) -> str:
    """The filter `string`."""
    check(value)
    return soft_str(value)
