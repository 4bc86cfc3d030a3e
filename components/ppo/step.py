"""The story of `ppo`: answer, score, improve, again; then say how far the policy moved and what it gained.

prompts ──▶ sample (policy) ──▶ appraise (reward model, reference, value head) ──▶ improve (policy, value head)
                ▲                                                                          │
                └──────────────────────────────────────────────────────────────────────────┘
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import torch

from components import checkpoints, memory, models, records
from components.alignment import Settings as Alignment
from components.errors import ConfigRefused, DataRefused
from components.ppo import actors as acting
from components.ppo import monitor, passes, rewards, rollout, update
from components.ppo.watch import Watch
from components.share import ALONE, Share

METHODS = {"ppo": "proximal policy optimization (PPO)", "dpo": "direct preference optimization (DPO)"}
"""As documents name them."""
TRACKED = ("disagreement", "repetition", "distinct_pairs", "hedging", "misled", "refusals", "doubt", "gold")
"""What of a probe becomes a series in MLflow, beside the two scores."""
BY_UPDATE = ("kl_nats", "response_tokens", "entropy_nats", "share_without_eos")
"""The same of what every update says about its own answers, too: `probe_` stands before the series' name."""

if TYPE_CHECKING:
    from torch import Tensor

    from components.context import Context
    from components.ppo.actors import Actors
    from components.ppo.config import Settings
    from components.ppo.dpo import Trained
    from components.ppo.rollout import Rollout

    Prompts = list["Asked"]


@dataclass(frozen=True)
class Asked:
    """A prompt to answer."""

    prompt: records.Prompt
    ids: list[int]
    """Its tokens, ending where the answer begins."""


def run(context: Context[Settings]) -> None:
    """Train the policy, by PPO or DPO, and publish its adapter."""
    models.seed_everything(_seed(context, "start"))
    digest = context.input_digests.get("base_model", "")
    alignment = context.sections.get("alignment") or Alignment()
    preferred = _by_preference(context, alignment) if alignment.method == "dpo" else None
    parts = Share.at(context).parts
    everywhere = 1.0 if alignment.method == "dpo" else None
    actors = acting.load(context.inputs, base_digest=digest, settings=context.config, parts=parts, upper_share=everywhere)
    prompts = _prompts(context, actors)
    tokens = _adopt(context, actors, prompts, preferred) if preferred else _train(context, actors, prompts)
    models.save_adapter(actors.model, context.output("policy_adapter"), name=acting.POLICY)
    reward = context.input_digests.get("reward_adapter", "")
    context.tag("policy_adapter", base_digest=digest, reward_digest=reward, method=alignment.method)
    context.fact("method", METHODS[alignment.method])
    _measure(context, actors, prompts)
    _account(context, actors, tokens, epochs=alignment.dpo_epochs if preferred else context.config.epochs)


def _by_preference(context: Context[Settings], alignment: Alignment) -> Trained:
    """DPO, before anything else is loaded: there is one base in memory at a time."""
    from components.ppo import dpo  # noqa: PLC0415  (seconds of import that PPO does not need)

    return dpo.train(context, alignment)


def _adopt(context: Context[Settings], actors: Actors, prompts: Prompts, trained: Trained) -> dict[str, int]:
    """Probe the policy as it was and as DPO left it, and keep the one that the held-out judge likes more.

    Returns the tokens of one pass; DPO samples none to learn from.
    """
    best = {name: value.detach().clone() for name, value in actors.adapter_parameters().items()}
    watch = Watch(0.0)
    _look(context, actors, prompts, watch, best=best, done=0)
    models.put_adapter(actors.model, trained.adapter, name=acting.POLICY)
    _look(context, actors, prompts, watch, best=best, done=trained.updates)
    _choose(context, actors, watch, best)
    return {"sampled": 0, "read": trained.tokens, "answers": trained.answer_tokens}


