"""What stands in one line of a system's file can't bring a second one, wherever its value came from."""

from __future__ import annotations

import pytest

from ciflow.diagnostics import Invalid
from ciflow.lang.schema import coerce

TWO = "x\n* * * * * root touch /tmp/x"
JOB = {"name": "tidy", "job": "x"}
KEY = {"user": "ann", "key": "ssh-rsa AAAA"}
ARGUMENTS = {
    "cron": [{**JOB, name: TWO} for name in ("name", "job", "user", "cron_file", "minute", "hour", "day", "month",
                                             "weekday", "insertafter")],
    "sysctl": [{"name": TWO, "value": "1"}],
    "hostname": [{"name": TWO}],
    "authorized_key": [{**KEY, name: TWO} for name in ("comment", "key_options")],
}  # fmt: skip


@pytest.mark.parametrize(("module", "args"), [(module, args) for module, all in ARGUMENTS.items() for args in all])
def test_a_value_with_a_line_break_is_refused(module: str, args: dict[str, str]) -> None:
    for one in (args, {name: value.replace("\n", "\r") for name, value in args.items()}):
        with pytest.raises(Invalid):
            coerce(module, one, {})


def test_a_job_may_end_its_line() -> None:
    assert coerce("cron", {"name": "tidy", "job": "x --all\n"}, {})["job"] == "x --all\n"
