from __future__ import annotations

from components.catalog import ALIGN, RELEASE, STEPS, upstream, writer


def test_every_artifact_has_one_writer() -> None:
    written = [artifact for step in STEPS.values() for artifact in step.writes]

    assert sorted(written) == sorted(set(written))


def test_the_listed_order_satisfies_every_read() -> None:
    there: set[str] = set()
    for step in (*ALIGN, *RELEASE):
        assert set(step.reads) <= there, step.name
        there |= set(step.writes)


def test_what_is_registered_or_promoted_is_written() -> None:
    registered = {model for step in STEPS.values() for model in step.registers.values()}
    for step in STEPS.values():
        assert set(step.registers) <= set(step.writes)
        assert set(step.promotes) <= registered


def test_a_step_that_spreads_needs_nothing_that_rank_0_alone_has() -> None:
    """The others are told settings and inputs; neither the registry nor evidence reaches them."""
    for step in STEPS.values():
        if step.spreads:
            assert step.gpu
            assert [step.registry, step.reads_evidence, step.verifies] == [False] * 3, step.name
            assert not step.challenges, step.name


def test_upstream_names_the_writers() -> None:
    assert writer("reward_adapter").name == "reward"
    assert upstream("reward") == {"validate", "annotators", "base", "sft"}
    assert upstream("ppo") == {"validate", "annotators", "base", "sft", "reward"}
