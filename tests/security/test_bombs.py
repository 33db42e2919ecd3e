# ruff: noqa: E501
"""Texts made to eat memory or time are refused at once, by the command that people run on what others sent them."""

from __future__ import annotations

import functools
import http.server
import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.security.tool import Tool, limit_memory, reap

SECONDS = 5.0  # of processor time without what the tool needs to start: a bomb takes hours, a busy machine twice as long as a quiet one
MEGABYTES = 100  # beyond what the tool needs to start
LIMIT = 400  # megabytes of address space: the tool needs 250 to start


def laughs(levels: int, wide: int) -> str:
    lines = [f"a0: &a0 [{', '.join(['x'] * wide)}]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * wide)}]" for n in range(1, levels)]
    return "\n".join(lines) + f"\nz: *a{levels - 1}\n"


def merges(levels: int, wide: int) -> str:
    lines = ["m0: &m0 {k: v}"]
    lines += [f"m{n}: &m{n} {{<<: [{', '.join([f'*m{n - 1}'] * wide)}], k{n}: v}}" for n in range(1, levels)]
    return "\n".join(lines) + "\n"


def keyed(levels: int) -> str:
    """Mappings nested by aliases in both values of a pair."""
    lines = ["b0: &b0 {l: x, r: x}"]
    return "\n".join(lines + [f"b{n}: &b{n} {{l: *b{n - 1}, r: *b{n - 1}}}" for n in range(1, levels)]) + "\n"


YAML = {
    **{f"laughs {levels}x{wide}": laughs(levels, wide) for levels, wide in ((9, 10), (40, 10), (30, 2), (6, 100), (4, 400), (60, 3))},
    **{f"merges {levels}x{wide}": merges(levels, wide) for levels, wide in ((9, 10), (30, 2), (12, 8), (40, 4))},
    **{f"keyed {levels}": keyed(levels) for levels in (22, 30, 60, 200)},
    **{f"nested {what[0]} {count}": what * count for what in ("[", "{a: ", "- ", "? ", "!!seq [", "&a [") for count in (1000, 5000)},
    "itself": "a: &a [*a]\n",
    "itself by a mapping": "a: &a {b: *a}\n",
    "itself by a key": "a: &a {*a : 1}\n",
    "two in a ring": "a: &a {b: &b {a: *a}}\nc: *b\n",
    "a long plain scalar": "a: " + "x " * 200_000,
    "a long quoted scalar": 'a: "' + "\\x41" * 100_000,
    "a long key": "x" * 200_000 + ": 1",
    "a long comment": "#" + "x" * 2_000_000,
    "blanks": " " * 1_000_000 + "[",
    "many documents": "---\n" * 50_000,
    "a large number": "a: " + "9" * 1_000_000,
    "a large octal": "a: 0o" + "7" * 100_000,
    "a small float": "a: 1e-" + "9" * 100_000,
    "deep block": "".join(" " * n + "a:\n" for n in range(3000)),
}  # fmt: skip
TAGS = [
    "!!python/object:os.system", "!!python/object/apply:os.system [id]", "!!python/name:os.system", "!!python/module:os",
    "!!python/object/new:subprocess.Popen [[id]]", "!!python/tuple [1]", "!!python/bytes aa", "!!python/str a", "!!python/int 1",
    "!!python/object:__main__.X {}", "!<tag:yaml.org,2002:python/object/apply:os.system> [id]", "!<!x> 1", "!ruby/object:X {}",
    "!!java.lang.Runtime []", "!!javax.script.ScriptEngineManager []", "!x 1", "!!x 1", "!env HOME", "!include /etc/passwd",
    "!ENV ${HOME}", "!Ref x", "!Sub x", "!reference [a]", "!!binary aGk=", "!!set {a}", "!!omap [a: 1]", "!!pairs [a: 1]",
    "!!timestamp 2026-11-25", "!!merge a", "!!value =", "!file /etc/passwd", "!command id", "!join [a, b]", "!vault-encrypted x",
    "!lambda x", "!code x", "!!python/dict {}", "!!python/list []", "!!python/complex 1j", "!!python/none ''",
]  # fmt: skip


