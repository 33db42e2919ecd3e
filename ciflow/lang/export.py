"""JSON Schema (draft 2020-12) of what a playbook may say, made from the schemas that check it, for editors.

A value that may hold a template is its type, or text that holds one. Four things can't be said in JSON Schema and are
accepted: text that holds a number outside of a field's bounds, `0.0` where only some numbers are allowed and `0` is one
(JSON holds them equal), text that begins like JSON and is none, and text of `key=value` pairs whose quotes don't match.
A file mode must be quoted here, for JSON has no octal numbers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ciflow.diagnostics import CiflowError
from ciflow.lang.filters import FALSE_WORDS, TRUE_WORDS
from ciflow.lang.notifications import KINDS
from ciflow.lang.rules import has_parts
from ciflow.lang.schema import EXPRESSIONS, Schema, module_schema, part_schema, verbs

DIALECT = "https://json-schema.org/draft/2020-12/schema"
PARTS = ("block", "canary", "canary_step", "gate_errors", "gate_latency", "gate_query", "gate_slo", "inventory",
         *(f"notification_{kind}" for kind in KINDS), "play", "playbook", "policy", "provider", "rates", "role_meta",
         "signer", "task")  # fmt: skip
Json = dict[str, Any]

_TEMPLATE: Json = {"type": "string", "pattern": r"\{\{|\{%|\{#"}
_NULL: Json = {"type": "null"}
_NUMBER = r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?"
_KNOWN_RULES = frozenset({"type", "meta", "default", "required", "nullable", "allowed", "schema", "valuesrules", "min",
                          "max", "regex", "empty"})  # fmt: skip


def _pattern(inside: str) -> Json:
    return {"type": "string", "pattern": rf"^\s*({inside})\s*$"}


def _any_case(words: Iterable[str]) -> str:
    return "|".join("".join(f"[{one}{one.upper()}]" if one.isalpha() else one for one in word) for word in words)


_PERCENT = [
    {"type": "number", "minimum": 0, "maximum": 100},
    _pattern(r"0*(100(\.0+)?|\d{1,2}(\.\d+)?)\s*%?"),
]
# What `kinds.fit` takes for each kind, booleans set aside: they are never text in a file.
_KINDS: Mapping[str, list[Json]] = {
    "boolean": [{"type": "boolean"}, {"enum": [0, 1]},
                _pattern(rf"({_any_case(sorted(TRUE_WORDS | FALSE_WORDS))})(\.0)?")],
    "batches": [{"type": "array",
                 "items": {"anyOf": [{"type": "integer"}, *_PERCENT, _pattern(r"[-+]?\d+"), _TEMPLATE]}}],
    "condition": [{"type": ["boolean", "string"]}, {"type": "array", "items": {"type": ["boolean", "string"]}}],
    "dict": [{"type": "object"}, {"type": "string", "pattern": r"^\s*\{|="}],
    "duration": [{"type": "number"}, _pattern(r"\d+(\.\d+)?|(\d+(\.\d+)?\s*(ms|s|m|h|d)\s*)+")],
    "fields": [{"type": "object"}],
    "float": [{"type": "number"}, _pattern(_NUMBER)],
    "integer": [{"type": "integer"}, _pattern(r"[-+]?\d+")],
    "items": [{"type": "array"}],
    "list": [{"type": "array"}],  # and what `_short` says
    "mappings": [{"type": "array", "items": {"anyOf": [{"type": "object"}, _TEMPLATE]}}],
    "mode": [_pattern(r"(0o?)?[0-7]{1,4}|[ugoa]*[-+=][rwxXstugo]*(,[ugoa]*[-+=][rwxXstugo]*)*|preserve")],
    "percent": _PERCENT,
    "size": [{"type": "number", "minimum": 0}, _pattern(r"\d+(\.\d+)?\s*[kKmMgGtT]?[iI]?[bB]?")],
    "text": [{"type": ["string", "number"]}],
}  # fmt: skip
_SAME = {"expression": "condition", "number": "float", "path": "text", "string": "text"}


def exported(name: str = "") -> Json:
    """The schema of a part or a module by its name; without one that of a whole playbook. Raises CiflowError."""
    if not name:
        return _document("a playbook", {"$ref": "#/$defs/playbook"}, _definitions())
    if name in PARTS:
        return _document(part_schema(name).doc or name, _closed(part_schema(name)), {})
    return _document(module_schema(name).doc, _closed(module_schema(name), module=name), {})


def _document(title: str, body: Json, definitions: Json) -> Json:
    return {"$schema": DIALECT, "title": title, **body, **({"$defs": definitions} if definitions else {})}


# --- one mapping ---------------------------------------------------------------------------------------


def _closed(schema: Schema, more: Mapping[str, Json] | None = None, *, module: str = "") -> Json:
    """A mapping with the fields of a schema; `more` are keys beside them, or what stands in place of a field."""
    properties: Json = {}
    for name, rules in schema.fields.items():
        value = _optional(name, rules, module)
        properties |= dict.fromkeys((name, *_aliases(schema, name)), value)
    properties |= more or {}
    groups = [_some(group, schema) for group in schema.one_of]
    groups += [_some((name,), schema) for name in schema.required]
    apart = [(*pair,) for group in schema.exclusive for pair in _pairs(group)]
    groups += [{"not": {"allOf": [_some((one,), schema), _some((two,), schema)]}} for one, two in apart]
    groups += [{"not": {"allOf": [_given(one), _given(two)]}}
               for name in schema.fields for one, two in _pairs((name, *_aliases(schema, name)))]  # fmt: skip
    if () in schema.unbuilt:
        return {"not": {}}
    made: Json = {"type": "object", "properties": properties, "additionalProperties": schema.allow_unknown}
    return {**made, "allOf": groups} if groups else made


def _aliases(schema: Schema, name: str) -> tuple[str, ...]:
    return tuple(alias for alias, of in schema.aliases.items() if of == name)


def _pairs(names: tuple[str, ...]) -> Iterable[tuple[str, str]]:
    return ((one, two) for at, one in enumerate(names) for two in names[at + 1 :])


def _given(name: str) -> Json:
    """The key stands there, and not with nothing behind it."""
    return {"required": [name], "properties": {name: {"not": _NULL}}}


def _some(names: tuple[str, ...], schema: Schema) -> Json:
    """At least one of the arguments is given, under any of its names."""
    every = [given for name in names for given in (name, *_aliases(schema, name))]
    return _given(every[0]) if len(every) == 1 else {"anyOf": [_given(one) for one in every]}


# --- one field -----------------------------------------------------------------------------------------


def _optional(name: str, rules: Mapping[str, Any], module: str = "") -> Json:
    """A field, or nothing behind its key, which is as good as no key."""
    said = (rules.get("meta") or {}).get("doc")
    told = {"description": said} if said else {}
    if (rules.get("meta") or {}).get("unbuilt"):
        return {**told, **_NULL}
    if EXPRESSIONS.get(module) == name and "condition" not in _names(rules):
        return {**told, "anyOf": [_NULL, {"type": "string"}, *_value(rules)]}
    value = _value(rules)
    if {} in value:
        return told
    default = {"default": rules["default"]} if "default" in rules else {}
    return {**told, **default, "anyOf": [*value, _TEMPLATE, _NULL]}


def _names(rules: Mapping[str, Any]) -> list[str]:
    kinds = rules.get("type", "any")
    return [_SAME.get(kind, kind) for kind in ([kinds] if isinstance(kinds, str) else kinds)]


def _value(rules: Mapping[str, Any]) -> list[Json]:
    """All that a field may be, templates and nothing set aside."""
    if unknown := rules.keys() - _KNOWN_RULES:
        raise CiflowError(f"the rule {', '.join(sorted(unknown))} of a schema has no form in JSON Schema")
    names = _names(rules)
    if "any" in names:
        return [{}]
    found = [_limited(dict(one), names, rules) for name in names for one in _KINDS[name]
             if not (one.get("pattern") and has_parts(rules) and name == "dict")]  # fmt: skip
    return [*found, *_short(rules)] if "list" in names and "text" not in names else found


def _short(rules: Mapping[str, Any]) -> list[Json]:
    """A list as text with commas between its items, or as its one number."""
    if has_parts(rules):
        return []
    items = rules.get("schema") or {"type": "text"}
    words = [re.escape(str(each)) for each in rules.get("allowed") or items.get("allowed", ())]
    value = _value(items)
    patterns = [one["pattern"].removeprefix("^").removesuffix("$") for one in value if "pattern" in one] or words
    numbers = [one for one in value if one.get("type") in ("number", "integer")]
    if any(isinstance(one.get("type"), list) and "number" in one["type"] for one in value):
        numbers.append({"type": "number"})
    if not patterns:
        return [{"type": ["string", "number"]}]
    one = f"({'|'.join(patterns)})"
    return [*([] if words else numbers), {"type": "string", "pattern": rf"^$|^\s*{one}\s*(,\s*{one}\s*)*$"}]


def _limited(one: Json, names: list[str], rules: Mapping[str, Any]) -> Json:
    """`one` of the forms of a field, with the field's other rules."""
    kind = one.get("type")
    if kind == "array" and "schema" in rules:
        one |= {"items": _item(rules["schema"])}
    if kind == "object" and "schema" in rules:
        one |= _mapping(rules["schema"])
    if kind == "object" and "valuesrules" in rules:
        one |= {"additionalProperties": _item(rules["valuesrules"])}
    if "allowed" in rules:
        one = _allowed(one, names, rules["allowed"])
    if "regex" in rules:
        text = ["string", "number"] if re.fullmatch(rules["regex"], "0") else "string"  # a text may be a number
        one = {"type": text, "pattern": f"^({rules['regex']})$"}
    if kind in ("number", "integer"):
        one |= {word: rules[rule] for rule, word in (("min", "minimum"), ("max", "maximum")) if rule in rules}
    if rules.get("empty") is False:
        one |= {"minLength": 1} if "text" in names or kind != "array" else {}
        one |= {"minItems": 1, "minProperties": 1}
    return one


