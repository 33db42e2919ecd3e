"""What ciflow writes for people is written whole or not at all."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from ciflow.whole import whole, write_whole


def test_a_file_that_could_not_be_written_stays_as_it_was_and_nothing_lies_beside_it(tiny_disk: Path) -> None:
    target = tiny_disk / "report.html"
    write_whole(target, b"old")
    with pytest.raises(OSError, match="No space left"):
        write_whole(target, bytes(300 * 1024))
    with pytest.raises(KeyboardInterrupt), whole(target) as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert target.read_bytes() == b"old"
    assert list(tiny_disk.iterdir()) == [target]


@pytest.mark.parametrize(
    ("mode", "umask", "found"), [(0o600, 0o022, 0o600), (0o644, 0o077, 0o644), (None, 0o027, 0o640)]
)
def test_it_has_the_mode_that_is_asked_for_else_that_of_any_new_file(
    tmp_path: Path, mode: int | None, umask: int, found: int
) -> None:
    before = os.umask(umask)
    try:
        write_whole(tmp_path / "new" / "file", b"x", mode)
    finally:
        os.umask(before)
    assert (tmp_path / "new" / "file").stat().st_mode & 0o777 == found


def test_a_link_is_replaced_and_where_it_led_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "theirs").write_text("theirs")
    (tmp_path / "link").symlink_to(tmp_path / "theirs")
    write_whole(tmp_path / "link", b"ours")
    assert ((tmp_path / "theirs").read_text(), (tmp_path / "link").read_text()) == ("theirs", "ours")


def test_a_pipe_is_written_into_and_stays_one(tmp_path: Path) -> None:
    """So is a device: `--output /dev/null` as root must not make a file of it."""
    pipe, heard = tmp_path / "pipe", list[bytes]()
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: heard.append(pipe.read_bytes()))
    reader.start()
    write_whole(pipe, b"a bill of materials")
    reader.join()
    assert heard == [b"a bill of materials"]
    assert pipe.is_fifo()
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]


def test_what_must_last_is_on_the_disk_before_it_takes_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def synced(descriptor: int) -> None:
        done.append(f"{os.fstat(descriptor).st_size} bytes on the disk")
        fsync(descriptor)

    def replaced(path: Path, target: Path) -> Path:
        done.append("replaced")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", replaced)
    write_whole(tmp_path / "key", b"12345", 0o600, durable=True)
    assert done == ["5 bytes on the disk", "replaced"]
    write_whole(tmp_path / "report", b"12345")
    assert done == ["5 bytes on the disk", "replaced", "replaced"]
