"""Explanations of outputs that real tools gave when they were made to fail (`outputs/`)."""

from __future__ import annotations

import string
import time
from pathlib import Path

import pytest

from ciflow.explain import explain
from ciflow.explain.knowledge_base import FAMILIES, _entries, _packages

OUTPUTS = Path(__file__).parent / "outputs"

# output, exit code, what it was made to show, a word that must be in cause or fix
REAL = [
    ("linker-missing", 101, "linker/not-found", "`nosuchcc`"),
    ("mold-missing", 101, "linker/mold-not-found", "mold"),
    ("lib-missing", 101, "linker/library-missing", "`nosuch`"),
    ("undefined-symbol", 101, "linker/undefined-symbol", "`not_there`"),
    ("alsa-sys", 101, "linker/pkg-config-library", "libasound2-dev"),
    ("openssl-sys", 101, "linker/pkg-config-library", "libssl-dev"),
    ("header", 1, "linker/header-missing", "apt-file search nosuch.h"),
    ("glibc", 1, "linker/glibc-too-old", "GLIBC_2.99"),
    ("target-missing", 101, "rustc/target-missing", "rustup target add aarch64-unknown-linux-gnu"),
    ("borrow", 101, "rustc/error", "rustc --explain E0382"),
    ("msrv", 101, "rustc/newer-rust-needed", "needs Rust 1.999, this is 1.95.0"),
    ("lock-old", 101, "lock/out-of-date", "commit Cargo.lock"),
    ("lock-parse", 101, "lock/damaged", "/build/pk/Cargo.lock"),
    ("checksum", 101, "lock/checksum", "base64 v0.21.0"),
    ("offline", 101, "cargo/offline", "cargo fetch"),
    ("dns", 101, "cargo/name-not-resolved", "registry.invalid"),
    ("registry-refused", 101, "cargo/registry-unreachable", "http://127.0.0.1:1/index/config.json"),
    ("git-refused", 101, "cargo/registry-unreachable", "127.0.0.1"),
    ("no-version", 101, "cargo/version-not-found", "itoa"),
    ("manifest", 101, "cargo/manifest-invalid", "Cargo.toml:6:14"),
    ("no-manifest", 101, "cargo/manifest-missing", "/tmp"),
    ("two-workspaces", 101, "cargo/two-workspaces", "/build/ws/inner"),
    ("not-a-member", 101, "cargo/not-a-member", "/build/out/Cargo.toml"),
    ("nextest-config", 96, "cargo/nextest-config", ".config/nextest.toml"),
    ("feature", 101, "cargo/unknown-feature", "`nosuch`"),
    ("no-bin", 101, "cargo/unknown-binary", "`nope`"),
    ("no-package", 101, "cargo/unknown-package", "`nope`"),
    ("no-subcommand", 101, "cargo/subcommand-missing", "cargo install cargo-nextestx"),
    ("toolchain", 1, "cargo/toolchain-missing", "rustup toolchain install nosuch"),
    ("cargo-missing", 127, "cargo/not-installed", "`cargo` is not in PATH"),
    ("wrapper-missing", 101, "cargo/wrapper", "`sccachex`"),
    ("build-script", 101, "cargo/build-script", "bad v0.1.0"),
    ("sccache-incr", 101, "cargo/sccache-incremental", "CARGO_INCREMENTAL=0"),
    ("sccache-dead", 2, "cargo/sccache-backend", "Timed out waiting for server startup"),
    ("disk-full", 1, "disk/full", "df -h"),
    ("disk-cargo", 101, "disk/full", "df -h"),
    ("disk-cargo2", 101, "disk/full", "bus error"),
    ("readonly", 1, "disk/read-only", "read-only"),
    ("rustc-killed", 101, "memory/compiler-killed", "cargo build -j 1"),
    ("oom", 101, "memory/allocation-failed", "ulimit -v"),
    ("oom-test", 1, "memory/allocation-failed", "refused"),
    ("port-shield", 1, "ports/in-use", "cannot listen on 127.0.0.1:22992"),
    ("port-python", 1, "ports/in-use", "ss -ltnp"),
    ("haproxy-port", 1, "routers/haproxy-port", "127.0.0.1:22992 (frontend f, ha.cfg:8)"),
    ("haproxy-config", 1, "routers/haproxy-backend", "`nope`"),
    ("haproxy-keyword", 1, "routers/haproxy-keyword", "ha3.cfg:3"),
    ("envoy-port", 1, "routers/envoy-port", "127.0.0.1:22992"),
    ("envoy-listener", 1, "routers/envoy-port", "127.0.0.1:22992"),
    ("envoy-config", 1, "routers/envoy-unknown-field", "`listenerz`"),
    ("envoy-type", 1, "routers/envoy-unknown-type", "tcp_proxy.v3.Nope"),
    ("envoy-base", 1, "routers/envoy-config-missing", "nofile.yaml"),
    ("ssh-refused", 255, "ssh/refused", "port 1 of 127.0.0.1"),
    ("ssh-dns", 255, "ssh/name", "no-such-host.invalid"),
    ("ssh-hostkey", 255, "ssh/host-key-unknown", "known_hosts"),
    ("ssh-changed", 255, "ssh/host-key-changed", "ssh-keygen -R"),
    ("ssh-denied", 255, "ssh/denied", "publickey"),
    ("docker-down", 1, "containers/docker-down", "unix:///nonexistent.sock"),
    ("kubectl-down", 1, "containers/kubernetes-down", "localhost:8080"),
    ("curl-tls", 7, "network/refused", "port 22993"),
    ("cmd-missing", 127, "system/command-not-found", "`no-such-command-x`"),
    ("perm", 126, "system/not-executable", "/tmp/tool"),
]