def _allowed(one: Json, names: list[str], values: Sequence[Any]) -> Json:
    """`one` of the forms of a field as far as these values go; a text is no boolean where the field takes texts."""
    booleans = [each for each in values if isinstance(each, bool)]
    words = [str(each) for each in values if not isinstance(each, bool)]
    if booleans and one.get("type") == "boolean":
        return {"enum": booleans}
    if booleans and one.get("enum") == [0, 1]:
        return {"enum": [int(each) for each in booleans]}
    if booleans and "text" not in names:
        said = {word for each in booleans for word in (TRUE_WORDS if each else FALSE_WORDS)}
        return _pattern(rf"({_any_case(sorted(said))})(\.0)?")
    if one.get("type") == "array":
        return {**one, "items": {"anyOf": [{"enum": words}, _TEMPLATE]}}
    numbers = [int(each) for each in words if re.fullmatch(r"-?[1-9]\d*|0", each)]
    return {"enum": [*words, *numbers]}


def _item(rules: Mapping[str, Any]) -> Json:
    """An item of a list, or a value of a mapping: nothing stands for nothing there, too."""
    value = _value(rules)
    return {} if {} in value else {"anyOf": [*value, _TEMPLATE, _NULL]}


def _mapping(fields: Mapping[str, Any]) -> Json:
    """A mapping inside of a field: its keys have no other names."""
    properties = {name: _below(name, rules) for name, rules in fields.items()}
    needed = [_given(name) for name, rules in fields.items() if rules.get("required")]
    return {"properties": properties, "additionalProperties": False, **({"allOf": needed} if needed else {})}


