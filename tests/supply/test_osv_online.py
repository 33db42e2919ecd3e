"""OSV over the network, against a stand-in that answers as its API's documents say; the service itself is not asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from ciflow.modules.files import osv_online
from ciflow.modules.files.osv_online import asked
from ciflow.supply.contents import from_lock
from ciflow.supply.errors import AdvisoryError
from ciflow.supply.findings import find
from tests.supply import published

PAGES = {"time": [["RUSTSEC-1", "GHSA-1"], ["RUSTSEC-2"]], "libc": [[]]}


class Osv(BaseHTTPRequestHandler):
    """Two pages of names for one crate; records of all names but `GHSA-gone`."""

    broken = ""

    def do_POST(self) -> None:
        queries = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["queries"]
        self.answer({"results": [self.result(one) for one in queries]})

    def result(self, query: dict[str, Any]) -> dict[str, Any]:
        pages = PAGES.get(query["package"]["name"], [[]])
        at = int(query.get("page_token", "0"))
        more = {"next_page_token": str(at + 1)} if at + 1 < len(pages) else {}
        return (
            {"vulns": [{"id": name, "modified": "2026-01-01T00:00:00Z"} for name in pages[at]], **more}
            if pages[at]
            else {}
        )

    def do_GET(self) -> None:
        name = self.path.rpartition("/")[2]
        package = {"ecosystem": "crates.io", "name": "time"}
        ranges = [{"type": "SEMVER", "events": [{"introduced": "0"}]}]
        aliases = {"GHSA-1": ["RUSTSEC-1"]}.get(name, [])
        self.answer({"id": name, "aliases": aliases, "affected": [{"package": package, "ranges": ranges}]})

    def answer(self, value: Any) -> None:
        body = self.broken.encode() or json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Tests print nothing."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Osv]]:
    handler = type("Answers", (Osv,), {})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("CIFLOW_OSV", f"http://127.0.0.1:{server.server_address[1]}/")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        yield handler
        server.shutdown()


CONTENTS = from_lock(published.lock({("app", "1.0.0", "."): None, ("time", "0.1.45"): None, ("libc", "0.2.1"): None}))


@pytest.mark.usefixtures("server")
def test_every_page_of_every_package_is_asked_for_and_merged() -> None:
    online = asked(CONTENTS.parts)
    assert online.count == 3
    assert {(one.package, one.ids) for one in find(CONTENTS, online.about)} == {
        ("time", ("RUSTSEC-1", "GHSA-1")), ("time", ("RUSTSEC-2",)),
    }  # fmt: skip


@pytest.mark.usefixtures("server")
def test_more_packages_than_one_request_holds_are_asked_for_in_several(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(osv_online, "_AT_ONCE", 1)
    assert asked(CONTENTS.parts).count == 3


@pytest.mark.parametrize("broken", ["{}", "[", '{"results": []}', '{"results": [1, 2]}', "[" * 100_000, "<html>"])
def test_an_answer_that_can_not_be_read_is_no_good_news(server: type[Osv], broken: str) -> None:
    server.broken = broken
    with pytest.raises(AdvisoryError, match="querybatch"):
        asked(CONTENTS.parts)


def test_an_answer_without_end_is_cut_and_refused(server: type[Osv], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(osv_online, "_LARGEST", 1000)
    server.broken = "x" * 10_000
    with pytest.raises(AdvisoryError, match="is larger than"):
        asked(CONTENTS.parts)


def test_without_a_network_the_scan_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIFLOW_OSV", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(AdvisoryError, match=r"OSV can't be asked: .*refused"):
        asked(CONTENTS.parts)
