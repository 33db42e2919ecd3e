"""The workspace as `cargo metadata --format-version 1` tells it: members and what they build.

`--no-deps` is enough, and does not need the lock file or the network.
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Mapping
from typing import Any

from ciflow.cargo.errors import ToolOutputError
from ciflow.dataclass import dataclass


@dataclass(frozen=True)
class Member:
    """`directory` is relative to the workspace, `.` for the root package; `default` as `default-members` says."""

    id: str
    name: str
    version: str
    directory: str
    default: bool
    bins: tuple[str, ...]
    libs: tuple[str, ...]
    tests: tuple[str, ...]
    examples: tuple[str, ...]
    benches: tuple[str, ...]
    doctests: bool
    build_script: bool
    proc_macro: bool


@dataclass(frozen=True)
class Workspace:
    """Directories are absolute."""

    root: str
    target_directory: str
    members: tuple[Member, ...]

    @property
    def bins(self) -> dict[str, str]:
        """Package by name of the binary."""
        return {name: member.name for member in self.members for name in member.bins}

    def member(self, name: str) -> Member:
        """Raises ToolOutputError with the names there are."""
        for member in self.members:
            if member.name == name:
                return member
        known = ", ".join(sorted(m.name for m in self.members))
        raise ToolOutputError(f"the workspace has no package {name}; it has {known}")

    def binary_path(self, name: str, profile: str = "release", triple: str | None = None) -> str:
        """Where cargo puts a binary (Unix). The profiles `dev` and `test` share the directory `debug`."""
        directory = {"dev": "debug", "test": "debug", "bench": "release"}.get(profile, profile)
        return posixpath.join(self.target_directory, *([triple] if triple else []), directory, name)


_LIBS = {"lib", "rlib", "dylib", "cdylib", "staticlib", "proc-macro"}


def parse(text: str) -> Workspace:
    """Read the metadata.

    Raises:
        ToolOutputError: not the output of `cargo metadata --format-version 1`.
    """
    try:
        document = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as e:
        raise ToolOutputError(f"the output of cargo metadata is not JSON: {e}") from e
    if not isinstance(document, dict) or document.get("version") != 1:
        raise ToolOutputError("not the output of `cargo metadata --format-version 1`")
    try:
        return _workspace(document)
    except (KeyError, TypeError, AttributeError) as e:
        raise ToolOutputError(f"the output of cargo metadata lacks or misplaces {e}") from e


def _workspace(document: Mapping[str, Any]) -> Workspace:
    root: str = document["workspace_root"]
    ids = document["workspace_members"]
    default = set(document.get("workspace_default_members", ids))
    packages = {package["id"]: package for package in document["packages"]}
    members = (_member(packages[id_], root, id_ in default) for id_ in ids)
    return Workspace(root, document["target_directory"], tuple(sorted(members, key=lambda m: m.name)))


def _member(package: Mapping[str, Any], root: str, default: bool) -> Member:
    targets = package["targets"]

    def names(*kinds: str) -> tuple[str, ...]:
        return tuple(sorted(t["name"] for t in targets if set(kinds) & set(t["kind"])))

    return Member(
        id=package["id"],
        name=package["name"],
        version=package["version"],
        directory=posixpath.relpath(posixpath.dirname(package["manifest_path"]), root),
        default=default,
        bins=names("bin"),
        libs=names(*_LIBS),
        tests=names("test"),
        examples=names("example"),
        benches=names("bench"),
        doctests=any(t.get("doctest", False) for t in targets),
        build_script=bool(names("custom-build")),
        proc_macro=bool(names("proc-macro")),
    )
