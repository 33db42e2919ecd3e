"""A bill of materials, apart from any file format: components, and what depends on what."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from enum import Enum
from urllib.parse import quote

from ciflow.dataclass import dataclass
from ciflow.supply.errors import SupplyError


class Scope(Enum):
    """Whether a component is in what is delivered, or only took part in building it."""

    REQUIRED = "required"
    EXCLUDED = "excluded"


class Kind(Enum):
    """What a component is; both formats know these two."""

    APPLICATION = "application"
    LIBRARY = "library"


class Dependency(Enum):
    """How one component needs another: at run time, or only to be built."""

    NORMAL = "normal"
    BUILD = "build"


class ReferenceKind(Enum):
    """What stands at the end of a link, in the words of CycloneDX."""

    VCS = "vcs"
    WEBSITE = "website"
    DOCUMENTATION = "documentation"
    SOURCE = "source-distribution"


@dataclass(frozen=True, order=True)
class Hash:
    """`algorithm` as CycloneDX spells it (`SHA-256`), `value` in lower-case hex."""

    algorithm: str
    value: str


@dataclass(frozen=True)
class Reference:
    """A link out of the document."""

    kind: ReferenceKind
    url: str


@dataclass(frozen=True)
class Party:
    """A person or an organisation."""

    name: str
    email: str | None = None


@dataclass(frozen=True)
class Component:
    """One part.

    `ref` is its name within the document. `licence` is an SPDX expression, or whatever text its maker wrote.
    `supplier` is where it was got from, `authors` who wrote it. `download` is the place its source came from,
    in the notation of SPDX (`git+https://host/repository@commit`).
    """

    ref: str
    kind: Kind
    name: str
    version: str | None
    purl: str
    scope: Scope = Scope.REQUIRED
    hashes: tuple[Hash, ...] = ()
    licence: str | None = None
    description: str | None = None
    supplier: Party | None = None
    authors: tuple[Party, ...] = ()
    references: tuple[Reference, ...] = ()
    download: str | None = None
    properties: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Relation:
    """`source` depends on `target`; both are refs."""

    source: str
    target: str
    kind: Dependency = Dependency.NORMAL


@dataclass(frozen=True)
class Bom:
    """`subject` is what the document is about; it is not among `components`."""

    subject: Component
    components: tuple[Component, ...]
    relations: tuple[Relation, ...]

    def __post_init__(self) -> None:
        """Refuse what validators of the formats let pass: refs that are twice there, or point nowhere.

        Raises:
            SupplyError: naming the ref.
        """
        refs = [component.ref for component in self.everything()]
        known = set(refs)
        if len(known) != len(refs):
            twice = sorted(ref for ref in known if refs.count(ref) > 1)
            raise SupplyError(f"two components have the ref {twice[0]}")
        for relation in self.relations:
            for ref in (relation.source, relation.target):
                if ref not in known:
                    raise SupplyError(f"a relation names {ref}, which is no component")

    def everything(self) -> Iterable[Component]:
        """The subject, then its components."""
        return (self.subject, *self.components)


@dataclass(frozen=True)
class Creation:
    """How the document came to be. `epoch` is SOURCE_DATE_EPOCH: seconds since 1970, UTC."""

    epoch: int
    tool_version: str
    authors: tuple[Party, ...] = ()
    tool: str = "ciflow"

    def timestamp(self) -> str:
        """RFC 3339, as both formats want it."""
        return datetime.fromtimestamp(self.epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def purl(kind: str, name: str, version: str | None, qualifiers: Iterable[tuple[str, str]] = ()) -> str:
    """A package URL (ECMA-427) without namespace and subpath; empty qualifiers are left out."""
    text = f"pkg:{kind}/{quote(name, safe='')}"
    if version:
        text += "@" + quote(version, safe=":")
    pairs = [f"{key}={quote(value, safe='/:')}" for key, value in sorted(qualifiers) if value]
    return text + ("?" + "&".join(pairs) if pairs else "")
