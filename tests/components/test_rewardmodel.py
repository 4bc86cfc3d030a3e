"""The score head, and the card that binds a reward model to its base."""

from __future__ import annotations

import json

import pytest
import torch

from components import models, rewardmodel
from components.errors import ModelRefused
from components.rewardmodel import Answered, Card, ScoreHead

CARD = Card("sha256:b", "sha256:t", 0.25, 2.0, "bradley-terry", 3, "sft")


def test_a_score_reads_the_last_state_and_the_likelihood():
    """2 * 3 - 4 * 0.5 + 0.25 * -6 / 3 + 7 = 10.5."""
    head = ScoreHead(2)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([2.0, -4.0]))
        head.likelihood_weight.fill_(0.25)
        head.likelihood_scale.fill_(3.0)
        head.bias.fill_(7.0)

    assert head(torch.tensor([[3.0, 0.5]]), torch.tensor([-6.0])).tolist() == [10.5]


def test_an_ensemble_takes_off_its_doubt():
    """Heads say 2 · 3 + 0.5 · -6 / 3 + 1 = 6 and 4 · 3 + 0.25 · -6 / 3 - 1.5 = 10: mean 8, deviation 2, so 8 - 0.75 · 2."""
    head = ScoreHead(1, members=2)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[2.0], [4.0]]))
        head.likelihood_weight.copy_(torch.tensor([0.5, 0.25]))
        head.likelihood_scale.fill_(3.0)
        head.bias.copy_(torch.tensor([1.0, -1.5]))
        head.caution.fill_(0.75)

    states, nats = torch.tensor([[3.0]]), torch.tensor([-6.0])

    assert head.members(states, nats).tolist() == [[6.0], [10.0]]
    assert head(states, nats).tolist() == [6.5]


def test_an_ensemble_survives_saving(tmp_path):
    head = ScoreHead(3, members=2)
    torch.nn.init.normal_(head.weight)
    torch.nn.init.constant_(head.caution, 0.75)

    head.save(tmp_path / rewardmodel.HEAD)

    loaded = ScoreHead.load(tmp_path / rewardmodel.HEAD)
    assert loaded.ensemble
    assert all(torch.equal(one, two) for one, two in zip(head.parameters(), loaded.parameters(), strict=True))


@pytest.mark.parametrize(
    ("rule", "expected"),
    # Heads give 3 and -1 above their typical answer. ln σ(3) = -0.0485874, ln σ(-1) = -1.3132617.
    [("mean", 1.0), ("maximin", -1.0), ("nash", -0.6809245)],
)
def test_groups_heads_make_one_score_by_a_stated_rule_that_survives_saving(tmp_path, rule, expected):
    head = ScoreHead(1, members=2, aggregation=rule)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[2.0], [1.0]]))
        head.typical.copy_(torch.tensor([1.0, 3.0]))
    head.save(tmp_path / rewardmodel.HEAD)

    loaded = ScoreHead.load(tmp_path / rewardmodel.HEAD)

    assert loaded(torch.tensor([[2.0]]), torch.zeros(1)).tolist() == pytest.approx([expected], abs=1e-6)
    assert not loaded.ensemble, "that groups differ is no doubt"


def test_the_only_group_has_a_head_too(tmp_path):
    head = ScoreHead(3, members=1, aggregation="maximin")
    head.save(tmp_path / rewardmodel.HEAD)

    assert ScoreHead.load(tmp_path / rewardmodel.HEAD).weight.shape == (1, 3)


