"""The whole step on the small testbed and on data that say little; what it publishes and what it keeps to itself."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys

import pytest

from components import records
from components.annotators import step
from components.annotators.config import Settings
from components.catalog import STEPS
from components.context import Context, Reference
from components.errors import ConfigRefused, DataRefused
from components.testbed import annotators as testbed
from components.testbed.folder import write_world

TABLES = ("comparisons", "golden", "prompts", "annotators")


@pytest.fixture(scope="module")
def testbed_tables(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    write_world(folder / "data", seed=0, size="full")
    return _tables(folder / "data", folder)


def _tables(data, folder):
    for table in TABLES:
        (folder / table).mkdir()
        (data / f"{table}.jsonl").rename(folder / table / f"{table}.jsonl")
    return {table: folder / table for table in TABLES}


def _run(inputs, folder, before=None, **settings):
    """`before`: the release before, as its context."""
    released = {"shown_pools": before.output("shown_pools")} if before else {}
    context = Context(
        step=STEPS["annotators"],
        config=Settings(**settings),
        seed=5,
        inputs=inputs,
        scratch=folder / "scratch",
        checkpoints=folder / "checkpoints",
        reference=Reference("before", released, {}) if before else None,
    )
    step.run(context)
    return context


def _lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_every_label_has_a_weight_and_every_pair_a_posterior(testbed_tables, tmp_path):
    context = _run(testbed_tables, tmp_path)

    weights = _lines(context.output("label_weights") / "weights.jsonl")
    pairs = _lines(context.output("label_weights") / "posteriors.jsonl")
    labels = list(records.read(testbed_tables["comparisons"] / "comparisons.jsonl", records.Comparison))
    assert [row["comparison"] for row in weights] == [label.id for label in labels]
    assert all(0 <= row["weight"] <= 1 for row in weights)
    assert {row["pair"] for row in pairs} == {records.pair_id(label.prompt_id, label.responses) for label in labels}
    assert all(0 <= row["first"] <= 1 for row in pairs)
    assert set(context.gaps) == {"target_population", "representativeness", "responses_by_decoding", "retest_agreement"}


def test_the_testbeds_bad_annotators_count_nothing_and_its_honest_ones_stay(testbed_tables, tmp_path):
    """Seed 0: all of the eight, each for what it does, and none of the 52 sound ones."""
    context = _run(testbed_tables, tmp_path)

    audit = json.loads((context.output("label_weights") / "audit.json").read_text())
    roles = testbed.roles(0)
    named = {proposal["annotator"]: proposal["kind"] for proposal in audit["proposals"]}
    assert {roles[name]: kind for name, kind in named.items()} == {
        "inverted": "inverted",
        "random": "random",
        "one_sided": "one-sided",
        "long": "length-follower",
        "flattered": "agreement-follower",
        "copying": "copying",
        "hasty": "too fast",
        "drifting": "drifting",
    }
    assert sorted(audit["decision"]["excluded"]) == sorted(named)
    assert context.measurements["excluded"].value == 8
    assert context.measurements["golden_accuracy"].low > 0.8


def test_evidence_names_nobody_and_shows_no_small_group(testbed_tables, tmp_path):
    context = _run(testbed_tables, tmp_path)

    text = json.dumps([context.facts, context.gaps])
    people = list(records.read(testbed_tables["annotators"] / "annotators.jsonl", records.Annotator))
    assert not [person.pseudonym for person in people if person.pseudonym in text]
    for table in context.facts["pool"]["margins"].values():
        assert all(count == "suppressed" or count >= table["k"] for count in table["cells"].values())
    assert "non-binary" not in str(context.facts["agreement"]), "three people"
    assert "non-binary" not in str(context.facts["bias"])


def test_same_data_same_bytes(testbed_tables, tmp_path):
    one, other = _run(testbed_tables, tmp_path / "1"), _run(testbed_tables, tmp_path / "2")

    for name in ("weights.jsonl", "posteriors.jsonl", "audit.json", "summary.json"):
        assert (one.output("label_weights") / name).read_bytes() == (other.output("label_weights") / name).read_bytes()


def _with(tables, folder, newcomers, **values):
    """The same tables with more people, who label as others did; `values` are of all of them."""
    shutil.copytree(tables["annotators"].parent, folder)
    people = list(records.read(tables["annotators"] / "annotators.jsonl", records.Annotator))
    labels = list(records.read(tables["comparisons"] / "comparisons.jsonl", records.Comparison))
    given = [label for label in labels if label.annotator == people[0].pseudonym]
    for number in range(newcomers):
        name = f"ann-new-{number}"
        gender = {"gender": "woman"} if number % 2 == 0 else {"gender": "man"}
        demographics = people[0].demographics | gender | values
        people.append(people[0].model_copy(update={"pseudonym": name, "demographics": demographics}))
        labels += [label.model_copy(update={"id": f"{label.id}-{number}", "annotator": name}) for label in given]
    records.write(folder / "annotators" / "annotators.jsonl", people)
    records.write(folder / "comparisons" / "comparisons.jsonl", labels)
    return {table: folder / table for table in TABLES}


def _invert(path, annotator):
    """Whatever this annotator preferred, the other answer."""
    turned = {"first": "second", "second": "first", "tie": "tie"}
    labels = records.read(path, records.Comparison)
    rows = [each.model_copy(update={"label": turned[each.label]}) if each.annotator == annotator else each for each in labels]
    records.write(path, rows)


def _differences(one, other):
    """What an attacker sees who subtracts two releases: value → how many more people."""
    told = {}
    for attribute, margin in one.facts["pool"]["margins"].items():
        after = other.facts["pool"].get("margins", {}).get(attribute, {"cells": {}})["cells"]
        for value, count in margin["cells"].items():
            if isinstance(count, int) and isinstance(after.get(value), int) and after[value] != count:
                told[f"{attribute}: {value}"] = after[value] - count
    return told


def test_an_attacker_can_not_tell_a_newcomer_from_two_successive_releases(testbed_tables, tmp_path):
    """One woman joins. Unguarded, the two releases differ by exactly her; guarded, the second shows no table of people."""
    first = _run(testbed_tables, tmp_path / "1")
    joined = _with(testbed_tables, tmp_path / "joined", 1)

    unguarded = _run(joined, tmp_path / "2a")
    second = _run(joined, tmp_path / "2b", before=first)

    assert _differences(first, unguarded)["gender: woman"] == 1
    assert _differences(first, second) == {}
    assert {second.facts[name] == {} for name in ("pool", "work", "representativeness", "reliability")} == {True}
    assert second.facts["agreement"] == second.facts["bias"] == {}
    assert json.loads((second.output("label_weights") / "groups.json").read_text()) == {}, "nor does `reward` show groups"
    assert second.gaps["pool"].startswith("fewer than 5 people came or went since a release that showed this")


def test_an_attacker_can_not_tell_how_a_newcomer_labels_from_two_successive_releases(testbed_tables, tmp_path):
    """Who joins prefers the worse answer. Unguarded, accuracy times labels, subtracted, is the newcomer's own; and so on.

    audit.json, for those who decide about exclusions, has everything in either case.
    """
    first = _run(testbed_tables, tmp_path / "1")
    joined = _with(testbed_tables, tmp_path / "joined", 1)
    _invert(joined["comparisons"] / "comparisons.jsonl", "ann-new-0")

    unguarded = _run(joined, tmp_path / "2a")
    second = _run(joined, tmp_path / "2b", before=first)

    audit = json.loads((second.output("label_weights") / "audit.json").read_text())
    newcomer = audit["annotators"]["ann-new-0"]
    one, other = (context.measurements["golden_accuracy"] for context in (first, unguarded))
    assert other.n - one.n == newcomer["golden_labels"]
    assert round(other.value * other.n) - round(one.value * one.n) == newcomer["golden_right"]
    assert {name for name in second.measurements if name not in {"labels", "repeats", "pairs"}} == set()
    assert second.facts["exclusions"] == {"mode": "apply", "false_discovery_rate": 0.05}
    assert "ann-new-0" in audit["decision"]["excluded"]
    assert {"golden_accuracy", "alpha", "annotators", "excluded", "mean_weight", "bias"} <= second.gaps.keys()


def test_no_cell_of_what_the_audit_found_counts_few_people(testbed_tables, tmp_path):
    """Eight bad annotators, one of each kind: their number shows, their kinds don't; 61 people are 60."""
    context = _run(_with(testbed_tables, tmp_path / "joined", 1), tmp_path / "1")

    exclusions = context.facts["exclusions"]
    assert exclusions["excluded"] == exclusions["proposed"] == context.measurements["excluded"].value >= 8
    assert set(exclusions["proposed_by_kind"].values()) == {"suppressed"}
    assert {count for count in context.facts["reliability"].values() if count != "suppressed"}.isdisjoint({1, 2, 3, 4})
    assert context.facts["tables"]["reliability"]["hidden"] == list(context.facts["reliability"].values()).count("suppressed")
    assert context.measurements["annotators"].value == context.facts["pool"]["people_rounded_down"] == 60


