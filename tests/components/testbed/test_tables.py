"""The tables: what they promise about splits, kinds, references and quality."""

from __future__ import annotations

from collections import Counter

import pytest

from components.records import Message
from components.testbed import annotators, gold, tables, world
from components.testbed.questions import KINDS, SPLITS, split_of

SMALL = tables.SIZES["small"]
SEED = 7


@pytest.fixture(scope="module")
def asked():
    return tables.prompts(SEED, SMALL)


@pytest.fixture(scope="module")
def labels(asked):
    return tables.comparisons(SEED, SMALL, asked, annotators.people(SEED, SMALL.annotators))


def user_words(messages):
    return [message.content for message in messages if message.role == "user"]


def mean_utility(prompts, answers):
    scores = [gold.score(prompt, answer).utility for prompt, answer in zip(prompts, answers, strict=True)]
    return sum(scores) / len(scores)


def test_the_full_prompts_have_all_kinds_in_all_splits_in_their_shares():
    """14 kinds of (84 + 9 + 12 + 15) prompts: 70, 8, 10 and 12 percent, as near as whole numbers come."""
    found = tables.prompts(SEED, tables.SIZES["full"])

    assert len(found) == 1680
    assert Counter(prompt.split for prompt in found) == {"train": 1176, "judge": 126, "held_out": 168, "evaluation": 210}
    assert {(prompt.kind, prompt.split) for prompt in found} == {(kind, split) for kind in KINDS for split in SPLITS}
    assert len({prompt.id for prompt in found}) == len({tuple(m.content for m in prompt.messages) for prompt in found}) == 1680


def test_no_words_of_a_user_occur_in_two_splits(asked):
    splits: dict[str, set[str]] = {}
    for prompt in asked:
        for text in user_words(prompt.messages):
            splits.setdefault(text, set()).add(prompt.split)

    assert all(len(found) == 1 for found in splits.values())


def test_the_corpus_has_no_words_of_a_user_outside_the_train_split():
    dialogues = [text.text for text in tables.corpus(SEED, SMALL) if text.text.startswith("<|user|>")]

    said = [turn.split("<|end|>")[0] for text in dialogues for turn in text.split("<|user|>\n")[1:]]

    assert len(dialogues) == SMALL.dialogues
    assert {split_of(text, SEED) for text in said} == {"train"}


def test_a_dialogue_of_the_corpus_is_written_as_the_chat_template_writes_it():
    text = next(text.text for text in tables.corpus(SEED, SMALL) if text.text.startswith("<|user|>"))

    assert text.endswith("<|end|>\n")
    assert text.count("<|user|>\n") == text.count("<|assistant|>\n") == text.count("<|end|>\n<|assistant|>\n")


def test_prose_states_every_family_of_facts():
    prose = " ".join(text.text for text in tables.corpus(SEED, SMALL) if not text.text.startswith("<|user|>"))

    assert all(family.says.split("{s}")[1].split("{v}")[0] in prose for family in world.FAMILIES)


def test_demonstrations_answer_train_prompts_and_are_better_than_the_corpus_mix(asked):
    """Clearly better than everyday answers, and short of perfect: SFT has something to learn, PPO something to gain."""
    by_id = {prompt.id: prompt for prompt in asked}
    made = list(tables.demonstrations(SEED, SMALL, asked))

    utility = mean_utility([by_id[each.prompt_id] for each in made], [each.messages[-1].content for each in made])

    assert {each.split for each in made} == {"train"}
    assert all(each.messages[:-1] == by_id[each.prompt_id].messages for each in made)
    assert 0.55 < utility < 0.8


def test_every_golden_pair_is_right_by_its_margin_and_positions_are_balanced(asked):
    by_id = {prompt.id: prompt for prompt in asked}

    pairs = list(tables.golden(SEED, SMALL, asked))

    for pair in pairs:
        first, second = (gold.score(by_id[pair.prompt_id], text).utility for text in pair.responses)
        assert (first > second) == (pair.better == "first")
        assert pair.margin == pytest.approx(abs(first - second))
        assert pair.margin >= 0.3
    assert Counter(pair.better for pair in pairs) == {"first": len(pairs) / 2, "second": len(pairs) / 2}
    assert {by_id[pair.prompt_id].split for pair in pairs} == {"train", "held_out", "evaluation"}


def test_comparisons_refer_to_prompts_and_annotators_that_exist(asked, labels):
    pool = set(annotators.roles(SEED, SMALL.annotators))

    assert {label.prompt_id for label in labels} <= {prompt.id for prompt in asked}
    assert {label.annotator for label in labels} == pool
    assert len({label.id for label in labels}) == len(labels)


def test_a_pair_has_one_to_three_labels_by_different_people(labels):
    people: dict[tuple, list[str]] = {}
    for label in labels:
        people.setdefault((label.prompt_id, label.responses), []).append(label.annotator)

    sizes = Counter(len(found) for found in people.values())

    assert set(sizes) == {1, 2, 3}
    assert all(len(set(found)) == len(found) for found in people.values())


def test_labels_are_in_the_order_of_their_times_and_work_by_the_guideline_in_force(labels):
    times = [label.labelled_at for label in labels]

    assert times == sorted(times)
    assert all(label.guideline == ("v1" if label.labelled_at < "2026-04-01T00:00:00Z" else "v2") for label in labels)
    assert {label.guideline for label in labels} == {"v1", "v2"}


def test_no_annotator_labels_faster_than_the_clock(labels):
    """Between two labels of one person lies at least the time that the second one took."""
    last: dict[str, tuple[str, str]] = {}
    for label in labels:
        if label.annotator in last and last[label.annotator][0] == label.session:
            assert seconds_between(last[label.annotator][1], label.labelled_at) >= label.seconds_taken - 1
        last[label.annotator] = (label.session, label.labelled_at)


def seconds_between(early, late):
    from datetime import datetime

    return (datetime.fromisoformat(late) - datetime.fromisoformat(early)).total_seconds()


def test_the_truth_is_a_plain_json_object_that_names_no_split(asked):
    for prompt in asked:
        assert prompt.truth["task"] in {"answer", "help", "refuse", "admit"}
        assert prompt.messages[-1].role == "user"
        assert all(isinstance(message, Message) for message in prompt.messages)