@pytest.mark.parametrize(("name", "rc", "code", "word"), REAL, ids=[case[0] for case in REAL])
def test_a_real_failure_is_explained(name: str, rc: int, code: str, word: str) -> None:
    text = (OUTPUTS / f"{name}.txt").read_text()
    found = explain(text, rc)
    assert found is not None
    assert found.code == code
    assert word in f"{found.cause} {found.fix}"
    assert found.evidence.rstrip("…") in text


def test_every_recorded_output_is_in_the_table() -> None:
    assert {path.stem for path in OUTPUTS.iterdir()} == {case[0] for case in REAL}


@pytest.mark.parametrize(
    ("rc", "code"),
    [
        (137, "memory/killed"),
        (-9, "memory/killed"),
        (143, "system/terminated"),
        (-15, "system/terminated"),
        (139, "system/crashed"),
        (-6, "system/crashed"),
        (124, "system/timed-out"),
        (126, "system/not-permitted"),
        (127, "system/command-missing"),
    ],
)
def test_an_exit_code_alone_says_something(rc: int, code: str) -> None:
    found = explain("", rc)
    assert found is not None and found.code == code and found.evidence == ""


def test_words_say_more_than_the_exit_code() -> None:
    found = explain("dd: error writing 'x': No space left on device\n", 137)
    assert found is not None and found.code == "disk/full"


@pytest.mark.parametrize(("text", "rc"), [("", None), ("", 1), ("all is well\n", 1), ("No space left on device", 0)])
def test_what_is_not_known_or_went_well_is_not_explained(text: str, rc: int | None) -> None:
    assert explain(text, rc) is None


def test_a_pattern_that_needs_an_exit_code_waits_for_it() -> None:
    text = "Blocking waiting for file lock on build directory\n"
    assert explain(text, 101) is None
    found = explain(text, 124)
    assert found is not None and found.code == "cargo/lock-wait"


def test_colours_and_carriage_returns_do_not_hide_a_fault() -> None:
    text = "\x1b[1m\x1b[38;5;9merror\x1b[0m\x1b[1m: linker `x\x1b[31mcc\x1b[0m` not found\x1b[0m\r\n"
    found = explain(text, 101)
    assert found is not None and "`xcc`" in found.cause


def test_nothing_a_terminal_would_obey_gets_through() -> None:
    found = explain("error: linker `a\x1b]0;title\x07\x1b[2J\x9b31m\x08b{0.__class__}` not found\n", 101)
    assert found is not None
    assert "`a31mb{0.__class__}`" in found.cause
    assert all(c.isprintable() for c in found.cause + found.fix + found.evidence)


def test_long_lines_are_shown_short() -> None:
    found = explain(f"error: linker `{'x' * 3000}` not found\n", 101)
    assert found is not None and len(found.cause) < 400 and len(found.evidence) <= 200


@pytest.mark.parametrize(
    "unit",
    ["a", "[ALERT]", "sccache: error: ", "error[E0001]: ", 'fuse-ld=x"\n', "failed to download from `x`\n", "\x1b["],
)
def test_a_flood_of_output_is_looked_through_quickly(unit: str) -> None:
    since = time.process_time()
    explain(unit * (4_000_000 // len(unit)), 1)
    assert time.process_time() - since < 60


def test_the_knowledge_base_is_sound() -> None:
    entries = _entries()
    codes = [entry.code for entry in entries]
    assert len(set(codes)) == len(codes)
    assert {code.partition("/")[0] for code in codes} == set(FAMILIES)
    for entry in entries:
        assert entry.when or entry.exit, entry.code
        groups = {name for pattern in entry.when for name in pattern.groupindex} | {"package"}
        used = {
            field for text in (entry.cause, entry.fix) for _, field, _, _ in string.Formatter().parse(text) if field
        }
        assert used <= groups, entry.code
        for pattern in entry.when:
            assert used - {"package"} <= set(pattern.groupindex), f"{entry.code}: {pattern.pattern}"
            assert pattern.search("") is None, entry.code
    assert all(name and package for name, package in _packages().items())
