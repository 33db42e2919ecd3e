"""Files on every target: atomic, idempotent, and predicted without a change."""

import contextlib
import hashlib
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ciflow.model import Attrs, Copy, Edit, Exec, Link, Mkdir, Read, Remove, Stat, Walk, Write
from ciflow.targets import Connection
from ciflow.targets.told import Ended
from tests.targets.conftest import EVERYWHERE, reach
from tests.targets.parley import Parley


@pytest.fixture(params=EVERYWHERE)
def connection(request: pytest.FixtureRequest) -> Connection:
    return reach(request.param, request)


def is_container(host: Parley) -> bool:
    """It has names of users and mounts of its own."""
    return host.connection.kind in ("docker", "kubernetes")


def test_a_file_is_written_with_its_mode_and_left_alone_the_second_time(host: Parley, tmp_path: Path) -> None:
    path = tmp_path / "app.conf"
    operation = Write(path=str(path), content=b"port=1\n", mode="0640")
    first, second = host(operation), host(operation)
    assert (first.changed, second.changed) == (True, False)
    assert first.data["before"] == ""
    assert first.data["after"] == hashlib.sha256(b"port=1\n").hexdigest()
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"port=1\n", 0o640)
    assert list(tmp_path.glob(".*")) == []


def test_whose_a_file_is_afterwards_stands_in_the_reply(host: Parley, tmp_path: Path) -> None:
    path = tmp_path / "f"
    for operation in (
        Write(path=str(path), content=b"four", mode="0640"),
        Attrs(path=str(path), mode="0600"),
        Copy(path=str(path), dest=str(tmp_path / "g")),
        Edit(path=str(path), kind="line", spec={"line": "x"}),
        Mkdir(path=str(tmp_path / "d")),
    ):
        reply = host(operation)
        found = Path(getattr(operation, "dest", operation.path)).stat()
        told = {name: reply.data[name] for name in ("mode", "uid", "gid", "size")}
        assert told == {"mode": f"{found.st_mode & 0o7777:04o}", "uid": found.st_uid, "gid": found.st_gid,
                        "size": found.st_size}  # fmt: skip
        assert is_container(host) or (reply.data["owner"], reply.data["group"]) == (path.owner(), path.group())


def test_an_edit_makes_the_folders_of_its_file(host: Parley, tmp_path: Path) -> None:
    path = tmp_path / "a/b/f"
    assert not host(Edit(path=str(path), kind="line", spec={"line": "x"})).ok
    assert host(Edit(path=str(path), kind="line", spec={"line": "x"}, create=True)).changed
    assert path.read_text() == "x\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
def test_a_file_that_is_a_mount_of_its_own_is_written_into_where_that_is_allowed(host: Parley, tmp_path: Path) -> None:
    path, other = tmp_path / "f", tmp_path / "other"
    for one in (path, other):
        one.write_bytes(b"longer than what comes")
    if is_container(host):
        pytest.skip("a container does not see what is mounted later")
    if subprocess.run(["mount", "--bind", other, path], capture_output=True).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        assert not host(Write(path=str(path), content=b"new")).ok
        assert host(Write(path=str(path), content=b"new", mode="0604", unsafe=True)).changed
        assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"new", 0o604)
        assert not host(Write(path=str(path), content=b"new", unsafe=True)).changed
        assert host(Edit(path=str(path), kind="line", spec={"line": "x"}, unsafe=True)).changed
        assert path.read_bytes() == b"new\nx\n"
    finally:
        subprocess.run(["umount", path], check=True)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["f", "other"]


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


@pytest.mark.parametrize("share", [0.5, *(pytest.param(share, marks=pytest.mark.slow) for share in (0.0, 0.2, 0.9))])
def test_an_agent_that_is_killed_while_it_writes_leaves_the_old_file_or_the_new_one(
    connection: Connection, talk: Callable[..., Parley], tmp_path: Path, share: float
) -> None:
    """Killed when about so much of the new content is there; what is asked for again is as it should be."""
    old, new, path = random.Random(1).randbytes(10_000), random.Random(2).randbytes(3_000_000), tmp_path / "f"
    path.write_bytes(old)
    (tmp_path / "source").write_bytes(new)
    write = Write(path=str(path), source=str(tmp_path / "source"), mode="0640")
    first = talk(connection)
    first.session.submit("web1", "up", write)
    first.session.flush()
    until = time.monotonic() + 60
    while path.stat().st_size == len(old) and sizes_beside(path) <= share * len(new) and time.monotonic() < until:
        time.sleep(0.001)
    os.killpg(os.getpgid(first.hello["pid"]), signal.SIGKILL)
    first.next(Ended)
    assert path.read_bytes() in (old, new)
    second = talk(connection, run=first.run, token=first.token)
    [asked] = second.ask("up", journal=first.hello["journal"])
    assert second(write, key="up" if asked.state == "absent" else "again").ok
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (new, 0o640)
    if asked.state == "absent":  # it goes on with what was there already
        assert sorted(one.name for one in tmp_path.iterdir()) == ["f", "source"]


