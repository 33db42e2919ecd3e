"""Templates: types kept, strict, sandboxed, and nothing but our own text ever rendered."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ciflow.diagnostics import Findings, Invalid
from ciflow.lang import limits
from ciflow.lang.lookups import expand
from ciflow.lang.scope import OMIT, Layer, Level, Need, NeedFacts, Scope, View
from ciflow.lang.simple import simple_names
from ciflow.lang.template import evaluate, names_of, parsed_names, render, render_text
from ciflow.lang.template_check import check_template
from ciflow.lang.yamltext import parse
from ciflow.model import Exec, Loop, Read, Reply, Template, Walk, Write
from tests.lang.making import condition, scope_of, template


def value(text: str, **names: Any) -> Any:
    return render(template(text), scope_of(names))


def fault(text: str, **names: Any) -> tuple[str, int, int]:
    with pytest.raises(Invalid) as raised:
        value(text, **names)
    found = raised.value.diagnostics[0]
    assert found.span is not None
    return found.code, found.span.line, found.span.column


# --- types ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("{{ 1 + 1 }}", 2), ("{{ 1 + 1 }} pieces", "2 pieces"), ("{{ [1, 2] }}", [1, 2]), ("{{ none }}", None),
     ("x{{ none }}", "x"), ("{{ true }}", True), ("{{ '1.10' }}", "1.10"), ("{{ '[1]' }}", "[1]"),
     ("{{ '007' }}", "007"), ("{{ {'a': 1} }}", {"a": 1}), ("{{ 7 / 2 }}", 3.5), ("{{ 'yes' }}", "yes"),
     ("{{ range(3) | map('string') }}", ["0", "1", "2"]), ("{{ 5 }}\n", 5), (" {{ 5 }}", " 5"),
     ("{% if true %}5{% endif %}", "5")],
)  # fmt: skip
def test_a_lone_expression_keeps_its_type_and_mixed_text_is_text(text: str, wanted: Any) -> None:
    found = value(text)
    assert found == wanted
    assert type(found) is type(wanted)


def test_templates_are_rendered_through_lists_and_mappings() -> None:
    assert render({"a": [template("{{ n }}"), 2], "b": "{{ n }}"}, scope_of({"n": 1})) == {"a": [1, 2], "b": "{{ n }}"}


def test_what_holds_no_template_comes_back_itself() -> None:
    plain = {"a": [1, {"b": 2}]}
    assert render(plain, scope_of({})) is plain


def test_omit_leaves_an_argument_out() -> None:
    args = {"a": template("{{ mode | default(omit) }}"), "b": 1, "c": [template("{{ omit }}")]}
    assert render(args, scope_of({})) == {"b": 1, "c": []}
    assert render(template("{{ omit }}"), scope_of({})) is OMIT


# --- trust ---------------------------------------------------------------------------------------------

PAYLOADS = ["{{ 7 * 7 }}", "{% for x in [1] %}boom{% endfor %}", "{{ lookup('pipe', 'id') }}", "{# gone #}"]


@pytest.mark.parametrize("payload", PAYLOADS)
@pytest.mark.parametrize(
    "way",
    ["{{ out }}", "{{ out | upper | lower }}", "{{ out ~ '' }}", "{{ [out] | first }}", "{{ {'k': out}.k }}",
     "{{ out | trim }}", "{{ through }}", "{{ out | regex_replace('^', '') }}", "{{ out | b64encode | b64decode }}",
     "{{ out | to_json | from_json }}", "{{ ('a: !!str ' ~ (out | to_json)) | from_yaml | extract_a }}",
     "{{ lookup('vars', 'out') }}", "{{ lookup('file', '/f') }}", "{{ lookup('env', 'E') }}"],
)  # fmt: skip
def test_output_is_never_rendered_however_it_travels(payload: str, way: str) -> None:
    answers = {Need(Read(path="/f")).key: Reply(stdout=payload.encode()),
               Need(Exec(argv=("printenv", "E"))).key: Reply(rc=0, stdout=payload.encode() + b"\n")}  # fmt: skip
    layers = (Layer(Level.SET_FACTS, {"out": payload}, data=True),
              Layer(Level.PLAY_VARS, {"through": template("{{ again }}"), "again": template("{{ out }}")}))  # fmt: skip
    way = way.replace(" | extract_a", "")
    found = render(template(way), Scope(layers, render, answers))
    found = found["a"] if isinstance(found, dict) else found
    assert found in (payload, payload.lower())


@pytest.mark.parametrize("payload", PAYLOADS)
def test_output_is_not_rendered_inside_a_j2_file_either(payload: str) -> None:
    assert render_text("<{{ out }}>\n", "a.j2", scope_of({"out": payload})) == f"<{payload}>\n"


def test_text_from_a_command_is_no_condition() -> None:
    """A str is data: as a condition it would have to be evaluated, so it is refused."""
    with pytest.raises(Invalid, match="this gave the text"):
        evaluate((condition("out"),), scope_of({"out": "1 == 1"}))


# --- the sandbox ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    ["{{ ''.__class__.__mro__ }}", "{{ x.append(1) }}", "{{ d.update({'a': 1}) }}", "{{ 'x' * 10 ** 10 }}",
     "{{ 9 ** (9 ** 9) }}", "{{ [0] * 100000000 }}", "{{ lipsum.__globals__ }}", "{{ range(10 ** 9) | list }}"],
)  # fmt: skip
def test_templates_reach_nothing_outside_their_values(text: str) -> None:
    start = time.perf_counter()
    with pytest.raises(Invalid):
        value(text, x=[1], d={})
    assert time.perf_counter() - start < 60


# --- undefined names and other faults ------------------------------------------------------------------


def test_an_undefined_name_is_placed_with_the_nearest_known_ones() -> None:
    with pytest.raises(Invalid) as raised:
        value("on {{ prot }}", port=1, host="x")
    found = raised.value.diagnostics[0]
    assert (found.code, found.message, found.label) == ("CF0210", "`prot` is not defined", "nearest: `port`")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("{{ a.b }}", ("CF0210", 1, 6)), ("{{ a['b'] }}", ("CF0210", 1, 6)), ("x {{ nope.b.c }}", ("CF0210", 1, 6)),
     ("{{ 1 / 0 }}", ("CF0202", 1, 1)), ("line\n{{ a | bool }}", ("CF0202", 2, 1)),
     ("{{ a | nofilter }}", ("CF0211", 1, 8)), ("{{ a is notest }}", ("CF0211", 1, 9)),
     ("{{ a b }}", ("CF0201", 1, 6)), ("{% if a %}", ("CF0201", 1, 1)), ("{{ lookup('nope') }}", ("CF0202", 1, 1))],
)  # fmt: skip
def test_a_fault_stands_in_its_line_and_column(text: str, wanted: tuple[str, int, int]) -> None:
    assert fault(text, a={"c": 1}) == wanted


def test_a_fault_in_a_variable_is_placed_where_the_variable_is_written() -> None:
    findings = Findings()
    place = parse(b'a: 1\nurl: "http://{{ hots }}/"\n', "vars.yml", findings)
    assert place is not None
    scope = Scope((Layer(Level.PLAY_VARS, place.value),), render)
    with pytest.raises(Invalid) as raised:
        render(template("{{ url }}"), scope)
    assert str(raised.value.diagnostics[0].span) == "vars.yml:2:17"


def test_a_variable_that_contains_itself_says_the_whole_way_round() -> None:
    scope = scope_of({"a": template("{{ b }}"), "b": template("{{ c }}"), "c": template("{{ a }}")})
    with pytest.raises(Invalid, match="a -> b -> c -> a"):
        scope.find("a")


@pytest.mark.parametrize(
    "text", ["{{ [nope] }}", "{{ {'a': nope} }}", "{{ [{'a': [nope]}] }}", "{{ l | map(attribute='x') }}"]
)
def test_an_undefined_value_does_not_hide_in_a_list_or_mapping(text: str) -> None:
    assert fault(text, l=[{"y": 1}])[0] == "CF0210"


@pytest.mark.parametrize(
    "text", ["{{ d.keys() }}", "{{ d.values() | map('string') }}", "{{ range(2) }}", "{{ [1] | reverse }}"]
)
def test_a_rendered_value_is_plain_data(text: str) -> None:
    assert type(value(text, d={"a": 1})) is list


def test_variables_of_hosts_that_lead_round_in_a_circle_end_in_words() -> None:
    def view() -> View:
        return View(lambda: Scope((Layer(Level.PLAY_VARS, {"a": template("{{ other.a }}")}),
                           Layer(Level.MAGIC, {"other": view}, data=True, lazy=True)), render))  # fmt: skip

    with pytest.raises(Invalid, match="it never ends"):
        render(template("{{ other.a }}"), Scope((Layer(Level.MAGIC, {"other": view}, data=True, lazy=True),), render))


def test_a_condition_with_braces_that_gives_text_says_to_leave_them_out() -> None:
    with pytest.raises(Invalid) as raised:
        evaluate((template("{{ a }} == 1"),), scope_of({"a": 1}))
    assert "leave out the braces" in raised.value.diagnostics[0].label


def test_a_default_works_through_any_depth() -> None:
    assert value("{{ a.b.c['d'] | default('x') }}", a={}) == "x"
    assert value("{{ nope | default(nothing | default(3)) }}") == 3


@pytest.mark.parametrize("text", ["{{ n * n }}", "digits {{ n * n }}", "{{ [n * n] }}"])
def test_a_number_with_more_digits_than_python_writes_down_is_refused_in_any_text(text: str) -> None:
    names = {"n": 10**2200}
    with pytest.raises(Invalid) as of_yaml:
        value(text, **names)
    with pytest.raises(Invalid) as of_file:
        render_text(text, "a.j2", scope_of(names))
    assert {of_yaml.value.diagnostics[0].code, of_file.value.diagnostics[0].code} == {"CF0207"}


def test_a_mapping_has_its_methods_before_its_items_of_that_name_as_in_jinja() -> None:
    names = {"d": {"items": 1, "name": 2, "mro": 3, "__class__": 4}}
    text = "{{ d.items() | list | length }} {{ d['items'] }} {{ d.name }} {{ d.mro }}"
    assert value(text, **names) == "4 1 2 3"
    assert fault("x {{ d.__class__ }}", **names)[0] == "CF0205"


def test_faults_of_a_file_are_placed_in_the_file() -> None:
    with pytest.raises(Invalid) as raised:
        render_text("one\n{% if x %}\n  {{ x.y }}\n{% endif %}\n", "t/a.j2", scope_of({"x": {"z": 1}}))
    assert str(raised.value.diagnostics[0].span) == "t/a.j2:3:8"


# --- conditions ----------------------------------------------------------------------------------------


def test_conditions_stop_at_the_first_that_does_not_hold() -> None:
    assert evaluate((condition("n > 0"), True), scope_of({"n": 1})) is True
    assert evaluate((condition("n > 1"), condition("nope")), scope_of({"n": 1})) is False


@pytest.mark.parametrize(
    ("names", "said"),
    [({"x": "false"}, "the text"), ({"x": 1}, "the number 1"), ({"x": None}, "nothing"), ({"x": []}, "a list"),
     ({"x": {}}, "a mapping")],
)  # fmt: skip
def test_a_condition_that_is_no_boolean_is_an_error_with_the_fix(names: Mapping[str, Any], said: str) -> None:
    with pytest.raises(Invalid) as raised:
        evaluate((condition("x"),), scope_of(names))
    found = raised.value.diagnostics[0]
    assert found.code == "CF0203"
    assert said in found.message
    assert found.label.startswith("write `x ")


# --- files ---------------------------------------------------------------------------------------------


def test_a_file_is_rendered_with_ansibles_whitespace() -> None:
    text = "{% for n in [1, 2] %}\n{{ n }}\n{% endfor %}\nend\n"
    assert render_text(text, "a.j2", scope_of({})) == "1\n2\nend\n"
    assert render_text("#jinja2: trim_blocks:False\n" + text, "a.j2", scope_of({})) == "\n1\n\n2\n\nend\n"
    assert render_text("[% if true %]\nx\n[% endif %]\n", "a.j2", scope_of({}),
                       {"block_start_string": "[%", "block_end_string": "%]"}) == "x\n"  # fmt: skip
    assert render_text("last", "a.j2", scope_of({})) == "last"


def test_only_a_file_includes_others() -> None:
    with pytest.raises(Invalid, match="includes or extends others"):
        value("{% include 'b.j2' %}")


FILES = {
    "part.j2": "part of {{ name }}: {{ lookup('env', 'E') }}\n",
    "macros.j2": "{% macro hello(who, mark='!') %}hello {{ who }}{{ mark }}{% endmacro %}\n"
                 "{% macro named() %}{{ name | default('unseen') }}{% endmacro %}{% set size = 5 %}",
    "base.j2": "<{% block head %}base head{% endblock %}>\n[{% block body %}{% endblock %}]\n",
    "middle.j2": "{% extends 'base.j2' %}{% block head %}middle, {{ super() }}{% endblock %}",
    "broken.j2": "fine\n  {{ nothere }}\n",
    "wrong.j2": "fine\n{{ a b }}\n",
    "round.j2": "{% include 'round.j2' %}",
    "nested.j2": "{% import 'macros.j2' as m %}{{ m.hello('deep') }} {{ lookup('env', 'E') }}",
}  # fmt: skip


def whole(text: str, **names: Any) -> str:
    """A file rendered that may include FILES."""
    answers = {Need(Exec(argv=("printenv", "E"))).key: Reply(rc=0, stdout=b"env\n")}
    scope = Scope((Layer(Level.PLAY_VARS, {"name": "web", **names}),), render, answers)
    return render_text(text, "t/a.j2", scope, find=lambda one: (f"t/{one}", FILES[one]) if one in FILES else None)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("{% include 'part.j2' %}", "part of web: env"),
     ("{% set name = 'own' %}{% include 'part.j2' %}", "part of own: env"),
     ("{% for name in 'ab' %}{% include 'part.j2' %}{% endfor %}", "part of a: envpart of b: env"),
     ("{% include 'nope.j2' ignore missing %}x", "x"),
     ("{% include ['nope.j2', 'part.j2'] %}", "part of web: env"),
     ("{% include name ~ '.j2' ignore missing %}y", "y"),
     ("{% import 'macros.j2' as m %}{{ m.hello('you') }}{{ m.size }}", "hello you!5"),
     ("{% from 'macros.j2' import hello as hi %}{{ hi('you', mark='?') }}", "hello you?"),
     ("{% import 'macros.j2' as m %}{{ m.named() }}", "unseen"),
     ("{% import 'macros.j2' as m with context %}{{ m.named() }}", "web"),
     ("{% import 'nested.j2' as m %}x", "x"), ("{% include 'nested.j2' %}", "hello deep! env"),
     ("{% extends 'base.j2' %}{% block body %}{{ name }}{% endblock %}", "<base head>\n[web]"),
     ("{% extends 'middle.j2' %}{% block body %}x{% endblock %}", "<middle, base head>\n[x]"),
     ("{% extends 'base.j2' %}{% block body %}{{ self.head() }}{% endblock %}", "<base head>\n[base head]")],
)  # fmt: skip
def test_a_file_includes_imports_and_extends_others(text: str, wanted: str) -> None:
    """As Jinja documents them; a file imported without context sees no variables."""
    assert whole(text) == wanted


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [("x\n{% include 'broken.j2' %}", "t/broken.j2:2:6", "`nothere` is not defined"),
     ("x\n{% include 'wrong.j2' %}", "t/wrong.j2:2:6", "can't be parsed"),
     ("x\n\n{% include 'nope.j2' %}", "t/a.j2:3:1", "the file nope.j2 is not found"),
     ("{% include '../etc/passwd' %}", "t/a.j2:1:1", "is not found"),
     ("{% include '/etc/passwd' %}", "t/a.j2:1:1", "is not found"),
     ("{% import 'macros.j2' as m %}\n{{ m.hello() }}\n{{ nope }}", "t/a.j2:3:4", "`nope` is not defined"),
     ("{% include 'round.j2' %}", "t/round.j2:1:1", "it never ends")],
)  # fmt: skip
def test_a_fault_in_an_included_file_stands_in_that_file(text: str, place: str, said: str) -> None:
    with pytest.raises(Invalid) as raised:
        whole(text.replace("{{ m.hello() }}", ""))
    found = raised.value.diagnostics[0]
    assert (str(found.span), said in found.message) == (place, True), found


# --- what a template may change, and how much it may ask for -----------------------------------------------


@pytest.mark.parametrize(
    "text",
    ["{{ given.append(1) }}", "{{ given.sort() }}", "{{ map.update({'a': 2}) }}", "{{ [given][0].append(1) }}",
     "{% set own = [given] %}{{ own[0].append(1) }}", "{{ map.pop('a') }}", "{{ map.clear() }}"],
)  # fmt: skip
def test_a_template_changes_no_variable(text: str) -> None:
    given, known = [1], {"a": 1}
    with pytest.raises(Invalid) as raised:
        value(text, given=given, map=known)
    assert raised.value.diagnostics[0].code == "CF0205"
    assert (given, known) == ([1], {"a": 1})


def test_a_list_that_a_template_made_arrives_as_a_list() -> None:
    found = value("{% set l = [{'a': []}] %}{% set _ = l[0].a.append(given) %}{{ l }}", given=[1])
    assert found == [{"a": [[1]]}]
    assert [type(one) for one in (found, found[0], found[0]["a"])] == [list, dict, list]


@pytest.mark.parametrize(
    "text", ["{{ x.index }}", "{{ x.index | string }}", "a {{ x.index }}", "{{ self }}", "{{ [x.index] }}"]
)
def test_a_function_is_no_value(text: str) -> None:
    with pytest.raises(Invalid, match="this is a function"):
        value(text, x=[1])


EVIL = "a" * 40 + "!"
SLOW = [f"{{{{ out | {call} }}}}" for call in (
    "regex_search('^(a+)+$')", "regex_replace('^(a|a)+$', '')", "regex_findall('(a*)*b')")] + [
    f"{{{{ out is {call} }}}}" for call in ("match('(a+)+$')", "search('^(a|aa)+$')", "regex('^(a+)+$')")] + [
    "{{ [out] | select('search', '^(a+)+$') | list }}", "{{ lookup('varnames', '^(n+)+!$') }}"]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("text", SLOW)
def test_a_regular_expression_that_would_run_for_ever_is_stopped(text: str) -> None:
    """`(a+)+$` over 40 letters takes 2 to the 40 steps."""
    begun = time.perf_counter()
    with pytest.raises(Invalid, match="takes longer than 2 s") as raised:
        value(text, out=EVIL, **{"n" * 40: 1})
    assert raised.value.diagnostics[0].code == "CF0207"
    assert time.perf_counter() - begun < 60  # of a machine that is busy with other things


ROUNDS = "{% for a in range(90000) %}{% for b in range(90000) %}{% endfor %}{% endfor %}"
SEARCHES = "{% for a in range(90000) %}{% if out is search('^(a+)+$') %}{% endif %}{% endfor %}"


@pytest.mark.parametrize("text", [ROUNDS, SEARCHES, "{{ inner }}{% if true %}{% endif %}"])
def test_a_template_that_would_loop_for_ever_is_stopped(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the time it takes itself, with the regular expressions and variables in it."""
    monkeypatch.setattr(limits, "LONGEST", 0.3)
    with pytest.raises(Invalid) as raised:
        value(text, out=EVIL[-18:], inner=template(ROUNDS))
    assert [(one.code, one.span.line) for one in raised.value.diagnostics if one.span] == [("CF0207", 1)]
    assert value("{% for a in range(9) %}{{ a }}{% endfor %}") == "012345678", "and the next has its own time"