def _validate(tool: Tool, *paths: str) -> tuple[int, bytes, float, int]:
    """(exit code, what was said, seconds of processor time, peak in KiB)."""
    process = subprocess.Popen([sys.executable, "-m", "ciflow", "validate", *paths], cwd=tool.folder, env=tool.env,
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, preexec_fn=lambda: limit_memory(LIMIT))  # fmt: skip
    assert process.stderr is not None
    watchdog = threading.Timer(60, process.kill)
    watchdog.start()
    said = process.stderr.read()
    usage = reap(process)
    watchdog.cancel()
    return process.returncode, said, usage.ru_utime + usage.ru_stime, usage.ru_maxrss


@pytest.fixture
def idle(tool: Tool) -> tuple[float, int]:
    """What it costs to find a small fault."""
    tool.write("small.yml", "- hosts: localhost\n  task: []\n")
    code, _, spent, peak = _validate(tool, "small.yml")
    assert code == 3
    return spent, peak


@pytest.mark.parametrize("name", YAML)
def test_a_yaml_bomb_is_refused_before_it_costs_time_or_memory(tool: Tool, idle: tuple[float, int], name: str) -> None:
    tool.write("bomb.yml", YAML[name])
    code, said, spent, peak = _validate(tool, "bomb.yml")
    print(f"{name}: {spent - idle[0]:.2f} s, {(peak - idle[1]) / 1024:.0f} MB")
    assert code == 3 and b"Traceback" not in said, said[-2000:]
    assert spent - idle[0] < SECONDS
    assert (peak - idle[1]) / 1024 < MEGABYTES
    assert len(said) < 100_000


def test_tags_that_make_objects_are_refused(tool: Tool) -> None:
    files = []
    for number, tag in enumerate(TAGS):
        files.append(f"t{number}.yml")
        tool.write(files[-1], f"- hosts: localhost\n  vars:\n    x: {tag}\n  tasks: []\n")
    code, said, _, _ = _validate(tool, *files)
    accepted = [tag for tag, path in zip(TAGS, files, strict=True) if f"--> {path}:3:".encode() not in said]
    print(f"{len(TAGS)} tags, {len(accepted)} of them harmless: {accepted}")
    assert code == 3 and b"Traceback" not in said, said[-2000:]
    assert not [tag for tag in accepted if "python" in tag or "java" in tag or "ruby" in tag], accepted


JINJA = [
    "{{ 9 ** 9 ** 9 }}", "{{ 'x' * 10 ** 10 }}", "{{ [0] * 10 ** 9 }}", "{{ (0,) * 10 ** 9 }}", "{{ range(10 ** 9) | list }}",
    "{% for i in range(10 ** 9) %}x{% endfor %}", "{{ 'x'.ljust(10 ** 10) }}", "{{ 'x'.center(10 ** 10) }}", "{{ 'x'.zfill(10 ** 10) }}",
    "{{ '%9999999999d' % 1 }}", "{{ '{:9999999999}'.format(1) }}", "{{ 'x' | center(10 ** 10) }}", "{{ 'a' | indent(10 ** 10) }}",
    "{{ '%s' | format('x' * 10 ** 9) }}", "{{ ('x' * 10 ** 5).replace('x', 'x' * 10 ** 5) }}",
    "{{ 'x' * 10 ** 5 * 10 ** 5 }}", "{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}",
    "{{ lookup('sequence', 'start=1 end=9999999999') }}", "{{ query('sequence', 'count=1000000000') }}", "{{ [1] | product(range(10**5), range(10**5)) | list }}",
    "{{ 'x' | wordwrap(0) }}", "{{ ['x' * 1000] * 10 ** 8 | join }}", "{{ ('x' * 10000) | batch(1) | list | product | list }}",
    "{{ 10 ** 100000 ** 2 }}", "{{ 'a' | password_hash(rounds=999999999) }}", "{{ ('[' * 100000) | from_json }}", "{{ ('[' * 100000) | from_yaml }}",
]  # fmt: skip


def test_two_thousand_faults_are_said_at_once(tool: Tool, idle: tuple[float, int]) -> None:
    tool.write("faults.yml", "- hosts: localhost\n" + "".join(f"  tsks{n}: 1\n" for n in range(2000)))
    code, said, spent, _ = _validate(tool, "faults.yml")
    assert code == 3 and b"more" in said
    assert spent - idle[0] < SECONDS


DEEP = [
    "{{ " + "(" * 5000 + " }}", "{{ " + "[" * 5000 + " }}", "{{ " + "not " * 5000 + "x }}", "{{ " + "-" * 5000 + "1 }}",
    "{{ 1" + "|upper" * 5000 + " }}", "{{ 1" + ".a" * 5000 + " }}", "{{ 1" + " + 1" * 5000 + " }}",
    "{% if 1 %}" * 500 + "{% endif %}" * 500,
]  # fmt: skip


