from __future__ import annotations

import itertools
import random

import pytest

from components.validate.similar import Similar, across_splits, members

FOX = "the quick brown fox jumps over the lazy dog near the old river bank today"


def test_a_text_is_its_words_in_threes() -> None:
    assert members("Is the Earth flat?") == {"is the earth", "the earth flat"}
    assert members("Hi!") == {"hi"}


def test_a_prompt_kept_apart_that_trains_nearly_the_same_is_named() -> None:
    """FOX has 15 words, so 13 threes; with another last word 12 are shared: 12 / 14 = 0.857."""
    asked = {
        "t": ("train", FOX),
        "e": ("evaluation", FOX.replace("today", "tonight")),
        "h": ("held_out", "What do you think of Paris in the spring?"),
    }

    assert across_splits(asked, similarity=0.8) == [Similar("e", "evaluation", "t", "train", 0.8571)]
    assert across_splits(asked, similarity=0.9) == []


def test_splits_that_are_both_kept_apart_are_compared_too_and_one_split_with_itself_is_not() -> None:
    asked = {"e": ("evaluation", FOX), "h": ("held_out", FOX), "e2": ("evaluation", FOX), "t": ("train", "something else")}

    assert [(found.prompt, found.other) for found in across_splits(asked, similarity=0.8)] == [
        ("e", "h"),
        ("e2", "h"),
        ("h", "e"),
    ]


@pytest.mark.parametrize("similarity", [0.5, 0.7, 0.8, 0.95])
def test_nothing_is_missed(similarity: float) -> None:
    """Against comparing each prompt with each other one, on 300 prompts that share many words."""
    dice = random.Random(int(100 * similarity))
    words = [f"w{number}" for number in range(12)]
    base = [[dice.choice(words) for _ in range(dice.randint(1, 20))] for _ in range(60)]
    asked = {}
    for number in range(300):
        text = list(dice.choice(base))
        if dice.random() < 0.6:
            text[dice.randrange(len(text))] = dice.choice(words)
        asked[f"p{number:03d}"] = (dice.choice(["train", "held_out", "evaluation"]), " ".join(text))

    found = {(pair.prompt, pair.similarity) for pair in across_splits(asked, similarity=similarity)}

    best: dict[str, float] = {}
    for (one, (split, text)), (_, (other_split, other)) in itertools.permutations(asked.items(), 2):
        both = members(text) & members(other), members(text) | members(other)
        if split not in {other_split, "train"}:
            best[one] = max(best.get(one, 0.0), round(len(both[0]) / len(both[1]), 4))
    expected = {(name, value) for name, value in best.items() if value >= similarity}
    assert found == expected
    assert expected
