"""One service in production for each router, shared by the tests of a file: each leaves all traffic on one slot."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.service import Service, service


@pytest.fixture(scope="module")
def production(request: pytest.FixtureRequest) -> Iterator[Service]:
    """A service behind the router that the test's parameter names; Envoy by default."""
    with service(getattr(request, "param", "envoy")) as found:
        yield found
