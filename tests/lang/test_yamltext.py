"""YAML: what scalars are, where everything stands, and what is refused how fast."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ciflow.diagnostics import Findings
from ciflow.lang.place import Place, position
from ciflow.lang.yamltext import dump, load_data, parse, resolve
from ciflow.model import Template
from tests.scaffold.docs import ROOT


def read(text: str | bytes) -> Place:
    findings = Findings()
    place = parse(text.encode() if isinstance(text, str) else text, "x.yml", findings)
    assert not findings.errors, findings.errors
    assert place is not None
    return place


def faults(text: str | bytes) -> list[tuple[str, int, int]]:
    findings = Findings()
    parse(text.encode() if isinstance(text, str) else text, "x.yml", findings)
    return [(d.code, d.span.line, d.span.column) for d in findings.errors if d.span]


# Resolution of the core schema, YAML 1.2.2 section 10.3.2, and Ansible's booleans.
@pytest.mark.parametrize(
    ("text", "value"),
    [("null", None), ("~", None), ("", None), ("true", True), ("FALSE", False), ("0", 0), ("-12", -12), ("+3", 3),
     ("0o14", 12), ("0x3A", 58), ("0.", 0.0), ("-0.0", -0.0), (".5", 0.5), ("12e03", 12000.0), ("-2E+05", -200000.0),
     (".inf", float("inf")), ("-.Inf", float("-inf")), ("yes", True), ("Off", False), ("012", 12), ("22:22", "22:22"),
     ("2001-12-14", "2001-12-14"), ("=", "="), ("1_000", "1_000"), ("0b11", "0b11"), ("nO", "nO"), ("y", "y"),
     ("1.2.3", "1.2.3"), ("'yes'", "yes"), ('"12"', "12"), ("!!str 12", "12"), ("!!int '7'", 7), ("a: b", {"a": "b"})],
)  # fmt: skip
def test_scalars_read_as_yaml_1_2_core_says(text: str, value: Any) -> None:
    found = load_data(text)
    assert (found[0] if found else None) == value
    assert type(found[0] if found else None) is type(value)


def test_yes_and_on_are_never_keys_of_another_type() -> None:
    assert read("on: yes\nno: off\n2: a\ntrue: b\n").value == {"on": True, "no": False, 2: "a", True: "b"}


plain = st.text(
    st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs"), exclude_characters="{}"), max_size=12
)
plain = plain.filter(lambda text: isinstance(resolve(text), str))  # else 1.1 and 1.2 differ, or it is quoted
leaves = st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.floats(allow_nan=False, width=32) | plain
documents = st.recursive(leaves, lambda below: st.lists(below, max_size=4) | st.dictionaries(plain, below, max_size=4),
                         max_leaves=15)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(documents, st.sampled_from([True, False, None]))
def test_what_pyyaml_writes_is_read_as_pyyaml_reads_it(document: Any, flow: bool | None) -> None:
    """The subset on which 1.1 and 1.2 agree: PyYAML quotes what 1.1 would misread."""
    text = yaml.safe_dump(document, default_flow_style=flow, allow_unicode=True)
    found = load_data(text)
    assert (found[0] if found else None) == yaml.safe_load(text)


@settings(max_examples=60, deadline=None)
@given(documents)
def test_what_we_write_pyyaml_and_we_read_back(document: Any) -> None:
    assert yaml.safe_load(dump(document)) == document
    assert (load_data(dump(document)) or [None])[0] == document


def test_text_that_only_yaml_1_2_takes_for_a_number_is_quoted() -> None:
    assert load_data(dump({"a": "0E0", "b": "0o17", "c": "yes"})) == [{"a": "0E0", "b": "0o17", "c": "yes"}]


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_no_input_makes_the_parser_fail_unplaced(content: bytes) -> None:
    findings = Findings()
    parse(content, "x.yml", findings)
    assert all(d.span is not None and d.span.line >= 1 for d in findings.errors)


# --- places --------------------------------------------------------------------------------------------


def test_every_node_knows_where_it_stands() -> None:
    place = read("a:\n  - b: one\n    c: 'two'\n")
    assert (place.at("a", 0, "c").span.line, place.at("a", 0, "c").span.column) == (3, 8)
    assert place.at("a", 0, "c").span.end_column == 13
    assert place.at("a", 0).key_span("c").column == 5


def test_a_path_that_leads_nowhere_stops_at_the_nearest_node() -> None:
    assert read("a: {b: 1}").at("a", "x", "y").span.column == 4


@pytest.mark.parametrize(
    ("text", "needle"),
    [
        ('k: "{{ a }}"\n', "a }"),
        ("k: '{{ it''s }}'\n", "s }"),
        ('k: "x\\ty {{ nope }}"\n', "nope"),
        ("k: |\n  one\n\n  two {{ nope }}\n", "nope"),
        ("k: >-\n  one\n  two\n    three {{ nope }}\n", "nope"),
        ("k: plain {{ a }}\n  and {{ nope }}\n", "nope"),
        ('k: "folded {{ a }}\n  and {{ nope }}"\n', "nope"),
        ("- - ü {{ nope }} 漢 {{ second }}\n", "second"),
    ],
)
def test_a_character_inside_a_template_has_its_line_and_column(text: str, needle: str) -> None:
    place = read(text)
    while place.fields or place.items:
        place = next(iter(place.fields.values()), None) or place.items[0]
    template = place.value
    assert isinstance(template, Template)
    before = text[: text.index(needle)]
    wanted = (before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1)
    assert position(template.marks, template.source.index(needle)) == wanted


def test_unsafe_text_is_data_and_templates_are_not_made_of_it() -> None:
    assert read("k: !unsafe '{{ a }}'\n").value == {"k": "{{ a }}"}


def test_a_local_key_beats_a_merged_one_and_an_earlier_source_a_later() -> None:
    text = "a: &a {x: 1, y: 1}\nb: &b {y: 2, z: 2}\nc: {<<: [*a, *b], x: 3}\n"
    assert read(text).value["c"] == {"x": 3, "y": 1, "z": 2}


@pytest.mark.parametrize("text", ["a: 1\r\nb: two\r\n", "\ufeffa: 1\nb: two", "a: 1\nb: two"])
def test_windows_lines_a_bom_and_a_missing_last_newline_make_no_difference(text: str) -> None:
    assert read(text).value == {"a": 1, "b": "two"}


@pytest.mark.parametrize("text", ["", "\n", "# nothing\n", "---\n"])
def test_an_empty_file_is_nothing(text: str) -> None:
    assert read(text).value is None


# --- what is refused -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a: 1\nb:\n  a: 1\n  a: 2\n", ("CF0012", 4, 3)),
        ("a:\n\tb: 1\n", ("CF0011", 2, 1)),
        ("a: &x\n  b: *x\n", ("CF0013", 1, 4)),
        ("a: !!python/object/apply:os.system ['true']\n", ("CF0015", 1, 4)),
        ("a: !mine {}\n", ("CF0015", 1, 4)),
        ("a: {{ x }}\n", ("CF0016", 1, 4)),
        ("a: {{ x }} times\n", ("CF0016", 1, 4)),
        ("- {{ x }}\n", ("CF0016", 1, 3)),
        ("a: !vault |\n  $ANSIBLE_VAULT;1.1;AES256\n  00\n", ("CF0017", 1, 4)),
        ("a: 1\n---\nb: 2\n", ("CF0019", 3, 1)),
        ("a: [1, 2\nb: 3\n", ("CF0010", 2, 2)),
        ("a: *nobody\n", ("CF0010", 1, 4)),
        ("a: \x07\n", ("CF0010", 1, 4)),
        ("? [a]\n: b\n", ("CF0101", 1, 3)),
    ],
)
def test_a_fault_is_placed(text: str, fault: tuple[str, int, int]) -> None:
    assert faults(text)[0] == fault


def test_bytes_that_are_no_utf_8_are_placed() -> None:
    assert faults(b"a: 1\nb: \xff\n") == [("CF0002", 2, 4)]


def laughs(levels: int) -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize("bomb", [laughs(9), laughs(40), "[" * 5000, "{a: " * 3000 + "1", "- " * 2000 + "x"])
def test_bombs_are_refused_at_once(bomb: str) -> None:
    start = time.perf_counter()
    assert faults(bomb)
    assert time.perf_counter() - start < 60


def test_aliases_of_a_sane_size_are_fine() -> None:
    assert read(laughs(3)).value["a2"][9][9][9] == "x"


def test_a_playbook_of_two_thousand_tasks_is_parsed_in_a_moment() -> None:
    text = b"- name: x {{ y }}\n  command: echo {{ z }}\n  when: a == 1\n  tags: [a, b]\n" * 2000
    start = time.process_time()
    parse(text, "x.yml", Findings())
    assert time.process_time() - start < 60


def test_without_libyaml_values_and_places_are_the_same() -> None:
    """A machine without the C library runs PyYAML's own parser."""
    text = "a: [1, yes, '{{ x }}']\nb: &b {c: '{{ y }}'}\nd: {<<: *b, e: 0644}\n"
    script = (
        "import sys, yaml; yaml.__with_libyaml__ = False\n"
        "from ciflow.diagnostics import Findings\nfrom ciflow.lang.yamltext import parse, _Loader\n"
        "f = Findings(); p = parse(sys.stdin.buffer.read(), 'x.yml', f)\n"
        "print(_Loader.__mro__[2].__name__, p.value, p.at('d', 'c').span, p.at('a', 2).marks, f.items)\n"
    )
    ran = [
        subprocess.run(
            [sys.executable, "-c", one], input=text.encode(), capture_output=True, check=True, cwd=ROOT
        ).stdout
        for one in (script, script.replace("yaml.__with_libyaml__ = False", ""))
    ]
    kinds, said = zip(*(one.decode().split(" ", 1) for one in ran), strict=True)
    assert kinds == (("Reader", "CParser") if yaml.__with_libyaml__ else ("Reader", "Reader"))
    assert said[0] == said[1]
