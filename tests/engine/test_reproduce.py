"""`reproduce` on builds that were made to differ, each for one reason: the reason is found, and its fix mends it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ciflow.modules.files import keyfile
from ciflow.supply.keys import generate
from tests.engine.playing import Bench
from tests.parts.sshd import Sshd

MAIN = '#include <stdio.h>\nint main(void) { puts("hello"); return 0; }\n'
CARGO = '[package]\nname = "app"\nversion = "1.0.0"\nedition = "2021"\n'
CARGO_BUILD = "cargo build --release --offline -q"
BUILT = "target/release/app"


def reproduced(
    bench: Bench, files: Mapping[str, str], command: str, output: str, vary: str, **more: str
) -> dict[str, Any]:
    """What `reproduce` tells of a folder with these files."""
    shutil.rmtree(bench.folder / "source", ignore_errors=True)
    (bench.folder / "source").mkdir()
    for name, content in files.items():
        path = bench.folder / "source" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    workdir = more.pop("workdir", "{here}/out")
    said = "".join(f"        {name}: {value}\n" for name, value in more.items())
    run = bench.play(f"""
- name: Reproduce
  hosts: localhost
  tasks:
    - name: Reproduce
      reproduce:
        chdir: {{here}}/source
        command: |
          {command}
        outputs: [{output}]
        vary: [{vary}]
        required: false
        workdir: {workdir}
{said}""")
    assert run.exit == 0, run.msg("Reproduce")
    return run.outcome("Reproduce")


def needs(*programs: str) -> None:
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")


def cause(told: Mapping[str, Any]) -> dict[str, Any]:
    """The one cause of a build that differs."""
    assert not told["reproducible"]
    (found,) = told["causes"]
    return dict(found)


def test_a_build_that_depends_on_nothing_is_reproducible(bench: Bench) -> None:
    everything = "path, home, user, timezone, locale, umask, jobs, files"
    told = reproduced(bench, {"a": "x"}, "tr x y < a > b", "b", everything)
    assert told["reproducible"] and told["causes"] == []
    assert [one["name"] for one in told["files"]] == ["b"]


def test_the_least_that_breaks_it_is_found_among_all_variations(bench: Bench) -> None:
    everything = "path, home, user, timezone, locale, umask, jobs, files"
    told = reproduced(bench, {"a": "x"}, "date -d @0 > b", "b", everything, try_fix="true")
    assert told["smallest_variation"] == ["timezone"] and cause(told)["kind"] == "timezone"
    assert cause(told)["before"] == "export TZ=UTC" and told["fixed"]


# name: (files, command, output, variations, class, how it is mended when no line before the build does)
EXAMPLES = {
    "debug information": ({"main.c": MAIN}, "cc $CFLAGS -g -o prog main.c", "prog", "path", "path", None),
    "time in a program": (
        {"main.c": MAIN.replace('"hello"', "__DATE__ __TIME__")}, "cc -o prog main.c", "prog", "path", "time", None,
    ),
    "time in a text": ({}, 'date +%s > out', "out", "umask", "time", ("date +%s", "echo 0")),
    "time in a tar": ({}, "touch a; tar cf out.tar a", "out.tar", "home", "time", ("cf", "--mtime=@0 -cf")),
    "identity": (
        {"main.c": MAIN}, "cc -o prog main.c -Wl,--build-id=uuid $LDFLAGS", "prog", "home", "build-id", None,
    ),
    "jobs": (
        {}, "seq 3 | xargs -P$JOBS -I N sh -c 'sleep 0.$((9 - 3 * N)); echo N >> out'", "out", "jobs", "jobs", None,
    ),
    "locale": ({}, "echo made in $LANG > out", "out", "locale", "locale", None),
    "umask": ({}, "touch a; tar --mtime=@0 -cf out.tar a", "out.tar", "umask", "umask", None),
    "user": ({}, "echo made by $LOGNAME > out", "out", "user", "user", None),
    "home": ({}, "echo made in $HOME > out", "out", "home", "home", ("$HOME", "/home")),
    "randomness": ({}, "head -c 8 /dev/urandom | od > out", "out", "home", "random", ("/dev/urandom", "/dev/zero")),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", EXAMPLES)
def test_the_cause_is_found_and_its_fix_mends_it(bench: Bench, name: str) -> None:
    files, command, output, vary, kind, edit = EXAMPLES[name]
    needs(command.split()[0])
    told = reproduced(bench, files, command, output, vary, try_fix="true")
    found = cause(told)
    assert found["kind"] == kind and found["fix"]
    if edit is None:
        assert told["fixed"], found
    else:
        assert reproduced(bench, files, command.replace(*edit), output, vary)["reproducible"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "output", "kind"),
    [
        ("find parts -type f | xargs cat > out", "out", "files"),
        ("cc -o prog $(find parts -name '*.c')", "prog", "symbols"),
        ("tar --mtime=@0 -cf out.tar parts", "out.tar", "files"),
    ],
)
def test_an_order_of_files_is_found_and_sorting_mends_it(bench: Bench, command: str, output: str, kind: str) -> None:
    """On a file system that lists the newest first."""
    needs("cc")
    if not Path("/dev/shm").is_dir():
        pytest.skip("no file system in memory here")
    names = ("one", "two", "three", "four")
    files = {f"parts/{name}.c": f"int {name}(void) {{ return {len(name)}; }}\n" for name in names}
    files["parts/main.c"] = MAIN
    found = cause(reproduced(bench, files, command, output, "files", workdir="/dev/shm"))
    assert found["kind"] == kind and "sort" in found["fix"]
    mended = command.replace("-type f", "-type f | sort").replace("'*.c'", "'*.c' | sort")
    mended = mended.replace("tar ", "tar --sort=name ")
    assert reproduced(bench, files, mended, output, "files", workdir="/dev/shm")["reproducible"]


@pytest.mark.slow
def test_env_in_a_rust_program_is_told_from_a_path_that_a_flag_mends(bench: Bench) -> None:
    needs("cargo")
    files = {"Cargo.toml": CARGO, "src/main.rs": 'fn main() { println!("{}", env!("CARGO_MANIFEST_DIR")); }\n'}
    found = cause(reproduced(bench, files, CARGO_BUILD, BUILT, "path"))
    assert (found["kind"], found["before"], found["owner"]) == ("env", "", "src/main.rs")
    assert any(text.endswith("/build") or "/build" in text for pair in found["texts"] for text in pair)
    files["src/main.rs"] = 'fn main() { println!("{}", std::env::current_dir().unwrap().display()); }\n'
    assert reproduced(bench, files, CARGO_BUILD, BUILT, "path")["reproducible"]


@pytest.mark.slow
def test_debug_information_of_rust_is_mended_by_the_flag(bench: Bench) -> None:
    needs("cargo")
    files = {"Cargo.toml": CARGO + "[profile.release]\ndebug = true\n", "src/main.rs": "fn main() { panic!() }\n"}
    told = reproduced(bench, files, CARGO_BUILD, BUILT, "path", try_fix="true")
    assert cause(told)["kind"] == "path" and told["fixed"]


@pytest.mark.slow
def test_a_build_script_with_randomness_is_found_with_the_first_crate_that_differs(bench: Bench) -> None:
    needs("cargo")
    script = """
        use std::hash::{BuildHasher, Hasher};
        fn main() {
            let seed = std::collections::hash_map::RandomState::new().build_hasher().finish();
            let out = std::path::Path::new(&std::env::var_os("OUT_DIR").unwrap()).join("seed.rs");
            std::fs::write(out, format!("pub const SEED: u64 = {seed};")).unwrap();
        }"""
    files = {
        "Cargo.toml": CARGO + '[dependencies]\nlucky = { path = "lucky" }\nplain = { path = "plain" }\n',
        "src/main.rs": 'fn main() { println!("{} {}", lucky::SEED, plain::one()) }\n',
        "plain/Cargo.toml": CARGO.replace("app", "plain"),
        "plain/src/lib.rs": "pub fn one() -> u8 { 1 }\n",
        "lucky/Cargo.toml": CARGO.replace("app", "lucky"),
        "lucky/build.rs": script,
        "lucky/src/lib.rs": 'include!(concat!(env!("OUT_DIR"), "/seed.rs"));\n',
    }
    told = reproduced(bench, files, CARGO_BUILD, BUILT, "home")
    assert cause(told)["kind"] == "random" and told["smallest_variation"] == []
    assert told["first_crate"] == "lucky"
    random = "std::collections::hash_map::RandomState::new().build_hasher().finish()"
    files["lucky/build.rs"] = script.replace(random, "7").replace("use std::hash::{BuildHasher, Hasher};", "")
    assert reproduced(bench, files, CARGO_BUILD, BUILT, "home")["reproducible"]


TWO = """
- name: Build
  hosts: "{{ matrix.builder }}"
  matrix: {builder: [one, two]}
  tasks:
    - copy: {dest: "{here}/out/{{ matrix.builder }}", content: "CONTENT"}
  artifacts: [{name: "server-{{ matrix.builder }}", path: "{here}/out/{{ matrix.builder }}"}]
