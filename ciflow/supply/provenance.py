"""Where an artifact comes from: SLSA provenance v1 (https://slsa.dev/spec/v1.0/provenance), made and read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from ciflow.dataclass import dataclass, field
from ciflow.supply.crates import parse_lock
from ciflow.supply.errors import SignatureError
from ciflow.supply.strict import Json
from ciflow.supply.times import seconds_of, stamp

# What `externalParameters` of ours mean: docs/sign-and-verify.md says each.
BUILD_TYPE = "urn:ciflow:playbook:v1"
SOURCE = "source"  # the name of the material that the build's own repository is


@dataclass(frozen=True, slots=True)
class Material:
    """Something that the build took in. `digest` in hex by algorithm; empty where the build knew none."""

    name: str
    uri: str = ""
    digest: Mapping[str, str] = field(default_factory=dict)
    notes: Mapping[str, Any] = field(default_factory=dict)

    def to_data(self) -> dict[str, Any]:
        """A ResourceDescriptor (in-toto attestation spec v1)."""
        data = {"name": self.name, "uri": self.uri, "digest": dict(self.digest), "annotations": dict(self.notes)}
        return {name: value for name, value in data.items() if value}


@dataclass(frozen=True, slots=True)
class Build:
    """A build as it was. `asked` is what it was asked for from outside, `inside` what it chose itself; both are said
    in full. Times in Unix seconds."""

    builder: str
    versions: Mapping[str, str]
    asked: Mapping[str, Any]
    inside: Mapping[str, Any]
    materials: Sequence[Material]
    invocation: str
    started: float
    finished: float


def predicate_of(build: Build) -> dict[str, Any]:
    """The predicate of its statement."""
    materials = sorted(build.materials, key=lambda one: (one.name != SOURCE, one.name, one.uri))
    return {
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": dict(build.asked),
            "internalParameters": dict(build.inside),
            "resolvedDependencies": [one.to_data() for one in materials],
        },
        "runDetails": {
            "builder": {"id": build.builder, "version": dict(build.versions)},
            "metadata": {
                "invocationId": build.invocation,
                "startedOn": stamp(build.started),
                "finishedOn": stamp(build.finished),
            },
        },
    }


@dataclass(frozen=True, slots=True)
class Told:
    """What a provenance says of what a policy asks for; "" and None where it says nothing. `clean` is None where nobody
    looked for changes."""

    builder: str
    source: str = ""
    ref: str = ""
    commit: str = ""
    clean: bool | None = None
    started: float | None = None
    finished: float | None = None


def read_provenance(predicate: Mapping[str, Any]) -> Told:
    """SignatureError where it breaks the specification. Of other builders' provenance, too: fields that nobody judges
    here may be anything."""
    document = Json(predicate, "predicate")
    definition, run = document.object("buildDefinition"), document.object("runDetails")
    definition.text("buildType")
    definition.object("externalParameters")
    builder = run.object("builder").text("id")
    metadata = run.object("metadata") if run.has("metadata") else Json({}, "predicate.runDetails.metadata")
    started, finished = (_time(metadata, name) for name in ("startedOn", "finishedOn"))
    if started is not None and finished is not None and started > finished:
        raise SignatureError(f"{metadata.path}: it ended before it began")
    material = _source(definition.objects("resolvedDependencies"))
    if material is None:
        return Told(builder, started=started, finished=finished)
    uri, ref = _parted(material.text("uri"))
    digest = material.object("digest")
    notes = material.object("annotations") if material.has("annotations") else Json({}, "")
    dirty = notes.value.get("dirty")
    commit = digest.text("gitCommit", "") or digest.text("sha1", "")
    return Told(builder, uri, ref, commit, None if not isinstance(dirty, bool) else not dirty, started, finished)


def _source(materials: list[Json]) -> Json | None:
    """The one that we name so; others put the repository first."""
    found = [one for one in materials if one.text("uri", "").startswith("git+") and one.has("digest")]
    return next((one for one in found if one.text("name", "") == SOURCE), found[0] if found else None)


def _parted(uri: str) -> tuple[str, str]:
    """(repository, ref) of `git+https://host/path@refs/heads/main` (SPDX download location)."""
    head, at, ref = uri.rpartition("@refs/")
    return (head, f"refs/{ref}") if at else (uri, "")


def _time(metadata: Json, name: str) -> float | None:
    if not metadata.has(name):
        return None
    try:
        return seconds_of(metadata.text(name))
    except ValueError as e:
        raise SignatureError(f"{metadata.path}.{name}: {e}") from e


def materials_of_lock(text: str) -> list[Material]:
    """The crates that a Cargo.lock pins, by package URL; those without a checksum are of git, or this workspace's own.

    Raises:
        LockError: it is none.
    """
    found = []
    for one in parse_lock(text).packages:
        purl = f"pkg:cargo/{one.name}@{quote(one.version, safe='')}"
        if one.checksum is not None:
            found.append(Material(one.name, purl, {"sha256": one.checksum}))
        elif one.source is not None and one.source.startswith("git+"):
            address, _, commit = one.source.partition("#")
            found.append(Material(one.name, address.partition("?")[0], {"gitCommit": commit}))
    return found


def repository_uri(remote: str, ref: str) -> str:
    """`git+https://host/path@ref` of what git calls a remote: without who logs in there, whose password may stand in
    it; `host:path` of scp is ssh."""
    found = re.fullmatch(r"(?:[^@/:]+@)?([^/:]+):(?!//)(.+)", remote)
    if found:
        remote = f"ssh://{found[1]}/{found[2].lstrip('/')}"
    elif "://" in remote:
        scheme, _, rest = remote.partition("://")
        host, slash, path = rest.partition("/")
        remote = f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"
    else:
        remote = f"file://{remote}"
    return f"git+{remote.removesuffix('/').removesuffix('.git')}" + (f"@{ref}" if ref else "")