def test_a_template_file_that_would_loop_for_ever_is_stopped_at_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LONGEST", 0.3)
    with pytest.raises(Invalid, match="is not done") as raised:
        render_text(f"first\n{ROUNDS}\n", "site.j2", scope_of({}))
    assert [(one.span.file, one.span.line) for one in raised.value.diagnostics if one.span] == [("site.j2", 2)]


@pytest.mark.parametrize(
    "text",
    ["{{ 'x' * 10 ** 9 }}", "{{ '%1000000000d' % 1 }}", "{{ '%*d' % (1000000000, 1) }}",
     "{{ '%.1000000000f' | format(1.5) }}", "{{ 'x' | center(10 ** 9) }}", "{{ 'x'.ljust(10 ** 9) }}",
     "{{ 'x'.zfill(10 ** 9) }}", "{{ 'x'.expandtabs(10 ** 9) }}", "{{ range(13) | permutations }}",
     "{{ range(60) | combinations(30) }}", "{{ [0, 1] | product(repeat=30) }}",
     "{{ query('sequence', 'count=10000000') }}",
     "{{ 'x' | comment(prefix_count=10 ** 9) }}", "{{ 'x' | indent(10 ** 9) }}", "{{ '{:1000000000d}'.format(1) }}",
     "{{ 'p' | password_hash('sha512', 'salt', rounds=10 ** 9) }}"],
)  # fmt: skip
def test_a_template_that_would_fill_the_memory_is_refused_at_once(text: str) -> None:
    begun = time.perf_counter()
    with pytest.raises(Invalid) as raised:
        value(text)
    assert raised.value.diagnostics[0].code in ("CF0202", "CF0205", "CF0207")
    assert time.perf_counter() - begun < 60


