"""Every verb has a schema, documentation, an example, and goldens; the lists of the house name each other's items."""

from __future__ import annotations

import subprocess
import sys
from inspect import signature
from typing import Any

import pytest
import yaml

from ciflow.diagnostics import Findings, Span
from ciflow.modules import MODULES
from tests.scaffold.docs import ROOT, page

SCHEMAS = ROOT / "schemas" / "modules"
GOLDENS = ROOT / "tests" / "golden" / "modules"
VERBS = sorted(MODULES)
# What the house promises to touch nothing but a host's own files (the linear barrier is dropped between these).
OWN_FILES = {
    "template", "copy", "file", "lineinfile", "blockinfile", "replace",
    "stat", "slurp", "tempfile", "assert", "debug", "set_fact", "validate_argument_spec",
}  # fmt: skip

# What any result may have: docs/language.md says what each means.
COMMON = {
    "msg", "skipped_reason", "rc", "cmd", "stdout", "stderr", "stdout_lines", "stderr_lines", "start", "end", "delta",
    "truncated", "spilled",
}  # fmt: skip


def schema(verb: str) -> dict[str, Any]:
    return dict(yaml.safe_load((SCHEMAS / f"{verb}.yml").read_text()))


def cases(verb: str) -> list[dict[str, Any]]:
    return [yaml.safe_load(path.read_text()) for path in sorted((GOLDENS / verb).glob("*.yml"))]


def test_schemas_and_modules_name_the_same_verbs() -> None:
    assert sorted(path.stem for path in SCHEMAS.glob("*.yml")) == VERBS


def test_goldens_are_of_verbs_that_exist() -> None:
    assert sorted(path.name for path in GOLDENS.iterdir()) == VERBS


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_says_what_it_does_and_what_each_argument_means(verb: str) -> None:
    said = schema(verb)
    assert said["doc"].endswith("."), "one sentence"
    for name, rule in said["arguments"].items():
        assert rule["meta"]["doc"].endswith((".", ".)")), f"{name} lacks a sentence"
    assert said["returns"], "what `register` shows"
    named = {name for group in said.get("one_of", []) + said.get("exclusive", []) for name in group}
    assert named <= set(said["arguments"])


@pytest.mark.parametrize("verb", VERBS)
def test_the_example_of_a_verb_is_a_task_that_its_schema_accepts(verb: str) -> None:
    from ciflow.lang.schema import check_module

    tasks = yaml.safe_load(schema(verb)["example"])
    assert len(tasks) == 1, "one task shows it"
    assert tasks[0].get("name"), "with a name"
    given = tasks[0][verb]
    free = schema(verb).get("free_form")
    args = {free: given} if isinstance(given, str) and free else dict(given or {})
    findings = Findings()
    check_module(verb, args | tasks[0].get("args", {}), lambda _name, _key: Span("example.yml"), findings)
    assert [finding.message for finding in findings.errors] == []


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_has_goldens_for_success_failure_check_mode_and_unknown(verb: str) -> None:
    known = cases(verb)
    outcomes = [case["outcome"] for case in known]
    assert any(not outcome.get("failed") for outcome in outcomes) or verb == "fail"
    asks = any(case["operations"] for case in known)
    if asks or verb in ("assert", "fail", "set_fact"):
        assert any(outcome.get("failed") for outcome in outcomes) or verb == "pause"
    if asks:
        assert any(case.get("context", {}).get("check") for case in known), "what check mode says"
    if asks and verb not in ("pause", "wait_for_connection"):  # time can't be unknown, and a lost look is looked again
        assert any(outcome.get("unknown") for outcome in outcomes), "what a lost reply becomes"


@pytest.mark.parametrize("verb", VERBS)
def test_every_key_that_a_golden_registers_is_documented(verb: str) -> None:
    """Headers of an answer are the one open set: `uri` returns each under its own name, as Ansible does."""
    documented = {*schema(verb)["returns"], *COMMON}
    open_set = {"content_type", "content_length", "set_cookie"} if verb == "uri" else set()
    for case in cases(verb):
        undocumented = set(case["outcome"].get("data", {})) - documented - open_set - _told(verb, case)
        assert not undocumented, f"{case['args']}: {undocumented}"


def _told(verb: str, case: dict[str, Any]) -> set[str]:
    """Names that the task itself chose."""
    return {case["args"].get("var", "")} if verb == "debug" else set()


def test_the_page_of_modules_is_what_the_schemas_say() -> None:
    written = (ROOT / "docs" / "modules.md").read_text()
    assert written == page(), "run: python -m tests.scaffold.docs"


def test_the_barrier_is_dropped_for_exactly_the_verbs_that_touch_own_files_only() -> None:
    assert {verb for verb, module in MODULES.items() if module.own_files} == OWN_FILES


def test_modules_do_no_input_or_output_and_know_no_clock() -> None:
    """They are generators: whatever they need is an operation, so that it can be predicted, recorded and replayed."""
    banned = ("open(", "import subprocess", "import socket", "import time", "import random", "os.environ", ".now()")
    for path in sorted((ROOT / "ciflow" / "modules").glob("*.py")):
        source = path.read_text()
        assert not [word for word in banned if word in source], path.name


def test_every_verb_runs_a_file_of_its_own_that_takes_arguments_and_context() -> None:
    """The files are named by text, where no type checker looks."""
    taken = {
        (*(one.annotation for one in found.parameters.values()), found.return_annotation)
        for found in (signature(verb.run) for verb in MODULES.values())
    }
    assert taken == {("Mapping[str, Any]", "Context", "Steps")}
    assert sorted(verb.file.rstrip("_") for verb in MODULES.values()) == VERBS


def test_a_start_imports_no_verb_that_is_not_used() -> None:
    """Save the one whose words the engine itself needs, for the jobs that it leaves on hosts."""
    code = "import sys, ciflow.engine.start; print(*(name for name in sys.modules if 'ciflow.modules.' in name))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) <= {"ciflow.modules.async_status", "ciflow.modules.replies"}
