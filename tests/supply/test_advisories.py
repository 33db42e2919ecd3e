"""Databases of advisories on the disk: read once, read anew when they change, and refused when they are hostile."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path

import pytest

from ciflow.modules.files import advisories
from ciflow.modules.files.advisories import Database, opened
from ciflow.modules.files.yanked import yanked
from ciflow.supply.contents import from_lock
from ciflow.supply.errors import AdvisoryError
from tests.supply import published

FRONT = 'id = "{id}"\npackage = "time"\ndate = "2026-01-02"\n\n[versions]\npatched = []\n'
MARKDOWN = f"```toml\n{FRONT}```\n\n# Hole\n\nText.\n"
RECORD = {"id": "GHSA-1", "affected": [{"package": {"ecosystem": "crates.io", "name": "time"}, "versions": ["1.0.0"]}]}


@pytest.fixture
def rustsec(tmp_path: Path) -> Path:
    place = tmp_path / "db" / "crates" / "time"
    place.mkdir(parents=True)
    (place / "RUSTSEC-2026-0001.md").write_text(MARKDOWN.format(id="RUSTSEC-2026-0001"))
    return tmp_path / "db"


def about_time(path: Path) -> tuple[Database, list[str]]:
    database = opened(path, path.parent / "cache")
    return database, [one.id for one in database.about("crates.io", ["time"])]


def zipped(path: Path, entries: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


def test_a_database_is_read_once_and_anew_when_a_file_in_it_changes(rustsec: Path) -> None:
    assert [about_time(rustsec)[0].fresh for _ in range(2)] == [True, False]
    (rustsec / "crates" / "time" / "RUSTSEC-2026-0002.md").write_text(MARKDOWN.format(id="RUSTSEC-2026-0002"))
    again, ids = about_time(rustsec)
    assert (again.fresh, again.count, again.newest, len(ids)) == (True, 2, "2026-01-02", 2)
    changed = rustsec / "crates" / "time" / "RUSTSEC-2026-0002.md"
    changed.write_text(changed.read_text().replace("2026-01-02", "2026-01-03"))
    os.utime(changed, ns=(1, 1))
    assert about_time(rustsec)[0].newest == "2026-01-03"


def test_an_index_that_is_damaged_or_cut_is_made_anew(rustsec: Path) -> None:
    about_time(rustsec)
    (index,) = (rustsec.parent / "cache").iterdir()
    for damage in (b"", b"not SQLite" * 1000, index.read_bytes()[:5000]):
        index.write_bytes(damage)
        assert about_time(rustsec)[1] == ["RUSTSEC-2026-0001"]


def test_a_zip_says_what_its_folder_says(rustsec: Path, tmp_path: Path) -> None:
    text = MARKDOWN.format(id="RUSTSEC-2026-0001").encode()
    archive = zipped(
        tmp_path / "db.zip",
        {"advisory-db-main/crates/time/RUSTSEC-2026-0001.md": text, "advisory-db-main/README.md": b"x"},
    )
    assert about_time(archive)[1] == about_time(rustsec)[1]
    assert about_time(zipped(tmp_path / "osv.zip", {"GHSA-1.json": json.dumps(RECORD).encode()}))[1] == ["GHSA-1"]
    (tmp_path / "osv").mkdir()
    (tmp_path / "osv" / "GHSA-1.json").write_text(json.dumps(RECORD))
    assert about_time(tmp_path / "osv")[1] == ["GHSA-1"]


def test_an_archive_writes_nothing_wherever_its_names_lead(tmp_path: Path) -> None:
    names = ("../../escaped.json", "/tmp/escaped-absolute.json", "a/../../../escaped2.json")
    archive = zipped(tmp_path / "db.zip", {name: json.dumps(RECORD | {"id": name}).encode() for name in names})
    assert len(about_time(archive)[1]) == 3
    assert not list(tmp_path.parent.rglob("escaped*"))
    assert not Path("/tmp/escaped-absolute.json").exists()


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = zipped(tmp_path / "bomb.zip", {"a.json": b" " * 100_000_000})
    with pytest.raises(AdvisoryError, match=r"bomb\.zip: a\.json is larger than 8 MiB"):
        about_time(bomb)
    monkeypatch.setattr(advisories, "_WHOLE", 3_000_000)
    many = {f"{number}.json": json.dumps(RECORD).encode() + b" " * 1_000_000 for number in range(5)}
    with pytest.raises(AdvisoryError, match="holds more than"):
        about_time(zipped(tmp_path / "many.zip", many))


@pytest.mark.parametrize("cut", [0, 10, 60, 150])
def test_an_archive_that_is_cut_or_damaged_is_refused(tmp_path: Path, cut: int) -> None:
    whole = zipped(tmp_path / "x.zip", {"GHSA-1.json": json.dumps(RECORD).encode() * 3}).read_bytes()
    (tmp_path / "x.zip").write_bytes(whole[:cut])
    with pytest.raises(AdvisoryError, match=r"x\.zip"):
        about_time(tmp_path / "x.zip")
    (tmp_path / "x.zip").write_bytes(whole[:cut] + bytes(4) + whole[cut + 4 :])
    with pytest.raises(AdvisoryError, match=r"x\.zip"):
        about_time(tmp_path / "x.zip")


def test_one_file_that_can_not_be_read_makes_the_whole_database_refused(rustsec: Path) -> None:
    """A scan that passes one over would call its crate good."""
    place = rustsec / "crates" / "time"
    for name, content in {
        "RUSTSEC-2026-0002.md": MARKDOWN.format(id="RUSTSEC-2026-0003").encode(),
        "RUSTSEC-2026-0004.md": b"\xff\xfe",
        "RUSTSEC-2026-0005.md": b"",
        "RUSTSEC-2026-0006.md": b"x" * (9 << 20),
        "notes.txt": b"hello",
    }.items():
        (place / name).write_bytes(content)
        with pytest.raises(AdvisoryError, match=name.replace(".", r"\.")):
            about_time(rustsec)
        (place / name).unlink()
    (place / "RUSTSEC-2026-0007.md").symlink_to("/etc/passwd")
    with pytest.raises(AdvisoryError, match="is a link"):
        about_time(rustsec)


def test_a_folder_without_advisories_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "empty", tmp_path / "missing"):
        with pytest.raises(AdvisoryError, match=path.name):
            about_time(path)


def test_crates_that_were_yanked_are_known_from_cargos_own_cache(tmp_path: Path) -> None:
    cache = tmp_path / "registry" / "index" / "index.crates.io-0123456789abcdef" / ".cache"
    (cache / "ti" / "me").mkdir(parents=True)
    content = published.index("time", ["1.0.0", "1.0.1", "1.0.2+meta"], yanked={"1.0.0", "1.0.2+meta"})
    (cache / published.index_place("time")).write_bytes(content)
    (cache / "3" / "a").mkdir(parents=True)
    (cache / "3" / "a" / "abc").write_bytes(b"\x01 of another form")
    packages = [
        ("time", "1.0.0"),
        ("time", "1.0.1"),
        ("time", "1.0.2+meta"),
        ("time", "1.0.3"),
        ("abc", "1.0.0"),
        ("other", "1.0.0"),
    ]
    contents = from_lock(published.lock(dict.fromkeys(packages)))
    refs, unknown = yanked(contents.parts, tmp_path)
    assert {ref.split(" (")[0] for ref in refs} == {"time 1.0.0", "time 1.0.2+meta"}
    assert unknown == 2
