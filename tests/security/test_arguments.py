# ruff: noqa: E501
"""Arguments of commands arrive byte for byte, through YAML, templates, the wire and the host."""

from __future__ import annotations

import json
import os
import random
import shlex
from pathlib import Path
from typing import Any

import pytest

from tests.parts.sshd import Sshd
from tests.security.tool import Tool

SEED = 20261125
PER_PLAYBOOK = 20  # tasks; each takes many arguments
HARD = [
    "", " ", "  two  ", "'", '"', "'\"'\"'", "\\", "\\\\", "\\n", "\n", "a\nb\n", "\t", "\r\n", "-", "--", "-n", "--help",
    "-e", "-c", "$HOME", "${HOME}", "$(id)", "`id`", "$'x'", "!", "!!", "*", "?", "[a-z]*", "~", "~root", "#", "# no comment",
    ";", "&&", "|", "> /dev/null", "<", "(", ")", "{a,b}", "%s", "%%", "%n", "é", "漢字", "👩‍👩‍👧", "\u202e", "\u2028", "\ufeff",
    "\x01", "\x1b[31m", "\x7f", "\x85", "=", "a=b", "creates=/x", "chdir=/", "_raw=1", "{{", "}}", "{{ 7*7 }}", "{% raw %}",
    "{#", "#}", "yes", "no", "true", "null", "~", "012", "1e3", "1.10", "0x10", "1_000", "2026-11-25", "22:22", "<<", "*a", "&a",
    "!vault", "@x", "%x", ",", "[", "]", "x" * 5000, "\udcff", "\udc80abc", "caf\udce9", "\udcf0\udc9f",
]  # fmt: skip
ALPHABET = "abc XYZ'\"\\$`!*?[]{}()<>|&;#~%=-_,.:/\n\t\r\x01\x1b\x7fäß漢😀\udcff\udc80\udce9"


def drawn(draw: random.Random) -> list[str]:
    """The arguments of one command."""
    count = draw.randint(0, 12)
    return [draw.choice(HARD) if draw.random() < 0.4 else _text(draw) for _ in range(count)]


def _text(draw: random.Random) -> str:
    return "".join(draw.choices(ALPHABET, k=draw.randint(0, 30)))


PROGRAM = 'for a; do printf "%s\\0" "$a"; done > "$0"'


def received(path: Path) -> list[bytes]:
    """What the program wrote down: each argument with a NUL behind it."""
    return path.read_bytes().split(b"\0")[:-1]


def _check(tool: Tool, host: str, batches: list[list[list[str]]], how: str) -> int:
    """Each batch is a task looping over argument lists that are data; every list must come out as it went in."""
    tool.write("argvs.json", json.dumps(batches))
    tool.write("hosts", host)
    out = tool.folder / "got"
    out.mkdir(exist_ok=True)
    said = f"sh -c {shlex.quote(PROGRAM)} {out}/{{{{ n }}}}-{{{{ m }}}} {{{{ item | map('quote') | join(' ') }}}}"
    ways: dict[str, dict[str, Any]] = {
        "argv": {"argv": f"{{{{ ['sh', '-c', program, '{out}/' ~ n ~ '-' ~ m] + item }}}}", "expand_argument_vars": False},
        "command": {"cmd": said, "expand_argument_vars": False},
        "shell": {"cmd": said},
    }  # fmt: skip
    tasks = [
        {"shell" if how == "shell" else "command": ways[how], "loop": f"{{{{ (lookup('file', '{tool.folder}/argvs.json') | from_json)[{number}] }}}}",
         "vars": {"n": number, "program": PROGRAM}, "loop_control": {"index_var": "m"}}
        for number in range(len(batches))
    ]  # fmt: skip
    tool.write("play.yml", json.dumps([{"hosts": "h", "gather_facts": False, "tasks": tasks}]))

    done = tool.run("apply", "play.yml", "-i", "hosts")

    assert done.code == 0, done.text[-3000:]
    for number, batch in enumerate(batches):
        for at, argv in enumerate(batch):
            got = received(out / f"{number}-{at}")
            assert got == list(map(os.fsencode, argv)), (how, argv, got)
    return sum(map(len, batches))


def _batches(seed: int, count: int) -> list[list[list[str]]]:
    draw = random.Random(seed)
    every = [drawn(draw) for _ in range(count)]
    return [every[at : at + 250] for at in range(0, count, 250)]


@pytest.mark.parametrize(("how", "count"), [("argv", 500), ("shell", 250), ("command", 250)])
def test_a_thousand_lists_of_arguments_arrive_on_the_local_host(tool: Tool, how: str, count: int) -> None:
    done = _check(tool, "h ansible_connection=local ansible_python_interpreter=auto\n", _batches(SEED, count), how)
    print(f"{done} argument lists by {how}, local")


@pytest.mark.parametrize("how", ["argv", "shell"])
def test_lists_of_arguments_arrive_over_ssh(tool: Tool, ssh_hosts: list[Sshd], how: str) -> None:
    done = _check(tool, ssh_hosts[0].inventory_line("h") + "\n", _batches(SEED + 1, 250), how)
    print(f"{done} argument lists by {how}, ssh")


def test_arguments_written_in_yaml_arrive_too(tool: Tool) -> None:
    """Every hard argument stands in the playbook itself, quoted as YAML wants it; braces as `!unsafe`."""
    texts = [text for text in HARD if not any(0xD800 <= ord(c) <= 0xDFFF for c in text)]
    items = "".join(f"          - !unsafe {quoted(text)}\n" for text in [PROGRAM, f"{tool.folder}/got", *texts])
    head = "- hosts: localhost\n  tasks:\n    - command:\n        expand_argument_vars: false\n        argv:\n"
    tool.write("play.yml", f"{head}          - sh\n          - -c\n{items}")

    done = tool.run("apply", "play.yml")

    assert done.code == 0, done.text
    assert received(tool.folder / "got") == [text.encode() for text in texts]
    print(f"{len(texts)} arguments as YAML scalars")


def quoted(text: str) -> str:
    """As a double-quoted scalar: all that is not plain ASCII by its number (YAML 1.2, 5.7)."""
    return '"' + "".join(c if c.isalnum() and c.isascii() else f"\\U{ord(c):08x}" for c in text) + '"'
