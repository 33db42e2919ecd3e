"""Artifacts in a container registry, by the OCI distribution specification 1.1.

A record is a manifest with a tag of its own: it names its content as a layer, so that the registry keeps that as long
as the record, and other tools (`oras pull`) can fetch it. https://github.com/opencontainers/distribution-spec
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

from ciflow.diagnostics import ArtifactError, Refused
from ciflow.encoding import loads
from ciflow.model import EMPTY
from ciflow.store.artifacts.backend import PART, Tickets, parts
from ciflow.store.artifacts.logins import Badge
from ciflow.store.artifacts.s3 import skipped
from ciflow.store.artifacts.web import TRIES, Answer, Cut, Web, pause

_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_EMPTY = b"{}"  # what stands where a manifest must name something and has nothing to name
_EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
_TYPE = "application/vnd.ciflow.record.v1"
_RECORD = "dev.ciflow.record"
_TITLE = "org.opencontainers.image.title"
_REPOSITORY = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Registry:
    """A Backend over one repository. A registry on this machine is spoken to without TLS, as Docker does."""

    part = PART

    def __init__(self, where: str, tickets: Tickets) -> None:
        address = urlsplit(where)
        said = {name: values[-1] for name, values in parse_qs(address.query).items()}
        repository = address.path.strip("/")
        odd = set(said) - {"tls"} or said.get("tls", "on") not in ("on", "off") or "@" in address.netloc
        if odd or not address.hostname or not _REPOSITORY.fullmatch(repository):
            help = "oci://HOST/REPOSITORY, with ?tls=off for a server without TLS; logins are those of `docker login`"
            raise Refused(f"no repository is called {where}", help=help)
        tls = said.get("tls", "off" if address.hostname in _LOOPBACK else "on") == "on"
        self._name = f"{address.netloc}/{repository}"
        self._base = f"{'https' if tls else 'http'}://{address.netloc}/v2/{repository}"
        self._tickets = tickets
        self._web = Web(self.where)
        self._badge = Badge(address.netloc, self._web, tls=tls)

    @property
    def where(self) -> str:
        return f"oci://{self._name}"

    # --- content -----------------------------------------------------------------------------------------

    def has(self, digest: str) -> bool:
        return self._ask("HEAD", self._blob(digest), well=(200, 404)).status == 200

    def send(self, digest: str, source: Path) -> None:
        """Piece by piece. After a cut the registry is asked how far it came; one that has given the upload up (as
        docker-registry does when a piece broke off in the middle) gets it anew."""
        ticket = f"{self.where} {digest}"
        tried = furthest = 0
        while True:
            place, sent = self._under_way(self._tickets.get(ticket))
            try:
                for reached, come in self._sending(place, sent, digest, source):
                    place = reached
                    self._tickets.set(ticket, place)
                    if come > furthest:
                        furthest, tried = come, 0
                self._ended(place, digest)
                return self._tickets.forget(ticket)
            except Cut as cut:
                tried += 1
                if tried >= TRIES:
                    raise self._web.lost(str(cut)) from cut
                pause(tried - 1)

    def _under_way(self, place: str) -> tuple[str, int]:
        """An upload that was begun before: where it goes on, and how many bytes have come. Else a new one."""
        if place:
            answer = self._ask("GET", place, well=(204, 202, 200, 400, 404, 416))
            if answer.status in (204, 202, 200):
                return self._place(answer, place), _come(answer)
        return self._begun(), 0

    def _begun(self) -> str:
        return self._place(self._ask("POST", f"{self._base}/blobs/uploads/", body=b"", well=(202,)))

    def _sending(self, place: str, sent: int, digest: str, source: Path) -> Iterator[tuple[str, int]]:
        """Bring what is left there; after each piece, where it goes on and how many bytes have come. Raises Cut."""
        for offset, piece in parts(source, digest, self.part):
            rest = piece[max(0, sent - offset) :]
            if not rest:
                continue
            span = {"content-range": f"{offset + len(piece) - len(rest)}-{offset + len(piece) - 1}"}
            answer = self._web.once("PATCH", place, {**span, **self._badge.headers}, rest)
            if answer.status == 401 and self._badge.renew(answer.headers.get("www-authenticate", "")):
                answer = self._web.once("PATCH", place, {**span, **self._badge.headers}, rest)
            if answer.status in (404, 408, 416, 429) or answer.status >= 500:
                raise Cut(f"it answers {answer.status} to a piece")
            if answer.status not in (202, 204):
                raise self._refusal(answer, "an upload")
            place = self._place(answer, place)
            yield place, offset + len(piece)

    def _ended(self, place: str, digest: str, rest: bytes = b"") -> None:
        """All bytes have come with these: the registry checks them, and shows them from now on."""
        joint = "&" if "?" in place else "?"
        self._ask("PUT", f"{place}{joint}digest=sha256%3A{digest}", body=rest, well=(201, 204))

    def read(self, digest: str, offset: int) -> Iterator[bytes]:
        headers = {"range": f"bytes={offset}-"}
        url = self._blob(digest)
        with self._web.stream(url, {**headers, **self._badge.headers}) as (answer, pieces):
            if answer.status != 401:
                yield from self._content(answer, pieces, digest, offset)
                return
        if not self._badge.renew(answer.headers.get("www-authenticate", "")):
            raise self._refusal(answer, digest[:12])
        with self._web.stream(url, {**headers, **self._badge.headers}) as (answer, pieces):
            yield from self._content(answer, pieces, digest, offset)

    def _content(self, answer: Answer, pieces: Iterator[bytes], digest: str, offset: int) -> Iterator[bytes]:
        if answer.status == 206:
            yield from pieces
        elif answer.status == 200:
            yield from skipped(pieces, offset)
        elif answer.status >= 500 or answer.status == 429:
            raise Cut(f"it answers {answer.status}")
        elif answer.status != 416:
            raise self._refusal(Answer(answer.status, answer.headers, b"".join(pieces)), digest[:12])

    def remove(self, digest: str, grace: float) -> int:  # noqa: ARG002
        """Registries don't say when content came, nor how much they free; those that delete nothing say 405."""
        self._ask("DELETE", self._blob(digest), well=(202, 404, 405))
        return 0

    def lying(self) -> Iterator[tuple[str, float]]:
        """A registry lists no content; what no manifest names is its own collector's."""
        return iter(())

    def tidy(self, grace: float) -> None:
        """Uploads that were left are the registry's own to purge."""

    # --- records -----------------------------------------------------------------------------------------

    def record(self, name: str) -> str | None:
        answer = self._ask("GET", f"{self._base}/manifests/{name}", {"accept": _MANIFEST}, well=(200, 404))
        if answer.status == 404:
            return None
        try:
            return str(loads(answer.body).get("annotations", {}).get(_RECORD, ""))
        except (ValueError, AttributeError) as e:
            raise ArtifactError(f"{self.where} gives no manifest for {name}") from e

    def records(self, prefix: str = "ciflow-") -> dict[str, str]:
        found = {name: self.record(name) for name in self._tags() if name.startswith(prefix)}
        return {name: text for name, text in found.items() if text}

    def _tags(self) -> Iterator[str]:
        url = f"{self._base}/tags/list?n=500"
        while url:
            answer = self._ask("GET", url, well=(200, 404))
            if answer.status == 404:  # a repository is made by the first push
                return
            try:
                yield from loads(answer.body).get("tags") or ()
            except (ValueError, AttributeError) as e:
                raise ArtifactError(f"{self.where} doesn't list its tags") from e
            next_page = re.search(r'<([^>]+)>; *rel="?next"?', answer.headers.get("link", ""))
            url = urljoin(url, next_page[1]) if next_page else ""

    def keep_record(self, name: str, text: str, digest: str = "", title: str = "") -> None:
        empty = sha256(_EMPTY).hexdigest()
        if not self.has(empty):
            self._ended(self._begun(), empty, _EMPTY)
        config = {"mediaType": _EMPTY_TYPE, "digest": f"sha256:{empty}", "size": len(_EMPTY)}
        layer: dict[str, Any] = config if not digest else {
            "mediaType": "application/octet-stream", "digest": f"sha256:{digest}", "size": self._size(digest),
            "annotations": {_TITLE: title},
        }  # fmt: skip
        manifest = {
            "schemaVersion": 2, "mediaType": _MANIFEST, "artifactType": _TYPE, "config": config, "layers": [layer],
            "annotations": {_RECORD: text},
        }  # fmt: skip
        body = json.dumps(manifest).encode()
        self._ask("PUT", f"{self._base}/manifests/{name}", {"content-type": _MANIFEST}, body, well=(201,))

    def _size(self, digest: str) -> int:
        answer = self._ask("HEAD", self._blob(digest))
        return int(answer.headers.get("content-length", 0))

    def drop_record(self, name: str) -> None:
        """A tag goes with its manifest, which no other tag has: each record is one of its own."""
        url = f"{self._base}/manifests"
        found = self._ask("HEAD", f"{url}/{name}", {"accept": _MANIFEST}, well=(200, 404))
        if found.status == 404:
            return
        digest = found.headers.get("docker-content-digest", name)
        answer = self._ask("DELETE", f"{url}/{digest}", well=(202, 404, 405))
        if answer.status == 405:
            raise ArtifactError(
                f"{self.where} deletes nothing", help="allow it to (docker-registry: storage.delete.enabled)"
            )

    # --- private -----------------------------------------------------------------------------------------

    def _blob(self, digest: str) -> str:
        return f"{self._base}/blobs/sha256:{digest}"

    def _place(self, answer: Answer, before: str = "") -> str:
        """Where an upload goes on. It may be a path, and is followed on this registry only: a login goes along."""
        place = urljoin(self._base, answer.headers.get("location") or before)
        if urlsplit(place).netloc != urlsplit(self._base).netloc:
            raise ArtifactError(f"{self.where} sends an upload elsewhere: {urlsplit(place).netloc}")
        return place

    def _ask(
        self, method: str, url: str, headers: Mapping[str, str] = EMPTY, body: bytes | None = None,
        well: Sequence[int] = (200,),
    ) -> Answer:  # fmt: skip
        answer = self._web.ask(method, url, {**headers, **self._badge.headers}, body)
        if answer.status == 401 and self._badge.renew(answer.headers.get("www-authenticate", "")):
            answer = self._web.ask(method, url, {**headers, **self._badge.headers}, body)
        if answer.status not in well:
            raise self._refusal(answer, urlsplit(url).path.rpartition("/")[2])
        return answer

    def _refusal(self, answer: Answer, what: str) -> ArtifactError:
        try:
            errors = loads(answer.body).get("errors") or [{}]
            why = " ".join(str(errors[0].get(key, "")) for key in ("code", "message")).strip()
        except (ValueError, AttributeError, IndexError):
            why = ""
        help = f"docker login {self._name.partition('/')[0]}" if answer.status in (401, 403) else ""
        return ArtifactError(f"{self.where} refuses {what}: {why or answer.status}", help=help)


def _come(answer: Answer) -> int:
    """Bytes that a registry has of an upload: its Range is 0-LAST; 0-0 is what it says of none, too."""
    last = re.fullmatch(r"(?:bytes=)?0-(\d+)", answer.headers.get("range", ""))
    return int(last[1]) + 1 if last and int(last[1]) else 0
