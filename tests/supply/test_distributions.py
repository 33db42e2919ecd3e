"""Packages of Alpine and of RPM, layers packed by zstd: on databases made by their own documents."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import sqlite3
import struct
import subprocess
import sys
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from ciflow.cli.sbom_subject import Asked, bill
from ciflow.diagnostics import NoSuch, Refused
from ciflow.supply import image, rpm
from ciflow.supply.errors import DocumentError
from ciflow.supply.model import Bom
from tests.parts.docker import Docker

ALPINE = """\
C:Q1qKcZ+j23xssAXmgQhkOO8dHnbWw=
P:alpine-baselayout
V:3.4.3-r2
A:x86_64
L:GPL-2.0-only
T:Alpine base dir structure and init scripts
U:https://git.alpinelinux.org/cgit/aports/tree/main/alpine-baselayout
o:alpine-baselayout
m:Natanael Copa <ncopa@alpinelinux.org>
D:/bin/sh !old-layout so:libc.musl-x86_64.so.1
F:dev
F:etc
R:motd
Z:Q1SLkS9hBidUbPwwrw+XR0Whv3ww8=

P:musl
V:1.2.4_git20230717-r4
A:x86_64
L:MIT
T:the musl c library (libc) implementation
p:so:libc.musl-x86_64.so.1=1

P:busybox-binsh
V:1.36.1-r15
A:x86_64
L:GPL-2.0-only
o:busybox
D:busybox=1.36.1-r15
p:/bin/sh cmd:sh=1.36.1-r15

