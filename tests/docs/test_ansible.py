"""What the page for people who come from Ansible says is true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ciflow.cli.options import options_of
from ciflow.diagnostics import Invalid, Refused
from ciflow.lang.files import Files
from ciflow.lang.load import load
from tests.docs.pages import ROOT

PAGE = (ROOT / "docs" / "ansible.md").read_text()
VARIABLE = re.compile(r"\bANSIBLE_[A-Z_]+\b")


def test_the_environment_variables_are_those_that_the_code_reads() -> None:
    read = {
        name
        for path in (ROOT / "ciflow").rglob("*.py")
        for line in path.read_text().splitlines()
        if "environ" in line
        for name in VARIABLE.findall(line)
    }
    assert set(VARIABLE.findall(PAGE)) == read


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("- hosts: all\n  concurrency: {group: a, cancel_running: true}\n", "CF0123"),
        ("- hosts: all\n  tasks:\n    - dnf: {name: x}\n", "CF0106"),
        ("- hosts: all\n  vars:\n    x: !vault |\n      $ANSIBLE_VAULT;1.1;AES256\n      3132\n", "CF0017"),
        ("- hosts: all\n  tasks:\n    - file: {path: /x, mode: 644}\n", "CF0105"),
        ("- hosts: all\n  hosts: web\n", "CF0012"),
        ("- hosts: all\n  tasks:\n    - command: x\n      notify: Nobody\n", "CF0501"),
        ("- hosts: all\n  tasks:\n    - debug: {msg: '{{ nothing }}'}\n", "CF0210"),
    ],
)
def test_what_is_said_to_be_refused_is(text: str, code: str, tmp_path: Path) -> None:
    (tmp_path / "playbook.yml").write_text(text)
    with pytest.raises(Invalid) as fault:
        load(str(tmp_path / "playbook.yml"), files=Files.live())
    assert code in {one.code for one in fault.value.diagnostics}


def test_strategy_and_gathering_are_read_and_a_word_that_neither_knows_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ANSIBLE_STRATEGY", "free")
    monkeypatch.setenv("ANSIBLE_GATHERING", "implicit")
    assert (options_of().strategy, options_of().gathering) == ("free", "implicit")
    monkeypatch.setenv("ANSIBLE_STRATEGY", "mitogen_linear")
    with pytest.raises(Refused, match="ANSIBLE_STRATEGY can't be `mitogen_linear`"):
        options_of()