def test_few_exclusions_are_not_counted_and_none_are(testbed_tables, tmp_path):
    """With all but three of the bad ones kept by a person's decision, three are excluded: some, but fewer than five."""
    shutil.copytree(testbed_tables["annotators"].parent, tmp_path / "in")
    bad = sorted(name for name, role in testbed.roles(0).items() if role != "sound")
    keep = [
        records.Decision(annotator=name, decision="keep", by="R. Lead", reason="Looked at", decided_at="2026-03-01T00:00:00Z")
        for name in bad
    ]
    inputs = {table: tmp_path / "in" / table for table in TABLES}

    records.write(inputs["annotators"] / "decisions.jsonl", keep[3:])
    few = _run(inputs, tmp_path / "few")
    records.write(inputs["annotators"] / "decisions.jsonl", keep)
    none = _run(inputs, tmp_path / "none")

    assert few.facts["exclusions"]["excluded"] == "suppressed"
    assert "excluded" not in few.measurements
    assert few.gaps["excluded"] == few.gaps["weightless_labels"]
    assert few.gaps["excluded"].startswith("some, but fewer than 5 people")
    assert none.measurements["excluded"].value == none.facts["exclusions"]["excluded"] == 0


def test_a_release_that_showed_nothing_does_not_make_the_next_one_safe(testbed_tables, tmp_path):
    """Two join, are withheld; two more join: four away from what was shown, so withheld again; with twelve it shows again."""
    first = _run(testbed_tables, tmp_path / "1")
    second = _run(_with(testbed_tables, tmp_path / "two", 2), tmp_path / "2", before=first)
    third = _run(_with(testbed_tables, tmp_path / "four", 4), tmp_path / "3", before=second)
    fourth = _run(_with(testbed_tables, tmp_path / "twelve", 12), tmp_path / "4", before=third)

    assert [bool(context.facts["pool"]) for context in (first, second, third, fourth)] == [True, False, False, True]
    pools = json.loads((fourth.output("shown_pools") / "pools.json").read_text())
    assert [len(pool["people"]) for pool in pools] == [60, 72]
    assert "ann-new" not in json.dumps(pools)


