"""PPO finds known optima that its base model does not prefer: the best arm of a bandit, and to repeat symbols.

The base model repeats three symbols, or more often turns them round.
"""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch.nn.functional import cross_entropy, pad

from components import models
from components.base import pretrain
from components.base.config import Settings as Base
from components.ppo import actors as acting
from components.ppo import rollout, update
from components.ppo.config import Settings
from components.rewardmodel import Card, ScoreHead

PAD, END, SYMBOLS, LENGTH, WIDTH = 0, 1, 8, 3, 32
UPDATES, ANSWERS = 60, 128


def _symbols(rows, generator):
    return torch.randint(2, SYMBOLS + 2, (rows, LENGTH), generator=generator)


def _base(generator):
    """A model that has read three symbols and then the same, in four of ten texts as they stood, in six turned round."""
    shape = Base(hidden=WIDTH, layers=2, heads=2, context_tokens=32)
    base = pretrain.fresh_model(shape, vocabulary=SYMBOLS + 2, pad=PAD, end=END)
    optimizer = torch.optim.AdamW(base.parameters(), lr=1e-2)
    for left in range(300, 0, -1):
        optimizer.param_groups[0]["lr"] = 1e-2 * left / 300
        first = _symbols(64, generator)
        second = torch.where(torch.rand((64, 1), generator=generator) < 0.4, first, first.flip(1))
        logits = base(input_ids=torch.cat([first, second], dim=1)).logits[:, LENGTH - 1 : -1]
        cross_entropy(logits.flatten(0, 1), second.flatten()).backward()
        optimizer.step()
        optimizer.zero_grad()
    return models.freeze(base.eval())


@pytest.fixture
def actors():
    models.seed_everything(0)
    model = _base(torch.Generator().manual_seed(0))
    for name in (acting.REFERENCE, acting.REWARD, acting.POLICY):
        model = models.new_adapter(model, name=name, rank=8, alpha=16.0)
    scorer = acting.Scorer(acting.REWARD, ScoreHead(WIDTH), Card("", "", 0.0, 1.0, "none", 1, "none"))
    tokenizer = SimpleNamespace(pad_token_id=PAD, eos_token_id=END)
    return acting.Actors(models.quicken(model).eval(), tokenizer, scorer, scorer, acting.ValueHead(WIDTH, 32), 2 * LENGTH)


def _sampled(actors, prompts, uniforms, *, temperature=1.0):
    with actors.acting(acting.POLICY) as model:
        return rollout.sample(model, prompts, uniforms=uniforms, temperature=temperature, eos=END, pad=PAD)


def _copied(answers):
    """(B,) share of the symbols that are right."""
    short = LENGTH - answers.responses.shape[1]
    is_right = (pad(answers.responses, (0, short)) == answers.prompts) & pad(answers.is_response, (0, short))
    return is_right.float().mean(dim=1)


def _solved(actors):
    """Share of all prompts whose likeliest answer is the optimum."""
    every = torch.cartesian_prod(*[torch.arange(2, SYMBOLS + 2)] * LENGTH)
    halves = torch.full(every.shape, 0.5, dtype=torch.float64)
    return float((_copied(_sampled(actors, every.tolist(), halves, temperature=0.01)) == 1).float().mean())


def _learn(actors, monkeypatch, earned, *, updates, longest):
    """PPO on prompts of three symbols, whose answers earn what `earned` says."""
    judged = acting.judged
    monkeypatch.setattr(acting, "judged", lambda *given, **named: (earned(given[1]), judged(*given, **named)[1]))
    settings = Settings(epochs=4, minibatch=ANSWERS // 4, learning_rate=0.01, max_new_tokens=longest, eos_penalty=0.0)
    optimizer, generator = update.optimizer_of(actors, settings), torch.Generator().manual_seed(0)
    for done in range(updates):
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * (1 - done / updates)
        uniforms = torch.rand((ANSWERS, longest), dtype=torch.float64, generator=generator)
        answers = _sampled(actors, _symbols(ANSWERS, generator).tolist(), uniforms)
        experience = update.appraise(actors, answers, settings, kl_coef=0.0)
        update.improve(actors, experience, settings, optimizer=optimizer, seed=done)


def test_the_copy_task_is_solved(actors, monkeypatch):
    """The whole answer earns the share of symbols that are right."""
    before = _solved(actors)

    _learn(actors, monkeypatch, _copied, updates=UPDATES, longest=LENGTH)

    assert before < 0.5
    assert _solved(actors) > 0.95


@pytest.mark.parametrize("best", [2, 7])
def test_a_bandit_is_solved(actors, monkeypatch, best):
    """Answers of one token, an arm each: one earns 1, its neighbour 0.8, all others 0."""
    pays = torch.zeros(SYMBOLS + 2)
    pays[best], pays[best + 1] = 1.0, 0.8

    def earned(answers):
        return pays[answers.responses[:, 0]]

    def mean():
        generator = torch.Generator().manual_seed(1)
        uniforms = torch.rand((512, 1), dtype=torch.float64, generator=generator)
        return float(earned(_sampled(actors, _symbols(512, generator).tolist(), uniforms)).mean())

    before = mean()
    _learn(actors, monkeypatch, earned, updates=30, longest=1)

    assert before < 0.4
    assert mean() > 0.97