# --- lookups -------------------------------------------------------------------------------------------


def answered(text: str, replies: list[Reply], **names: Any) -> tuple[Any, list[Any]]:
    """Render, answering each operation that is asked for with the next reply."""
    answers: dict[str, Reply] = {}
    asked = []
    while True:
        try:
            return render(template(text), Scope((Layer(Level.PLAY_VARS, names),), render, answers)), asked
        except Need as need:
            asked.append(need.operation)
            answers[need.key] = replies.pop(0)


def test_a_lookup_asks_for_an_operation_and_goes_on_with_its_reply() -> None:
    missing = Reply(ok=False, errno="ENOENT")
    found, asked = answered("{{ lookup('file', 'a') }}", [missing, Reply(stdout=b"text\n")], playbook_dir="/p")
    assert (found, asked) == ("text", [Read(path="/p/files/a"), Read(path="/p/a")])


def test_lookups_of_the_environment_and_of_commands() -> None:
    assert answered("{{ lookup('env', 'HOME') }}", [Reply(rc=0, stdout=b"/root\n")])[0] == "/root"
    assert answered("{{ lookup('env', 'NOPE') }}", [Reply(rc=1)])[0] == ""
    assert answered("{{ query('lines', 'ls') }}", [Reply(rc=0, stdout=b"a\nb\n")])[0] == ["a", "b"]
    with pytest.raises(Invalid, match="ended with 3: no"):
        answered("{{ lookup('pipe', 'x') }}", [Reply(rc=3, stdout=b"", stderr=b"no\n")])


