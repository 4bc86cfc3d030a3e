"""Each way of labelling badly is named, honest people are not, and a reviewer can follow why."""

from __future__ import annotations

import numpy as np
import pytest

from components.annotators import accuracy, detectors, findings
from components.annotators.audit import audit
from components.annotators.config import Settings

HONEST = [f"ann-{number:02d}" for number in range(20)]


def _pool(world, **bad):
    """Twenty honest people with 60 of 300 pairs each, and one bad one, who labels 80 of them; 40 pairs are known."""
    made = world(300)
    for number, name in enumerate(HONEST):
        made.label(name, accuracy=0.75 + 0.01 * number, pairs=made.rng.choice(300, 60, replace=False))
    made.label("ann-bad", pairs=np.arange(80), **bad)
    return made.read(golden=range(40))


def _named(labels, **settings):
    return {labels.annotators[proposal.annotator]: proposal for proposal in audit(labels, Settings(**settings)).proposals}


@pytest.mark.parametrize(
    ("bad", "kind"),
    [
        ({"accuracy": 0.12}, "inverted"),
        ({"accuracy": 0.5}, "random"),
        ({"choose": lambda *_: "first"}, "one-sided"),
        ({"choose": lambda *_: "second"}, "one-sided"),
        ({"accuracy": 0.8, "seconds": 0.7}, "too fast"),
    ],
    ids=["inverted", "random", "always first", "always second", "too fast"],
)
def test_bad_labelling_is_named_for_what_it_is_and_nobody_else_is(world, bad, kind):
    named = _named(_pool(world, **bad))

    assert {name: proposal.kind for name, proposal in named.items()} == {"ann-bad": kind}


def test_drift_is_seen_where_there_is_enough_of_it(world):
    """300 labels, right on 90 % of the first half and on half of the rest."""
    made = world(300)
    for name in HONEST:
        made.label(name, accuracy=0.8)
    made.label(
        "ann-bad", accuracy=0.9, choose=lambda rng, place, _: None if place < 150 else str(rng.choice(["first", "second"]))
    )

    proposal = _named(made.read())["ann-bad"]

    assert "drifting" in proposal.kinds
    assert "of the first 1" in proposal.reason, "the change is put near label 150"


def test_a_length_follower_is_told_from_a_pool_that_likes_short_answers(world):
    """In this world the worse answer is the longer one, so whoever follows length is also always wrong."""
    made = world(300)
    made.answers = [
        (answers if pair % 2 else (answers[0] + " and many more words than the other one has", "bad answer"))
        for pair, answers in enumerate(made.answers)
    ]
    longer = {pair: (0 if len(good.split()) > len(bad.split()) else 1) for pair, (good, bad) in enumerate(made.answers)}
    for name in HONEST:
        made.label(name, accuracy=0.8, pairs=made.rng.choice(300, 60, replace=False))
    made.label(
        "ann-bad", pairs=range(80), choose=lambda rng, place, good: "first" if (longer[place] == 0) == good else "second"
    )

    named = _named(made.read(golden=range(40)))

    assert {name: proposal.kind for name, proposal in named.items()} == {"ann-bad": "length-follower"}
    assert named["ann-bad"].reason.startswith("took the longer answer on 80 of 80 pairs, the pool on 5")


def test_a_copy_is_named_and_the_one_who_was_copied_is_not(world):
    made = world(300)
    for name in HONEST:
        made.label(name, accuracy=0.8, pairs=made.rng.choice(300, 60, replace=False))
    for row in [row for row in made.rows if row["annotator"] == HONEST[3]]:
        made.rows.append(row | {"id": f"copy-{row['id']}", "annotator": "ann-bad", "labelled_at": "2026-04-01T00:00:00Z"})

    named = _named(made.read())

    assert list(named) == ["ann-bad"]
    assert named["ann-bad"].kind == "copying"
    assert "gave the same label as ann-03, later, on 60 of 60 shared pairs" in named["ann-bad"].reason


def test_a_pool_of_honest_people_has_nobody_to_exclude(world):
    made = world(400, seed=11)
    for number in range(60):
        made.label(f"ann-{number}", accuracy=0.7 + 0.004 * number, pairs=made.rng.choice(400, 70, replace=False))

    assert _named(made.read(golden=range(60))) == {}


def test_whoever_gave_one_label_is_not_judged(world):
    made = world(300)
    for name in HONEST:
        made.label(name, pairs=made.rng.choice(300, 60, replace=False))
    labels = made.label("ann-new", accuracy=0.0, pairs=[0]).read(golden=[0])

    found = audit(labels, Settings())

    new = labels.annotators.index("ann-new")
    assert found.proposals == []
    assert all(np.isnan(check.p[new]) for check in found.checks.values())
    typical = found.weights[labels.annotator != new].mean()
    assert 0.6 * typical < found.weights[labels.annotator == new] < typical, "one wrong label among eight of the pool's table"


