"""Our dataclass means what the standard library's means."""

import copy
import dataclasses
import inspect
import pickle
from dataclasses import asdict, field, fields, replace
from typing import Any, ClassVar

import pytest

from ciflow.dataclass import dataclass


def declare(make: Any) -> list[type]:
    """The same classes by one decorator or the other."""

    @make(frozen=True, slots=True)
    class Point:
        """Somewhere."""

        kind: ClassVar[str] = "point"
        x: int
        y: int = 2
        tags: tuple[str, ...] = ()
        seen: dict[str, int] = field(default_factory=dict, compare=False, repr=False)

        @property
        def both(self) -> int:
            return self.x + self.y

    @make(frozen=True, slots=True, kw_only=True)
    class Host:
        name: str
        port: int = 22
        own: list[int] = field(default_factory=list, compare=False)

    @make(slots=True)
    class Count:
        number: int = 0
        total: int = field(default=7, init=False)

        def __post_init__(self) -> None:
            self.number += 1

    @make(frozen=True, order=True)
    class Version:
        major: int
        minor: int = 0

    @make(frozen=True, slots=True)
    class Further(Point):
        z: int = 3

    @make(eq=False, slots=True)
    class Thing:
        name: str = ""

    @make(frozen=True)
    class Odd:
        name: str

        def __eq__(self, other: object) -> bool:
            return True

        def __hash__(self) -> int:
            return 7

        def __repr__(self) -> str:
            return "odd"

    return [Point, Host, Count, Version, Further, Thing, Odd]


PAIRS = {
    ours.__name__: (ours, theirs)
    for ours, theirs in zip(declare(dataclass), declare(dataclasses.dataclass), strict=True)
}
MADE: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("Point", (1,), {}),
    ("Point", (1, 5), {"tags": ("a",), "seen": {"b": 1}}),
    ("Host", (), {"name": "web"}),
    ("Host", (), {"name": "web", "port": 2, "own": [3]}),
    ("Count", (), {}),
    ("Count", (4,), {}),
    ("Version", (1,), {"minor": 3}),
    ("Further", (1,), {"z": 9}),
    ("Thing", ("a",), {}),
    ("Odd", ("a",), {}),
]


def said(call: Any) -> Any:
    """What came of a call: its value, or the kind of its error."""
    try:
        return call()
    except Exception as e:
        return type(e).__name__


def seen(cls: Any, positional: tuple[Any, ...], named: dict[str, Any]) -> dict[str, Any]:
    """All that can be asked of a value."""
    value = cls(*positional, **named)
    same = cls(*positional, **named)
    first = fields(cls)[0].name
    return {
        "repr": repr(value).replace("declare.<locals>.", ""),
        "equal": (value == same, value != same, value == 3),
        "hash": said(lambda: hash(value) == hash(same)),
        "as dict": asdict(value),
        "fields": [(f.name, f.default, f.init, f.compare, f.repr, f.kw_only) for f in fields(value)],
        "replaced": asdict(replace(value, **{first: 8})),
        "assigned": said(lambda: setattr(value, first, 9)),
        "deleted": said(lambda: delattr(copy.copy(value), first)),
        "other refused": said(lambda: setattr(value, "nothing_of_the_kind", 9)) is not None,
        "less": said(lambda: (value < same, value <= same, value > same, value >= same)),
        "copies": (asdict(copy.copy(value)), asdict(copy.deepcopy(value))),
        "signature": str(inspect.signature(cls)).replace("<factory>", "NOTHING"),
        "match": cls.__match_args__,
        "slots": getattr(cls, "__slots__", None),
        "no arguments": said(lambda: asdict(cls())),
        "too many": said(lambda: cls(1, 2, 3, 4, 5, 6)),
        "unknown": said(lambda: cls(nothing_of_the_kind=1)),
        "doc": cls.__doc__ if "(" not in (cls.__doc__ or "") else None,
        "both": getattr(value, "both", None),
        "kind": getattr(value, "kind", None),
    }


@pytest.mark.parametrize(("name", "positional", "named"), MADE)
def test_a_class_means_what_the_standard_one_means(
    name: str, positional: tuple[Any, ...], named: dict[str, Any]
) -> None:
    ours, theirs = PAIRS[name]
    mine, right = seen(ours, positional, named), seen(theirs, positional, named)
    mine["signature"] = right["signature"] = None if name in ("Point", "Host") else right["signature"]
    assert mine == right


@pytest.mark.parametrize(("name", "positional", "named"), MADE)
def test_the_first_values_of_a_class_are_as_all_after_them(
    name: str, positional: tuple[Any, ...], named: dict[str, Any]
) -> None:
    cls = {made.__name__: made for made in declare(dataclass)}[name]
    assert len({repr(asdict(cls(*positional, **named))) for _ in range(20)}) == 1


@pytest.mark.parametrize("wrong", [((), {}), ((1, 2, 3, 4, 5), {}), ((1,), {"x": 2}), ((1,), {"nothing": 2})])
def test_wrong_arguments_of_a_first_value_are_refused_in_pythons_words(
    wrong: tuple[tuple[Any, ...], dict[str, Any]],
) -> None:
    ours = next(made for made in declare(dataclass) if made.__name__ == "Point")
    _, theirs = PAIRS["Point"]
    said = []
    for cls in (ours, theirs):
        with pytest.raises(TypeError) as refused:
            cls(*wrong[0], **wrong[1])
        said.append(str(refused.value).replace("declare.<locals>.", "").replace("dataclass_", ""))
    assert said[0] == said[1]


def test_each_value_has_its_own_factory_made_field() -> None:
    point, _ = PAIRS["Point"]
    assert point(1).seen is not point(1).seen


def test_positional_parameters_and_defaults_are_seen_from_outside() -> None:
    point, _ = PAIRS["Point"]
    parameters = inspect.signature(point).parameters
    assert list(parameters) == ["x", "y", "tags", "seen"]
    assert (parameters["x"].default, parameters["y"].default) == (inspect.Parameter.empty, 2)


@dataclass(frozen=True, slots=True)
class Kept:
    name: str
    rest: tuple[int, ...] = ()


def test_a_value_can_be_pickled() -> None:
    assert pickle.loads(pickle.dumps(Kept("a", (1,)))) == Kept("a", (1,))


def test_a_field_without_a_default_after_one_with_is_refused() -> None:
    with pytest.raises(TypeError, match="late"):

        @dataclass(frozen=True)
        class Wrong:
            early: int = 1
            late: int


def test_a_default_that_all_values_would_share_is_refused() -> None:
    with pytest.raises(ValueError, match="default_factory"):

        @dataclass(frozen=True)
        class Wrong:
            shared: list[int] = []  # noqa: RUF012