def test_fileglob_gives_files_sorted() -> None:
    entries = [
        {"path": "/d/b.txt", "kind": "file"},
        {"path": "/d/a.txt", "kind": "file"},
        {"path": "/d/c", "kind": "file"},
    ]
    found, asked = answered("{{ query('fileglob', '/d/*.txt') }}", [Reply(data={"entries": entries})])
    assert (found, asked) == (["/d/a.txt", "/d/b.txt"], [Walk(path="/d", depth=1)])


def test_a_password_is_made_once_and_kept_in_its_file() -> None:
    replies = [Reply(ok=False, errno="ENOENT"), Reply(stdout=bytes(range(160))), Reply(data={"kind": "directory"}),
               Reply(), Reply(), Reply(stdout=b"of another host\n")]  # fmt: skip
    found, asked = answered("{{ lookup('password', '/p/x length=20') }}", replies)
    written = next(one for one in asked if isinstance(one, Write))
    assert (len(written.content), written.mode, written.force) == (21, "0600", False)
    assert found == "of another host"  # who wrote first wins, so that all hosts have one password


def test_two_passwords_of_one_task_are_two() -> None:
    asked = answered("{{ [lookup('password', '/dev/null'), lookup('password', '/dev/null length=21')] }}",
                     [Reply(stdout=bytes(range(200)))] * 4)[1]  # fmt: skip
    assert len({(one.offset, one.length) for one in asked}) == len(asked)