def test_pairs_are_scored_as_their_answers_are_alone(tiny_models):
    base = models.load_base(tiny_models["base_model"])
    model = models.quicken(models.load_adapter(base, tiny_models["reward_adapter"], name="any"))
    head = ScoreHead.load(tiny_models["reward_adapter"] / rewardmodel.HEAD)
    pairs = [
        (Answered([5, 9, 4], [7, 1]), Answered([5, 9, 4], [11, 12, 1])),
        (Answered([8], [1]), Answered([8], [30, 7, 9, 1])),
    ]

    found = rewardmodel.pair_scores(model, head, pairs, pad=0)

    assert found.shape == (1, 2, 2)
    alone = [rewardmodel.score(model, head, [each], pad=0)[0] for two in pairs for each in two]
    assert found.flatten().tolist() == pytest.approx(alone, abs=1e-5)


def test_a_head_survives_saving(tmp_path):
    head = ScoreHead(3)
    torch.nn.init.normal_(head.weight)

    head.save(tmp_path / rewardmodel.HEAD)

    loaded = ScoreHead.load(tmp_path / rewardmodel.HEAD)
    assert all(torch.equal(one, two) for one, two in zip(head.parameters(), loaded.parameters(), strict=True))


def test_what_was_known_before_a_token_does_not_depend_on_it(tiny_models):
    """Two answers that differ in their third token: the same features before it, also the likelihood so far."""
    base = models.load_base(tiny_models["base_model"])
    model = models.load_adapter(base, tiny_models["reward_adapter"], name="any")
    head = ScoreHead.load(tiny_models["reward_adapter"] / rewardmodel.HEAD)
    prompts, answers = torch.tensor([[5, 9], [5, 9]]), torch.tensor([[7, 30, 8, 1], [7, 30, 11, 1]])
    is_prompt, is_answer = torch.ones_like(prompts, dtype=torch.bool), torch.ones_like(answers, dtype=torch.bool)

    with torch.no_grad():
        scores, known = rewardmodel.judge(model, head, prompts, is_prompt, answers=answers, is_answer=is_answer)

    torch.testing.assert_close(known[0, :3], known[1, :3])
    assert known[0, 0, -1] == 0, "nothing has been said before the first token"
    assert not torch.allclose(known[0, 3], known[1, 3])
    assert scores[0] != scores[1]


def test_scores_come_back_in_the_order_given(tiny_models):
    base = models.load_base(tiny_models["base_model"])
    model = models.load_adapter(base, tiny_models["reward_adapter"], name="any")
    head = ScoreHead.load(tiny_models["reward_adapter"] / rewardmodel.HEAD)
    answered = [Answered([5, 9, 4], [7, 1]), Answered([8], [1]), Answered([2, 6], [9, 30, 12, 1])]

    together = rewardmodel.score(model, head, answered, pad=0, batch_size=2)

    alone = [rewardmodel.score(model, head, [each], pad=0)[0] for each in answered]
    assert together == pytest.approx(alone, abs=1e-5)


def test_an_answer_ends_with_the_end_token(tiny_models):
    tokenizer = models.load_tokenizer(tiny_models["base_model"])

    answered = rewardmodel.encode_answer(tokenizer, [{"role": "user", "content": "Is it?"}], " Yes. ")

    assert tokenizer.decode(answered.prompt) == "<|user|>\nIs it?<|end|>\n<|assistant|>\n"
    assert tokenizer.decode(answered.answer) == "Yes.<|end|>"


def test_a_card_survives_writing(tmp_path):
    CARD.write(tmp_path)

    assert Card.read(tmp_path) == CARD


def test_a_card_with_no_spread_is_refused(tmp_path):
    CARD.write(tmp_path)
    path = tmp_path / rewardmodel.CARD
    path.write_text(json.dumps(json.loads(path.read_text()) | {"std": 0.0}))

    with pytest.raises(ModelRefused, match=r"has std 0.0, expected a number above 0"):
        Card.read(tmp_path)


def test_a_missing_card_is_refused(tmp_path):
    with pytest.raises(ModelRefused, match=r"has no readable reward.json"):
        Card.read(tmp_path)


def test_a_card_is_not_compared_with_digests_nobody_knows():
    CARD.require(base_digest="", tokenizer_digest="")
