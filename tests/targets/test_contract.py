"""What every target keeps to, once on this machine and once over a real sshd."""

import hashlib
import os
import random
import resource
import time
from pathlib import Path

import pytest

from ciflow.model import Attrs, Copy, Exec, Link, Mkdir, Read, Remove, Stat, Walk, Write
from ciflow.targets.session import Answer
from tests.targets.parley import Parley

ARGUMENTS = 300  # random ones for each target
PRINT_ARGUMENTS = 'for a; do printf "%s\\0" "$a"; done'


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


def test_output_that_is_no_utf8_is_kept(host: Parley) -> None:
    reply = host(Exec(argv=("printf", "\\377\\000\\033[2J\\303")))
    assert reply.stdout == b"\xff\0\x1b[2J\xc3"


def test_output_is_seen_while_the_command_runs(host: Parley, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    host.session.submit("web1", "slow", Exec(shell=f"echo early; until [ -e {gate} ]; do sleep 0.05; done; echo late"))
    host.session.flush()
    until = time.monotonic() + 30
    while not host.output and time.monotonic() < until:
        host.ask("nothing")
    assert [(o.stream, o.data) for o in host.output] == [("stdout", b"early\n")]
    gate.touch()
    assert host.answer("slow").stdout == b"early\nlate\n"


def test_a_daemon_that_keeps_the_pipe_open_holds_nobody_up(host: Parley) -> None:
    began = time.monotonic()
    reply = host(Exec(shell="sleep 30 & echo started $!"))
    assert reply.ok
    assert time.monotonic() - began < 15
    os.kill(int(reply.stdout.split()[1]), 9)


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
    until = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists() and "Z" not in Path(f"/proc/{pid}/stat").read_text().split()[2]:
        assert time.monotonic() < until, f"{pid} lives on"
        time.sleep(0.02)


def test_abort_ends_the_one_in_hand_and_its_children(host: Parley, tmp_path: Path) -> None:
    note = tmp_path / "pid"
    host.session.submit("web1", "long", Exec(shell=f"sleep 60 & echo $! > {note}.new; mv {note}.new {note}; wait"))
    host.session.flush()
    until = time.monotonic() + 30
    while not note.exists() and time.monotonic() < until:
        time.sleep(0.02)
    host.session.abort("long")
    reply = host.answer("long")
    assert (reply.ok, reply.signal) == (False, 15)
    assert_ends(int(note.read_text()))


def test_how_much_processor_time_a_command_took_is_told(host: Parley) -> None:
    reply = host(Exec(shell="i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done"))
    assert 0.005 < reply.cpu <= reply.duration * 1.2 + 0.05
    assert reply.peak_kb > 500


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


# --- files


def test_a_file_is_written_with_its_mode_and_left_alone_the_second_time(host: Parley, tmp_path: Path) -> None:
    path = tmp_path / "app.conf"
    operation = Write(path=str(path), content=b"port=1\n", mode="0640")
    first, second = host(operation), host(operation)
    assert (first.changed, second.changed) == (True, False)
    assert first.data["before"] == ""
    assert first.data["after"] == hashlib.sha256(b"port=1\n").hexdigest()
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"port=1\n", 0o640)
    assert list(tmp_path.glob(".*")) == []


def test_only_the_mode_is_mended_when_the_content_is_right(host: Parley, tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"x")
    path.chmod(0o600)
    inode = path.stat().st_ino
    reply = host(Write(path=str(path), content=b"x", mode="u=rw,go=r"))
    assert (reply.changed, path.stat().st_mode & 0o777, path.stat().st_ino) == (True, 0o644, inode)


def test_a_file_keeps_its_mode_and_owner_when_none_is_named(host: Parley, tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"old")
    path.chmod(0o604)
    if os.geteuid() == 0:
        os.chown(path, 12, 34)
    old = path.stat()
    host(Write(path=str(path), content=b"new"))
    new = path.stat()
    assert (new.st_mode, new.st_uid, new.st_gid) == (old.st_mode, old.st_uid, old.st_gid)
    assert path.read_bytes() == b"new"


def test_whoever_reads_a_file_sees_the_old_or_the_new_one(host: Parley, tmp_path: Path) -> None:
    """The replaced file's inode still holds all of the old content: it was never written into."""
    path = tmp_path / "f"
    path.write_bytes(b"old" * 1000)
    with path.open("rb") as reader:
        host(Write(path=str(path), content=b"new" * 10))
        assert reader.read() == b"old" * 1000
    assert path.read_bytes() == b"new" * 10


