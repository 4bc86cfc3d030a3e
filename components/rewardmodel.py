"""The reward model as every step uses it: how an answer is encoded, how it is scored, and what its card says.

Letters for shapes: B sequences, P prompt tokens, T answer tokens, H hidden size.
Scores are raw; `Card` has what makes them comparable.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from components import models, prefix, sequences
from components.errors import ModelRefused

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from peft import PeftModel
    from transformers import PreTrainedTokenizerBase

    from components.models import Dialogue

CARD, HEAD = "reward.json", "head.safetensors"


@dataclass(frozen=True)
class Card:
    """`reward.json`: what a reward model is bound to, and its scale."""

    base_digest: str
    """Digest of the base model; empty where the step was run by hand."""
    tokenizer_digest: str
    """See `tokenizer_digest`."""
    mean: float
    """Mean raw score of the training answers."""
    std: float
    """Their standard deviation, above 0."""
    loss: str
    """Name of the training loss."""
    train_pairs: int
    start_from: str
    judge_share: float = 0.5
    """Share of the annotators whose labels trained the held-out judge alone: see `pairs.divided`."""
    heads: int = 1
    caution: float = 0.0
    """k: the score is the heads' mean less k of their standard deviations."""
    stakeholders: str = "all"
    """Whose labels counted how much: `all`, `balanced`, `worst_group` or `head_per_group`."""
    aggregation: str = ""
    """How the scores of the groups' heads become one, where each group has its own: see `aggregated`."""

    def write(self, folder: Path) -> None:
        """Write the card beside the weights."""
        text = json.dumps(asdict(self), indent=1, sort_keys=True, allow_nan=False)
        (folder / CARD).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Card:
        """The card of the reward model in a folder.

        Raises:
            ModelRefused: There is no card, or it is not a whole one.
        """
        try:
            card = cls(**json.loads((folder / CARD).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            message = (
                f"{folder} has no readable {CARD} ({error}). Run `reward` again; a reward model without a card is not used."
            )
            raise ModelRefused(message) from None
        if not card.std > 0:
            message = (
                f"{folder}/{CARD} has std {card.std}, expected a number above 0. Run `reward` again on more varied answers."
            )
            raise ModelRefused(message)
        return card

    def require(self, *, base_digest: str, tokenizer_digest: str) -> None:
        """See that the reward model belongs to this base model and tokenizer. An empty digest is not compared.

        Raises:
            ModelRefused: It belongs to others.
        """
        for what, mine, given in (
            ("base model", self.base_digest, base_digest),
            ("tokenizer", self.tokenizer_digest, tokenizer_digest),
        ):
            if mine and given and mine != given:
                message = (
                    f"The reward model was trained on the {what} {mine}, this run has {given}. "
                    "Run `reward` again on this base model; scores of another one mean nothing here."
                )
                raise ModelRefused(message)


def tokenizer_digest(tokenizer: PreTrainedTokenizerBase) -> str:
    """`sha256:HEX` over the vocabulary and the chat template: equal digests, equal token ids for a dialogue."""
    parts = [sorted(tokenizer.get_vocab().items()), str(tokenizer.chat_template)]
    return "sha256:" + hashlib.sha256(json.dumps(parts).encode()).hexdigest()


@dataclass(frozen=True)
class Answered:
    """A prompt and an answer to it, as token ids."""

    prompt: list[int]
    """Ends where the answer begins."""
    answer: list[int]
    """Ends with the end-of-sequence token."""

    def __len__(self) -> int:
        return len(self.prompt) + len(self.answer)


def encode_answer(tokenizer: PreTrainedTokenizerBase, prompt: Dialogue, answer: str) -> Answered:
    """A prompt and an answer as the policy would have emitted it."""
    said = tokenizer(answer.strip(), add_special_tokens=False)["input_ids"]
    return Answered(models.encode(tokenizer, prompt, answering=True), [*said, int(tokenizer.eos_token_id)])


AGGREGATIONS = ("mean", "maximin", "nash")


def aggregated(each: Tensor, rule: str) -> Tensor:
    """(G, B) scores by the head of each group → (B,): what the groups together make of an answer.

        mean     Σ u_g / G              the answer that labels are likeliest to prefer on average
        maximin  min u_g                the answer whose unhappiest group is happiest
        nash     Σ log σ(u_g) / G       the product of the chances that each group prefers it to a typical answer

    Args:
        each: u, less what the group's head gives a typical answer, so that zero means the same to all groups. [nats]
        rule: One of `AGGREGATIONS`.

    Source: Nash, "The Bargaining Problem" (1950), https://doi.org/10.2307/1907266, with an answer that always loses as the
    point of disagreement; maximin as in https://arxiv.org/abs/2402.08925.
    """
    if rule == "maximin":
        return each.amin(dim=0)
    return (each if rule == "mean" else torch.nn.functional.logsigmoid(each)).mean(dim=0)


class ScoreHead(nn.Module):
    """One number for a whole answer: `w·h + a·n/s + b`.

    h is the state after the answer's last token, n its log-likelihood under the reward model's own adapter, and s the
    typical difference of log-likelihood between two answers, so that a means the same for short and for long ones. The
    state alone would have to learn from comparisons what the language model knows: which answers are likely to be true, and
    which are about something else. docs/ppo.md, choice 2.
    """

    def __init__(self, hidden: int, members: int = 1, *, aggregation: str = "") -> None:
        """An ensemble of `members` that learn the same, or with an aggregation one for each of so many groups."""
        super().__init__()
        several = (members,) if members > 1 or aggregation else ()
        self.weight = nn.Parameter(torch.zeros(*several, hidden))
        self.likelihood_weight = nn.Parameter(torch.zeros(several))
        self.likelihood_scale = nn.Parameter(torch.tensor(1.0), requires_grad=False)
        self.bias = nn.Parameter(torch.zeros(several))
        self.aggregation = aggregation
        if aggregation:
            self.rule = nn.Parameter(torch.tensor(AGGREGATIONS.index(aggregation)), requires_grad=False)
            self.typical = nn.Parameter(torch.zeros(several), requires_grad=False)
        elif several:
            self.caution = nn.Parameter(torch.tensor(0.0), requires_grad=False)

    @property
    def ensemble(self) -> bool:
        """Whether there are several heads, which differ where they are unsure."""
        return self.weight.dim() > 1 and not self.aggregation

    def members(self, states: Tensor, nats: Tensor) -> Tensor:
        """(B, H) states and (B,) log-likelihoods to (K, B) scores, one row a head, in float32."""
        if self.weight.dim() == 1:
            return (states.float() @ self.weight + self.likelihood_weight * nats.float() / self.likelihood_scale + self.bias)[
                None
            ]
        return (
            self.weight @ states.float().T
            + self.likelihood_weight[:, None] * nats.float() / self.likelihood_scale
            + self.bias[:, None]
        )

    def forward(self, states: Tensor, nats: Tensor) -> Tensor:
        """(B, H) states and (B,) log-likelihoods to (B,) scores, in float32.

        Of an ensemble the heads' mean less `caution` times their standard deviation, of groups' heads what `aggregated` says.
        """
        each = self.members(states, nats)
        if self.aggregation:
            return aggregated(each - self.typical[:, None], self.aggregation)
        return each[0] if not self.ensemble else each.mean(dim=0) - self.caution * each.std(dim=0, correction=0)

    def save(self, path: Path) -> None:
        """Write the head as safetensors."""
        models.save_tensors(path, dict(self.named_parameters()))

    @classmethod
    def load(cls, path: Path) -> ScoreHead:
        """The head in a safetensors file."""
        tensors = models.load_tensors(path)
        weight = tensors["weight"]
        aggregation = AGGREGATIONS[int(tensors["rule"])] if "rule" in tensors else ""
        head = cls(weight.shape[-1], len(weight) if weight.dim() > 1 else 1, aggregation=aggregation)
        head.load_state_dict(tensors)
        return head


def judge(
    model: PeftModel, head: ScoreHead, prompts: Tensor, is_prompt: Tensor, *, answers: Tensor, is_answer: Tensor
) -> tuple[Tensor, Tensor]:
    """Raw scores of answers, and what was known before each token; the reward model's adapter is active. Takes gradients.

    Args:
        model: The base with its adapters.
        head: The score head.
        prompts: (B, P) token ids, padded on the left.
        is_prompt: (B, P) bool, True where a token is not padding.
        answers: (B, T) token ids, padded on the right.
        is_answer: (B, T) bool, True where a token is not padding.

    Returns:
        (B,) scores; (B, T, H + 1) what the score would be read from if the answer ended before each of its tokens: the
        state, and the log-likelihood of the tokens so far, scaled as in the head.
    """
    last, nats, known = _read(model, head, prompts, is_prompt, answers=answers, is_answer=is_answer)
    return head(last, nats), known


def _read(
    model: PeftModel, head: ScoreHead, prompts: Tensor, is_prompt: Tensor, *, answers: Tensor, is_answer: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """(B, H) states after the answers and (B,) their log-likelihoods; and what `judge` returns second."""
    logits, states = sequences.answer_output(model, prompts, is_prompt, answers, is_answer)
    logprobs = sequences.token_logprobs(logits, answers[is_answer])
    nats = sequences.spread(logprobs, is_answer).cumsum(dim=1)
    last = states[torch.arange(len(states), device=states.device), is_answer.sum(dim=1)]
    before = torch.nn.functional.pad(nats, (1, -1)) / head.likelihood_scale
    return last, nats[:, -1], torch.cat([states[:, :-1], before.unsqueeze(-1).to(states.dtype)], dim=2)


def member_scores(model: PeftModel, head: ScoreHead, answered: Sequence[Answered], *, pad: int) -> Tensor:
    """(K, B) raw scores by each head; takes gradients."""
    prompts, is_prompt, answers, is_answer = _padded(model, answered, pad=pad)
    last, nats, _ = _read(model, head, prompts, is_prompt, answers=answers, is_answer=is_answer)
    return head.members(last, nats)


def _padded(model: PeftModel, answered: Sequence[Answered], *, pad: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Prompts and answers on the model's device, as `judge` takes them."""
    on = next(model.parameters()).device
    prompts, is_prompt = sequences.left_padded([each.prompt for each in answered], pad=pad)
    answers, is_answer = sequences.right_padded([each.answer for each in answered], pad=pad)
    return prompts.to(on), is_prompt.to(on), answers.to(on), is_answer.to(on)


def scores_of(model: PeftModel, head: ScoreHead, answered: Sequence[Answered], *, pad: int) -> Tensor:
    """(B,) raw scores; takes gradients."""
    prompts, is_prompt, answers, is_answer = _padded(model, answered, pad=pad)
    scores, _ = judge(model, head, prompts, is_prompt, answers=answers, is_answer=is_answer)
    return scores


@torch.no_grad()
def doubt(model: PeftModel, head: ScoreHead, answered: Sequence[Answered], *, pad: int) -> Tensor:
    """(B,) standard deviation of the heads' raw scores: how unsure an ensemble is of an answer; 0 for a single head."""
    return member_scores(model, head, answered, pad=pad).std(dim=0, correction=0)


def pair_scores(model: PeftModel, head: ScoreHead, answered: Sequence[tuple[Answered, Answered]], *, pad: int) -> Tensor:
    """(K, B, 2) raw scores by each head of both answers to each prompt, which is read once; takes gradients."""
    prompts = [first.prompt for first, _ in answered]
    logits, states = prefix.pair_output(model, prompts, [(first.answer, second.answer) for first, second in answered], pad=pad)
    said = [torch.tensor(each.answer, device=states.device) for two in answered for each in two]
    logprobs = sequences.token_logprobs(logits, torch.cat(said))
    nats = torch.stack([part.sum() for part in logprobs.split([len(each) for each in said])])
    lengths = torch.tensor([len(each) for each in said], device=states.device)
    last = states[torch.arange(len(states), device=states.device), lengths]
    return head.members(last, nats).unflatten(1, (-1, 2))


@torch.no_grad()
def score(model: PeftModel, head: ScoreHead, answered: Sequence[Answered], *, pad: int, batch_size: int = 64) -> list[float]:
    """Raw scores in the order given; what is of like length is scored together.

    Raises:
        ModelRefused: A score is not a number.
    """
    order = sorted(range(len(answered)), key=lambda row: len(answered[row]))
    scores = [0.0] * len(answered)
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        found = scores_of(model, head, [answered[row] for row in rows], pad=pad)
        require_finite(found)
        for row, value in zip(rows, found.tolist(), strict=True):
            scores[row] = value
    return scores


def require_finite(scores: Tensor) -> None:
    """See that every score is a number.

    Raises:
        ModelRefused: One is not.
    """
    if not bool(torch.isfinite(scores).all()):
        message = "The reward model gives a score that is not a finite number. Run `reward` again with a lower learning rate."
        raise ModelRefused(message)