def test_proposals_wait_for_a_person_where_the_config_says_so(world):
    labels = _pool(world, accuracy=0.1)
    bad, good = labels.annotators.index("ann-bad"), labels.annotators.index("ann-00")

    waiting = audit(labels, Settings(exclusions="propose"))
    decided = audit(labels, Settings(exclusions="propose"), {"ann-bad": "exclude", "ann-00": "exclude"})
    kept = audit(labels, Settings(), {"ann-bad": "keep"})

    assert [labels.annotators[proposal.annotator] for proposal in waiting.proposals] == ["ann-bad"]
    assert waiting.excluded == []
    assert decided.excluded == sorted([bad, good])
    assert kept.excluded == []
    assert decided.weights[labels.annotator == good].max() == 0.0


def test_the_accuracy_is_found_with_an_interval_that_holds_it():
    """900 labels, right on 78 %, seen by others who are right on 90 %: q is 0.9 or 0.1."""
    rng = np.random.default_rng(4)
    is_right = rng.random(900) < 0.78
    q = np.where(is_right ^ (rng.random(900) < 0.1), 0.9, 0.1)

    found = accuracy.estimate(accuracy.Likelihood(np.zeros(900, np.int32), q, 1))

    assert found.low[0] < 0.78 < found.high[0]
    assert found.high[0] - found.low[0] < 0.09


def test_with_certain_others_the_estimate_is_the_share_and_the_interval_is_near_wilsons():
    """42 of 60 right: 0.7; Wilson's interval is 0.575 to 0.801."""
    q = np.where(np.arange(60) < 42, 1.0, 0.0)

    found = accuracy.estimate(accuracy.Likelihood(np.zeros(60, np.int32), q, 1))
    low, high = accuracy.wilson(np.array([42]), np.array([60]))

    assert found.value[0] == pytest.approx(0.7, abs=1e-5)
    assert (found.low[0], found.high[0]) == pytest.approx((0.577, 0.806), abs=3e-3)
    assert (low[0], high[0]) == pytest.approx((0.5750, 0.8010), abs=1e-3)


def test_the_score_test_of_a_habit_is_as_worked_out_by_hand():
    """Three labels: x = 1, -1, 1; t = 1, -1, -2; e = 0.5, -0.8, 1.2; E t² = 3, 2, 5.

    Σ e² = 2.33, Σ x e = 2.5, so x' = x - 1.072961 e = 0.463519, -0.141631, -0.287554. Slope: Σ t e / Σ e² = -1.1 / 2.33.
    Variance: 0.214850 · 2.944280 + 0.020059 · 1.857356 + 0.082687 · 4.679051 = 1.056733. Σ x' t = 1.180258; z = 1.1481.
    """
    from types import SimpleNamespace

    labels = SimpleNamespace(annotators=["a"], annotator=np.zeros(3, np.int32), has_annotator=np.ones(3, bool))
    beside = SimpleNamespace(
        said=np.array([1.0, -1.0, -2.0]), expected=np.array([0.5, -0.8, 1.2]), square=np.array([3.0, 2.0, 5.0])
    )

    found = detectors.habit("length", labels, np.array([1.0, -1.0, 1.0]), beside, least_labels=2)

    assert found.statistic[0] == pytest.approx(1.1481, abs=1e-4)
    assert (found.shown["followed"][0], found.shown["of"][0]) == (2, 3)


def test_whoever_is_but_less_careful_than_others_is_not_named(world):
    """Sixty people right on 85 %; one on 72 %, whose labels are still worth having."""
    made = world(300, seed=4)
    for number in range(60):
        made.label(f"ann-{number:02d}", accuracy=0.85, pairs=made.rng.choice(300, 80, replace=False))
    made.label("ann-noisy", accuracy=0.72, pairs=made.rng.choice(300, 80, replace=False))

    assert _named(made.read(golden=range(40))) == {}


def test_strength_tells_a_blind_labeller_whose_choices_could_be_chance(world):
    """Right on 68 % of 80 pairs, but as sure on close pairs as on clear ones. Others are sure where a pair is clear."""
    made = world(300, seed=6)
    for number in range(30):
        made.label(f"ann-{number:02d}", accuracy=0.8, pairs=made.rng.choice(300, 80, replace=False))
    made.label("ann-bad", accuracy=0.68, pairs=range(80))
    for row in made.rows:
        is_clear = int(row["prompt_id"][1:]) % 2 == 0
        is_right = (row["label"] == "first") == row["responses"][0].startswith("a good")
        if row["annotator"] == "ann-bad":
            row["strength"] = 1 + int(row["prompt_id"][1:]) % 3
        else:
            row["strength"] = 3 if is_clear and is_right else 1

    audited = audit(made.read(golden=range(60, 100)), Settings())
    bad = sorted({row["annotator"] for row in made.rows}, key=[row["annotator"] for row in made.rows].index).index("ann-bad")

    assert audited.checks["care"].p[bad] < 1e-4
    assert audited.checks["accuracy"].p[bad] > 1e-4


def test_the_threshold_is_benjamini_and_hochbergs():
    """Rate 0.1, five tests: limits 0.02, 0.04, 0.06, 0.08, 0.1. 0.055 is under its 0.06, 0.09 above its 0.08."""
    p = np.array([0.09, 0.001, np.nan, 0.055, 0.3, 0.045])

    assert findings.threshold(p, rate=0.1) == 0.055
    assert findings.threshold(np.array([0.5, 0.9]), rate=0.1) == 0.0