def sizes_beside(path: Path) -> int:
    """Bytes of whatever else has appeared beside a file and its source."""
    sizes = 0
    for other in path.parent.iterdir():
        with contextlib.suppress(FileNotFoundError):
            sizes += other.stat().st_size if other.name not in (path.name, "source") else 0
    return sizes


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


def test_a_sparse_file_is_sent_and_copied_with_all_its_zeros(host: Parley, tmp_path: Path) -> None:
    """The copy on the host takes no more room than what is in it, where Python makes it."""
    image, size = tmp_path / "image", 24 << 20
    with image.open("wb") as file:
        for at in (0, 10 << 20, size - 5):
            file.seek(at)
            file.write(b"datum")
    digest = hashlib.sha256(image.read_bytes()).hexdigest()
    assert host(Write(path=str(tmp_path / "sent"), source=str(image))).ok
    assert host(Copy(path=str(image), dest=str(tmp_path / "copied"))).ok
    for name in ("sent", "copied"):
        assert host(Stat(path=str(tmp_path / name), hash="sha256")).data["hash"] == digest
    assert (tmp_path / "copied").stat().st_blocks * 512 < 4 << 20 or not host.hello["python"]


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
    if is_container(host):
        pytest.skip("a container does not see what is mounted later")
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
    assert [r.changed for r in replies] == [True] * 6, [r.error or r.stderr for r in replies]
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


def test_a_copy_has_the_mode_of_any_new_file_or_the_one_it_is_told_to_preserve(host: Parley, tmp_path: Path) -> None:
    private, new, kept, over = (tmp_path / name for name in ("private", "new", "kept", "over"))
    assert host(Write(path=str(private), content=b"x", mode="0600")).ok
    assert host(Write(path=str(over), content=b"x", mode="0644")).ok
    assert host(Write(path=str(tmp_path / "usual"), content=b"x")).ok
    assert host(Copy(path=str(private), dest=str(new))).changed
    assert host(Copy(path=str(private), dest=str(kept), mode="preserve")).changed
    assert host(Copy(path=str(private), dest=str(over), mode="preserve")).changed
    assert not host(Copy(path=str(private), dest=str(over), mode="preserve")).changed
    usual, *modes = (path.stat().st_mode & 0o777 for path in (tmp_path / "usual", new, kept, over))
    assert modes == [usual, 0o600, 0o600]
    assert usual != 0o600


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


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """a.log (old, "x"), b.log ("error: y"), .hidden.log, deep/c.log (large), here -> ., logs -> deep"""
    root = tmp_path / "tree"
    (root / "deep").mkdir(parents=True)
    (root / "a.log").write_text("x\n")
    os.utime(root / "a.log", (1_000_000, 1_000_000))
    (root / "b.log").write_text("first\nerror: y\n")
    (root / ".hidden.log").write_text("x\n")
    (root / "deep" / "c.log").write_bytes(b"z" * 5000)
    (root / "here").symlink_to(".")
    (root / "logs").symlink_to("deep")
    return root


@pytest.mark.parametrize(
    ("only", "found"),
    [
        ({"kind": "file", "names": ["*.log"], "hidden": False}, ["a.log", "b.log", "deep/c.log"]),
        ({"kind": "file", "names": [".*[ab]"], "without": ["a.*"], "regex": True}, ["b.log"]),
        ({"kind": "link"}, ["here", "logs"]),
        ({"kind": "directory"}, ["deep"]),
        ({"kind": "file", "age": ["mtime", 3600]}, ["a.log"]),
        ({"kind": "file", "age": ["mtime", -3600], "hidden": False}, ["b.log", "deep/c.log"]),
        ({"kind": "file", "size": 4096}, ["deep/c.log"]),
        ({"kind": "file", "size": -2}, [".hidden.log", "a.log"]),
        ({"contains": "error"}, ["b.log"]),
        ({"contains": "rror"}, []),
        ({"contains": "rror.*\n$", "whole": True}, ["b.log"]),
    ],
)
def test_a_walk_tells_only_what_it_is_asked_for(
    host: Parley, tree: Path, only: dict[str, object], found: list[str]
) -> None:
    reply = host(Walk(path=str(tree), only=only))
    if "contains" in only and host.refuses(reply):
        return
    assert [os.path.relpath(one["path"], tree) for one in reply.data["entries"]] == found
    assert reply.data["examined"] == 7


def test_a_walk_goes_into_links_and_never_round_in_a_circle(host: Parley, tree: Path) -> None:
    reply = host(Walk(path=str(tree), follow=True))
    if host.refuses(reply):
        return
    found = [os.path.relpath(one["path"], tree) for one in reply.data["entries"]]
    assert found == [".hidden.log", "a.log", "b.log", "deep", "deep/c.log", "here", "logs", "logs/c.log"]


def test_a_wrong_pattern_of_a_walk_is_said_in_words(host: Parley, tree: Path) -> None:
    reply = host(Walk(path=str(tree), only={"names": ["("], "regex": True}))
    assert not reply.ok
    assert "regular expression is wrong" in reply.error


def test_a_setting_of_the_kernel_is_read(host: Parley) -> None:
    """Such files say that they hold nothing, and refuse a buffer of megabytes."""
    path = "/proc/sys/kernel/random/boot_id"
    assert host(Read(path=path)).stdout == Path(path).read_bytes()
