"""Folders, programs and images: what is found is what the ecosystem's own tools say is there."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import shutil
import subprocess
import tarfile
import zlib
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path

import pytest

from ciflow.cli.sbom_subject import Asked, bill
from ciflow.diagnostics import Refused
from ciflow.supply import image, npm_lock, programs
from ciflow.supply.errors import DocumentError
from ciflow.supply.image import Image
from ciflow.supply.model import Bom, Kind, Scope
from ciflow.supply.python_env import normal
from ciflow.supply.wanted import Asking, Entry, T, Wanted


def purls(bom: Bom) -> set[str]:
    return {str(component.purl) for component in bom.components}


def needs(bom: Bom) -> set[tuple[str, str]]:
    names = {component.ref: component.name for component in bom.everything()}
    return {(names[relation.source], names[relation.target]) for relation in bom.relations}


# Python


def test_a_python_environment_lists_what_importlib_sees() -> None:
    site = Path(metadata.distribution("pytest").locate_file(""))  # type: ignore[arg-type]
    bom = bill(Asked(str(site)))
    theirs = {(normal(d.metadata["Name"]), d.version) for d in metadata.distributions(path=[str(site)])}
    python = [c for c in bom.components if str(c.purl).startswith("pkg:pypi/")]
    ours = {(normal(c.name), c.version) for c in python if any("/" not in path for _, path in c.properties)}
    assert ours == theirs, "and besides, what packages bring along in folders of their own"
    assert ("pytest", "pluggy") in needs(bom)


def test_a_need_of_an_extra_is_no_need(tmp_path: Path) -> None:
    one = "Requires-Dist: two (>=1)\nRequires-Dist: three; extra == 'all'"
    for name, rest in (("One", one), ("two", ""), ("three", "")):
        folder = tmp_path / f"{name}-1.dist-info"
        folder.mkdir()
        head = f"Metadata-Version: 2.4\nName: {name}\nVersion: 1\nLicense-Expression: mit\n"
        (folder / "METADATA").write_text(f"{head}{rest}\n")
    bom = bill(Asked(str(tmp_path), name="env"))
    assert needs(bom) == {("env", "One"), ("One", "two"), ("env", "three")}
    assert {c.licence for c in bom.components} == {"MIT"}


def test_a_version_that_a_package_brings_along_stands_beside_the_one_that_is_installed(tmp_path: Path) -> None:
    for place, name, version, rest in (
        ("site", "tool", "1", "Requires-Dist: zipp"),
        ("site", "zipp", "4", ""),
        ("site/tool/_vendor", "zipp", "3", ""),
        ("site/tool/_vendor", "helper", "2", "Requires-Dist: zipp"),
    ):
        folder = tmp_path / place / f"{name}-{version}.dist-info"
        folder.mkdir(parents=True)
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{rest}\n")
    bom = bill(Asked(str(tmp_path), name="env"))
    pairs = {(r.source, r.target) for r in bom.relations}
    assert {("pkg:pypi/tool@1", "pkg:pypi/zipp@4"), ("pkg:pypi/helper@2", "pkg:pypi/zipp@3")} <= pairs


# npm: where Node looks for a module, https://nodejs.org/api/modules.html#loading-from-node_modules-folders

LOCK = {
    "name": "site",
    "version": "1.0.0",
    "lockfileVersion": 3,
    "packages": {
        "": {"name": "site", "version": "1.0.0", "dependencies": {"a": "^1", "@scope/b": "^2"},
             "devDependencies": {"tester": "*"}},
        "node_modules/a": {"version": "1.1.0", "dependencies": {"c": "^1"}, "license": "MIT",
                           "resolved": "https://registry.example/a/-/a-1.1.0.tgz",
                           "integrity": "sha512-" + base64.b64encode(hashlib.sha512(b"abc").digest()).decode()},
        "node_modules/c": {"version": "2.0.0"},
        "node_modules/a/node_modules/c": {"version": "1.0.0"},
        "node_modules/@scope/b": {"version": "2.0.0", "dependencies": {"c": "^2"}},
        "node_modules/tester": {"version": "9.0.0", "dev": True},
        "packages/own": {"version": "1.0.0"},
        "node_modules/own": {"resolved": "packages/own", "link": True},
    },
}  # fmt: skip


def test_npm_resolves_each_need_as_node_does(tmp_path: Path) -> None:
    (tmp_path / "package-lock.json").write_text(json.dumps(LOCK))
    bom = bill(Asked(str(tmp_path), name="folder"))
    assert purls(bom) == {
        "pkg:npm/site@1.0.0", "pkg:npm/a@1.1.0", "pkg:npm/c@1.0.0", "pkg:npm/c@2.0.0", "pkg:npm/%40scope/b@2.0.0",
        "pkg:npm/tester@9.0.0",
    }  # fmt: skip
    pairs = {(r.source, r.target) for r in bom.relations}
    assert ("pkg:npm/a@1.1.0", "pkg:npm/c@1.0.0") in pairs
    assert ("pkg:npm/%40scope/b@2.0.0", "pkg:npm/c@2.0.0") in pairs
    assert ("pkg:npm/a@1.1.0", "pkg:npm/c@2.0.0") not in pairs
    a = next(c for c in bom.components if c.name == "a")
    assert a.hash("SHA-512") == hashlib.sha512(b"abc").hexdigest()
    assert {c.name for c in bom.components if c.scope is Scope.EXCLUDED} == {"tester"}


def test_the_first_version_of_npms_lock_nests_what_later_ones_say_by_paths() -> None:
    old = {"name": "site", "version": "1.0.0", "lockfileVersion": 1, "dependencies": {
        "a": {"version": "1.0.0", "requires": {"c": "^1"}, "dependencies": {"c": {"version": "1.0.0"}}},
        "c": {"version": "2.0.0"}}}  # fmt: skip
    parts, relations = npm_lock.packages(json.dumps(old).encode())
    listed = [f"{part.name}@{part.version}" for part in parts]
    assert listed == ["site@1.0.0", "a@1.0.0", "c@1.0.0", "c@2.0.0"]
    assert [(r.source, r.target) for r in relations] == [("pkg:npm/a@1.0.0", "pkg:npm/c@1.0.0")]


# Debian

STATUS = """\
Package: app
Status: install ok installed
Maintainer: A. Maker <a@example.org>
Architecture: amd64
Source: app-src (2:1.0-1)
Version: 2:1.0-1+b1
Depends: libc6 (>= 2.3), mail-agent | exim4, missing
Description: an app
 with more words

