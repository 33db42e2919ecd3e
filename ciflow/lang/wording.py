"""Faults that a schema finds, in words for a person."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ciflow.dataclass import dataclass
from ciflow.diagnostics import Label
from ciflow.lang.near import did_you_mean, nearest


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong at a path of a document, in words."""

    path: tuple[Any, ...]
    code: str
    message: str
    label: Label = ""
    key: bool = False  # the key is at fault, not the value
    needs: tuple[str, ...] = ()  # any of these names would mend it


def without_echoes(faults: list[Fault]) -> list[Fault]:
    """Without the lack of a name that stands there misspelt: one mistake is said once, where it was made."""
    strange = [fault for fault in faults if fault.code in ("CF0102", "CF0109")]

    def misspelt(lack: Fault) -> bool:
        beside = [fault.path[-1] for fault in strange if fault.path[:-1] == lack.path]
        return any(nearest(name, lack.needs) for name in beside)

    return [fault for fault in faults if not fault.needs or not misspelt(fault)]


def either(names: tuple[str, ...]) -> str:
    return " or ".join(f"`{name}`" for name in names)


def unknown(path: tuple[Any, ...], fields: Mapping[str, Any], names: list[str], what_of: str, code: str) -> Fault:
    """A key that no field has. `names` are those of the top level, aliases among them."""
    known: Any = names
    if len(path) > 1:
        rules: Any = fields
        for step in path[:-1]:
            rules = rules.get("schema", {}) if isinstance(step, int) else rules.get(step, {}).get("schema", {})
        known = list(rules)
    what = "keyword" if code == "CF0102" else "argument"
    where = "of" if what == "argument" else "in"
    message = f"unknown {what} `{path[-1]}` {where} {whose(path, what_of)}"
    return Fault(path, code, message, did_you_mean(path[-1], known), key=True)


def not_allowed(path: tuple[Any, ...], value: Any, allowed: Any) -> Fault:
    """A value that is none of those allowed."""
    shown = str(value).lower() if isinstance(value, bool) else value
    known = [str(one) for one in allowed if not str(one).startswith("ansible.builtin.")]
    message = f"`{step(path)}` can't be `{shown}`; it is one of {', '.join(known)}"
    return Fault(path, "CF0104", message, did_you_mean(value, allowed))


def step(path: tuple[Any, ...]) -> str:
    """The nearest keyword of a path."""
    names = [step for step in path if isinstance(step, str)]
    return names[-1] if names else str(path[-1])


def whose(path: tuple[Any, ...], what: str) -> str:
    """The keyword that a path stands in; at the top level `what`, the whole."""
    return f"`{step(path[:-1])}`" if len(path) > 1 else what
