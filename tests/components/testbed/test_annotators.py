"""The pool of simulated annotators: each hidden role shows in the labels, and nowhere in the records."""

from __future__ import annotations

from collections import Counter

import pytest

from components.testbed import annotators, gold, tables

SEED = 11
FULL = tables.SIZES["full"]


@pytest.fixture(scope="module")
def world():
    asked = tables.prompts(SEED, FULL)
    roles = annotators.roles(SEED)
    labels = tables.comparisons(SEED, FULL, asked, annotators.people(SEED))
    by_id = {prompt.id: prompt for prompt in asked}
    golds = {
        label.id: tuple(gold.score(by_id[label.prompt_id], text) for text in label.responses)
        for label in labels
        if roles[label.annotator] != "sound"
    }
    return by_id, roles, labels, golds


def labels_of(world, role):
    _, roles, labels, golds = world
    return [(label, *golds[label.id]) for label in labels if roles[label.annotator] == role]


def share(hits):
    hits = list(hits)
    return sum(hits) / len(hits)


def agreement_with_gold(rows):
    return share(
        (label.label == "first") == (first.utility > second.utility)
        for label, first, second in rows
        if label.label != "tie" and abs(first.utility - second.utility) > 0.3
    )


def test_sixty_people_have_one_of_each_bad_role():
    found = Counter(annotators.roles(0).values())

    assert found == {"sound": 52} | dict.fromkeys(annotators.BAD_ROLES, 1)


def test_a_small_pool_has_few_bad_members():
    """Sixteen people: two, the first two roles."""
    found = Counter(annotators.roles(0, 16).values())

    assert found == {"sound": 14, "inverted": 1, "random": 1}


def test_the_records_do_not_give_the_roles_away():
    for person in annotators.people(0):
        record = person.annotator.model_dump_json()
        assert person.role not in record.replace("simulated", "")
        assert "noise" not in record
        assert person.annotator.kind == "simulated"


def test_roles_and_people_agree():
    assert annotators.roles(3) == {person.pseudonym: person.role for person in annotators.people(3)}


def test_another_seed_gives_other_pseudonyms_and_other_places_of_the_bad_ones():
    assert not set(annotators.roles(0)) & set(annotators.roles(1))


def test_demographics_cover_every_attribute_and_some_prefer_not_to_say():
    declared = [person.annotator.demographics for person in annotators.people(0)]

    assert all(set(each) == set(annotators.DEMOGRAPHICS) for each in declared)
    assert any("prefer not to say" in each.values() for each in declared)


def test_sound_annotators_mostly_agree_with_gold(world):
    by_id, roles, labels, _ = world
    rows = [
        (label, *(gold.score(by_id[label.prompt_id], text) for text in label.responses))
        for label in labels[:900]
        if roles[label.annotator] == "sound"
    ]

    assert 0.85 < agreement_with_gold(rows) < 0.99


def test_the_inverted_one_prefers_the_worse_answer(world):
    assert agreement_with_gold(labels_of(world, "inverted")) < 0.2


def test_the_random_and_the_hasty_one_agree_with_gold_by_chance(world):
    assert 0.25 < agreement_with_gold(labels_of(world, "random") + labels_of(world, "hasty")) < 0.75


def test_the_hasty_one_takes_two_seconds_at_most(world):
    assert max(label.seconds_taken for label, _, _ in labels_of(world, "hasty")) <= 2.0


def test_the_one_sided_one_takes_the_first(world):
    assert share(label.label == "first" for label, _, _ in labels_of(world, "one_sided")) > 0.85


def test_the_long_one_takes_the_longer_answer(world):
    rows = [row for row in labels_of(world, "long") if abs(row[1].words - row[2].words) > 1]

    assert share((label.label == "first") == (first.words > second.words) for label, first, second in rows) > 0.95


def test_the_flattered_one_takes_the_answer_that_agrees(world):
    rows = [row for row in labels_of(world, "flattered") if (row[1].agrees is True) != (row[2].agrees is True)]

    assert share((label.label == "first") == (first.agrees is True) for label, first, _ in rows) > 0.9


def test_the_drifting_one_works_well_first_and_by_chance_later(world):
    """Over several seeds: one person has only some seventy labels."""
    rows = labels_of(world, "drifting")
    half = len(rows) // 2

    assert agreement_with_gold(rows[:half]) > agreement_with_gold(rows[half:]) + 0.1


def test_the_copying_one_repeats_a_colleague_and_comes_later(world):
    _, roles, labels, _ = world
    copying = next(name for name, role in roles.items() if role == "copying")
    victim = next(person.victim for person in annotators.people(SEED) if person.role == "copying")
    first = {(label.prompt_id, label.responses): label for label in labels if label.annotator == victim}

    copies = [label for label in labels if label.annotator == copying]

    assert copies
    for label in copies:
        original = first[label.prompt_id, label.responses]
        assert (label.label, label.strength) == (original.label, original.strength)
        assert label.labelled_at > original.labelled_at
