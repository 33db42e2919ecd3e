"""The real command line: what a person sees who typed something wrong, and what scripts may count on."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from ciflow import __version__
from ciflow.diagnostics import ExitCode
from tests.parts.process import wait_for
from tests.parts.sshd import Sshd

ROOT = Path(__file__).resolve().parents[1]
SAY = """
- name: Say
  hosts: localhost
  tasks:
    - name: Say it
      command: echo hello
    - name: Say nothing
      debug: {msg: "as said"}
"""
FAIL = """
- name: Try
  hosts: localhost
  tasks:
    - name: Break it
      shell: echo so far so good; echo no such luck >&2; exit 3
    - name: Never reached
      command: touch reached
"""
SLEEP = """
- hosts: localhost
  tasks:
    - name: Take long
      command: sleep 300
"""


@dataclass
class Shell:
    """A folder to work in, and a home and a journal of its own."""

    folder: Path

    @property
    def env(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "CIFLOW_"))}
        for name in ("NO_COLOR", "FORCE_COLOR", "CLICOLOR_FORCE"):
            kept.pop(name, None)
        return {**kept, "HOME": str(self.folder / "home"), "CIFLOW_STATE": str(self.folder / "state"),
                "PYTHONPATH": str(ROOT), "TERM": "xterm"}  # fmt: skip

    def write(self, **files: str) -> None:
        for name, text in files.items():
            (self.folder / f"{name}.yml").write_text(text)

    def argv(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "ciflow", *words]

    def __call__(self, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.argv(*words), cwd=self.folder, env={**self.env, **env}, capture_output=True,
                              text=True, timeout=60, stdin=subprocess.DEVNULL)  # fmt: skip

    def sh(self, line: str) -> subprocess.CompletedProcess[str]:
        """A line of bash, where `ciflow` is this one."""
        script = f'ciflow() {{ "{sys.executable}" -m ciflow "$@"; }}; set -o pipefail; {line}'
        return subprocess.run(["bash", "-c", script], cwd=self.folder, env=self.env, capture_output=True, text=True,
                              timeout=60)  # fmt: skip

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(self.argv(*words), cwd=self.folder, env=self.env, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL)  # fmt: skip


@pytest.fixture
def ciflow(tmp_path: Path) -> Shell:
    (tmp_path / "home").mkdir()
    return Shell(tmp_path)


def is_running(ciflow: Shell) -> bool:
    return "task_started" in ciflow("logs").stdout


# --- wrong input ---------------------------------------------------------------------------------------


def test_a_missing_playbook_is_named(ciflow: Shell) -> None:
    done = ciflow("apply", "nowhere.yml")
    assert done.returncode == ExitCode.INVALID
    assert "nowhere.yml" in done.stderr
    assert "no such file" in done.stderr


def test_bad_yaml_is_shown_where_it_is(ciflow: Shell) -> None:
    ciflow.write(bad="- hosts: localhost\n  tasks:\n    - name: 'never closed\n")
    done = ciflow("apply", "bad.yml")
    assert done.returncode == ExitCode.INVALID
    assert re.search(r"bad\.yml:[34]:\d+", done.stderr)
    assert "nothing was run" in done.stderr


def test_an_unknown_keyword_comes_with_the_one_that_was_meant(ciflow: Shell) -> None:
    ciflow.write(bad="- hosts: localhost\n  taks: []\n")
    done = ciflow("apply", "bad.yml")
    assert done.returncode == ExitCode.INVALID
    assert "bad.yml:2:3" in done.stderr
    assert "did you mean `tasks`?" in done.stderr


def test_all_faults_are_said_at_once_and_nothing_is_run(ciflow: Shell) -> None:
    tasks = (
        "    - command: touch ran\n    - copyy: {src: a}\n    - debug: {mesg: x}\n    - file: {path: x, mode: 644}\n"
    )
    ciflow.write(bad=f"- hosts: localhost\n  tasks:\n{tasks}")
    done = ciflow("apply", "bad.yml")
    assert done.returncode == ExitCode.INVALID
    assert [f"bad.yml:{line}:" in done.stderr for line in (3, 4, 5, 6)] == [False, True, True, True]
    assert not (ciflow.folder / "ran").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("aply", "say.yml"), "did you mean `apply`?"),
        (("apply",), "Missing argument 'PLAYBOOK'"),
        (("apply", "say.yml", "--frobnicate"), "No such option"),
        (("apply", "say.yml", "-f", "-1"), "--forks"),
        (("apply", "say.yml", "-i", "nowhere"), "the inventory nowhere is not found"),
        (("apply", "say.yml", "-l", "nobody"), "the limit `nobody`"),
        (("apply", "say.yml", "-e", "@nowhere.yml"), "nowhere.yml"),
        (("apply", "say.yml", "-e", "{half"), "-e:1:"),
        (("apply", "say.yml", "-e", "word"), "`word`"),
        (("apply", "say.yml", "--start-at-task", "Nothing"), "no task is named `Nothing`"),
        (("apply", "."), "is a directory"),
        (("logs", "R-9"), "nothing was run yet"),
        (("resume", "R-9"), "R-9"),
        (("rollback",), "which service? none was released from here"),
        (("doc", "frobnicate"), "frobnicate"),
    ],
)
def test_what_is_wrong_is_said_in_one_form_and_ends_with_3(ciflow: Shell, words: tuple[str, ...], said: str) -> None:
    ciflow.write(say=SAY)
    done = ciflow(*words)
    assert (done.returncode, done.stdout) == (ExitCode.INVALID, "")
    assert said in done.stderr
    assert done.stderr.startswith("error")
    assert "Traceback" not in done.stderr


def test_a_journal_that_can_not_be_used_stops_before_anything_runs(ciflow: Shell) -> None:
    ciflow.write(run="- hosts: localhost\n  tasks:\n    - command: touch ran\n")
    (ciflow.folder / "state").write_text("a file, not a folder")
    done = ciflow("apply", "run.yml")
    assert done.returncode == ExitCode.INTERNAL
    assert done.stderr.startswith("error: ")
    assert not (ciflow.folder / "ran").exists()


def test_a_report_that_can_not_be_written_is_said_at_the_end(ciflow: Shell) -> None:
    ciflow.write(say=SAY)
    done = ciflow("apply", "say.yml", "--junit", ".")
    assert done.returncode == ExitCode.OK
    assert "warning: the report was not written" in done.stderr


# --- what fails on the way -----------------------------------------------------------------------------


def test_a_failing_task_shows_its_output_and_what_to_type_next(ciflow: Shell) -> None:
    ciflow.write(fail=FAIL)
    done = ciflow("apply", "fail.yml")
    assert done.returncode == ExitCode.TASK_FAILED
    assert "no such luck" in done.stderr
    assert re.search(r"ciflow resume R-1-\w+", done.stderr)
    assert not (ciflow.folder / "reached").exists()


def test_a_host_that_nobody_answers_for_ends_with_5(ciflow: Shell) -> None:
    ciflow.write(ping="- hosts: far\n  tasks:\n    - ping:\n")
    (ciflow.folder / "hosts").write_text("far ansible_host=127.0.0.1 ansible_port=1\n")
    done = ciflow("apply", "ping.yml", "-i", "hosts")
    assert done.returncode == ExitCode.UNREACHABLE
    assert "far (127.0.0.1:1)" in done.stderr
    assert "refused" in done.stderr


def test_a_host_that_says_nothing_ends_with_5_and_no_traceback(ciflow: Shell) -> None:
    ciflow.write(ping="- hosts: far\n  tasks:\n    - ping:\n")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        way = f"ansible_host=127.0.0.1 ansible_port={silent.getsockname()[1]}"
        (ciflow.folder / "hosts").write_text(f"far {way} ansible_ssh_common_args='-F none -o ConnectTimeout=1'\n")
        done = ciflow("apply", "ping.yml", "-i", "hosts")
    assert done.returncode == ExitCode.UNREACHABLE
    assert "it said nothing for 1 s" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_host_key_is_refused_with_its_fingerprint_and_the_way_to_accept_it(
    ciflow: Shell, sshd: Sshd
) -> None:
    ciflow.write(ping="- hosts: web\n  tasks:\n    - ping:\n")
    line = sshd.inventory_line("web").replace(str(sshd.known_hosts), str(ciflow.folder / "known"))
    (ciflow.folder / "hosts").write_text(line + "\n")
    done = ciflow("apply", "ping.yml", "-i", "hosts")
    assert done.returncode == ExitCode.UNREACHABLE
    printed = subprocess.run(["ssh-keygen", "-lf", str(sshd.known_hosts)], capture_output=True, text=True, check=True)
    assert printed.stdout.split()[1] in done.stderr.replace("\n", "")
    command = next(line.strip() for line in done.stderr.splitlines() if line.strip().startswith("echo "))
    subprocess.run(command, shell=True, check=True)
    assert ciflow("apply", "ping.yml", "-i", "hosts").returncode == ExitCode.OK


@pytest.mark.slow
def test_a_router_whose_port_is_taken_says_so_and_deploys_nothing(ciflow: Shell) -> None:
    pytest.importorskip("envoy", reason="Envoy's wheel is not installed")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ciflow.write(
            canary=f"""
