"""What dpkg and apt say of packages, and what is left to be done. Pure."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator, Mapping, Sequence

from ciflow.dataclass import dataclass

# $1 a release to prefer ("": none), $2 "all" where a name is a pattern; the rest are names of packages.
LOOK = r"""
release=$1 all=$2; shift 2
command -v apt-get >/dev/null || exit 127
section clock; date +%s
stat -c %Y /var/lib/apt/periodic/update-success-stamp 2>/dev/null || stat -c %Y /var/lib/apt/lists 2>/dev/null || echo 0
section native; dpkg --print-architecture
section names; [ "$all" != all ] || apt-cache pkgnames
[ $# -gt 0 ] || exit 0
section status
dpkg-query -W -f='${Package}\t${Architecture}\t${db:Status-Status}\t${Version}\n' -- "$@" 2>/dev/null
section policy; apt-cache ${release:+-o "APT::Default-Release=$release"} policy -- "$@" 2>/dev/null
section automatic; apt-mark showauto -- "$@" 2>/dev/null
section provided; apt-cache showpkg -- "$@" 2>/dev/null
true
"""
_SPEC = "(>?=)"
_PATTERN = frozenset("*?[]!")
_PIECES = r"(\D*)(\d*)"


@dataclass(frozen=True, slots=True)
class Package:
    """One package on this host. `files`: some of it lies there, though it may not be installed (its configuration)."""

    installed: str = ""
    candidate: str = ""
    versions: tuple[str, ...] = ()
    files: bool = False
    automatic: bool = False


@dataclass(frozen=True, slots=True)
class Wish:
    """What a task says of a package: `foo`, `foo=1.0*`, `foo>=1.0`."""

    name: str
    relation: str = ""
    version: str = ""

    def holds(self, version: str) -> bool:
        """Whether that version will do."""
        if self.relation == "=":
            return fnmatch.fnmatchcase(version, self.version)
        return not self.relation or order(version, self.version) >= 0

    def best(self, package: Package) -> str:
        """The version that apt would take: of a pattern the newest that fits; empty for none."""
        if self.relation == "=":
            fitting = [version for version in package.versions if self.holds(version)]
            return max(fitting, key=sort_key, default="")
        return package.candidate if package.candidate and self.holds(package.candidate) else ""


@dataclass(frozen=True, slots=True)
class Known:
    """What `LOOK` found. Times are Unix seconds by the host's clock."""

    packages: Mapping[str, Package]
    providers: Mapping[str, tuple[str, ...]]  # of names that are no packages
    names: tuple[str, ...]  # of all packages, where they were asked for
    now: int
    updated: int


class Unavailable(Exception):
    """A package that can't be had; the text says why in Ansible's words."""


def wish(spec: str) -> Wish:
    """A package with the version that is wished for."""
    parts = re.split(_SPEC, spec, maxsplit=1)
    return Wish(parts[0], parts[1], parts[2]) if len(parts) == 3 else Wish(spec)


def is_pattern(name: str) -> bool:
    return not _PATTERN.isdisjoint(wish(name).name)


def known(said: Mapping[str, str]) -> Known:
    """What the sections say, by name; a package of another architecture has that behind a colon."""
    native, (now, updated) = said["native"].strip(), said["clock"].split()[:2]
    status = {}
    for line in said.get("status", "").splitlines():
        name, arch, state, version = line.split("\t")
        status[name if arch in (native, "all") else f"{name}:{arch}"] = (state, version)
    automatic = set(said.get("automatic", "").split())
    packages = {}
    policies = dict(_policies(said.get("policy", "")))
    for name in {*status, *policies}:
        state, version = status.get(name) or status.get(name.removesuffix(f":{native}"), ("", ""))
        candidate, versions = policies.get(name, ("", ()))
        if state or versions:
            installed = version if state == "installed" else ""
            files = state not in ("", "not-installed")
            packages[name] = Package(installed, candidate, versions, files, name in automatic)
    providers = dict(_providers(said.get("provided", "")))
    return Known(packages, providers, tuple(said.get("names", "").split()), int(now), int(updated))


def _policies(said: str) -> Iterator[tuple[str, tuple[str, tuple[str, ...]]]]:
    """`apt-cache policy`: package to its candidate and all versions in its table."""
    for block in re.split(r"(?m)^(?=\S)", said):
        name, _, rest = block.partition(":\n")
        found = re.search(r"(?m)^  Candidate: (\S+)", rest)
        candidate = found[1] if found and found[1] != "(none)" else ""
        yield name, (candidate, tuple(re.findall(r"(?m)^(?: \*\*\*|    ) (\S+) -?\d+(?: .*)?$", rest)))


def _providers(said: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """`apt-cache showpkg`: a name to the packages that provide it."""
    for block in re.split(r"(?m)^Package: ", said):
        name, _, rest = block.partition("\n")
        rows = rest.partition("Reverse Provides:")[2].split("\n")[1:]
        yield name.strip(), tuple(dict.fromkeys(row.split()[0] for row in rows if row.strip()))


def spelled_out(specs: Sequence[str], there: Known) -> list[str]:
    """Patterns as the packages that they name. Raises Unavailable where one names nothing."""
    found: list[str] = []
    for spec in specs:
        if not is_pattern(spec):
            found.append(spec)
            continue
        matches = matching(spec, there)
        if not matches:
            raise Unavailable(f"No package(s) matching '{wish(spec).name}' available")
        found += matches
    return found


def matching(spec: str, there: Known) -> list[str]:
    """The packages that a pattern names."""
    return sorted(fnmatch.filter(there.names, wish(spec).name))


def to_install(specs: Sequence[str], there: Known, *, latest: bool, only_upgrade: bool) -> list[str]:
    """What to name to `apt-get install`, each with its version; empty where all is well. Raises Unavailable."""
    words: list[str] = []
    for spec in specs:
        one = wish(spec)
        package = there.packages.get(one.name)
        if package is None or not (package.versions or package.installed):
            words += _virtual(one, there)
            continue
        if not package.installed and only_upgrade:
            continue
        will_do, best = bool(package.installed) and one.holds(package.installed), one.best(package)
        newer = best if best != package.installed else ""
        if not will_do and not newer:
            raise Unavailable(f"no available installation candidate for {spec}")
        if newer and (latest or not will_do or one.relation == "="):
            words.append(f"{one.name}={newer}")
    return words


def _virtual(one: Wish, there: Known) -> list[str]:
    """A name that only others provide: there with the single one that does, or else what apt makes of it."""
    providers = there.providers.get(one.name, ())
    if not providers:
        raise Unavailable(f"No package matching '{one.name}' is available")
    if len(providers) == 1 and there.packages.get(providers[0], Package()).installed:
        return []
    return [f"{one.name}={one.version}" if one.version else one.name]


def to_remove(specs: Sequence[str], there: Known, *, purge: bool) -> list[str]:
    """What to name to `apt-get remove`."""
    words = []
    for spec in specs:
        one = wish(spec)
        package = there.packages.get(one.name, Package())
        if (package.installed and one.holds(package.installed)) or (purge and package.files):
            words.append(one.name)
    return words


def sort_key(version: str) -> tuple[int, list[tuple[tuple[int, ...], int]], list[tuple[tuple[int, ...], int]]]:
    """Debian's order of versions (Debian Policy Manual, 5.6.12): epoch, upstream version, revision."""
    epoch, colon, rest = version.partition(":")
    if not colon:
        epoch, rest = "0", version
    upstream, _, revision = rest.rpartition("-") if "-" in rest else (rest, "", "")
    return int(epoch) if epoch.isdigit() else 0, _pieces(upstream), _pieces(revision)


def order(one: str, other: str) -> int:
    """Negative, zero or positive as `one` is older than, as old as, or newer than `other`."""
    first, second = sort_key(one), sort_key(other)
    return (first > second) - (first < second)


def _pieces(text: str) -> list[tuple[tuple[int, ...], int]]:
    """Runs of other characters and of digits in turn. `~` sorts before the end, that before letters, those before the
    rest; a run ends with a zero, so that what is shorter compares by its end."""
    pieces = list[tuple[tuple[int, ...], int]]()
    for found in re.finditer(_PIECES, text):
        if found[0] or not pieces:
            weights = (-1 if c == "~" else ord(c) if c.isalpha() else ord(c) + 256 for c in found[1])
            pieces.append(((*weights, 0), int(found[2] or 0)))
    return [*pieces, ((0,), 0)]
