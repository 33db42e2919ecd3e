"""Metric providers: what they are asked and how their answers are taken. Prometheus is a real one; of the services
that can't be had on a machine of one's own, a local server gives the answers that their documentation shows."""

import json
import math
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from ciflow.lang.canary import PROVIDERS as WORDS
from ciflow.model import Http, Reply
from ciflow.rollout.asking import Asking
from ciflow.rollout.counting import Counts
from ciflow.rollout.gates import gates_from
from ciflow.rollout.judge import Interval, Panel
from ciflow.rollout.metrics import PROVIDERS, sample
from ciflow.rollout.metrics import watch as left_to_others
from ciflow.rollout.metrics.cloudwatch import Account, signed
from ciflow.rollout.routers.dial import WHOLE
from ciflow.rollout.thresholds import Sample, Threshold
from tests.parts.http import Recorded, get, recorded
from tests.parts.process import wait_for
from tests.parts.prometheus import prometheus
from tests.rollout.host import AgentHost
from tests.rollout.test_controller import shares, to_the_end
from tests.rollout.world import Release, World, spec_of, world_of

NOW = 1_700_000_000.0
ORACLE = {"access": "AKIDEXAMPLE", "secret": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"}


@pytest.fixture(scope="module")
def host() -> Iterator[AgentHost]:
    with AgentHost() as controller:
        yield controller


@pytest.fixture
def server() -> Iterator[Recorded]:
    with recorded() as told:
        yield told


def ask(host: AgentHost, kind: str, timeout: float = 60.0, **options: Any) -> Sample:
    return host.drive(sample({kind: options}, NOW, timeout))


def outcome(found: Sample) -> tuple[str, str]:
    return Threshold(max=0.5).classify(found)


def test_the_language_names_the_providers_that_there_are() -> None:
    assert set(WORDS) == set(PROVIDERS)


# --- Prometheus ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    page = b'jobs{slot="a"} 1\njobs{slot="b"} 0.25\nnot_a_number NaN\n'
    with recorded() as target:
        target.body, target.headers = page, {"Content-Type": "text/plain"}
        with prometheus(tmp_path_factory.mktemp("prometheus"), {"shop": [target.url.removeprefix("http://")]}) as one:
            wait_for(lambda: '"result":[]' not in get(f"{one.url}/api/v1/query?query=jobs").body)
            yield one.url


@pytest.mark.parametrize(
    ("query", "expected", "why"),
    [
        ('jobs{slot="b"}', "good", "0.25 is within"),
        ('jobs{slot="a"}', "bad", "1 is above"),
        ("scalar(jobs{slot='b'})", "good", "0.25"),
        ("1 - 2", "good", "-1"),
        ("nothing_of_the_kind", "inconclusive", "answered nothing"),
        ("jobs", "inconclusive", "2 series"),
        ("not_a_number", "inconclusive", "NaN"),
        ("0 / 0", "inconclusive", "NaN"),
        ("jobs[1m]", "inconclusive", "matrix"),
        ("rate(jobs", "inconclusive", "bad_data: "),
    ],
)
def test_a_real_prometheus(host: AgentHost, real: str, query: str, expected: str, why: str) -> None:
    until = time.monotonic() + 90  # a busy machine misses scrapes of a quarter of a second
    while why not in (answered := outcome(ask(host, "prometheus", url=real, query=query)))[1]:
        assert time.monotonic() < until, answered
    assert answered[0] == expected


def test_a_real_prometheus_whose_target_has_gone_answers_nothing_stale(host: AgentHost, tmp_path: Path) -> None:
    with recorded() as target:
        target.body, target.headers = b"jobs 0.25\n", {"Content-Type": "text/plain"}
        with prometheus(tmp_path, {"shop": [target.url.removeprefix("http://")]}) as one:

            def until_it_is(expected: str) -> str:
                end = time.monotonic() + 90
                while (answered := outcome(ask(host, "prometheus", url=one.url, query="jobs")))[0] != expected:
                    assert time.monotonic() < end, answered
                    time.sleep(0.1)
                return answered[1]

            assert "0.25 is within" in until_it_is("good")
            target.status = 500
            assert "answered nothing" in until_it_is("inconclusive")


@pytest.mark.parametrize(
    ("query", "number"),
    [('jobs{slot="b"}', "0.25"), ("scalar(jobs{slot='a'})", "1"), ("1 - 2", "-1"), ("nothing_of_the_kind", None),
     ("jobs", None), ("not_a_number", "NaN"), ("jobs[1m]", None), ("rate(jobs", None),
     ('label_replace(jobs{slot="b"}, "odd", "]}{[,", "slot", ".*")', None)],
)  # fmt: skip
def test_a_pause_that_nobody_watches_finds_the_number_that_a_controller_would(
    real: str, query: str, number: str | None
) -> None:
    """Where there is not exactly one, it finds none, and gives nothing back. NaN is in no limit and out of none."""
    rule = Threshold(max=3.0, failure_limit=2, interval=30.0)
    watch = left_to_others({"prometheus": {"url": real, "query": query}}, 2.0, rule)
    assert watch is not None and isinstance(watch.read, Http)
    assert (watch.limit, watch.least, watch.misses, watch.every) == (3.0, None, 2, 30.0)
    until = time.monotonic() + 60
    while True:  # a busy machine misses scrapes of a quarter of a second
        found = re.search(watch.pattern, get(watch.read.url).body)
        if (found[1] if found else None) == number:
            return
        assert time.monotonic() < until, get(watch.read.url).body
        time.sleep(0.2)


@pytest.mark.parametrize(
    ("kind", "options"),
    [("prometheus", {"token": "t"}), ("prometheus", {"headers": {"X-Scope": "a"}}), ("prometheus", {"ca": "/ca.pem"}),
     ("prometheus", {"user": "u", "password": "p"}), ("http", {}), ("command", {"argv": ["true"]})],
)  # fmt: skip
def test_what_only_the_controller_can_ask_is_left_to_nobody_else(kind: str, options: dict[str, Any]) -> None:
    source = {kind: {"url": "http://prometheus:9090", "query": "up", **options}}
    assert left_to_others(source, 2.0, Threshold(max=1.0)) is None


# --- faults that all have in common ----------------------------------------------------------------------

OPTIONS: dict[str, dict[str, Any]] = {
    "prometheus": {"query": "up"},
    "http": {"value": "a"},
    "datadog": {"query": "q", "api_key": "k", "app_key": "p"},
    "cloudwatch": {"query": "q", "region": "eu-central-1", "access_key": "a", "secret_key": "s"},
    "influxdb": {"query": "q", "org": "o"},
    "graphite": {"query": "q"},
}


@pytest.mark.parametrize("kind", OPTIONS)
@pytest.mark.parametrize(
    ("status", "headers", "why"),
    [
        (401, {}, "HTTP 401: the credentials are refused"),
        (403, {}, "HTTP 403: the credentials may not ask this"),
        (429, {"Retry-After": "30"}, "HTTP 429: asked too often, again after 30 s"),
        (500, {}, "HTTP 500"),
        (302, {"Location": "http://127.0.0.1:1/"}, "HTTP 302"),
    ],
)
def test_a_provider_that_refuses_is_inconclusive_and_says_why(
    host: AgentHost, server: Recorded, kind: str, status: int, headers: dict[str, str], why: str
) -> None:
    server.status, server.headers, server.body = status, headers, b"no"
    found, said = outcome(ask(host, kind, url=server.url, **OPTIONS[kind]))
    assert found == "inconclusive" and why in said
    assert len(server.asked) == 1, "asked once: no redirect is followed with credentials"


@pytest.mark.parametrize("kind", OPTIONS)
def test_a_slow_provider_is_waited_for_no_longer_than_said(host: AgentHost, server: Recorded, kind: str) -> None:
    server.delay = 300.0
    began = time.monotonic()
    found, said = outcome(ask(host, kind, 0.5, url=server.url, **OPTIONS[kind]))
    assert found == "inconclusive" and "timed out" in said
    assert time.monotonic() - began < 150


@pytest.mark.fault(24)
@pytest.mark.parametrize("kind", OPTIONS)
def test_a_provider_that_is_not_there_is_inconclusive(host: AgentHost, kind: str) -> None:
    found, said = outcome(ask(host, kind, url="http://127.0.0.1:1", **OPTIONS[kind]))
    assert found == "inconclusive" and "refused" in said.lower()


@pytest.mark.parametrize("kind", OPTIONS)
@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"null", b"<a/>", b"x,y\n", b'{"data": 7}', b"\xff\xfe", b"[[1]]"])
def test_an_answer_that_makes_no_sense_is_inconclusive(
    host: AgentHost, server: Recorded, kind: str, body: bytes
) -> None:
    server.body = body
    assert outcome(ask(host, kind, url=server.url, **OPTIONS[kind]))[0] == "inconclusive"


