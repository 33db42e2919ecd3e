"""The bill of a workspace with every kind of dependency; expected values are Cargo's rules, done by hand."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from ciflow.supply.cargo_build import Subject, from_metadata
from ciflow.supply.crates import parse_lock, parse_origin
from ciflow.supply.errors import LockError, MetadataError, SupplyError, UnsupportedError
from ciflow.supply.model import Bom, Component, Dependency, Hash, Party, ReferenceKind, Relation, Scope
from ciflow.supply.platform import Target
from tests.supply.workspace import Workspace, checksum


def named(bom: Bom, name: str, version: str | None = None) -> Component:
    found = [c for c in bom.everything() if c.name == name and version in (None, c.version)]
    assert len(found) == 1, f"{name}: {found}"
    return found[0]


def test_the_subject_is_the_binary_and_only_it(bom: Bom) -> None:
    assert (bom.subject.name, bom.subject.version, bom.subject.purl) == ("app", "2.0.0", "pkg:cargo/app@2.0.0")
    assert "app" not in {c.name for c in bom.components}


def test_what_is_delivered_is_what_cargo_tree_says(bom: Bom, workspace: Workspace) -> None:
    required = {(c.name, c.version) for c in bom.everything() if c.scope is Scope.REQUIRED}
    assert required == workspace.tree("normal,no-proc-macro")
    assert required == {
        ("app", "2.0.0"),
        ("alpha", "0.9.2"),
        ("alpha", "1.2.3"),
        ("beta", "1.0.0"),
        ("gamma", "1.0.0+build.7"),
        ("delta", "0.1.0"),
        ("local", "0.3.0"),
        ("helper", "2.0.0"),
        ("omega", "1.0.0"),
        ("common", "1.0.0"),
        ("on", "1.0.0"),
        ("unixonly", "1.0.0"),
    }


def test_what_only_the_build_needs_is_excluded(bom: Bom, workspace: Workspace) -> None:
    excluded = {c.name for c in bom.components if c.scope is Scope.EXCLUDED}
    assert excluded == {"builder", "hostonly", "macros", "quoteish"}
    assert {(c.name, c.version) for c in bom.everything()} == workspace.tree("normal,build")


def test_tests_other_platforms_and_disabled_features_are_left_out(bom: Bom) -> None:
    names = {c.name for c in bom.components}
    assert not names & {"tester", "testdep", "winonly", "winsys", "off", "idle"}


def test_another_platform_has_other_dependencies(workspace: Workspace, windows: Target) -> None:
    names = {c.name for c in from_metadata(workspace.metadata, workspace.lock, target=windows).components}
    assert {"winonly", "winsys"} <= names
    assert "unixonly" not in names


def test_a_build_on_another_platform_takes_build_dependencies_from_there(linux: Target, windows: Target) -> None:
    metadata, lock = tiny_workspace(condition="cfg(windows)", kind="build")
    assert from_metadata(metadata, lock, target=linux).components == ()
    assert [c.name for c in from_metadata(metadata, lock, target=linux, host=windows).components] == ["dep"]


def test_each_source_has_its_purl(bom: Bom, workspace: Workspace) -> None:
    delta = f"git%2Bfile://{workspace.root.parent}/delta%40{workspace.commit}"
    assert named(bom, "alpha", "1.2.3").purl == "pkg:cargo/alpha@1.2.3"
    assert named(bom, "gamma").purl == "pkg:cargo/gamma@1.0.0%2Bbuild.7"
    assert named(bom, "omega").purl == "pkg:cargo/omega@1.0.0?repository_url=https://registry.example/index/"
    assert named(bom, "delta").purl == f"pkg:cargo/delta@0.1.0?vcs_url={delta}"
    assert named(bom, "local").purl == "pkg:cargo/local@0.3.0"


def test_purls_are_those_of_the_reference_library(bom: Bom) -> None:
    packageurl = pytest.importorskip("packageurl")
    for component in bom.everything():
        assert packageurl.PackageURL.from_string(component.purl).to_string() == component.purl


def test_hashes_are_those_of_the_lock_file(bom: Bom) -> None:
    assert named(bom, "alpha", "0.9.2").hashes == (Hash("SHA-256", checksum("alpha", "0.9.2")),)
    assert named(bom, "omega").hashes == (Hash("SHA-256", checksum("omega", "1.0.0")),)
    assert named(bom, "delta").hashes == named(bom, "local").hashes == ()


def test_a_known_archive_adds_its_sha512(workspace: Workspace, linux: Target) -> None:
    document = json.loads(workspace.metadata)
    crate = next(package for package in document["packages"] if package["name"] == "on")
    crate["manifest_path"] = "/home/me/.cargo/registry/src/index-1/on-1.0.0/Cargo.toml"
    known = {"/home/me/.cargo/registry/cache/index-1/on-1.0.0.crate": "ab" * 64}
    bom = from_metadata(json.dumps(document), workspace.lock, target=linux, sha512=known)
    assert Hash("SHA-512", "ab" * 64) in named(bom, "on").hashes


def test_no_absolute_path_of_the_workspace_gets_in(bom: Bom, workspace: Workspace) -> None:
    paths = [value for c in bom.everything() for _, value in c.properties]
    assert {"app", "helper", "macros", "../outside/local"} <= set(paths)
    elsewhere = [c for c in bom.everything() if c.name != "delta"]
    assert str(workspace.root.parent) not in repr(elsewhere)


def test_relations_name_the_version_that_is_meant(bom: Bom) -> None:
    app, beta = bom.subject.ref, named(bom, "beta").ref
    old, new = named(bom, "alpha", "0.9.2").ref, named(bom, "alpha", "1.2.3").ref
    assert {Relation(app, new), Relation(beta, old)} <= set(bom.relations)
    assert not {Relation(app, old), Relation(beta, new)} & set(bom.relations)
    assert Relation(app, named(bom, "builder").ref, Dependency.BUILD) in bom.relations
    assert Relation(named(bom, "builder").ref, named(bom, "common").ref) in bom.relations


def test_makers_and_places_are_kept(bom: Bom) -> None:
    alpha, delta = named(bom, "alpha", "1.2.3"), named(bom, "delta")
    assert alpha.authors == (Party("A. Maker", "a@example.org"), Party("B"))
    assert alpha.supplier == Party("crates.io")
    assert named(bom, "omega").supplier == Party("registry.example")
    assert [r.kind for r in delta.references] == [ReferenceKind.VCS]
    assert named(bom, "gamma").references[-1].url == "https://gamma.example/a%20b"
    assert named(bom, "common").licence == "see COPYING"
    assert ("cargo:features", "default,extra") in named(bom, "on").properties


def test_several_roots_become_one_application(workspace: Workspace, linux: Target) -> None:
    subject = Subject(roots=("app", "idle"), name="suite", supplier=Party("Example Ltd"))
    bom = from_metadata(workspace.metadata, workspace.lock, subject=subject, target=linux)
    assert (bom.subject.name, bom.subject.version) == ("suite", "2.0.0")
    assert bom.subject.purl == "pkg:generic/suite@2.0.0"
    roots = {r.target for r in bom.relations if r.source == bom.subject.ref}
    assert roots == {"pkg:cargo/app@2.0.0", "pkg:cargo/idle@2.0.0"}
    assert named(bom, "idle").supplier == Party("Example Ltd")


def test_the_example_service_is_one_application_of_two_programs() -> None:
    shield = Path(__file__).parents[2] / "examples" / "shield"
    if shutil.which("cargo") is None:
        pytest.skip("cargo tells the metadata of the example")
    command = ["cargo", "metadata", "--locked", "--offline", "--format-version", "1"]
    metadata = subprocess.run(command, cwd=shield, capture_output=True, text=True, check=True, timeout=60).stdout
    bom = from_metadata(metadata, (shield / "Cargo.lock").read_text())
    assert (bom.subject.name, bom.subject.version, bom.subject.licence) == ("shield", "1.0.0", "Apache-2.0")
    roots = {r.target.partition("@")[0] for r in bom.relations if r.source == bom.subject.ref}
    assert roots == {"pkg:cargo/shield-cli", "pkg:cargo/shield-server"}
    assert {c.name for c in bom.components} == {"shield-cli", "shield-core", "shield-http", "shield-server"}


def test_one_purl_in_two_places_makes_two_components() -> None:
    metadata, lock = tiny_workspace()
    document = json.loads(metadata)
    twin = json.loads(json.dumps(document["packages"][1]).replace("/w/dep", "/w/other"))
    document["packages"].append(twin)
    document["resolve"]["nodes"].append({"id": twin["id"], "deps": [], "features": []})
    document["resolve"]["nodes"][0]["deps"].append(edge(twin["id"]))
    refs = {c.ref for c in from_metadata(json.dumps(document), lock).components}
    assert len(refs) == 2
    assert all(ref.startswith("pkg:cargo/dep@1.0.0#") for ref in refs)


# What is refused


def test_a_platform_must_be_named_where_it_matters(workspace: Workspace) -> None:
    with pytest.raises(MetadataError, match="say which one"):
        from_metadata(workspace.metadata, workspace.lock)


def test_a_lock_of_another_workspace_is_refused(workspace: Workspace, linux: Target) -> None:
    with pytest.raises(LockError, match="is it of this workspace"):
        from_metadata(workspace.metadata, "version = 4\n", target=linux)


def test_a_registry_crate_without_checksum_is_refused(workspace: Workspace, linux: Target) -> None:
    lock = "\n".join(line for line in workspace.lock.splitlines() if not line.startswith("checksum"))
    with pytest.raises(LockError, match="no checksum"):
        from_metadata(workspace.metadata, lock, target=linux)


def test_an_unknown_root_is_named_with_the_known_ones(workspace: Workspace, linux: Target) -> None:
    with pytest.raises(MetadataError, match="no member nope; it has app, helper, idle, macros"):
        from_metadata(workspace.metadata, workspace.lock, subject=Subject(roots=("nope",)), target=linux)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ("", "not JSON"),
        ("[1]", "format-version 1"),
        ('{"version": 2}', "format-version 1"),
        ('{"version": 1, "resolve": null}', "--no-deps"),
        ('{"version": 1, "resolve": {}}', "lacks"),
        ('{"version": 1, "resolve": {"nodes": [1]}, "workspace_root": "/"}', "lacks or misplaces"),
    ],
)
def test_what_is_no_metadata_is_refused(metadata: str, message: str) -> None:
    with pytest.raises(MetadataError, match=message):
        from_metadata(metadata, "")


@pytest.mark.parametrize(
    "lock", ["= =", "package = 1", '[[package]]\nname = "a"', "[[package]]\nname=1\nversion=2\nchecksum='x'"]
)
def test_what_is_no_lock_is_refused(lock: str) -> None:
    with pytest.raises(LockError):
        parse_lock(lock)


def test_an_artifact_dependency_is_refused() -> None:
    metadata, lock = tiny_workspace()
    document = json.loads(metadata)
    document["resolve"]["nodes"][0]["deps"][0]["dep_kinds"][0]["artifact"] = "bin"
    with pytest.raises(UnsupportedError, match="artifact"):
        from_metadata(json.dumps(document), lock)


def test_an_unknown_kind_of_source_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="'local-registry'"):
        parse_origin("local-registry+file:///somewhere")
    assert issubclass(UnsupportedError, SupplyError) and issubclass(SupplyError, ValueError)


# Sources, by the Cargo book


@pytest.mark.parametrize(
    ("source", "vcs"),
    [
        ("git+https://example.org/a.git?branch=feat%2Fx#0123abcd", "git+https://example.org/a.git@0123abcd"),
        ("git+ssh://git@example.org/a?tag=v1#0123abcd", "git+ssh://git@example.org/a@0123abcd"),
        ("git+https://user:token@example.org/a#0123abcd", "git+https://example.org/a@0123abcd"),
        ("git+https://token@example.org:8443/a#0123abcd", "git+https://example.org:8443/a@0123abcd"),
    ],
)
def test_a_git_source_is_its_address_and_commit_without_secrets(source: str, vcs: str) -> None:
    assert parse_origin(source).vcs == vcs


def test_both_indexes_of_the_default_registry_are_the_default() -> None:
    for source in ("registry+https://github.com/rust-lang/crates.io-index", "sparse+https://index.crates.io/"):
        assert parse_origin(source).kind == "registry"


def test_checksums_of_old_lock_files_are_found() -> None:
    source = "registry+https://github.com/rust-lang/crates.io-index"
    entry = f'[[package]]\nname = "a"\nversion = "1.0.0"\nsource = "{source}"\n'
    old = entry + f'[metadata]\n"checksum a 1.0.0 ({source})" = "{"ab" * 32}"\n'
    assert parse_lock(old).packages[0].checksum == "ab" * 32


def edge(package: str, kind: str | None = None, condition: str | None = None) -> dict[str, object]:
    return {"name": "dep", "pkg": package, "dep_kinds": [{"kind": kind, "target": condition}]}


def tiny_workspace(condition: str | None = None, kind: str | None = None) -> tuple[str, str]:
    """`app`, which depends on the path crate `dep`."""

    def package(name: str, kinds: list[str]) -> dict[str, object]:
        manifest = f"/w/{name}/Cargo.toml"
        return {"id": f"path+file:///w/{name}#1.0.0", "name": name, "version": "1.0.0", "source": None} | {
            "manifest_path": manifest,
            "targets": [{"kind": kinds}],
        }

    app, dep = package("app", ["bin"]), package("dep", ["lib"])
    nodes = [
        {"id": app["id"], "features": [], "deps": [edge(str(dep["id"]), kind, condition)]},
        {"id": dep["id"], "features": [], "deps": []},
    ]
    document = {"version": 1, "workspace_root": "/w", "workspace_members": [app["id"]], "packages": [app, dep]}
    lock = "".join(f'[[package]]\nname = "{n}"\nversion = "1.0.0"\n' for n in ("app", "dep"))
    return json.dumps(document | {"resolve": {"nodes": nodes}}), lock
