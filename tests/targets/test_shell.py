"""Hosts without Python: how their shell is found, what its tools may lack, and what a broken pipe does there."""

import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from ciflow.diagnostics import Lost, Unreachable
from ciflow.model import Detached, Exec, Http, Operation, Read, Talk, Wait, Write
from ciflow.targets import TARGETS, Connection, Pipe
from ciflow.targets.sh_words import escape, pattern, place, quoted
from ciflow.targets.told import Ended
from tests.parts.process import wait_for
from tests.targets.parley import Parley, new_token
from tests.targets.test_contract import assert_ends
from tests.targets.test_journal import STEPS, converge, slow

Talker = Callable[..., Parley]


def tools(folder: Path, without: tuple[str, ...]) -> Path:
    """A PATH with what a small host has, but not these. Its shell is dash: busybox's has all tools within itself."""
    folder.mkdir()
    busybox, dash = shutil.which("busybox"), shutil.which("dash")
    if busybox is None or dash is None:
        pytest.skip("busybox or dash is missing")
    subprocess.run([busybox, "--install", "-s", str(folder)], check=True)
    for name in ("sh", *without):
        (folder / name).unlink(missing_ok=True)
    (folder / "sh").symlink_to(dash)
    return folder


@pytest.fixture
def bare(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], Connection]:
    """`bare(folder)`: a host where that folder is the whole PATH, and whose Python has to be looked for."""

    assert own_home.is_dir()

    def connection(folder: Path) -> Connection:
        def opener(connection: Connection, command: str) -> Pipe:
            inner = command.replace("/usr/libexec/platform-python", "/nowhere/python").replace("/bin/sh -c", "sh -c")
            return TARGETS["local"](connection, f"PATH={folder}; export PATH; {inner}")

        monkeypatch.setattr("ciflow.targets.session.TARGETS", {"bare": opener})
        return Connection(kind="bare", name="router1", connect_timeout=30.0)

    return connection


def test_a_host_where_no_python_is_found_is_spoken_to_by_its_shell(
    bare: Callable[[Path], Connection], talk: Talker, tmp_path: Path
) -> None:
    host = talk(bare(tools(tmp_path / "bin", ())))
    assert (host.hello["python"], host.hello["user"]) == ("", "root" if os.geteuid() == 0 else host.hello["user"])
    assert host(Exec(argv=("echo", "works"))).stdout == b"works\n"


def test_a_python_that_is_too_old_is_left_alone_for_the_shell(
    bare: Callable[[Path], Connection], tmp_path: Path
) -> None:
    folder = tools(tmp_path / "bin", ())
    (folder / "python3").write_text('#!/bin/sh\nprintf "%s-%s-old-3.6\\n" "$5" "$6"\nexit 1\n')  # as BOOTSTRAP says it
    (folder / "python3").chmod(0o755)
    parley = Parley(bare(folder))
    parley.session.submit("web1", "early", Exec(argv=("echo", "sent with the agent")))
    assert parley.ready().hello["python"] == ""
    assert parley.answer("early").stdout == b"sent with the agent\n"
    parley.close()


def test_a_shell_that_lacks_a_tool_is_refused_by_its_name(bare: Callable[[Path], Connection], tmp_path: Path) -> None:
    parley = Parley(bare(tools(tmp_path / "bin", ("sha256sum", "stat"))))
    ended: Ended = parley.next(Ended)
    assert isinstance(ended.error, Unreachable)
    assert "stat sha256sum" in ended.error.message


