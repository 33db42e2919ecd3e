"""What an attacker tries on the page: from another site, from a name made to lead here, with bytes of their own."""

from __future__ import annotations

import re
import socket
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from ciflow.cli import serve
from ciflow.diagnostics import Refused
from ciflow.web.serving import refuse_in_the_open
from ciflow.web.tokens import read_tokens
from tests.parts.pki import Authority
from tests.web.server import ADA, PATIENCE, TOKENS, WALL, Server, serving

PLACES = (
    "/", "/runs", "/runs/R-12", "/runs/R-12/output?play=test&task=0", "/services/shield", "/artifacts", "/page.css",
    "/page.js", "/api/status", "/api/services", "/api/services/shield/history", "/api/runs", "/api/runs/R-12",
    "/api/runs/R-12/log", "/api/approvals", "/api/artifacts", "/api/events", "/nothing",
)  # fmt: skip
ACTS = (
    "/api/services/shield/rollback", "/api/services/shield/pause", "/api/services/shield/resume",
    "/api/services/shield/promote", "/api/services/shield/abort", "/api/approvals",
)  # fmt: skip


# --- who ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", PLACES)
def test_nothing_is_to_be_had_without_a_token(page: Server, place: str) -> None:
    for token in ("", "wrong", ADA[:-1], ADA + "x", "Ada"):
        found = page.ask(place, token)
        assert found.status == 401
        assert b"shield" not in found.body and b"R-12" not in found.body


@pytest.mark.parametrize("place", ACTS)
def test_nothing_is_done_without_a_token_that_acts(page: Server, place: str) -> None:
    assert page.act(place, token="").status == 401
    assert page.act(place, token="wrong").status == 401
    assert page.act(place, token=WALL).status == 403
    assert page.act(place, token="", Cookie=page.cookie(WALL), X_Ciflow="1", Origin=page.url[:-1]).status == 403


def test_the_secret_of_a_webhook_is_no_token(page: Server) -> None:
    from tests.web.server import HOOK

    for secret in (HOOK, f"whsec_{HOOK}"):
        assert page.ask("/api/status", secret).status == 401
        assert page.ask(f"/enter?token={secret}", "").status == 401


def test_a_cookie_is_hidden_from_scripts_and_from_other_sites_and_holds_no_token(page: Server) -> None:
    found = page.ask(f"/enter?token={ADA}", "")
    assert (found.status, found.headers["location"]) == (303, "/")
    flags = {flag.strip().lower() for flag in found.headers["set-cookie"].split(";")[1:]}
    assert {"httponly", "samesite=strict", "path=/"} <= flags and "domain" not in found.headers["set-cookie"].lower()
    assert ADA not in found.headers["set-cookie"]
    assert page.ask("/api/status", "", Cookie=page.cookie()).status == 200


def test_a_cookie_is_no_other_ones_and_ends(page: Server) -> None:
    name, _, value = page.cookie().partition("=")
    ends, _, proof = value.partition(".")
    for forged in (f"{int(ends) + 1}.{proof}", f"{ends}.{'0' * 64}", f"1.{proof}", proof, f"{ends}.", "", "٣.x", ADA):
        assert page.ask("/api/status", "", Cookie=f"{name}={forged}".encode().decode("latin-1")).status == 401, forged


def test_somebody_who_leaves_has_no_cookie_any_more(page: Server) -> None:
    found = page.ask("/leave", "", method="POST", Cookie=page.cookie(), Origin=page.url[:-1])
    assert found.status == 303 and "Max-Age=0" in found.headers["set-cookie"]


def test_a_token_can_be_typed(page: Server) -> None:
    form = {"method": "POST", "Content_Type": "application/x-www-form-urlencoded", "Origin": page.url[:-1]}
    assert page.ask("/enter", "", body=f"token={ADA}".encode(), **form).status == 303
    found = page.ask("/enter", "", body=b"token=wrong", **form)
    assert found.status == 401 and "not known here" in found.text and "set-cookie" not in found.headers