def test_a_cell_that_was_hidden_does_not_show_in_the_next_release(testbed_tables, tmp_path):
    """Twelve scientists join, where few were: the table of expertise is left out with all that says its cells, and no other."""
    first = _run(testbed_tables, tmp_path / "1")
    more = _with(testbed_tables, tmp_path / "more", 12, expertise="science")

    unguarded = _run(more, tmp_path / "2a")
    second = _run(more, tmp_path / "2b", before=first)

    cells = [context.facts["pool"]["margins"]["expertise"]["cells"]["science"] for context in (first, unguarded)]
    assert cells[0] == "suppressed"
    assert isinstance(cells[1], int)
    assert "expertise" not in second.facts["pool"]["margins"]
    assert "expertise" not in second.facts["representativeness"]
    assert not any(name.startswith("expertise") for name in second.facts["agreement"]["by_group"])
    assert "expertise" not in (second.output("label_weights") / "groups.json").read_text()
    assert second.gaps["pool.margins.expertise"].startswith("an earlier release hid other cells of this table")
    kept = json.loads((second.output("shown_pools") / "pools.json").read_text())
    assert ["pool.margins.expertise" in each["tables"] for each in kept] == [True, False]


def test_a_release_from_before_patterns_were_kept_still_guards_its_people(testbed_tables, tmp_path):
    first = _run(testbed_tables, tmp_path / "1")
    pools = first.output("shown_pools") / "pools.json"
    pools.write_text(json.dumps([each["people"] for each in json.loads(pools.read_text())]))

    second = _run(_with(testbed_tables, tmp_path / "one", 1), tmp_path / "2", before=first)

    assert second.facts["pool"] == {}


