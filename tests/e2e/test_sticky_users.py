"""`by:` through whole releases: whoever has met the new version stays with it while its share grows, to the end."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from tests.e2e.service import Service, finish, service

USERS = 60
THREADS = 4


@pytest.fixture(scope="module", params=["haproxy", "envoy"])
def production(request: pytest.FixtureRequest) -> Iterator[Service]:
    with service(request.param, by="cookie:who") as found:
        yield found


@dataclass
class User:
    """Somebody with a browser: one connection, and the cookies that were set."""

    link: http.client.HTTPConnection
    cookie: str = ""
    met: list[str] = field(default_factory=list)  # the slot of each answer

    def ask(self) -> None:
        self.link.request("GET", "/", headers={"Cookie": self.cookie} if self.cookie else {})
        answer = self.link.getresponse()
        answer.read()
        assert answer.status == 200
        given = (answer.getheader("Set-Cookie") or "").partition(";")[0]
        assert bool(given) != bool(self.cookie), "a cookie is given once"
        self.cookie = given or self.cookie
        self.met.append(answer.getheader("X-Slot", ""))

    @property
    def moves(self) -> int:
        return sum(one != two for one, two in zip(self.met, self.met[1:], strict=False))


class Crowd:
    """Users who ask in turn, each one request after the other, until left."""

    def __init__(self, port: int) -> None:
        self.users = [User(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) for _ in range(USERS)]
        self.failures: list[BaseException] = []
        self._left = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(self.users[n::THREADS],)) for n in range(THREADS)]

    def __enter__(self) -> Crowd:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()
        for thread in self._threads:
            thread.join()
        for user in self.users:
            user.link.close()

    def _ask(self, users: list[User]) -> None:
        try:
            while not self._left.wait(0.05):
                for user in users:
                    user.ask()
        except BaseException as error:  # told to the test, which has its own thread
            self.failures.append(error)


def test_nobody_goes_back_while_the_share_grows(production: Service) -> None:
    version, before = production.next(), production.live()
    after = "b" if before == "a" else "a"
    with Crowd(production.port) as crowd:
        code, said = finish(production.apply(version, hold="1.5s"))
        assert code == 0, said
        assert production.live() == after
    assert not crowd.failures, crowd.failures
    assert {(user.met[0], user.met[-1]) for user in crowd.users} == {(before, after)}
    assert all(user.moves == 1 for user in crowd.users), "somebody went back and forth"
    assert len({user.cookie for user in crowd.users}) == USERS
