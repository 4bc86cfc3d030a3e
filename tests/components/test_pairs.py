"""Labels become pairs: whoever labelled, in whatever order the answers were shown."""

from __future__ import annotations

import pytest

from components.errors import DataRefused
from components.pairs import Pair, divided, golden_pairs, labelled_pairs
from components.records import Comparison, GoldenPair, Message, Prompt, pair_id

PROMPT = Prompt(id="p", kind="fact", split="train", messages=[Message(role="user", content="Which?")])


def _label(row, responses, label, prompt="p"):
    return Comparison(id=f"c{row}", prompt_id=prompt, responses=responses, label=label, annotator=None)


def test_labels_of_one_pair_are_joined_whatever_the_order_shown():
    """For "a": a win, a win shown second, a loss, a tie: (1 + 1 + 0 + ½) / 4 = 0.625."""
    labels = [
        _label(1, ("a", "b"), "first"),
        _label(2, ("b", "a"), "second"),
        _label(3, ("a", "b"), "second"),
        _label(4, ("b", "a"), "tie"),
    ]

    assert labelled_pairs(labels, {"p": PROMPT}) == [Pair(PROMPT, ("a", "b"), 0.625, 4, ties=0.25)]


def test_a_comparison_of_an_unknown_prompt_is_refused():
    with pytest.raises(DataRefused) as refusal:
        labelled_pairs([_label(7, ("a", "b"), "first", prompt="q")], {"p": PROMPT})

    assert str(refusal.value) == (
        "comparison c7 names the prompt 'q', which prompts.jsonl does not have. Add the prompt or remove the row."
    )


def test_a_golden_pair_counts_as_one_certain_label():
    golden = [GoldenPair(id="g", prompt_id="p", responses=("a", "b"), better="second")]

    assert golden_pairs(golden, {"p": PROMPT}) == [Pair(PROMPT, ("a", "b"), 0.0, 1)]


@pytest.mark.parametrize(
    ("share", "says"), [(0.75, "preferred longer"), (0.25, "preferred shorter")], ids=["long wins", "short wins"]
)
def test_length_is_told_from_the_side_of_the_preferred_answer(share, says):
    assert Pair(PROMPT, ("twelve chars", "seven 7"), share, 4).longer == says


def test_answers_within_a_fifth_count_as_equally_long():
    assert Pair(PROMPT, ("ten chars.", "nine char"), 0.75, 4).longer == "equal length"


def test_labels_count_by_their_weight_and_labels_of_weight_0_not_at_all():
    """0.9 for the first against 0.3 for the second: a share of 0.75, worth 1.2 labels."""
    labels = [_label(1, ("a", "b"), "first"), _label(2, ("b", "a"), "first"), _label(3, ("a", "b"), "second")]

    pairs = labelled_pairs(labels, {"p": PROMPT}, weights={"c1": 0.9, "c2": 0.3, "c3": 0.0})

    assert [(pair.share, pair.labels, pair.counts) for pair in pairs] == [(pytest.approx(0.75), 2, pytest.approx(1.2))]
    assert labelled_pairs(labels[2:], {"p": PROMPT}, weights={"c3": 0.0}) == []


def test_a_label_without_a_weight_is_refused():
    with pytest.raises(DataRefused) as refusal:
        labelled_pairs([_label(7, ("a", "b"), "first")], {"p": PROMPT}, weights={})

    assert str(refusal.value) == "comparison c7 has no weight in label_weights. Run `annotators` again on this data version."


def test_golden_pairs_are_kept_apart_in_whatever_order_they_were_labelled():
    labels = [_label(1, ("a", "b"), "first"), _label(2, ("b", "a"), "first"), _label(3, ("a", "c"), "first")]

    pairs = labelled_pairs(labels, {"p": PROMPT}, kept_apart={pair_id("p", ("a", "b"))})

    assert [pair.responses for pair in pairs] == [("a", "c")]


def test_annotators_of_the_judge_and_of_the_reward_model_are_different_people():
    """Five annotators at a share of 0.4: two judge, three train, and every label goes to its annotator's side."""
    labels = [_by(f"c{row}", f"ann-{row % 5}") for row in range(20)]

    training, judging = divided(labels, judge_share=0.4)

    trainers, judges = ({row.annotator for row in side} for side in (training, judging))
    assert (len(trainers), len(judges)) == (3, 2)
    assert not trainers & judges
    assert sorted(row.id for row in training + judging) == sorted(row.id for row in labels)


def test_even_a_small_share_leaves_somebody_on_both_sides():
    training, judging = divided([_by("c1", "ann-1"), _by("c2", "ann-2")], judge_share=0.01)

    assert (len(training), len(judging)) == (1, 1)


def test_labels_without_annotators_are_divided_by_pair():
    """Two labels of one pair never lie on two sides, whatever the order of its answers."""
    labels = [_by(f"c{row}-{turn}", None, pair=row, turned=turn) for row in range(40) for turn in (False, True)]

    training, judging = divided(labels, judge_share=0.5)

    assert not {row.prompt_id for row in training} & {row.prompt_id for row in judging}
    assert min(len(training), len(judging)) > 10


def _by(name, annotator, *, pair=0, turned=False):
    responses = ("No.", "Yes.") if turned else ("Yes.", "No.")
    return Comparison(id=name, prompt_id=f"p{pair}", responses=responses, label="first", annotator=annotator)


def test_strength_is_the_mean_of_the_labels_that_state_it():
    """Strengths 3 at weight 2 and 1 at weight 1; the third label says none: (2 · 3/3 + 1 · 1/3) / 3 = 7/9."""
    labels = [_label(1, ("a", "b"), "first"), _label(2, ("a", "b"), "first"), _label(3, ("a", "b"), "second")]
    labels = [label.model_copy(update={"strength": said}) for label, said in zip(labels, (3, 1, None), strict=True)]

    (pair,) = labelled_pairs(labels, {"p": PROMPT}, weights={"c1": 2.0, "c2": 1.0, "c3": 0.5})

    assert pair.strength == pytest.approx(7 / 9)
    assert pair.ties == 0.0