# --- from other sites --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [*PLACES, f"/enter?token={ADA}", *ACTS])
def test_a_name_that_was_made_to_lead_here_leads_nowhere(page: Server, place: str) -> None:
    """DNS rebinding: the browser believes that it speaks to its own site, and says so in Host."""
    for host in (
        "evil.example",
        f"evil.example:{page.port}",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "[x]",
    ):
        assert page.ask(place, Host=host).status == 421
    assert page.act(place, Host="evil.example").status == 421


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "127.0.0.1", "[::1]"])
def test_the_names_of_this_machine_are_good(page: Server, host: str) -> None:
    assert page.ask("/api/status", Host=f"{host}:{page.port}").status == 200


@pytest.mark.parametrize("place", ACTS)
def test_another_sites_page_can_do_nothing_with_the_cookie(page: Server, place: str) -> None:
    """Whatever it can send without asking first, and what it can't."""
    cookie, here = page.cookie(), page.url[:-1]
    tries = (
        {"Origin": "https://evil.example"},
        {"Origin": "https://evil.example", "X_Ciflow": "1"},
        {"Origin": "null", "X_Ciflow": "1"},
        {"Origin": f"http://localhost:{page.port}", "X_Ciflow": "1"},
        {"Origin": f"http://127.0.0.1:{page.port + 1}", "X_Ciflow": "1"},
        {"Origin": f"{here}.evil.example", "X_Ciflow": "1"},
        {"Origin": "http://[", "X_Ciflow": "1"},
        {"X_Ciflow": "1"},
        {"Origin": here},
        {"Origin": here, "X_Ciflow": "0"},
        {"Origin": here, "X_Ciflow": "1", "Sec_Fetch_Site": "same-site"},
        {"Origin": here, "X_Ciflow": "1", "Sec_Fetch_Site": "cross-site"},
        {"Origin": here, "X_Ciflow": "1", "Content_Type": "text/plain"},
        {"Origin": here, "X_Ciflow": "1", "Content_Type": "application/x-www-form-urlencoded"},
        {"Origin": here, "X_Ciflow": "1", "Content_Type": ""},
    )
    for headers in tries:
        assert page.act(place, token="", Cookie=cookie, **headers).status in (403, 415), headers


def test_a_preflight_is_granted_nothing(page: Server) -> None:
    asked = {"Origin": "https://evil.example", "Access_Control_Request_Method": "POST"}
    found = page.ask(ACTS[0], "", method="OPTIONS", **asked)
    assert found.status == 405
    assert not [name for name in found.headers if name.startswith("access-control")]


def test_no_answer_may_be_read_framed_or_sniffed_by_another_site(page: Server) -> None:
    for place in (*PLACES[:-2], "/nothing"):
        headers = page.ask(place).headers
        assert headers["x-content-type-options"] == "nosniff" and headers["x-frame-options"] == "DENY"
        assert headers["cross-origin-resource-policy"] == "same-origin" and headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == "no-store"
        policy = dict(part.strip().partition(" ")[::2] for part in headers["content-security-policy"].split(";"))
        assert policy["default-src"] == "'none'" and policy["script-src"] == policy["style-src"] == "'self'"
        assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
        assert "unsafe" not in headers["content-security-policy"]
        assert not [name for name in headers if name.startswith("access-control")]


def test_a_link_of_another_site_is_asked_once_more_with_the_cookie(page: Server) -> None:
    """SameSite=Strict keeps the cookie back on the way from a chat; the page's own refresh brings it."""
    assert 'http-equiv="refresh"' in page.ask("/", "", Sec_Fetch_Site="cross-site").text
    assert 'http-equiv="refresh"' not in page.ask("/", "", Sec_Fetch_Site="same-origin").text