@pytest.mark.parametrize("missing", ["flock", "setsid", "dd"])
def test_what_a_small_host_lacks_is_made_up_for(
    bare: Callable[[Path], Connection], talk: Talker, tmp_path: Path, missing: str
) -> None:
    folder = tools(tmp_path / "bin", (missing,))
    first = talk(bare(folder))
    data = random.Random(3).randbytes(150_000)
    assert first(Write(path=str(tmp_path / "f"), content=data)).changed
    assert first(Read(path=str(tmp_path / "f"))).stdout == data
    ended = first(Exec(shell="sleep 60 & echo $!; wait", timeout=0.5))
    assert (ended.ok, ended.errno) == (False, "ETIMEDOUT")
    assert_ends(int(ended.stdout))
    first.session.submit("web1", "k", slow(tmp_path))
    first.session.flush()
    wait_for((tmp_path / "work.began").exists)
    first.close()
    second = talk(first.connection, run=first.run, token=first.token)
    assert [a.state for a in second.ask("k", "no", journal=first.hello["journal"])] == ["running", "absent"]
    (tmp_path / "work.gate").touch()
    assert second.answer("k").stdout == b"out\n"
    late = Parley(first.connection, run="older", token=first.token - 1)
    assert late.next(Ended).error.exit_code == 6  # a run with a greater token has the project


@pytest.mark.parametrize("missing", ["flock", "setsid"])
def test_an_operation_ends_whose_agent_was_killed_and_swept_away(
    bare: Callable[[Path], Connection], talk: Talker, own_home: Path, tmp_path: Path, missing: str
) -> None:
    first = talk(bare(tools(tmp_path / "bin", (missing,))))
    first.session.submit("web1", "k", slow(tmp_path))
    first.session.flush()
    wait_for((tmp_path / "work.began").exists)
    [begun] = own_home.glob(".local/state/ciflow/*/runs/*/*/begin")
    performer = int(begun.read_text().split()[0])
    os.kill(first.hello["pid"], signal.SIGKILL)
    second = talk(first.connection, run=first.run, token=first.token)  # takes away what the killed one has left
    assert second.ask("k", journal=first.hello["journal"])[0].state == "running"
    (tmp_path / "work.gate").touch()
    assert second.answer("k").stdout == b"out\n"
    assert_ends(performer)


REFUSED: list[Operation] = [
    Http(url="http://127.0.0.1:1/"),
    Talk(address="/run/x", payload=b"show"),
    Detached(key="x", operations=(Exec(argv=("true",)),)),
    Wait(path="/tmp/x", pattern="^a+$"),
    Exec(argv=("true",), env={"no-name": "x"}),
]


def test_what_a_shell_cannot_do_is_refused_and_the_next_is_performed(
    bare: Callable[[Path], Connection], talk: Talker, tmp_path: Path
) -> None:
    host = talk(bare(tools(tmp_path / "bin", ())))
    for operation in REFUSED:
        assert host.refuses(host(operation)), operation
        assert host(Exec(argv=("true",))).ok


def test_a_path_and_a_port_are_waited_for(bare: Callable[[Path], Connection], talk: Talker, tmp_path: Path) -> None:
    host = talk(bare(tools(tmp_path / "bin", ())))
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert host(Wait(port=port, timeout=60)).ok
        assert host(Wait(port=port, host=socket.gethostbyname("localhost"), timeout=60)).ok
        late = host(Wait(port=port, state="stopped", timeout=0.3, sleep=0.05))
        assert (late.ok, late.errno, str(port) in late.error) == (False, "ETIMEDOUT", True)
        client = socket.create_connection(("127.0.0.1", port))
        assert not host(Wait(port=port, state="drained", timeout=0.2, sleep=0.05)).ok
        client.close()
    assert host(Wait(port=port, state="stopped", timeout=60)).ok
    log = tmp_path / "log"
    threading.Timer(0.3, lambda: log.write_text("starting\nready now\n")).start()
    assert host(Wait(path=str(log), pattern="ready now", timeout=60, sleep=0.05)).ok
    assert not host(Wait(path=str(log), state="absent", timeout=0.2)).ok


def test_what_one_step_leaves_to_be_swept_never_meets_the_next(
    bare: Callable[[Path], Connection], talk: Talker, tmp_path: Path
) -> None:
    """A write with a diff reads first: where a host is slow to remove, its second script begins before that is over."""
    folder = tools(tmp_path / "bin", ("rm", "mkdir"))
    (folder / "rm").write_text('#!/bin/sh\nsleep 0.1\nexec busybox rm "$@"\n')
    (folder / "mkdir").write_text('#!/bin/sh\nbusybox mkdir "$@" && exit\nsleep 0.3\nexit 1\n')
    for name in ("rm", "mkdir"):
        (folder / name).chmod(0o755)
    host, path = talk(bare(folder)), tmp_path / "f"
    path.write_bytes(b"old\n")
    for number in range(3):
        reply = host(Write(path=str(path), content=b"new %d\n" % number, diff=True), check=True)
        assert (reply.error, reply.changed) == ("", True)
        assert reply.data["diff"] == ["old\n", f"new {number}\n"]


