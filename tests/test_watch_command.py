"""`ciflow watch`: somebody saves a file, and what depends on it runs again. Real processes, editors, git."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ciflow.diagnostics import ExitCode
from ciflow.watch.written import ALWAYS
from tests.parts.process import wait_for
from tests.typist import ROOT, at_a_terminal

PATIENCE = 90.0
PLAY = """
- name: Test
  hosts: localhost
  gather_facts: false
  tasks:
    - {name: Run, shell: cat src/* | grep -v fail}
"""
SLOW = """
- name: Test
  hosts: localhost
  gather_facts: false
  tasks:
    - {name: Begin, shell: echo x >> ../begun}
    - {name: Wait, shell: "until [ -e ../go ]; do sleep 0.05; done"}
"""
Events = list[dict[str, Any]]


class Watched:
    """`ciflow watch --json` on a project; all that it has told so far."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.events: Events = []
        self._more = threading.Condition()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._more:
                self.events.append(json.loads(line))
                self._more.notify_all()

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [event["data"] for event in self.events if event["kind"] == kind]

    def tells(self, kind: str, count: int = 1) -> dict[str, Any]:
        """The `count`th event of this kind, once it has come."""
        with self._more:
            found = self._more.wait_for(lambda: len(self.of(kind)) >= count, PATIENCE)
        assert found, f"never told: {kind}\n{self.events}"
        return self.of(kind)[count - 1]

    def ends(self, number: signal.Signals = signal.SIGINT) -> int:
        self.process.send_signal(number)
        code = self.process.wait(PATIENCE)
        self._thread.join(PATIENCE)
        return code


def environment(folder: Path, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "CIFLOW_", "GIT_"))}
    return {**kept, "HOME": str(folder), "CIFLOW_STATE": str(folder / "state"), "PYTHONPATH": str(ROOT), **more}


@contextmanager
def watching(project: Path, *words: str, before: tuple[str, ...] = (), **more: str) -> Iterator[Watched]:
    argv = [*before, sys.executable, "-P", "-m", "ciflow", "watch", "--json", *words]
    env = environment(project.parent, **more)
    with subprocess.Popen(
        argv, cwd=project, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    ) as one:
        found = Watched(one)
        try:
            yield found
        finally:
            one.kill()
            (project.parent / "go").touch()  # what still waits on its host ends


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    (folder / "src").mkdir(parents=True)
    (folder / "src" / "lib.rs").write_text("one\n")
    (folder / "ci.yml").write_text(PLAY)
    return folder


def truncated(file: Path) -> None:
    """As nano does, and `>` of a shell."""
    file.write_text("truncated and written\n")


def renamed(file: Path) -> None:
    """As vim, emacs and JetBrains do: another file takes the name, and its mode is set afterwards."""
    new = file.with_name(f".{file.name}.swp")
    new.write_text("written and renamed\n")
    new.replace(file)
    file.chmod(0o640)


def kept_aside(file: Path) -> None:
    """As vim does with `backupcopy=no`: the old one is moved away first."""
    file.rename(file.with_name(f"{file.name}~"))
    file.write_text("moved away and written\n")
    file.with_name(f"{file.name}~").unlink()


@pytest.mark.parametrize("poll", [(), ("--poll",)], ids=["by events", "by the clock"])
def test_each_way_in_which_editors_save_runs_it_once_more(project: Path, poll: tuple[str, ...]) -> None:
    with watching(project, "ci.yml", *poll) as watched:
        assert watched.tells("run_ended")["exit"] == 0
        for number, save in enumerate((truncated, renamed, kept_aside), 1):
            save(project / "src" / "lib.rs")
            assert watched.tells("changed", number) == {"files": ["src/lib.rs"], "count": 1}
            watched.tells("run_ended", number + 1)
        assert watched.ends() == 0
        assert len(watched.of("run_started")) == 4
        assert len(watched.of("by_clock")) == len(poll)


def test_what_is_ignored_runs_nothing(project: Path) -> None:
    (project / ".gitignore").write_text("*.log\n")
    with watching(project, "ci.yml") as watched:
        watched.tells("run_ended")
        (project / "target").mkdir()
        for path in ("x.log", "target/x", "src/.lib.rs.swp"):
            (project / path).write_text("x")
        (project / "src" / "new.rs").write_text("x")
        assert watched.tells("changed") == {"files": ["src/new.rs"], "count": 1}
        assert watched.ends() == 0


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_a_checkout_of_a_thousand_files_is_one_change(project: Path) -> None:
    def git(*words: str) -> None:
        named = ("-c", "user.name=a", "-c", "user.email=a@b")
        subprocess.run(["git", *named, *words], cwd=project, env=environment(project.parent), check=True)

    git("init", "-q", "-b", "main")
    for branch in ("main", "other"):
        for number in range(1000):
            (project / "src" / f"{number}").write_text(branch)
        git("add", "-A")
        git("commit", "-qm", branch)
        git("switch", "-qc", "other") if branch == "main" else None
    with watching(project, "ci.yml") as watched:
        watched.tells("run_ended")
        git("switch", "-q", "main")
        assert watched.tells("changed")["count"] == 1000
        watched.tells("run_ended", 2)
        truncated(project / "src" / "lib.rs")
        assert watched.tells("changed", 2)["count"] == 1
        assert watched.ends() == 0


def test_what_the_run_writes_itself_begins_no_endless_loop(project: Path) -> None:
    """A file in the project that nothing ignores, and that is another each time."""
    (project / "ci.yml").write_text(PLAY + '    - {name: Stamp, shell: "date +%N > stamp; date +%N > src/gen"}\n')
    with watching(project, "ci.yml") as watched:
        assert sorted(watched.tells("written")["files"]) == ["src/gen", "stamp"]
        truncated(project / "src" / "lib.rs")
        last = len(watched.of("run_started")) + 1
        assert last <= ALWAYS + 2
        watched.tells("run_ended", last)
        assert watched.of("changed")[-1] == {"files": ["src/lib.rs"], "count": 1}
        truncated(project / "ci.yml")
        watched.tells("error")
        assert watched.of("changed")[-1] == {"files": ["ci.yml"], "count": 1}
        assert watched.ends() == 0
        assert len(watched.of("run_started")) == last
        assert len(watched.of("written")) == 1


def test_restarting_for_what_the_run_writes_itself_ends_too(project: Path) -> None:
    (project / "ci.yml").write_text(SLOW.replace("echo x >>", "date +%N > stamp; echo x >>"))
    with watching(project, "ci.yml", "--restart") as watched:
        watched.tells("written")
        (project.parent / "go").touch()
        stopped = len(watched.of("run_ended"))
        assert stopped <= ALWAYS + 1
        assert watched.tells("run_ended", stopped + 1)["exit"] == 0
        assert watched.ends() == 0
        assert [ended["exit"] for ended in watched.of("run_ended")] == [ExitCode.INTERRUPTED] * stopped + [0]


@pytest.mark.parametrize("playbook", [PLAY, "- {hosts: localhost, taks: []}\n"], ids=["runs", "can't run"])
@pytest.mark.parametrize("into", ["> said.log 2>&1", "2>&1 | tee said.log"])
def test_what_is_said_into_a_file_of_the_project_begins_no_endless_loop(
    project: Path, playbook: str, into: str
) -> None:
    """A file that a pipe leads to is known by changing with each word that is said."""
    (project / "ci.yml").write_text(playbook)
    command = f"{sys.executable} -P -m ciflow watch ci.yml {into}"
    env, log = environment(project.parent), project / "said.log"
    with subprocess.Popen(["sh", "-c", command], cwd=project, env=env, stdin=subprocess.DEVNULL,
                          stdout=subprocess.DEVNULL, start_new_session=True) as shell:  # fmt: skip
        try:
            wait_for(lambda: log.exists() and ("nothing was run" in (said := log.read_text()) or "ok" in said))
            settled = wait_for(lambda: unchanging(log), "an end", told=lambda: log.read_text()[-2000:])
            truncated(project / "src" / "lib.rs")
            wait_for(lambda: "src/lib.rs" in log.read_text(), "the next run", told=log.read_text)
            wait_for(lambda: unchanging(log), "an end", told=lambda: log.read_text()[-2000:])
        finally:
            os.killpg(shell.pid, signal.SIGKILL)
    assert len(re.findall(r"^[\d:]+  changed", settled, re.MULTILINE)) <= 3 * ALWAYS


def unchanging(file: Path) -> str:
    """What it holds, once nothing has been added for two seconds."""
    before = file.read_text()
    time.sleep(2.0)
    return before if file.read_text() == before else ""


def test_what_a_module_says_that_it_wrote_begins_no_second_run(project: Path) -> None:
    task = "    - {name: Make, copy: {content: \"{{ lookup('pipe', 'date +%N') }}\", dest: src/made, mode: '0644'}}\n"
    (project / "ci.yml").write_text(PLAY + task)
    with watching(project, "ci.yml") as watched:
        watched.tells("run_ended")
        truncated(project / "src" / "lib.rs")
        assert watched.tells("changed") == {"files": ["src/lib.rs"], "count": 1}
        watched.tells("run_ended", 2)
        assert watched.ends() == 0
        assert len(watched.of("run_started")) == 2


def test_a_change_during_a_run_waits_for_its_end(project: Path) -> None:
    (project / "ci.yml").write_text(SLOW)
    with watching(project, "ci.yml") as watched:
        watched.tells("run_started")
        waits_for(project.parent / "begun")
        truncated(project / "src" / "lib.rs")
        (project.parent / "go").touch()
        assert watched.tells("run_ended")["exit"] == 0
        assert watched.tells("changed")["files"] == ["src/lib.rs"]
        assert watched.tells("run_ended", 2)["exit"] == 0
        assert watched.ends() == 0


def test_with_restart_it_ends_the_run_as_ctrl_c_would(project: Path) -> None:
    (project / "ci.yml").write_text(SLOW)
    with watching(project, "ci.yml", "--restart") as watched:
        watched.tells("run_started")
        waits_for(project.parent / "begun")
        truncated(project / "src" / "lib.rs")
        assert watched.tells("run_ended")["exit"] == ExitCode.INTERRUPTED
        assert watched.tells("changed")["files"] == ["src/lib.rs"]
        (project.parent / "go").touch()
        assert watched.tells("run_ended", 2)["exit"] == 0
        assert watched.ends() == 0


def waits_for(file: Path) -> None:
    until = time.monotonic() + PATIENCE
    while not file.exists():
        assert time.monotonic() < until, f"{file} never came"
        time.sleep(0.02)


def test_a_wrong_playbook_says_why_and_runs_as_soon_as_it_is_mended(project: Path) -> None:
    (project / "tasks").mkdir()
    (project / "ci.yml").write_text(PLAY + "    - import_tasks: tasks/more.yml\n")
    (project / "tasks" / "more.yml").write_text("- {name: More, comand: true}\n")
    with watching(project, "ci.yml") as watched:
        message = watched.tells("error")["message"]
        assert "tasks/more.yml:1" in message
        assert "did you mean `command`?" in message
        (project / "tasks" / "more.yml").write_text("- {name: More, command: 'true'}\n")
        assert watched.tells("run_ended")["exit"] == 0
        assert watched.ends() == 0


def test_what_is_included_from_elsewhere_and_ignored_counts_too(project: Path) -> None:
    """Files that the playbook is made of count wherever they lie."""
    (project / "ci.yml").write_text(PLAY.replace("  tasks:", "  vars_files: [../elsewhere.yml, kept.log]\n  tasks:"))
    (project / ".gitignore").write_text("*.log\n")
    (project.parent / "elsewhere.yml").write_text("a: 1\n")
    (project / "kept.log").write_text("b: 1\n")
    with watching(project, "ci.yml") as watched:
        for number, file in enumerate((project.parent / "elsewhere.yml", project / "kept.log"), 1):
            watched.tells("run_ended", number)
            file.write_text("a: 2\n")
            assert Path(watched.tells("changed", number)["files"][0]).name == file.name
        assert watched.ends() == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, ExitCode.TERMINATED)])
def test_whoever_ends_it_ends_the_run_in_hand_well(project: Path, number: signal.Signals, code: int) -> None:
    (project / "ci.yml").write_text(SLOW)
    with watching(project, "ci.yml") as watched:
        waits_for(project.parent / "begun")
        assert watched.ends(number) == code
        assert watched.of("run_ended")[0]["exit"] in (ExitCode.INTERRUPTED, ExitCode.TERMINATED)


def test_a_reader_that_goes_away_ends_it(project: Path) -> None:
    with watching(project, "ci.yml") as watched:
        watched.tells("run_ended")
    words = f"{sys.executable} -P -m ciflow watch --json ci.yml | head -n 1"
    done = subprocess.run(["sh", "-c", words], cwd=project, env=environment(project.parent), timeout=PATIENCE)
    assert done.returncode == 0


# --- where events can't be had ----------------------------------------------------------------------------


def test_without_the_library_it_goes_by_the_clock_and_says_how_to_get_it(project: Path) -> None:
    lost = project.parent / "lost"
    lost.mkdir()
    (lost / "watchfiles.py").write_text("raise ImportError('no such module')\n")
    with watching(project, "ci.yml", PYTHONPATH=f"{lost}:{ROOT}") as watched:
        assert "pip install 'ciflow[watch]'" in watched.tells("by_clock")["why"]
        watched.tells("run_ended")
        truncated(project / "src" / "lib.rs")
        assert watched.tells("changed")["files"] == ["src/lib.rs"]
        assert watched.ends() == 0


def test_where_the_system_watches_no_more_files_it_goes_by_the_clock(project: Path) -> None:
    """With a limit of inotify that is real, and nobody else's: a user namespace has its own."""
    limit = 'echo 1 > /proc/sys/user/max_inotify_watches && exec "$@"'
    before = ("unshare", "-Ur", "sh", "-c", limit, "sh")
    tried = subprocess.run([*before, "true"], capture_output=True) if shutil.which("unshare") else None
    if tried is None or tried.returncode:
        pytest.skip("no user namespaces can be made here")
    with watching(project, "ci.yml", before=before) as watched:
        assert "max_user_watches" in watched.tells("by_clock")["why"]
        watched.tells("run_ended")
        truncated(project / "src" / "lib.rs")
        assert watched.tells("changed")["files"] == ["src/lib.rs"]
        assert watched.ends() == 0


# --- somebody at a terminal ------------------------------------------------------------------------------------


def test_a_person_sees_what_changed_what_runs_and_what_it_came_to(project: Path) -> None:
    with at_a_terminal(project, "watch", "ci.yml") as typist:
        typist.sees(r"watching ci\.yml and \d files in\s")
        typist.sees("Enter runs again   c clears   q ends")
        typist.sees(r"\d\d:\d\d:\d\d  runs     Test")
        typist.sees(r"\d\d:\d\d:\d\d  ok       Test: 1 changed")
        (project / "src" / "lib.rs").write_text("fail\n")
        typist.sees(r"\d\d:\d\d:\d\d  changed  src/lib\.rs")
        typist.sees("Run failed on localhost")
        typist.sees(r"\d\d:\d\d:\d\d  failed   task failed: Run .* `ciflow logs R-2-\w+`")
        typist.presses(b"\n")
        typist.sees(r"\d\d:\d\d:\d\d  runs     Test")
        typist.sees(r"\d\d:\d\d:\d\d  failed ")
        typist.presses(b"c")
        typist.sees(r"\x1b\[2J")
        typist.presses(b"q")
        assert typist.ends() == 0


def test_ctrl_c_at_the_terminal_ends_it_well_during_a_run_too(project: Path) -> None:
    (project / "ci.yml").write_text(SLOW)
    with at_a_terminal(project, "watch", "ci.yml") as typist:
        typist.sees("runs     Test")
        waits_for(project.parent / "begun")
        typist.presses(b"\x03")
        typist.sees("ended    interrupted")
        assert typist.ends() == 0
    (project.parent / "go").touch()


def test_a_hostile_name_of_a_file_moves_nothing_on_the_screen(project: Path) -> None:
    with at_a_terminal(project, "watch", "ci.yml") as typist:
        typist.sees(r"  ok  ")
        (project / "src" / "\x1b]0;owned\x07\nq").write_text("x\n")
        typist.sees(r"changed  src/\\x1b\]0;owned\\x07\\nq")
        typist.sees(r"  ok  ")
        typist.presses(b"q")
        assert typist.ends() == 0
        assert "\x1b]0;" not in typist.shown


# --- what it refuses, and what it leaves out ----------------------------------------------------------------


def refused(project: Path, *words: str) -> str:
    argv = [sys.executable, "-P", "-m", "ciflow", "watch", *words]
    env = environment(project.parent)
    done = subprocess.run(argv, cwd=project, env=env, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == ExitCode.INVALID, done.stderr
    return done.stderr


def test_a_question_that_nobody_would_answer_is_refused(project: Path) -> None:
    for option in ("-J", "-k", "-K"):
        assert "nobody is asked while files are watched: --ask-" in refused(project, "ci.yml", option)


CANARY = """
- name: Roll out
  hosts: localhost
  gather_facts: false
  canary:
    service: shield
    version: 1.0.0
    router: {haproxy: {socket: /run/admin.sock, backend: shield}}
    slots: {a: {port: 8081}, b: {port: 8082}}
    steps: [5%]
    gates: [{errors: {tolerate: 1.25}}]
  tasks: [{name: Deploy, command: 'true'}]
- {name: Tell, hosts: localhost, gather_facts: false, tasks: [{name: Tell, debug: {msg: told}}]}
"""


def test_what_rolls_out_is_left_out_with_what_comes_after_and_it_says_so(project: Path) -> None:
    (project / "ci.yml").write_text(PLAY + CANARY)
    with watching(project, "ci.yml") as watched:
        told = watched.tells("watching")
        assert (told["left_out"], told["rollouts"]) == (["Roll out", "Tell"], [])
        assert watched.tells("runs")["plays"] == ["Test"]
        assert watched.tells("run_ended")["exit"] == 0
        assert watched.ends() == 0
        assert [play["name"] for play in watched.of("play_started")] == ["Test"]


def test_a_playbook_that_only_rolls_out_says_how_that_is_asked_for(project: Path) -> None:
    (project / "ci.yml").write_text(CANARY)
    with watching(project, "ci.yml") as watched:
        assert "--play 'Roll out'" in watched.tells("error")["message"]
        assert watched.ends() == 0


def test_nobody_whom_the_playbook_notifies_is_told_of_each_save(project: Path) -> None:
    (project / "src" / "lib.rs").write_text("fail\n")
    told = "notifications: [{to: command, argv: [touch, ../told], on: [started, failed]}]\nplays:"
    (project / "ci.yml").write_text(f"name: Shop\n{told}{PLAY.replace(chr(10), chr(10) + '  ')}")
    with watching(project, "ci.yml") as watched:
        assert watched.tells("run_ended")["exit"] == ExitCode.TASK_FAILED
        assert watched.ends() == 0
    assert not (project.parent / "told").exists()
    argv = [sys.executable, "-P", "-m", "ciflow", "apply", "ci.yml"]
    subprocess.run(argv, cwd=project, env=environment(project.parent), capture_output=True, timeout=PATIENCE)
    assert (project.parent / "told").exists(), "as `apply` would"


def test_only_the_plays_that_are_asked_for_run_again(project: Path) -> None:
    other = PLAY.replace("name: Test", "name: Other")
    (project / "ci.yml").write_text(PLAY + other)
    with watching(project, "ci.yml", "--play", "Other") as watched:
        assert watched.tells("runs")["plays"] == ["Other"]
        assert watched.tells("run_ended")["exit"] == 0
        assert watched.ends() == 0
        assert [play["name"] for play in watched.of("play_started")] == ["Other"]
