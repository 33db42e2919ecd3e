"""A bill of materials, apart from any file format: components, and what depends on what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from enum import Enum

from ciflow.dataclass import dataclass
from ciflow.supply.errors import SupplyError


class Scope(Enum):
    """Whether a component is in what is delivered, may be, or only took part in building it."""

    REQUIRED = "required"
    OPTIONAL = "optional"
    EXCLUDED = "excluded"


class Kind(Enum):
    """What a component is, in the words of CycloneDX and in the order of its protocol buffers, from 1."""

    APPLICATION = "application"
    FRAMEWORK = "framework"
    LIBRARY = "library"
    OPERATING_SYSTEM = "operating-system"
    DEVICE = "device"
    FILE = "file"
    CONTAINER = "container"
    FIRMWARE = "firmware"
    DEVICE_DRIVER = "device-driver"
    PLATFORM = "platform"
    MODEL = "machine-learning-model"
    DATA = "data"
    CRYPTOGRAPHIC = "cryptographic-asset"


class Dependency(Enum):
    """How one component needs another: at run time, or only to be built."""

    NORMAL = "normal"
    BUILD = "build"


class ReferenceKind(Enum):
    """What stands at the end of a link: the words of CycloneDX that this project has a use for, and the rest."""

    OTHER = "other"
    VCS = "vcs"
    ISSUES = "issue-tracker"
    WEBSITE = "website"
    DOCUMENTATION = "documentation"
    DISTRIBUTION = "distribution"
    LICENCE = "license"
    SOURCE = "source-distribution"


class Completeness(Enum):
    """What is known of the dependencies that are listed."""

    COMPLETE = "complete"
    INCOMPLETE = "incomplete"
    UNKNOWN = "unknown"


class Phase(Enum):
    """When in its life the software was looked at."""

    DESIGN = "design"
    PRE_BUILD = "pre-build"
    BUILD = "build"
    POST_BUILD = "post-build"
    OPERATIONS = "operations"
    DISCOVERY = "discovery"
    DECOMMISSION = "decommission"


@dataclass(frozen=True, order=True)
class Hash:
    """`algorithm` as CycloneDX spells it (`SHA-256`), `value` in lower-case hex."""

    algorithm: str
    value: str


@dataclass(frozen=True)
class Reference:
    """A link out of the document; `hashes` are of what it leads to."""

    kind: ReferenceKind
    url: str
    hashes: tuple[Hash, ...] = ()


@dataclass(frozen=True)
class Party:
    """A person or an organisation. `name` may be empty where only an address is known."""

    name: str
    email: str | None = None
    url: str | None = None


@dataclass(frozen=True)
class Deployable:
    """The file that a component is handed out as (BSI TR-03183-2 v2.1, 5.2.2): `filename` is no path.

    `archive`: made of several files; `structured`: they can be told apart again.
    """

    filename: str
    executable: bool = False
    archive: bool = False
    structured: bool = False


@dataclass(frozen=True)
class Component:
    """One part.

    `ref` is its name within the document. `licence` is what its maker declared: an SPDX expression, or whatever
    text there is; `concluded` what it is handed out under. `supplier` is where it was got from, `manufacturer` who
    made it and can be reached, `authors` who wrote it. `download` is the place its source came from, in the
    notation of SPDX (`git+https://host/repository@commit`).
    """

    ref: str
    kind: Kind
    name: str
    version: str | None
    purl: str | None
    scope: Scope = Scope.REQUIRED
    hashes: tuple[Hash, ...] = ()
    licence: str | None = None
    concluded: str | None = None
    copyright: str | None = None
    description: str | None = None
    supplier: Party | None = None
    manufacturer: Party | None = None
    authors: tuple[Party, ...] = ()
    references: tuple[Reference, ...] = ()
    download: str | None = None
    cpe: str | None = None
    file: Deployable | None = None
    properties: tuple[tuple[str, str], ...] = ()
    group: str | None = None

    def hash(self, algorithm: str) -> str | None:
        return next((h.value for h in self.hashes if h.algorithm == algorithm), None)


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
    completeness: Completeness = Completeness.COMPLETE
    phase: Phase | None = Phase.PRE_BUILD

    def __post_init__(self) -> None:
        """Refuse what validators of the formats let pass: refs that are twice there, or point nowhere.

        Raises:
            SupplyError: naming the ref.
        """
        known = Counter(component.ref for component in self.everything())
        if twice := sorted(ref for ref, count in known.items() if count > 1):
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
    """How the document came to be. `epoch` is SOURCE_DATE_EPOCH: seconds since 1970, UTC; None: it does not say.

    `authors` answer for the document; `supplier` hands out what it is about.
    """

    epoch: int | None
    tool_version: str | None
    authors: tuple[Party, ...] = ()
    tool: str | None = "ciflow"
    supplier: Party | None = None

    def timestamp(self) -> str | None:
        """RFC 3339, as all formats want it."""
        if self.epoch is None:
            return None
        return datetime.fromtimestamp(self.epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
