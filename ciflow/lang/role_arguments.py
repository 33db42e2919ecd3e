"""What a role says it takes (`argument_specs`), against what it is given: before the run, and when it begins."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ciflow.dataclass import dataclass
from ciflow.diagnostics import Span
from ciflow.lang.kinds import fit
from ciflow.lang.names import templates_in
from ciflow.lang.sources import RoleCall, Sources
from ciflow.model import Template

if TYPE_CHECKING:
    from ciflow.lang.known import Known

_KINDS = {"str": "text", "int": "integer", "bool": "boolean", "list": "list", "dict": "dict", "path": "path",
          "float": "float"}  # fmt: skip
Options = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Complaint:
    """What is wrong with an argument: in our words and in Ansible's, which a result has. `within` names the mappings
    that it stands in, outermost first."""

    name: str
    text: str
    said: str
    within: tuple[str, ...] = ()

    @property
    def path(self) -> str:
        return ".".join((*self.within, self.name))


def _options(rules: Mapping[str, Any]) -> Options:
    return {name: below or {} for name, below in (rules.get("options") or {}).items()}


def check_role_arguments(known: Known, sources: Sources) -> None:
    """Faults of what can be seen before the run go to `sources.findings`."""
    for call in sources.role_calls:
        for name, rules in _options(call.specs.get(call.entry) or {}).items():
            given = next((values for values in call.given if name in values), None)
            if given is not None:
                span = getattr(given, "spans", {}).get(name)
                for one in _of_value(name, rules, given[name], ()):
                    sources.findings.error("CF0404", f"`{one.path}` of the role {call.role}{one.text}", span)
            elif rules.get("required") and name not in known:
                sources.findings.error("CF0404", f"the role {call.role} needs `{name}`", call.span,
                                       label=str(rules.get("description", ""))[:80])  # fmt: skip


def complaints(options: Mapping[str, Any], given: Mapping[str, Any]) -> list[str]:
    """What is wrong with the values that a role meets when it begins, in Ansible's words."""
    rules = {name: below or {} for name, below in options.items()}
    return [one.said for one in _of_mapping(rules, {name: given[name] for name in rules if name in given}, ())]


def checking(call: RoleCall) -> Mapping[str, Any] | None:
    """The task that Ansible puts before those of a role, as its file would have it: it checks what the role is given,
    with the values of then. None where the role says nothing of this entry point."""
    said = call.specs.get(call.entry) or {}
    options = _options(said)
    if not options:
        return None
    short = f" - {said['short_description']}" if said.get("short_description") else ""
    span = call.span or Span("")
    context = {"type": "role", "name": call.role, "argument_spec_name": call.entry, "path": call.path,
               "used_at": str(span)}  # fmt: skip
    args = {"argument_spec": _as_text(options), "validate_args_context": context}
    name = f"Validating arguments against arg spec '{call.entry}'{short}"
    return {"name": name, "tags": ["always"], "validate_argument_spec": args}


def _as_text(value: Any) -> Any:
    """A template in a description is read by nobody."""
    if isinstance(value, Template):
        return value.source
    if isinstance(value, Mapping):
        return {str(key): _as_text(below) for key, below in value.items()}
    return [_as_text(below) for below in value] if isinstance(value, list) else value


def _of_mapping(options: Options, given: Mapping[str, Any], within: tuple[str, ...]) -> Iterator[Complaint]:
    missing = sorted(name for name, rules in options.items() if rules.get("required") and name not in given)
    if missing and not any(isinstance(key, Template) for key in given):
        said = f"missing required arguments: {', '.join(missing)}{_found_in(within)}"
        yield Complaint(missing[0], " is missing", said, within)
    for name, value in given.items():
        if name in options:
            yield from _of_value(name, options[name], value, within)
        elif within and not isinstance(name, Template):
            said = f"{'.'.join((*within, name))}. Supported parameters include: {', '.join(sorted(options))}."
            yield Complaint(str(name), f" is none of {', '.join(sorted(options))}", said, within)


def _of_value(name: str, rules: Mapping[str, Any], value: Any, within: tuple[str, ...]) -> Iterator[Complaint]:
    """Of what a template will make, nothing is known yet; of what stands around it, it is."""
    kind, where = str(rules.get("type", "str")), f" found in '{' -> '.join(within)}'." if within else ""
    if isinstance(value, Template) or (kind not in ("list", "dict") and any(templates_in(value))):
        return
    try:
        made = _made(kind, value)
    except ValueError as error:
        said = f"argument '{name}' is of type {type(value).__name__}{where} and we were unable to convert to {kind}: "
        yield Complaint(name, f": {error}", f"{said}{error}", within)
        return
    if kind == "list":
        yield from _of_items(name, rules, made, within)
    elif rules.get("choices") and made not in rules["choices"]:
        allowed = ", ".join(map(str, rules["choices"]))
        said = f"value of {name} must be one of: {allowed}, got: {value}{_found_in(within)}"
        yield Complaint(name, f" is one of {allowed}", said, within)
    if kind == "dict" and rules.get("options"):
        yield from _of_mapping(_options(rules), made, (*within, name))


def _of_items(name: str, rules: Mapping[str, Any], items: list[Any], within: tuple[str, ...]) -> Iterator[Complaint]:
    kind, where = str(rules.get("elements", "raw")), f" found in '{' -> '.join(within)}'." if within else ""
    for item in items:
        if isinstance(item, Template):
            continue
        try:
            made = _made(kind, item)
        except ValueError as error:
            said = f"Elements value for option '{name}'{where} is of type {type(item).__name__} and we were unable to"
            yield Complaint(name, f": {error}", f"{said} convert to {kind}: {error}", within)
            continue
        if kind == "dict" and rules.get("options"):
            yield from _of_mapping(_options(rules), made, (*within, name))
    choices = rules.get("choices") or ()
    odd = [one for one in items if choices and not isinstance(one, Template) and one not in choices]
    if odd:
        allowed, got = ", ".join(map(str, choices)), ", ".join(map(str, odd))
        said = f"value of {name} must be one or more of: {allowed}. Got no match for: {got}{_found_in(within)}"
        yield Complaint(name, f" has only some of {allowed}; {odd[0]} is none", said, within)


def _found_in(within: tuple[str, ...]) -> str:
    return f" found in {' -> '.join(within)}" if within else ""


def _made(kind: str, value: Any) -> Any:
    return fit(_KINDS.get(kind, "any"), value, literal=False)