Package: libc6
Status: install ok installed
Architecture: amd64
Version: 2.36-9

Package: postfix
Status: install ok installed
Architecture: amd64
Version: 3.7
Provides: mail-agent, other

Package: gone
Status: deinstall ok config-files
Architecture: all
Version: 1
"""
RELEASE = 'ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Debian GNU/Linux 12"\n'


def debian(root: Path) -> None:
    (root / "var/lib/dpkg").mkdir(parents=True)
    (root / "etc").mkdir()
    (root / "var/lib/dpkg/status").write_text(STATUS)
    (root / "etc/os-release").write_text(RELEASE)


def test_debian_packages_are_those_that_are_installed_with_what_provides_their_needs(tmp_path: Path) -> None:
    debian(tmp_path)
    bom = bill(Asked(str(tmp_path), name="root"))
    assert purls(bom) == {
        "pkg:generic/debian@12",
        "pkg:deb/debian/app@2:1.0-1%2Bb1?arch=amd64&distro=debian-12",
        "pkg:deb/debian/libc6@2.36-9?arch=amd64&distro=debian-12",
        "pkg:deb/debian/postfix@3.7?arch=amd64&distro=debian-12",
    }
    assert needs(bom) == {("root", "debian"), ("root", "app"), ("app", "libc6"), ("app", "postfix")}
    app = next(c for c in bom.components if c.name == "app")
    assert ("deb:source", "app-src 2:1.0-1") in app.properties


def test_this_machines_packages_are_those_that_dpkg_lists(tmp_path: Path) -> None:
    status = Path("/var/lib/dpkg/status")
    if shutil.which("dpkg-query") is None or not status.exists():
        pytest.skip("dpkg-query says what is right; this machine has none")
    (tmp_path / "var/lib/dpkg").mkdir(parents=True)
    shutil.copy(status, tmp_path / "var/lib/dpkg/status")
    argv = ["dpkg-query", "-W", "-f", "${db:Status-Status} ${Package} ${Version}\n"]
    said = subprocess.run(argv, check=True, capture_output=True, text=True).stdout.splitlines()
    theirs = {tuple(line.split()[1:]) for line in said if line.startswith("installed ")}
    assert {(c.name, c.version) for c in bill(Asked(str(tmp_path))).components} == theirs


# Programs


def rust_program(folder: Path, content: bytes) -> Path:
    """A real program with that section, as the linker makes it of what cargo-auditable hands on."""
    if shutil.which("rustc") is None:
        pytest.skip("rustc links the program of this test")
    (folder / "list.bin").write_bytes(content)
    section = f'static L: [u8; {len(content)}] = *include_bytes!("list.bin");'
    (folder / "main.rs").write_text(f'#[used] #[unsafe(link_section = ".dep-v0")] {section}\nfn main() {{}}\n')
    argv = ["rustc", "--edition", "2024", "-o", str(folder / "server"), str(folder / "main.rs")]
    subprocess.run(argv, check=True, cwd=folder, capture_output=True, timeout=120)
    return folder / "server"


AUDITED = {"packages": [
    {"name": "alpha", "version": "1.2.3", "source": "crates.io"},
    {"name": "builder", "version": "1.0.0", "source": "crates.io", "kind": "build", "dependencies": [0]},
    {"name": "delta", "version": "0.1.0", "source": "git"},
    {"name": "server", "version": "2.0.0", "source": "local", "dependencies": [0, 1, 2], "root": True},
]}  # fmt: skip


def test_a_rust_program_says_what_it_was_built_of(tmp_path: Path) -> None:
    path = rust_program(tmp_path, zlib.compress(json.dumps(AUDITED).encode()))
    bom = bill(Asked(str(path)))
    assert (bom.subject.name, bom.subject.version, bom.subject.kind) == ("server", "2.0.0", Kind.APPLICATION)
    assert bom.subject.hash("SHA-512") == hashlib.sha512(path.read_bytes()).hexdigest()
    assert bom.subject.file is not None and bom.subject.file.filename == "server"
    assert {(c.name, c.scope.value) for c in bom.components} == {
        ("alpha", "required"), ("builder", "excluded"), ("delta", "required")}  # fmt: skip
    assert needs(bom) == {("server", "alpha"), ("server", "builder"), ("server", "delta"), ("builder", "alpha")}
    in_folder = bill(Asked(str(tmp_path)))
    assert ("server", "alpha") in needs(in_folder)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (zlib.compress(b'{"packages": [' + b" " * 40_000_000 + b"]}"), "unpacks to more than"),
        (zlib.compress(json.dumps(AUDITED).encode())[:-8], "it is cut"),
        (b"no zlib at all", "incorrect header"),
        (zlib.compress(b'{"packages": []}'), "0 packages are the root"),
        (zlib.compress(json.dumps(AUDITED).replace("[0]", "[7]").encode()), "7 is no package"),
    ],
)
def test_a_list_that_is_damaged_or_a_bomb_is_refused(content: bytes, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def sections(_entry: Entry, _names: object) -> Asking[dict[str, bytes]]:
        yield Wanted("p", 0, 0)
        return {programs.RUST: content}

    monkeypatch.setattr(programs, "sections", sections)
    with pytest.raises(DocumentError, match=why):
        answered(programs.inside(Entry("p", 0, True)), lambda _: b"")


def answered(asking: Asking[T], read: Callable[[Wanted], bytes]) -> T:
    wanted = next(asking)
    while True:
        try:
            wanted = asking.send(read(wanted))
        except StopIteration as end:
            result: T = end.value
            return result


def test_a_go_program_says_what_it_was_built_of(tmp_path: Path) -> None:
    if shutil.which("go") is None:
        pytest.skip("go builds the program of this test")
    for path, text in {
        "go.mod": "module example.org/hello\ngo 1.21\nrequire example.org/lib v1.2.3\n"
        "replace example.org/lib => ./lib\n",
        "main.go": 'package main\nimport "example.org/lib"\nfunc main() { println(lib.F()) }\n',
        "lib/go.mod": "module example.org/lib\n",
        "lib/lib.go": "package lib\nfunc F() int { return 1 }\n",
    }.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)
    build = ["go", "build", "-o", "hello", "."]
    alone = {"GOPROXY": "off", "GOTOOLCHAIN": "local", "GOFLAGS": "-mod=mod"}
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), **alone}
    go = str(shutil.which("go"))
    subprocess.run([go, *build[1:]], cwd=tmp_path, check=True, capture_output=True, timeout=300, env=environment)
    said = subprocess.run([go, "version", "hello"], cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    bom = bill(Asked(str(tmp_path / "hello")))
    assert bom.subject.purl == "pkg:golang/example.org/hello"
    assert purls(bom) == {"pkg:golang/example.org/lib", f"pkg:golang/stdlib@{said.split('go')[-1].strip()}"}


def test_a_program_that_says_nothing_is_refused_with_what_to_do() -> None:
    with pytest.raises(Refused, match="does not say what it was built of"):
        bill(Asked(str(shutil.which("true"))))


@pytest.mark.parametrize("end", [4, 20, 63, 64, 100, 1000])
def test_a_program_that_was_cut_is_refused(tmp_path: Path, end: int) -> None:
    whole = Path(str(shutil.which("true"))).read_bytes()
    (tmp_path / "cut").write_bytes(whole[:end])
    with pytest.raises(Refused):
        bill(Asked(str(tmp_path / "cut")))


# Images


def tar_of(files: Mapping[str, bytes | tarfile.TarInfo]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in files.items():
            if isinstance(content, tarfile.TarInfo):
                tar.addfile(content)
            else:
                info = tarfile.TarInfo(name)
                info.size, info.mode = len(content), 0o755
                tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def saved(layers: Mapping[str, bytes], config: bytes = b'{"architecture": "amd64", "os": "linux"}') -> bytes:
    manifest = [{"Config": "config.json", "RepoTags": ["registry.example/team/app:3"], "Layers": list(layers)}]
    return tar_of({"manifest.json": json.dumps(manifest).encode(), "config.json": config, **layers})


def image_bill(tmp_path: Path, archive: bytes) -> Bom:
    (tmp_path / "image.tar").write_bytes(archive)
    return bill(Asked(str(tmp_path / "image.tar")))


def test_an_image_is_what_its_last_layer_leaves(tmp_path: Path) -> None:
    base = tar_of({
        "./etc/os-release": RELEASE.encode(), "var/lib/dpkg/status": STATUS.encode(),
        "old/package-lock.json": json.dumps(LOCK).encode(), "gone/package-lock.json": json.dumps(LOCK).encode(),
    })  # fmt: skip
    site = b"Metadata-Version: 2.1\nName: Thing\nVersion: 4\n"
    top = tar_of({"opt/Thing-4.dist-info/METADATA": site, "old/.wh..wh..opq": b"", ".wh.gone": b""})
    bom = image_bill(tmp_path, saved({"base/layer.tar": base, "top/layer.tar": gzip.compress(top)}))
    assert (bom.subject.kind, bom.subject.version) == (Kind.CONTAINER, "3")
    assert bom.subject.purl == "pkg:docker/registry.example/team/app@3"
    image_id = hashlib.sha256(b'{"architecture": "amd64", "os": "linux"}').hexdigest()
    assert bom.subject.hash("SHA-256") == image_id
    assert {c.name for c in bom.components} == {"debian", "app", "libc6", "postfix", "Thing"}


def test_a_hard_link_is_the_file_it_leads_to(tmp_path: Path) -> None:
    link = tarfile.TarInfo("usr/lib/os-release")
    link.type, link.linkname = tarfile.LNKTYPE, "etc/os-release"
    layer = tar_of({"etc/os-release": RELEASE.encode(), "link": link})
    (tmp_path / "image.tar").write_bytes(saved({"l": layer}))
    with (tmp_path / "image.tar").open("rb") as file, Image(file, "image") as opened:
        assert {entry.path: entry.size for entry in opened.entries()}["usr/lib/os-release"] == len(RELEASE)
        assert opened.read(Wanted("usr/lib/os-release", 0, 9)) == b"ID=debian"


def test_no_byte_of_an_image_gets_onto_the_disk_by_its_name(tmp_path: Path) -> None:
    before = sorted(tmp_path.iterdir())
    with pytest.raises(Refused, match=r"base: '\.\./\.\./escaped' leads out of the image"):
        image_bill(tmp_path, saved({"base": tar_of({"../../escaped": b"x"})}))
    link = tarfile.TarInfo("x")
    link.type, link.linkname = tarfile.LNKTYPE, "../../../etc/passwd"
    with pytest.raises(Refused, match="leads out of the image"):
        image_bill(tmp_path, saved({"base": tar_of({"x": link})}))
    assert [path.name for path in sorted(tmp_path.iterdir())] == [*(path.name for path in before), "image.tar"]


def test_a_link_to_a_file_of_this_machine_is_not_followed(tmp_path: Path) -> None:
    link = tarfile.TarInfo("etc/os-release")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/os-release"
    assert image_bill(tmp_path, saved({"base": tar_of({"etc/os-release": link})})).components == ()


def test_a_layer_that_unpacks_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image, "MOST_UNPACKED", 10_000_000)
    bomb = gzip.compress(bytes(30_000_000))
    with pytest.raises(Refused, match="bomb: it unpacks to more than"):
        image_bill(tmp_path, saved({"bomb": bomb}))


@pytest.mark.parametrize(
    ("archive", "why"),
    [
        (tar_of({"x": b""}), "manifest.json is not in the archive"),
        (tar_of({"manifest.json": b"[]"}), "0 images are in one archive"),
        (tar_of({"manifest.json": b'[{"Config": "c", "Layers": []}]'}), "c is not in the archive"),
        (saved({"l": b"\x28\xb5\x2f\xfd and more"}), "image: l: "),
        (saved({"l": b"no tar"}), "image.tar: image: "),
        (saved({"l": gzip.compress(tar_of({"a": b"x" * 5000}))[:-900]}), "image.tar: "),
        (saved({"l": tar_of({"etc/os-release": b"ID=debian"})})[:3000], "image.tar: "),
    ],
)
def test_an_image_that_is_damaged_is_refused_with_the_place(tmp_path: Path, archive: bytes, why: str) -> None:
    with pytest.raises(Refused, match=why):
        image_bill(tmp_path, archive)


def test_a_folder_is_listed_alike_wherever_it_lies(tmp_path: Path) -> None:
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
        debian(tmp_path / name)
    assert bill(Asked(str(tmp_path / "here"), name="x")) == bill(Asked(str(tmp_path / "there"), name="x"))
