"""Which plays are left when some are asked for, and when none is to roll out unasked."""

from __future__ import annotations

from pathlib import Path

import pytest

from ciflow.diagnostics import Invalid
from ciflow.engine.request import Request, planned
from ciflow.plan import Selection

PLAYS = """
- {name: Lint, hosts: localhost, tasks: [{name: A, ping: }]}
- {name: Test, hosts: localhost, tasks: [{name: A, ping: }]}
- {name: Build, hosts: localhost, needs: [Lint], tasks: [{name: A, ping: }]}
- name: Roll out
  hosts: localhost
  needs: [Build]
  canary:
    service: shield
    version: "1.0.0"
    router: {haproxy: {socket: /run/admin.sock, backend: shield}}
    slots: {a: {port: 8081}, b: {port: 8082}}
    steps: [5%]
    gates: [{errors: {tolerate: 1.25}}]
  tasks: [{name: A, ping: }]
- {name: Tell, hosts: localhost, tasks: [{name: A, ping: }]}
- {name: Clean, hosts: localhost, needs: [Roll out], tasks: [{name: A, ping: }]}
- {name: Report, hosts: localhost, needs: [Test], tasks: [{name: A, ping: }]}
"""


def left(folder: Path, *plays: str, rollouts: bool = True) -> list[str]:
    (folder / "play.yml").write_text(PLAYS)
    chosen = Selection(plays=frozenset(plays), rollouts=rollouts)
    return [stage.play.name for stage in planned(Request(str(folder / "play.yml"), selection=chosen)).plan.stages]


@pytest.mark.parametrize(
    ("plays", "kept"),
    [
        (("Test",), ["Test"]),
        (("test",), ["Test"]),
        (("Build",), ["Lint", "Build"]),
        (("Test", "Report"), ["Test", "Report"]),
        (("Tell",), ["Tell"]),
        (("Clean",), ["Lint", "Build", "Roll out", "Clean"]),
    ],
)
def test_a_play_runs_with_what_its_needs_name_and_without_what_only_stands_before_it(
    tmp_path: Path, plays: tuple[str, ...], kept: list[str]
) -> None:
    assert left(tmp_path, *plays) == kept


def test_a_play_that_is_not_there_is_an_error_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(Invalid) as wrong:
        left(tmp_path, "Tset")
    (fault,) = wrong.value.diagnostics
    assert (fault.code, fault.message) == ("CF0303", "no play is named `Tset`")
    assert "`Test`" in fault.help


def test_without_rollouts_what_rolls_out_and_what_comes_after_it_is_left_out(tmp_path: Path) -> None:
    assert left(tmp_path, rollouts=False) == ["Lint", "Test", "Build", "Report"]


def test_one_that_is_asked_for_by_its_name_rolls_out_nevertheless(tmp_path: Path) -> None:
    assert left(tmp_path, "Roll out", rollouts=False) == ["Lint", "Build", "Roll out"]


def test_a_play_that_needs_a_rollout_nobody_asked_for_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Invalid) as wrong:
        left(tmp_path, "Clean", rollouts=False)
    (fault,) = wrong.value.diagnostics
    assert fault.message == "`Clean` needs `Roll out`, which rolls out or comes after what does"
    assert fault.help == "ask for it by its name, too: --play 'Roll out'"
