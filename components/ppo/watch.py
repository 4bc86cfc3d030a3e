"""Watches a run: probes the policy, keeps the adapter the held-out judge likes most, and acts on an alarm."""

from __future__ import annotations

import statistics
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from components import marks
from components.ppo import actors as acting
from components.ppo import monitor, rewards, update
from components.ppo.monitor import Limits, Probe

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import Tensor

    from components.ppo.actors import Actors
    from components.ppo.config import Settings
    from components.ppo.rollout import Rollout
    from components.records import Prompt

KEPT_SAMPLES = 8
"""Answers of a probe that are kept as evidence, with their scores."""


@dataclass
class Watch:
    """What was seen so far. `asdict` of it is JSON; the best adapter lies beside it."""

    kl_coef: float
    probes: list[Probe] = field(default_factory=list)
    alarms: list[dict[str, Any]] = field(default_factory=list)
    samples: list[dict[str, Any]] = field(default_factory=list)
    stopped: bool = False

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Watch:
        """A watch as a checkpoint kept it."""
        probes = [Probe(**(probe | {"judge": tuple(probe["judge"])})) for probe in state["probes"]]
        return cls(**(dict(state) | {"probes": probes}))

    def look(
        self,
        actors: Actors,
        answers: Rollout,
        asked: Sequence[Prompt],
        settings: Settings,
        *,
        done: int,
        best: dict[str, Tensor],
    ) -> Probe:
        """Judge the answers of a probe; keep the adapter where it is the best so far; act where there is an alarm."""
        found = _probe(actors, answers, asked, settings, done=done, first=self.probes[0] if self.probes else None)
        self.probes.append(found.probe)
        self.samples += found.samples
        if monitor.best(self.probes) is found.probe:
            for name, value in actors.adapter_parameters().items():
                best[name].copy_(value.detach())
        limits = Limits(
            settings.judge_fall,
            settings.length_growth,
            settings.disagreement_rise,
            settings.misled_rise,
            gold_fall=settings.gold_fall,
        )
        reason = monitor.alarm(self.probes, limits)
        if reason:
            self.alarms.append({"update": done, "reason": reason, "action": settings.on_alarm})
            self.stopped = settings.on_alarm == "stop"
            self.kl_coef *= settings.kl_raise if settings.on_alarm == "raise_kl" else 1.0
        return found.probe

    def facts(self, *, chosen: int) -> dict[str, Any]:
        """What documents need: every probe, every alarm, what was done about it, and which update was chosen."""
        return {
            "probes": [_told(probe) for probe in self.probes],
            "alarms": self.alarms,
            "stopped": self.stopped,
            "chosen_update": chosen,
            "kl_coef_at_end": self.kl_coef,
        }


def _told(probe: Probe) -> dict[str, Any]:
    """A probe as evidence; what was not measured is left out."""
    measured = {name: value for name, value in asdict(probe).items() if value is not None}
    return measured | {"judge": probe.judged, "root_kl": max(probe.kl_nats, 0.0) ** 0.5}


@dataclass(frozen=True)
class _Found:
    probe: Probe
    samples: list[dict[str, Any]]


@torch.no_grad()
def _probe(
    actors: Actors, answers: Rollout, asked: Sequence[Prompt], settings: Settings, *, done: int, first: Probe | None
) -> _Found:
    scores = {}
    for name, scorer in (("proxy", actors.reward), ("judge", actors.judge)):
        raw, _ = acting.judged(actors, answers, scorer, at_once=settings.micro_batch)
        scores[name] = rewards.normalised(raw, mean=scorer.card.mean, std=scorer.card.std, clip=settings.reward_clip)
    proxy, judge = float(scores["proxy"].mean()), tuple(scores["judge"].tolist())
    shift = (first.proxy - first.judged) if first else proxy - float(scores["judge"].mean())
    kl = update.divergence(actors, answers, settings)["k1"].sum(dim=1)
    said = [row[kept].tolist() for row, kept in zip(answers.responses, answers.is_response, strict=True)]
    repeated, distinct = monitor.repetition(said)
    decode: Callable[..., str] = actors.tokenizer.decode
    words = [decode(tokens, skip_special_tokens=True) for tokens in said]
    seen = [marks.of(prompt, answer) for prompt, answer in zip(asked, words, strict=True)]
    known = [mark.utility for mark in seen if mark.utility is not None]
    probe = Probe(
        update=done,
        proxy=proxy,
        judge=judge,
        disagreement=float((scores["proxy"] - scores["judge"] - shift).abs().mean()),
        kl_nats=float(kl.mean()),
        response_tokens=float(answers.is_response.sum(dim=1).float().mean()),
        entropy_nats=float(answers.entropies.sum() / answers.is_response.sum()),
        repetition=repeated,
        distinct_pairs=distinct,
        share_without_eos=float((~answers.has_eos).float().mean()),
        hedging=statistics.fmean(mark.hedges for mark in seen),
        misled=statistics.fmean(mark.misled for mark in seen),
        refusals=statistics.fmean(mark.refuses for mark in seen),
        doubt=acting.doubt(actors, answers, actors.reward, at_once=settings.micro_batch),
        gold=statistics.fmean(known) if known else None,
    )
    samples = [
        {
            "update": done,
            "prompt": decode(answers.prompts[row][answers.is_prompt[row]].tolist(), skip_special_tokens=True),
            "answer": words[row],
            "proxy": round(float(scores["proxy"][row]), 4),
            "judge": round(judge[row], 4),
            "kl_nats": round(float(kl[row]), 4),
        }
        for row in range(min(KEPT_SAMPLES, len(said)))
    ]
    return _Found(probe, samples)
