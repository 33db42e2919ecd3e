"""Why two builds of one source are not the same, and what to do about it.

The classes are those of reproducible-builds.org (docs, "Achieve deterministic builds"): paths, times, order, locale, ..
What was varied between the two builds says most; what the bytes hold says the rest.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ciflow.dataclass import dataclass
from ciflow.supply.divergence import Difference

VARIATIONS = ("path", "home", "user", "timezone", "locale", "umask", "jobs", "files")
_RUSTFLAGS = 'export RUSTFLAGS="${RUSTFLAGS:-} %s"'
_CRATE = re.compile(r"/registry/src/[^/]+/([A-Za-z0-9_-]+)-\d+\.\d+[^/]*/|/([A-Za-z0-9_-]+)/(?:src|tests|benches)/")
_LEGACY = re.compile(r"_ZN(\d+)([A-Za-z_][A-Za-z0-9_.$]*)")
_V0 = re.compile(r"_R[A-Za-z]*?C(?:s[0-9A-Za-z]*_)?u?(\d+)_?([A-Za-z_][A-Za-z0-9_]*)")
_DATE = re.compile(rb"(?:19|20)\d\d-\d\d-\d\d|\d\d:\d\d:\d\d|[A-Z][a-z]{2} [ 0-3]\d \d\d\d\d")
_NUMBER = re.compile(rb"(?<!\d)\d{10}(?!\d)")


@dataclass(frozen=True, slots=True)
class Setting:
    """How one build was made: its folder, its home, and when, in Unix seconds."""

    root: str
    home: str
    began: float
    ended: float


@dataclass(frozen=True, slots=True)
class Fix:
    """What to do, in words; and lines of a shell to run before the build, where that is all."""

    text: str
    before: str = ""


@dataclass(frozen=True, slots=True)
class Cause:
    """One root cause. `owner` is the crate (or program) that brings it in, "" where nobody can tell."""

    kind: str
    why: str
    where: tuple[str, ...]
    texts: tuple[tuple[str, str], ...]
    owner: str
    fix: Fix

    def to_data(self) -> dict[str, Any]:
        return {
            "kind": self.kind, "why": self.why, "where": list(self.where), "texts": [list(pair) for pair in self.texts],
            "owner": self.owner, "fix": self.fix.text, "before": self.fix.before,
        }  # fmt: skip


FIXES: Mapping[str, tuple[str, Fix]] = {
    "path": ("the folder that it was built in is in it", Fix(
        "map the folder away: --remap-path-prefix for Rust (a path dependency outside of the workspace needs one of "
        "its own), -ffile-prefix-map for C; or build without debug information, stripped",
        _RUSTFLAGS % "--remap-path-prefix=$PWD=/build"
        + '; export CFLAGS="${CFLAGS:-} -ffile-prefix-map=$PWD=/build"'
        + '; export CXXFLAGS="${CXXFLAGS:-} -ffile-prefix-map=$PWD=/build"')),
    "env": ("env!() or the like writes the folder of the build into the program", Fix(
        "no flag mends this: include what is read there with include_str!/include_bytes!, or ask for the folder when "
        'the program runs, in place of env!("CARGO_MANIFEST_DIR") and env!("OUT_DIR")')),
    "home": ("the home of whoever built it is in it", Fix(
        "map it away, or build with a fixed HOME", _RUSTFLAGS % "--remap-path-prefix=$HOME=/home")),
    "user": ("the name of whoever built it is in it", Fix(
        "set the name in the build", "export USER=builder LOGNAME=builder")),
    "time": ("the time of the build is in it", Fix(
        "take the time from SOURCE_DATE_EPOCH (the commit's: git log -1 --format=%ct) in place of the clock; "
        'tar --mtime="@$SOURCE_DATE_EPOCH", gzip -n, ar D, zip -X after touch -d "@$SOURCE_DATE_EPOCH"',
        "export SOURCE_DATE_EPOCH=0")),
    "build-id": ("only the identity that the linker gives it differs", Fix(
        "let it follow from the content (--build-id=sha1), or leave it out",
        _RUSTFLAGS % "-C link-arg=-Wl,--build-id=none" + '; export LDFLAGS="${LDFLAGS:-} -Wl,--build-id=none"')),
    "files": ("files are taken in the order that the folder lists them", Fix(
        "sort what a folder lists before it is used: LC_ALL=C sort, tar --sort=name, a sorted fs::read_dir")),
    "symbols": ("the same symbols lie in another order", Fix(
        "let one compiler process do it: codegen-units = 1 under [profile.release], or sort what is linked",
        "export CARGO_PROFILE_RELEASE_CODEGEN_UNITS=1 CARGO_BUILD_JOBS=1 MAKEFLAGS=-j1")),
    "jobs": ("it depends on how many jobs run at once", Fix(
        "write to files of their own and join them in a fixed order, or build with one job",
        "export CARGO_BUILD_JOBS=1 MAKEFLAGS=-j1 JOBS=1")),
    "locale": ("it depends on the language of whoever builds it", Fix(
        "set the locale in the build", "export LC_ALL=C.UTF-8 LANG=C.UTF-8")),
    "timezone": ("it depends on the time zone of whoever builds it", Fix("set the zone in the build", "export TZ=UTC")),
    "umask": ("permissions follow the umask of whoever builds it", Fix(
        "set the umask in the build, or the modes: tar --mode=go=rX,u+rw", "umask 022")),
    "owner": ("who built it is in it", Fix("tar --owner=0 --group=0 --numeric-owner")),
    "random": ("two builds in the same place with the same settings differ: something is random", Fix(
        "find what asks for randomness (a hash map's order, a temporary name, uuid, rand), in a build script above "
        "all, and give it a fixed seed, or sort what comes out of it")),
    "toolchain": ("other compilers built it", Fix(
        "pin the compiler: rust-toolchain.toml with an exact version, images by digest")),
    "unknown": ("it differs, and nothing tells why", Fix("compare the two by hand, from the first place named here")),
}  # fmt: skip


def explain(
    found: Sequence[Difference], varied: Iterable[str], a: Setting, b: Setting, *, builders: bool = False
) -> list[Cause]:
    """The root causes of the differences, the likeliest first. `varied` is the smallest set that brings them about;
    `builders`: the two come from builders of their own, where nobody knows what else differs."""
    changed = tuple(varied)
    kinds: dict[str, list[Difference]] = {}
    for difference in found:
        kind = _kind(difference, a, b)
        if kind == "time" and changed:
            kind = ""  # time passes between any two builds: two with nothing varied would have shown it
        kinds.setdefault(kind, []).append(difference)
    _let_go(kinds, changed, builders)
    order = ["toolchain", *FIXES]
    return [_cause(kind, kinds[kind]) for kind in sorted(kinds, key=order.index)]


def _let_go(kinds: dict[str, list[Difference]], changed: tuple[str, ...], builders: bool) -> None:
    """What follows from something else is no cause: the build-id from any other byte, code that moved from a text that
    is longer. What is left without a cause is put down to what was varied."""
    rest = kinds.pop("", [])
    if len(kinds) > 1 or rest:
        kinds.pop("build-id", None)
    if kinds:
        return
    fallback = "unknown" if builders else changed[0] if len(changed) == 1 else "random" if not changed else "unknown"
    kinds[fallback] = rest


def _kind(one: Difference, a: Setting, b: Setting) -> str:
    """The class of one difference by itself; "" where only what was varied can tell."""
    if one.what in ("time", "mode", "owner", "extra"):
        return {"mode": "umask", "extra": "time"}.get(one.what, one.what)
    if one.what == "order":
        return "symbols" if one.place == "symbols" else "files"
    if one.place == ".note.gnu.build-id":
        return "build-id"
    if one.place == ".comment":
        return "toolchain"
    return next((kind for kind, holds in _TESTS if holds(one, a, b)), "")


def _holds_path(one: Difference, a: Setting, b: Setting) -> bool:
    return a.root != b.root and (a.root.encode() in one.a or b.root.encode() in one.b)


def _holds_env(one: Difference, a: Setting, b: Setting) -> bool:
    """The folder stands there by itself, or with what cargo makes below it, not as the beginning of a source's name."""
    if not _holds_path(one, a, b) or one.place.startswith(".debug"):
        return False
    source = rb"[A-Za-z0-9_./@+-]*\.(?:rs|c|cc|cpp|h|hpp|go|s|S)\b"
    left = re.sub(re.escape(a.root.encode()) + source, b"", one.a)
    return a.root.encode() in left


