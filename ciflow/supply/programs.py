"""What a program says it was built of: Rust by cargo-auditable (`.dep-v0`), Go by its own linker (`.go.buildinfo`).

Formats: https://github.com/rust-secure-code/cargo-auditable/blob/master/PARSING.md (JSON, compressed by zlib);
Go's package debug/buildinfo, the form since Go 1.18.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

from ciflow.supply import bounded
from ciflow.supply.elf import sections
from ciflow.supply.errors import DocumentError
from ciflow.supply.fields import Fields
from ciflow.supply.model import (
    Component,
    Dependency,
    Deployable,
    Hash,
    Kind,
    Party,
    Reference,
    ReferenceKind,
    Relation,
    Scope,
)
from ciflow.supply.purls import purl
from ciflow.supply.wanted import Asking, Entry, digests

RUST, GO = ".dep-v0", ".go.buildinfo"
_MOST_JSON = 32 * 1024 * 1024
_GO_MAGIC = b"\xff Go buildinf:"
Found = tuple[list[Component], list[Relation]]


def inside(entry: Entry) -> Asking[Found | None]:
    """The program itself and its parts; None where it says nothing.

    Raises:
        DocumentError: it says something that can't be read.
    """
    known = yield from sections(entry, (RUST, GO))
    if not known:
        return None
    hashes = yield from digests(entry)
    if RUST in known:
        return _rust(entry, known[RUST], hashes)
    return _go(entry, known[GO], hashes)


def _program(entry: Entry, hashes: tuple[Hash, ...], name: str, version: str | None, identity: str) -> Component:
    filename = entry.path.rpartition("/")[2]
    return Component(
        ref=f"{identity}#{entry.path}",
        kind=Kind.APPLICATION,
        name=name,
        version=version,
        purl=identity,
        hashes=hashes,
        file=Deployable(filename, executable=True),
        properties=(("ciflow:path", entry.path),),
    )


def _rust(entry: Entry, content: bytes, hashes: tuple[Hash, ...]) -> Found:
    packages = Fields.of(bounded.read_json(_inflated(entry, content)), "").objects("packages")
    known = [_crate(package) for package in packages]
    roots = [at for at, package in enumerate(packages) if package.raw("root") is True]
    if len(roots) != 1:
        raise DocumentError(f"{entry.path}: {RUST}: {len(roots)} packages are the root")
    root = known[roots[0]]
    program = _program(entry, hashes, root.name, root.version, str(root.purl))
    refs = [program.ref if at == roots[0] else part.ref for at, part in enumerate(known)]
    relations = []
    for at, package in enumerate(packages):
        for need in package.raw("dependencies") or ():
            if not isinstance(need, int) or not 0 <= need < len(known):
                raise DocumentError(f"{entry.path}: {RUST}{package.path}/dependencies: {need!r} is no package")
            build = known[need].scope is Scope.EXCLUDED and known[at].scope is Scope.REQUIRED
            relations.append(Relation(refs[at], refs[need], Dependency.BUILD if build else Dependency.NORMAL))
    return [program, *(part for at, part in enumerate(known) if at != roots[0])], relations


def _inflated(entry: Entry, content: bytes) -> bytes:
    """Never more than a real list takes, however little it was packed into."""
    reader = zlib.decompressobj()
    try:
        text = reader.decompress(content, _MOST_JSON)
    except zlib.error as e:
        raise DocumentError(f"{entry.path}: {RUST}: {e}") from e
    if reader.unconsumed_tail or not reader.eof:
        raise DocumentError(f"{entry.path}: {RUST}: it is cut, or unpacks to more than {_MOST_JSON} bytes")
    return text


def _crate(package: Fields) -> Component:
    """The place is told by a word only, so a repository's address and commit are not known."""
    name, version, source = package.text("name"), package.text("version"), package.text("source")
    ref = purl("cargo", name, version)
    place = f"https://crates.io/api/v1/crates/{name}/{version}/download" if source == "crates.io" else None
    return Component(
        ref=ref if source == "crates.io" else f"{ref}#{source}",
        kind=Kind.LIBRARY,
        name=name,
        version=version,
        purl=ref,
        scope=Scope.EXCLUDED if package.maybe("kind") == "build" else Scope.REQUIRED,
        supplier=Party("crates.io") if place else None,
        references=(Reference(ReferenceKind.SOURCE, place),) if place else (),
        download=place,
        properties=() if place else (("cargo:source", source),),
    )


