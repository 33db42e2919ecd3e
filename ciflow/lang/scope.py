"""What a template can see: variables in layers, the winner first, rendered when they are asked for.

Trust, not taint: only a Template is ever rendered. A `str` in any layer, wherever it came from, is data for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from enum import IntEnum
from typing import Any, Final

from ciflow.diagnostics import Diagnostic, Invalid, Span
from ciflow.lang.vault import Vault
from ciflow.model import Operation, Reply, Template

MISSING: Any = type("Missing", (), {"__repr__": lambda _: "MISSING", "__bool__": lambda _: False})()


class _Omit:
    """The value of `omit`: an argument that is rendered to it is left out."""

    def __repr__(self) -> str:
        return "omit"


OMIT: Any = _Omit()


class Level(IntEnum):
    """Ansible's order of precedence, least first (its documentation, "Understanding variable precedence")."""

    KEYWORDS = 1
    ROLE_DEFAULTS = 2
    INVENTORY_GROUP = 3
    INVENTORY_GROUP_VARS_ALL = 4
    PLAYBOOK_GROUP_VARS_ALL = 5
    INVENTORY_GROUP_VARS = 6
    PLAYBOOK_GROUP_VARS = 7
    INVENTORY_HOST = 8
    INVENTORY_HOST_VARS = 9
    PLAYBOOK_HOST_VARS = 10
    FACTS = 11
    PLAY_VARS = 12
    VARS_PROMPT = 13
    VARS_FILES = 14
    ROLE_VARS = 15
    BLOCK_VARS = 16
    TASK_VARS = 17
    INCLUDE_VARS = 18
    SET_FACTS = 19
    ROLE_PARAMS = 20
    INCLUDE_PARAMS = 21
    EXTRA_VARS = 22
    LOOP = 23
    MAGIC = 24


class Vars(dict[str, Any]):
    """Variables as one file wrote them. `spans` places each name; `label` says whose they are ("group web"). `locked`
    says why an encrypted file of them could not be opened."""

    __slots__ = ("label", "level", "locked", "spans")

    def __init__(
        self,
        values: Mapping[str, Any],
        spans: Mapping[str, Span] | None = None,
        label: str = "",
        level: Level | None = None,
        locked: tuple[Diagnostic, ...] = (),
    ) -> None:
        super().__init__(values)
        self.locked = locked
        self.spans = dict(spans or {})
        self.label = label
        self.level = level


class Layer:
    """Variables of one level. `data` promises that nothing below is a Template, so nothing needs rendering; the values
    of a `lazy` one are functions of no argument (magic variables that cost something).

    Each task on each host makes a dozen of them, and each name is looked for in most: a frozen dataclass takes eight
    times as long to make, and a tuple with names a third longer for either.
    """

    __slots__ = ("data", "lazy", "level", "values")

    def __init__(self, level: Level, values: Mapping[str, Any], data: bool = False, lazy: bool = False) -> None:
        self.level: Final = level
        self.values: Final = values
        self.data: Final = data
        self.lazy: Final = lazy

    def span_of(self, name: str) -> Span | None:
        spans = getattr(self.values, "spans", None)
        if spans and name in spans:
            found: Span = spans[name]
            return found
        value = self.values.get(name)
        return value.span if isinstance(value, Template) else None


class Need(Exception):
    """A lookup needs I/O: the engine performs `operation` on the controller, puts the reply into `answers` under
    `key`, and renders again."""

    def __init__(self, operation: Operation) -> None:
        super().__init__(key_of(operation))
        self.operation = operation
        self.key = key_of(operation)


class NeedFacts(Exception):
    """A name of the host's facts was asked for and they have not been read yet."""


class SomeFacts(dict[str, Any]):
    """`ansible_facts` while only some have been read: the first use of another, or of the whole, raises NeedFacts."""

    __slots__ = ()

    def _all(self, *_: object) -> Any:
        raise NeedFacts("ansible_facts")

    def __missing__(self, name: str) -> Any:
        raise NeedFacts(f"ansible_{name}")

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or self.__missing__(str(name))

    def get(self, name: str, default: Any = None) -> Any:  # noqa: ARG002
        return self[name]

    __iter__ = __len__ = __eq__ = __ne__ = __or__ = __ror__ = __repr__ = _all
    keys = values = items = copy = _all
    __hash__ = None


def key_of(operation: Operation) -> str:
    """The text under which an operation's reply stands in `answers`: equal operations have equal keys."""
    return repr(operation)


Renderer = Callable[[Any, "Scope"], Any]