def _holds_home(one: Difference, a: Setting, b: Setting) -> bool:
    return a.home != b.home and (a.home.encode() in one.a or b.home.encode() in one.b)


def _holds_time(one: Difference, a: Setting, b: Setting) -> bool:
    """A number of seconds from the time of its own build, or a date in one that is not in the other."""
    if not (a.began and b.began):
        return False
    for text, setting in ((one.a, a), (one.b, b)):
        if any(setting.began - 2 <= int(number) <= setting.ended + 2 for number in _NUMBER.findall(text)):
            return True
    return set(_DATE.findall(one.a)) != set(_DATE.findall(one.b))


_TESTS: tuple[tuple[str, Callable[[Difference, Setting, Setting], bool]], ...] = (
    ("env", _holds_env),
    ("path", _holds_path),
    ("home", _holds_home),
    ("time", _holds_time),
)


def _cause(kind: str, found: Sequence[Difference]) -> Cause:
    why, fix = FIXES[kind]
    texts = tuple(dict.fromkeys(pair for one in found for pair in one.texts()))[:8]
    owner = next(filter(None, (_owner(one) for one in found)), "")
    return Cause(kind, why, tuple(one.where for one in found), texts, owner, fix)


def _owner(one: Difference) -> str:
    """The crate that a path in the differing texts, or else the symbol around them, belongs to."""
    for pair in one.texts():
        for text in pair:
            match = _CRATE.search(text)
            if match:
                return match[1] or match[2]
    return crate_of(one.symbol)


def crate_of(symbol: str) -> str:
    """The crate of a mangled Rust name, in the legacy form or in v0 (RFC 2603); "" for what is none."""
    legacy = _LEGACY.match(symbol)
    if legacy:
        return legacy[2][: int(legacy[1])]
    v0 = _V0.match(symbol)
    return v0[2][: int(v0[1])] if v0 else ""
