from __future__ import annotations

import hashlib

import pytest

from components.evaluate import text, texts


@pytest.mark.parametrize(
    ("answer", "share"), [("", 0.0), ("one", 0.0), ("a b c", 0.0), ("a b a b a b", 1 - 2 / 5), ("no no no no no", 0.75)]
)
def test_repetition_is_the_share_of_word_pairs_that_were_there_before(answer: str, share: float) -> None:
    assert text.repetition(answer) == pytest.approx(share)


def test_held_out_text_is_what_base_did_not_train_on() -> None:
    """The rule is written twice, as steps don't import steps; here both are compared."""
    from components.base import step

    ids = [f"t-{number:05d}" for number in range(3000)]
    theirs = [int(hashlib.sha256(one.encode()).hexdigest()[:8], 16) % 1000 < step.HELD_OUT_PER_MILLE for one in ids]

    assert [texts.held_out(one) for one in ids] == theirs
    assert 30 < sum(theirs) < 90
