"""Scores of CVSS vectors against FIRST's own examples and against a peer."""

from __future__ import annotations

from pathlib import Path

import pytest

from ciflow.supply.cvss import score
from ciflow.supply.errors import AdvisoryError

# FIRST, "CVSS v3.1 Examples", and "A Complete Guide to CVSS Version 2.0", clause 3.3.
EXAMPLES = {
    "CVSS:3.1/AV:N/AC:L/PR:N/UI:R/S:C/C:L/I:L/A:N": (6.1, "medium"),  # CVE-2013-1937
    "CVSS:3.1/AV:N/AC:L/PR:L/UI:N/S:C/C:L/I:L/A:N": (6.4, "medium"),  # CVE-2013-0375
    "CVSS:3.1/AV:N/AC:H/PR:N/UI:R/S:U/C:L/I:N/A:N": (3.1, "low"),  # CVE-2014-3566
    "CVSS:3.1/AV:N/AC:L/PR:L/UI:N/S:C/C:H/I:H/A:H": (9.9, "critical"),  # CVE-2012-1516
    "CVSS:3.1/AV:L/AC:L/PR:H/UI:N/S:U/C:L/I:L/A:L": (4.2, "medium"),  # CVE-2009-0783
    "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:N/A:N": (7.5, "high"),  # CVE-2014-0160
    "CVSS:3.1/AV:N/AC:H/PR:N/UI:N/S:C/C:N/I:H/A:N": (6.8, "medium"),  # CVE-2008-1447
    "CVSS:3.1/AV:A/AC:L/PR:N/UI:N/S:C/C:H/I:N/A:H": (9.3, "critical"),  # CVE-2013-6014
    "AV:N/AC:L/Au:N/C:N/I:N/A:C": (7.8, "high"),  # CVE-2002-0392
    "AV:N/AC:L/Au:N/C:N/I:N/A:C/E:F/RL:OF/RC:C": (6.4, "medium"),
    "AV:N/AC:L/Au:N/C:N/I:N/A:C/E:F/RL:OF/RC:C/CDP:N/TD:N/CR:M/IR:M/AR:H": (0.0, "low"),
    "AV:N/AC:L/Au:N/C:N/I:N/A:C/E:F/RL:OF/RC:C/CDP:H/TD:H/CR:M/IR:M/AR:H": (9.2, "high"),
    "AV:L/AC:H/Au:N/C:C/I:C/A:C/E:POC/RL:OF/RC:C/CDP:H/TD:H/CR:M/IR:M/AR:M": (7.5, "high"),  # CVE-2003-0062
    "CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:H/SI:H/SA:H": (10.0, "critical"),
    "CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:N/VI:N/VA:N/SC:N/SI:N/SA:N": (0.0, "none"),
}


@pytest.mark.parametrize("vector", EXAMPLES)
def test_the_examples_of_the_specifications_have_their_scores(vector: str) -> None:
    found = score(vector)
    assert (found.value, found.severity) == EXAMPLES[vector]


def test_vectors_of_all_versions_have_the_scores_that_a_peer_gives_them() -> None:
    lines = (Path(__file__).parent / "cvss_vectors.txt").read_text().splitlines()[1:]
    assert len(lines) == 400
    wrong = [line for line in lines if score(line.split()[0]).value != float(line.split()[1])]
    assert not wrong


@pytest.mark.parametrize(
    "vector",
    [
        "", "high", "CVSS:3.1/", "CVSS:5.0/AV:N", "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H",
        "CVSS:3.1/AV:N/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H", "CVSS:3.1/AV:Z/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H",
        "CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:H/SI:S/SA:H", "AV:N/AC:L/Au:N/C:N/I:N", "/" * 100_000,
    ],
)  # fmt: skip
def test_what_is_no_vector_gets_no_score(vector: str) -> None:
    with pytest.raises(AdvisoryError):
        score(vector)
