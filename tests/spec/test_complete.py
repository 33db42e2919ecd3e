"""Every keyword of the language stands in the manual twice: where it is taken, and where it is refused."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

import pytest

from ciflow.lang.notifications import KINDS
from ciflow.lang.schema import module_schema, part_schema
from ciflow.lang.scope import Level
from tests.scaffold.language import PAGE, WORDS, page
from tests.spec.test_spec import Example, examples

ALL = list(examples())
KEYWORDS = [(part, name) for part in ("playbook", "play", "block", "task") for name in part_schema(part).fields]
NOT_BUILT = {(part, name) for part, name in KEYWORDS if name in part_schema(part).unbuilt_names}
PARTLY = {("play", "concurrency")}  # something below it is not built; it is taken itself
AT = re.compile(r"^(\d+):\d+ error\[CF\d+\]: (.*)$", re.MULTILINE)


def of(part: str) -> Iterator[Example]:
    return (one for one in ALL if one.page == "keywords" and re.search(rf"\ba {part}\b", one.title))


def taken(part: str) -> set[str]:
    """Keys at the level of the part in examples that nothing is wrong with."""
    good = "\n".join(one.files["playbook.yml"] for one in of(part) if "plan" in one.expected)
    return set(re.findall(r"^[ -]*(\w+):", good, re.MULTILINE))


def refused(part: str) -> set[str]:
    """Keys that an error names, or on whose line it stands."""
    found: set[str] = set()
    for one in of(part):
        lines = one.files["playbook.yml"].splitlines()
        for number, message in AT.findall(one.expected.get("faults", "")):
            found |= set(re.findall(r"`(\w+)`", message))
            found |= set(re.findall(r"^[ -]*(\w+):", lines[int(number) - 1]))
    return found


@pytest.mark.parametrize("part", ["playbook", "play", "block", "task"])
def test_every_keyword_has_an_example_that_is_taken_and_one_that_is_refused(part: str) -> None:
    names = {name for of_part, name in KEYWORDS if of_part == part}
    built = names - {name for of_part, name in NOT_BUILT - PARTLY if of_part == part}
    # `canary` and what stands beside it have pages of their own
    assert built - taken(part) - {"canary", "verify", "retire"} == set()
    assert names - refused(part) - {"verify", "retire"} == set()


def test_every_word_of_the_language_has_both() -> None:
    (good,) = (one for one in ALL if one.title == "The language's own words")
    (bad,) = (one for one in ALL if one.title == "Words that make no sense")
    for word in WORDS:
        assert f"- {word}:" in good.files["playbook.yml"], word
        assert f"- {word}:" in bad.files["playbook.yml"], word
    for action in module_schema("meta").fields["action"]["allowed"]:
        assert f"- meta: {action}\n" in good.files["playbook.yml"], action
    uses = re.findall(r"(?m)^ *- \w+: (?!Words)", bad.files["playbook.yml"])
    assert len(AT.findall(bad.expected["faults"])) == len(uses), "each is refused"


def words_of_a_canary() -> Iterator[tuple[str, str]]:
    """(part, keyword) of all that may stand below `canary`; of a provider and of `require`, what is in them."""
    for part in ("canary", "canary_step", "gate_errors", "gate_latency", "gate_slo", "gate_query", "provider"):
        for name, rule in part_schema(part).fields.items():
            below = rule.get("schema", {}) if rule["type"] == "dict" else {}
            if not (part == "gate_query" and name in part_schema("provider").fields):
                yield from ((f"{part}.{name}", word) for word in below) if below else [(part, name)]


def test_every_word_of_a_canary_has_an_example_that_is_taken_and_one_that_is_refused() -> None:
    (good,) = (one for one in ALL if one.title == "Every word of a canary")
    (bad,) = (one for one in ALL if one.title == "Words of a canary that make no sense")
    every = Counter(name for _, name in words_of_a_canary())
    taken = Counter(re.findall(r"(\w+):(?= |\n)", good.files["playbook.yml"]))
    assert {name for name, count in every.items() if taken[name] < count} == {"of"}, "which is not built"
    lines = bad.files["playbook.yml"].splitlines()
    faulty = {int(number) for number, _ in AT.findall(bad.expected["faults"])}
    refused = Counter(re.search(r"\w+", lines[number - 1])[0] for number in faulty)  # type: ignore[index]
    assert set(every - refused) == {"steps", "gates"}, "whose parts are, each"


def test_every_word_of_a_notification_has_an_example_that_is_taken() -> None:
    (good,) = (one for one in ALL if one.title == "Every word of a notification")
    each = re.split(r"^  - ", good.files["playbook.yml"].partition("plays:")[0], flags=re.MULTILINE)[1:]
    for kind in KINDS:
        said = "\n".join(one for one in each if re.search(rf"\bto: {kind}\b", one))
        own = part_schema(f"notification_{kind}").fields.keys() - part_schema("notification").fields.keys()
        assert [name for name in own if not re.search(rf"\b{name}:", said)] == [], kind
    assert [name for name in part_schema("notification").fields if f" {name}:" not in "".join(each)] == []


def test_the_reference_of_the_language_is_what_the_schemas_say() -> None:
    """After a change: `python -m tests.scaffold.language`."""
    text = PAGE.read_text()
    assert text == page(text)


def test_the_reference_has_every_word_of_meta_and_every_level_of_precedence() -> None:
    text = PAGE.read_text()
    said = set(re.findall(r"`(\w+)`", text.partition("| `meta` |")[2].partition("## ")[0]))
    assert set(module_schema("meta").fields["action"]["allowed"]) <= said
    levels = re.findall(r"(?m)^(\d+)\. ", text.partition("## Which value wins")[2])
    assert [int(one) for one in levels] == [level.value for level in Level if level <= Level.EXTRA_VARS]
