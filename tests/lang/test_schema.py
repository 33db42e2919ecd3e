"""Schemas: what a value may be as written, what it becomes when rendered, and what is said when it can't."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import cerberus
import pytest

from ciflow.diagnostics import Findings, Invalid, Span
from ciflow.lang import schema
from ciflow.lang.kinds import fit
from ciflow.lang.rules import for_cerberus
from ciflow.lang.schema import check_module, coerce, module_schema, part_schema, verbs
from ciflow.lang.shipped import shipped
from ciflow.lang.yamltext import load_data, parse
from tests.lang.making import template


@pytest.mark.parametrize(
    ("kind", "given", "wanted"),
    [("boolean", "yes", True), ("boolean", "0", False), ("boolean", 1, True), ("integer", "8080", 8080),
     ("integer", 3.0, 3), ("float", "1.5", 1.5), ("text", 80, "80"), ("text", True, "True"),
     ("list", "a, b", ["a", "b"]),
     ("list", 3, [3]), ("dict", '{"a": 1}', {"a": 1}), ("dict", "a=1 b=2", {"a": "1", "b": "2"}),
     ("duration", "1h30m", 5400.0), ("duration", "500ms", 0.5), ("duration", 7, 7.0), ("duration", "2.5", 2.5),
     ("percent", "0.05%", 0.05), ("percent", 25, 25.0), ("size", "10MB", 10485760), ("size", "1.5k", 1536),
     ("size", 7, 7),
     ("mode", "0644", "0644"), ("mode", "u=rwX,go-w", "u=rwX,go-w"), ("mode", "0o755", "0755"),
     (["text", "list"], ["a"], ["a"]), (["list", "text"], "a,b", "a,b"), (["integer", "percent"], "25%", 25.0)],
)  # fmt: skip
def test_values_become_what_ansible_makes_of_them(kind: Any, given: Any, wanted: Any) -> None:
    made = fit(kind, given, literal=False)
    assert made == wanted
    assert type(made) is type(wanted)


@pytest.mark.parametrize(
    ("kind", "given"),
    [("boolean", "maybe"), ("boolean", 2), ("boolean", []), ("integer", "8x"), ("integer", True), ("integer", 1.5),
     ("text", []), ("text", None), ("dict", "x"), ("duration", "soon"), ("duration", "5 parsecs"), ("percent", "120%"),
     ("percent", True), ("size", "big"), ("mode", 644), ("mode", "999"), ("mode", "rw-r--r--"), ("list", {}),
     ("float", "x")],
)  # fmt: skip
def test_values_that_fit_no_type_are_refused_in_words(kind: str, given: Any) -> None:
    with pytest.raises(ValueError, match=r"\w+ \w+"):
        fit(kind, given, literal=False)


def test_a_bare_boolean_where_text_is_meant_is_refused_only_as_written() -> None:
    with pytest.raises(ValueError, match="quote it"):
        fit("text", True, literal=True)
    assert fit("text", True, literal=False) == "True"


def test_rendered_arguments_get_types_defaults_and_their_own_names() -> None:
    args = coerce("file", {"name": "/x", "state": "touch", "recurse": "yes", "owner": None})
    assert (args["path"], args["state"], args["recurse"], args["follow"]) == ("/x", "touch", True, True)
    assert "owner" not in args


def test_a_mapping_given_whole_is_spread() -> None:
    assert coerce("debug", {"": {"msg": "hi"}})["msg"] == "hi"


def test_rendered_arguments_that_do_not_fit_are_placed() -> None:
    with pytest.raises(Invalid) as raised:
        coerce("copy", {"dest": "/x", "content": "a", "mode": 420}, {"mode": Span("p.yml", 3, 4)})
    assert (raised.value.diagnostics[0].code, str(raised.value.diagnostics[0].span)) == ("CF0105", "p.yml:3:4")


def test_an_argument_that_was_left_out_by_omit_is_missed() -> None:
    with pytest.raises(Invalid, match="`copy` needs `dest`"):
        coerce("copy", {"content": "a"})


def test_a_template_passes_as_written_whatever_the_type() -> None:
    findings = Findings()
    given = {"path": template("{{ p }}"), "state": template("{{ s }}"), "recurse": template("{{ r }}")}
    check_module("file", given, lambda _name, _key: Span("x"), findings)
    assert findings.items == []


PARTS = sorted(path.stem for path in shipped("schemas").glob("*.yml"))


@pytest.mark.parametrize("name", PARTS)
def test_every_keyword_is_explained(name: str) -> None:
    assert part_schema(name).doc.endswith(".")
    assert [
        key for key, rules in part_schema(name).fields.items() if not rules.get("meta", {}).get("doc", "").endswith(".")
    ] == []


def test_the_language_has_every_keyword_of_its_design() -> None:
    """The lists of Ansible's playbook keywords (docs.ansible.com, "Playbook Keywords"), and ciflow's own."""
    play = """
        any_errors_fatal become become_exe become_flags become_method become_user check_mode collections
        connection debugger diff environment fact_path force_handlers gather_facts gather_subset gather_timeout
        handlers hosts ignore_errors ignore_unreachable max_fail_percentage module_defaults name no_log order
        port post_tasks pre_tasks remote_user roles run_once serial strategy tags tasks throttle timeout vars
        vars_files vars_prompt needs matrix when retry deadline approval concurrency outputs always artifacts
        affected canary id
    """
    task = """
        action any_errors_fatal args async become become_exe become_flags become_method become_user changed_when
        check_mode collections connection debugger delay delegate_facts delegate_to diff environment failed_when
        ignore_errors ignore_unreachable local_action loop loop_control module_defaults name no_log notify poll
        port register remote_user retries run_once tags throttle timeout until vars when listen
    """
    block = """
        always any_errors_fatal become become_exe become_flags become_method become_user block check_mode
        collections connection debugger delegate_facts delegate_to diff environment ignore_errors
        ignore_unreachable module_defaults name no_log notify port remote_user rescue run_once tags throttle
        timeout vars when
    """
    for part, keywords in (("play", play), ("task", task), ("block", block)):
        assert set(keywords.split()) - set(part_schema(part).fields) == set()


WORDS = sorted(path.stem for path in (shipped("schemas") / "words").glob("*.yml"))


@pytest.mark.parametrize("word", WORDS)
def test_each_word_of_the_engine_has_an_example_that_its_schema_accepts(word: str) -> None:
    schema = module_schema(word)
    (tasks,) = load_data(schema.example)
    given = tasks[0][word]
    args = given if isinstance(given, dict) else {schema.free_form: given}
    findings = Findings()
    check_module(word, args, lambda _name, _key: Span("example"), findings)
    assert [one.code for one in findings.items] == (["CF0123"] if () in schema.unbuilt else [])
    assert word in verbs()


def test_a_fault_in_a_nested_mapping_names_the_keyword_it_stands_in() -> None:
    from ciflow.lang.schema import check_part

    findings = Findings()
    place = parse(b"hosts: x\nretry: {attempts: 0, backof: fixed}\nserial: [1]\n", "p.yml", findings)
    assert place is not None
    check_part("play", place, findings)
    said = {(d.message, d.span.line if d.span else 0, d.label) for d in findings.items}
    assert said == {
        ("`attempts` must be at least 1", 2, ""),
        ("unknown keyword `backof` in `retry`", 2, "did you mean `backoff`?"),
    }


class _Checked(schema._Validator):
    _valid_schemas: ClassVar[set[Any]] = set()


@pytest.mark.parametrize("path", sorted(shipped("schemas").rglob("*.yml")), ids=lambda path: path.stem)
def test_every_schema_that_ships_is_one_for_cerberus(path: Path) -> None:
    fields = schema._read(path).get("arguments") or {}
    rules = {name: for_cerberus(below) for name, below in fields.items()}
    assert _Checked(rules, literal=True) is not None


def test_a_schema_that_is_none_is_found_by_that_check() -> None:
    with pytest.raises(cerberus.SchemaError):
        _Checked({"name": {"type": "text", "alowed": ["a"]}}, literal=True)
