"""The reward model's card shows what its record says of reliability, choice and comparison; and which method aligned."""

from __future__ import annotations

import html
import json
import re
import shutil
from pathlib import Path

from governance import render

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "evidence" / "v1"
SYSTEM = Path(__file__).resolve().parents[2] / "governance" / "system.yaml"


def _pages(folder: Path, **facts: object) -> dict[str, str]:
    evidence = Path(shutil.copytree(GOLDEN, folder / "evidence"))
    for step, found in facts.items():
        record = json.loads((evidence / f"{step}.json").read_text())
        record["facts"] |= found
        (evidence / f"{step}.json").write_text(json.dumps(record))
    render.render(evidence, folder / "pack", system=SYSTEM, pdf=False)
    return {path.name: path.read_text() for path in (folder / "pack").glob("*.html")}


def test_a_point_lies_where_its_numbers_say(tmp_path: Path) -> None:
    """Predicted 0.25 of 220 is 55 from the left; found 0.75 is a quarter, 55, from the top."""
    card = _pages(tmp_path, reward={"reliability": [{"predicted": 0.25, "found": 0.75, "labels": 12.5}]})["reward_model.html"]

    assert '<circle class="head" cx="55.0" cy="55.0" r="4"/>' in card
    assert "12.5" in card


def test_the_card_says_whose_labels_count_how_much_and_what_it_was_compared_with(tmp_path: Path) -> None:
    found = {
        "stakeholders": {"choice": "worst_group", "groups": 2},
        "group_weights": {"region: North": 0.3125, "region: South": 0.6875},
        "compared_with": {"version": "3", "digest": "sha256:old", "accuracy": 0.8125},
    }

    card = _pages(tmp_path, reward=found)["reward_model.html"]

    assert all(said in card for said in ("worst_group", "region: North", "0.6875", "0.8125", "sha256:old"))


def test_the_model_card_says_by_which_method_it_was_aligned(tmp_path: Path) -> None:
    card = _pages(tmp_path, ppo={"method": "direct preference optimization (DPO)"})["model_card.html"]

    said = " ".join(html.unescape(re.sub(r"<[^>]+>", " ", card)).split())
    assert "Method of this last step: direct preference optimization (DPO)" in said


def test_the_curve_of_over_optimisation_goes_through_its_probes(tmp_path: Path) -> None:
    """420 across for the largest root of the KL, 2; from the top 10 for the highest score, 3, and 210 for the lowest, -1."""
    probes = [
        {"update": 0, "root_kl": 0.0, "proxy": 0.0, "judge": -1.0, "gold": 0.0},
        {"update": 5, "root_kl": 2.0, "proxy": 3.0, "judge": 1.0, "gold": -1.0},
    ]
    without = [{name: value for name, value in probe.items() if name != "gold"} for probe in probes]

    card = _pages(tmp_path / "known", ppo={"monitor": {"probes": probes, "chosen_update": 5}})["reward_model.html"]
    elsewhere = _pages(tmp_path / "unknown", ppo={"monitor": {"probes": without, "chosen_update": 5}})["reward_model.html"]

    assert 'points="0.0,160.0 420.0,10.0"/><text class="run" x="426.0" y="14.0">Reward</text>' in card
    assert 'points="0.0,160.0 420.0,210.0"/><text class="run" x="426.0" y="214.0">Gold utility</text>' in card
    assert "Gold utility</text>" not in elsewhere
    assert ">Held-out judge</text>" in elsewhere
