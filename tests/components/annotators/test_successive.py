"""What a release may show beside those before it."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict

from components import disclosure
from components.annotators import successive
from components.shown import Shown, changed


def _table(**counts):
    made = disclosure.margin(Counter(counts), k=5)
    return asdict(made) | {"cells": {value: "suppressed" if n is None else n for value, n in made.cells.items()}}


def _summary(region, excluded=6, **crossings):
    return {
        "pool": {"margins": {"region": region, "gender": _table(man=20, woman=20)}, "crossings": crossings},
        "work": {"platform": _table(web=40)},
        "representativeness": {"region": {"north": {"share": 0.5}}, "gender": {"man": {"share": 0.5}}},
        "agreement": {"overall": 1, "by_group": {"region: north": 1, "gender: man": 2}},
        "bias": {"by_group": {"region: north": 3}},
        "reliability": {"0.9 to 1.0": 40},
        "exclusions": {"mode": "apply", "proposed_by_kind": {}, "proposed": excluded, "excluded": excluded, "decided": 0},
    }


def test_an_attacker_who_sees_a_hidden_cell_appear_could_read_it_off():
    """North 20, south 12, west 4, of 36: west and one more are hidden. Then west is 5, and all is shown."""
    before, now = _table(north=20, south=12, west=4), _table(north=20, south=12, west=5)
    shown = Shown([], successive.patterns(_summary(before)))

    hidden = sorted(value for value, count in before["cells"].items() if count == "suppressed")
    left = 36 - sum(count for count in before["cells"].values() if count != "suppressed")
    assert hidden == ["north", "west"]
    assert left - now["cells"]["north"] == 4, "what the attacker works out where both are shown"
    assert changed(successive.patterns(_summary(now)), [shown]) == ["pool.margins.region"]


def test_a_cell_that_disappears_takes_its_table_along_and_numbers_that_move_do_not():
    shown = [Shown([], successive.patterns(_summary(_table(north=20, south=12, west=5))))]

    gone = successive.patterns(_summary(_table(north=20, south=12, west=4)))
    moved = successive.patterns(_summary(_table(north=26, south=12, west=9)))

    assert changed(gone, shown) == ["pool.margins.region"]
    assert changed(moved, shown) == []


def test_a_table_that_no_release_showed_may_come_later():
    known = {name: cells for name, cells in successive.patterns(_summary(_table(west=4))).items() if "region" not in name}

    assert changed(successive.patterns(_summary(_table(north=20, west=9))), [Shown([], known)]) == []


def test_a_crossing_that_becomes_large_enough_stays_away():
    small, large = "suppressed", {"north / man": 10}
    before = successive.patterns(_summary(_table(north=20), **{"gender by region": small}))
    now = _summary(_table(north=20), **{"gender by region": large})

    left_out = changed(successive.patterns(now), [Shown([], before)])

    assert left_out == ["pool.crossings.gender by region"]
    assert successive.without(now, left_out)["pool"]["crossings"] == {"gender by region": "suppressed"}


def test_a_count_of_exclusions_that_was_hidden_does_not_show_later():
    """Four were hidden; then one more is excluded. The five would say that they were four."""
    before = Shown([], successive.patterns(_summary(_table(west=40), excluded="suppressed")))
    now = _summary(_table(west=40), excluded=5)

    left_out = changed(successive.patterns(now), [before])

    assert left_out == ["exclusions.excluded", "exclusions.proposed"]
    assert successive.without(now, left_out)["exclusions"] == {"mode": "apply", "proposed_by_kind": {}, "decided": 0}


def test_what_would_give_a_table_away_goes_with_it():
    """The crossing adds up to its margin; shares times people are counts; a group's figures say that it shows."""
    summary = _summary(_table(north=20, south=12), **{"gender by region": {"north / man": 10}})

    left = successive.without(summary, ["pool.margins.region", "work.platform"])

    assert list(left["pool"]["margins"]) == ["gender"]
    assert left["pool"]["crossings"] == {"gender by region": "suppressed"}
    assert left["representativeness"] == {"gender": {"man": {"share": 0.5}}}
    assert left["work"] == {}
    assert left["agreement"] == {"overall": 1, "by_group": {"gender: man": 2}}
    assert left["bias"] == {"by_group": {}}
