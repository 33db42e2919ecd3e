"""What holds of every kind of store: whole or not at all, verified, resumed after a cut, and never swept too far."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from ciflow.diagnostics import ArtifactError
from ciflow.store.artifacts import open_shelf
from ciflow.store.artifacts.backend import parts
from ciflow.store.artifacts.folder import Folder
from ciflow.store.artifacts.records import Entry
from ciflow.store.artifacts.shelf import Shelf
from ciflow.whole import whole
from tests.parts.wire import Break
from tests.store.artifacts.conftest import PART, Place

KB = 1024
DAY = 86_400.0
LARGE = random.Random(7).randbytes(2 * PART + PART // 2 + 12_345)  # three parts


def kept(shelf: Shelf, content: bytes, name: str = "server", key: str = "") -> Entry:
    digest = shelf.here.blobs.put(content)
    shelf.name(name, digest, {}, run="R-1", play="build", key=key)
    return next(one for one in shelf.entries() if (one.name, one.digest, one.key) == (name, digest, key))


def test_what_one_machine_keeps_another_takes_by_its_digest(place: Place) -> None:
    entry = kept(place.machine(), b"abc")
    assert entry.digest == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2
    other = place.machine()
    assert other.take(entry.digest).read_bytes() == b"abc"
    assert other.entries() == [entry]


def test_a_large_one_arrives_as_it_was(place: Place) -> None:
    entry = kept(place.machine(), LARGE)
    assert place.machine().take(entry.digest).read_bytes() == LARGE


def test_an_empty_one_is_one_too(place: Place) -> None:
    entry = kept(place.machine(), b"")
    assert place.machine().take(entry.digest).read_bytes() == b""


def test_what_was_made_of_the_same_is_found_by_its_key(place: Place) -> None:
    first, second = place.machine(), place.machine()
    entry = kept(first, b"libraries", "dependencies", key="lock 1")
    assert second.find("dependencies", "lock 1") == entry
    assert second.find("dependencies", "lock 2") is None
    assert second.find("others", "lock 1") is None


def test_names_may_be_any_text(place: Place) -> None:
    shelf = place.machine()
    names = ["../../etc/passwd", "a b/c", "Ünï", ".", "x" * 300, "a\nb"]
    entries = {kept(shelf, name.encode(), name) for name in names}
    assert set(place.machine().entries()) == entries


def test_what_is_not_there_is_said_to_be_missing(place: Place) -> None:
    with pytest.raises(ArtifactError):
        place.machine().take("0" * 64)
    assert place.machine().entries() == []


def test_what_a_store_gives_for_a_digest_is_never_something_else(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = kept(place.machine(), b"good")
    other = place.machine()
    assert other.beyond is not None
    with monkeypatch.context() as evil:
        evil.setattr(type(other.beyond), "read", lambda *_of: iter([b"evil"]))
        with pytest.raises(ArtifactError, match="thrown away"):
            other.take(entry.digest)
    assert not other.here.blobs.has(entry.digest)
    assert other.take(entry.digest).read_bytes() == b"good"


def test_a_file_that_changed_on_the_way_never_becomes_visible(place: Place, tmp_path: Path) -> None:
    shelf = place.machine()
    assert shelf.beyond is not None
    source = tmp_path / "file"
    source.write_bytes(LARGE)
    wrong = hashlib.sha256(b"other").hexdigest()
    with pytest.raises(ArtifactError, match="no longer has the digest"):
        shelf.beyond.send(wrong, source)
    assert not shelf.beyond.has(wrong)


def test_an_upload_that_is_cut_goes_on_where_it_was(place: Place) -> None:
    """At its first bytes, and in the middle of parts, of which each has a connection of its own."""
    if place.through is None:
        pytest.skip("nothing lies between a folder and its user")
    shelf = place.machine()
    place.through.breaks = [
        Break("reset", 100, "server"), Break("cut", 400 * KB, "server"),
        Break("reset", 600 * KB, "server"), Break("cut", 100 * KB, "server"),
    ]  # fmt: skip
    entry = kept(shelf, LARGE)
    assert place.machine().take(entry.digest).read_bytes() == LARGE
    assert place.through.breaks == []
    if place.kind == "s3":  # docker-registry gives up an upload of which a piece broke off in the middle
        assert place.through.passed["server"] < len(LARGE) + 2 * PART, "the parts that had arrived did not go twice"


@pytest.mark.parametrize("kind", ["reset", "cut"])
def test_a_download_that_is_cut_goes_on_where_it_was(place: Place, kind: str) -> None:
    if place.through is None:
        pytest.skip("nothing lies between a folder and its user")
    entry = kept(place.machine(), LARGE)
    place.through.passed["client"] = 0
    place.through.breaks.extend(Break(kind, at, "client") for at in (800 * KB, 1100 * KB, 300 * KB))  # type: ignore[arg-type]
    assert place.machine().take(entry.digest).read_bytes() == LARGE
    assert place.through.breaks == []
    if kind == "cut":  # a reset takes with it what the system had not yet handed over
        assert place.through.passed["client"] < len(LARGE) + PART


def test_an_upload_goes_on_in_the_next_process(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    if place.through is None:
        pytest.skip("a folder has all of a file, or nothing")

    def killed(source: Path, digest: str, size: int) -> Iterator[tuple[int, bytes]]:
        for offset, piece in parts(source, digest, size):
            if offset == 2 * PART:
                raise KeyboardInterrupt
            yield offset, piece

    shelf = place.machine()
    assert shelf.beyond is not None
    module = type(shelf.beyond).__module__
    with monkeypatch.context() as first:
        first.setattr(f"{module}.parts", killed)
        with pytest.raises(KeyboardInterrupt):
            kept(shelf, LARGE)
    assert not shelf.beyond.has(hashlib.sha256(LARGE).hexdigest()), "half of it is nothing"
    assert all("held" in name for name in shelf.beyond.records())
    place.through.passed["server"] = 0
    again = Shelf(shelf.here, open_shelf(shelf.here.root.parent, place.url).beyond)
    entry = kept(again, LARGE)
    assert place.through.passed["server"] < len(LARGE) - PART
    assert place.machine().take(entry.digest).read_bytes() == LARGE


def test_a_download_goes_on_in_the_next_process(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first one gives up, as one does that is killed."""
    if place.through is None:
        pytest.skip("nothing lies between a folder and its user")
    entry = kept(place.machine(), LARGE)
    machine = place.machine()
    with monkeypatch.context() as first:
        first.setattr("ciflow.store.artifacts.shelf.TRIES", 1)
        place.through.breaks.append(Break("cut", 2 * PART, "client"))
        with pytest.raises(ArtifactError, match="can't be reached"):
            machine.take(entry.digest)
    assert not machine.here.blobs.has(entry.digest)
    place.through.passed["client"] = 0
    again = Shelf(machine.here, open_shelf(machine.here.root.parent, place.url).beyond)
    assert again.take(entry.digest).read_bytes() == LARGE
    assert place.through.passed["client"] < len(LARGE) - PART


