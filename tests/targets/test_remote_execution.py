"""Commands on a real farm (buildbox-casd): what goes there, what comes back, and its death in the middle."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ciflow.diagnostics import TargetError
from ciflow.model import Reply
from ciflow.targets import remote_execution
from ciflow.targets.protobuf import Fields, message
from ciflow.targets.remote_execution import ask_remote
from ciflow.targets.remote_tree import inputs_of, place_for
from tests.engine.playing import Bench
from tests.parts.casd import Casd, casd
from tests.parts.process import descendants

grpc = pytest.importorskip("grpc", reason="grpcio is not installed: the extra `remote`")
BUSYBOX = shutil.which("busybox") or "/bin/busybox"
SCRIPT = """
mkdir -p out/sub
cat in/a.txt > out/sub/b
echo made > c
chmod 755 c
echo said
echo oops >&2
exit ${CODE:-0}
"""


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Casd]:
    with casd(tmp_path_factory.mktemp("farm")) as found:
        yield found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Inputs: a static busybox is all that a worker without any system gets."""
    if not os.path.exists(BUSYBOX) or b"dynamic" in subprocess.run(["file", BUSYBOX], capture_output=True).stdout:  # noqa: PTH110
        pytest.skip("busybox-static is not installed: make parts")
    root = tmp_path / "inputs"
    (root / "in").mkdir(parents=True)
    (root / "in" / "a.txt").write_text(f"hello {time.time_ns()}\n")
    (root / "run.sh").write_text(SCRIPT)
    (root / "secret.txt").write_text("not asked for")
    shutil.copy(BUSYBOX, root / "busybox")
    return root


def ask(farm: Casd, folder: Path, script: str = "run.sh", **more: Any) -> Reply:
    request = {
        "endpoint": farm.endpoint, "folder": str(folder), "inputs": ["in", script, "busybox"], "outputs": ["c", "out"],
        "dest": str(folder.parent / "dest"), "argv": ["./busybox", "sh", script], "env": {"PATH": "/"}, "platform": {},
    }  # fmt: skip
    (folder.parent / "dest").mkdir(exist_ok=True)
    return ask_remote({**request, **more}, threading.Event())


def with_applets(folder: Path, text: str = SCRIPT) -> None:
    """Each program of the script is busybox's own."""
    names = ("mkdir", "cat", "chmod", "sleep", "ls")
    head = "".join(f'{name}() {{ ./busybox {name} "$@"; }}\n' for name in names)
    (folder / "run.sh").write_text(head + text)


def test_a_command_runs_on_the_farm_and_its_outputs_come_back(farm: Casd, folder: Path) -> None:
    with_applets(folder)
    reply = ask(farm, folder)
    assert (reply.ok, reply.rc, reply.stdout, reply.stderr) == (True, 0, b"said\n", b"oops\n"), reply
    assert reply.data["outputs"] == ["c", "out/sub/b"]
    dest = folder.parent / "dest"
    assert (dest / "out" / "sub" / "b").read_text() == (folder / "in" / "a.txt").read_text()
    assert ((dest / "c").stat().st_mode & 0o777, (dest / "c").read_text()) == (0o755, "made\n")
    assert not reply.data["cached"]


def test_the_same_again_is_taken_from_its_cache_and_brings_the_same(farm: Casd, folder: Path) -> None:
    with_applets(folder)
    first = ask(farm, folder)
    shutil.rmtree(folder.parent / "dest")
    again = ask(farm, folder)
    assert (first.data["cached"], again.data["cached"]) == (False, True)
    assert again.data["action"] == first.data["action"]
    assert (folder.parent / "dest" / "c").read_text() == "made\n"
    assert ask(farm, folder, fresh=True).data["cached"] is False


def test_a_failure_keeps_its_exit_code_and_is_tried_anew(farm: Casd, folder: Path) -> None:
    with_applets(folder)
    for _ in range(2):
        reply = ask(farm, folder, env={"PATH": "/", "CODE": "3"})
        assert (reply.ok, reply.rc, reply.data["cached"]) == (False, 3, False)


def test_a_command_sees_its_inputs_and_nothing_else(farm: Casd, folder: Path) -> None:
    with_applets(folder, "ls\n")
    assert set(ask(farm, folder).stdout.split()) >= {b"busybox", b"in", b"run.sh"}
    assert b"secret.txt" not in ask(farm, folder).stdout