- name: Agree
  hosts: localhost
  tasks:
    - name: Reproduce
      reproduce: {compare: [server-one, server-two], dest: {here}/out/agreed.json}
    - name: Attest
      attest:
        artifact: server-one
        documents: {"{here}/out/agreed.json": "https://ciflow.example/reproduced/v1"}
        key: "{here}/out/release.pem"
        passphrase: secret
        dest: "{here}/out"
    - name: Verify
      verify: {artifact: server-one, policy: "{here}/policy.yml", bundles: "{here}/out"}
"""
POLICY = """
signers: {release: {key: out/release.pem.pub}}
require: {attestations: ["https://ciflow.example/reproduced/v1"]}
"""


@pytest.fixture
def builders(bench: Bench, ssh_hosts: list[Sshd]) -> Bench:
    """Two targets: this machine, and one over SSH."""
    bench.hosts("one ansible_connection=local\n" + ssh_hosts[0].inventory_line("two") + "\n")
    return bench


def test_two_builders_that_agree_are_attested(builders: Bench) -> None:
    bench = builders
    keyfile.write(bench.out / "release.pem", generate(b"secret"))
    bench.file("policy.yml", POLICY)
    run = bench.play(TWO.replace("CONTENT", "a program"))
    assert run.exit == 0, run.msg("Reproduce")
    told = run.outcome("Reproduce")
    assert told["reproducible"] and [one["name"] for one in told["builders"]] == ["server-one", "server-two"]
    assert [one["hosts"] for one in told["builders"]] == [["one"], ["two"]]
    assert all(one["invocation"].startswith(run.run) for one in told["builders"])
    assert run.outcome("Verify")["attestations"] == ["https://ciflow.example/reproduced/v1"]


def test_two_builders_that_do_not_agree_attest_nothing(builders: Bench) -> None:
    run = builders.play(TWO.replace("CONTENT", "made by {{ matrix.builder }}"))
    assert run.exit == 4 and "not reproducible" in run.msg("Reproduce")
    assert "Attest" not in run.names()


@pytest.mark.slow
def test_other_compilers_are_told_from_everything_else(bench: Bench) -> None:
    needs("cc", "objcopy")
    source, one, two = (bench.out / name for name in ("main.c", "one", "two"))
    source.write_text(MAIN)
    (bench.out / "comment").write_bytes(b"GCC: (Other) 99.1\0")
    subprocess.run(["cc", "-o", one, source], check=True)
    subprocess.run(["objcopy", "--update-section", f".comment={bench.out}/comment", one, two], check=True)
    run = bench.play("""
- name: Compare
  hosts: localhost
  tasks:
    - name: Compare
      reproduce: {compare: ["{here}/out/one", "{here}/out/two"], required: false}
""")
    found = cause(run.outcome("Compare"))
    assert found["kind"] == "toolchain" and "(Other) 99.1" in str(found["texts"])
