"""DPO in PPO's place: the SFT policy learns from the pairs themselves, with TRL's trainer.

    L = -log σ(β (log π(y⁺) - log π_SFT(y⁺) - log π(y⁻) + log π_SFT(y⁻)))

y⁺ is the answer that the labels prefer by weight. Source: Rafailov et al. 2023, https://arxiv.org/abs/2305.18290, eq. 7.
The log-probabilities of the SFT policy are computed once. Each answer is the tokens that the policy would emit, its end
included; TRL's own tokenisation would add what the chat template writes after an answer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from datasets import Dataset
from transformers import PrinterCallback, TrainerCallback
from transformers.trainer_utils import get_last_checkpoint
from trl import DPOConfig, DPOTrainer

from components import models, pairs, records, rewardmodel
from components import trainer as trainer_settings
from components.errors import DataRefused, ModelRefused
from components.rewardmodel import Card

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

    from components.alignment import Settings
    from components.context import Context

ADAPTER = "default"
"""The name that TRL expects of an adapter that goes on learning."""

Row = dict[str, list[int]]
"""`prompt_ids`, `chosen_ids`, `rejected_ids`."""


@dataclass(frozen=True)
class Trained:
    """What DPO made."""

    adapter: dict[str, Tensor]
    """PEFT's names → weights."""
    updates: int
    tokens: int
    """Read in one pass over the pairs, prompts included."""
    answer_tokens: int


class _Trainer(DPOTrainer):
    """TRL's, given token ids."""

    def _prepare_dataset(self, dataset: Dataset, *_: Any) -> Dataset:
        return dataset


class _Telling(TrainerCallback):
    """Passes the trainer's numbers on to the context."""

    def __init__(self, context: Context[Any]) -> None:
        self.context = context

    def on_log(self, _args: Any, state: Any, _control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        """Called by the trainer every few updates."""
        if logs and "loss" in logs:
            told = {"dpo_loss": logs["loss"], "dpo_margin": logs["rewards/margins"], "dpo_accuracy": logs["rewards/accuracies"]}
            self.context.track(state.global_step, **told)
            self.context.progress(state.global_step, state.max_steps, f"loss {logs['loss']:.3f}")


def train(context: Context[Any], settings: Settings) -> Trained:
    """Train on the labels that the reward model learns from, and measure what was read; the base is let go again.

    Raises:
        DataRefused: No pair prefers one answer, or one does not fit the context.
        ModelRefused: The reward model is of another base or tokenizer, or training diverged.
    """
    tokenizer = models.load_tokenizer(context.inputs["base_model"])
    card = Card.read(context.inputs["reward_adapter"])
    digest = context.input_digests.get("base_model", "")
    card.require(base_digest=digest, tokenizer_digest=rewardmodel.tokenizer_digest(tokenizer))
    base = models.load_base(context.inputs["base_model"], as_type=models.precision(context.config.precision))
    rows = _rows(context, tokenizer, judge_share=card.judge_share, longest=models.context_tokens(base))
    policy = models.load_adapter(base, context.inputs["sft_adapter"], name=ADAPTER, trainable=True)
    policy.peft_config[ADAPTER].base_model_name_or_path = str(context.inputs["base_model"])  # or PEFT asks the hub when saving
    trainer = _trainer(context, policy, tokenizer, rows, settings)
    trainer.train(resume_from_checkpoint=get_last_checkpoint(str(context.checkpoints / "dpo")))
    adapter = models.adapter_weights(trainer.model, name=ADAPTER)
    if not all(bool(value.isfinite().all()) for value in adapter.values()):
        message = "DPO diverged: a weight is not a finite number. Run `ppo` again with a lower alignment.dpo_learning_rate."
        raise ModelRefused(message)
    answers = sum(len(row["chosen_ids"]) + len(row["rejected_ids"]) for row in rows)
    context.measure("preference_pairs", len(rows), unit="pairs")
    return Trained(adapter, trainer.state.global_step, answers + 2 * sum(len(row["prompt_ids"]) for row in rows), answers)


def _rows(context: Context[Any], tokenizer: PreTrainedTokenizerBase, *, judge_share: float, longest: int) -> list[Row]:
    """The pairs that the reward model is trained on, as far as their labels prefer one answer.

    Does not cover: how sure the labels are. A pair counts once, whatever the weights of its labels.
    """
    table = records.read(context.inputs["prompts"] / "prompts.jsonl", records.Prompt)
    prompts = {prompt.id: prompt for prompt in table}
    comparisons = records.read(context.inputs["comparisons"] / "comparisons.jsonl", records.Comparison)
    golden = context.inputs["golden"] / "golden.jsonl"
    apart = {
        records.pair_id(pair.prompt_id, pair.responses)
        for pair in (records.read(golden, records.GoldenPair) if golden.is_file() else ())
    }
    labels, _ = pairs.divided(comparisons, judge_share=judge_share)
    weights = pairs.label_weights(context.inputs["label_weights"])
    found = pairs.labelled_pairs(labels, prompts, weights=weights, kept_apart=apart)
    rows = [_row(tokenizer, pair) for pair in found if pair.prompt.split == "train" and pair.decided]
    fitting = [row for row in rows if _length(row) <= longest]
    where = f"comparisons.jsonl has {len(rows)} pairs of split `train` that prefer one answer, {len(fitting)} of them"
    if not fitting or (len(fitting) < len(rows) and context.config.long_prompts == "refuse"):
        message = (
            f"{where} within the context of {longest} tokens. Give labels of at least two annotators, take a base model with a "
            "longer context, or set ppo.long_prompts to leave_out."
        )
        raise DataRefused(message)
    if len(fitting) < len(rows):
        context.gap("long_pairs", f"{len(rows) - len(fitting)} of {len(rows)} pairs were left out as too long")
    return fitting


def _row(tokenizer: PreTrainedTokenizerBase, pair: pairs.Pair) -> Row:
    prompt = [message.model_dump() for message in pair.prompt.messages]
    first, second = (rewardmodel.encode_answer(tokenizer, prompt, answer) for answer in pair.responses)
    chosen, rejected = (first, second) if pair.share > 0.5 else (second, first)
    return {"prompt_ids": first.prompt, "chosen_ids": chosen.answer, "rejected_ids": rejected.answer}


def _length(row: Row) -> int:
    return len(row["prompt_ids"]) + max(len(row["chosen_ids"]), len(row["rejected_ids"]))


def _trainer(
    context: Context[Any], policy: Any, tokenizer: PreTrainedTokenizerBase, rows: list[Row], settings: Settings
) -> DPOTrainer:
    updates = settings.dpo_epochs * math.ceil(len(rows) / settings.dpo_batch_pairs)
    shared = trainer_settings.arguments(
        context.checkpoints / "dpo",
        updates=updates,
        rows=max(1, settings.dpo_batch_pairs // context.ranks),
        learning_rate=settings.dpo_learning_rate,
        seed=context.seed,
        computed_in=models.precision(context.config.precision),
    )
    how = DPOConfig(
        **shared,
        beta=settings.dpo_beta,
        precompute_ref_log_probs=True,
        lr_scheduler_type="linear",
        max_grad_norm=context.config.gradient_clip,
    )
    trainer = _Trainer(
        model=policy,
        args=how,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        callbacks=[_Telling(context)],
    )
    trainer.remove_callback(PrinterCallback)
    return trainer