def _below(name: str, rules: Mapping[str, Any]) -> Json:
    return {"not": {}} if (rules.get("meta") or {}).get("unbuilt") else _optional(name, rules)


# --- a whole playbook ----------------------------------------------------------------------------------


def _definitions() -> Json:
    tasks: Json = {"type": ["array", "null"], "items": {"$ref": "#/$defs/node"}}
    plays: Json = {"type": ["array", "null"], "items": {"$ref": "#/$defs/play"}}
    sections = dict.fromkeys(("pre_tasks", "tasks", "post_tasks", "handlers", "verify"), tasks)
    canary = {"anyOf": [_closed(part_schema("canary")), _NULL]}
    imported = {"type": "object", "anyOf": [{"required": [f"{prefix}import_playbook"]} for prefix in _PREFIXES]}
    told = [_closed(part_schema(f"notification_{kind}")) for kind in KINDS]
    notifications = {"anyOf": [*told, {"type": "array", "items": {"anyOf": told}}, _NULL]}
    playbook = _closed(part_schema("playbook"), {"plays": plays, "notifications": notifications})
    return {
        "playbook": {"anyOf": [{"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/play"}}, playbook]},
        "play": {"anyOf": [imported, _closed(part_schema("play"), {**sections, "canary": canary})]},
        "node": {"anyOf": [
            {"$ref": "#/$defs/block"}, {"$ref": "#/$defs/task"}, _NULL,
        ]},
        "block": _closed(part_schema("block"), {**dict.fromkeys(("block", "rescue", "always"), tasks)}),
        "task": _task(),
        **{f"module_{name}": _called(name) for name in sorted(verbs())},
    }  # fmt: skip


_PREFIXES = ("", "ansible.builtin.", "ansible.legacy.")


def _task() -> Json:
    """The keywords of a task, `with_` loops, and one module under any of its names."""
    called = [(f"{prefix}{name}", name) for name in sorted(verbs()) for prefix in _prefixes(name)]
    modules: dict[str, Json] = {written: {"$ref": f"#/$defs/module_{name}"} for written, name in called}
    made = _closed(part_schema("task"), modules)
    one = {"oneOf": [{"required": [name]} for name in (*modules, "action", "local_action")]}
    return {**made, "patternProperties": {"^with_": {}}, "allOf": [*made.get("allOf", ()), one]}


def _prefixes(name: str) -> tuple[str, ...]:
    """What may stand before a module's name: Ansible's own collections, or the one that has it."""
    collection = module_schema(name).collection
    return (*_PREFIXES, *([f"{collection}."] if collection else []))


def _called(name: str) -> Json:
    """What stands behind a module's name: its arguments, plain text, or nothing. `args` may bring what is missing."""
    schema = module_schema(name)
    made = _closed(schema, module=name)
    made.pop("allOf", None)
    text: Json = {"type": ["string", "number"] if schema.free_form else "string"}
    return {"description": schema.doc, "anyOf": [made, text, _NULL]}