def test_the_same_content_travels_once(place: Place) -> None:
    shelf = place.machine()
    kept(shelf, LARGE)
    if place.through is not None:
        place.through.passed["server"] = 0
    kept(place.machine(), LARGE, "under another name")
    if place.through is not None:
        assert place.through.passed["server"] < PART


# --- retention -------------------------------------------------------------------------------------------------


class Days:
    """A clock that tests turn."""

    def __init__(self) -> None:
        self.day = 20_000.0

    def __call__(self) -> float:
        return self.day * DAY


def versions(shelf: Shelf, days: Days, count: int, name: str = "server") -> list[Entry]:
    """One a day, the oldest first."""
    made = []
    for number in range(count):
        made.append(kept(shelf, f"{name} {number}".encode(), name))
        days.day += 1
    return made


def test_what_is_both_old_and_beyond_the_newest_is_swept(place: Place) -> None:
    days = Days()
    shelf = place.machine(days)
    made = versions(shelf, days, 6)
    swept = shelf.sweep({}, days=3.5, keep=2, grace=0)
    assert [one.digest for one in swept.removed] == [one.digest for one in made[:3]], "older than 3.5 days"
    assert {one.digest for one in shelf.entries()} == {one.digest for one in made[3:]}
    other = place.machine()
    with pytest.raises(ArtifactError):
        other.take(made[0].digest)
    assert other.take(made[3].digest).read_bytes() == b"server 3"
    days.day += 100
    swept = shelf.sweep({}, days=3.5, keep=2, grace=0)
    assert {one.digest for one in shelf.entries()} == {one.digest for one in made[4:]}, "the two newest stay"