@pytest.mark.parametrize(
    ("kind", "items", "wanted"),
    [("loop", [1, 2], [1, 2]), ("items", [[1, 2], 3], [1, 2, 3]), ("dict", {"a": 1}, [{"key": "a", "value": 1}]),
     ("nested", [[1, 2], ["a"]], [[1, "a"], [2, "a"]]), ("together", [[1, 2], ["a"]], [[1, "a"], [2, None]]),
     ("sequence", "start=1 end=3 format=web%02d", ["web01", "web02", "web03"]), ("sequence", "count=2", ["1", "2"]),
     ("sequence", "3-1/-1", ["3", "2", "1"]), ("indexed_items", ["a", "b"], [[0, "a"], [1, "b"]]),
     ("subelements", [[{"l": ["x", "y"]}], "l"], [[{"l": ["x", "y"]}, "x"], [{"l": ["x", "y"]}, "y"]])],
)  # fmt: skip
def test_loops_go_over_what_ansible_says(kind: str, items: Any, wanted: list[Any]) -> None:
    assert expand(Loop(items, kind), scope_of({})) == wanted


def test_a_loop_over_a_mapping_says_what_to_write() -> None:
    with pytest.raises(Invalid) as raised:
        expand(Loop({"a": 1}), scope_of({}))
    assert raised.value.diagnostics[0].label == "write `| dict2items`"


