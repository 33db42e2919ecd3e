"""Which crates a change touches, against what cargo really compiles again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.cargo.workspaces import Workspace
from tests.modules.host import Host

pytestmark = [
    pytest.mark.skipif(shutil.which("cargo") is None, reason="cargo is not installed"),
    pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed"),
]


def compiled(workspace: Workspace) -> set[str]:
    """The members that cargo compiles, or whose build scripts it runs, to bring everything up to date."""
    told = workspace.run("cargo", "check", "--workspace", "--all-targets", "--message-format=json")
    found = set()
    for line in told.splitlines():
        message = json.loads(line)
        if message["reason"] == "compiler-artifact" and not message["fresh"]:
            found.add(message["package_id"])
    return {name for name in workspace.crates if any(_is_of(id, name, workspace) for id in found)}


def _is_of(id: str, name: str, workspace: Workspace) -> bool:
    return id.partition("#")[0] == f"path+file://{workspace.root}/{workspace.crates[name].folder}"


def touched(host: Host, workspace: Workspace, **env: str) -> Mapping[str, Any]:
    args = {"chdir": str(workspace.root), "base": "HEAD", "env": {"CARGO_HOME": workspace.env["CARGO_HOME"], **env}}
    outcome = host.task("affected", args)
    assert not outcome.failed, outcome.msg
    return outcome.data


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (2, 3, 4))])
def test_nothing_that_cargo_compiles_again_is_missing(host: Host, tmp_path: Path, seed: int) -> None:
    """Each case: a change, what is listed for it, with what the last build left and without, and what cargo does."""
    workspace = Workspace(tmp_path, Random(seed))
    compiled(workspace)
    listed = needed = every = 0
    for number in range(20):
        changes = [workspace.change() for _ in range(workspace.random.choice([1, 1, 1, 2]))]
        workspace.write()
        workspace.run("cargo", "update", "--workspace", "-q")
        found = touched(host, workspace)
        fresh = touched(host, workspace, CARGO_TARGET_DIR=str(tmp_path / "empty"))
        really = compiled(workspace)
        assert really <= set(found["crates"]), f"{number} {changes}: {really - set(found['crates'])} of {found}"
        assert really <= set(fresh["crates"]), f"{number} {changes}: {really - set(fresh['crates'])} of {fresh}"
        listed, needed, every = listed + len(found["crates"]), needed + len(really), every + len(workspace.crates)
        workspace.commit()
    more = listed / max(1, needed) - 1
    print(f"seed {seed}: {needed} of {every} crates were compiled, {listed} listed, {more:.0%} more")
