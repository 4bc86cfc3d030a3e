"""The story of `sft`: demonstrations in, adapter out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from datasets import Dataset
from torch.nn import functional
from transformers import PrinterCallback, TrainerCallback
from transformers.trainer_utils import get_last_checkpoint
from trl import SFTConfig, SFTTrainer

from components import memory, models, packing, records
from components import trainer as trainer_settings
from components.errors import DataRefused
from components.memory import Remedy
from components.share import Share
from components.trainer import IGNORED, SharingTrainer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from components.context import Context
    from components.sft.config import Settings

ADAPTER = "sft"
HELD_OUT_ROWS = 256
ROWS_AT_ONCE = 32
REMEDY = Remedy("sft.micro_batch", "the gradient stays the same", "lower sft.context_tokens, or take a smaller base model")

Row = dict[str, list[int]]
"""`input_ids` (T), and `labels` (T): the same where the assistant speaks, IGNORED elsewhere."""


def run(context: Context[Settings]) -> None:
    """Train and publish the SFT adapter."""
    settings = context.config
    folder = context.inputs["base_model"]
    models.seed_everything(context.seed)
    tokenizer = models.load_tokenizer(folder)
    base = models.load_base(folder, parts=Share.at(context).parts)
    longest = min(settings.context_tokens, models.context_tokens(base))
    training, left_out = _rows(context, tokenizer, "train", longest)
    held_out, _ = _rows(context, tokenizer, "held_out", longest)
    context.measure("left_out", left_out, unit="demonstrations", n=len(training) + left_out)
    if not training:
        message = (
            f"demonstrations.jsonl has no demonstration of the split `train` within {longest} tokens; {left_out} are longer. "
            "Add demonstrations, or raise sft.context_tokens if the base model's context allows it."
        )
        raise DataRefused(message)

    before = _held_out_loss(context, base, held_out, tokenizer)
    policy = models.new_adapter(base, name=ADAPTER, rank=settings.rank, alpha=settings.alpha)
    models.quicken(policy)
    trainer = make_trainer(context, policy, tokenizer, training)
    _train(context, trainer, training)
    models.save_adapter(trainer.model, context.output("sft_adapter"), name=ADAPTER)

    context.tag("sft_adapter", base_digest=context.input_digests.get("base_model", ""))
    _measure(context, trainer, before, _held_out_loss(context, trainer.model, held_out, tokenizer), len(held_out))


def _rows(context: Context[Settings], tokenizer: PreTrainedTokenizerBase, split: str, longest: int) -> tuple[list[Row], int]:
    """Tokenised demonstrations of a split, and how many were left out for their length."""
    rows, left_out = [], 0
    for demonstration in records.read(context.inputs["demonstrations"] / "demonstrations.jsonl", records.Demonstration):
        if demonstration.split != split:
            continue
        row = tokenise(tokenizer, [message.model_dump() for message in demonstration.messages])
        if len(row["input_ids"]) > longest:
            left_out += 1
        else:
            rows.append(row)
    return rows, left_out


def tokenise(tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, str]]) -> Row:
    """A dialogue's tokens, and as labels those that the assistant says: the ones in the template's generation blocks.

    Raises:
        DataRefused: The chat template has no generation block, so the loss would not know whom to learn from.
    """
    made = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=True, return_assistant_tokens_mask=True)
    if not any(made["assistant_masks"]):
        message = (
            "The chat template marks no assistant tokens. Put {% generation %} ... {% endgeneration %} around what the "
            "assistant says in chat_template.jinja; without it the model would learn to speak for the user."
        )
        raise DataRefused(message)
    ids, says = list(made["input_ids"]), made["assistant_masks"]
    return {"input_ids": ids, "labels": [token if said else IGNORED for token, said in zip(ids, says, strict=True)]}


class _Trainer(SharingTrainer, SFTTrainer):
    """TRL's trainer, on one process or several."""


