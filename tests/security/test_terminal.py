# ruff: noqa: E501
"""What hosts, files and inventories are called or print reaches a terminal without its control characters."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.security.tool import Tool

EVIL = [
    "\x1b]0;title\x07", "\x1b[2J", "\x1b[31mred", "\x1b]52;c;aGk=\x07", "\x1bP+q\x1b\\", "\x9b31m", "\r overwritten", "\x08\x08\x08",
    "\x1b]8;;http://x\x07link\x1b]8;;\x07", "\x1b[6n", "\x1b[?1049h", "\x07", "\x00", "\x0e", "\u202eevil", "\u2066x", "\x1b[8m", "\x85next",
]  # fmt: skip
OURS = ("\x1b[0m", "\x1b[1m", "\x1b[2m", "\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[36m")


def unsafe(text: str) -> list[str]:
    """Control characters that are left in what was written to a pipe; lines end as lines do."""
    return [c for c in text if (ord(c) < 32 and c != "\n") or 0x7F <= ord(c) < 0xA0 or c in "\u202e\u2066"]


def _play(tool: Tool, host: str = "h") -> None:
    tool.write("evil.json", json.dumps("".join(EVIL)))
    tool.write("hosts.yml", json.dumps({"all": {"hosts": {host: {"ansible_connection": "local"}}}}))
    read = "{{ lookup('file', 'evil.json') | from_json }}"
    tasks = [
        {"name": f"Named {read}", "debug": {"msg": read}},
        {"name": "Printed", "shell": {"cmd": "cat; cat /dev/null >&2", "stdin": read}, "register": "r"},
        {"name": "Failing", "shell": {"cmd": "cat >&2; exit 3", "stdin": read}, "ignore_errors": True},
        {"name": "Failing for good", "fail": {"msg": read}, "ignore_errors": True},
        {"name": "Item", "debug": {"msg": "{{ item }}"}, "loop": [read]},
        {"name": "File", "copy": {"content": read, "dest": f"{tool.folder}/{{{{ 'a\\u001b[31mb' }}}}"}},
        {"name": "Not there", "command": f"cat {tool.folder}/{{{{ {json.dumps(EVIL[0])} }}}}", "ignore_errors": True},
        {"name": "Last", "fail": {"msg": read}},
    ]
    tool.write("play.yml", json.dumps([{"hosts": "all", "gather_facts": False, "tasks": tasks}]))


@pytest.mark.fault(27)
def test_output_and_names_reach_the_console_the_logs_and_the_reports_escaped(tool: Tool) -> None:
    _play(tool)
    said = tool.run("apply", "play.yml", "-i", "hosts.yml", "-vv", "-D", "--junit", "j.xml")
    assert said.code == 4, said.text
    wrong = {"console": unsafe(said.text), "junit": unsafe((tool.folder / "j.xml").read_text())}
    run = json.loads(tool.run("history", "--json").out.splitlines()[0])["run"]
    for command in (("logs",), ("logs", run, "Printed"), ("logs", run, "Failing"), ("history",), ("status",)):
        wrong[" ".join(command)] = unsafe(tool.run(*command).text)
    print(f"{len(EVIL)} sequences in {len(wrong)} places")
    assert not any(wrong.values()), wrong


# What GitHub's runner obeys in a step's output: `::name ..::`, also after blanks, and `##[name ..]` anywhere in a line.
ORDERS = re.compile(
    r"^\s*::(set-output|error|stop-commands|add-mask)\b|##\[(set-output|error)", re.MULTILINE | re.IGNORECASE
)


def test_what_a_host_prints_is_no_order_to_the_runner_of_a_workflow(tool: Tool) -> None:
    orders = "::set-output name=a::b\\n \\t::stop-commands::x\\nwords ##[set-output name=a]b\\n::ERROR::c"
    tasks = [
        {"name": "::add-mask::Printed", "command": f"printf '{orders}'", "register": "r"},
        {"name": "Told", "debug": {"msg": "{{ r.stdout }}"}},
        {"name": "Listed", "debug": {"msg": "{{ r.stdout_lines }}"}},
        {"name": "##[error]Failing", "fail": {"msg": "{{ r.stdout }}"}},
    ]
    tool.write("play.yml", json.dumps([{"name": "::error::x", "hosts": "localhost", "tasks": tasks}]))
    said = tool.run("apply", "play.yml", "-vv")
    told = [said, tool.run("logs"), tool.run("logs", "", "Printed"), tool.run("history"), tool.run("show")]
    assert said.code == 4 and "set-output name=a::b" in told[2].text, said.text
    assert not [found[0] for one in told for found in ORDERS.finditer(one.text)]
    tool.write("names.yml", "- hosts: localhost\n  tasks:\n    - debug: {msg: 'std::error::Error at ::1'}\n")
    assert "std::error::Error at ::1" in tool.run("apply", "names.yml").text


def test_a_terminal_gets_only_the_colours_that_are_ours(tool: Tool) -> None:
    """On a pseudo-terminal, with the live region: no title, clipboard, alternate screen or question to the terminal."""
    _play(tool)
    ours, theirs = pty.openpty()
    env = {**tool.env, "TERM": "xterm"}
    process = subprocess.Popen([sys.executable, "-m", "ciflow", "apply", "play.yml", "-i", "hosts.yml", "-vv"],
                               cwd=tool.folder, env=env, stdout=theirs, stderr=theirs, stdin=theirs)  # fmt: skip
    os.close(theirs)
    shown = b""
    while True:
        try:
            data = os.read(ours, 65536)
        except OSError:
            break
        if not data:
            break
        shown += data
    process.wait()
    os.close(ours)
    text = shown.decode("utf-8", "replace")
    assert not [
        w for w in ("\x1b]", "\x1bP", "\x1b[2J", "\x1b[6n", "\x1b[?1049h", "\x9b", "\x07", "\u202e") if w in text
    ]


def test_hosts_files_and_faults_with_such_names_are_shown_escaped(tool: Tool) -> None:
    """In diagnostics, errors and logs, which no report writes."""
    _play(tool, host="h\x1b]0;title\x07")
    wrong = {
        "console": unsafe(tool.run("apply", "play.yml", "-i", "hosts.yml").text),
        "logs": unsafe(tool.run("logs").text),
    }
    evil = "\x1b]0;title\x07.yml"
    tool.write(evil, "- hosts: localhost\n  tsaks: []\n")
    wrong["a file's name"] = unsafe(tool.run("validate", evil).text)
    wrong["a missing file"] = unsafe(tool.run("validate", "\x1b[2Jno.yml").text)
    tool.write("key.yml", '- hosts: localhost\n  "ta\\esks": []\n  "\\e]0;x\\a": 1\n')
    wrong["a key"] = unsafe(tool.run("validate", "key.yml").text)
    tool.write("raw.yml", "- hosts: localhost\n  vars: {a: 'x\x1b[2Jy'}\n")
    wrong["raw"] = unsafe(tool.run("validate", "raw.yml").text)
    wrong["a run"] = unsafe(tool.run("resume", "\x1b[2J").text)
    wrong["a service"] = unsafe(tool.run("rollback", "\x1b[2J").text)
    assert not any(wrong.values()), wrong


def test_names_of_folders_do_not_lead_a_terminal_astray(tool: Tool) -> None:
    folder = Path(tool.folder, "a\x1b[31mb")
    folder.mkdir()
    (folder / "p.yml").write_text("- hosts: localhost\n  tasks:\n    - debug: {msg: x}\n")
    assert not unsafe(tool.run("apply", str(folder / "p.yml"), "-v").text)
