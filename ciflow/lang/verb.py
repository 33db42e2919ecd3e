"""Which module a task has, and its arguments: by a key, by `action:`, or of a system that ciflow does not know."""

from __future__ import annotations

from typing import Any

from ciflow.dataclass import dataclass
from ciflow.diagnostics import Findings, Span
from ciflow.lang.args import arguments, words
from ciflow.lang.early import early
from ciflow.lang.foreign import instead, is_foreign
from ciflow.lang.inherit import Inherited, extend
from ciflow.lang.modulenames import short
from ciflow.lang.near import nearest
from ciflow.lang.place import Place
from ciflow.lang.schema import module_schema, part_schema, verbs
from ciflow.lang.scope import Level
from ciflow.lang.sources import Sources, join

_FREE = frozenset({"action", "local_action"})
_OWN_MODULES = ("library", "action_plugins")


@dataclass(frozen=True, slots=True)
class Found:
    """A task's module, the key it was written as, and its arguments with their place and what is wrong with them."""

    module: str
    written: str
    place: Place | None
    args: dict[str, Any]
    faults: Findings


@dataclass(frozen=True, slots=True)
class Shape:
    """What the keys of a task are: those that name modules, and its `with_..`. Most tasks share one of a few shapes."""

    modules: tuple[str, ...]
    loops: tuple[str, ...]
    others: frozenset[str]  # whose meaning is not a keyword's: the module's and the loop's

    def without(self, written: str) -> frozenset[str]:
        return self.others if written in self.others else self.others | {written}


class VerbReader:
    """Finds the modules of tasks; what is wrong goes to the findings of `sources`."""

    def __init__(self, sources: Sources) -> None:
        self.sources = sources
        self.findings = sources.findings
        self._keywords = frozenset(part_schema("task").fields)
        self._verbs = verbs()
        self._shapes: dict[tuple[Any, ...], Shape] = {}

    def read(self, place: Place, above: Inherited) -> Found | None:
        """The module of a task; None where it has none that can be told, which is said."""
        before = len(self.findings.items)
        return self._module(place, above) or self._of_others(place, above, before)

    def foreign(self, place: Place) -> frozenset[str]:
        """Keys of a task without a known module: those that nothing is said about."""
        return frozenset(key for key in place.value if key not in self._keywords)

    def shape(self, place: Place) -> Shape:
        keys = tuple(place.value)
        found = self._shapes.get(keys)
        if found is None:
            modules = tuple(key for key in keys if self._is_module(key))
            loops = tuple(key for key in keys if isinstance(key, str) and key.startswith("with_"))
            found = self._shapes[keys] = Shape(modules, loops, frozenset((*modules, *loops)))
        return found

    def _module(self, place: Place, above: Inherited) -> Found | None:
        candidates = self.shape(place).modules
        if len(candidates) > 1:
            first, second = candidates[:2]
            self.findings.error("CF0108", f"a task has one module; this has `{first}` and `{second}`",
                                place.key_span(second), help="make two tasks of it")  # fmt: skip
            return None
        if not candidates:
            return self._from_action(place, above)
        written = candidates[0]
        module, below, faults = short(written), place.fields[written], Findings()
        args = {**self._extra_args(place, module, faults), **self._args(below, module, faults)}
        return Found(module, written, below, args, faults)

    def _is_module(self, key: Any) -> bool:
        return isinstance(key, str) and key not in self._keywords and short(key) in self._verbs

    def _args(self, place: Place, module: str, faults: Findings) -> dict[str, Any]:
        return arguments(place, module_schema(module), module, faults)

    def _extra_args(self, place: Place, module: str, faults: Findings) -> dict[str, Any]:
        below = place.fields.get("args")
        if below is None or below.value is None:
            return {}
        if isinstance(below.value, dict):
            return arguments(below, module_schema(module), module, faults)
        return {}

    def _from_action(self, place: Place, above: Inherited) -> Found | None:
        for key in _FREE & place.value.keys():
            below = place.fields[key]
            faults = Findings()
            if isinstance(below.value, list):
                return None  # which the schema tells
            own = extend(above, place, self.sources, level=Level.TASK_VARS) if "vars" in place.fields else above
            found = self._action(below, faults, own)
            if found is None or found[0] not in self._verbs:
                self._unknown(str(found[0]) if found else "", below.span, above)
                return None
            module, args = found
            return Found(module, key, below, {**self._extra_args(place, module, faults), **args}, faults)
        unknown = [key for key in place.value if key not in self._keywords and not str(key).startswith("with_")]
        for key in unknown:
            self._unknown(str(key), place.key_span(key), above)
        if not unknown:
            self.findings.error("CF0107", "this task has no module", place.span, label="what should it do?")
        return None

    def _action(self, place: Place, faults: Findings, own: Inherited) -> tuple[str, dict[str, Any]] | None:
        """`action: copy src=a dest=b` or `action: {module: copy, src: a}`, where `args` may hold arguments as well; the
        name may be that of a variable which is known before the run."""
        if isinstance(place.value, dict):
            name = early(place.value.get("module", ""), own, self.sources)
            module = short(str(getattr(name, "source", name)))
            if module not in self._verbs:
                return module, {}
            fields = {key: below for key, below in place.fields.items() if key != "module"}
            if isinstance(place.value.get("args"), dict):
                fields |= fields.pop("args").fields
            inner = Place(place.file, (0, 0, 0, 0), {key: below.value for key, below in fields.items()})
            inner.fields = fields
            return module, self._args(inner, module, faults)
        text = str(getattr(place.value, "source", place.value) or "")
        start, end = next(words(text), (0, 0))
        name = early(place.template(text[start:end], start), own, self.sources)
        module = short(str(getattr(name, "source", name)))
        if module not in self._verbs:
            return module, {}
        rest = text[end:].lstrip()
        inner = Place(place.file, (0, 0, 0, 0), place.template(rest, len(text) - len(rest)) if rest else None)
        return module, self._args(inner, module, faults)

    def _of_others(self, place: Place, above: Inherited, before: int) -> Found | None:
        """A task for another system, of a module that ciflow does not have, which a condition may keep from running: it
        fails where it is reached. One that runs in any case stays an error."""
        written = next((key for key in place.value if is_foreign(key) and key not in self._keywords), None)
        if written is None or not (above.when or "when" in place.fields):
            return None
        del self.findings.items[before:]
        text = f"ciflow has no module `{written}`"
        self.findings.warning("CF0106", text, place.key_span(written), label="fails where its condition holds")
        return Found("fail", str(written), None, {"msg": text}, Findings())

    def _of_the_project(self, name: str, above: Inherited) -> str:
        """The file of a module that the project brings for Ansible, if it does."""
        folders = (above.role_path, self.sources.folder or ".")
        files = [join(folder, f"{kind}/{name}.py") for folder in folders if folder for kind in _OWN_MODULES]
        return self.sources.first(files) or ""

    def _unknown(self, name: str, span: Span, above: Inherited) -> None:
        if "{{" in name:
            self.findings.error("CF0106", f"the name of a module must be known before the run: `{name}`", span)
            return
        other = instead(name)
        near = "" if other else nearest(short(name), sorted(self._verbs | self._keywords))
        own = self._of_the_project(name, above)
        label = f"did you mean `{near}`?" if near else ""
        if own:
            near, label = "", f"{own} is not loaded: ciflow runs its own modules only"
        what = "keyword" if near in self._keywords else "module"
        code = "CF0102" if what == "keyword" else "CF0106"
        self.findings.error(code, f"unknown {what} `{name}`" + (" in a task" if what == "keyword" else ""), span,
                            label=label, help="" if own else other)  # fmt: skip