P:busybox
V:1.36.1-r15
A:x86_64
L:GPL-2.0-only
D:so:libc.musl-x86_64.so.1
"""


def told(bom: Bom) -> tuple[set[str], set[tuple[str, str]]]:
    names = {component.ref: component.name for component in bom.everything()}
    purls = {str(component.purl) for component in bom.components}
    return purls, {(names[one.source], names[one.target]) for one in bom.relations}


def put(root: Path, files: Mapping[str, str | bytes]) -> None:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


def test_alpine_packages_are_those_of_its_database_with_who_provides_their_needs(tmp_path: Path) -> None:
    put(tmp_path, {"etc/os-release": "ID=alpine\nVERSION_ID=3.19.1\n", "lib/apk/db/installed": ALPINE})
    bom = bill(Asked(str(tmp_path), name="root"))
    purls, needs = told(bom)
    assert purls == {
        "pkg:generic/alpine@3.19.1",
        "pkg:apk/alpine/alpine-baselayout@3.4.3-r2?arch=x86_64&distro=alpine-3.19.1",
        "pkg:apk/alpine/musl@1.2.4_git20230717-r4?arch=x86_64&distro=alpine-3.19.1",
        "pkg:apk/alpine/busybox-binsh@1.36.1-r15?arch=x86_64&distro=alpine-3.19.1",
        "pkg:apk/alpine/busybox@1.36.1-r15?arch=x86_64&distro=alpine-3.19.1",
    }
    assert needs == {
        ("root", "alpine"), ("root", "alpine-baselayout"), ("alpine-baselayout", "musl"),
        ("alpine-baselayout", "busybox-binsh"), ("busybox-binsh", "busybox"), ("busybox", "musl"),
    }  # fmt: skip
    shell = next(one for one in bom.components if one.name == "busybox-binsh")
    assert (shell.licence, shell.properties) == ("GPL-2.0-only", (("apk:origin", "busybox"),))


# RPM: headers as rpm's documents have them


def header(fields: Mapping[int, str | int | Sequence[str]]) -> bytes:
    """Two counts, an index, a store."""
    index, store = b"", b""
    for tag, value in fields.items():
        if isinstance(value, int):
            store += b"\0" * (-len(store) % 4)
            index += struct.pack(">IIII", tag, 4, len(store), 1)
            store += struct.pack(">I", value)
        else:
            texts = [value] if isinstance(value, str) else list(value)
            index += struct.pack(">IIII", tag, 6 if isinstance(value, str) else 8, len(store), len(texts))
            store += b"".join(text.encode() + b"\0" for text in texts)
    return struct.pack(">II", len(index) // 16, len(store)) + index + store


def database(headers: Sequence[bytes], schema: str = "") -> bytes:
    with contextlib.closing(sqlite3.connect(":memory:")) as made:
        made.execute(schema or "CREATE TABLE Packages (hnum INTEGER PRIMARY KEY AUTOINCREMENT, blob BLOB NOT NULL)")
        if not schema:
            made.executemany("INSERT INTO Packages (blob) VALUES (?)", [(one,) for one in headers])
        made.commit()
        return made.serialize()


BASH = {
    1000: "bash", 1001: "5.2.15", 1002: "3.fc38", 1004: "The GNU shell", 1011: "Fedora Project",
    1014: "GPL-3.0-or-later", 1020: "https://www.gnu.org/software/bash", 1022: "x86_64",
    1044: "bash-5.2.15-3.fc38.src.rpm", 1047: ["bash", "/bin/sh"], 1049: ["libc.so.6()(64bit)", "rpmlib(X)"],
}  # fmt: skip
GLIBC = {1000: "glibc", 1001: "2.37", 1002: "5.fc38", 1003: 2, 1022: "x86_64", 1047: ["glibc", "libc.so.6()(64bit)"]}
KEY = {1000: "gpg-pubkey", 1001: "eb10b464", 1002: "6202d9c6"}
FEDORA = "ID=fedora\nVERSION_ID=38\n"


@pytest.mark.parametrize("folder", ["var/lib/rpm", "usr/lib/sysimage/rpm"])
def test_rpm_packages_are_those_of_its_database_with_who_provides_their_needs(tmp_path: Path, folder: str) -> None:
    content = database([header(one) for one in (BASH, GLIBC, KEY)])
    put(tmp_path, {"etc/os-release": FEDORA, f"{folder}/rpmdb.sqlite": content})
    bom = bill(Asked(str(tmp_path), name="root"))
    purls, needs = told(bom)
    assert purls == {
        "pkg:generic/fedora@38",
        "pkg:rpm/fedora/bash@5.2.15-3.fc38?arch=x86_64&distro=fedora-38",
        "pkg:rpm/fedora/glibc@2.37-5.fc38?arch=x86_64&distro=fedora-38&epoch=2",
    }
    assert needs == {("root", "fedora"), ("root", "bash"), ("bash", "glibc")}
    bash, glibc = (next(one for one in bom.components if one.name == name) for name in ("bash", "glibc"))
    assert (bash.licence, bash.description, glibc.version) == ("GPL-3.0-or-later", "The GNU shell", "2:2.37-5.fc38")
    assert bash.supplier is not None and bash.supplier.name == "Fedora Project"
    assert ("rpm:source", "bash-5.2.15-3.fc38.src.rpm") in bash.properties


def test_a_database_that_was_written_with_a_log_beside_it_is_read(tmp_path: Path) -> None:
    """As rpm leaves it: in WAL mode, which a database in memory can't have."""
    path = tmp_path / "rpmdb.sqlite"
    with contextlib.closing(sqlite3.connect(path)) as made:
        made.execute("PRAGMA journal_mode = WAL")
        made.execute("CREATE TABLE Packages (hnum INTEGER PRIMARY KEY AUTOINCREMENT, blob BLOB NOT NULL)")
        made.execute("INSERT INTO Packages (blob) VALUES (?)", (header(BASH),))
        made.commit()
    content = path.read_bytes()
    assert content[18:20] == b"\2\2"
    assert [part.name for part in rpm.packages("db", content, {})[0]] == ["bash"]