def test_many_that_end_at_once_are_told_one_after_the_other_without_flock(
    bare: Callable[[Path], Connection], talk: Talker, tmp_path: Path
) -> None:
    host = talk(bare(tools(tmp_path / "bin", ("flock",))))
    for number in range(16):
        host.session.submit(f"lane{number}", f"k{number}", Exec(shell=f"seq {number} 20000"))
    host.session.flush()
    for number in range(16):
        assert host.answer(f"k{number}").stdout == "".join(f"{n}\n" for n in range(number, 20001)).encode()


def test_output_is_whole_though_its_reader_gets_no_turn_for_a_while(
    bare: Callable[[Path], Connection], talk: Talker, tmp_path: Path
) -> None:
    """On a machine that is busy with other things the program may have ended long before its output is read."""
    folder = tools(tmp_path / "bin", ("cat",))
    stopped = "(busybox sleep 1.5; kill -CONT $$) </dev/null >/dev/null & kill -STOP $$"
    (folder / "cat").write_text(f'#!/bin/sh\n[ $# -gt 0 ] || {{ {stopped}; }}\nexec busybox cat "$@"\n')
    (folder / "cat").chmod(0o755)
    reply = talk(bare(folder))(Exec(shell="echo one; echo two >&2"))
    assert (reply.rc, reply.stdout, reply.stderr) == (0, b"one\n", b"two\n")


def test_an_operation_that_is_aborted_as_soon_as_it_is_sent_ends(
    bare: Callable[[Path], Connection], talk: Talker, tmp_path: Path
) -> None:
    """Where a process is slow to begin, the abort is there before it."""
    folder = tools(tmp_path / "bin", ("mkdir",))
    (folder / "mkdir").write_text('#!/bin/sh\nsleep 0.5\nexec busybox mkdir "$@"\n')
    (folder / "mkdir").chmod(0o755)
    host = talk(bare(folder))
    host.session.submit("web1", "long", Exec(argv=("sleep", "300")))
    host.session.flush()
    host.session.abort("long")
    reply = host.answer("long")
    assert (reply.ok, reply.error) == (False, "ended by the operator")


def test_its_standard_error_stays_open_and_no_command_holds_it(
    bare: Callable[[Path], Connection], talk: Talker, tmp_path: Path
) -> None:
    """containerd, under Kubernetes, closes the standard input of an exec as soon as one of its outputs has ended."""
    host = talk(bare(tools(tmp_path / "bin", ())))
    agent = Path(f"/proc/{host.hello['pid']}/fd")
    streams = {(agent / "0").readlink(), (agent / "1").readlink()}
    assert [one for one in agent.iterdir() if one.name not in "012" and one.readlink() in streams]
    held = host(Exec(shell="for f in /proc/$$/fd/*; do readlink $f; done")).stdout.decode().split()
    assert held and not {Path(one) for one in held} & streams


def test_output_that_a_program_writes_through_its_terminal_file_is_kept_as_well(
    bare: Callable[[Path], Connection], talk: Talker, tmp_path: Path
) -> None:
    """/dev/stderr of a program whose output goes to a file would cut that file off."""
    host = talk(bare(tools(tmp_path / "bin", ())))
    reply = host(Exec(shell="echo one >&2; echo two >/dev/stderr; echo three; echo four >/dev/stdout"))
    assert (reply.stdout, reply.stderr) == (b"three\nfour\n", b"one\ntwo\n")