# --- what is no number, of each --------------------------------------------------------------------------

Series = list[tuple[float, float | None]]  # points: seconds before NOW, value


def spoken(kind: str, series: list[Series]) -> bytes:
    """An answer with these series, as that provider's documentation writes it."""
    at = [[(NOW - age, value) for age, value in points] for points in series]
    if kind == "datadog":
        found = [{"pointlist": [[when * 1000, value] for when, value in points]} for points in at]
        return json.dumps({"status": "ok", "series": found}).encode()
    if kind == "graphite":
        found = [{"target": f"t{n}", "datapoints": [[value, when] for when, value in p]} for n, p in enumerate(at)]
        return json.dumps(found).encode()
    if kind == "influxdb":
        rows = [f",,{n},{utc(when)},{'' if value is None else value}" for n, p in enumerate(at) for when, value in p]
        return "\r\n".join(["#group,false,false,true,false", ",result,table,_time,_value", *rows, ""]).encode()
    if kind == "cloudwatch":
        return cloud([[(utc(when), value) for when, value in points] for points in at]).encode()
    if kind == "prometheus":
        last = [[when, str(value).replace("nan", "NaN")] for points in at for when, value in points[-1:]]
        result = [{"metric": {"n": str(n)}, "value": value} for n, value in enumerate(last)]
        return json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}}).encode()
    (points,) = at or [[]]
    return json.dumps({"v": [value for _, value in points], "t": points[-1][0] if points else NOW}).encode()


