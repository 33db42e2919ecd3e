"""A small bill of materials that has everything: what each rule and each format is tried on."""

from __future__ import annotations

import hashlib

from ciflow.supply.model import (
    Bom,
    Completeness,
    Component,
    Creation,
    Dependency,
    Deployable,
    Hash,
    Kind,
    Party,
    Phase,
    Reference,
    ReferenceKind,
    Relation,
    Scope,
)
from ciflow.supply.purls import purl

MAKER = Party("Example Ltd", url="https://example.org")
CREATION = Creation(1_700_000_000, "0.1.0", (Party("Release Team", "release@example.org"),), supplier=MAKER)


def hashes(text: str) -> tuple[Hash, ...]:
    content = text.encode()
    return (Hash("SHA-256", hashlib.sha256(content).hexdigest()), Hash("SHA-512", hashlib.sha512(content).hexdigest()))


def crate(name: str, scope: Scope = Scope.REQUIRED) -> Component:
    place = f"https://registry.example/{name}/1.0.0/download"
    ref = purl("cargo", name, "1.0.0")
    return Component(
        ref=ref,
        kind=Kind.LIBRARY,
        name=name,
        version="1.0.0",
        purl=ref,
        scope=scope,
        hashes=hashes(name),
        licence="MIT OR Apache-2.0",
        concluded="MIT",
        copyright="2024 A. Maker",
        description=f'The crate {name}, with <angles> & "quotes"',
        supplier=Party("registry.example"),
        manufacturer=Party("A. Maker", "a@example.org"),
        authors=(Party("A. Maker", "a@example.org"), Party("B")),
        references=(
            Reference(ReferenceKind.SOURCE, place),
            Reference(ReferenceKind.DISTRIBUTION, place, hashes(name)),
            Reference(ReferenceKind.VCS, f"https://git.example/{name}"),
            Reference(ReferenceKind.WEBSITE, f"https://{name}.example"),
        ),
        download=place,
        file=Deployable(f"{name}-1.0.0.crate", archive=True, structured=True),
        properties=(("cargo:features", "default,std"),),
    )


def full() -> Bom:
    """A program of two crates, one of them only for the build."""
    ref = purl("cargo", "server", "2.0.0")
    subject = Component(
        ref=ref,
        kind=Kind.APPLICATION,
        name="server",
        version="2.0.0",
        purl=ref,
        hashes=hashes("server"),
        licence="Apache-2.0",
        concluded="Apache-2.0",
        supplier=MAKER,
        manufacturer=MAKER,
        references=(Reference(ReferenceKind.VCS, "https://git.example/server"),),
        file=Deployable("server", executable=True),
    )
    alpha, builder = crate("alpha"), crate("builder", Scope.EXCLUDED)
    return Bom(
        subject,
        (alpha, builder),
        (Relation(builder.ref, alpha.ref), Relation(ref, alpha.ref), Relation(ref, builder.ref, Dependency.BUILD)),
        Completeness.COMPLETE,
        Phase.BUILD,
    )