def test_the_journal_is_ours_alone_and_holds_no_content(
    bare: Callable[[Path], Connection], talk: Talker, tmp_path: Path, own_home: Path
) -> None:
    host = talk(bare(tools(tmp_path / "bin", ())))
    host(Exec(argv=("true", "hush-hush"), stdin=b"hush-hush", env={"TOKEN": "hush-hush"}))
    host(Write(path=str(own_home / "f"), content=b"hush-hush"))
    host(Write(path=str(own_home / "g"), content=b"hush-hush" * 1000))
    state = own_home / ".local/state/ciflow"
    kept = settled(state)
    assert len([content for _, content in kept if content is not None]) >= 10
    assert all(mode & 0o077 == 0 for mode, _ in kept)
    assert not [content for _, content in kept if content and b"hush-hush" in content]


def settled(state: Path) -> list[tuple[int, bytes | None]]:
    """Mode and content of all that lies there; what the last step leaves is swept after its answer has come."""
    while True:
        try:
            found = [state, *state.rglob("*")]
            return [(path.stat().st_mode, path.read_bytes() if path.is_file() else None) for path in found]
        except FileNotFoundError:
            continue


def test_a_secret_in_a_commands_environment_is_in_no_command_line(
    bare: Callable[[Path], Connection], talk: Talker, tmp_path: Path
) -> None:
    host = talk(bare(tools(tmp_path / "bin", ())))
    first, rest = secrets.token_hex(8), secrets.token_hex(8)  # processes of other tests are seen as well
    shell = f"cat /proc/[0-9]*/cmdline | tr '\\0' '\\n' | grep -c {first}[-]{rest}"
    secret = f"{first}-{rest}"
    reply = host(Exec(shell=shell, env={"TOKEN": secret}, stdin=secret.encode()))
    assert reply.stdout == b"0\n"


def test_a_python_agent_takes_what_a_shell_began_for_unknown_and_never_for_absent(
    bare: Callable[[Path], Connection], talk: Talker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A play that installs Python: the next connection finds it. The project's token is one for both."""
    first = talk(bare(tools(tmp_path / "bin", ())))
    assert first(Exec(argv=("true",)), key="k").ok
    monkeypatch.setattr("ciflow.targets.session.TARGETS", TARGETS)
    second = talk(Connection(), run=first.run, token=first.token)
    assert [a.state for a in second.ask("k", journal=first.hello["journal"])] == ["unknown"]
    newer = talk(Connection(), run="newer")
    late = first(Exec(argv=("touch", str(tmp_path / "no"))))
    assert (late.status, late.errno, newer.run in late.error) == ("refused", "ESTALE", True)
    assert not (tmp_path / "no").exists()


# --- a broken pipe


class Cutting:
    """A pipe that breaks for good after so many bytes in one direction."""

    def __init__(self, inner: Pipe, toward: str, left: int) -> None:
        self.inner, self.toward, self.left = inner, toward, left

    def _passes(self, toward: str, data: bytes) -> bytes:
        if toward != self.toward:
            return data
        passing, self.left = data[: self.left], self.left - len(data)
        return passing

    def send(self, data: bytes) -> None:
        passing = self._passes("host", data)
        self.inner.send(passing)
        if len(passing) < len(data):
            self.inner.close()
            raise Lost("cut")

    def receive(self, timeout: float) -> bytes | None:
        data = self.inner.receive(timeout)
        passing = self._passes("controller", data) if data else data
        if data and passing != data:
            self.inner.close()
        return passing

    def close(self) -> None:
        self.inner.close()


class Counting(Cutting):
    """How much passes when nothing breaks."""

    counted = {"host": 0, "controller": 0}  # noqa: RUF012

    def _passes(self, toward: str, data: bytes) -> bytes:
        self.counted[toward] += len(data)
        return data


def cut_everywhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, times: int) -> None:
    pending: list[Callable[[Pipe], Pipe]] = []

    def opener(connection: Connection, command: str) -> Pipe:
        inner = TARGETS["local"](connection, command)
        return pending.pop()(inner) if pending else inner

    monkeypatch.setattr("ciflow.targets.session.TARGETS", {"local": opener})

    def run(name: str, wrap: Callable[[Pipe], Pipe]) -> None:
        folder, token = tmp_path / name, new_token()
        folder.mkdir()
        pending.append(wrap)
        replies = converge(Connection(python="none", connect_timeout=30.0), f"cut-{token}", token, folder)
        assert [(r.status, r.rc, len(r.stdout)) for r in replies] == [("done", 0, 20000)] * STEPS, name
        assert (folder / "log").read_text().split() == [str(number) for number in range(STEPS)], name

    run("whole", lambda inner: Counting(inner, "", 0))
    begin = {"host": 20_000, "controller": 300}  # the agent itself, and its hello
    for toward, total in Counting.counted.items():
        for number in range(times):
            at = begin[toward] + int((total - begin[toward]) * (number + 0.5) / times)
            run(f"{toward}-{at}", lambda inner, toward=toward, at=at: Cutting(inner, toward, at))  # type: ignore[misc]
    print(f"{2 * times} cuts tried")