def test_rpm_itself_lists_the_same(tmp_path: Path) -> None:
    """A real database of rpm's own making."""
    program = shutil.which("rpm")
    if program is None:
        pytest.skip("rpm is not installed: its database is made by hand in the tests beside this one")
    spec = "Name: thing\nVersion: 1.2\nRelease: 3\nSummary: a thing\nLicense: MIT\n%description\n.\n%files\n"
    (tmp_path / "thing.spec").write_text(spec)
    given = ["--define", f"_topdir {tmp_path}/build", "--define", "_db_backend sqlite", "--dbpath", f"{tmp_path}/rpm"]
    build = shutil.which("rpmbuild")
    if build is None:
        pytest.skip("rpmbuild is not installed")
    subprocess.run([build, "--quiet", *given[:2], "-bb", str(tmp_path / "thing.spec")], check=True, capture_output=True)
    made = next((tmp_path / "build").rglob("*.rpm"))
    subprocess.run([program, *given, "--justdb", "--nodeps", "-i", str(made)], check=True, capture_output=True)
    listed = subprocess.run([program, *given, "-qa"], check=True, capture_output=True, text=True).stdout.split()
    content = next((tmp_path / "rpm").glob("rpmdb.sqlite")).read_bytes()
    found, _ = rpm.packages("db", content, {})
    assert [f"{one.name}-{one.version}" for one in found] == [line.rpartition(".")[0] for line in listed]
    assert [one.name for one in found] == ["thing"]
    assert (found[0].licence, found[0].description) == ("MIT", "a thing")


def test_the_old_form_of_rpms_database_is_refused_and_not_passed_over(tmp_path: Path) -> None:
    for name in ("Packages", "Packages.db"):
        root = tmp_path / name
        put(root, {f"var/lib/rpm/{name}": b"\0" * 100})
        with pytest.raises(Refused, match="a database of RPM in its old form"):
            bill(Asked(str(root)))
        put(root, {"var/lib/rpm/rpmdb.sqlite": database([header(BASH)])})
        assert {one.name for one in bill(Asked(str(root))).components} == {"bash"}, "what was left over is not in use"


ENDLESS = (
    "CREATE VIEW Packages AS WITH RECURSIVE c(hnum) AS (SELECT 1 UNION ALL SELECT hnum+1 FROM c) "
    "SELECT hnum, x'00' AS blob FROM c"
)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "byte 1: no SQLite database"),
        (b"SQLite format 3\0" + b"\xff" * 2000, "db: "),
        (database([], ENDLESS), "no table of packages"),
        (database([], "CREATE TABLE Other (a)"), "no table of packages"),
        (database([], "CREATE TABLE Packages (hnum, other)"), "no such column"),
        (database([b"\0" * 7]), "package 1: a header of 7 bytes"),
        (database([header(BASH)[:-1]]), "package 1: its index and store don't fill"),
        (database([struct.pack(">II", 2**31, 5)]), "don't fill its 8 bytes"),
        (database([struct.pack(">IIIIII", 1, 0, 1000, 6, 99, 1)]), "the tag 1000 leads out of it"),
        (database([header(BASH)])[:4096], "db: "),
    ],
)
def test_a_database_that_is_damaged_or_made_to_hurt_is_refused(content: bytes, why: str) -> None:
    with pytest.raises(DocumentError, match=why):
        rpm.packages("db", content, {})


def test_a_database_that_was_changed_anywhere_raises_nothing_but_our_own_errors() -> None:
    whole = database([header(BASH), header(GLIBC)])
    for at in range(0, len(whole), 97):
        try:
            rpm.packages("db", whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :], {})
        except DocumentError as error:
            assert str(error)


# zstd


def tar_of(files: Mapping[str, bytes], mode: int = 0o644) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), mode
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def saved(tmp_path: Path, layer: bytes) -> Path:
    manifest = json.dumps([{"Config": "c", "RepoTags": ["app:1"], "Layers": ["layer"]}]).encode()
    path = tmp_path / "image.tar"
    path.write_bytes(tar_of({"manifest.json": manifest, "c": b'{"os": "linux"}', "layer": layer}))
    return path


LAYER = tar_of({"etc/os-release": b"ID=alpine\nVERSION_ID=3.19.1\n", "lib/apk/db/installed": ALPINE.encode()})


def test_a_layer_packed_by_zstd_is_read(tmp_path: Path) -> None:
    zstandard = pytest.importorskip("zstandard")
    packed = zstandard.ZstdCompressor().compress(LAYER)
    halves = b"".join(zstandard.ZstdCompressor(level=19).compress(half) for half in (LAYER[:3000], LAYER[3000:]))
    for layer in (packed, halves):
        bom = bill(Asked(str(saved(tmp_path, layer))))
        assert {one.name for one in bom.components} == {
            "alpine", "alpine-baselayout", "musl", "busybox", "busybox-binsh",
        }  # fmt: skip


