"""What is said of a template before anything runs, and what is there at all."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from benchmarks.peers import Peers
from ciflow.diagnostics import Invalid
from ciflow.lang.jinja import environment
from ciflow.lang.lookups import LOOKUPS, REFUSED
from ciflow.lang.scope import Layer, Level, Scope, View
from ciflow.lang.template import render
from ciflow.lang.template_check import check_template
from tests.lang.making import scope_of, template
from tests.scaffold.templates import PAGE, page

# The names of ansible-core 2.19, by its plugins' documentation.
FILTERS = """
b64decode b64encode basename bool checksum combinations combine comment commonpath dict2items difference dirname
expanduser expandvars extract fileglob flatten from_json from_yaml from_yaml_all hash human_readable
human_to_bytes intersect items2dict log mandatory md5 normpath password_hash path_join permutations pow product
quote random realpath regex_escape regex_findall regex_replace regex_search rekey_on_member relpath root sha1
shuffle split splitext strftime subelements symmetric_difference ternary to_datetime to_json to_nice_json
to_nice_yaml to_uuid to_yaml type_debug union unique unvault urldecode vault urlsplit win_basename win_dirname
win_splitdrive zip zip_longest
"""
TESTS = """
abs all any change changed contains directory exists failed failure falsy file finished is_abs is_dir is_file
is_link is_mount is_same_file isnan issubset issuperset link link_exists match mount nan reachable regex
same_file search skip skipped started subset succeeded success successful superset timedout truthy unreachable
uri url urn vault_encrypted vaulted_file version version_compare
"""
LOOKUP_NAMES = """
config csvfile dict env file fileglob first_found indexed_items ini inventory_hostnames items lines list nested
password pipe random_choice sequence subelements template together unvault url varnames vars
"""


def test_everything_of_ansible_core_is_there_or_refused_by_name() -> None:
    for prefix in ("", "ansible.builtin."):
        assert not [name for name in FILTERS.split() if prefix + name not in environment().filters]
        assert not [name for name in TESTS.split() if prefix + name not in environment().tests]
    assert not [name for name in LOOKUP_NAMES.split() if name not in LOOKUPS and name not in REFUSED]


def test_the_tables_of_the_manual_are_the_tables() -> None:
    """After a change: `python -m tests.scaffold.templates`."""
    assert PAGE.read_text() == page(PAGE.read_text())


@pytest.mark.parametrize(
    ("text", "code", "column", "said"),
    [("{{ a | b64encode(1, 2, 3) }}", "CF0212", 8, "too many positional arguments"),
     ("{{ a | ternary('x') }}", "CF0212", 8, "missing a required argument: 'false_val'"),
     ("{{ a | combine(b, recursiv=true) }}", "CF0212", 8, "unexpected keyword argument 'recursiv'"),
     ("{{ a is version }}", "CF0212", 9, "missing a required argument: 'other'"),
     ("{{ a | upper(1) }}", "CF0212", 8, "too many positional arguments"),
     ("{{ a | map('uper') | list }}", "CF0211", 1, "there is no filter `uper`"),
     ("{{ a | selectattr('x', 'defind') }}", "CF0211", 1, "there is no test `defind`"),
     ("{{ lookup('evn', 'HOME') }}", "CF0211", 11, "did you mean 'env'?"),
     ("{{ query('community.general.nope') }}", "CF0211", 10, "there is no lookup"),
     ("{{ lookup('file', 'x', rstripp=true) }}", "CF0212", 11, "unexpected keyword argument 'rstripp'"),
     ("{{ lookup('config', 'X') }}", "CF0211", 11, "ciflow reads no ansible.cfg")],
)  # fmt: skip
def test_a_wrong_call_is_found_before_anything_runs(text: str, code: str, column: int, said: str) -> None:
    found = check_template(template(text))
    assert [(one.code, one.span.column if one.span else 0) for one in found] == [(code, column)], found
    assert said in found[0].message


@pytest.mark.parametrize(
    "text",
    ["{{ a | default(omit) | combine(*more, **options) }}", "{{ a | ansible.builtin.combine({}) }}",
     "{{ a | community.general.json_query('x') }}", "{{ a | regex_search('x', '\\1', '\\2', ignorecase=true) }}",
     "{{ lookup(kind, 'x') }}", "{{ lookup('file', *names) }}",
     "{{ query('ansible.builtin.env', 'A', errors='ignore') }}",
     "{{ a | map(attribute='x') | select('match', '^x') | zip(b) | list }}", "{{ a | random(seed=1) }}",
     "{{ lookup('template', 'x.j2', template_vars={}, variable_start_string='[[', wantlist=true) }}"],
)  # fmt: skip
def test_a_right_call_is_left_alone(text: str) -> None:
    assert check_template(template(text)) == []


def test_a_hosts_variables_end_when_they_are_written_down() -> None:
    """`vars` and `hostvars` lead back to the whole; both are there by name."""

    def view() -> View:
        return View(lambda: Scope((Layer(Level.PLAY_VARS, {"a": template("{{ 1 + 1 }}")}),
                           Layer(Level.MAGIC, {"vars": view, "hostvars": lambda: {"h": view()}}, data=True, lazy=True)),
                          render))  # fmt: skip

    scope = Scope((Layer(Level.MAGIC, {"hostvars": lambda: {"h": view()}}, data=True, lazy=True),), render)
    for text, wanted in (("{{ hostvars.h | to_json }}", '{"a": 2}'), ("{{ hostvars | to_json }}", '{"h": {"a": 2}}'),
                         ("{{ hostvars.h | to_yaml }}", "{a: 2}\n"), ("{{ hostvars.h.vars.a }}", 2),
                         ("{{ hostvars.h | dict2items | length }}", 1)):  # fmt: skip
        assert render(template(text), scope) == wanted


def test_json_query_without_its_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "jmespath", None)
    with pytest.raises(Invalid, match=r"pip install 'ciflow\[query\]'"):
        render(template("{{ {} | json_query('x') }}"), scope_of({}))


def test_json_query_asks_jmespath() -> None:
    pytest.importorskip("jmespath", reason="the library of the extra `query`")
    names: dict[str, Any] = {"a": {"b": [{"n": 1}, {"n": 2}]}}
    assert render(template("{{ a | community.general.json_query('b[?n > `1`].n') }}"), scope_of(names)) == [2]
    with pytest.raises(Invalid, match="json_query"):
        render(template("{{ a | json_query('[') }}"), scope_of(names))


@pytest.mark.slow
def test_the_names_are_those_of_the_peer() -> None:
    peers = Peers(Path.home() / ".cache" / "ciflow" / "peers")
    if not Path(peers.program("ansible-doc")).exists():
        pytest.skip("ansible is not installed beside the benches: `python -m benchmarks.peers` does it")
    for kind, names in (("filter", FILTERS), ("test", TESTS), ("lookup", LOOKUP_NAMES)):
        listed = subprocess.run([peers.program("ansible-doc"), "-t", kind, "-l", "ansible.builtin"],
                                capture_output=True, text=True, check=True).stdout  # fmt: skip
        theirs = {line.split()[0].removeprefix("ansible.builtin.") for line in listed.splitlines() if line.strip()}
        here = set(environment().filters) | set(environment().tests) | set(names.split())
        assert theirs - here == set()
