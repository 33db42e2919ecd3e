"""dataclasses.dataclass with the same meaning, whose methods are compiled when they are first called.

The standard one compiles six functions for each class as its module is imported: 0.6 ms, for over a hundred classes
on the way to a run's first task, most of whose methods a run never calls, and most of the others a few times.
`fields`, `replace` and `asdict` of `dataclasses` work on these classes; options that ciflow doesn't use are refused.
"""

from __future__ import annotations

import dataclasses
import inspect
import types
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from dataclasses import dataclass, field

__all__ = ["dataclass", "field"]

_NOTHING = dataclasses.MISSING
FEW = 8  # calls of an `__init__` that cost less than compiling it


class _Late:
    """A method that is made, and put in its own place, when it is first looked up."""

    __slots__ = ("make", "name", "owner")

    def __init__(self, owner: type, name: str, make: Callable[[type], Any]) -> None:
        self.owner, self.name, self.make = owner, name, make

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        method = self.make(self.owner)
        method.__qualname__ = f"{self.owner.__qualname__}.{self.name}"
        setattr(self.owner, self.name, method)
        return method if instance is None else method.__get__(instance, owner)


class _Init(_Late):
    """An `__init__` that does without being compiled until it has been called a few times: most are called no more."""

    __slots__ = ("calls",)

    def __init__(self, owner: type, name: str, make: Callable[[type], Any]) -> None:
        super().__init__(owner, name, make)
        self.calls = 0

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        if instance is None or self.calls >= FEW:
            return super().__get__(instance, owner)
        return types.MethodType(self._fill, instance)

    def _fill(self, instance: Any, *places: Any, **named: Any) -> None:
        """What the compiled one does, which is asked where the arguments don't fit: its errors are the right ones."""
        self.calls += 1
        values = self._values(places, named)
        if values is None:
            super().__get__(instance, self.owner)(*places, **named)
            return
        put = object.__setattr__ if self.owner.__dataclass_params__.frozen else setattr  # type: ignore[attr-defined]
        for name, value in values.items():
            put(instance, name, value)
        if hasattr(self.owner, "__post_init__"):
            instance.__post_init__()

    def _values(self, places: tuple[Any, ...], named: dict[str, Any]) -> dict[str, Any] | None:
        """The fields' values in their order; None when the arguments don't fit."""
        every: dict[str, dataclasses.Field[Any]] = self.owner.__dataclass_fields__  # type: ignore[attr-defined]
        given = dict(zip((f.name for f in every.values() if f.init and not f.kw_only), places, strict=False))
        if len(given) < len(places) or given.keys() & named.keys():
            return None
        given |= named
        values = {}
        for name, one in every.items():
            if one.init and name in given:
                values[name] = given.pop(name)
            elif one.default_factory is not _NOTHING:
                values[name] = one.default_factory()
            elif one.default is not _NOTHING:
                values[name] = one.default
            elif one.init:
                return None
        return None if given else values


def _own_fields(cls: type) -> dict[str, dataclasses.Field[Any]]:
    """What the class body announces, in its order, each with its default or factory."""
    found = {}
    for name, annotation in inspect.get_annotations(cls).items():
        if str(annotation).startswith(("ClassVar", "typing.ClassVar")):
            continue
        if str(annotation).startswith(("InitVar", "dataclasses.InitVar")):
            raise TypeError(f"{cls.__name__}.{name}: InitVar is not supported")
        given = cls.__dict__.get(name, _NOTHING)
        one = given if isinstance(given, dataclasses.Field) else dataclasses.field(default=given)
        if one.default.__class__.__hash__ is None:
            raise ValueError(f"mutable default {type(one.default)} for field {name}: use default_factory")
        one.name, one.type = name, annotation
        one._field_type = dataclasses._FIELD  # type: ignore[union-attr, attr-defined]
        found[name] = one
    return found


def _compiled(cls: type, name: str, arguments: Iterable[str], body: Iterable[str], known: dict[str, Any]) -> Any:
    lines = [f"def {name}({', '.join(arguments)}):", *(f"    {line}" for line in body)]
    names: dict[str, Any] = {}
    exec("\n".join(lines), {**known, "__name__": cls.__module__}, names)
    return names[name]


def _make_init(cls: Any) -> Any:
    known: dict[str, Any] = {"put": object.__setattr__, "NOTHING": _NOTHING}
    places, named, body = ["self"], list[str](), list[str]()
    for number, one in enumerate(cls.__dataclass_fields__.values()):
        value, default = one.name, ""
        if one.default_factory is not _NOTHING:
            known[f"make{number}"], default = one.default_factory, "=NOTHING"
            value = f"make{number}() if {one.name} is NOTHING else {one.name}" if one.init else f"make{number}()"
        elif one.default is not _NOTHING:
            known[f"default{number}"], default = one.default, f"=default{number}"
            value = one.name if one.init else f"default{number}"
        if one.init:
            (named if one.kw_only else places).append(one.name + default)
        elif not default:
            continue
        body.append(_assignment(cls, one.name, value, known))
    if hasattr(cls, "__post_init__"):
        body.append("self.__post_init__()")
    method = _compiled(cls, "__init__", places + (["*", *named] if named else []), body or ["pass"], known)
    method.__annotations__ = {f.name: f.type for f in cls.__dataclass_fields__.values() if f.init} | {"return": None}
    return method