- hosts: localhost
  canary:
    service: shop
    version: "1"
    router: {{envoy: {{port: {port}, bind: 127.0.0.1, dir: {ciflow.folder}/envoy}}}}
    slots: {{a: {{port: 1}}, b: {{port: 2}}}}
    steps: [100%]
  tasks:
    - name: Deploy
      command: touch deployed
"""
        )
        done = ciflow("apply", "canary.yml")
    assert done.returncode in (ExitCode.INTERNAL, ExitCode.TASK_FAILED, ExitCode.UNREACHABLE)
    assert f"port {port} is taken" in done.stderr
    assert not (ciflow.folder / "deployed").exists()


@pytest.mark.slow
def test_a_second_run_of_a_playbook_is_told_who_holds_it(ciflow: Shell) -> None:
    ciflow.write(sleep=SLEEP)
    first = ciflow.start("apply", "sleep.yml")
    try:
        wait_for(lambda: is_running(ciflow))
        second = ciflow("apply", "sleep.yml")
    finally:
        first.send_signal(signal.SIGINT)
        first.communicate(timeout=90)
    assert second.returncode == ExitCode.LOCKED
    assert re.search(r"R-1-\w+", second.stderr)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)])
def test_an_interrupted_run_ends_at_once_and_says_how_to_go_on(
    ciflow: Shell, number: signal.Signals, code: int
) -> None:
    ciflow.write(sleep=SLEEP)
    run = ciflow.start("apply", "sleep.yml")
    wait_for(lambda: is_running(ciflow))
    run.send_signal(number)
    _, said = run.communicate(timeout=90)
    assert run.returncode == code
    assert re.search(r"ciflow resume R-1-\w+", said)


@pytest.mark.slow
def test_a_run_under_nohup_outlives_its_terminal(ciflow: Shell) -> None:
    ciflow.write(sleep=SLEEP.replace("sleep 300", "sleep 3"))
    done = ciflow.sh("trap '' HUP; ciflow apply sleep.yml & sleep 2; kill -HUP $!; wait $!")
    assert done.returncode == 0, done.stderr


# --- output --------------------------------------------------------------------------------------------


def test_a_run_whose_report_finds_no_room_goes_on_and_says_so(ciflow: Shell) -> None:
    ciflow.write(say=SAY)
    done = ciflow.sh("ciflow apply say.yml --json > /dev/full")
    assert done.returncode == 0
    assert done.stderr == "warning: the report was not written: [Errno 28] No space left on device\n"


MANY = ("--version", "--help", "doc", "history", "plan say.yml", "apply say.yml --json", "apply say.yml 2>&1")


@pytest.mark.fault(31)
@pytest.mark.parametrize("words", MANY)
def test_a_reader_that_goes_away_is_no_error(ciflow: Shell, words: str) -> None:
    ciflow.write(say=SAY)
    done = ciflow.sh(f"ciflow {words} | true")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.fault(31)
@pytest.mark.parametrize("words", MANY)
def test_streams_that_are_closed_are_no_error(ciflow: Shell, words: str) -> None:
    ciflow.write(say=SAY)
    done = ciflow.sh(f"ciflow {words.removesuffix('2>&1')} <&- >&- 2>&-")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("words", ["--version", "--help", "doc", "plan say.yml"])
def test_a_full_disk_under_the_output_is_an_error_in_plain_words(ciflow: Shell, words: str) -> None:
    ciflow.write(say=SAY)
    done = ciflow.sh(f"ciflow {words} > /dev/full")
    assert done.returncode == ExitCode.INTERNAL
    assert "No space left" in done.stderr
    assert "Traceback" not in done.stderr


def test_twice_verbose_shows_what_programs_print_however_short_they_run(ciflow: Shell) -> None:
    short = "{name: Short, command: 'echo {{ item }}', loop: [one, two]}"
    long = "{name: Long, shell: echo begun; sleep 0.5; echo over}"
    ciflow.write(say=f"- hosts: localhost\n  tasks:\n    - {short}\n    - {long}\n")
    said = ciflow("apply", "say.yml", "-vv").stderr
    assert [said.count(f"localhost | {word}\n") for word in ("one", "two", "begun", "over")] == [1, 1, 1, 1]
    assert "| one" not in ciflow("apply", "say.yml", "-v").stderr


def test_a_pipe_gets_plain_lines(ciflow: Shell) -> None:
    ciflow.write(say=SAY, fail=FAIL)
    for playbook in ("say.yml", "fail.yml"):
        done = ciflow("apply", playbook, "-vv")
        assert done.stdout == ""
        assert "\x1b" not in done.stderr
        assert "\r" not in done.stderr
        assert max(map(len, done.stderr.splitlines())) <= 100


def on_a_terminal(ciflow: Shell, *words: str, **env: str) -> str:
    """What a terminal of 80 columns is sent."""
    ours, theirs = pty.openpty()
    run = subprocess.Popen(ciflow.argv(*words), cwd=ciflow.folder, env={**ciflow.env, "COLUMNS": "80", **env},
                           stdin=theirs, stdout=theirs, stderr=theirs)  # fmt: skip
    os.close(theirs)
    seen = b""
    while True:
        try:
            data = os.read(ours, 65536)
        except OSError:  # EIO: the other end is closed
            break
        if not data:
            break
        seen += data
    run.wait(timeout=90)
    os.close(ours)
    return seen.decode()


@pytest.mark.slow
def test_a_terminal_gets_colours_unless_it_does_not_want_them(ciflow: Shell) -> None:
    ciflow.write(say=SAY)
    colour = re.compile(r"\x1b\[[0-9;]*[0-9]m")
    assert colour.search(on_a_terminal(ciflow, "apply", "say.yml"))
    assert not colour.search(on_a_terminal(ciflow, "apply", "say.yml", NO_COLOR="1"))
    assert "\x1b" not in on_a_terminal(ciflow, "apply", "say.yml", TERM="dumb")


@pytest.mark.slow
def test_the_words_are_the_same_without_colour(ciflow: Shell) -> None:
    ciflow.write(say=SAY)
    escape = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")
    terminal = escape.sub("", on_a_terminal(ciflow, "apply", "say.yml", COLUMNS="101"))
    for word in ("Say it", "changed", "Done.  R-"):
        assert word in terminal
        assert word in ciflow("apply", "say.yml").stderr


def test_every_line_of_json_is_one_value(ciflow: Shell) -> None:
    ciflow.write(say=SAY, bad="- hosts: localhost\n  taks: []\n")
    done = ciflow("apply", "say.yml", "--json")
    kinds = [json.loads(line)["kind"] for line in done.stdout.splitlines()]
    assert (kinds[0], kinds[-1]) == ("run_started", "run_ended")
    assert kinds.count("task_ended") == 2
    assert done.stderr == ""
    for words in (("plan", "say.yml"), ("status",), ("history",), ("logs",), ("validate", "bad.yml")):
        said = ciflow(*words, "--json").stdout
        assert said
        assert all(isinstance(json.loads(line), dict) for line in said.splitlines())


# --- looking -------------------------------------------------------------------------------------------


def test_a_plan_shows_plays_hosts_tasks_and_the_way_of_the_dial(ciflow: Shell) -> None:
    done = ciflow("plan", str(ROOT / "playbooks" / "release.yml"))
    assert done.returncode == 0
    assert "dial: 1 % -> 5 % -> 25 % -> 50 % -> 100 %" in done.stdout
    assert "on localhost" in done.stdout
    assert "Run the tests  (nextest)" in done.stdout


@pytest.mark.slow
def test_what_was_run_can_be_looked_up(ciflow: Shell) -> None:
    ciflow.write(say=SAY, fail=FAIL)
    assert ciflow("status").stdout == "nothing runs, and nothing was released from here\n"
    ciflow("apply", "say.yml")
    ciflow("apply", "fail.yml")
    newest, older = ciflow("history").stdout.splitlines()
    assert newest.startswith("R-2-")
    assert "fail.yml" in newest
    assert older.startswith("R-1-")
    assert ciflow("history", "-n", "1").stdout.splitlines() == [newest]
    assert "Say it: changed" in ciflow("logs", "R-1").stdout
    assert ciflow("logs", "R-1", "say it").stdout.splitlines()[-1] == "hello"
    assert "no such luck" in ciflow("logs", "R-2", "Break").stdout
    assert ciflow("logs", "R-2", "Nothing").returncode == ExitCode.INVALID


def test_doc_says_what_a_module_takes_and_what_a_code_means(ciflow: Shell) -> None:
    assert "dest (path, needed)" in ciflow("doc", "copy").stdout
    assert ciflow("doc", "ansible.builtin.copy").stdout == ciflow("doc", "copy").stdout
    assert ciflow("doc", "cf0105").stdout.count("\n") > 1
    listed = {line.split()[0] for line in ciflow("doc").stdout.splitlines()}
    assert {"command", "copy", "cargo", "include_tasks"} <= listed


def test_the_version_is_said_by_all_three_ways(ciflow: Shell) -> None:
    assert ciflow("--version").stdout == f"ciflow {__version__}\n"
    assert ciflow.sh("ciflow --version --help").returncode == 0
    project = (ROOT / "pyproject.toml").read_text()
    assert f'version = "{__version__}"' in project


# --- quick ---------------------------------------------------------------------------------------------


def loaded_by(*words: str) -> set[str]:
    code = (
        f"import sys; sys.argv = ['ciflow', *{words!r}]\n"
        "from ciflow.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: print('\\n'.join(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return {name.partition(".")[0] for name in done.stderr.split()} | set(done.stderr.split())


def test_the_version_loads_nothing_that_costs_time() -> None:
    loaded = loaded_by("--version")
    assert "ciflow.cli.main" in loaded
    assert not loaded & {"click", "asyncio", "rich", "yaml", "jinja2", "cerberus", "paramiko", "numpy", "sqlite3"}


def test_the_help_loads_no_command() -> None:
    loaded = loaded_by("--help")
    assert "click" in loaded
    assert not loaded & {"asyncio", "rich", "yaml", "jinja2", "cerberus", "paramiko", "numpy", "scipy", "sqlite3"}


def test_a_local_run_loads_nothing_that_it_has_no_use_for(tmp_path: Path) -> None:
    (tmp_path / "play.yml").write_text("- hosts: localhost\n  tasks: [{name: Say, command: echo hi}]\n")
    loaded = loaded_by("apply", str(tmp_path / "play.yml"), "--state", str(tmp_path / "state"))
    assert "ciflow.targets.local" in loaded
    assert not loaded & {"rich", "paramiko", "numpy", "scipy", "cryptography.hazmat.primitives.ciphers.aead", "email"}


# --- the table -----------------------------------------------------------------------------------------


def test_exit_codes_are_those_of_the_manual() -> None:
    rows = re.findall(r"^\| (\d+) \| (\w+) \|", (ROOT / "docs" / "exit-codes.md").read_text(), re.MULTILINE)
    assert {int(number): name for number, name in rows} == {int(code): code.name.lower() for code in ExitCode}


def test_roles_are_also_looked_for_where_the_environment_says(ciflow: Shell) -> None:
    role = ciflow.folder / "shared" / "greet" / "tasks"
    role.mkdir(parents=True)
    (role / "main.yml").write_text("- name: Greet\n  debug: {msg: hello}\n")
    ciflow.write(use="- hosts: localhost\n  roles: [greet]\n")
    assert ciflow("apply", "use.yml").returncode == ExitCode.INVALID
    path = f"nowhere:{ciflow.folder / 'shared'}"
    assert "Greet" in ciflow("plan", "use.yml", ANSIBLE_ROLES_PATH=path).stdout
    assert ciflow("apply", "use.yml", ANSIBLE_ROLES_PATH=path).returncode == ExitCode.OK


def test_an_inventory_of_the_environment_is_used_when_none_is_given(ciflow: Shell) -> None:
    (ciflow.folder / "hosts").write_text("web1 ansible_connection=local\n")
    ciflow.write(say=SAY.replace("localhost", "all"))
    assert "on web1" in ciflow("plan", "say.yml", ANSIBLE_INVENTORY="hosts").stdout
    assert "on other" in ciflow("plan", "say.yml", "-i", "other,", ANSIBLE_INVENTORY="hosts").stdout


@pytest.mark.slow
def test_a_run_can_be_resumed_from_any_folder(ciflow: Shell) -> None:
    """Relative paths, of commands and of files alike, begin where the run was first asked for."""
    ciflow.write(
        two="- hosts: localhost\n  tasks:\n"
        "    - copy: {content: x, dest: made}\n"
        "    - command: test -f made\n"
        "    - command: cat '{{ playbook_dir }}/wanted'\n"
        "    - command: touch ended\n"
    )
    assert ciflow("apply", "two.yml").returncode == ExitCode.TASK_FAILED
    assert (ciflow.folder / "made").exists()
    (ciflow.folder / "wanted").touch()
    (ciflow.folder / "elsewhere").mkdir()
    done = ciflow.sh("cd elsewhere && ciflow resume")
    assert done.returncode == ExitCode.OK, done.stderr
    assert (ciflow.folder / "ended").exists()
    assert not list((ciflow.folder / "elsewhere").iterdir())


# --- validating ----------------------------------------------------------------------------------------

HINTED = "- hosts: localhost\n  vars: {x: yes}\n  tasks:\n    - {name: Say, debug: {msg: '{{ x }}'}}\n"


def test_strict_makes_an_error_of_a_hint(ciflow: Shell) -> None:
    ciflow.write(site=HINTED)
    plain, strict = ciflow("validate", "site.yml"), ciflow("validate", "--strict", "site.yml")
    assert (plain.returncode, strict.returncode) == (ExitCode.OK, ExitCode.INVALID)
    assert "hint[CF0020]" in plain.stderr and "no errors" in plain.stderr
    assert "error[CF0020]" in strict.stderr and "no errors" not in strict.stderr


@pytest.mark.parametrize(
    ("form", "shown"),
    [("json", '"code": "CF0020"'), ("sarif", '"ruleId": "CF0020"'), ("github", "::notice file=site.yml,line=2,")],
)
def test_findings_of_several_playbooks_are_written_for_programs_on_stdout(form: str, shown: str, ciflow: Shell) -> None:
    ciflow.write(site=HINTED, bad="- hosts: localhost\n  taks: []\n")
    done = ciflow("validate", "site.yml", "bad.yml", "--format", form)
    assert done.returncode == ExitCode.INVALID
    assert shown in done.stdout and "bad.yml" in done.stdout
    assert done.stderr == ""


def test_errors_are_shown_though_hundreds_of_hints_stand_before_them(ciflow: Shell) -> None:
    tasks = "".join("    - debug: {msg: x}\n" for _ in range(300))
    ciflow.write(site=f"- hosts: localhost\n  tasks:\n{tasks}    - nope: 1\n")
    done = ciflow("validate", "site.yml")
    assert "unknown module `nope`" in done.stderr
    assert "... and 281 more" in done.stderr


# --- kept plans ----------------------------------------------------------------------------------------

WRITE = """
- hosts: localhost
  tasks:
    - name: Write
      copy: {content: "{{ text }}", dest: "{{ playbook_dir }}/out"}