def test_a_template_nested_too_deep_is_a_placed_error(tool: Tool) -> None:
    wrong = []
    for number, text in enumerate(DEEP):
        tool.write(f"d{number}.yml", f"- hosts: localhost\n  tasks:\n    - debug: {{msg: '{text}'}}\n")
        code, said, _, _ = _validate(tool, f"d{number}.yml")
        wrong += [text[:20]] if code not in (0, 3) or b"Traceback" in said else []
    print(f"{len(DEEP)} deep templates")
    assert not wrong


def test_templates_made_to_eat_time_or_memory_are_valid_or_not_but_never_run_by_validate(
    tool: Tool, idle: tuple[float, int]
) -> None:
    """All of them in one playbook: looking at templates costs no more than reading them."""
    tasks = [{"name": str(number), "debug": {"msg": text}} for number, text in enumerate(JINJA)]
    tool.write("bomb.yml", json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]))
    code, said, spent, peak = _validate(tool, "bomb.yml")
    print(f"{len(JINJA)} templates: {spent - idle[0]:.2f} s, {(peak - idle[1]) / 1024:.0f} MB")
    assert code in (0, 3) and b"Traceback" not in said, said[-3000:]
    assert spent - idle[0] < 3 * SECONDS
    assert (peak - idle[1]) / 1024 < MEGABYTES


def test_template_bombs_in_tasks_end_their_tasks_and_nothing_else(tool: Tool) -> None:
    for number, text in enumerate(JINJA):
        tool.write(f"t{number}.j2", text)
    tasks: list[dict[str, object]] = [
        {"name": str(n), "template": {"src": f"t{n}.j2", "dest": f"{tool.folder}/x"}, "ignore_errors": True}
        for n in range(len(JINJA))
    ]
    tool.write("play.yml", json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]))
    process = subprocess.Popen([sys.executable, "-m", "ciflow", "apply", "play.yml", "--json"], cwd=tool.folder,
                               env=tool.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               preexec_fn=lambda: limit_memory(1500))  # fmt: skip
    try:
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    ends = {
        e["data"]["name"]: e["data"] for line in out.splitlines() if (e := json.loads(line))["kind"] == "task_ended"
    }
    slow = [JINJA[int(name)][:60] for name, data in ends.items() if data["duration"] > 2 * SECONDS]
    print(f"{len(ends)} templates, slower than {2 * SECONDS:g} s: {slow}")
    assert process.returncode == 0 and len(ends) == len(JINJA), err[-2000:]
    assert not slow


WIDE = {
    "a range": ("h.ini", "web[0:99999999999]\n", "names more than"),
    "ranges of ranges": ("h.ini", "web[0:999][0:999][0:999]\n", "names more than"),
    "many ranges": ("h.ini", "".join(f"w{n}-[0:99999]\n" for n in range(3)), "has at most"),
    "a range in YAML": ("h.yml", 'all: {hosts: {"web[0:99999999]": {}}}\n', "names more than"),
    "layers": (
        "h.yml",
        "plugin: generator\nhosts: {name: '{{ a }}{{ b }}{{ c }}'}\n"
        f"layers: {{{', '.join(f'{axis}: {list(range(200))}' for axis in 'abc')}}}\n",
        "the layers make more than",
    ),
}


@pytest.mark.parametrize("what", WIDE)
def test_an_inventory_of_few_letters_and_endless_hosts_is_refused_at_its_place(tool: Tool, what: str) -> None:
    name, text, why = WIDE[what]
    tool.write(name, text)
    tool.write("site.yml", "- hosts: all\n  tasks: []\n")
    said = tool.run("validate", "site.yml", "-i", name)
    assert said.code == 3 and why in said.text and f"--> {name}:" in said.text, said.text[-2000:]


def test_groups_in_groups_in_groups_are_an_inventory_however_deep(tool: Tool) -> None:
    text = "".join(f"[g{n}:children]\ng{n + 1}\n" for n in range(1500)) + "[g1500]\nh\n"
    tool.write("deep.ini", text)
    tool.write("ring.ini", text + "[g1500:children]\ng0\n")
    tool.write("site.yml", "- hosts: g0\n  tasks: []\n")
    assert tool.run("validate", "site.yml", "-i", "deep.ini").code == 0
    ring = tool.run("validate", "site.yml", "-i", "ring.ini")
    assert ring.code == 3 and "Traceback" not in ring.text, ring.text[-2000:]