def _prompts(context: Context[Settings], actors: Actors) -> Prompts:
    """The prompts of split `train` that leave room for an answer.

    Raises:
        DataRefused: There are none, or some leave no room and the settings don't say to leave them out.
    """
    table = records.read(context.inputs["prompts"] / "prompts.jsonl", records.Prompt)
    encoded = [_asked(prompt, actors) for prompt in table if prompt.split == "train"]
    room = actors.context_tokens - context.config.max_new_tokens
    fitting = [asked for asked in encoded if len(asked.ids) <= room]
    longest = max((len(asked.ids) for asked in encoded), default=0)
    where = f"prompts.jsonl has {len(encoded)} prompts of split `train`, {len(fitting)} of them with at most {room} tokens"
    if not fitting:
        message = f"{where}; at least one is needed. Give prompts, or a base model with a longer context."
        raise DataRefused(message)
    if len(fitting) < len(encoded):
        if context.config.long_prompts == "refuse":
            message = f"{where}; the longest has {longest}. Lower ppo.max_new_tokens or set ppo.long_prompts to leave_out."
            raise DataRefused(message)
        context.gap("long_prompts", f"{len(encoded) - len(fitting)} of {len(encoded)} prompts were left out as too long")
    context.measure("prompts", len(fitting), unit="prompts")
    return fitting


def _asked(prompt: records.Prompt, actors: Actors) -> Asked:
    dialogue = [message.model_dump() for message in prompt.messages]
    return Asked(prompt, models.encode(actors.tokenizer, dialogue, answering=True))


def _train(context: Context[Settings], actors: Actors, prompts: Prompts) -> dict[str, int]:
    """All updates, going on from the last checkpoint. Returns the tokens that were processed, by phase."""
    settings = context.config
    if settings.rollouts < context.ranks:
        message = (
            f"ppo.rollouts is {settings.rollouts}, and {context.ranks} processes share the answers of an update. Raise it to "
            f"{context.ranks} at least, or start fewer processes."
        )
        raise ConfigRefused(message)
    best = {name: value.detach().clone() for name, value in actors.adapter_parameters().items()}
    kept = actors.trainable() | {f"best.{name}": value for name, value in best.items()}
    optimizer = update.optimizer_of(actors, settings)
    state = checkpoints.resume(context.checkpoints, kept, optimizer=optimizer)
    tokens = {"sampled": 0, "read": 0} if state is None else state["tokens"]
    watch = Watch(settings.kl_coef) if state is None else Watch.of(state["watch"])
    for at, values in state["series"] if state else []:
        context.track(at, **values)
    for done in range(state["done"] if state else 0, settings.updates):
        if done % settings.probe_every == 0 and _look(context, actors, prompts, watch, best=best, done=done):
            break
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * _schedule(done, settings)
        chosen = _draw(prompts, settings.rollouts, at=done, context=context)
        answers = _answers(context, actors, chosen, adapter=acting.POLICY, purpose=f"sample {done}")
        experience = update.appraise(actors, answers, settings, kl_coef=watch.kl_coef, share=Share.at(context))
        is_due = watch.probes[-1].update < done and _is_far(watch, experience.metrics["kl_k1_nats"], settings.probe_distance)
        if is_due and _look(context, actors, prompts, watch, best=best, done=done):
            break
        moved = update.improve(actors, experience, settings, optimizer=optimizer, seed=_seed(context, f"improve {done}"))
        tokens["sampled"] += int(answers.is_response.sum())
        tokens["read"] += int(answers.is_prompt.sum()) + int(answers.is_response.sum())
        context.track(done + 1, **experience.metrics, **moved, kl_coef=watch.kl_coef)
        kl_nats = experience.metrics["kl_k1_nats"]
        watch.kl_coef = rewards.steered(
            watch.kl_coef, kl_nats, target=settings.kl_target, answers=settings.rollouts, horizon=settings.kl_horizon
        )
        context.progress(done + 1, settings.updates, _note(experience.metrics))
        if (done + 1) % settings.checkpoint_every == 0:
            reached = {"done": done + 1, "tokens": tokens, "series": context.series, "watch": asdict(watch)}
            checkpoints.save(context.checkpoints, kept, optimizer=optimizer, state=reached)
    if not watch.stopped:
        _look(context, actors, prompts, watch, best=best, done=settings.updates)
    _choose(context, actors, watch, best)
    return tokens


