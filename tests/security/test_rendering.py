# ruff: noqa: E501
"""What came into being at run time is data: no way through a playbook renders or evaluates it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.security.tool import Tool

EXPRESSIONS = (
    "7*7", "7 * 7", "'a'.upper()", "config", "self", "cycler.__init__.__globals__", "''.__class__.__mro__[1].__subclasses__()",
    "lookup('pipe', 'touch HIT')", "query('pipe', 'touch HIT')", "lookup('file', '/etc/shadow')",
    "lookup('env', 'HOME')", "hostvars['localhost']", "vars", "omit", "inventory_hostname", "undefined_name",
    "lipsum.__globals__['os'].popen('touch HIT').read()", "namespace", "range(10)", "joiner('x')",
    "request.application.__globals__", "'%s'.format(1)", "'{0.__class__}'.format('')", "1/0", "secret", "secret | b64encode",
    "lookup('template', 'x')", "lookup('password', 'HIT')", "now()", "ansible_facts",
)  # fmt: skip
TEXTS = (
    "{% for x in [1] %}boom{% endfor %}", "{%- set secret = 1 -%}", "{% raw %}x{% endraw %}", "{# gone #}", "{{", "}}",
    "{%", "{{ '}}' }}", "#{ x }", "${secret}", "{{{{ secret }}}}", "{{ secret }}{{ secret }}", "x {{ secret }} y",
    "{{- secret -}}", "{{+ secret }}", "\n{{ secret }}\n", "{{\nsecret\n}}", "{% include 'x' %}", "{% import 'x' as y %}",
    "{% macro a() %}{% endmacro %}{{ a() }}", "!unsafe {{ secret }}", "!vault x", "[1, 2, 3]", "{'a': 1}", "012", "true",
    "~", "$(touch HIT)", "`touch HIT`", "%(secret)s", "\\{{ secret }}", "é {{ secret }} 漢", "#jinja2: trim_blocks:False",
)  # fmt: skip
PAYLOADS = [f"{{{{ {e} }}}}" for e in EXPRESSIONS] + list(TEXTS)

PLAY = """
- hosts: one
  vars:
    secret: SENTINEL
    again: "{{ item }}"
    deeper: "{{ again | trim('') }}"
    kept: {}
  tasks:
    - name: Facts
      setup: {gather_subset: [env]}
    - {name: Output, command: cat payloads.json, args: {chdir: HERE}, register: output}
    - {name: File, slurp: {src: HERE/payloads.json}, register: file}
    - name: Turn them over
      set_fact:
        from_output: "{{ output.stdout | from_json }}"
        from_file: "{{ file.content | b64decode | from_json }}"
        from_lookup: "{{ lookup('file', 'HERE/payloads.json') | from_json }}"
        from_environment: "{{ ansible_env.PAYLOADS | from_json }}"
    - {name: "Loop over {{ item }}", debug: {msg: "{{ item }}"}, loop: "{{ from_output }}", register: looped}
    - {name: Keep, set_fact: {from_loop: "{{ looped.results | map(attribute='msg') | list }}"}}

- hosts: two
  vars:
    secret: SENTINEL
    again: "{{ item }}"
    deeper: "{{ again ~ '' }}"
    sources:
      output: "{{ hostvars.one.from_output }}"
      file: "{{ hostvars.one.from_file }}"
      lookup: "{{ hostvars.one.from_lookup }}"
      environment: "{{ hostvars.one.from_environment }}"
      loop: "{{ hostvars.one.from_loop }}"
      register: "{{ hostvars.one.looped.results | map(attribute='item') | list }}"
      vars_lookup: "{{ lookup('vars', 'mine') }}"
      json_in_text: "{{ '{\\"a\\": ' ~ (mine | to_json) ~ '}' }}"
  tasks:
    - {name: Facts of another host, set_fact: {mine: "{{ hostvars['one'].from_file }}"}}
    - {name: Write what arrived, copy: {dest: HERE/arrived.json, content: "{{ sources | to_json }}"}}
    - {name: A file of templates, template: {src: t.j2, dest: HERE/templated.json}}
    - {name: "{{ item }}", debug: {msg: "{{ deeper }}"}, loop: "{{ mine }}", register: through, when: deeper is defined}
    - name: Write what went through
      copy: {dest: HERE/through.json, content: "{{ through.results | map(attribute='msg') | list | to_json }}"}
    - {name: As arguments, command: {argv: [printf, "%s", "{{ item }}"], expand_argument_vars: false}, loop: "{{ mine }}", register: printed}
    - name: Write what was printed
      copy: {dest: HERE/printed.json, content: "{{ printed.results | map(attribute='stdout') | list | to_json }}"}
