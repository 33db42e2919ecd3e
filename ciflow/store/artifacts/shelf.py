"""The artifacts of one machine: always kept here, and in the store that was chosen for them, if one was."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from ciflow.dataclass import dataclass, field
from ciflow.diagnostics import ArtifactError
from ciflow.store.artifacts.backend import Backend
from ciflow.store.artifacts.folder import Folder, origin_of
from ciflow.store.artifacts.records import HELD, Entry, Held, expired, read, record_of
from ciflow.store.artifacts.web import TRIES, Cut, pause

GRACE = 600.0  # seconds in which nothing is removed: what was just kept may not have been told of yet
_LEFT = 86_400.0  # seconds after which an upload or download that was cut off is given up


@dataclass(frozen=True, slots=True)
class Swept:
    """What `sweep` removed (or would remove), and what it left though it is old enough: why, by digest."""

    removed: tuple[Entry, ...] = ()
    held: Mapping[str, str] = field(default_factory=dict)
    strays: int = 0  # contents without a name
    freed: int = 0  # bytes, as far as the store tells


class Shelf:
    """`here` is this machine's folder, `beyond` the store that machines share."""

    def __init__(self, here: Folder, beyond: Backend | None = None, clock: Callable[[], float] = time.time) -> None:
        self.here = here
        self.beyond = beyond
        self._clock = clock

    @property
    def where(self) -> str:
        """The shared store, or "" where there is none."""
        return self.beyond.where if self.beyond is not None else ""

    @property
    def main(self) -> Backend:
        """What its user means by "the store"."""
        return self.beyond if self.beyond is not None else self.here

    @property
    def _origin(self) -> str:
        return origin_of(self.here.root)

    # --- keeping and taking --------------------------------------------------------------------------------

    def put_file(self, source: Path) -> str:
        """Bring a file here; its digest."""
        return self.here.blobs.put_file(source)

    def scratch(self) -> Path:
        """A folder on the same disk, for what is still arriving."""
        self.here.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        return self.here.root

    def path(self, digest: str) -> Path:
        return self.here.blobs.path(digest)

    def has(self, digest: str) -> bool:
        """Whether content lies here, whole."""
        return self.here.blobs.whole(digest)

    def name(
        self, name: str, digest: str, needed: Mapping[str, str], *, run: str = "", play: str = "", key: str = ""
    ) -> None:
        """Name content that lies here; in the shared store too, where it goes unless it is there already.

        `needed` is what this machine holds: said there before anything else, lest another machine sweep it away.
        """
        entry = Entry(name, digest, self.path(digest).stat().st_size, self._clock(), run, play, key)
        self.here.keep_record(entry.record, entry.text(), entry.digest, entry.name)
        if self.beyond is None:
            return
        self.hold({**needed, entry.digest: f"run {entry.run}" if entry.run else "just pushed"})
        for _ in range(2):
            if not self.beyond.has(entry.digest):
                self.beyond.send(entry.digest, self.path(entry.digest))
            self.beyond.keep_record(entry.record, entry.text(), entry.digest, entry.name)
            if self.beyond.has(entry.digest):
                return
        raise ArtifactError(f"{self.where} loses what it is given: {entry.name}, {entry.digest[:12]}")

    def hold(self, needed: Mapping[str, str]) -> None:
        """Tell other machines what this one needs of the shared store."""
        if self.beyond is not None:
            held = Held(self._origin, socket.gethostname(), self._clock(), dict(needed))
            self.beyond.keep_record(held.record, held.text())

    def take(self, digest: str) -> Path:
        """Content by its digest, from here or from the shared store, every byte of it verified."""
        if self.here.blobs.whole(digest):
            return self.path(digest)
        if self.beyond is None:
            raise ArtifactError(f"there is no artifact {digest[:12]} on this machine")
        self.here.blobs.receive(digest, lambda offset: self._pieces(digest, offset))
        return self.path(digest)

    def _pieces(self, digest: str, offset: int) -> Iterator[bytes]:
        """From an offset on, however often the connection is cut, as long as some of it comes between."""
        assert self.beyond is not None
        tried = 0
        while True:
            try:
                for piece in self.beyond.read(digest, offset):
                    offset, tried = offset + len(piece), 0
                    yield piece
                return
            except Cut as cut:
                tried += 1
                if tried >= TRIES:
                    help = "the same command goes on where it stopped"
                    raise ArtifactError(f"{self.where} can't be reached: {cut}", help=help) from cut
                pause(tried - 1)

    # --- what there is -------------------------------------------------------------------------------------

    def entries(self) -> list[Entry]:
        """All things with a name, the newest first."""
        found = (read(text) for text in self.main.records().values())
        return sorted((one for one in found if isinstance(one, Entry)), key=lambda one: (-one.at, one.name))

    def find(self, name: str, key: str) -> Entry | None:
        """What was kept under this name for this key, in the shared store or here."""
        places: list[Backend] = [self.here] if self.beyond is None else [self.here, self.beyond]
        for backend in places:
            found = read(backend.record(record_of(name, key)) or "")
            if isinstance(found, Entry) and (found.name, found.key) == (name, key) and backend.has(found.digest):
                return found
        return None

    # --- retention -------------------------------------------------------------------------------------------

    def sweep(
        self, needed: Mapping[str, str], days: float, keep: int, *, dry: bool = False, grace: float = GRACE
    ) -> Swept:
        """Remove what is older than `days` and not among the `keep` newest of its name, unless this machine needs it
        (`needed`) or another has said so; and content that has lost its name."""
        store, now = self.main, self._clock()
        if not dry:
            self.hold(needed)
        records = {name: read(text) for name, text in store.records().items()}
        entries = [one for one in records.values() if isinstance(one, Entry)]
        held = {**self._others(records.values()), **needed}
        old = [one for one in expired(entries, now, days, keep) if now - one.at >= grace]
        gone = [one for one in old if one.digest not in held]
        left = {one.digest: held[one.digest] for one in old if one.digest in held}
        named = {one.digest for one in entries if one not in gone}
        strays = [
            digest for digest, at in store.lying()
            if digest not in named | set(held) | {one.digest for one in gone} and now - at >= max(grace, _LEFT)
        ]  # fmt: skip
        if dry:
            return Swept(tuple(gone), left, len(strays), sum(one.size for one in gone if one.digest not in named))
        freed = sum(store.remove(digest, grace) for digest in strays)
        removed = []
        for entry in gone:
            if self._still(entry, held):
                freed += self._drop(entry, named, grace)
                removed.append(entry)
        store.tidy(_LEFT)
        return Swept(tuple(removed), left, len(strays), freed)

    def _still(self, entry: Entry, held: Mapping[str, str]) -> bool:
        """Whether nobody has kept it again, or begun to need it, since the sweep began."""
        if read(self.main.record(entry.record) or "") != entry:
            return False
        others = self._others(read(text) for text in self.main.records(HELD).values())
        return entry.digest not in {**held, **others}

    def _drop(self, entry: Entry, named: Iterable[str], grace: float) -> int:
        """Its content first where others name it no more: what is left of a crash is a name without content, which is
        removed next time, and never content that nobody can find."""
        freed = 0 if entry.digest in named else self.main.remove(entry.digest, grace)
        self.main.drop_record(entry.record)
        return freed

    def _others(self, records: Iterable[Entry | Held | None]) -> dict[str, str]:
        """What other machines have said that they need."""
        holds = [one for one in records if isinstance(one, Held) and one.origin != self._origin]
        return {digest: f"{why} on {one.host}" for one in holds for digest, why in one.digests.items()}
