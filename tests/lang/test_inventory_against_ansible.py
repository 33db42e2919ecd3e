"""The same inventories by ansible-inventory and by ciflow: who is in which group, and which value each variable has."""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ciflow.lang.files import Files
from ciflow.lang.inventory import load_inventory
from ciflow.lang.listing import listed
from ciflow.model import Template
from tests.parts import ansible as ansible_part

pytestmark = pytest.mark.slow
ROUNDS = 12
VALUES = ["1", "text", "'a b'", "true", "'{{ x }}'", "[1, 2]", "1.5", "'0644'", "{a: 1}"]
INI_VALUES = ["1", "text", "'a b'", "True", "{{ x }}", "[1, 2]", "1.5", "0644", "yes", "a=b", "/p/q", "None", '"1"']


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ansible_part.Ansible]:
    with ansible_part.ansible(tmp_path_factory.mktemp("ansible")) as found:
        yield found


def plain(value: Any) -> Any:
    if isinstance(value, Template):
        return value.source
    if isinstance(value, dict):
        return {key: plain(below) for key, below in value.items()}
    return [plain(one) for one in value] if isinstance(value, list) else value


def ours(sources: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.chdir(folder)
    found = load_inventory(tuple(sources), Files.live(), playbook_dir=".")
    return _comparable(listed(found, plain))


def _comparable(data: dict[str, Any]) -> dict[str, Any]:
    """Order within a group aside."""
    groups = {name: {kind: sorted(names) for kind, names in group.items() if names}
              for name, group in data.items() if name != "_meta"}  # fmt: skip
    hostvars = {name: _bare(values) for name, values in data.get("_meta", {}).get("hostvars", {}).items() if values}
    return {"hostvars": hostvars, "groups": {name: group for name, group in groups.items() if group}}


def theirs(peer: ansible_part.Ansible, sources: list[str], folder: Path) -> dict[str, Any]:
    args = [word for source in sources for word in ("-i", source)]
    return _comparable(json.loads(peer.run("ansible-inventory", *args, "--list", folder=folder)))


def _bare(value: Any) -> Any:
    """Text that no template may be made of is wrapped by ansible-inventory."""
    if isinstance(value, dict):
        return value.get("__ansible_unsafe") or {key: _bare(below) for key, below in value.items()}
    return [_bare(one) for one in value] if isinstance(value, list) else value


class Chance:
    """Random inventories over a few names, so that they meet."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.groups = [f"g{n}" for n in range(7)]

    def hosts(self) -> list[str]:
        names = ["h[1:3]", "h[01:04:2]", "x[a:c]", "one", "two", "h2", "far:2222", "[2001:db8::1]:22"]
        return [self.random.choice(names) for _ in range(self.random.randint(0, 3))]

    def pairs(self, values: list[str], most: int = 3) -> list[tuple[str, str]]:
        names = self.random.sample(["x", "y", "z", "ansible_port", "deep"], self.random.randint(0, most))
        return [(name, self.random.choice(values)) for name in names]

    def children(self, group: str) -> list[str]:
        """Only later groups, so that there is no circle."""
        later = self.groups[self.groups.index(group) + 1 :]
        return self.random.sample(later, min(len(later), self.random.randint(0, 2)))

    def ini(self) -> str:
        lines = [f"{host}" for host in self.hosts()]
        for group in self.random.sample(self.groups, 5):
            lines.append(f"[{group}]  # one")
            for host in self.hosts():
                words = " ".join(f"{name}={_quoted(value)}" for name, value in self.pairs(INI_VALUES))
                lines.append(f"{host} {words}".rstrip())
            if below := self.children(group):
                lines += [f"[{group}:children]", *below]
            if pairs := self.pairs(INI_VALUES):
                lines += [f"[{group}:vars]", *(f"{name} = {value}" for name, value in pairs)]
            if self.random.random() < 0.3:
                lines += [f"[{group}:vars]", f"ansible_group_priority={self.random.randint(1, 5)}"]
        lines += [f"[{group}]" for group in self.groups]  # a child that no section declares is a fault
        return "\n".join(lines) + "\n"

    def yaml(self) -> str:
        lines = []
        for group in self.random.sample(self.groups, 5):
            lines += [f"{group}:", "  hosts:"]
            for host in dict.fromkeys(self.hosts()):
                lines.append(f'    "{host}": {{{", ".join(f"{n}: {v}" for n, v in self.pairs(VALUES))}}}')
            lines.append("  children:")
            lines += [f"    {child}:" for child in self.children(group)]
            lines.append("  vars:")
            lines += [f"    {name}: {value}" for name, value in self.pairs(VALUES)]
        return "\n".join(lines) + "\n"

    def vars_files(self, folder: Path) -> None:
        for kind, names in (
            ("group_vars", ["all", "ungrouped", *self.groups]),
            ("host_vars", ["h1", "h2", "one", "xa"]),
        ):
            for name in self.random.sample(names, 3):
                path = folder / kind / self.random.choice([f"{name}.yml", f"{name}/a.yml", f"{name}.yaml"])
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text("---\n" + "".join(f"{n}: {v}\n" for n, v in self.pairs(VALUES)))


def _quoted(value: str) -> str:
    return f'"{value}"' if " " in value and value[0] not in "'\"" else value


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_random_inventories_are_read_alike(
    seed: int, peer: ansible_part.Ansible, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = Chance(seed)
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "hosts").write_text(chance.ini())
    (tmp_path / "one" / "more.yml").write_text(chance.yaml())
    (tmp_path / "two.ini").write_text(chance.ini())
    chance.vars_files(tmp_path / "one")
    chance.vars_files(tmp_path)
    sources = [["one"], ["two.ini", "one"], ["one/hosts", "two.ini"], ["one/more.yml", "a,b:2222,"]][seed % 4]
    said = theirs(peer, sources, tmp_path)
    assert ours(sources, tmp_path, monkeypatch) == said
    assert said["groups"]


CONSTRUCTED = """\
plugin: constructed
strict: false
compose:
  url: "'http://' + inventory_hostname + ':' + (port | string)"
  size: cores * 2
  absent: nothing_here
groups:
  large: cores > 4
  web: "'web' in group_names"
  odd-name: true
keyed_groups:
  - {key: rack, prefix: rack}
  - {key: rack, separator: ""}
  - {key: tags, prefix: tag, parent_group: tagged}
  - {key: labels, prefix: label, separator: "-"}
  - {key: empty, prefix: e, default_value: none}
  - {key: missing, prefix: m}
"""
BASE = """\
all:
  vars: {port: 80, empty: ""}
  children:
    web:
      hosts:
        a: {cores: 8, rack: r1-2, tags: [x, "y z"], labels: {tier: front, "b.c": ""}}
        b: {cores: 2, rack: r2, port: 81}
    db: {hosts: {c: {cores: 4, tags: [x]}}}
"""
GENERATOR = """\
plugin: generator
layers: {operation: [build, launch], environment: [dev, prod], application: [web, api]}
hosts:
  name: "{{ operation }}_{{ application }}_{{ environment }}_runner"
  parents:
    - name: "{{ operation }}_{{ application }}_{{ environment }}"
      parents:
        - name: "{{ application }}_{{ environment }}"
          vars: {application: "{{ application }}", kind: app}
    - {name: runner}
"""


@pytest.mark.parametrize(
    "plugin", [CONSTRUCTED, CONSTRUCTED.replace("strict: false", "leading_separator: false"), GENERATOR]
)
def test_plugins_make_the_same_hosts_groups_and_variables(
    plugin: str, peer: ansible_part.Ansible, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "base.yml").write_text(BASE)
    (tmp_path / "plugin.yml").write_text(plugin)
    args = ["-i", "base.yml", "-i", "plugin.yml", "--list"]
    env = {**peer.env, "ANSIBLE_INVENTORY_ENABLED": "yaml,constructed,generator"}
    said = subprocess.run([peer.peers.program("ansible-inventory"), *args], cwd=tmp_path, env=env, capture_output=True,
                          check=True)  # fmt: skip
    assert ours(["base.yml", "plugin.yml"], tmp_path, monkeypatch) == _comparable(json.loads(said.stdout))