# --- scopes --------------------------------------------------------------------------------------------


def test_the_first_use_of_a_fact_asks_for_the_facts() -> None:
    scope = Scope((), render, facts_known=False)
    with pytest.raises(NeedFacts):
        render(template("{{ ansible_distribution }}"), scope)
    with pytest.raises(Invalid):
        render(template("{{ other }}"), scope)


def test_vars_is_every_variable_rendered_when_asked_for() -> None:
    scope = scope_of({"a": template("{{ 1 + 1 }}"), "bad": template("{{ nope }}")})
    view = View(lambda: scope)
    assert view["a"] == 2
    assert sorted(view) == ["a", "bad"]


def test_free_names_leave_out_what_the_template_sets_itself() -> None:
    """Names of functions are among them: a variable may have the same."""
    assert names_of(template("{% set a = b %}{% for c in d %}{{ a ~ c }}{% endfor %}")).free == {"b", "d"}
    around = "{% extends 'base.j2' %}{% set a = b %}{% import 'm.j2' as m %}{% macro f() %}{% endmacro %}"
    block = "{% block c %}{{ a ~ m.x ~ f() ~ d }}{% endblock %}"
    assert names_of(template(around + block)).free == {"b", "d"}, "a block sees what its file made around it"
    assert names_of(condition("x is defined and lookup('env', 'A') == y")).free == {"x", "y", "lookup"}