def test_with_a_key_no_digest_of_a_person_is_a_plain_one(testbed_tables, tmp_path, monkeypatch):
    """The first release was before there was a key, the second after: it compares, and keeps keyed digests of its own."""
    first = _run(testbed_tables, tmp_path / "1")
    monkeypatch.setenv("PLUMBLINE_IDENTITY_KEY", "k" * 32)

    again = _run(testbed_tables, tmp_path / "2", before=first)
    newcomer = _run(_with(testbed_tables, tmp_path / "joined", 1), tmp_path / "3", before=again)

    pools = json.loads((again.output("shown_pools") / "pools.json").read_text())
    assert [len(pool["people"]) for pool in pools] == [60, 60]
    assert set(pools[0]["people"]).isdisjoint(pools[1]["people"])
    assert again.facts["snapshot"].startswith("hmac-sha256:")
    assert again.facts["pool"] == first.facts["pool"]
    assert newcomer.facts["pool"] == {}


def test_a_key_that_is_too_short_is_refused(testbed_tables, tmp_path, monkeypatch):
    monkeypatch.setenv("PLUMBLINE_IDENTITY_KEY", "short")

    with pytest.raises(ConfigRefused, match="PLUMBLINE_IDENTITY_KEY holds 5 characters"):
        _run(testbed_tables, tmp_path)


def test_the_same_pool_shows_its_tables_again(testbed_tables, tmp_path):
    first = _run(testbed_tables, tmp_path / "1")

    second = _run(testbed_tables, tmp_path / "2", before=first)

    assert second.facts["pool"] == first.facts["pool"]
    assert (second.output("shown_pools") / "pools.json").read_bytes() == (
        first.output("shown_pools") / "pools.json"
    ).read_bytes()


def _small(folder, labels, people=(), golden=()):
    prompt = records.Prompt(id="p", kind="k", split="train", messages=[records.Message(role="user", content="Which?")])
    for table, rows in {"comparisons": labels, "golden": golden, "prompts": [prompt], "annotators": people}.items():
        records.write(folder / table / f"{table}.jsonl", rows)
    return {table: folder / table for table in TABLES}


def _label(row, annotator=None, prompt="p"):
    return records.Comparison(id=f"c{row}", prompt_id=prompt, responses=("a", f"b {row}"), label="first", annotator=annotator)


def test_labels_of_nobody_all_count_the_same_and_the_gaps_say_why(tmp_path):
    context = _run(_small(tmp_path / "in", [_label(row) for row in range(5)]), tmp_path)

    weights = {row["weight"] for row in _lines(context.output("label_weights") / "weights.jsonl")}
    assert len(weights) == 1
    assert weights.pop() > 0
    assert set(context.gaps) == {
        *("annotators_unknown", "demographics", "alpha", "golden_accuracy", "bias_on_known_pairs"),
        *("past_retention", "target_population", "representativeness", "responses_by_decoding", "retest_agreement"),
    }
    assert context.gaps["annotators_unknown"] == "the source does not say who gave 5 of 5 labels"
    posteriors = [row["first"] for row in _lines(context.output("label_weights") / "posteriors.jsonl")]
    assert posteriors == [pytest.approx(2 / 3, abs=1e-4)] * 5, "one label and one pseudo-label each way"