def _look(
    context: Context[Settings], actors: Actors, prompts: Prompts, watch: Watch, *, best: dict[str, Tensor], done: int
) -> bool:
    """Probe the policy on the same prompts with the same random numbers; whether training is to stop."""
    probed = _probed(context, prompts)
    answers = _answers(context, actors, probed, adapter=acting.POLICY, purpose="judge sample")
    asked = [one.prompt for one in probed]
    probe = watch.look(actors, answers, asked, context.config, done=done, best=best)
    seen = {name: getattr(probe, name) for name in TRACKED if getattr(probe, name) is not None}
    both = {f"probe_{name}": getattr(probe, name) for name in BY_UPDATE}
    context.track(done, probe_reward=probe.proxy, judge_score=probe.judged, **seen, **both)
    return watch.stopped


def _is_far(watch: Watch, kl_nats: float, distance: float) -> bool:
    """Whether the policy that has just answered is too far from the one of the last probe."""
    before, now = (max(kl, 0.0) ** 0.5 for kl in (watch.probes[-1].kl_nats, kl_nats))
    return abs(now - before) > distance


def _choose(context: Context[Settings], actors: Actors, watch: Watch, best: dict[str, Tensor]) -> None:
    """Go back to the adapter of the probe that the held-out judge liked most, and say what was seen."""
    chosen = monitor.best(watch.probes)
    if context.config.selection == "judge":
        with torch.no_grad():
            for name, value in actors.adapter_parameters().items():
                value.copy_(best[name])
    else:
        chosen = watch.probes[-1]
    context.fact("monitor", watch.facts(chosen=chosen.update))
    context.fact("samples", watch.samples)
    context.measure("chosen_update", chosen.update, unit="updates")
    context.measure("alarms", len(watch.alarms), unit="alarms", n=len(watch.probes))
    context.measure("judge_score_before", watch.probes[0].judged, unit="standard deviations", n=len(chosen.judge))
    context.measure("judge_score_after", chosen.judged, unit="standard deviations", n=len(chosen.judge))


def _probed(context: Context[Settings], prompts: Prompts) -> Prompts:
    """The training prompts of every probe and of the comparison at the end."""
    order = torch.randperm(len(prompts), generator=_generator(context, "judge order"))
    return [prompts[int(row)] for row in order[: context.config.judged_prompts]]


def _schedule(done: int, settings: Settings) -> float:
    """Share of the peak learning rate: rises linearly during the warm-up, falls linearly towards zero after it."""
    rising = settings.warm_up_updates + 1
    return min((done + 1) / rising, (settings.updates - done) / max(1, settings.updates - rising + 1))


def _draw(prompts: Prompts, n: int, *, at: int, context: Context[Settings]) -> Prompts:
    """The prompts of an update: every pass over them is a permutation of its own, the same wherever training resumes."""
    chosen: Prompts = []
    for place in range(at * n, (at + 1) * n):
        epoch, row = divmod(place, len(prompts))
        if row == 0 or not chosen:
            order = torch.randperm(len(prompts), generator=_generator(context, f"order {epoch}"))
        chosen.append(prompts[int(order[row])])
    return chosen


def _answers(context: Context[Settings], actors: Actors, prompts: Prompts, *, adapter: str, purpose: str) -> Rollout:
    settings, pad = context.config, int(actors.tokenizer.pad_token_id)
    shape = (len(prompts), settings.max_new_tokens)
    uniforms = torch.rand(shape, dtype=torch.float64, generator=_generator(context, purpose))
    all_of_us = Share.at(context)
    share = all_of_us if len(prompts) >= context.ranks else ALONE
    rows = share.of(torch.arange(len(prompts)))
    most = math.ceil(len(prompts) / share.ranks)
    at_once = settings.sample_batch or most

    def sampled(some: Tensor) -> Rollout:
        with actors.acting(adapter) as model:
            return rollout.sample(
                model,
                [prompts[int(row)].ids for row in some],
                uniforms=uniforms[some],
                temperature=settings.temperature,
                eos=int(actors.tokenizer.eos_token_id),
                pad=pad,
                share=all_of_us,
            )

    def all_of_them() -> Rollout:
        # Where the base is split, whoever has nothing left to answer answers his first prompt again.
        parts = [(part, sampled(part if len(part) else rows[:1])) for part in rows.tensor_split(math.ceil(most / at_once))]
        return rollout.joined([answers for part, answers in parts if len(part)], pad=pad)

    def trial(size: int) -> Rollout:
        return sampled(rows[torch.tensor([len(prompts[int(row)].ids) for row in rows]).argsort(descending=True)][:size])

    longest = max(len(asked.ids) for asked in prompts) + settings.max_new_tokens
    mine = memory.within(
        all_of_them,
        told=lambda: f"{min(at_once, most)} prompts and answers of up to {longest} tokens",
        items=min(at_once, most),
        trial=trial if actors.is_whole else None,
        remedy=passes.SAMPLING,
    )
    return rollout.together(mine, [asked.ids for asked in prompts], rows, share=share, longest=shape[1], pad=pad)


