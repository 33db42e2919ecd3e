"""Where two builds differ, and why: on files made for it; readelf and nm say what is in a program."""

from __future__ import annotations

import gzip
import io
import shutil
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

from ciflow.supply.causes import Cause, Setting, crate_of, explain
from ciflow.supply.divergence import Difference, compare
from ciflow.supply.errors import FormatFault
from ciflow.supply.members import members
from ciflow.supply.objectfile import parse_elf

A, B = (
    Setting("/a/here", "/home/ann", 1_800_000_000.0, 1_800_000_060.0),
    Setting("/b/else", "/home/bob", 1_900_000_000.0, 1_900_000_060.0),
)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not all(map(shutil.which, ("cc", "readelf", "nm"))):
        pytest.skip("cc, readelf and nm are needed here")
    folder = tmp_path_factory.mktemp("program")
    (folder / "main.c").write_text("int answer = 42;\nint main(void) { return answer; }\n")
    subprocess.run(["cc", "-g", "-o", "main", "main.c"], cwd=folder, check=True)
    return folder / "main"


def told(*argv: str | Path) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


def test_sections_and_symbols_are_those_of_readelf_and_nm(program: Path) -> None:
    found = parse_elf(program.read_bytes())
    lines = told("readelf", "-SW", program).splitlines()
    named = [line.partition("]")[2].split()[0] for line in lines if line.lstrip().startswith("[") and "] ." in line]
    assert [one.name for one in found.sections] == named
    symbols = {line.split()[-1].partition("@")[0] for line in told("nm", program).splitlines()}
    assert symbols <= {one.name.partition("@")[0] for one in found.symbols}
    answer = next(one for one in found.symbols if one.name == "answer")
    data = next(one for one in found.sections if one.name == ".data")
    at = answer.address - data.address
    assert data.data[at : at + answer.size] == (42).to_bytes(4, "little")


def test_a_program_that_was_cut_off_or_damaged_is_refused_or_read_but_never_more(program: Path) -> None:
    whole = program.read_bytes()
    for length in range(0, len(whole), 131):
        with pytest.raises(FormatFault):
            parse_elf(whole[:length])
    for at in range(64):
        for value in (0, 0x7F, 0xFF):
            try:
                parse_elf(whole[:at] + bytes([value]) + whole[at + 1 :])
            except FormatFault:
                continue


def test_a_difference_in_a_program_has_its_section_and_its_symbol(program: Path) -> None:
    whole = program.read_bytes()
    at = whole.index((42).to_bytes(4, "little"))
    changed = whole[:at] + b"\x2b" + whole[at + 1 :]
    found = compare("main", whole, changed)[0]
    assert (found.where, found.symbol) == ("main: .data", "answer")


