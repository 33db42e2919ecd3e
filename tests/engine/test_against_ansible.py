"""The same playbooks by ansible-playbook and by ciflow: each task's status on each host, and the files left behind.

`DEVIATIONS` are deliberate, each with its reason; nothing else may differ.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from benchmarks.peers import PINNED, Peers
from ciflow.engine.context import Options
from ciflow.engine.request import Request
from ciflow.engine.start import apply
from ciflow.plan import Selection
from ciflow.store.store import Store
from tests.engine.playing import Seen

pytestmark = pytest.mark.slow
PEER = Path(__file__).parent / "peer"
PLAYBOOKS = sorted(path.stem for path in PEER.glob("*.yml"))
FLAGS: dict[str, tuple[str, ...]] = {"tags": ("--tags", "chosen", "--skip-tags", "skipped"), "check": ("--check",)}
NOT_TASKS = {"include_tasks", "include_role", "include_vars", "meta", "gather_facts", "setup"}
# (playbook, task, host) -> (ansible's, ciflow's)
DEVIATIONS: dict[tuple[str, str, str], tuple[str, str]] = {
    # A role that is listed twice, the second time with a condition: Ansible keeps only the second one's handlers,
    # so a host that notified and for which the condition does not hold never restarts. Here a handler has no
    # conditions but its own.
    ("roles", "restart web", "h2"): ("skipped", "changed"),
    # `ignore_unreachable`: the word for a failure that was passed over is the same, whatever failed.
    ("unreachable", "gone", "h1"): ("unreachable", "ignored"),
    ("unreachable", "also gone", "h2"): ("unreachable", "ignored"),
}
LEFT_BY_DEVIATIONS = {("roles", "handler-h2")}
Ends = dict[str, list[tuple[str, str]]]


@pytest.fixture(scope="module")
def ansible() -> Iterator[str]:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    peers = Peers(cache / "ciflow" / "peers")
    program = peers.program("ansible-playbook")
    stamp = peers.venv / "pinned"
    if not Path(program).exists() or not stamp.exists() or stamp.read_text() != "\n".join(PINNED):
        pytest.skip("ansible is not installed beside the benches: `python -m benchmarks.peers` does it")
    yield program


def by_ansible(program: str, name: str, out: Path) -> tuple[bool, Ends]:
    environment = {
        **os.environ,
        "ANSIBLE_STDOUT_CALLBACK": "lines",
        "ANSIBLE_CALLBACK_PLUGINS": str(PEER / "callback"),
        "ANSIBLE_RETRY_FILES_ENABLED": "0",
        "ANSIBLE_LOCALHOST_WARNING": "0",
        "ANSIBLE_HOME": str(out.parent / "ansible"),
    }
    argv = [program, "-i", "inventory.ini", f"{name}.yml", "-e", f"out={out}", "-e", "given=extra"]
    argv += FLAGS.get(name, ())
    done = subprocess.run(argv, cwd=PEER, env=environment, capture_output=True, text=True, check=False)
    ends: Ends = {}
    for line in done.stdout.splitlines():
        if line.startswith("["):
            host, task, status, module = json.loads(line)
            if module.removeprefix("ansible.builtin.") not in NOT_TASKS:
                ends.setdefault(host, []).append((task.rpartition(" : ")[2], status))
    assert ends or "skipping" in done.stdout, done.stdout + done.stderr
    return done.returncode == 0, ends


def by_ciflow(name: str, out: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[bool, Ends]:
    monkeypatch.chdir(PEER)
    flags = FLAGS.get(name, ())
    selection = Selection(frozenset({"chosen"}), frozenset({"skipped"})) if "--tags" in flags else Selection()
    options = Options(who="ann", check="--check" in flags)
    request = Request(f"{name}.yml", ("inventory.ini",), (f"out={out}", "given=extra"), selection, options)
    seen = Seen()
    with Store.open(out.parent / "state") as store:
        code = apply(request, store, [seen])
    ends: Ends = {}
    for event in seen.events:
        data = event.data
        if event.kind == "task_ended" and data["module"] not in NOT_TASKS and data["status"] != "rescued":
            ends.setdefault(event.host, []).append((str(data["name"]), str(data["status"])))
    return code == 0, ends


def files(folder: Path) -> dict[str, tuple[str, str]]:
    """Every file with its mode and content."""
    found = {}
    for path in sorted(folder.rglob("*")):
        mode = oct(path.lstat().st_mode & 0o777) if not path.is_symlink() else "link"
        found[str(path.relative_to(folder))] = (mode, path.read_text() if path.is_file() else "")
    return found


def as_ciflow_does(name: str, ends: Ends) -> Ends:
    """Ansible's ends with the deliberate deviations put in."""
    return {
        host: [(task, DEVIATIONS.get((name, task, host), (status, status))[1]) for task, status in tasks]
        for host, tasks in ends.items()
    }


def folders(tmp_path: Path, names: Sequence[str]) -> list[Path]:
    found = [tmp_path / name / "out" for name in names]
    for folder in found:
        folder.mkdir(parents=True)
    return found


@pytest.mark.parametrize("name", PLAYBOOKS)
def test_a_playbook_does_what_it_does_under_ansible(
    ansible: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    theirs_out, ours_out = folders(tmp_path, ["theirs", "ours"])
    their_end, theirs = by_ansible(ansible, name, theirs_out)
    our_end, ours = by_ciflow(name, ours_out, monkeypatch)
    assert ours == as_ciflow_does(name, theirs)
    left = {path: what for path, what in files(ours_out).items() if (name, path) not in LEFT_BY_DEVIATIONS}
    assert left == files(theirs_out)
    assert our_end == their_end
