"""What a role says it takes (`argument_specs`), against what it is given: before the run, and when it is included."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ciflow.lang.kinds import fit
from ciflow.lang.known import Known
from ciflow.lang.names import templates_in
from ciflow.lang.scope import MISSING, Scope
from ciflow.lang.sources import RoleCall, Sources

_KINDS = {"str": "text", "int": "integer", "bool": "boolean", "list": "list", "dict": "dict", "path": "path",
          "float": "float"}  # fmt: skip


def options_of(call: RoleCall) -> Mapping[str, Mapping[str, Any]]:
    """The arguments of the entry point that is used, each with its rules."""
    options = (call.specs.get(call.entry) or {}).get("options") or {}
    return {name: rules or {} for name, rules in options.items()}


def check_role_arguments(known: Known, sources: Sources) -> None:
    """Faults of what can be seen before the run go to `sources.findings`."""
    for call in sources.role_calls:
        for name, rules in options_of(call).items():
            given = next((values for values in call.given if name in values), None)
            if given is not None:
                _check(name, rules, given, call.role, sources)
            elif rules.get("required") and name not in known:
                sources.findings.error("CF0404", f"the role {call.role} needs `{name}`", call.span,
                                       label=str(rules.get("description", ""))[:80])  # fmt: skip


def _check(name: str, rules: Mapping[str, Any], given: Mapping[str, Any], role: str, sources: Sources) -> None:
    value = given[name]
    span = getattr(given, "spans", {}).get(name)
    if any(templates_in(value)):
        return
    try:
        made = _made(rules, value)
    except ValueError as error:
        sources.findings.error("CF0404", f"`{name}` of the role {role}: {error}", span)
        return
    if rules.get("choices") and made not in rules["choices"]:
        allowed = ", ".join(map(str, rules["choices"]))
        sources.findings.error("CF0404", f"`{name}` of the role {role} is one of {allowed}", span)


def complaints(call: RoleCall, scope: Scope) -> list[str]:
    """What is wrong with the values that a role meets when it begins, in Ansible's words. Raises Need for lookups."""
    options = options_of(call)
    given = {name: scope.find(name) for name in options}
    missing = sorted(name for name, rules in options.items() if rules.get("required") and given[name] is MISSING)
    found = [f"missing required arguments: {', '.join(missing)}"] if missing else []
    for name, value in given.items():
        if value is not MISSING:
            found += _complaint(name, options[name], value)
    return found


def _complaint(name: str, rules: Mapping[str, Any], value: Any) -> list[str]:
    kind = str(rules.get("type", "str"))
    try:
        made = _made(rules, value)
    except ValueError as error:
        return [f"argument '{name}' is of type {type(value).__name__} and we were unable to convert to {kind}: {error}"]
    if rules.get("choices") and made not in rules["choices"]:
        return [f"value of {name} must be one of: {', '.join(map(str, rules['choices']))}, got: {value}"]
    return []


def _made(rules: Mapping[str, Any], value: Any) -> Any:
    return fit(_KINDS.get(str(rules.get("type", "str")), "any"), value, literal=False)
