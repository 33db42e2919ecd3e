"""Random Rust workspaces that change at random. What lies on disk always follows from values, so that a rename, a move
or a removal is one change of a value. All of it compiles at any time, with std and two tiny crates from elsewhere."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

File = tuple[str, str]  # the crate whose folder holds it ("" for the workspace), and the path from there


@dataclass
class Crate:
    """`deps` and `dev` name crates that are older, each with the features it wants. `reads` are what `include_str!`
    takes; `script` None, or what its build script watches (nothing: cargo then watches all)."""

    folder: str
    age: int
    deps: dict[str, list[str]] = field(default_factory=dict)
    dev: dict[str, list[str]] = field(default_factory=dict)
    tiny: list[str] | None = None  # features of the crate from elsewhere
    modules: dict[str, int] = field(default_factory=dict)
    tests: dict[str, int] = field(default_factory=dict)
    data: dict[str, str] = field(default_factory=dict)
    reads: list[File] = field(default_factory=list)
    script: list[File] | None = None
    links: dict[str, File] = field(default_factory=dict)  # modules that are symbolic links
    number: int = 0
    patch: int = 0
    default: bool = False


class Workspace:
    """A checkout, with a CARGO_HOME of its own beside it that knows the two crates from elsewhere."""

    def __init__(self, folder: Path, random: Random) -> None:
        self.root, self.random = folder / "project", random
        self.crates: dict[str, Crate] = {}
        self.data: dict[str, str] = {"shared.txt": "a", "notes.md": "b"}
        self.flags = self.optimised = 0
        self.age = 0
        self.env = {**os.environ, "CARGO_HOME": str(folder / "cargo"), "CARGO_NET_OFFLINE": "true"}
        vendor(folder)
        self.root.mkdir()
        self.run("git", "init", "-q", "-b", "main")
        for _ in range(7):
            self.add_crate()
        for _ in range(25):
            self.change()
        self.write()
        self.commit()

    def run(self, *words: str, ok: bool = True) -> str:
        who = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "gc.auto=0") if words[0] == "git" else ()
        argv = (words[0], *who, *words[1:])
        done = subprocess.run(argv, cwd=self.root, env=self.env, capture_output=True, text=True, check=False)
        assert done.returncode == 0 or not ok, f"{argv}: {done.stderr}"
        return done.stdout

    def commit(self) -> None:
        self.run("cargo", "update", "--workspace", "-q")
        self.run("git", "add", "-A")
        self.run("git", "commit", "-q", "--allow-empty", "-m", "as it is")

    # --- on disk -----------------------------------------------------------------------------------------------

    def write(self) -> None:
        """What the values say, touching only what differs."""
        wanted = dict(self._files())
        links = {self._path((name, f"src/{module}.rs")): os.path.relpath(self._path(file), f"{crate.folder}/src")
                 for name, crate in self.crates.items() for module, file in crate.links.items()}  # fmt: skip
        for path in self._present():
            if path not in wanted and path not in links:
                (self.root / path).unlink()
                self._tidy(Path(path).parent)
        for path, leads in links.items():
            place = self.root / path
            if not place.is_symlink() or str(place.readlink()) != leads:
                place.unlink(missing_ok=True)
                place.parent.mkdir(parents=True, exist_ok=True)
                place.symlink_to(leads)
        for path, text in wanted.items():
            place = self.root / path
            if place.is_symlink() or not place.exists() or place.read_text() != text:
                place.unlink(missing_ok=True)
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_text(text)

    def _tidy(self, folder: Path) -> None:
        """Folders with nothing in them, which git would not keep either."""
        while folder.parts and not any((self.root / folder).iterdir()):
            (self.root / folder).rmdir()
            folder = folder.parent

    def _present(self) -> Iterator[str]:
        for folder, folders, files in os.walk(self.root):
            folders[:] = [one for one in folders if one not in (".git", "target")]
            yield from (os.path.relpath(f"{folder}/{one}", self.root) for one in files if one != "Cargo.lock")

    def _files(self) -> Iterator[tuple[str, str]]:
        level = f"[profile.dev]\nopt-level = {self.optimised}\n" if self.optimised else ""
        # Members are listed by patterns, so that most changes leave the workspace's own manifest alone.
        inner = ', "crates/*/inner"' if any(crate.folder.endswith("/inner") for crate in self.crates.values()) else ""
        yield "Cargo.toml", f'[workspace]\nresolver = "2"\nmembers = ["crates/*"{inner}]\n{level}'
        yield ".gitignore", "/target\n"
        if self.flags:
            yield ".cargo/config.toml", f'[build]\nrustflags = ["--cfg", "flag{self.flags}"]\n'
        yield from self.data.items()
        for name, crate in self.crates.items():
            for path, text in self._of(name, crate):
                yield self._path((name, path)), text

    def _path(self, file: File) -> str:
        owner, path = file
        return os.path.normpath(f"{self.crates[owner].folder}/{path}") if owner else path

    def _of(self, name: str, crate: Crate) -> Iterator[tuple[str, str]]:
        def here(file: File, folder: str = "") -> str:
            return os.path.relpath(self._path(file), f"{crate.folder}/{folder}")

        used = [*sorted(crate.deps), *(["tiny"] if crate.tiny is not None else [])]
        lines = [f"pub use {one};" for one in used]
        lines += [f"pub mod {one};" for one in sorted({**crate.modules, **crate.links})]
        lines += [f'pub const READ{n}: &str = include_str!("{here(one, "src")}");' for n, one in enumerate(crate.reads)]
        yield "src/lib.rs", "\n".join([*lines, f"pub const NUMBER: u32 = {crate.number};\n"])
        yield "Cargo.toml", self._manifest(name, crate)
        for module, value in crate.modules.items():
            yield f"src/{module}.rs", f"pub const VALUE: u32 = {value};\n"
        for test, value in crate.tests.items():
            yield f"tests/{test}.rs", f"#[test] fn works() {{ assert_eq!({value}, {value}); }}\n"
        yield from crate.data.items()
        if crate.script is not None:
            watched = [f'    println!("cargo::rerun-if-changed={here(one)}");\n' for one in crate.script]
            yield "build.rs", f"fn main() {{\n{''.join(watched)}}}\n"

    def _manifest(self, name: str, crate: Crate) -> str:
        def needs(table: str, wanted: Mapping[str, list[str]]) -> str:
            places = {one: os.path.relpath(self.crates[one].folder, crate.folder) for one in wanted}
            return "".join(
                f"[{table}.{one}]\npath = {json.dumps(places[one])}\nfeatures = {json.dumps(features)}\n"
                for one, features in sorted(wanted.items())
            )

        tiny = f'[dependencies.tiny]\nversion = "1"\nfeatures = {json.dumps(crate.tiny)}\n'
        tiny = tiny if crate.tiny is not None else ""
        return (
            f'[package]\nname = "{name}"\nversion = "1.0.{crate.patch}"\nedition = "2021"\n'
            f"[features]\ndefault = {json.dumps(['extra'] if crate.default else [])}\nextra = []\nmore = []\n"
            f"{needs('dependencies', crate.deps)}{needs('dev-dependencies', crate.dev)}{tiny}"
        )

    # --- changes -----------------------------------------------------------------------------------------------

    def change(self) -> str:
        """One change at random; in words."""
        while True:
            name = self.random.choice(sorted(self.crates))
            kind = self.random.choice(CHANGES)
            if getattr(self, kind)(name, self.crates[name]):
                return f"{kind} {name}"

    def _new(self) -> int:
        self.age += 1
        return self.age

    def _some_file(self) -> File:
        files = [(name, path) for name, crate in self.crates.items() for path in crate.data]
        return self.random.choice([*files, *(("", path) for path in self.data)])

    def add_crate(self, _name: str = "", _crate: Crate | None = None) -> bool:
        age = self._new()
        folder = f"crates/c{age}"
        if self.crates and self.random.random() < 0.2:
            outer = self.random.choice(sorted(self.crates))
            inner = f"{self.crates[outer].folder}/inner"
            taken = {one.folder for one in self.crates.values()}
            folder = inner if inner.count("/") == 2 and inner not in taken else folder
        self.crates[f"c{age}"] = Crate(folder, age, modules={f"m{age}": 0}, data={f"d{age}.txt": "a"})
        return True

    def remove_crate(self, name: str, crate: Crate) -> bool:
        inner = any(one.folder.startswith(crate.folder + "/") for one in self.crates.values())
        if len(self.crates) < 6 or inner:
            return False
        del self.crates[name]
        for other in self.crates.values():
            other.deps.pop(name, None)
            other.dev.pop(name, None)
            self._forget(other, lambda file: file[0] == name)
        return True

    def _forget(self, crate: Crate, gone: Callable[[File], bool]) -> None:
        crate.reads = [file for file in crate.reads if not gone(file)]
        crate.links = {module: file for module, file in crate.links.items() if not gone(file)}
        if crate.script is not None:
            crate.script = [file for file in crate.script if not gone(file)]

    def move_crate(self, _name: str, crate: Crate) -> bool:
        if any(one.folder.startswith(crate.folder + "/") for one in self.crates.values()):
            return False
        crate.folder = f"crates/f{self._new()}"
        return True

    def edit(self, _name: str, crate: Crate) -> bool:
        crate.number = self._new()
        return True

    def edit_module(self, _name: str, crate: Crate) -> bool:
        if crate.modules:
            crate.modules[self.random.choice(sorted(crate.modules))] = self._new()
        return bool(crate.modules)

    def add_module(self, _name: str, crate: Crate) -> bool:
        crate.modules[f"m{self._new()}"] = 0
        return True

    def remove_module(self, name: str, crate: Crate) -> bool:
        if not crate.modules:
            return False
        self._drop(name, self.random.choice(sorted(crate.modules)))
        return True

    def move_module(self, name: str, crate: Crate) -> bool:
        """Into another crate."""
        other = self.random.choice(sorted(self.crates))
        if not crate.modules or other == name:
            return False
        moved = self.random.choice(sorted(crate.modules))
        value = crate.modules[moved]
        self.crates[other].links.pop(moved, None)
        self._drop(name, moved)
        self.crates[other].modules[moved] = value
        return True

    def _drop(self, name: str, module: str) -> None:
        del self.crates[name].modules[module]
        for other in self.crates.values():
            self._forget(other, lambda file: file == (name, f"src/{module}.rs"))

    def link_module(self, name: str, crate: Crate) -> bool:
        files = [(one, f"src/{module}.rs") for one, c in self.crates.items() for module in c.modules if one != name]
        if not files:
            return False
        crate.links[f"l{self._new()}"] = self.random.choice(files)
        return True

    def edit_test(self, _name: str, crate: Crate) -> bool:
        crate.tests[self.random.choice([*crate.tests, f"t{self.age}"])] = self._new()
        return True

    def edit_data(self, _name: str, _crate: Crate) -> bool:
        file = self._some_file()
        owner, path = file
        (self.crates[owner].data if owner else self.data)[path] = str(self._new())
        return True

    def add_data(self, _name: str, crate: Crate) -> bool:
        crate.data[f"d{self._new()}.txt"] = "a"
        return True

    def move_data(self, name: str, crate: Crate) -> bool:
        other = self.random.choice(sorted(self.crates))
        if not crate.data or other == name:
            return False
        moved = self.random.choice(sorted(crate.data))
        self.crates[other].data[moved] = crate.data.pop(moved)
        old, new = (name, moved), (other, moved)
        for one in self.crates.values():
            one.reads = [new if file == old else file for file in one.reads]
            if one.script is not None:
                one.script = [new if file == old else file for file in one.script]
        return True

    def read_data(self, _name: str, crate: Crate) -> bool:
        file = self._some_file()
        crate.reads.append(file)
        return True

    def stop_reading(self, _name: str, crate: Crate) -> bool:
        return bool(crate.reads and crate.reads.pop())

    def script(self, _name: str, crate: Crate) -> bool:
        file = self._some_file()
        crate.script = self.random.choice([None, [], [file]])
        return True

    def need(self, _name: str, crate: Crate) -> bool:
        older = [one for one, c in self.crates.items() if c.age < crate.age]
        if not older:
            return False
        table = self.random.choice([crate.deps, crate.deps, crate.dev])
        table[self.random.choice(older)] = self.random.choice([[], ["extra"], ["extra", "more"]])
        return True

    def need_no_more(self, _name: str, crate: Crate) -> bool:
        if crate.deps:
            del crate.deps[self.random.choice(sorted(crate.deps))]
        return True

    def features(self, _name: str, crate: Crate) -> bool:
        crate.default = not crate.default
        return True

    def release(self, _name: str, crate: Crate) -> bool:
        crate.patch += 1
        return True

    def need_tiny(self, _name: str, crate: Crate) -> bool:
        crate.tiny = self.random.choice([None, [], ["extra"]])
        return True

    def update_tiny(self, _name: str, _crate: Crate) -> bool:
        """The lock file alone changes."""
        if not any(crate.tiny is not None for crate in self.crates.values()) or not (self.root / "Cargo.toml").exists():
            return False
        self.run("cargo", "update", "-q", "tiny", "--precise", self.random.choice(sorted(VERSIONS)), ok=False)
        return True

    def whole(self, _name: str, _crate: Crate) -> bool:
        """What settles how everything is built; rarely, for all is rebuilt then."""
        if self.random.random() < 0.9:
            return False
        if self.random.random() < 0.5:
            self.flags = self._new()
        else:
            self.optimised = 1 - self.optimised
        return True


CHANGES = (
    "add_crate", "remove_crate", "move_crate", "edit", "edit", "edit_module", "edit_module", "add_module",
    "remove_module", "move_module", "link_module", "edit_test", "edit_test", "edit_data", "edit_data", "edit_data",
    "edit_data", "add_data", "move_data", "read_data", "read_data", "stop_reading", "script", "script", "need", "need",
    "need_no_more", "features", "release", "need_tiny", "update_tiny", "update_tiny", "whole",
)  # fmt: skip
VERSIONS = {
    "1.0.0": "",
    "1.0.1": '[dependencies.tinier]\nversion = "1"\n',
    "1.0.2": '[dependencies.tinier]\nversion = "1"\nfeatures = ["extra"]\n',
}


def vendor(folder: Path) -> None:
    """Crates from elsewhere: a directory that stands in for the registry (the Cargo book, "Source Replacement")."""
    home = folder / "cargo"
    home.mkdir(parents=True)
    source = f'[source.crates-io]\nreplace-with = "here"\n[source.here]\ndirectory = "{folder}/vendor"\n'
    (home / "config.toml").write_text(source)
    for version, needs in VERSIONS.items():
        _vendored(folder / "vendor" / f"tiny-{version}", "tiny", version, needs)
    _vendored(folder / "vendor" / "tinier", "tinier", "1.0.0", "")


def _vendored(folder: Path, name: str, version: str, needs: str) -> None:
    files = {
        "Cargo.toml": f'[package]\nname = "{name}"\nversion = "{version}"\nedition = "2021"\n'
        f"[features]\nextra = []\n{needs}",
        "src/lib.rs": "pub const NUMBER: u32 = 1;\n",
    }
    sums = {path: hashlib.sha256(text.encode()).hexdigest() for path, text in files.items()}
    package = hashlib.sha256(f"{name} {version}".encode()).hexdigest()
    files[".cargo-checksum.json"] = json.dumps({"files": sums, "package": package})
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