def tar(*entries: tuple[str, bytes, int, int]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name, content, mode, time in entries:
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode, entry.mtime = len(content), mode, time
            archive.addfile(entry, io.BytesIO(content))
    return made.getvalue()


def zipped(time: tuple[int, int, int, int, int, int]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr(zipfile.ZipInfo("a", time), b"x")
    return made.getvalue()


def kinds(a: bytes, b: bytes, *varied: str) -> list[tuple[str, str]]:
    """(class, where first) of each cause."""
    return [(one.kind, one.where[0]) for one in causes(a, b, *varied)]


def causes(a: bytes, b: bytes, *varied: str) -> list[Cause]:
    return explain(compare("f", a, b), varied, A, B)


def test_what_differs_beside_the_content_of_an_archive_is_named() -> None:
    one = ("a", b"x", 0o644, 5)
    two = ("b", b"y", 0o644, 5)
    assert kinds(tar(one), tar((*one[:3], 6))) == [("time", "f: a")]
    assert kinds(tar(one), tar(("a", b"x", 0o600, 5)), "umask") == [("umask", "f: a")]
    assert kinds(tar(one, two), tar(two, one), "files") == [("files", "f")]
    assert kinds(zipped((2026, 1, 1, 0, 0, 0)), zipped((2026, 1, 2, 0, 0, 0))) == [("time", "f: a")]
    assert kinds(gzip.compress(b"x", mtime=1), gzip.compress(b"x", mtime=2)) == [("time", "f: content")]


def test_archives_in_archives_are_looked_into() -> None:
    inner = [gzip.compress(tar(("deep", b"built in " + root, 0o644, 5)), mtime=0) for root in (b"/a/here", b"/b/else")]
    a, b = (tar(("inner.tar.gz", one, 0o644, 5)) for one in inner)
    assert kinds(a, b, "path") == [("env", "f: inner.tar.gz: content: deep")]


def test_static_libraries_are_taken_apart_by_member(program: Path) -> None:
    if shutil.which("ar") is None:
        pytest.skip("ar is needed here")
    folder = program.parent
    (folder / "a-member-with-a-long-name.txt").write_text("x")
    subprocess.run(["ar", "qcU", "lib.a", "main.c", "a-member-with-a-long-name.txt"], cwd=folder, check=True)
    found = members((folder / "lib.a").read_bytes())
    assert found is not None and found[0] == "ar"
    assert [(one.name, len(one.content)) for one in found[1]] == [
        ("main.c", (folder / "main.c").stat().st_size), ("a-member-with-a-long-name.txt", 1),
    ]  # fmt: skip
    assert int(found[1][0].facts["time"]) == int((folder / "main.c").stat().st_mtime)


@pytest.mark.parametrize(
    "damaged",
    [
        b"!<arch>\n" + b"x" * 60,
        b"!<arch>\n" + b"a/".ljust(48) + b"9999999999`\n",
        gzip.compress(b"x")[:-3],
        zipped((2026, 1, 1, 0, 0, 0))[:40],
        tar(("a", b"x" * 600, 0o644, 5))[:700],
    ],
    ids=["ar", "ar-size", "gzip", "zip", "tar"],
)
def test_archives_that_are_cut_off_are_refused_and_compared_as_they_are(damaged: bytes) -> None:
    with pytest.raises(FormatFault):
        members(damaged)
    assert [one.where for one in compare("f", damaged, damaged + b"\0")] == ["f"]


def test_a_bomb_does_not_unfold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ciflow.supply.members.MOST_BYTES", 1000)
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", b"\0" * 100_000)
    for bomb in (gzip.compress(b"\0" * 100_000), made.getvalue(), tar(("a", b"\0" * 2000, 0o644, 5))):
        with pytest.raises(FormatFault, match="MiB"):
            members(bomb)


@pytest.mark.parametrize(
    ("a", "b", "varied", "kind"),
    [
        (b"at /a/here/src/main.rs:3", b"at /b/else/src/main.rs:3", ("path",), "path"),
        (b"root=/a/here;", b"root=/b/else;", ("path",), "env"),
        (b"by /home/ann", b"by /home/bob", ("home",), "home"),
        (b"built 1800000030", b"built 1900000001", (), "time"),
        (b"built 2026-11-25", b"built 2026-11-26", (), "time"),
        (b"seed 81", b"seed 92", (), "random"),
        (b"12:00:00", b"17:45:00", ("timezone",), "timezone"),
        (b"1,5", b"1.5", ("locale",), "locale"),
        (b"1 2 3", b"2 1 3", ("jobs",), "jobs"),
        (b"x", b"y", ("jobs", "locale"), "unknown"),
    ],
)
def test_texts_and_what_was_varied_say_the_class(a: bytes, b: bytes, varied: tuple[str, ...], kind: str) -> None:
    assert [one.kind for one in causes(a, b, *varied)] == [kind]


def test_the_build_id_is_a_cause_only_where_nothing_else_differs() -> None:
    ident = Difference("p: .note.gnu.build-id", "content", b"1", b"2")
    assert [one.kind for one in explain([ident], (), A, B)] == ["build-id"]
    other = Difference("p: .rodata", "content", b"7", b"8")
    assert [one.kind for one in explain([ident, other], (), A, B)] == ["random"]


def test_the_crate_that_brings_it_in_is_named() -> None:
    a, b = (root + b"/vendor/registry/src/index-1/lucky-seven-1.2.3/src/lib.rs" for root in (b"/a/here", b"/b/else"))
    assert causes(a, b, "path")[0].owner == "lucky-seven"


@pytest.mark.parametrize(
    ("symbol", "crate"),
    [
        ("_ZN5lucky4main17h0123456789abcdefE", "lucky"),
        ("_RNvCs1234_7mycrate3foo", "mycrate"),  # RFC 2603, "Symbol grammar summary"
        ("_RNvNtCs1234_7mycrate3foo3bar", "mycrate"),
        ("main", ""),
        ("", ""),
    ],
)
def test_mangled_names_tell_their_crate(symbol: str, crate: str) -> None:
    assert crate_of(symbol) == crate
