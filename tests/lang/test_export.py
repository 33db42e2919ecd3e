"""The exported JSON Schema and the validator accept and reject the same documents."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ciflow.diagnostics import Diagnostic, Findings, Span
from ciflow.lang.args import arguments
from ciflow.lang.export import PARTS, exported
from ciflow.lang.schema import Schema, check_module, check_part, module_schema, part_schema, verbs
from ciflow.lang.yamltext import parse
from tests.scaffold.docs import ROOT

MODULES = sorted(verbs())
# Texts that some kind of field takes, and others don't. None has a quote, or begins like JSON without being it.
WORDS = [
    "", "a", "a b", "yes", "No", " on ", "1.0", "0", "-3", "7", "+12", "2.5", ".5", "5.", "1e3", "1_0", "nan", "0644",
    "u=rw,go=r", "preserve", "9", "30s", "1h30m", "5 m", "5x", "25%", "101%", "100.0 %", "10MB", "3 kib", "a=b", "true",
    "a=b c=d", "{{ x }}", "a {% if b %}c{% endif %}", "{# no #}", "sha256:00", "x_1", "a,b", "1, 2", "5m,x",
]  # fmt: skip
SCALARS = st.one_of(
    st.sampled_from(WORDS),
    st.booleans(),
    st.integers(-3, 120),
    st.sampled_from([0.0, 1.0, 0.5, -1.5, 99.5, 1e-5, 2.0, 1e20]),
    st.none(),
)


def texts(rules: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    return st.sampled_from([str(one) for one in rules["allowed"]]) if "allowed" in rules else SCALARS


def values(rules: Any) -> st.SearchStrategy[Any]:
    """What a field may be, and what it may not be."""
    if not isinstance(rules, Mapping):
        return SCALARS
    below = rules.get("schema")
    parts: list[st.SearchStrategy[Any]] = [texts(rules), SCALARS, st.lists(SCALARS, max_size=3)]
    if below is None:
        parts += [st.dictionaries(st.sampled_from("ab"), SCALARS, max_size=2), st.lists(texts(rules), max_size=2)]
    elif "type" in below and not isinstance(below["type"], Mapping):
        parts.append(st.lists(values(below), max_size=3))
    else:
        parts += [mappings(below, ()), mappings(below, ())]
    return st.one_of(parts)


def mappings(fields: Mapping[str, Any], more: tuple[str, ...]) -> st.SearchStrategy[dict[str, Any]]:
    """Required fields mostly there, others sometimes, and now and then a name that nobody knows."""
    needed = {name: values(rules) for name, rules in fields.items() if rules.get("required")}
    names = [*fields, *more, "nobody_knows"]
    own = {name: values(fields.get(name, {})) for name in names}
    some = st.lists(st.sampled_from(names), max_size=4, unique=True)
    return st.builds(
        lambda first, rest: {**rest, **first},
        st.one_of(st.fixed_dictionaries(needed), st.just({})),
        some.flatmap(lambda chosen: st.fixed_dictionaries({name: own[name] for name in chosen})),
    )


@cache
def documents(schema_of: str) -> st.SearchStrategy[dict[str, Any]]:
    schema = the_schema(schema_of)
    return mappings(schema.fields, tuple(schema.aliases))


def the_schema(name: str) -> Schema:
    return part_schema(name) if name in PARTS else module_schema(name)


@cache
def validator(name: str) -> jsonschema.Draft202012Validator:
    made = exported(name)
    jsonschema.Draft202012Validator.check_schema(made)
    return jsonschema.Draft202012Validator(made)


def faults(name: str, document: dict[str, Any]) -> list[Diagnostic]:
    """What ciflow finds in the document, read as the YAML that JSON is."""
    findings = Findings()
    place = parse(json.dumps(document).encode(), "doc.yml", findings)
    assert place is not None
    if name in PARTS:
        check_part(name, place, findings)
    else:
        args = arguments(place, module_schema(name), name, findings)
        check_module(name, args, lambda _name, _key: Span("doc.yml"), findings)
    return list(findings.errors)


def beyond_json_schema(found: list[Diagnostic]) -> bool:
    """Only bounds of a number written as text, which JSON Schema can't compare, and 0.0, which it takes for 0."""
    return all("must be at " in one.message or re.search(r"can't be `-?\d+\.0`", one.message) for one in found)