def _go(entry: Entry, content: bytes, hashes: tuple[Hash, ...]) -> Found:
    version, text = _build_info(entry, content)
    modules = list(_modules(text))
    main = next((words for how, words in modules if how == "mod"), ["main", "(devel)"])
    path, tag = main[0], main[1] if len(main) > 1 and main[1] != "(devel)" else None
    program = _program(entry, hashes, path, tag, _go_purl(path, tag))
    parts = [_module(words) for how, words in modules if how == "dep"]
    ref = purl("golang", "stdlib", version.removeprefix("go"))
    parts.append(Component(ref, Kind.LIBRARY, "stdlib", version.removeprefix("go"), ref))
    return [program, *parts], [Relation(program.ref, part.ref) for part in parts]


def _build_info(entry: Entry, content: bytes) -> tuple[str, str]:
    """(version of Go, module information). Programs of Go before 1.18 keep them elsewhere."""
    if content[:14] != _GO_MAGIC or len(content) < 33:
        raise DocumentError(f"{entry.path}: {GO}: it does not begin as Go writes it")
    if not content[15] & 2:
        raise DocumentError(f"{entry.path}: {GO}: a program of Go before 1.18, which is not read")
    texts, at = [], 32
    for _ in range(2):
        length, shift = 0, 0
        while True:
            if at >= len(content) or shift > 35:
                raise DocumentError(f"{entry.path}: {GO}: byte {at}: a length is cut")
            byte = content[at]
            at, length, shift = at + 1, length | (byte & 0x7F) << shift, shift + 7
            if byte < 0x80:
                break
        if length > len(content) - at:
            raise DocumentError(f"{entry.path}: {GO}: byte {at}: {length} bytes are said to follow")
        texts.append(content[at : at + length])
        at += length
    information = texts[1][16:-16] if len(texts[1]) >= 33 and texts[1][-17:-16] == b"\n" else b""
    return texts[0].decode("utf-8", "replace").split(" ")[0], information.decode("utf-8", "replace")


def _modules(text: str) -> Iterator[tuple[str, list[str]]]:
    """(`mod` or `dep`, [path, version, sum]); a module that another one stands in for is that other one.

    A folder that stands in has no name in the world: the module keeps its own, and no version.
    """
    found: list[tuple[str, list[str]]] = []
    for line in text.splitlines():
        how, *words = line.split("\t")
        if how in ("mod", "dep") and words:
            found.append((how, words))
        elif how == "=>" and found and words:
            folder = words[0].startswith(("./", "../", "/"))
            found[-1] = (found[-1][0], found[-1][1][:1] if folder else words)
    return iter(found)


def _module(words: list[str]) -> Component:
    path, version = words[0], words[1] if len(words) > 1 else None
    ref = _go_purl(path, version)
    sums: Iterable[tuple[str, str]] = (("go:sum", words[2]),) if len(words) > 2 and words[2] else ()
    return Component(
        ref=ref,
        kind=Kind.LIBRARY,
        name=path,
        version=version,
        purl=ref,
        supplier=Party(path.split("/")[0]),
        references=(Reference(ReferenceKind.WEBSITE, f"https://pkg.go.dev/{path}"),) if "." in path else (),
        properties=tuple(sums),
    )


def _go_purl(path: str, version: str | None) -> str:
    namespace, _, name = path.rpartition("/")
    return purl("golang", name, version, namespace=namespace)