# --- with bytes of their own -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/../../../../etc/passwd", "/..%2f..%2fetc%2fpasswd", "/page.css/../../app.py", "/%2e%2e/app.py", "/app.py",
        "/page.js%00.py", "//etc/passwd", "/api/artifacts/../../journal.db", "/api/artifacts/..%2f..%2fjournal.db",
        "/api/artifacts/%2fetc%2fpasswd", "/runs/..%2f..", "/services/%2e%2e%2f", "/api/runs/%c0%ae%c0%ae",
        "/api/artifacts/" + "0" * 64,
    ],
)  # fmt: skip
def test_no_path_leads_to_a_file(page: Server, path: str) -> None:
    found = page.ask(path)
    assert found.status in (400, 404)
    assert b"root:" not in found.body and b"import" not in found.body


def test_a_snapshot_of_sources_is_no_artifact(page: Server) -> None:
    from ciflow.store.store import Store

    with Store.open(page.state) as store:
        digest = store.blobs.put(b"the sources of a playbook")
    assert page.ask(f"/api/artifacts/{digest}").status == 404


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400),  # no Host
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nCookie: a=b\r\nCookie: c=d\r\n\r\n", 400),
        (b"GET http://evil/ HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 40_000 + b"\r\n\r\n", 431),
        (b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 431),
        (b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 70000\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 501),
        (b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 501),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: h2c\r\n\r\n", 501),
        (b"GET / HTTP/1.1\r\nHost : localhost\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 60 + b"\r\n\r\n", 400),
        (b"DELETE / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 405),
    ],
)  # fmt: skip
def test_what_is_no_request_of_ours_is_refused(page: Server, head: bytes, status: int) -> None:
    found = page.raw(head)
    assert found.startswith(f"HTTP/1.1 {status} ".encode()), found[:200]
    assert page.ask("/api/status").status == 200


def test_one_request_never_hides_another(page: Server) -> None:
    """Smuggling: what follows a body of a said length is a request of its own, and needs its own token."""
    inner = b"GET /api/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    outer = f"GET /api/status HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {ADA}\r\n\r\n".encode()
    found = page.raw(outer + inner)
    assert re.findall(rb"HTTP/1.1 (\d+)", found) == [b"200", b"401"]


@pytest.mark.parametrize("body", [b"{", b"[]", b"1", b'"x"', b"\xff", b"[" * 5000, b'{"nothing": 1}', b'{"reason": 1}'])
def test_a_body_that_says_nothing_is_refused_in_plain_words(page: Server, body: bytes) -> None:
    found = page.ask(ACTS[0], method="POST", body=body, Content_Type="application/json")
    assert found.status == 409 and found.json()["error"]
    assert "Traceback" not in page.said


def test_a_number_that_is_none_is_refused(page: Server) -> None:
    for place in ("/api/events?after=x", "/api/runs?n=-1", "/api/runs/R-12/log?after=1e9", "/api/runs?n=" + "9" * 40):
        assert page.ask(place).status == 400


# --- what hosts print --------------------------------------------------------------------------------------------


class Seen(HTMLParser):
    """Elements and attributes, as a browser finds them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.scripts: list[dict[str, str | None]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag == "script":
            self.scripts.append(dict(attrs))


def test_nothing_that_a_host_a_task_or_a_playbook_says_becomes_markup(page: Server) -> None:
    for place in ("/", "/runs", "/runs/R-14", "/runs/R-14/output?play=p&task=0", "/artifacts"):
        found = page.ask(place)
        assert found.status == 200 and "\x1b" not in found.text
        assert "alert(1)" in found.text or place == "/artifacts"
        seen = Seen(found.text)
        assert not seen.tags & {"img", "b", "iframe", "object", "base", "style"}
        assert not [name for name in seen.attributes if name.startswith("on") or name in ("style", "srcdoc")]
        assert seen.scripts == [{"src": "/page.js", "defer": "defer"}]


def test_json_is_json_whatever_is_in_it(page: Server) -> None:
    for place in ("/api/runs/R-14", "/api/runs/R-14/log", "/api/approvals", "/api/services"):
        found = page.ask(place)
        assert found.headers["content-type"] == "application/json"
        assert found.json()
        assert b"Infinity" not in found.body


# --- how it is started -------------------------------------------------------------------------------------------


def refused(folder: Path, *words: str, **more: object) -> str:
    with pytest.raises(AssertionError) as found, serving(folder, *words, **more):  # type: ignore[arg-type]
        pass
    return str(found.value)


def test_tokens_don_t_travel_in_the_open_beyond_this_machine(tmp_path: Path) -> None:
    said = refused(tmp_path, "--address", "0.0.0.0")
    assert "everybody between here and there could read the tokens" in said and "--without-tls" in said
    for address in ("::", "192.0.2.1", "example.org"):
        with pytest.raises(Refused):
            refuse_in_the_open(address, secure=False, explicit=False)
    for address in ("127.0.0.1", "::1", "localhost", "127.9.9.9"):
        refuse_in_the_open(address, secure=False, explicit=False)


def test_who_says_so_may_listen_in_the_open(tmp_path: Path) -> None:
    with serving(tmp_path, "--address", "0.0.0.0", "--without-tls", "--name", "ci.example.org") as found:
        assert found.ask("/api/artifacts", Host="ci.example.org").status == 404  # there is no journal yet
        assert found.ask("/api/artifacts", Host="other.example.org").status == 421


def test_over_tls_the_cookie_never_leaves_it(tmp_path: Path) -> None:
    import ssl

    authority = Authority(tmp_path / "pki")
    authority.leaf("page", "localhost", alternatives=["localhost"])
    words = ["--cert", str(tmp_path / "pki/page.crt"), "--key", str(tmp_path / "pki/page.key")]
    trust = ssl.create_default_context(cafile=str(authority.ca))
    with serving(tmp_path, *words, tls=trust) as found:
        assert found.url.startswith("https://")
        entered = found.ask(f"/enter?token={ADA}", "")
        assert (
            entered.headers["set-cookie"].startswith("__Host-ciflow-") and "; Secure" in entered.headers["set-cookie"]
        )
        with socket.create_connection(("127.0.0.1", found.port), PATIENCE) as plain:
            plain.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert not plain.recv(100).startswith(b"HTTP")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ada act short\n", "can be guessed"),
        ("ada act\n", "this is no token"),
        (f"ada does {ADA}\n", "nothing that is known"),
        (f"a;b act {ADA}\n", "a name has letters"),
        (f"ada act {ADA}\nbob act {ADA}\n", "the same secret"),
        (f"ada act {ADA}\nada read {WALL}\n", "the same name"),
        ("jira webhook " + "not-base64-" * 4 + "\n", "not base64"),
        ("# nobody\n", "there is no token"),
    ],
)
def test_tokens_that_are_none_are_refused_and_not_shown(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "tokens"
    file.write_text(text)
    file.chmod(0o600)
    with pytest.raises(Refused) as found:
        read_tokens(file)
    told = found.value.message + found.value.help
    assert said in told and ADA not in told and "not-base64" not in told


def test_tokens_that_others_can_read_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "open"
    file.write_text(TOKENS)
    file.chmod(0o644)
    assert "others can read the tokens" in refused(tmp_path, "--tokens", str(file), tokens="")


def test_a_token_of_the_environment_is_not_printed_and_one_that_can_be_guessed_is_refused(tmp_path: Path) -> None:
    with serving(tmp_path, "--read-only", tokens="", env={"CIFLOW_SERVE_TOKEN": ADA}) as found:
        assert ADA not in found.url and ADA not in found.said
        assert found.ask("/").status == 200
        assert found.act(ACTS[0]).status == 403
    assert "can be guessed" in refused(tmp_path, tokens="", env={"CIFLOW_SERVE_TOKEN": "1234"})


def test_without_the_extra_it_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h11", None)
    with pytest.raises(Refused) as found:
        serve.command.main([], standalone_mode=False)
    assert (found.value.message, found.value.help) == ("the page needs h11", "pip install 'ciflow[web]'")


def test_without_tokens_a_link_is_printed_that_works(tmp_path: Path) -> None:
    with serving(tmp_path, tokens="") as found:
        secret = found.url.partition("token=")[2]
        assert len(secret) >= 32 and found.ask("/", secret).status == 200
