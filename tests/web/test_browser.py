"""The page as somebody on call has it on a phone, in a real browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from ciflow.model import Event
from tests.e2e.service import Service, finish
from tests.parts.browser import Browser, browser
from tests.report.story import release
from tests.web.server import ADA, TOKENS, WALL, Server, serving, wait, written

pytestmark = pytest.mark.xdist_group("web")
TAB, ENTER = "\ue004", "\ue007"  # W3C WebDriver, "Keyboard actions"
QUESTION = {"prompt": "Ship 1.4.0?", "until": 0, "approvers": []}


@pytest.fixture(scope="module")
def phone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("browser")) as found:
        yield found


def stopped(phone: Browser, server: Server) -> list[str]:
    """What the page's own policy, or a fault of its script, has brought to the console."""
    return [one for one in phone.complaints() if server.url in one or "Security Policy" in one]


def test_a_rollout_is_seen_as_it_goes_and_rolled_back_with_one_tap(
    production: Service, released: Server, phone: Browser
) -> None:
    """Nobody loads the page again, and nothing is asked."""
    phone.go(f"{released.url}enter?token={ADA}")
    phone.sees("#service-shield", "shield")
    assert ADA not in phone.run("return location.href"), "the token is in no address any more"
    version, before = production.next(), production.live()
    rolling = production.apply(version, hold="5m", deadline="30m")
    production.until(version, "holding", 2500)
    phone.sees(".service table", "25 %")
    phone.sees(".row", "Next step")
    assert phone.run("return document.documentElement.scrollWidth <= window.innerWidth"), "it fits"
    top = phone.run("return document.querySelector('.back').getBoundingClientRect().bottom / window.innerHeight")
    assert top < 0.5, "the way back is in the upper half of the screen"
    phone.tap("#back-shield")
    phone.sees("#said", "verified by its own counters")
    code, said = finish(rolling)
    assert code == 6, said
    assert production.live() == before
    phone.sees(".service", "fenced")
    assert phone.run("return document.getElementById('said').getAttribute('aria-live')") == "assertive"
    assert not stopped(phone, released)


@pytest.fixture
def asking(tmp_path: Path) -> Iterator[Server]:
    told = [
        *release().events,
        Event(kind="run_started", run="R-30", data={"playbook": "x.yml", "who": "bob", "request": {}}),
        Event(kind="run_ended", run="R-30", data={"exit": 130, "result": "interrupted"}),
        Event(kind="approval_wanted", run="R-30", play="ship", data=QUESTION),
    ]
    written(tmp_path / "state", told)
    with serving(tmp_path) as found:
        yield found


def test_an_approval_takes_two_taps_and_is_gone_then(asking: Server, phone: Browser) -> None:
    phone.go(f"{asking.url}enter?token={ADA}")
    phone.sees("#waiting", "Ship 1.4.0?")
    phone.tap("#waiting .approve")
    phone.sees("#waiting .approve", "tap again")
    assert len(asking.ask("/api/approvals").json()) == 1
    wait(lambda: _approved(phone), "the answer")  # a second tap that comes late is a first one again
    wait(lambda: not phone.text("#waiting"), "the question is gone")
    assert "(1 waiting)" not in phone.run("return document.title")


def _approved(phone: Browser) -> bool:
    """Whether it has been said; else a tap, one at a time."""
    if "approved: Ship 1.4.0?" in phone.text("#said"):
        return True
    if phone.text("#waiting .approve"):
        phone.tap("#waiting .approve")
    return False


@pytest.mark.slow
def test_by_the_keyboard_alone(asking: Server, phone: Browser) -> None:
    phone.go(f"{asking.url}enter?token={ADA}")
    phone.sees("#service-shield", "shield")
    names = []
    for _ in range(12):
        phone.press(TAB)
        names.append(str(phone.run("return document.activeElement.id || document.activeElement.textContent")))
        if names[-1] == "back-shield":
            break
    assert names[0] == "To what it shows" and names[-1] == "back-shield", names
    asking.append(Event(kind="annotation", run="R-12", data={"by": "ada", "reason": "a word"}))
    wait(lambda: "live" in phone.text("#live"), "the page was fetched again")
    assert phone.run("return document.activeElement.id") == "back-shield", "what is new takes no focus away"
    phone.press(ENTER)
    phone.sees("#said", "shield")


@pytest.mark.slow
def test_it_comes_back_by_itself_after_the_server_was_away(tmp_path: Path, phone: Browser) -> None:
    written(tmp_path / "state", release().events)
    with serving(tmp_path) as first:
        port = str(first.port)
        phone.go(f"{first.url}enter?token={ADA}")
        phone.sees("#live", "live")
    phone.sees("#live", "not connected")
    written(
        tmp_path / "state", [Event(kind="run_started", run="R-40", data={"playbook": "while_away.yml", "who": "bob"})]
    )
    with serving(tmp_path, "--port", port):
        phone.sees("main", "while_away.yml")
        phone.sees("#live", "live")


def test_what_hosts_print_runs_nothing(page: Server, phone: Browser) -> None:
    phone.go(f"{page.url}enter?token={ADA}")
    for place in ("", "runs", "runs/R-14", "runs/R-14/output?play=p&task=0", "artifacts"):
        phone.go(page.url + place)
        phone.sees("main", "alert(1)" if place != "artifacts" else "Artifacts")
        assert phone.run("return document.querySelectorAll('main img, main script').length") == 0
    assert not stopped(phone, page)


@pytest.mark.slow
def test_without_a_script_it_shows_how_things_stand(page: Server, tmp_path: Path) -> None:
    with browser(tmp_path / "plain", scripts=False) as plain:
        plain.go(f"{page.url}enter?token={ADA}")
        shown = plain.text("main")
        assert re.search(r"1\.4\.0\s+b", shown) and "ciflow rollback shield" in shown
        assert "Roll back shield" not in shown, "a button that does nothing is not shown"
        plain.run("document.querySelector('.service h2 a').click()")
        assert "Releases" in plain.text("main")


def test_who_may_look_is_offered_nothing(page: Server, phone: Browser) -> None:
    assert WALL in TOKENS
    phone.go(f"{page.url}enter?token={WALL}")
    phone.sees("main", "ciflow rollback shield")
    assert phone.run("return document.querySelectorAll('button').length") == 0
