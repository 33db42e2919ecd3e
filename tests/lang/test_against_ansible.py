"""Expressions and templates in ciflow and in ansible-core: what they give, and what fails.

`expressions.yml` has them, `answers.json` what ansible-core gave; after a change run
`python -m tests.lang.test_against_ansible`, which needs the peers of the benches.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.peers import PINNED, Peers, install
from ciflow.diagnostics import Invalid
from ciflow.lang.scope import Layer, Level, Need, Scope
from ciflow.lang.template import render
from ciflow.model import Reply
from tests.lang.making import template
from tests.parts.session import Waiting

PEER = Path(__file__).parent / "peer"
ANSWERS = PEER / "answers.json"
TABLE = yaml.safe_load((PEER / "expressions.yml").read_text())
SAME = [f"{{{{ {expression} }}}}" for expression in TABLE["same"]] + TABLE["templates"]
OURS = {case["template"]: case for case in TABLE["ours"]}
ENVIRONMENT = {"PEER_WORD": "word"}
TOO_MUCH = {"{{ '%20000000000d' % 5 }}"}  # not asked of a peer that has no limit


def asked(python: str) -> dict[str, Any]:
    """Ansible's answers to all templates."""
    question = {"vars": TABLE["vars"], "templates": [one for one in [*SAME, *OURS] if one not in TOO_MUCH]}
    done = subprocess.run([python, "ask.py"], cwd=PEER, env={**os.environ, **ENVIRONMENT}, input=json.dumps(question),
                          capture_output=True, text=True, check=True)  # fmt: skip
    answers: dict[str, Any] = json.loads(done.stdout)
    return answers


def as_templates(value: Any) -> Any:
    if isinstance(value, str):
        return template(value) if "{{" in value else value
    if isinstance(value, Mapping):
        return {key: as_templates(below) for key, below in value.items()}
    return [as_templates(below) for below in value] if isinstance(value, list) else value


def plain(value: Any) -> Any:
    """As JSON has it: a tuple is a list, a key a text, a moment its text."""
    if isinstance(value, Mapping):
        return {str(key): plain(below) for key, below in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(below) for below in value]
    return value if value is None or isinstance(value, bool | int | float) else str(value)


@pytest.fixture(scope="module")
def controller() -> Iterator[Waiting]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        patch.chdir(PEER)
        waiting = Waiting(f"templates {time.time()}", f"test {time.time()}", 60.0)
        waiting.wait_until_ready()
        yield waiting
        waiting.close()


def answer(text: str, controller: Waiting) -> dict[str, Any]:
    """What the template gives here, with real answers to what its lookups ask."""
    values = {**as_templates(TABLE["vars"]), "playbook_dir": str(PEER)}
    answers: dict[str, Reply] = {}
    while True:
        try:
            value = render(template(text), Scope((Layer(Level.PLAY_VARS, values),), render, answers))
        except Need as need:
            answers[need.key] = controller.perform(need.operation, "lane")
        except Invalid as invalid:
            return {"error": str(invalid.diagnostics[0].message)}
        else:
            return {"value": plain(value)}


@pytest.mark.parametrize("text", SAME)
def test_a_template_gives_what_it_gives_in_ansible(
    text: str, controller: Waiting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(PEER)
    theirs, ours = json.loads(ANSWERS.read_text())[text], answer(text, controller)
    assert theirs.keys() == ours.keys(), (theirs, ours)
    assert json.dumps(theirs.get("value")) == json.dumps(ours.get("value"))  # 1 is not true


@pytest.mark.parametrize("text", OURS)
def test_a_deviation_from_ansible_is_the_one_that_is_written_down(
    text: str, controller: Waiting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(PEER)
    case, ours = OURS[text], answer(text, controller)
    assert ours == ({"error": ours.get("error")} if case.get("fails") else {"value": case["gives"]})
    if text not in TOO_MUCH:
        assert json.loads(ANSWERS.read_text())[text] != ours, "this is no deviation any more"


@pytest.mark.slow
def test_the_answers_on_file_are_those_of_ansible() -> None:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    peers = Peers(cache / "ciflow" / "peers")
    stamp = peers.venv / "pinned"
    if not stamp.exists() or stamp.read_text() != "\n".join(PINNED):
        pytest.skip("ansible is not installed beside the benches: `python -m benchmarks.peers` does it")
    found, kept = asked(peers.program("python")), json.loads(ANSWERS.read_text())
    assert {text: one.get("value") for text, one in found.items()} == {t: one.get("value") for t, one in kept.items()}
    assert [text for text, one in found.items() if "error" in one] == [t for t, one in kept.items() if "error" in one]


if __name__ == "__main__":
    ANSWERS.write_text(json.dumps(asked(install().program("python")), indent=1, ensure_ascii=False) + "\n")