def test_a_pool_of_one_group_and_one_label_is_audited_without_a_word_too_many(tmp_path):
    person = records.Annotator(pseudonym="ann-1", kind="human", demographics={"gender": "woman"})

    context = _run(_small(tmp_path / "in", [_label(1, "ann-1")], [person]), tmp_path)

    assert context.facts["pool"]["margins"]["gender"]["cells"] == {"woman": "suppressed"}
    assert context.facts["reliability"]["not judged"] == "suppressed"
    assert context.measurements["excluded"].value == 0


def _pool(folder, *demographics, **declared):
    """People with a label each, and the target population that is declared."""
    people = [
        records.Annotator(pseudonym=f"ann-{row}", kind="human", demographics=each) for row, each in enumerate(demographics)
    ]
    inputs = _small(folder, [_label(row, person.pseudonym) for row, person in enumerate(people)], people)
    (inputs["annotators"] / "target_population.json").write_text(json.dumps(declared))
    return inputs


def test_a_pool_like_its_target_population_has_no_standardised_difference(tmp_path):
    """9 men and 5 women, as declared: 9/14 and 5/14, each rounded to a twentieth as shares of so few people are."""
    people = [{"gender": "man"}] * 9 + [{"gender": "woman"}] * 5

    context = _run(_pool(tmp_path / "in", *people, gender={"man": 9 / 14, "woman": 5 / 14}), tmp_path)

    assert context.facts["representativeness"]["gender"] == {
        "man": {"share": 0.65, "target": 9 / 14, "difference": 0.0},
        "woman": {"share": 0.35, "target": 5 / 14, "difference": 0.0},
    }


def test_the_standardised_difference_is_that_of_all_people(tmp_path):
    """18 of 30 women, 40 % declared: 0.2 / sqrt((0.24 + 0.24) / 2) = 0.41. Two and the ten "other" are hidden."""
    people = [{"gender": "woman"}] * 18 + [{"gender": "other"}] * 10 + [{"gender": "man"}] * 2

    context = _run(_pool(tmp_path / "in", *people, gender={"woman": 0.4, "man": 0.5}), tmp_path)

    assert context.facts["representativeness"]["gender"] == {"woman": {"share": 0.6, "target": 0.4, "difference": 0.41}}


def test_countries_do_not_show_what_their_regions_add_up_to(tmp_path):
    sizes = {"DE": ("Europe", 10), "FR": ("Europe", 3), "US": ("North America", 20), "CA": ("North America", 4)}
    people = [{"country": country, "region": region} for country, (region, size) in sizes.items() for _ in range(size)]

    context = _run(_pool(tmp_path / "in", *people), tmp_path)

    shown = context.facts["pool"]["margins"]
    assert shown["region"]["cells"] == {"Europe": 13, "North America": 24}
    assert shown["country"]["cells"] == dict.fromkeys(("CA", "DE", "FR", "US"), "suppressed")


def test_a_crossing_does_not_say_that_everybody_is_alike(tmp_path):
    people = [{"gender": "woman", "age_band": band} for band in ("20-29", "30-39") for _ in range(15)]

    context = _run(_pool(tmp_path / "in", *people), tmp_path)

    assert context.facts["pool"]["margins"]["age_band"]["cells"] == {"20-29": 15, "30-39": 15}
    assert context.facts["pool"]["crossings"] == {"gender by age_band": "suppressed"}


def test_what_is_said_of_a_group_is_not_one_persons(tmp_path):
    """Six women label alike much. Of six men one gave 40 of 56 labels, and labelled with three others only, by guideline v2."""
    dice = random.Random(7)
    names = [f"{gender}-{number}" for gender in ("woman", "man") for number in range(6)]
    people = [records.Annotator(pseudonym=name, kind="human", demographics={"gender": name[:-2]}) for name in names]
    given = [(name, pair) for name in names for pair in _pairs_of(name)]
    labels = [
        records.Comparison(
            id=f"c{row}",
            prompt_id="p",
            responses=("a", "b " * (pair + 1)),
            label=dice.choice(("first", "second")),
            annotator=name,
            guideline="v1" if name > "woman" else "v2",
        )
        for row, (name, pair) in enumerate(given)
    ]

    context = _run(_small(tmp_path / "in", labels, people), tmp_path)

    agreement, bias = context.facts["agreement"], context.facts["bias"]
    assert agreement["by_group"]["gender: man"] is None
    assert agreement["by_group"]["gender: woman"] is not None
    assert agreement["by_guideline"]["v2"] is None
    assert agreement["by_guideline"]["v1"] is not None
    assert list(bias["by_group"]) == ["gender: woman"]
    assert json.loads((context.output("label_weights") / "groups.json").read_text())["gender: man"]["k"] == 5