def _assignment(cls: Any, name: str, value: str, known: dict[str, Any]) -> str:
    """A line that sets a field; of a frozen class past its own refusal, by the slot itself where it has one (a third
    quicker)."""
    if not cls.__dataclass_params__.frozen:
        return f"self.{name} = {value}"
    slot = inspect.getattr_static(cls, name, None)
    if not isinstance(slot, types.MemberDescriptorType):
        return f"put(self, {name!r}, {value})"
    known[f"put_{name}"] = slot.__set__
    return f"put_{name}(self, {value})"


def _compared(cls: Any, of: str) -> str:
    names = [f.name for f in cls.__dataclass_fields__.values() if f.compare]
    return "(" + "".join(f"{of}.{name}, " for name in names) + ")"


def _make_eq(cls: Any) -> Any:
    body = ["if other.__class__ is not self.__class__: return NotImplemented"]
    body.append(f"return {_compared(cls, 'self')} == {_compared(cls, 'other')}")
    return _compiled(cls, "__eq__", ("self", "other"), body, {})


def _make_hash(cls: Any) -> Any:
    return _compiled(cls, "__hash__", ("self",), [f"return hash({_compared(cls, 'self')})"], {})


def _make_repr(cls: Any) -> Any:
    parts = ", ".join(f"{f.name}={{self.{f.name}!r}}" for f in cls.__dataclass_fields__.values() if f.repr)
    return _compiled(cls, "__repr__", ("self",), [f'return f"{{self.__class__.__qualname__}}({parts})"'], {})


def _order(sign: str) -> Callable[[type], Any]:
    def make(cls: type) -> Any:
        body = ["if other.__class__ is not self.__class__: return NotImplemented"]
        body.append(f"return {_compared(cls, 'self')} {sign} {_compared(cls, 'other')}")
        return _compiled(cls, "compare", ("self", "other"), body, {})

    return make


_ORDER = {"__lt__": "<", "__le__": "<=", "__gt__": ">", "__ge__": ">="}


def _refuse_assignment(self: object, name: str, *_value: object) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r} of {type(self).__qualname__}")


def _get_state(self: Any) -> list[Any]:
    return [getattr(self, name) for name in self.__dataclass_fields__]


def _set_state(self: Any, state: list[Any]) -> None:
    for name, value in zip(self.__dataclass_fields__, state, strict=True):
        object.__setattr__(self, name, value)


def _with_slots(cls: type, own: Mapping[str, Any]) -> type:
    """The class again, with slots: they can't be added to one that is there."""
    inherited = {name for base in cls.__mro__[1:] for name in base.__dict__.get("__slots__", ())}
    body = {k: v for k, v in cls.__dict__.items() if k not in own and k not in ("__dict__", "__weakref__")}
    body["__slots__"] = tuple(name for name in own if name not in inherited)
    body.setdefault("__getstate__", _get_state)
    body.setdefault("__setstate__", _set_state)
    made = type(cls)(cls.__name__, cls.__bases__, body)
    made.__qualname__ = cls.__qualname__
    return made


if not TYPE_CHECKING:
    field = dataclasses.field

    def dataclass(cls=None, *, frozen=False, slots=False, kw_only=False, eq=True, order=False):
        """As dataclasses.dataclass. TypeError: a field without a default after one with, or an unknown option."""
        if cls is None:
            return lambda given: dataclass(given, frozen=frozen, slots=slots, kw_only=kw_only, eq=eq, order=order)
        own = _own_fields(cls)
        for one in own.values():
            if one.kw_only is _NOTHING:
                one.kw_only = kw_only
        inherited = [getattr(base, "__dataclass_fields__", {}) for base in reversed(cls.__mro__[1:])]
        every = {name: one for fields in [*inherited, own] for name, one in fields.items()}
        _check_order(cls, every)
        written = set(cls.__dict__)
        for name, one in own.items():
            if one.default is not _NOTHING:
                setattr(cls, name, one.default)
            elif name in written:
                delattr(cls, name)
        if slots:
            cls = _with_slots(cls, own)
        cls.__dataclass_fields__ = every
        cls.__dataclass_params__ = types.SimpleNamespace(init=True, repr=True, eq=eq, order=order, frozen=frozen)
        cls.__match_args__ = tuple(f.name for f in every.values() if f.init and not f.kw_only)
        _add_methods(cls, written, frozen, eq, order)
        return cls


def _check_order(cls: type, every: Mapping[str, Any]) -> None:
    seen = ""
    for one in every.values():
        if one.init and not one.kw_only:
            if one.default is not _NOTHING or one.default_factory is not _NOTHING:
                seen = one.name
            elif seen:
                raise TypeError(f"{cls.__name__}: {one.name} has no default, and follows {seen}, which has one")


def _add_methods(cls: Any, written: set[str], frozen: bool, eq: bool, order: bool) -> None:
    late: dict[str, Callable[[type], Any]] = {"__repr__": _make_repr}
    if "__init__" not in written:
        cls.__init__ = _Init(cls, "__init__", _make_init)
    if eq:
        late["__eq__"] = _make_eq
        if frozen:
            late["__hash__"] = _make_hash
        elif "__hash__" not in written:
            cls.__hash__ = None
    if order:
        late |= {name: _order(sign) for name, sign in _ORDER.items()}
    for name, make in late.items():
        if name not in written or (name == "__hash__" and cls.__dict__[name] is None):
            setattr(cls, name, _Late(cls, name, make))
    if frozen:
        cls.__setattr__ = cls.__delattr__ = _refuse_assignment
