"""How `command` takes its words apart."""

import shlex

from hypothesis import example, given
from hypothesis import strategies as st

from ciflow.modules.command import split


def asked(call: object, text: str) -> object:
    try:
        return call(text)  # type: ignore[operator]
    except ValueError as error:
        return str(error)


@given(st.text(st.sampled_from("ab 0'\"\\\t\n\x0b\x1f\u00a0é$#*~=;|&"), max_size=20))
@example("  two  words ")
@example("a\u00a0b")  # blank to Python's own splitting, not to a shell
@example("it's")
def test_words_are_split_as_a_posix_shell_splits_them(text: str) -> None:
    assert asked(split, text) == asked(shlex.split, text)