def test_check_names_unknown_filters_without_running() -> None:
    assert [d.label for d in check_template(template("{{ 1 / 0 | defalt }}"))] == ["did you mean `default`?"]
    assert check_template(Template("a", template("x").span, expression=True)) == []


SIMPLE = ["{{ a }}", "{{a}}", "x {{ a.b }} y {{ c }}", "{{ a }}{{ b.c.d }}\n", "{{ a | b }}", "{{ 1 }}",
          "{{ a.b() }}", "{{ a['b'] }}", "{{ true }}", "{{ a }} {% if b %}{% endif %}", "{# {{ a }} #}",
          "{{ a. }}", "{{ a b }}", "{{- a -}}", "{{ not }}",
          "{ {{ a }}", "{{ a.not }}", "{{ lookup }}", "{{ a + 1 }}", "{{ a ~ b.c }} {{ d | default('x') }}",
          "{{ a.b|default(omit) }}", "{{ a | default('', true) }}", "{{ a ** 2 }}", "{{ a - }}", "{{ a | default(b) }}",
          "{{ a + loop }}", "{{ a | default }}", "{{ a + '{{' }}"]  # fmt: skip
CONDITIONS = ["a", "a.b", "a == 1", "a.b != 'x'", "a > 1", "not a", "a and b", "a is defined", "a == b", "'x' == a",
              "true", "a ==", "a == 'it''s'", "a == 1 or b", "a.b == \"c\"", "a is not defined and b", "a or b and c",
              "not a.b and c == 'd' or e is undefined", "not a is defined", "a and", "and a", "a is foo", "a == b == c",
              "a and not b > 3", "a is defined or true", "a == not b", "a if b"]  # fmt: skip


@pytest.mark.parametrize(("text", "expression"), [(t, False) for t in SIMPLE] + [(t, True) for t in CONDITIONS])
def test_what_is_seen_without_parsing_is_what_jinja_sees(text: str, expression: bool) -> None:
    names = simple_names(text, expression)
    if names is not None:
        assert names == parsed_names(text, expression), "what can't be parsed is not simple, either"


PIECES = ["a", "b.c", "x", "1", "'s'", "not", "and", "or", "==", ">", "is", "defined", "undefined", "+", "~", "|",
          "default('y')", "default(omit)", "{{", "}}", "(", ")", "in", "-", "true", ","]  # fmt: skip


@settings(max_examples=1500, deadline=None, derandomize=True, database=None)
@given(st.lists(st.sampled_from(PIECES), max_size=8), st.booleans())
def test_whatever_is_seen_without_parsing_jinja_sees_too(pieces: list[str], expression: bool) -> None:
    text = " ".join(pieces)
    names = simple_names(text, expression)
    assert names is None or names == parsed_names(text, expression)


def test_the_usual_templates_are_simple() -> None:
    assert [simple_names(text, False) is not None for text in SIMPLE[:4]] == [True] * 4
    assert [simple_names(text, True) is not None for text in CONDITIONS[:9]] == [True] * 9
