"""Every keyword that the schemas accept is honoured, or refused at its place; none is silently ignored.

`HONOURED` names the test that shows it. A new keyword in a schema fails here until it stands in one of the tables.
"""

from pathlib import Path

import pytest

from ciflow.diagnostics import Invalid
from ciflow.lang.schema import part_schema
from tests.engine.playing import Bench

HERE = Path(__file__).parent
HONOURED = {
    "task": {
        "test_includes": "tags vars",
        "test_handlers": "notify listen",
        "test_conditions": "name when environment register changed_when failed_when no_log timeout args action "
        "local_action delegate_to delegate_facts module_defaults connection remote_user port become become_user "
        "become_method become_flags become_exe check_mode diff",
        "test_loops": "loop loop_control until retries delay",
        "test_blocks": "ignore_errors ignore_unreachable",
        "test_order": "run_once any_errors_fatal throttle",
        "test_async": "async poll",
        "test_terminal": "debugger",
        "test_keywords": "collections irreversible",
    },
    "play": {
        "test_stages": "name id hosts tasks needs matrix when retry deadline approval concurrency outputs always "
        "artifacts",
        "test_order": "serial strategy max_fail_percentage any_errors_fatal order run_once throttle",
        "test_handlers": "handlers force_handlers pre_tasks post_tasks",
        "test_includes": "roles vars tags",
        "test_conditions": "vars_files gather_facts gather_subset gather_timeout fact_path environment become "
        "become_user become_method become_flags become_exe port remote_user connection module_defaults ignore_errors "
        "ignore_unreachable timeout check_mode diff no_log",
        "test_terminal": "vars_prompt debugger",
        "test_image": "image",
        "test_affected": "affected",
        "test_keywords": "collections canary verify retire",
    },
}


@pytest.mark.parametrize("part", ["task", "play"])
def test_every_keyword_of_the_schemas_stands_in_a_table(part: str) -> None:
    honoured = {word for words in HONOURED[part].values() for word in words.split()}
    assert set(part_schema(part).fields) == honoured


@pytest.mark.parametrize(("part", "test"), [(part, test) for part in HONOURED for test in HONOURED[part]])
def test_the_test_that_is_named_for_a_keyword_uses_it(part: str, test: str) -> None:
    text = (HERE / f"{test}.py").read_text()
    assert [word for word in HONOURED[part][test].split() if f"{word}:" not in text] == []


@pytest.mark.parametrize(
    "line",
    ["include_role: {name: r, publik: true}", "meta: reset"],
)
def test_a_word_that_the_engine_does_not_know_is_refused_before_anything_runs(bench: Bench, line: str) -> None:
    bench.file("roles/r/tasks/main.yml", "- debug: {msg: x}\n")
    with pytest.raises(Invalid):
        bench.play(f"- hosts: localhost\n  tasks:\n    - command: touch {{here}}/out/ran\n    - {line}\n")
    assert not (bench.out / "ran").exists()


def test_keywords_that_change_nothing_here_are_taken(bench: Bench) -> None:
    """`collections:` means nothing for builtin modules. `canary:`, `verify:` and `retire:` are tried with routers."""
    played = bench.play(
        """
        - hosts: localhost
          collections: [ansible.builtin]
          tasks:
            - {name: t, command: "true", collections: [ansible.builtin]}
        """
    )
    assert played.exit == 0


def test_what_can_not_be_undone_is_named_before_anything_runs(bench: Bench) -> None:
    played = bench.play(
        """
        - hosts: localhost
          tasks:
            - {name: First, command: touch {here}/out/first}
            - {name: Migrate the database, command: "true", irreversible: true}
        """
    )
    kinds = [event.kind for event in played.events]
    said = next(event for event in played.events if event.kind == "warning")
    assert "can't be undone once it has run: Migrate the database" in said.data["message"]
    assert kinds.index("warning") < kinds.index("task_started")