def utc(when: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(when))


def cloud(series: list[list[tuple[str, float | None]]]) -> str:
    def members(name: str, values: list[Any]) -> str:
        return f"<{name}>{''.join(f'<member>{value}</member>' for value in values)}</{name}>"

    results = "".join(
        f"<member>{members('Timestamps', [when for when, _ in p])}<StatusCode>Complete</StatusCode>"
        f"{members('Values', [value for _, value in p])}<Id>gate</Id></member>"
        for p in ([one for one in points if one[1] is not None] for points in series)
    )
    opening = '<GetMetricDataResponse xmlns="http://monitoring.amazonaws.com/doc/2010-08-01/"><GetMetricDataResult>'
    return f"{opening}<MetricDataResults>{results}</MetricDataResults></GetMetricDataResult></GetMetricDataResponse>"


LACKS: dict[str, tuple[list[Series], str]] = {
    "nothing at all": ([], "answered nothing"),
    "a gap": ([[(10, None)]], "answered nothing"),
    "NaN": ([[(10, math.nan)]], "NaN"),
    "too old a one": ([[(3600, 0.1)]], "3600 s old"),
    "several": ([[(10, 0.1)], [(10, 0.2)]], "2 series"),
}
# `http` has one value at its path: several are a list there. Prometheus gives no gaps, and the time of its answer.
UNSAID = {("http", "a gap"), ("http", "several"), ("prometheus", "a gap"), ("prometheus", "too old a one")}
SPEAKS = ("datadog", "graphite", "influxdb", "cloudwatch", "prometheus", "http")


@pytest.mark.parametrize("kind", SPEAKS)
def test_a_good_answer_of_each_is_good(host: AgentHost, server: Recorded, kind: str) -> None:
    server.body = spoken(kind, [[(10, 0.1)]])
    assert outcome(asked_for(host, server, kind)) == ("good", "0.1 is within its limits")


