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
    "no such router": '{"service": "shield", "slots": [], "hosts": [], "router": "nginx", "settings": {}}',
}  # fmt: skip


def test_a_manifest_that_was_tampered_with_is_an_error_in_words(tool: Tool) -> None:
    wrong = []
    for name, content in TAMPERED.items():
        tool.write("home/.local/state/ciflow/services/shield.json", content)
        said = tool.run("rollback", "shield")
        wrong += [name] if "Traceback" in said.text or said.code == 0 else []
    print(f"{len(TAMPERED)} tampered manifests")
    assert not wrong, wrong
