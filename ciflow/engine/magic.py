"""Magic variables that are the same for all hosts of a stage, and for all of their tasks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ciflow.engine.stage import StageRun


def magic_of(stage: StageRun) -> Mapping[str, Callable[[], Any]]:
    """By name, each made when a template asks for it. One for the stage: a run may have 10,000 hosts."""
    run = stage.run
    return {
        "groups": lambda: run.inventory.group_map(),
        "play_hosts": stage.batch_names,
        "ansible_play_hosts": stage.alive_names,
        "ansible_play_hosts_all": lambda: [host.name for host in stage.hosts],
        "ansible_play_batch": stage.batch_names,
        "ansible_play_name": lambda: stage.play.name,
        "ansible_play_role_names": stage.role_names,
        "role_names": stage.role_names,
        "ansible_dependent_role_names": lambda: stage.role_names(dependent=True),
        "ansible_role_names": lambda: [*stage.role_names(), *stage.role_names(dependent=True)],
        "ansible_check_mode": lambda: run.options.check,
        "ansible_diff_mode": lambda: run.options.diff,
        "ansible_verbosity": lambda: run.options.verbosity,
        "playbook_dir": lambda: run.folder,
        "ansible_search_path": lambda: [run.folder],  # of a host that is looked at from elsewhere: it has no task
        **run.of_command,
        "matrix": lambda: dict(stage.stage.cell),
        "git": lambda: dict(run.git),
        "run": run.of_run,
        "plays": lambda: {id: {"outputs": dict(outputs)} for id, outputs in run.outputs.items()},
        "services": lambda: {name: dict(release) for name, release in run.services.items()},
        "test_history": lambda: dict(run.test_history()),
    }
