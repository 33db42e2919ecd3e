# ruff: noqa: E501
"""Names of services and manifests that somebody tampered with: refused in words, and no path leads outside."""

from __future__ import annotations

import json
from pathlib import Path

from tests.security.tool import Tool

SERVICES = [
    "../../x",
    "a b",
    "$(touch HIT)",
    "`touch HIT`",
    "x;touch HIT",
    "a/b",
    "..",
    "",
    "-rf",
    "x\ny",
    "é",
    "'",
    '"',
    "x" * 300,
    "~",
    "a|b",
]


def _canary(service: str, folder: Path) -> str:
    router = {"haproxy": {"port": 1, "bind": "127.0.0.1", "dir": f"{folder}/r"}}
    canary = {
        "service": service,
        "version": "1",
        "router": router,
        "slots": {"a": {"port": 2}, "b": {"port": 3}},
        "steps": ["100%"],
    }
    task = {"name": "Deploy", "command": f"touch {folder}/deployed"}
    return json.dumps([{"name": "R", "hosts": "localhost", "gather_facts": False, "canary": canary, "tasks": [task]}])


def test_a_service_s_name_is_one_word_or_is_refused_at_its_place(tool: Tool) -> None:
    strange = [name for name in SERVICES if name != "é"]
    for number, name in enumerate(strange):
        tool.write(f"s{number}.yml", _canary(name.replace("HIT", f"{tool.folder}/hit"), tool.folder))
    said = tool.run("validate", *(f"s{number}.yml" for number in range(len(strange))))
    accepted = [name for number, name in enumerate(strange) if f"s{number}.yml:" not in said.text]
    print(f"{len(strange)} names of services")
    assert not accepted, accepted


def test_a_rollback_of_a_strange_service_reads_nothing_elsewhere(tool: Tool) -> None:
    """`rollback ../../x` must not find a manifest that lies outside of the folder of manifests."""
    for name in SERVICES:
        if name:
            said = tool.run("rollback", "--", name.replace("HIT", f"{tool.folder}/hit"))
            assert said.code != 0 and "Traceback" not in said.text, (name, said.text)
    assert not (tool.folder / "hit").exists()


def test_a_rollback_is_not_led_to_another_folder_by_its_name(tool: Tool) -> None:
    tool.write("home/evil.json", "{}")
    (tool.home / ".local" / "state" / "ciflow" / "services").mkdir(parents=True)
    said = tool.run("rollback", "../../../../evil")
    assert said.code == 3, said.text
    assert "Traceback" not in said.text


TAMPERED = {
    "empty": "", "no JSON": "{", "another type": "[]", "a number": "1", "no slots": '{"service": "shield"}', "a bad slot": '{"slots": [1]}',
    "an unknown key": '{"service": "shield", "slots": [], "hosts": [], "x": 1}', "nested": "[" * 100_000, "binary": "\x00\udcff\udcfe",
    "wrong types": '{"service": 1, "slots": [], "hosts": [], "router": 7, "settings": 3}',
    "no such router": '{"service": "shield", "slots": [], "hosts": [], "router": "squid", "settings": {}}',
}  # fmt: skip


def test_a_manifest_that_was_tampered_with_is_an_error_in_words(tool: Tool) -> None:
    wrong = []
    for name, content in TAMPERED.items():
        tool.write("home/.local/state/ciflow/services/shield.json", content)
        said = tool.run("rollback", "shield")
        wrong += [name] if "Traceback" in said.text or said.code == 0 else []
    print(f"{len(TAMPERED)} tampered manifests")
    assert not wrong, wrong


def _by_commands(folder: Path, gates: str = "", key: str = "none") -> str:
    share = f"{folder}/share"
    return f"""
- hosts: localhost
  gather_facts: false
  canary:
    service: shop
    version: "1"
    router: {{command: {{set: 'echo "$CIFLOW_SHARE" > {share}', read: cat {share}, dir: {folder}/dial, env: {{KEY: "{key}"}}}}}}
    slots: {{a: {{port: 1, key: "{{{{ ansible_become_password }}}}"}}, b: {{port: 2}}}}
    steps: [100%]
    bake: 0
    {gates}
  tasks:
    - command: touch {folder}/deployed
"""


SECRET = ("-e", "ansible_become_password=Tr0ub4dor&3")


def test_a_setting_of_a_router_that_holds_a_secret_is_refused_before_anything_is_deployed(tool: Tool) -> None:
    tool.write("site.yml", _by_commands(tool.folder, key="x{{ ansible_become_password }}"))
    said = tool.run("apply", "site.yml", *SECRET)
    assert said.code == 4, said.text
    assert "`env` of router command holds a secret" in said.text and "Tr0ub4dor" not in said.text
    assert "keep it in a file on the router's host" in " ".join(said.text.split())
    assert not (tool.folder / "deployed").exists()


def test_a_secret_of_a_slot_is_kept_nowhere_and_a_rollback_reads_the_ports(tool: Tool) -> None:
    tool.write("site.yml", _by_commands(tool.folder))
    said = tool.run("apply", "site.yml", *SECRET)
    assert said.code == 0, said.text
    assert (tool.folder / "share").read_text() in ("0\n", "100\n")  # the first release goes into slot a
    back = tool.run("rollback", "shop")
    assert back.code == 0 and "nothing" in back.text, back.text


def test_a_gate_on_counts_is_refused_where_the_router_counts_nothing(tool: Tool) -> None:
    tool.write("site.yml", _by_commands(tool.folder, gates="gates: [errors]"))
    said = tool.run("apply", "site.yml", *SECRET)
    assert said.code == 3, said.text
    assert "router command counts nothing, so gate errors can't judge" in said.text
    assert not (tool.folder / "deployed").exists()