def _measure(context: Context[Settings], actors: Actors, prompts: Prompts) -> None:
    """Score and distance on training prompts that both policies answer with the same randomness.

    Does not cover: whether the answers are better. The score is the reward model's own; `evaluate` judges by others.
    """
    settings, chosen = context.config, _probed(context, prompts)
    n = len(chosen)
    for adapter, name in ((acting.REFERENCE, "proxy_reward_before"), (acting.POLICY, "proxy_reward_after")):
        answers = _answers(context, actors, chosen, adapter=adapter, purpose="judge sample")
        raw, _ = acting.judged(actors, answers, actors.reward, at_once=settings.micro_batch)
        card = actors.reward.card
        scores = rewards.normalised(raw, mean=card.mean, std=card.std, clip=settings.reward_clip)
        half = 1.96 * float(scores.std(correction=0)) / math.sqrt(n)
        mean = float(scores.mean())
        context.measure(name, mean, unit="standard deviations", n=n, low=mean - half, high=mean + half)
    kl = update.divergence(actors, answers, settings)
    context.measure("kl_nats", float(kl["k1"].sum(dim=1).mean()), unit="nats per answer", n=n)
    context.measure("kl_k3_nats", float(kl["k3"].sum(dim=1).mean()), unit="nats per answer", n=n)
    context.measure("response_tokens", float(answers.is_response.sum(dim=1).float().mean()), unit="tokens per answer", n=n)
    context.measure("share_without_eos", float((~answers.has_eos).float().mean()), unit="share of answers", n=n)


def _account(context: Context[Settings], actors: Actors, tokens: dict[str, int], *, epochs: int) -> None:
    """What training cost, by counted formula.

    PPO reads tokens forwards once to sample, to score and for the reference, DPO once for the reference; both read them both
    ways in every epoch, PPO in the layers that it trains. Probes are not counted. What a pass costs: `models.pass_flop`.
    """
    by_preference = "answers" in tokens
    before, answers = (1, tokens["answers"]) if by_preference else (3, tokens["sampled"])

    def cost(above: int) -> tuple[int, int]:
        read = {"tokens": tokens["read"], "answer_tokens": answers}
        return models.pass_flop(actors.model, acting.POLICY, **read, above=above, whole=by_preference)

    improving = epochs * sum(cost(actors.lowest))
    if actors.value_parameters() and not by_preference:  # as large as the policy's; what it reads is computed once more, too
        before, improving = before + 1, improving + epochs * sum(cost(0))
    context.measure("flop", before * cost(0)[0] + improving, unit="FLOP")
    context.measure("update_flop", improving, unit="FLOP")
    context.measure("sampled_tokens", tokens["sampled"], unit="tokens")
    trained = actors.adapter_parameters() if by_preference else actors.trainable()
    context.measure("trained_parameters", sum(value.numel() for value in trained.values()), unit="parameters")


def _note(metrics: dict[str, float]) -> str:
    return f"reward {metrics['reward']:.2f}, KL {metrics['kl_k1_nats']:.2f} nats"


def _generator(context: Context[Settings], purpose: str) -> torch.Generator:
    return torch.Generator().manual_seed(_seed(context, purpose))


def _seed(context: Context[Settings], purpose: str) -> int:
    """A seed of its own for each purpose, so that nothing random depends on what was drawn before it."""
    return int.from_bytes(hashlib.sha256(f"ppo {context.seed} {purpose}".encode()).digest()[:7], "big")