def test_what_this_machine_needs_is_never_swept(place: Place) -> None:
    days = Days()
    shelf = place.machine(days)
    made = versions(shelf, days, 3)
    days.day += 100
    swept = shelf.sweep({made[0].digest: "slot a of shop"}, days=0, keep=0, grace=0)
    assert swept.held == {made[0].digest: "slot a of shop"}
    assert place.machine().take(made[0].digest).read_bytes() == b"server 0"
    assert [one.digest for one in shelf.entries()] == [made[0].digest]


def test_what_another_machine_has_said_it_needs_is_never_swept(place: Place) -> None:
    days = Days()
    one, other = place.machine(days), place.machine(days)
    made = versions(one, days, 2)
    other.hold({made[0].digest: "slot b of shop"})
    days.day += 100
    swept = one.sweep({}, days=0, keep=0, grace=0)
    assert [gone.digest for gone in swept.removed] == [made[1].digest]
    assert "slot b of shop" in swept.held[made[0].digest]
    other.hold({})
    assert [gone.digest for gone in one.sweep({}, days=0, keep=0, grace=0).removed] == [made[0].digest]


def test_content_with_two_names_stays_as_long_as_one_of_them(place: Place) -> None:
    days = Days()
    shelf = place.machine(days)
    kept(shelf, b"same", "old name")
    days.day += 50
    entry = kept(shelf, b"same", "new name")
    swept = shelf.sweep({}, days=10, keep=0, grace=0)
    assert [one.name for one in swept.removed] == ["old name"]
    assert place.machine().take(entry.digest).read_bytes() == b"same"


def test_a_rehearsal_removes_nothing(place: Place) -> None:
    days = Days()
    shelf = place.machine(days)
    made = versions(shelf, days, 2)
    days.day += 100
    before = shelf.main.records()
    swept = shelf.sweep({}, days=0, keep=0, dry=True, grace=0)
    assert {one.digest for one in swept.removed} == {one.digest for one in made}
    assert shelf.main.records() == before
    assert place.machine().take(made[0].digest)


def test_what_was_just_kept_is_never_swept(place: Place) -> None:
    shelf = place.machine()
    entry = kept(shelf, b"new")
    assert shelf.sweep({}, days=0, keep=0).removed == ()
    assert place.machine().take(entry.digest)


def test_what_a_killed_process_left_of_a_record_is_swept(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "shelf")
    folder.keep_record("ciflow-held-x", "{}")
    with pytest.raises(KeyboardInterrupt), whole(tmp_path / "shelf/records/ciflow-held-x") as file:
        [left] = [path for path in (tmp_path / "shelf/records").iterdir() if path.name != "ciflow-held-x"]
        os.link(left, kept_left := left.with_name(left.name + "0"))  # as a kill leaves it, where an error does not
        file.write(b"{")
        raise KeyboardInterrupt
    folder.tidy(3600)
    assert kept_left.exists(), "somebody may be writing it"
    folder.tidy(-1)
    assert [path.name for path in (tmp_path / "shelf/records").iterdir()] == ["ciflow-held-x"]