@pytest.mark.usefixtures("own_home")
def test_a_pipe_cut_anywhere_loses_and_repeats_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cut_everywhere(monkeypatch, tmp_path, 3)


@pytest.mark.slow
@pytest.mark.usefixtures("own_home")
def test_a_pipe_cut_at_forty_places_loses_and_repeats_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cut_everywhere(monkeypatch, tmp_path, 20)


def test_an_upload_goes_on_where_it_was_cut(
    own_home: Path, talk: Talker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, dest = tmp_path / "source", tmp_path / "dest"
    source.write_bytes(os.urandom(3_000_000))
    counted = Counting.counted["host"]
    pipes = [lambda inner: Counting(inner, "", 0), lambda inner: Cutting(inner, "host", 2_000_000)]

    def opener(connection: Connection, command: str) -> Pipe:
        return pipes.pop()(TARGETS["local"](connection, command))

    monkeypatch.setattr("ciflow.targets.session.TARGETS", {"local": opener})
    first = Parley(Connection(python="none", connect_timeout=30.0)).ready()
    first.session.submit("web1", "up", Write(path=str(dest), source=str(source)))
    first.session.flush()
    first.next(Ended)
    second = talk(first.connection, run=first.run, token=first.token)
    assert [a.state for a in second.ask("up", journal=first.hello["journal"])] == ["absent"]
    assert second(Write(path=str(dest), source=str(source)), key="up").changed
    assert dest.read_bytes() == source.read_bytes()
    assert Counting.counted["host"] - counted < 1_500_000, "it was sent again"
    assert list((own_home / ".local").rglob("up-*")) == []


# --- words for a shell


@pytest.mark.parametrize("shell", ["dash", "busybox sh", "bash"])
def test_words_mean_to_a_shell_what_they_are(shell: str) -> None:
    """Quoting and the escapes of printf, against the shells themselves."""
    if shutil.which(shell.split()[0]) is None:
        pytest.skip(f"{shell} is missing")
    chance = random.Random(5)
    words = [bytes(chance.randrange(1, 256) for _ in range(chance.randrange(30))) for _ in range(200)]
    script = "".join(f"printf '%s\\0' {quoted(w.decode('utf-8', 'surrogateescape'))}\n" for w in words)
    script += "".join(f"printf %b '{escape(w).replace(chr(39), chr(92) + '0047')}\\0000'\n" for w in words)
    argv = [*shell.split(), "-c", script.encode("utf-8", "surrogateescape")]
    done = subprocess.run(argv, capture_output=True, check=True)
    assert done.stdout.split(b"\0")[:-1] == words * 2


@pytest.mark.parametrize(
    ("path", "word"),
    [("/a b", "'/a b'"), ("x", "\"$here\"/'x'"), ("~", '"$home"'), ("~/x", "\"$home\"'/x'"), ("~ed/x", "~ed'/x'")],
)
def test_a_path_begins_where_a_person_means_it(path: str, word: str) -> None:
    assert place(path) == word


def test_only_the_letters_of_a_pattern_have_a_meaning() -> None:
    assert pattern("/a$(id)/*.[ch]") == "/a\\$\\(id\\)/*.[ch]"