def test_who_is_asked_again_and_says_the_same_counts_unless_that_is_few_people(tmp_path):
    """Six people were asked again: 9 of 12 times they said the same. Then one of them 20 times more."""
    inputs = _small(tmp_path / "in", [_label(row, f"ann-{row % 6}") for row in range(30)])
    asked = {f"ann-{row}": [2, 0] if row % 2 else [1, 1] for row in range(6)}
    path = inputs["annotators"] / "retests.json"
    path.write_text(json.dumps(asked))

    several = _run(inputs, tmp_path / "1")
    path.write_text(json.dumps(asked | {"ann-0": [20, 0]}))
    one = _run(inputs, tmp_path / "2")

    assert several.measurements["retest_agreement"].value == 9 / 12
    assert several.measurements["retest_agreement"].n == 12
    assert one.gaps["retest_agreement"] == "fewer than 5 people decided about the same pair twice, or mostly one"


def test_how_responses_were_drawn_is_counted(tmp_path):
    drawn = ("temperature 0.7", "greedy")
    labels = [_label(row, "ann-1").model_copy(update={"response_decodings": drawn if row else None}) for row in range(3)]

    context = _run(_small(tmp_path / "in", labels), tmp_path)

    assert context.facts["responses_by_decoding"] == {"greedy": 2, "temperature 0.7": 2}
    assert "responses_by_decoding" not in context.gaps


def test_rows_from_before_decodings_could_be_said_keep_their_bytes():
    """Data are pinned by digest."""
    assert "response_decodings" not in _label(1).model_dump_json()
    assert "response_decodings" in _label(1).model_copy(update={"response_decodings": ("a", "b")}).model_dump_json()


def test_agreement_and_weight_of_the_pool_are_not_one_persons(tmp_path):
    """Thirty pairs with two labels each, of four people."""
    labels = [_label(2 * row, "busy").model_copy(update={"responses": ("a", f"b {row}")}) for row in range(30)]
    labels += [
        _label(2 * row + 1, f"ann-{row % 3}").model_copy(update={"responses": ("a", f"b {row}"), "label": "second"})
        for row in range(30)
    ]

    context = _run(_small(tmp_path / "in", labels), tmp_path)

    assert context.gaps["alpha"] == "pairs with several labels were labelled by fewer than 5 people, or mostly by one"
    assert context.facts["agreement"]["overall"] == {"all labels": None}
    assert context.gaps["mean_weight"] == "fewer than 5 people labelled, or mostly one"


def _pairs_of(name):
    """What each labels: the women all 44 pairs, a man the first 40, three others some of these, two what no other man does."""
    number = int(name[-1])
    if name > "woman":
        return range(44)
    return (
        range(40)
        if number == 0
        else range(4 * number, 4 * number + 4)
        if number < 4
        else range(2 * number + 32, 2 * number + 34)
    )


def test_a_label_of_a_prompt_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(DataRefused) as refusal:
        _run(_small(tmp_path / "in", [_label(1, prompt="q")]), tmp_path)

    assert str(refusal.value) == "comparison c1 names the prompt 'q', which prompts.jsonl does not have. Mend the row."


def test_the_audit_needs_no_torch():
    heavy = "{'torch', 'transformers', 'pandas', 'mlflow'}"
    code = f"import sys, components.annotators.step; sys.exit(str({heavy} & sys.modules.keys() or ''))"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.stderr.strip() == "", done.stderr