"""


def test_nothing_that_came_from_a_host_is_rendered(tool: Tool, monkeypatch: pytest.MonkeyPatch) -> None:
    here = str(tool.folder)
    payloads = [payload.replace("HIT", f"{here}/hit") for payload in PAYLOADS]
    monkeypatch.setenv("PAYLOADS", json.dumps(payloads))
    tool.write("payloads.json", json.dumps(payloads))
    tool.write("t.j2", "{{ mine | to_json }}")
    tool.write("hosts", "one ansible_connection=local\ntwo ansible_connection=local\n")
    tool.write("play.yml", PLAY.replace("HERE", here))

    said = tool.run("apply", "play.yml", "-i", "hosts")

    assert said.code == 0, said.text
    assert not Path(here, "hit").exists(), "a payload was executed"
    arrived = json.loads(Path(here, "arrived.json").read_text())
    assert json.loads(arrived.pop("json_in_text"))["a"] == payloads
    for source, found in arrived.items():
        assert found == payloads, source
    assert json.loads(Path(here, "templated.json").read_text()) == payloads
    assert json.loads(Path(here, "through.json").read_text()) == payloads
    assert json.loads(Path(here, "printed.json").read_text()) == [p.rstrip("\n") for p in payloads]  # as Ansible has it
    assert "SENTINEL" not in said.text
    print(f"{len(payloads)} payloads over {len(arrived) + 4} sources: {len(payloads) * (len(arrived) + 4)} inputs")


CONDITIONS = ["1 == 1", "true", "{{ true }}", "lookup('pipe', 'touch HIT') == ''", "not false", "secret is defined"]


def test_text_that_came_from_a_host_decides_nothing(tool: Tool) -> None:
    tasks = ""
    for number, text in enumerate(CONDITIONS):
        tool.write(f"c{number}", text.replace("HIT", f"{tool.folder}/hit"))
        tasks += f"    - {{name: Read, command: cat c{number}, args: {{chdir: {tool.folder}}}, register: r{number}}}\n"
        for word in ("when", "failed_when", "changed_when", "until"):
            tasks += f"    - {{name: {word} {number}, debug: {{msg: reached}}, {word}: r{number}.stdout, retries: 0, ignore_errors: true}}\n"
        tasks += f"    - {{name: that {number}, assert: {{that: ['r{number}.stdout']}}, ignore_errors: true}}\n"
    tool.write("play.yml", f"- hosts: localhost\n  vars: {{secret: 1}}\n  tasks:\n{tasks}")

    said = tool.run("apply", "play.yml", "--json")

    ends = [json.loads(line) for line in said.out.splitlines()]
    judged = [e["data"] for e in ends if e["kind"] == "task_ended" and e["data"]["name"] != "Read"]
    print(f"{len(judged)} conditions from output")
    assert len(judged) == 5 * len(CONDITIONS), said.text
    assert {data["status"] for data in judged} == {"ignored"}, [d for d in judged if d["status"] != "ignored"]
    assert not (tool.folder / "hit").exists()


ESCAPES = (
    "''.__class__", "''.__class__.__mro__[1].__subclasses__()", "cycler.__init__.__globals__", "joiner.__init__.__globals__",
    "namespace.__init__.__globals__", "lipsum.__globals__", "self.__init__.__globals__", "self._TemplateReference__context",
    "'{0.__class__}'.format('')", "'{0.__class__.__mro__}'.format(1)", "'{x.__init__.__globals__}'.format(x=cycler)",
    "'{0.__class__}'.format_map({'0': 1})", "('%s'|format).__class__", "''|attr('__class__')", "''|attr('__cl'~'ass__')",
    "''['__class__']", "''['\\x5f\\x5fclass\\x5f\\x5f']", "[]|map(attribute='__class__')|list|first", "['']|map(attribute='__class__')|first",
    "['']|map('attr', '__class__')|first", "['']|selectattr('__class__')|list", "['']|groupby('__class__')", "['']|sort(attribute='__class__.__mro__')|first",
    "range.__class__", "dict.__base__", "(1).__class__.__base__", "{}.__class__.__base__", "undefined_thing.__class__",
    "[].append", "[].__reduce_ex__(2)", "''.format.__self__.__class__", "(lookup).__globals__", "(lookup).__closure__", "lookup.__code__",
    "query.__globals__", "omit.__class__.__init__.__globals__", "hostvars.__class__", "vars.__class__.__init__", "ansible_facts.__class__",
    "inventory_hostname.__class__", "groups.__class__", "''|regex_replace('', '').__class__", "('' | string).__class__",
    "'a'|extract({'a': ''}, morekeys='__class__')", "'__class__'|extract('')", "''|json_query('__class__')", "dict(a=1).__init__.__self__.__class__",
    "(1|random).__class__", "1|attr('real')|attr('__class__')", "get_flashed_messages.__globals__", "url_for.__globals__",
)  # fmt: skip


def test_templates_find_no_way_out_of_the_sandbox(tool: Tool) -> None:
    """Every one fails, or stays undefined; none gives a class, a function's globals or a module."""
    for number, text in enumerate(ESCAPES):
        tool.write(f"n{number}.j2", f"<{{{{ ({text}) | string }}}}>")
    tasks = [{"name": f"n{number}", "debug": {"msg": f"{{{{ lookup('template', '{tool.folder}/n{number}.j2') }}}}"},
              "ignore_errors": True} for number in range(len(ESCAPES))]  # fmt: skip
    tool.write("play.yml", json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]))

    said = tool.run("apply", "play.yml", "--json")
    events = [json.loads(line) for line in said.out.splitlines()]
    ends = {
        e["data"]["name"]: e["data"] for e in events if e["kind"] == "task_ended" and e["data"]["module"] == "debug"
    }
    assert len(ends) == len(ESCAPES), said.text
    leaks = {ESCAPES[int(name[1:])]: data["msg"] for name, data in ends.items()
             if data["status"] == "ok" and any(word in data["msg"] for word in ("<class", "function", "module", "0x"))}  # fmt: skip
    harmless = [ESCAPES[int(name[1:])] for name, data in ends.items() if data["status"] == "ok"]
    print(f"{len(ESCAPES)} ways out tried; {len(harmless)} gave harmless text: {harmless}")
    assert not leaks, leaks


def test_a_variable_of_the_environment_is_no_template(tool: Tool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "EVIL", "{{ 7 * 7 }}")
    tool.write("play.yml", "- hosts: localhost\n  tasks:\n    - {debug: {msg: \"{{ lookup('env', 'EVIL') }}\"}}\n")
    assert '"msg":"{{ 7 * 7 }}"' in tool.run("apply", "play.yml", "--json").text