"""


def test_a_kept_plan_is_applied_with_the_variables_it_was_made_with(ciflow: Shell) -> None:
    ciflow.write(site=WRITE)
    assert ciflow("plan", "site.yml", "-e", "text=planned", "--out", "site.plan").returncode == ExitCode.OK
    assert not (ciflow.folder / "out").exists()
    assert ciflow("apply", "site.plan").returncode == ExitCode.OK
    assert (ciflow.folder / "out").read_text() == "planned"
    refused = ciflow("apply", "site.plan", "-l", "other")
    assert refused.returncode == ExitCode.INVALID
    assert "a plan says itself" in refused.stderr
    ciflow.write(site=WRITE.replace("/out", "/elsewhere"))
    changed = ciflow("apply", "site.plan")
    assert changed.returncode == ExitCode.INVALID
    assert "site.yml has changed since it was planned" in changed.stderr
    assert not (ciflow.folder / "elsewhere").exists()


def test_pending_changes_are_an_exit_code_of_their_own(ciflow: Shell) -> None:
    ciflow.write(site=WRITE, fail=FAIL.replace("shell:", "fail: {msg: x} #"))
    asked = ("plan", "site.yml", "-e", "text=x", "--detailed-exitcode")
    pending = ciflow(*asked, "--json")
    assert pending.returncode == ExitCode.CHANGES_PENDING
    last = json.loads(pending.stdout.splitlines()[-1])
    assert last == {"changes": [{"play": "localhost", "host": "localhost", "task": "Write"}]}
    assert not (ciflow.folder / "out").exists()
    ciflow("apply", "site.yml", "-e", "text=x")
    assert ciflow(*asked).returncode == ExitCode.OK
    assert ciflow("plan", "fail.yml", "--detailed-exitcode").returncode == ExitCode.TASK_FAILED


def test_the_schema_of_a_playbook_and_of_a_module_is_for_editors(ciflow: Shell) -> None:
    whole = json.loads(ciflow("schema").stdout)
    assert whole["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert ciflow("schema", "ansible.builtin.copy", "--out", "copy.json").returncode == ExitCode.OK
    assert "dest" in json.loads((ciflow.folder / "copy.json").read_text())["properties"]
    unknown = ciflow("schema", "nothing")
    assert unknown.returncode == ExitCode.INVALID
    assert "there is no schema of nothing" in unknown.stderr


def test_status_says_what_a_run_is_at_and_since_when(ciflow: Shell) -> None:
    ciflow.write(long=SLEEP.replace("- hosts", "- name: Long\n  hosts", 1))
    run = ciflow.start("apply", "long.yml")
    try:
        line = re.compile(r"^  Long > Take long  [\d.]+ m?s$", re.MULTILINE)
        wait_for(lambda: line.search(ciflow("status").stdout), told=lambda: ciflow("status").stdout)
        (told,) = json.loads(ciflow("status", "--json").stdout)["runs"][0]["doing"]
        assert (told["play"], told["task"], told["question"]) == ("Long", "Take long", "")
    finally:
        run.send_signal(signal.SIGINT)
        run.communicate(timeout=60)
    assert "Take long" not in ciflow("status").stdout, "it is at nothing any more"


def test_status_says_who_waits_for_an_answer(ciflow: Shell) -> None:
    ciflow.write(ship="- name: Ship\n  hosts: localhost\n  approval: {prompt: Ship it?}\n  tasks: [debug: {msg: x}]\n")
    run = ciflow.start("apply", "ship.yml")
    try:
        wanted = re.compile(
            r"^  Ship  waits for somebody's word, .*: Ship it\?  `(ciflow approve R-\S+)`$", re.MULTILINE
        )
        wait_for(lambda: wanted.search(ciflow("status").stdout), told=lambda: ciflow("status").stdout)
        found = wanted.search(ciflow("status").stdout)
        assert found is not None
        assert ciflow(*found[1].split()[1:]).returncode == ExitCode.OK
        assert run.wait(timeout=60) == ExitCode.OK
    finally:
        run.kill()
        run.communicate(timeout=60)