class Scope:
    """Variables of one task on one host. Lookups go through the layers, winner first; each result is kept.

    `answers` holds replies to operations that lookups asked for. `facts_known` false makes the first use of a fact
    raise NeedFacts instead of calling it undefined. `vault` opens encrypted files that lookups read.
    """

    __slots__ = ("_active", "_cache", "_vault", "answers", "facts_known", "layers", "render")

    def __init__(
        self,
        layers: tuple[Layer, ...],
        render: Renderer,
        answers: Mapping[str, Reply] | None = None,
        *,
        facts_known: bool = True,
        vault: Vault | None = None,
    ) -> None:
        self.layers = layers
        self._vault = vault
        self.answers: Mapping[str, Reply] = {} if answers is None else answers
        self.facts_known = facts_known
        self.render = render
        self._cache: dict[str, Any] = {}
        self._active: tuple[tuple[str, Span | None], ...] = ()

    @property
    def vault(self) -> Vault:
        if self._vault is None:
            self._vault = Vault()
        return self._vault

    def child(
        self, values: Mapping[str, Any], level: Level = Level.LOOP, *, data: bool = True, lazy: bool = False
    ) -> Scope:
        """A scope with `values` on top (a loop's item, a template's own variables)."""
        layers = (Layer(level, values, data, lazy), *self.layers)
        return Scope(layers, self.render, self.answers, facts_known=self.facts_known, vault=self._vault)

    def amid(self, values: Mapping[str, Any], level: Level) -> Scope:
        """A scope with `values` at their place in the order of precedence, over those of the same level."""
        at = next((n for n, layer in enumerate(self.layers) if layer.level <= level), len(self.layers))
        layers = (*self.layers[:at], Layer(level, values), *self.layers[at:])
        return Scope(layers, self.render, self.answers, facts_known=self.facts_known, vault=self._vault)

    def answer(self, operation: Operation) -> Reply:
        """The reply to a lookup's operation; raises Need until the engine has it."""
        reply = self.answers.get(key_of(operation))
        if reply is None:
            raise Need(operation)
        return reply

    def find(self, name: str) -> Any:
        """The rendered value of `name`, or MISSING."""
        if name in self._cache:
            return self._cache[name]
        for layer in self.layers:
            if name in layer.values:
                value = layer.values[name]
                if layer.lazy or not (layer.data or value.__class__ in _PLAIN):
                    value = self._made(name, layer)
                if value is OMIT and layer.level is Level.KEYWORDS:
                    continue  # `remote_user: "{{ omit }}"`: what surrounds it says
                self._cache[name] = value
                return value
        if not self.facts_known and (name.startswith("ansible_") or name == "ansible_facts"):
            raise NeedFacts(name)
        return MISSING

    def _made(self, name: str, layer: Layer) -> Any:
        """The value of a variable that has to be computed or rendered.

        One that reads an undefined variable is undefined itself. A list or mapping with something undefined in it is
        not: the rest of it is as defined as ever, and `default` must not hide it.
        """
        value = layer.values[name]
        if self._active and any(name == active for active, _ in self._active):
            raise self._cycle(name, layer)
        around = self._active
        self._active = (*around, (name, layer.span_of(name)))
        try:
            return value() if layer.lazy else self.render(value, self)
        except Invalid as fault:
            fault.undefined = fault.undefined and isinstance(value, Template)
            raise
        finally:
            self._active = around

    def _cycle(self, name: str, layer: Layer) -> Invalid:
        chain = tuple((f"`{active}` is set here", span) for active, span in self._active)
        message = f"`{name}` contains itself: " + " -> ".join([*(active for active, _ in self._active), name])
        return Invalid([Diagnostic("error", "CF0204", message, layer.span_of(name), related=chain)])

    def __contains__(self, name: str) -> bool:
        for layer in self.layers:  # noqa: SIM110 - thirty names of each task: a generator takes three times as long
            if name in layer.values:
                return True
        return False

    def get(self, name: str, default: Any = None) -> Any:
        value = self.find(name)
        return default if value is MISSING else value

    def names(self) -> frozenset[str]:
        return frozenset(name for layer in self.layers for name in layer.values if isinstance(name, str))

    def nearest(self, name: str) -> list[str]:
        """Known names that look like `name`, best first."""
        return get_close_matches(name, sorted(self.names()), n=2, cutoff=0.7)

    def written(self, name: str) -> Any:
        """The winning value of `name`, not rendered; None where it is computed, or there is none."""
        for layer in self.layers:
            if name in layer.values:
                return None if layer.lazy else layer.values[name]
        return None

    def where(self, name: str) -> Span | None:
        """Where the winning value of `name` was written."""
        return next((layer.span_of(name) for layer in self.layers if name in layer.values), None)

    def why(self, name: str) -> Iterator[tuple[Level, Any, Span | None, str]]:
        """Every level that sets `name`, winner first: level, unrendered value, place, and whose it is."""
        for layer in self.layers:
            if name in layer.values:
                value = "(computed)" if layer.lazy else layer.values[name]
                yield layer.level, value, layer.span_of(name), getattr(layer.values, "label", "")


_PLAIN = frozenset({str, int, float, bool, type(None)})  # what no template is in
_WHOLE = frozenset({"vars", "hostvars"})


class View(Mapping[str, Any]):
    """A scope as a read-only mapping (`vars`, and one host of `hostvars`), made when something of it is asked for: who
    asks for one host of thousands pays for no other."""

    __slots__ = ("_made", "_make")

    def __init__(self, make: Callable[[], Scope]) -> None:
        self._make = make
        self._made: Scope | None = None

    @property
    def _scope(self) -> Scope:
        if self._made is None:
            self._made = self._make()
        return self._made

    def __getitem__(self, name: str) -> Any:
        value = self._scope.find(name)
        if value is MISSING:
            raise KeyError(name)
        return value

    def __iter__(self) -> Iterator[str]:
        """All names but those that lead back to the whole: one could never reach the end of them."""
        return iter(sorted(self._names()))

    def __len__(self) -> int:
        return len(self._names())

    def _names(self) -> frozenset[str]:
        """Who shows everything reads no facts for that."""
        return self._scope.names() - _WHOLE - (frozenset() if self._scope.facts_known else {"ansible_facts"})


def opened(value: Any) -> Any:
    """`vars` and `hostvars` as what they hold now, where a task is given them whole; all else as it is."""
    if isinstance(value, View):
        return {name: opened(below) for name, below in value.items()}
    if isinstance(value, dict) and any(isinstance(below, View) for below in value.values()):
        return {name: opened(below) for name, below in value.items()}
    return value