@pytest.mark.parametrize(
    ("kind", "lack"), [(kind, lack) for kind in SPEAKS for lack in LACKS if (kind, lack) not in UNSAID]
)
def test_what_is_not_one_fresh_number_is_inconclusive_whoever_says_it(
    host: AgentHost, server: Recorded, kind: str, lack: str
) -> None:
    series, why = LACKS[lack]
    server.body = spoken(kind, series)
    found, said = outcome(asked_for(host, server, kind))
    assert found == "inconclusive" and why in said


def test_two_values_at_the_path_of_http_are_two_series(host: AgentHost, server: Recorded) -> None:
    server.body = spoken("http", [[(10, 0.1), (10, 0.2)]])
    assert outcome(asked_for(host, server, "http"))[0] == "inconclusive"


def asked_for(host: AgentHost, server: Recorded, kind: str) -> Sample:
    more = {"value": "v", "time": "t"} if kind == "http" else OPTIONS[kind]
    return ask(host, kind, url=server.url, **more)


# --- each by its documentation -----------------------------------------------------------------------------


def test_http_takes_the_number_at_a_path(host: AgentHost, server: Recorded) -> None:
    server.body = json.dumps({"data": {"points": [{"value": "0.4", "at": NOW * 1000 - 5000}], "both": [1, 2]}}).encode()
    assert ask(host, "http", url=server.url, value="data.points[0].value") == Sample((0.4,))
    assert ask(host, "http", url=server.url, value="data.both") == Sample((1.0, 2.0))
    aged = ask(host, "http", url=server.url, value="data.points[0].value", time="data.points[0].at")
    assert aged == Sample((0.4,), age=5.0)
    assert "nothing at `data.points[1]`" in ask(host, "http", url=server.url, value="data.points[1].value").why
    server.body = b" 0.25\n"
    assert ask(host, "http", url=server.url, method="post", body="{}", token="t0k") == Sample((0.25,))
    method, _, headers, body = server.asked[-1]
    assert (method, headers["authorization"], body) == ("POST", "Bearer t0k", b"{}")


def test_a_time_may_be_written_in_three_ways(host: AgentHost, server: Recorded) -> None:
    for written in (
        NOW - 7,
        (NOW - 7) * 1000,
        "2023-11-14T22:13:13Z",
        "2023-11-14T22:13:13",
        "2023-11-15T00:13:13+02:00",
    ):
        server.body = json.dumps({"v": 1, "t": written}).encode()
        assert ask(host, "http", url=server.url, value="v", time="t") == Sample((1.0,), age=7.0), written


def test_a_command_says_the_number_on_its_last_line(host: AgentHost) -> None:
    assert ask(host, "command", argv=["printf", "warming up\\n0.3\\n\\n"]) == Sample((0.3,))
    assert ask(host, "command", argv="sh -c 'echo $RATE'", env={"RATE": "0.7"}) == Sample((0.7,))
    assert ask(host, "command", argv=["true"]) == Sample(())
    assert "ended with 3: no access" in ask(host, "command", argv=["sh", "-c", "echo no access >&2; exit 3"]).why
    assert "no number: 'up'" in ask(host, "command", argv=["echo", "up"]).why
    assert outcome(ask(host, "command", argv=["echo", "NaN"]))[0] == "inconclusive"
    assert "ended" in ask(host, "command", 0.3, argv=["sleep", "9"]).why


def test_datadog_gives_the_newest_point_that_is_there(host: AgentHost, server: Recorded) -> None:
    points = [[(NOW - 90) * 1000, 0.9], [(NOW - 30) * 1000, 0.1], [NOW * 1000, None]]
    server.body = json.dumps({"status": "ok", "series": [{"metric": "errors", "pointlist": points}]}).encode()
    found = ask(
        host, "datadog", url=server.url, query="avg:errors{service:shop}", api_key="k1", app_key="k2", window=90
    )
    assert found == Sample((0.1,), age=30.0)
    method, path, headers, _ = server.asked[-1]
    assert (method, urlsplit(path).path) == ("GET", "/api/v1/query")
    assert (headers["dd-api-key"], headers["dd-application-key"]) == ("k1", "k2")
    assert server.query() == {"from": str(int(NOW - 90)), "to": str(int(NOW)), "query": "avg:errors{service:shop}"}
    server.body = json.dumps({"status": "error", "error": "Rule 'min' is no function"}).encode()
    assert "Rule 'min'" in ask(host, "datadog", url=server.url, query="q", api_key="k", app_key="k").why