def test_a_name_with_nothing_behind_it_takes_nothing_from_its_other_name() -> None:
    """Also of a module that takes variables of any name, whose null is a value."""
    assert faults("add_host", {"name": "a", "hostname": None}) == []
    assert module_schema("add_host").canonical({"name": "a", "host": None, "mine": None}) == {"name": "a", "mine": None}


@pytest.mark.parametrize("name", [*PARTS, *MODULES])
def test_the_export_and_the_validator_agree(name: str) -> None:
    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
    @given(documents(name))
    def agree(document: dict[str, Any]) -> None:
        found = faults(name, document)
        accepted = validator(name).is_valid(document)
        if accepted and found and beyond_json_schema(found):
            return
        assert accepted == (not found), (document, [one.message for one in found])

    agree()


@pytest.mark.slow
@pytest.mark.parametrize("name", [*PARTS, *MODULES])
def test_they_agree_on_two_hundred_documents_each(name: str) -> None:
    @settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(documents(name))
    def agree(document: dict[str, Any]) -> None:
        found = faults(name, document)
        accepted = validator(name).is_valid(document)
        assert accepted == (not found) or (accepted and beyond_json_schema(found)), document

    agree()


def test_both_accept_and_both_reject_many_of_these_documents() -> None:
    """A generator whose documents are all bad would prove nothing."""
    counts = {True: 0, False: 0}
    names = ("copy", "task", "command", "file", "canary_step")

    @settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
    @given(st.sampled_from(names).flatmap(lambda name: documents(name).map(lambda document: (name, document))))
    def count(case: tuple[str, dict[str, Any]]) -> None:
        counts[validator(case[0]).is_valid(case[1])] += 1

    count()
    assert min(counts.values()) >= 10


# --- whole playbooks -----------------------------------------------------------------------------------

PLAYBOOKS = [*sorted((ROOT / "playbooks").glob("*.yml"))]


def accepts(text: str) -> bool:
    findings = Findings()
    place = parse(text.encode(), "playbook.yml", findings)
    assert place is not None
    assert not findings.errors
    return validator("").is_valid(plain(place.value))


def plain(value: Any) -> Any:
    """Templates as the text that an editor sees."""
    if isinstance(value, dict):
        return {str(key): plain(below) for key, below in value.items()}
    if isinstance(value, list):
        return [plain(below) for below in value]
    return getattr(value, "source", value)


@pytest.mark.parametrize("path", PLAYBOOKS, ids=lambda path: path.name)
def test_a_shipped_playbook_is_one_by_the_schema(path: Path) -> None:
    assert accepts(path.read_text())


@pytest.mark.parametrize("verb", MODULES)
def test_the_example_of_each_module_is_good_in_a_playbook(verb: str) -> None:
    example = yaml.safe_load(module_schema(verb).example)
    if verb == "import_playbook":
        playbook = example
    else:
        playbook = [{"hosts": "all", "tasks": example}]
    bad = {"add_host", "group_by"} if module_schema("add_host").unbuilt else set()
    assert validator("").is_valid(playbook) == (verb not in bad)


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("- {hosts: all}", True),
        ("- {hosts: all, taks: []}", False),
        ("- hosts: all\n  tasks: [{copy: {dest: /a, content: b}, when: x}]", True),
        ("- hosts: all\n  tasks: [{copy: {dest: /a, contnet: b}}]", False),
        ("- hosts: all\n  tasks: [{ansible.builtin.copy: {dest: /a, contnet: b}}]", False),
        ("- hosts: all\n  tasks: [{command: echo hi, args: {chdir: /a}}]", True),
        ("- hosts: all\n  tasks: [{command: echo hi, shell: echo ho}]", False),
        ("- hosts: all\n  tasks: [{name: nothing}]", False),
        ("- hosts: all\n  tasks: [{block: [{ping: }], rescue: [{debug: {msg: a}}]}]", True),
        ("- hosts: all\n  tasks: [{block: [{pnig: }]}]", False),
        ("- hosts: all\n  tasks: [{debug: {msg: a}, loop: '{{ x }}', with_nested: [a]}]", True),
        ("- import_playbook: a.yml", True),
        ("plays: [{hosts: all}]", True),
        ("name: x", False),
        ("[]", False),
    ],
)
def test_a_playbook_as_an_editor_sees_it(text: str, good: bool) -> None:
    assert accepts(text) == good


def test_every_field_is_explained_to_the_editor() -> None:
    task = exported()["$defs"]["task"]["properties"]
    assert task["register"]["description"] == "The variable that keeps the result."
    assert exported("copy")["properties"]["dest"]["description"]
