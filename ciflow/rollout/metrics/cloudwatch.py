"""Amazon CloudWatch: the newest value of a metric expression over the last `window` seconds.

GetMetricData by the query protocol:
https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_GetMetricData.html
"""

from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import quote, urlencode

from ciflow.model import Http, Reply
from ciflow.rollout.metrics.answers import Ask, NoNumber, body_of, http, newest
from ciflow.rollout.metrics.web import moment
from ciflow.rollout.thresholds import Sample
from ciflow.sigv4 import Account, signed

WINDOW = 600.0  # seconds: CloudWatch is a few minutes late
SERVICE = "monitoring"
FORM = "application/x-www-form-urlencoded; charset=utf-8"


def request(ask: Ask) -> Http:
    region = str(ask.options["region"])
    url = str(ask.options.get("url") or f"https://{SERVICE}.{region}.amazonaws.com")
    body = urlencode(_form(ask), quote_via=quote).encode()
    session = str(ask.options.get("session_token", ""))
    account = Account(str(ask.options["access_key"]), str(ask.options["secret_key"]), session)
    headers = signed("POST", url + "/", {"content-type": FORM}, body, ask.now, f"{region}/{SERVICE}", account)
    return http({**ask.options, "url": url}, "/", ask.timeout, method="POST", body=body, headers=headers)


def _form(ask: Ask) -> dict[str, str]:
    query = "MetricDataQueries.member.1"
    return {
        "Action": "GetMetricData",
        "Version": "2010-08-01",
        "StartTime": _iso(ask.now - float(ask.options.get("window", WINDOW))),
        "EndTime": _iso(ask.now),
        "ScanBy": "TimestampDescending",
        f"{query}.Id": "gate",
        f"{query}.Expression": str(ask.options["query"]),
        f"{query}.Period": str(int(float(ask.options.get("period", 60)))),
    }


def answer(ask: Ask, reply: Reply) -> Sample:
    from xml.etree import ElementTree

    try:
        root = ElementTree.fromstring(body_of(reply))
    except ElementTree.ParseError as error:
        raise NoNumber("the answer is no XML") from error
    name = "{http://monitoring.amazonaws.com/doc/2010-08-01/}"
    series = []
    for result in root.iter(f"{name}MetricDataResults"):
        for member in result.findall(f"{name}member"):
            times = [moment(one.text or "") for one in member.findall(f"{name}Timestamps/{name}member")]
            values = [one.text for one in member.findall(f"{name}Values/{name}member")]
            series.append(list(zip(times, values, strict=False)))
    return newest(series, ask.now)


def _iso(now: float) -> str:
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