CLOUDWATCH = """<GetMetricDataResponse xmlns="http://monitoring.amazonaws.com/doc/2010-08-01/"><GetMetricDataResult>
<MetricDataResults><member><Timestamps><member>2023-11-14T22:12:00Z</member><member>2023-11-14T22:11:00Z</member>
</Timestamps><StatusCode>Complete</StatusCode><Values><member>0.015</member><member>0.9</member></Values><Id>gate</Id>
<Label>errors</Label></member></MetricDataResults></GetMetricDataResult></GetMetricDataResponse>"""


def test_cloudwatch_gives_the_newest_value_of_an_expression(host: AgentHost, server: Recorded) -> None:
    server.body = CLOUDWATCH.encode()
    query = 'SELECT AVG(Errors) FROM "Shop"'
    options = {"query": query, "region": "eu-central-1", "access_key": "AK", "secret_key": "SK", "session_token": "ST"}
    assert ask(host, "cloudwatch", url=server.url, **options) == Sample((0.015,), age=80.0)
    method, path, headers, body = server.asked[-1]
    form = {name: values[0] for name, values in parse_qs(body.decode()).items()}
    assert (method, path, form["Action"], form["MetricDataQueries.member.1.Expression"]) == (
        "POST",
        "/",
        "GetMetricData",
        query,
    )
    assert (form["StartTime"], form["EndTime"]) == ("2023-11-14T22:03:20Z", "2023-11-14T22:13:20Z")
    assert headers["authorization"].startswith(
        "AWS4-HMAC-SHA256 Credential=AK/20231114/eu-central-1/monitoring/aws4_request"
    )
    assert (headers["x-amz-date"], headers["x-amz-security-token"]) == ("20231114T221320Z", "ST")
    assert "SK" not in str(server.asked)