def test_a_write_is_refused_when_the_file_is_not_as_expected(host: Parley, tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"mine")
    stale = host(Write(path=str(path), content=b"new", expect=hashlib.sha256(b"yours").hexdigest()))
    absent = host(Write(path=str(path), content=b"new", expect="absent"))
    assert (stale.status, absent.status, stale.ok) == ("refused", "refused", False)
    assert path.read_bytes() == b"mine"
    assert host(Write(path=str(path), content=b"new", expect=hashlib.sha256(b"mine").hexdigest())).ok
    assert path.read_bytes() == b"new"


def test_a_file_that_does_not_pass_its_check_is_not_installed(host: Parley, tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"good")
    bad = host(Write(path=str(path), content=b"bad", validate=("grep", "-q", "good", "%s")))
    assert not bad.ok
    assert "validation failed" in bad.error
    assert path.read_bytes() == b"good"
    assert host(Write(path=str(path), content=b"good too", validate=("grep", "-q", "good", "%s"))).changed
    assert list(tmp_path.glob(".*")) == []


def test_a_backup_holds_what_was_there(host: Parley, tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"old")
    reply = host(Write(path=str(path), content=b"new", backup=True))
    assert Path(reply.data["backup"]).read_bytes() == b"old"


def test_a_link_is_followed_to_its_file_or_replaced_as_asked(host: Parley, tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    real.write_bytes(b"old")
    link.symlink_to("real")
    host(Write(path=str(link), content=b"new"))
    assert (link.is_symlink(), real.read_bytes()) == (True, b"new")
    host(Write(path=str(link), content=b"own", follow=False))
    assert (link.is_symlink(), real.read_bytes(), link.read_bytes()) == (False, b"new", b"own")


@pytest.mark.parametrize("planted", ["link", "hard link", "directory"])
def test_a_planted_file_in_the_place_of_the_temporary_one_is_never_written_into(
    host: Parley, tmp_path: Path, planted: str
) -> None:
    victim, folder = tmp_path / "victim", tmp_path / "shared"
    folder.mkdir()
    victim.write_bytes(b"precious")
    temporary = hashlib.blake2b(b"the-key", digest_size=16).hexdigest()[:12]
    trap = folder / f".f.ciflow-{temporary}"
    {"link": lambda: trap.symlink_to(victim), "hard link": lambda: trap.hardlink_to(victim), "directory": trap.mkdir}[
        planted
    ]()
    reply = host(Write(path=str(folder / "f"), content=b"x"), key="the-key")
    assert victim.read_bytes() == b"precious"
    assert not reply.ok


def test_a_large_file_travels_only_when_it_differs(host: Parley, tmp_path: Path) -> None:
    source, path = tmp_path / "source", tmp_path / "dest"
    source.write_bytes(random.Random(3).randbytes(3_000_000))
    operation = Write(path=str(path), source=str(source), mode="0755")
    assert host(operation).changed
    assert path.read_bytes() == source.read_bytes()
    source_gone = Write(path=str(path), content=source.read_bytes(), mode="0755")
    assert not host(source_gone).changed
    assert path.stat().st_mode & 0o777 == 0o755


def test_a_source_that_is_not_there_is_told_and_the_lane_goes_on(host: Parley, tmp_path: Path) -> None:
    reply = host(Write(path=str(tmp_path / "f"), source=str(tmp_path / "nothing")))
    assert not reply.ok
    assert str(tmp_path / "nothing") in reply.error
    assert host(Exec(argv=("true",))).ok


def test_operations_behind_a_large_file_keep_their_order(host: Parley, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"z" * 2_000_000)
    host.session.submit("web1", "w", Write(path=str(tmp_path / "dest"), source=str(source)))
    host.session.submit("web1", "s", Exec(argv=("wc", "-c", str(tmp_path / "dest"))), "after-ok")
    host.session.flush()
    assert host.answer("w").ok
    assert host.answer("s").stdout.split()[0] == b"2000000"


def test_a_full_disk_is_told_and_leaves_no_part_behind(host: Parley, tiny_disk: Path) -> None:
    reply = host(Write(path=str(tiny_disk / "f"), content=b"x" * 1_000_000))
    assert (reply.ok, reply.errno) == (False, "ENOSPC")
    assert list(tiny_disk.glob(".*")) == []
    assert not (tiny_disk / "f").exists()


def test_check_predicts_and_changes_nothing(host: Parley, tmp_path: Path) -> None:
    path, full = tmp_path / "f", tmp_path / "full"
    path.write_bytes(b"old\n")
    full.mkdir()
    (full / "x").touch()
    before = sorted((p.name, p.stat().st_mtime_ns, p.stat().st_mode) for p in tmp_path.rglob("*"))
    operations = [
        Write(path=str(path), content=b"new\n", diff=True),
        Attrs(path=str(path), mode="0600", mtime="1"),
        Mkdir(path=str(tmp_path / "a/b")),
        Remove(path=str(full)),
        Link(path=str(tmp_path / "l"), target="f"),
        Copy(path=str(path), dest=str(tmp_path / "copy")),
    ]
    replies = [host(operation, check=True) for operation in operations]
    assert [r.changed for r in replies] == [True] * 6
    assert replies[0].data["diff"] == ["old\n", "new\n"]
    assert host(Exec(argv=("touch", str(tmp_path / "no"))), check=True).status == "skipped"
    assert sorted((p.name, p.stat().st_mtime_ns, p.stat().st_mode) for p in tmp_path.rglob("*")) == before


def test_each_state_operation_changes_once(host: Parley, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x")
    (tmp_path / "tree/deep").mkdir(parents=True)
    operations = [
        Attrs(path=str(tmp_path / "f"), mode="0600", mtime="1000000000"),
        Mkdir(path=str(tmp_path / "a/b"), mode="0750"),
        Link(path=str(tmp_path / "l"), target="f"),
        Link(path=str(tmp_path / "h"), target=str(tmp_path / "f"), hard=True),
        Copy(path=str(tmp_path / "f"), dest=str(tmp_path / "copy")),
        Remove(path=str(tmp_path / "tree")),
    ]
    assert [host(operation).changed for operation in operations] == [True] * 6
    assert [host(operation).changed for operation in operations] == [False] * 6
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o750
    assert (tmp_path / "l").readlink() == Path("f")
    assert (tmp_path / "h").samefile(tmp_path / "f")
    assert (tmp_path / "f").stat().st_mtime == 1_000_000_000


def test_a_full_directory_is_never_replaced_by_a_link(host: Parley, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d/precious").touch()
    assert not host(Link(path=str(tmp_path / "d"), target="/etc", force=True)).ok
    assert (tmp_path / "d/precious").exists()


@pytest.mark.parametrize(
    ("words", "before", "after"),  # after: what GNU chmod makes of it, umask 022
    [
        ("u+x", 0o644, 0o744),
        ("a-w", 0o666, 0o444),
        ("+x", 0o644, 0o755),
        ("g=u", 0o740, 0o770),
        ("o=", 0o777, 0o770),
        ("u=rwX,g=rX", 0o640, 0o640),
        ("u=rwX,g=rX", 0o740, 0o750),
        ("u+s", 0o755, 0o4755),
        ("ug-s", 0o6755, 0o755),
    ],
)
def test_symbolic_modes_mean_what_chmod_makes_of_them(
    host: Parley, tmp_path: Path, words: str, before: int, after: int
) -> None:
    path = tmp_path / "f"
    path.touch()
    path.chmod(before)
    host(Attrs(path=str(path), mode=words))
    assert oct(path.stat().st_mode & 0o7777) == oct(after)


def test_what_lies_below_a_folder_is_listed_in_order(host: Parley, tmp_path: Path) -> None:
    for name in ("b/c", "a", "b/d/e"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "loop").symlink_to(".")
    entries = host(Walk(path=str(tmp_path), hash="sha1")).data["entries"]
    assert [e["path"].removeprefix(f"{tmp_path}/") for e in entries] == ["a", "b", "b/c", "b/d", "b/d/e", "loop"]
    assert entries[0]["hash"] == hashlib.sha1(b"a").hexdigest()
    assert [e["kind"] for e in entries] == ["file", "directory", "file", "directory", "file", "link"]
    shallow = host(Walk(path=str(tmp_path), depth=1)).data["entries"]
    assert [Path(e["path"]).name for e in shallow] == ["a", "b", "loop"]
    assert host(Walk(path=str(tmp_path), limit=2)).truncated


def test_a_file_is_read_whole_or_in_part_and_never_beyond_its_limit(host: Parley, tmp_path: Path) -> None:
    data = random.Random(4).randbytes(900_000)
    (tmp_path / "f").write_bytes(data)
    assert host(Read(path=str(tmp_path / "f"))).stdout == data
    assert host(Read(path=str(tmp_path / "f"), offset=10, length=20)).stdout == data[10:30]
    assert host(Read(path=str(tmp_path / "f"), limit=1000)).errno == "EFBIG"
    assert b"Mem" in host(Read(path="/proc/meminfo")).stdout
    assert host(Read(path=str(tmp_path / "no"))).errno == "ENOENT"