def test_a_layer_of_zstd_that_is_cut_or_a_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zstandard = pytest.importorskip("zstandard")
    packed = zstandard.ZstdCompressor().compress(LAYER)
    for layer in (packed[:-10], packed[:20], packed[:30] + b"\xff" * 20 + packed[50:]):
        with pytest.raises(Refused, match="layer: "):
            bill(Asked(str(saved(tmp_path, layer))))
    monkeypatch.setattr(image, "MOST_UNPACKED", 100_000)
    bomb = zstandard.ZstdCompressor().compress(bytes(50_000_000))
    with pytest.raises(Refused, match="it unpacks to more than 100000 bytes"):
        bill(Asked(str(saved(tmp_path, bomb))))


def test_a_window_that_takes_all_memory_is_refused(tmp_path: Path) -> None:
    """RFC 8878, 3.1.1.1.2: 2^(10 + 20) bytes are asked for by one byte."""
    pytest.importorskip("zstandard")
    frame = b"\x28\xb5\x2f\xfd" + b"\x00" + bytes([20 << 3]) + b"\x01\x00\x00"
    with pytest.raises(Refused, match="layer: "):
        bill(Asked(str(saved(tmp_path, frame))))


def test_without_the_library_it_is_said_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(Refused, match=r"pip install 'ciflow\[zstd\]'"):
        bill(Asked(str(saved(tmp_path, b"\x28\xb5\x2f\xfd and more"))))


# A daemon's own images


@pytest.mark.slow
def test_an_image_of_a_real_daemon_is_what_a_container_of_it_would_see(
    docker: Docker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two layers that the daemon itself made: one imported, one of a container that removed and added."""
    if not Path("/usr/share/doc/busybox-static").is_dir():
        pytest.skip("busybox-static is not installed: make parts")
    thing = "opt/Thing-4.dist-info/METADATA"
    (tmp_path / "base.tar").write_bytes(tar_of({
        "etc/os-release": b"ID=alpine\nVERSION_ID=3.19.1\n", "lib/apk/db/installed": ALPINE.encode(),
        thing: b"Metadata-Version: 2.1\nName: Thing\nVersion: 4\n",
        "bin/busybox": Path("/bin/busybox").read_bytes(),
    }, mode=0o755))  # fmt: skip
    name = f"registry.example/team/listed-{tmp_path.name}:3".lower()
    docker.cli("import", str(tmp_path / "base.tar"), f"{name}-base")
    to = "/srv/Other-5.dist-info"
    change = f"busybox rm -r /opt/Thing-4.dist-info; busybox mkdir -p {to}; busybox cp /etc/said {to}/METADATA"
    (tmp_path / "said").write_text("Metadata-Version: 2.1\nName: Other\nVersion: 5\n")
    argv = ("/bin/busybox", "sh", "-c", f"PATH=/bin; {change}")
    made = docker.cli("create", "--network", "none", f"{name}-base", *argv)
    try:
        docker.cli("cp", str(tmp_path / "said"), f"{made}:/etc/said")
        docker.cli("start", "-a", made)
        docker.cli("commit", made, name)
    finally:
        docker.cli("rm", "-f", made)
    monkeypatch.setenv("DOCKER_HOST", docker.host)
    bom = bill(Asked(f"docker:{name}"))
    assert {one.name for one in bom.components} == {
        "alpine", "alpine-baselayout", "musl", "busybox", "busybox-binsh", "Other",
    }  # fmt: skip
    image_id = docker.cli("image", "inspect", "--format", "{{.Id}}", name)
    assert bom.subject.hash("SHA-256") == image_id.removeprefix("sha256:")
    assert bom.subject.purl == f"pkg:docker/{name.replace(':', '@')}"
    docker.cli("rmi", "-f", name, f"{name}-base")
    with pytest.raises(NoSuch, match="docker saves no image"):
        bill(Asked(f"docker:{name}"))