def test_large_inputs_and_outputs_go_in_pieces(farm: Casd, folder: Path) -> None:
    (folder / "in" / "a.txt").write_bytes(content := os.urandom(9_000_000))
    with_applets(folder)
    assert ask(farm, folder).ok
    assert (folder.parent / "dest" / "out" / "sub" / "b").read_bytes() == content


def test_a_farm_that_is_not_there_is_said_to_be_gone(folder: Path, farm: Casd) -> None:
    reply = ask(farm, folder, endpoint="grpc://127.0.0.1:1")
    assert (reply.ok, reply.rc, reply.errno) == (False, None, "EHOSTUNREACH")


PLAY = """
- name: Build
  hosts: localhost
  tasks:
    - name: Build
      remote_exec:
        endpoint: {endpoint}
        chdir: {folder}
        argv: [./busybox, sh, run.sh]
        inputs: [in, run.sh, busybox]
        outputs: [c]
        env: {{PATH: /}}
"""


@pytest.mark.parametrize("dies", [False, True])
def test_a_build_outlives_the_farm_that_runs_it(tmp_path: Path, folder: Path, dies: bool) -> None:
    """The farm is killed while it runs the command: the play ends as well, with the same output."""
    with casd(tmp_path) as own:
        with_applets(folder, "sleep 4\n" + SCRIPT if dies else SCRIPT)
        if dies:
            threading.Timer(2.0, own.die).start()
        played = Bench(tmp_path).play(PLAY.format(endpoint=own.endpoint, folder=folder))
    assert played.exit == 0, played.outcome("Build")
    assert played.outcome("Build")["where"] == ("controller" if dies else "farm")
    assert (folder / "c").read_text() == "made\n"


@pytest.mark.slow
def test_a_farm_that_falls_silent_while_it_runs_a_command_is_given_up(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a machine does that is cut off: its connections stay, and nothing comes. A command can't be told from it
    by how long it takes, so that nothing but its silence ends this."""
    monkeypatch.setattr(remote_execution, "_SILENCE", 1_000)
    monkeypatch.setattr(remote_execution, "_SIGN_OF_LIFE", 1_000)
    monkeypatch.setattr(remote_execution, "_TRIES", 2)
    with casd(tmp_path) as own:
        with_applets(folder, "sleep 3600\n")
        stopped: list[int] = []

        def stop() -> None:
            until = time.monotonic() + 60.0
            while not any(b"3600" in cmdline(pid) for pid in descendants(own.running.pid)) and time.monotonic() < until:
                time.sleep(0.05)
            stopped.extend([own.running.pid, *descendants(own.running.pid)])
            for pid in stopped:
                os.kill(pid, signal.SIGSTOP)

        waiting = threading.Thread(target=stop)
        waiting.start()
        reply = ask(own, folder)
        waiting.join()
        own.die()
    assert stopped
    assert (reply.ok, reply.rc, reply.errno) == (False, None, "EHOSTUNREACH")


def cmdline(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


# --- what needs no farm -------------------------------------------------------------------------------------------


def test_the_digest_of_the_empty_folder_is_that_of_no_bytes(tmp_path: Path) -> None:
    """An empty Directory is encoded as nothing, and SHA-256 of nothing is known (FIPS 180-2)."""
    root = inputs_of(tmp_path, ["."]).root
    assert root.hash == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert root.hash == hashlib.sha256(b"").hexdigest()


def test_messages_are_encoded_as_the_manual_of_protocol_buffers_shows() -> None:
    """https://protobuf.dev/programming-guides/encoding/: 150 in field 1, "testing" in field 2, and -2."""
    assert message((1, 150)) == bytes.fromhex("089601")
    assert message((2, "testing")) == bytes.fromhex("120774657374696e67")
    assert message((1, -2)) == bytes.fromhex("08feffffffffffffffff01")
    assert Fields(bytes.fromhex("08feffffffffffffffff01")).number(1) == -2


@pytest.mark.parametrize("content", [b"\x0a", b"\x0a\x05abc", b"\xff" * 11, b"\x0b", b"\x0d\x00"])
def test_what_is_no_message_is_refused(content: bytes) -> None:
    with pytest.raises(TargetError, match="no message"):
        Fields(content)


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "out/../../x", "other", "out2/x", "link/x"])
def test_no_output_leaves_its_folder_whatever_a_farm_calls_it(tmp_path: Path, path: str) -> None:
    dest = tmp_path / "dest"
    dest.mkdir()
    (dest / "link").symlink_to(tmp_path)
    with pytest.raises(TargetError):
        place_for(dest, path, ["out", "link"])
    assert [one.name for one in tmp_path.iterdir()] == ["dest"]
