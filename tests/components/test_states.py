"""A step that needs an active model meets one that is stale, revoked, or used on somebody's word."""

from __future__ import annotations

import json
import sys
import types

import pytest

from components import entrypoint, evidence
from components.catalog import ALIGN, STEPS, Step
from components.config import Section

SIP = Step("sip", reads=("tea",), writes=("taste",), sections=("alignment",), needs_active=("tea",))


@pytest.fixture
def cup(toys, monkeypatch):
    """The toy pipeline with a step that drinks the tea, on a finished run; and a way to set the tea's state."""

    def run(context):
        toys.worked.append("sip")
        (context.output("taste") / "taste.txt").write_text("good")

    STEPS["sip"] = SIP
    monkeypatch.setattr(entrypoint, "ALIGN", (*entrypoint.ALIGN, SIP))
    for part, content in (("step", {"run": run}), ("config", {"Settings": Section})):
        module = types.ModuleType(f"components.sip.{part}")
        module.__dict__.update(content)
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return toys


def _set(toys, state):
    client = toys.lineage.client
    for version in client.search_model_versions("name = 'policy'"):
        client.set_model_version_tag("policy", version.version, "plumbline.state", state)


def test_an_active_model_is_used_and_the_evidence_says_so(cup):
    cup.run_all()
    _set(cup, "active")

    assert cup.run("sip") == 0

    record = evidence.read(cup.lineage.file(cup.lineage.step_run("run-1", "sip"), "evidence.json"))
    assert record.external == {"states": {"tea": "active"}}
    assert record.settings["alignment"]["accept_reward_state"] == ""


@pytest.mark.parametrize(
    ("state", "why"),
    [
        ("stale", "the base model has changed since it was trained"),
        ("revoked", "data that it was trained on were withdrawn"),
    ],
)
def test_a_model_that_is_not_active_is_refused_also_where_a_finished_run_could_stand_in(cup, capfd, state, why):
    cup.run_all()
    assert cup.run("sip") == 0
    _set(cup, state)

    assert cup.run("sip") == 65

    assert cup.worked.count("sip") == 1
    assert (
        f"ModelRefused: tea is policy version 1, whose state is '{state}': {why}. `sip` needs an active one: run `brew` again "
        "on this base model and the data as they are now, or set alignment.accept_reward_state to your name and reason."
    ) in capfd.readouterr().err


def test_a_named_and_reasoned_override_passes_and_stays_in_the_evidence(cup, monkeypatch):
    word = "Ada: the withdrawn labels were never trained on"
    monkeypatch.setenv("PLUMBLINE_PARAMS", json.dumps({"alignment.accept_reward_state": word}))
    cup.run_all()
    _set(cup, "revoked")

    assert cup.run("sip") == 0

    record = evidence.read(cup.lineage.file(cup.lineage.step_run("run-1", "sip"), "evidence.json"))
    assert record.external == {"states": {"tea": f"revoked, accepted by {word}"}}


def test_ppo_needs_an_active_reward_model():
    """Read from `ALIGN`: the toys replace the steps."""
    ppo = next(step for step in ALIGN if step.name == "ppo")

    assert ppo.needs_active == ("reward_adapter",)
