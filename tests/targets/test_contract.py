"""What every target keeps to: this machine, a real sshd, a real container, hosts with a shell but no Python."""

import gc
import os
import random
import resource
from pathlib import Path

import pytest

from ciflow.model import Exec, Read, Stat
from ciflow.targets import Connection
from ciflow.targets.told import Answer, Ended
from tests.parts.process import wait_for
from tests.targets.conftest import BOTH_AGENTS, SHELLS, reach
from tests.targets.parley import Parley

ARGUMENTS = 5_000  # random ones for each target
TARGETS = ("local", "ssh", "docker", pytest.param("kubernetes", marks=pytest.mark.slow), *SHELLS, *BOTH_AGENTS)
PRINT_ARGUMENTS = 'for a; do printf "%s\\0" "$a"; done'


@pytest.fixture(params=TARGETS)
def connection(request: pytest.FixtureRequest) -> Connection:
    return reach(request.param, request)


def test_a_closed_connection_gives_its_descriptors_back_at_once(connection: Connection) -> None:
    """Not when Python looks for cycles next, which is seldom: a run goes through thousands of hosts."""
    Parley(connection).ready().session.close()  # what is loaded once, and kept
    gc.collect()
    gc.disable()
    try:
        before = _descriptors()
        for _ in range(3):
            host = Parley(connection).ready()
            host.session.close()
            host.next(Ended)
            del host
        wait_for(lambda: _descriptors() <= before, f"{before} open descriptors, as before")
    finally:
        gc.enable()


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - of names there is none to keep


def test_arguments_arrive_byte_for_byte(host: Parley) -> None:
    """Any byte but NUL: quotes, newlines, globs, broken UTF-8."""
    chance = random.Random(1)
    sharp = [
        b"",
        b" ",
        b"$(id)",
        b"`id`",
        b"'",
        b'"',
        b"\\",
        b"\n",
        b"*",
        b"-n",
        b"\xff\xfe",
        "é中".encode(),
        b"%s",
        b"!!",
    ]
    sharp += [bytes(chance.randrange(1, 256) for _ in range(chance.randrange(1, 60))) for _ in range(ARGUMENTS)]
    argv = tuple(b.decode("utf-8", "surrogateescape") for b in sharp)
    reply = host(Exec(argv=("/bin/sh", "-c", PRINT_ARGUMENTS, "sh", *argv)))
    assert reply.stdout.split(b"\0")[:-1] == sharp
    print(f"{len(sharp)} arguments tried")


def test_environment_directory_and_stdin_are_as_asked_for(host: Parley, tmp_path: Path) -> None:
    reply = host(
        Exec(shell='pwd; printf "%s|" "$GREETING"; cat', env={"GREETING": "a b\n"}, cwd=str(tmp_path), stdin=b"\0x")
    )
    assert reply.stdout == os.fsencode(tmp_path.resolve()) + b"\na b\n|\0x"


def test_a_program_is_looked_up_in_the_path_it_is_given(host: Parley, tmp_path: Path) -> None:
    tool = tmp_path / "mytool"
    tool.write_text("#!/bin/sh\necho mine\n")
    tool.chmod(0o755)
    assert host(Exec(argv=("mytool",), env={"PATH": f"{tmp_path}:/bin"})).stdout == b"mine\n"
    missing = host(Exec(argv=("mytool",)))
    assert (missing.ok, missing.errno, missing.rc) == (False, "ENOENT", 127)
    assert "mytool" in missing.error


def test_a_large_stdin_and_a_large_answer_do_not_block_each_other(host: Parley) -> None:
    data = random.Random(2).randbytes(700_000)
    reply = host(Exec(argv=("cat",), stdin=data))
    assert (reply.ok, reply.stdout, reply.truncated) == (True, data, False)


@pytest.mark.parametrize("code", [0, 1, 77, 255])
def test_the_exit_code_is_the_commands_own(host: Parley, code: int) -> None:
    reply = host(Exec(shell=f"exit {code}"))
    assert (reply.status, reply.rc, reply.ok, reply.signal) == ("done", code, code == 0, 0)


