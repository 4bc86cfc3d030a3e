"""The compute of a release, counted twice, and the test of one third for who modifies a general-purpose model.

    updating    FLOP of the passes that update parameters: base (where it was made here), SFT, reward model, PPO's epochs
    all         the same, and every pass to sample, to score and for the reference
    share       (SFT + reward model + PPO) / compute of the base model; the Commission's guidelines draw the line at 1/3

How rollouts and reward passes count is not settled in the guidelines, so both totals are tested. Where the base model's
compute is unknown, the guidelines' own default stands for it: 10^23 FLOP, 10^25 with systemic risk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from governance.facts import Facts

ALIGNING = ("sft", "reward", "ppo")
UPDATING = {"ppo": "ppo.measurements.update_flop.value"}
"""Where the updating passes are recorded apart; elsewhere every counted pass updates."""
DEFAULT_FLOP, SYSTEMIC_FLOP = 1e23, 1e25
THIRD = 1 / 3


def totals(facts: Facts) -> tuple[dict[str, Any], dict[str, str]]:
    """What can be computed, as a tree with `value`, `unit` and `of` for each; and what can't, with why."""
    original, basis, of_original = _original(facts)
    tree: dict[str, Any] = {"original": {"value": original, "unit": "FLOP", "of": of_original, "basis": basis}}
    gaps: dict[str, str] = {}
    if "base" not in facts.records:
        return {}, {f"computed.compute.{count}": "the step `base` left no evidence record" for count in ("updating", "all")}
    for count in ("updating", "all"):
        own = [_flop(step, count) for step in ALIGNING]
        missing = sorted(name for name in own if name not in facts)
        if missing:
            gaps[f"computed.compute.{count}"] = f"{', '.join(missing)} was not recorded"
            continue
        made = [name for name in ["base.measurements.flop.value"] if name in facts]
        aligning = sum(float(facts.value(name)) for name in own)
        earlier, of_earlier = _earlier(facts, count)
        whole = aligning + sum(float(facts.value(name)) for name in made)
        tree[count] = {"value": whole, "unit": "FLOP", "of": [*made, *own]}
        tree[f"aligning_{count}"] = {"value": aligning, "unit": "FLOP", "of": own}
        tree[f"cumulative_{count}"] = {"value": earlier + _new(facts, count), "unit": "FLOP", "of": [*own, *of_earlier]}
        for name in (f"aligning_{count}", f"cumulative_{count}"):
            share = tree[name]["value"] / original
            of = [*tree[name]["of"], *of_original]
            tree[f"share_{name}"] = {"value": share, "unit": "of the base model's compute", "of": of}
            tree[f"verdict_{name}"] = {"value": "above one third" if share > THIRD else "not above one third", "of": of}
    return tree, gaps


def _flop(step: str, count: str) -> str:
    name = f"{step}.measurements.flop.value"
    return UPDATING.get(step, name) if count == "updating" else name


def _original(facts: Facts) -> tuple[float, str, list[str]]:
    """Compute of the base model, what it rests on, and the facts it was read from."""
    if "base.measurements.flop.value" in facts:
        return float(facts.value("base.measurements.flop.value")), "measured here", ["base.measurements.flop.value"]
    try:
        return float(facts.value("system.base_training_flop")), "declared by the organisation", ["system.base_training_flop"]
    except (TypeError, ValueError):
        systemic = facts.value("system.gpai_systemic") == "yes"
        return SYSTEMIC_FLOP if systemic else DEFAULT_FLOP, "unknown: the default of the Commission's guidelines", []


def _earlier(facts: Facts, count: str) -> tuple[float, list[str]]:
    """What earlier releases spent on the same base model."""
    name = f"previous.document.facts.compute.cumulative_{count}"
    same = facts.value("previous.base.outputs.base_model.digest") == facts.value("base.outputs.base_model.digest")
    return (float(facts.value(name)), [name]) if same and name in facts else (0.0, [])


def _new(facts: Facts, count: str) -> float:
    """What this release spent that the one before it did not: a step that was reused is not counted again."""
    again = _earlier(facts, count)[1]
    fresh = [step for step in ALIGNING if not again or facts.value(f"previous.{step}.run") != facts.value(f"{step}.run")]
    return sum(float(facts.value(_flop(step, count))) for step in fresh)