@pytest.mark.parametrize(
    ("method", "url", "headers", "scope", "signature"),
    [  # Amazon's own examples of the signing process
        ("GET", "https://example.amazonaws.com/", {}, "us-east-1/service",
         "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
        ("POST", "https://example.amazonaws.com/", {}, "us-east-1/service",
         "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
        ("GET", "https://iam.amazonaws.com/?Action=ListUsers&Version=2010-05-08",
         {"content-type": "application/x-www-form-urlencoded; charset=utf-8"}, "us-east-1/iam",
         "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"),
    ],
)  # fmt: skip
def test_requests_are_signed_as_amazon_shows(
    method: str, url: str, headers: dict[str, str], scope: str, signature: str
) -> None:
    at = 1_440_938_160.0  # 2015-08-30T12:36:00Z
    made = signed(method, url, headers, b"", at, scope, Account(**ORACLE))
    assert made["Authorization"].endswith(f"Signature={signature}")


FLUX = (
    "#datatype,string,long,dateTime:RFC3339,double\r\n#group,false,false,false,false\r\n#default,_result,,,\r\n"
    ",result,table,_time,_value\r\n,,0,2023-11-14T22:12:20Z,0.9\r\n,,0,2023-11-14T22:13:10Z,0.02\r\n\r\n"
)


def test_influxdb_by_flux_and_by_influxql(host: AgentHost, server: Recorded) -> None:
    server.body = FLUX.encode()
    query = 'from(bucket: "b") |> range(start: -5m)'
    assert ask(host, "influxdb", url=server.url, query=query, org="shop", token="t") == Sample((0.02,), age=10.0)
    method, path, headers, body = server.asked[-1]
    assert (method, path, body.decode()) == ("POST", "/api/v2/query?org=shop", query)
    assert (headers["authorization"], headers["content-type"]) == ("Token t", "application/vnd.flux")
    two = FLUX + FLUX.replace("_result", "other")
    server.body = two.encode()
    assert len(ask(host, "influxdb", url=server.url, query=query, org="shop").values) == 2
    server.body = b"error,reference\r\nfailed to parse query,897\r\n"
    assert "failed to parse" in ask(host, "influxdb", url=server.url, query=query, org="shop").why
    series = {"name": "errors", "columns": ["time", "mean"], "values": [[NOW - 20, 0.4], [NOW - 10, None]]}
    server.body = json.dumps({"results": [{"series": [series]}]}).encode()
    assert ask(host, "influxdb", url=server.url, query="SELECT 1", database="shop") == Sample((0.4,), age=20.0)
    assert server.query() == {"db": "shop", "q": "SELECT 1", "epoch": "s"}
    server.body = json.dumps({"results": [{"error": "database not found: shop"}]}).encode()
    assert "database not found" in ask(host, "influxdb", url=server.url, query="q", database="shop").why


def test_graphite_gives_the_newest_filled_point(host: AgentHost, server: Recorded) -> None:
    points = [[0.9, NOW - 120], [0.2, NOW - 60], [None, NOW]]
    server.body = json.dumps([{"target": "errors", "datapoints": points}]).encode()
    assert ask(host, "graphite", url=server.url, query="sumSeries(errors.*)") == Sample((0.2,), age=60.0)
    assert server.query() == {"target": "sumSeries(errors.*)", "from": "-300s", "until": "now", "format": "json"}
    server.body = json.dumps([{"target": "errors", "datapoints": [[None, NOW]]}]).encode()
    assert outcome(ask(host, "graphite", url=server.url, query="q")) == ("inconclusive", "the query answered nothing")


# --- in a release --------------------------------------------------------------------------------------------


def query_gates(**options: Any) -> Any:
    source = {slot: {"http": {"url": f"http://metrics/{slot}"}} for slot in ("a", "b")}
    return gates_from([{"query": {"max": 0.5, "interval": 1.0, "source": source, **options}}])


def says(text: str) -> Any:
    return lambda _url, _now: Reply(data={"status": 200}, stdout=text.encode())


def test_a_query_within_its_limits_lets_a_release_through_and_asks_for_the_candidate() -> None:
    world, asked = world_of("web1"), []
    world.metric = lambda url, now: (asked.append(url), says("0.1")(url, now))[1]
    assert to_the_end(Release(world, spec_of(gates=query_gates()))).result == "promoted"
    assert set(asked) == {"http://metrics/b"}
    assert shares(world) == {WHOLE}


def test_a_query_out_of_its_limits_turns_a_release_back() -> None:
    world = world_of("web1")
    world.metric = says("0.7")
    ended = to_the_end(Release(world, spec_of(gates=query_gates())))
    assert ended.result == "rolled_back" and "0.7 is above the maximum 0.5" in ended.reason
    assert shares(world) == {0}


@pytest.mark.fault(24)
def test_a_provider_that_is_down_holds_a_release_until_its_deadline_and_never_lets_it_through() -> None:
    world = world_of("web1")
    release = Release(world, spec_of(gates=query_gates(), on_inconclusive="rollback"))
    ended = to_the_end(release)
    assert ended.result == "rolled_back" and "no provider" in ended.reason
    assert max(note.data["weight"] for note in release.told if note.kind == "dial") == 500, (
        "it never left its first step"
    )


def test_a_dry_run_is_recorded_and_lets_a_release_through() -> None:
    world = world_of("web1")
    world.metric = says("0.7")
    release = Release(world, spec_of(gates=query_gates(dry_run=True)))
    assert to_the_end(release).result == "promoted"
    assert any("0.7 is above" in note.data["sentence"] for note in release.told if note.kind == "gate")


def counted(world: World, gates: Any, intervals: int) -> list[tuple[Counts, ...]]:
    """The strata of so many intervals of ten seconds."""
    asking, panel, found = Asking(gates, 60.0), Panel.begin(gates), []
    for _ in range(intervals):
        world.now += 10
        steps, reply = asking.asked(Interval(0, 0.1, seconds=10.0), panel, "b", world.now), None
        try:
            while True:
                reply = world.answer(steps.send(reply), "test")
        except StopIteration as end:
            found.append(end.value.events["slo"])
    return found


def test_counters_of_ones_own_feed_an_objective_by_what_they_grew() -> None:
    source = {slot: {name: {"http": {"url": f"http://m/{slot}/{name}"}} for name in ("bad", "total")} for slot in "ab"}
    gates = gates_from([{"slo": {"objective": "99%", "source": source}}])
    totals = iter([1000, 1500, 2100, 50, 450])
    bads = iter([10, 12, 12, 1, 5])
    world = world_of("web1")
    world.metric = lambda url, now: says(str(next(bads if url.endswith("bad") else totals)))(url, now)
    # the first reading is where counting begins; the fourth began anew, as after a restart
    assert counted(world, gates, 5) == [(), (Counts(500, 2),), (Counts(600, 0),), (), (Counts(400, 4),)]


def test_a_counter_that_can_not_be_read_gives_nothing() -> None:
    source = {slot: {name: {"http": {"url": f"http://m/{name}"}} for name in ("bad", "total")} for slot in "ab"}
    gates = gates_from([{"slo": {"objective": "99%", "source": source}}])
    assert counted(world_of("web1"), gates, 3) == [(), (), ()]


def test_all_questions_of_an_interval_end_before_the_dead_man_fires() -> None:
    several = gates_from(
        [{"query": {"name": f"q{n}", "source": {"b": {"http": {"url": "http://m"}}}}} for n in range(4)]
    )
    timeouts: list[float] = []
    steps = Asking(several, 6.0).asked(Interval(0, 0.1), Panel.begin(several), "b", NOW)
    step = next(steps)
    for _ in range(3):
        timeouts.append(step.step.operation.timeout)  # type: ignore[union-attr]
        step = steps.send(Reply(ok=False, error="late"))
    timeouts.append(step.step.operation.timeout)  # type: ignore[union-attr]
    assert sum(timeouts) <= 6.0 / 2


# --- in a pause that no controller watches -------------------------------------------------------------------


def left(gates: Any, answer: Any) -> dict[str, Any]:
    """What the gates leave to whoever watches, after a last look at the counters."""
    world = world_of("web1")
    world.metric = answer
    steps, reply = Asking(gates, 60.0).watches("b", NOW, 50), None
    try:
        while True:
            reply = world.answer(steps.send(reply), "test")
    except StopIteration as end:
        found: dict[str, Any] = end.value
        return found


def prometheus_slo() -> Any:
    source = {
        slot: {name: {"prometheus": {"url": f"http://m/{slot}", "query": name}} for name in ("bad", "total")}
        for slot in "ab"
    }
    return [{"slo": {"objective": "99%", "source": source}}]


@pytest.mark.parametrize(("series", "most"), [('[{"metric":{},"value":[1,"12"]}]', 62.0), ("[]", 50.0)])
def test_an_objective_s_counter_may_grow_by_so_many_bad_events_in_a_pause(series: str, most: float) -> None:
    """A counter that has no series yet has counted nothing bad."""
    told = f'{{"status":"success","data":{{"resultType":"vector","result":{series}}}}}'
    watch = left(gates_from(prometheus_slo()), says(told))["slo"]
    assert (watch.limit, watch.least, watch.misses) == (most, None, 0)
    assert watch.read.url.startswith("http://m/b/api/v1/query?query=bad")


def test_a_counter_that_nobody_can_read_is_no_watch() -> None:
    assert left(gates_from(prometheus_slo()), lambda _url, _now: Reply(ok=False, error="down")) == {"slo": None}


def test_a_query_with_a_secret_is_left_to_nobody_and_a_dry_run_watches_nothing() -> None:
    source = {slot: {"prometheus": {"url": "http://m", "query": slot}} for slot in "ab"}
    (gate,) = gates_from([{"query": {"name": "q", "min": 2.0, "source": source}}])
    found = left((gate,), says(""))["q"]
    assert (found.limit, found.least) == (None, 2.0)
    assert left((replace(gate, private=True),), says("")) == {"q": None}
    dry = gates_from([{"query": {"name": "q", "max": 2.0, "dry_run": True, "source": source}}])
    assert left(dry, says("")) == {}


def test_whoever_pauses_is_told_what_nobody_will_ask() -> None:
    """An http question can't be left to anybody: the pause begins all the same."""
    world = world_of("web1")
    release = Release(world, spec_of(gates=query_gates()))
    while release.go(10_000):
        release.hold()
    warnings = [note.data["message"] for note in release.told if note.kind == "warning"]
    assert release.left and "nobody asks what the gates query ask while this is paused" in warnings
    assert shares(world) == {500}