@pytest.mark.parametrize(
    ("play", "why"),
    [
        (f"matrix: {{{', '.join(f'a{n}: {list(range(100))}' for n in range(6))}}}", "at most 10,000 cells"),
        ("matrix: {a: 5}", "a list of its values"),
        ("matrix: {a: xyz}", "a list of its values"),
        ("matrix: {include: 5}", "a list of cells"),
        ("matrix: {exclude: [5]}", "a mapping of axes to values"),
        ("matrix: {a: [1], max_parallel: none}", "a whole number"),
        ("hosts: '~((('", "no regular expression"),
        ("hosts: '~(a+)+$'", "takes longer than"),
    ],
)
def test_a_play_that_would_never_be_planned_is_refused_at_its_place(tool: Tool, play: str, why: str) -> None:
    tool.write("h.ini", "a" * 40 + "b\n")
    tool.write("site.yml", f"- {play}\n  tasks: []\n" + ("" if play.startswith("hosts") else "  hosts: localhost\n"))
    said = tool.run("validate", "site.yml", "-i", "h.ini")
    assert said.code == 3 and why in said.text and "--> site.yml:1:" in said.text, said.text[-2000:]


def test_dev_zero_is_no_playbook(tool: Tool) -> None:
    Path(tool.folder, "zero.yml").symlink_to("/dev/zero")
    code, said, _, _ = _validate(tool, "zero.yml")
    assert code == 3 and b"Traceback" not in said, said[-500:]


@pytest.mark.parametrize(
    "made",
    [
        "(said.stdout[:2500] | int) * (said.stdout[:2500] | int)", "{'a': [1, (said.stdout[:4300] | int) + 1]}",
        "said.stdout | int(base=16)", "('0x' ~ said.stdout) | from_yaml", "7 ** 6000",
        "[(said.stdout[:4300] | int), 1] | sum",
    ],
)  # fmt: skip
def test_a_number_of_a_host_s_that_is_too_long_fails_its_task_alone(tool: Tool, made: str) -> None:
    """Python writes no number of more than 4,300 digits: neither on the screen nor in the journal."""
    tool.write(
        "play.yml",
        f"""
- hosts: localhost
  tasks:
    - {{shell: "printf 9%.0s $(seq 6000)", register: said}}
    - {{set_fact: {{made: "{{{{ {made} }}}}"}}, ignore_errors: true, register: it}}
    - {{debug: {{msg: "{{{{ {made} }}}}"}}, ignore_errors: true}}
    - {{debug: {{msg: "it {{{{ it is failed }}}}"}}}}
""",
    )
    said = tool.run("apply", "play.yml", "-v")
    assert said.code == 0, said.text
    assert "it true" in said.text.lower()
    assert "4,300 digits" in tool.run("logs").text


def test_json_that_is_nested_without_end_fails_its_task_alone(tool: Tool) -> None:
    """Of a web server, of local facts, of a program's output; also where Python's own reader would still take it."""
    deep = {"open": "[" * 200_000, "closed": "[" * 5000 + "]" * 5000, "readable": "[" * 400 + "]" * 400}
    (tool.folder / "facts").mkdir()
    for name, text in deep.items():
        tool.write(f"facts/{name}.fact", text)
        tool.write(f"facts/{name}.json", text)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tool.folder / "facts"))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    site = f"http://127.0.0.1:{server.server_port}"
    tool.write(
        "play.yml",
        f"""
- hosts: localhost
  tasks:
    - {{command: "cat {tool.folder}/facts/{{{{ item }}}}.fact", loop: [open, closed, readable], register: said}}
    - {{set_fact: {{it: "{{{{ item.stdout | from_json }}}}"}}, loop: "{{{{ said.results }}}}", ignore_errors: true}}
    - {{set_fact: {{it: "{{{{ item.stdout | from_yaml }}}}"}}, loop: "{{{{ said.results }}}}", ignore_errors: true}}
    - {{setup: {{fact_path: {tool.folder}/facts, gather_subset: [local]}}}}
    - {{uri: {{url: "{site}/{{{{ item }}}}.json"}}, loop: [open, closed, readable]}}
    - {{debug: {{msg: "{{{{ ansible_local | length }}}} all done"}}}}
""",
    )
    said = tool.run("apply", "play.yml", "-v")
    server.shutdown()
    server.server_close()
    assert said.code == 0, said.text[-3000:]
    assert "3 all done" in said.text