def test_a_command_that_is_killed_says_by_which_signal(host: Parley) -> None:
    reply = host(Exec(shell="kill -SEGV $$"))
    assert (reply.ok, reply.signal) == (False, 11)


@pytest.mark.fault(27)
def test_output_that_is_no_utf8_is_kept(host: Parley) -> None:
    reply = host(Exec(argv=("printf", "\\377\\000\\033[2J\\303")))
    assert reply.stdout == b"\xff\0\x1b[2J\xc3"


def test_output_is_seen_while_the_command_runs(host: Parley, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    host.session.submit("web1", "slow", Exec(shell=f"echo early; until [ -e {gate} ]; do sleep 0.05; done; echo late"))
    host.session.flush()
    wait_for(lambda: host.ask("nothing") is not None and host.output, "output")
    assert [(o.stream, o.data) for o in host.output] == [("stdout", b"early\n")]
    gate.touch()
    assert host.answer("slow").stdout == b"early\nlate\n"


def test_a_daemon_that_keeps_the_pipe_open_holds_nobody_up(host: Parley) -> None:
    reply = host(Exec(shell="sleep 300 & echo started $!"))  # longer than anybody waits for an answer
    assert reply.ok
    assert host(Exec(shell=f"kill -9 {int(reply.stdout.split()[1])}")).ok


def test_a_timeout_ends_the_whole_group(host: Parley) -> None:
    reply = host(Exec(shell="sleep 60 & echo $!; wait", timeout=0.5))
    assert (reply.ok, reply.errno) == (False, "ETIMEDOUT")
    assert "0.5 s" in reply.error
    assert_ends(int(reply.stdout))


def test_a_command_that_ignores_sigterm_is_ended_all_the_same(host: Parley) -> None:
    reply = host(Exec(shell="trap '' TERM; echo $$; while :; do sleep 0.1; done", timeout=0.3))
    assert not reply.ok
    assert_ends(int(reply.stdout))


def assert_ends(pid: int) -> None:
    wait_for(lambda: not lives(pid), f"the end of {pid}")


def lives(pid: int) -> bool:
    """One that has ended and that nobody has reaped yet (state Z) does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # it may end between being found and being read
        return False


def test_abort_ends_the_one_in_hand_and_its_children(host: Parley, tmp_path: Path) -> None:
    note = tmp_path / "pid"
    host.session.submit("web1", "long", Exec(shell=f"sleep 60 & echo $! > {note}.new; mv {note}.new {note}; wait"))
    host.session.flush()
    wait_for(note.exists)
    host.session.abort("long")
    reply = host.answer("long")
    assert (reply.ok, reply.signal) == (False, 15)
    assert_ends(int(note.read_text()))


def test_how_much_processor_time_a_command_took_is_told(host: Parley) -> None:
    reply = host(Exec(shell="i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done"))
    assert 0.005 < reply.cpu <= reply.duration * 1.2 + 0.05
    assert reply.peak_kb > 500 or not host.hello["python"]  # a shell knows nothing of it


def test_the_processor_time_and_memory_of_a_command_are_the_kernels_own_figures(host: Parley) -> None:
    """It spins until its own clock of processor time says 0.3 s, and touches 50 MB."""
    if not (host.hello["python"] and host(Exec(shell="command -v python3")).ok):
        pytest.skip("there is no Python here to burn processor time by its clock")
    burn = "import time; kept = bytearray(b'x' * 50_000_000)\nwhile time.process_time() < 0.3: pass"
    reply = host(Exec(argv=("python3", "-c", burn)))
    assert reply.ok and 0.3 <= reply.cpu < 60
    assert 50_000_000 <= reply.peak_kb * 1024 < 1 << 30


def test_what_went_over_a_connection_to_another_machine_is_counted(host: Parley) -> None:
    """100 kB each way, with what the frames add; nothing of it on this machine."""
    sent = host(Exec(argv=("cat",), stdin=b"x" * 100_000))
    assert sent.ok and len(sent.stdout) == 100_000
    if host.session.connection.kind == "local":
        assert (sent.sent, sent.received) == (0, 0)
    else:
        assert 100_000 <= sent.sent < 1 << 20 and 100_000 <= sent.received < 1 << 20


@pytest.mark.fault(26)
@pytest.mark.parametrize("size", [64 << 20, pytest.param(1 << 30, marks=pytest.mark.slow)])
def test_endless_output_is_spilled_and_memory_stays_bounded(host: Parley, size: int) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    block = 1 << 16
    command = f"head -c {size} /dev/zero | tr '\\0' a; head -c {size} /dev/zero | tr '\\0' b >&2; exit 3"
    host.session.submit("web1", "big", Exec(shell=command))
    host.session.flush()
    event: Answer = host.next(Answer, key="big", patience=600)
    reply = event.reply
    assert (reply.rc, reply.truncated) == (3, True)
    assert len(reply.stdout) < 2 << 20
    assert sum(reply.data["omitted"]["stdout"]) + 512 * 1024 == size
    for stream, letter in (("stdout", b"a"), ("stderr", b"b")):
        spilled = reply.spilled[stream]
        assert host(Stat(path=spilled)).data["size"] == size
        assert host(Stat(path=spilled)).data["mode"] == "0600"
        assert host(Read(path=spilled, offset=size - block, length=block)).stdout == letter * block
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 60_000, f"the controller grew by {grown} KiB"
    memory = host(Exec(shell=f"grep VmHWM /proc/{host.hello['pid']}/status")).stdout
    assert int(memory.split()[1]) < 120_000, memory


def test_creates_and_removes_decide_that_nothing_is_run(host: Parley, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    first = host(Exec(shell=f"echo x >> {mark}", creates=str(mark)))
    second = host(Exec(shell=f"echo x >> {mark}", creates=str(tmp_path / "ma*")))
    third = host(Exec(shell=f"echo x >> {mark}", removes=str(tmp_path / "nothing")))
    assert [first.status, second.status, third.status] == ["done", "skipped", "skipped"]
    assert mark.read_text() == "x\n"


# --- lanes and guards


def test_what_was_sent_ahead_runs_only_if_the_one_before_went_well(host: Parley, tmp_path: Path) -> None:
    commands = ["true", "exit 4", "touch after-bad", "touch always", "touch after-always"]
    guards = ["", "after-ok", "after-ok", "always", "after-ok"]
    for number, (command, guard) in enumerate(zip(commands, guards, strict=True)):
        host.session.submit("web1", f"g{number}", Exec(shell=command, cwd=str(tmp_path)), guard)
    host.session.flush()
    replies = [host.answer(f"g{number}") for number in range(5)]
    assert [r.status for r in replies] == ["done", "done", "skipped", "done", "done"]
    assert sorted(p.name for p in tmp_path.glob("a*")) == ["after-always", "always"]


def test_lanes_run_side_by_side_and_each_in_order(host: Parley, tmp_path: Path) -> None:
    """Lane one waits for what lane two makes: in one line they would wait for ever."""
    gate = tmp_path / "gate"
    host.session.submit(
        "one", "wait", Exec(shell=f"until [ -e {gate} ]; do sleep 0.02; done; echo first >> {tmp_path}/log")
    )
    host.session.submit("one", "then", Exec(shell=f"echo second >> {tmp_path}/log"))
    host.session.submit("two", "make", Exec(shell=f"touch {gate}"))
    host.session.flush()
    assert all(host.answer(key).ok for key in ("make", "wait", "then"))
    assert (tmp_path / "log").read_text() == "first\nsecond\n"


def test_cancel_drops_what_is_not_started_from_there_on(host: Parley, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    host.session.submit("web1", "c0", Exec(shell=f"until [ -e {gate} ]; do sleep 0.02; done"))
    for number in (1, 2, 3):
        host.session.submit("web1", f"c{number}", Exec(shell=f"touch {tmp_path}/ran{number}"))
    host.session.cancel("web1", "c2")
    assert [host.answer(key).status for key in ("c2", "c3")] == ["skipped", "skipped"]
    gate.touch()
    assert host.answer("c0").ok
    assert host.answer("c1").ok
    assert [p.name for p in tmp_path.glob("ran*")] == ["ran1"]