class _Telling(TrainerCallback):
    """Passes the trainer's losses on to the context."""

    def __init__(self, context: Context[Settings]) -> None:
        self.context = context

    def on_log(self, _args: Any, state: Any, _control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        """Called by the trainer every few updates."""
        if logs and "loss" in logs:
            self.context.track(state.global_step, loss=logs["loss"])
            self.context.progress(state.global_step, state.max_steps, f"loss {logs['loss']:.2f}")


def make_trainer(context: Context[Settings], policy: Any, tokenizer: PreTrainedTokenizerBase, rows: list[Row]) -> _Trainer:
    """TRL's trainer, set for this machine."""
    settings = context.config
    updates = max(1, min(settings.max_updates, round(settings.epochs * len(rows) / settings.batch_size)))
    rows_at_once = settings.micro_batch or settings.batch_size
    shared = trainer_settings.arguments(
        context.checkpoints,
        updates=updates,
        rows=rows_at_once,
        learning_rate=settings.learning_rate,
        seed=context.seed,
    )
    packed = {"data_collator": in_one_row} if packing.possible(policy) else {}
    how = SFTConfig(
        **shared,
        gradient_accumulation_steps=settings.batch_size // rows_at_once,
        lr_scheduler_type="cosine",
        dataset_kwargs={"skip_prepare_dataset": True},
    )
    trainer = _Trainer(
        model=policy,
        args=how,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        callbacks=[_Telling(context)],
        **packed,
    )
    trainer.remove_callback(PrinterCallback)
    trainer.share(Share.at(context))
    return trainer


def _train(context: Context[Settings], trainer: _Trainer, rows: list[Row]) -> None:
    """Train from the last checkpoint on.

    Raises:
        ConfigRefused: Memory is short.
    """
    at_once = context.config.micro_batch or context.config.batch_size

    def trial(size: int) -> None:
        batch = trainer.data_collator(_longest_first(rows)[:size])
        on = next(trainer.model.parameters()).device
        given = {name: part.to(on) if hasattr(part, "to") else part for name, part in batch.items()}
        trainer.model(**given).loss.backward()

    memory.within(
        lambda: trainer.train(resume_from_checkpoint=get_last_checkpoint(str(context.checkpoints))),
        told=lambda: f"{at_once} demonstrations of up to {len(_longest_first(rows)[0]['input_ids'])} tokens",
        items=at_once,
        trial=trial if context.ranks == 1 else None,
        remedy=REMEDY,
    )


def _longest_first(rows: list[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: -len(row["input_ids"]))


def in_one_row(rows: list[Row]) -> dict[str, Any]:
    """A batch without padding: (1, N) tokens of all rows, and where each lies, for `components/packing.py`.

    TRL's own way needs a kernel that only GPUs have. No row is predicted from the end of another.
    """
    lengths = torch.tensor([len(row["input_ids"]) for row in rows])
    is_token = torch.arange(int(lengths.max())) < lengths[:, None]
    return {
        "input_ids": torch.tensor([[token for row in rows for token in row["input_ids"]]]),
        "labels": torch.tensor([[label for row in rows for label in (IGNORED, *row["labels"][1:])]]),
        "position_ids": torch.cat([torch.arange(int(length)) for length in lengths])[None],
        **packing.arguments(is_token),
    }


def _held_out_loss(context: Context[Settings], model: Any, rows: list[Row], tokenizer: PreTrainedTokenizerBase) -> float | None:
    """Cross-entropy per assistant token in nats on held-out demonstrations; None where there are none.

    Raises:
        ConfigRefused: Memory is short.
    """
    if not rows:
        return None
    some = rows[:HELD_OUT_ROWS]
    at_once = context.config.micro_batch or ROWS_AT_ONCE
    return memory.within(
        lambda: _loss(model, some, tokenizer, at_once=at_once),
        told=lambda: f"{at_once} demonstrations of up to {len(_longest_first(some)[0]['input_ids'])} tokens",
        items=at_once,
        trial=(lambda size: _loss(model, _longest_first(some)[:size], tokenizer, at_once=size)) if context.ranks == 1 else None,
        remedy=REMEDY,
    )


@torch.no_grad()
def _loss(model: Any, rows: list[Row], tokenizer: PreTrainedTokenizerBase, *, at_once: int) -> float:
    """Cross-entropy per assistant token in nats."""
    total, count = 0.0, 0
    model.eval()
    for start in range(0, len(rows), at_once):
        batch = rows[start : start + at_once]
        width = max(len(row["input_ids"]) for row in batch)
        ids = torch.full((len(batch), width), tokenizer.pad_token_id)
        targets = torch.full((len(batch), width), IGNORED)
        is_token = torch.zeros((len(batch), width), dtype=torch.long)
        for index, row in enumerate(batch):
            length = len(row["input_ids"])
            ids[index, :length] = torch.tensor(row["input_ids"])
            is_token[index, :length] = 1
            targets[index, :length] = torch.tensor(row["labels"])
        logits = model(input_ids=ids.to(model.device), attention_mask=is_token.to(model.device)).logits[:, :-1]
        losses = functional.cross_entropy(
            logits.float().flatten(0, 1), targets[:, 1:].flatten().to(model.device), ignore_index=IGNORED, reduction="sum"
        )
        total += losses.item()
        count += int((targets[:, 1:] != IGNORED).sum())
    return total / count


def _measure(context: Context[Settings], trainer: SFTTrainer, before: float | None, after: float | None, held_out: int) -> None:
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    tokens = trainer.state.num_input_tokens_seen or _tokens_seen(trainer)
    if losses:
        context.measure("training_loss", losses[-1], unit="nats per assistant token")
    context.measure("trainable_parameters", models.parameter_count(trainer.model, trainable=True), unit="parameters")
    context.measure("training_tokens", tokens, unit="tokens")
    context.measure("flop", sum(models.pass_flop(trainer.model, ADAPTER, tokens=tokens, answer_tokens=tokens)), unit="FLOP")
    if before is None or after is None:
        context.gap("held_out_loss", "there are no demonstrations of the split `held_out`")
        return
    context.measure("held_out_loss_before", before, unit="nats per assistant token", n=held_out)
    context.measure("held_out_loss", after, unit="nats per assistant token", n=held_out)


def _tokens_seen(trainer: SFTTrainer) -> int:
    """Tokens trained on: the mean length of a demonstration times the demonstrations drawn."""
    lengths = [len(ids) for ids in trainer.train_dataset["input_ids"]]
    drawn = trainer.state.global_step * trainer.args.per_device_train_batch_size * trainer.args.gradient_accumulation_steps
    return round(sum(lengths) / len(lengths) * drawn)
