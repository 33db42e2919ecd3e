"""`ciflow inventory` and `ciflow vars`, as somebody types them; what they hide; and how long many hosts take."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from ciflow.lang.files import Files
from ciflow.lang.inventory import load_inventory
from ciflow.lang.vault import Password, encrypt
from tests.security.tool import Tool

HOSTS = """\
[web]
web1 port=80 ansible_password=l0gin-secret
web2 port=81
[site:children]
web
[site:vars]
port=1
region=north
"""
PLAY = """\
- name: Serve
  hosts: web1
  vars: {port: 90, own: "{{ region }}!"}
  vars_files: [more.yml]
  tasks:
    - name: Learn
      set_fact: {port: 95}
    - name: Use
      debug: {msg: "{{ port }}"}
      vars: {port: 93}
"""


@pytest.fixture
def tool(tmp_path: Path) -> Tool:
    made = Tool(tmp_path)
    made.write("hosts", HOSTS)
    made.write("pw", "pw\n")
    made.write("group_vars/web.yml", encrypt(b"port: 70\nsecret: vaulted-text\npin: 123456\n", Password("a", b"pw")))
    made.write("more.yml", "port: 92\n")
    made.write("play.yml", PLAY)
    return made


IDS = ("-i", "hosts", "--vault-id", "a@pw")


def test_groups_hosts_and_variables_are_shown_without_secrets(tool: Tool) -> None:
    graph = tool.run("inventory", *IDS, "--graph", "--vars", "site")
    assert graph.out.decode().splitlines()[:3] == ["@site:", "  |--@web:", "  |  |--web1"]
    listed = json.loads(tool.run("inventory", *IDS, "--list").out)
    assert listed["web"] == {"hosts": ["web1", "web2"]}
    assert listed["_meta"]["hostvars"]["web2"] == {
        "port": 81,
        "region": "north",
        "secret": "********",
        "pin": "********",
    }
    host = json.loads(tool.run("inventory", *IDS, "--host", "web1").out)
    assert (host["port"], host["ansible_password"]) == (80, "********")
    said = b"".join(tool.run("inventory", *IDS, *more).out for more in (["--vars"], ["--json"], ["--host", "web1"]))
    said += graph.out
    assert not [secret for secret in (b"l0gin-secret", b"vaulted-text", b"123456") if secret in said]


def test_every_level_that_sets_a_variable_is_shown_the_winner_first(tool: Tool) -> None:
    said = tool.run("vars", *IDS, "-p", "play.yml", "-e", "port=99", "web1", "port", "--why", "--json")
    found = json.loads(said.out)
    assert found["value"] == "99"
    assert [(level["what"], level["value"]) for level in found["levels"]] == [
        ("extra vars (-e)", "99"), ("set_fact, register", 95), ("task vars", 93), ("play vars_files", 92),
        ("play vars", 90), ("inventory host", 80), ("playbook group_vars", 70), ("inventory group", 1),
    ]  # fmt: skip
    places = {level["what"]: f"{level.get('file')}:{level.get('line')}" for level in found["levels"]}
    assert places["inventory host"] == "hosts:2"
    assert places["play vars"] == "play.yml:3"
    assert places["play vars_files"] == "more.yml:1"


def test_variables_are_shown_rendered_and_secrets_are_not(tool: Tool) -> None:
    said = tool.run("vars", *IDS, "-p", "play.yml", "web1", "--why")
    assert said.code == 0, said.text
    lines = said.out.decode().splitlines()
    assert 'own = "north!"' in lines
    assert 'ansible_password = "********"' in lines
    assert not [secret for secret in (b"l0gin-secret", b"vaulted-text", b"123456") if secret in said.out]


def test_what_is_not_there_is_said(tool: Tool) -> None:
    for args, words in (
        (("vars", *IDS, "nobody"), "no host nobody"),
        (("vars", *IDS, "web1", "prot"), "did you mean port?"),
        (("inventory", *IDS, "nogroup"), "no group nogroup"),
        (("inventory", *IDS, "--host", "nobody"), "no host nobody"),
    ):
        said = tool.run(*args)
        assert (said.code, words in said.text) == (3, True), said.text


def test_hosts_of_an_ssh_configuration_join_a_group(tool: Tool) -> None:
    tool.write("config", "Host one two *.example.com\n  User me\nhost = three\nHost !four\n")
    tool.write("ssh.yml", "plugin: ssh_config\npath: config\ngroup: known\n")
    assert tool.run("inventory", "-i", "ssh.yml", "-l", "known").out.split() == [b"one", b"two", b"three"]


def test_ten_thousand_hosts_in_two_hundred_groups_load(tmp_path: Path) -> None:
    lines = []
    for group in range(150):
        hosts = range(group * 67, min(10_000, group * 67 + 67))
        lines += [f"[g{group}]", *(f"host{n:05} ansible_host=10.0.{n // 250}.{n % 250} rack={n % 40}" for n in hosts)]
    for parent in range(50):
        lines += [f"[p{parent}:children]", *(f"g{3 * parent + n}" for n in range(3)), f"[p{parent}:vars]", "a=1", "b=x"]
    (tmp_path / "hosts").write_text("\n".join(lines) + "\n")
    began = time.process_time()
    found = load_inventory((str(tmp_path / "hosts"),), Files.live())
    took = time.process_time() - began
    assert (len(found.hosts), len(found.groups)) == (10_000, 202)
    assert took < 60  # half a second; what looks at each pair of hosts takes minutes
