"""The models under test: one base loaded once, every policy an adapter that is switched on in place.

A policy of another base model needs a panel of its own, which is loaded when the first one's model is let go.

What a model said is remembered by what it was asked, so no suite asks a model twice, and kept as a checkpoint, so that a
killed attempt doesn't either.
"""

from __future__ import annotations

import gc
import hashlib
import json
import math
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any, Self, TypeVar

import torch
from transformers import AutoConfig

from components import models
from components.errors import ModelRefused
from components.evaluate import decoding, forks

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from components.evaluate.texts import HeldOut
    from components.models import Dialogue

BASE = "base"
Row = TypeVar("Row")
Done = TypeVar("Done")


@dataclass(frozen=True)
class Decoding:
    """How all models are asked."""

    seed: int
    temperature: float
    answer_tokens: int
    draws: int
    """Answers to each prompt."""
    batch_size: int


@dataclass
class Reading:
    """How a base model and its policies read: their tokenizer with its chat template, and how much at once."""

    folder: Path
    """Of the base model."""
    tokenizer: Any
    context_tokens: int
    read: dict[str, list[int]] = field(default_factory=dict, kw_only=True, repr=False)
    """Words of a dialogue → their tokens: every model and many suites read the same."""

    @classmethod
    def of(cls, base: Path) -> Reading:
        """What a folder says of it, without loading any weights.

        Raises:
            ModelRefused: See `components.models`.
        """
        models.check_folder(base)
        shape = AutoConfig.from_pretrained(base, local_files_only=True, trust_remote_code=False)
        return Reading(base, models.load_tokenizer(base), int(shape.max_position_embeddings))

    def encode(self, dialogue: Dialogue, prefix: str = "") -> list[int]:
        """Token ids up to where the answer begins, and its first words where they are given."""
        words = json.dumps(dialogue)
        if words not in self.read:
            self.read[words] = models.encode(self.tokenizer, dialogue, answering=True)
        return self.read[words] + (self.plain(prefix) if prefix else [])

    def plain(self, text: str) -> list[int]:
        """Token ids of words without any template."""
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def fits(self, dialogue: Dialogue, *, answer_tokens: int, prefix: str = "") -> bool:
        """Whether a dialogue leaves room for an answer."""
        return len(self.encode(dialogue, prefix)) + answer_tokens <= self.context_tokens


@dataclass
class Panel(Reading):
    """One base model with the adapters of all policies, and who of them is speaking."""

    model: Any
    names: list[str]
    parameters: int
    """Of the base model; an adapter adds little."""
    flop: dict[str, float] = field(default_factory=dict)
    """Model → 2 · parameters · tokens that went through it."""

    @classmethod
    def load(cls, base: Path, adapters: Mapping[str, Path]) -> Self:
        """Load the base, and each adapter beside it.

        Raises:
            ModelRefused: See `components.models`, or the tokenizer or an adapter does not fit the base.
        """
        tokenizer = models.load_tokenizer(base)
        model: Any = models.load_base(base)
        models.require_vocabulary(model, tokenizer)
        longest, parameters = models.context_tokens(model), models.parameter_count(model)
        for name, folder in adapters.items():
            try:
                model = models.load_adapter(model, folder, name=name)
            except (RuntimeError, ValueError, KeyError) as error:
                message = f"The adapter of {name} does not fit the base model: {error}. Give an adapter trained on this base."
                raise ModelRefused(message) from error
        model = models.quicken(model) if adapters else model
        return cls(base, tokenizer, longest, model, [BASE, *adapters], parameters)

    def free(self) -> None:
        """Let the model go, and its memory with it. How it read stays known."""
        self.model = None
        gc.collect()  # layers and adapters refer to each other
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def speak_as(self, name: str) -> None:
        """Switch to one model. The base is the model without any adapter."""
        if len(self.names) == 1:
            return
        if name == BASE:
            self.model.base_model.disable_adapter_layers()
        else:
            self.model.base_model.enable_adapter_layers()
            self.model.set_adapter(name)


@dataclass
class Asker:
    """One model of the panel, as a suite meets it."""

    panel: Panel
    name: str
    how: Decoding
    keep: Path | None = None
    """File in which what was said is kept."""
    said: dict[str, list[str]] = field(default_factory=dict)
    nats: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.keep and self.keep.exists():
            kept = json.loads(self.keep.read_text(encoding="utf-8"))
            self.said, self.nats, self.panel.flop[self.name] = kept["said"], kept["nats"], kept["flop"]

    def answers(
        self,
        dialogues: Sequence[Dialogue],
        *,
        prefixes: Sequence[str] | None = None,
        draws: int | None = None,
        noises: Sequence[str] | None = None,
    ) -> list[list[str]]:
        """Several answers to each dialogue.

        Args:
            dialogues: The last message is the user's.
            prefixes: First words of each answer, given to the model; the answers returned begin with them.
            draws: Answers to each; as the settings say where it is None.
            noises: What the noise of each dialogue is drawn from; its own words where it is None. Dialogues with one noise
                are answered alike as far as the model finds them alike, so that comparing them needs fewer.
        """
        draws = draws or self.how.draws
        begins = prefixes or [""] * len(dialogues)
        shared = noises or [""] * len(dialogues)
        keys = [_key(*row, draws) for row in zip(dialogues, begins, shared, strict=True)]
        new = {key: place for place, key in enumerate(keys) if key not in self.said}
        if new:
            self.panel.speak_as(self.name)
            prompts = [self.panel.encode(dialogues[place], begins[place]) for place in new.values()]
            texts = self._decode(prompts, {key: shared[place] or key for key, place in new.items()}, draws)
            for key, place in new.items():
                self.said[key] = [f"{begins[place]} {text}".strip() for text in texts[key]]
        return [self.said[key] for key in keys]

    def _decode(self, prompts: Sequence[Sequence[int]], keys: Mapping[str, str], draws: int) -> dict[str, list[str]]:
        """Key → answers. The mapping's values are what the noise is drawn from."""
        rows = [(ids, key, draw) for ids, key in zip(prompts, keys, strict=True) for draw in range(draws)]
        rows.sort(key=lambda row: len(row[0]))
        texts: dict[str, list[str]] = {key: [""] * draws for key in keys}
        tokenizer = self.panel.tokenizer

        def decoded(batch: Sequence[tuple[Sequence[int], str, int]]) -> list[list[int]]:
            return decoding.decode(
                self.panel.model,
                [ids for ids, _, _ in batch],
                [decoding.noise_seed(self.how.seed, keys[key], draw) for _, key, draw in batch],
                longest=self.how.answer_tokens,
                temperature=self.how.temperature,
                eos=int(tokenizer.eos_token_id),
                pad=int(tokenizer.pad_token_id),
            )

        made = self._shared(rows, decoded)
        for (ids, key, draw), answer in zip(rows, chain.from_iterable(made), strict=True):
            texts[key][draw] = tokenizer.decode(answer, skip_special_tokens=True).strip()
            self._count(len(ids) + len(answer))
        return texts

    def likelihoods(self, dialogues: Sequence[Dialogue], endings: Sequence[str]) -> list[float]:
        """Log-probability that each dialogue is answered with exactly these words and nothing more, in nats."""
        closed = [[*self.panel.plain(ending), int(self.panel.tokenizer.eos_token_id)] for ending in endings]
        return self._likelihoods([self.panel.encode(dialogue) for dialogue in dialogues], closed)

    def beginnings(self, dialogues: Sequence[Dialogue], words: Sequence[str]) -> list[float]:
        """Log-probability that the answer to each dialogue begins with these words, in nats."""
        return self._likelihoods(
            [self.panel.encode(dialogue) for dialogue in dialogues], [self.panel.plain(each) for each in words]
        )

    def texts(self, texts: Sequence[HeldOut]) -> list[float]:
        """Log-probability of each text given its beginning, in nats; NaN where it was not cut for this model's tokenizer."""
        cuts = [text.cuts[self.panel.folder] for text in texts if self.panel.folder in text.cuts]
        if len(cuts) < len(texts):
            return [math.nan] * len(texts)
        return self._likelihoods([before for before, _ in cuts], [after for _, after in cuts])

    def _likelihoods(self, prompts: Sequence[Sequence[int]], endings: Sequence[Sequence[int]]) -> list[float]:
        keys = [_digest(json.dumps([*map(list, pair)])) for pair in zip(prompts, endings, strict=True)]
        new = {key: place for place, key in enumerate(keys) if key not in self.nats}
        if new:
            self.panel.speak_as(self.name)
            rows = sorted(new.items(), key=lambda row: len(prompts[row[1]]) + len(endings[row[1]]))

            def measured(batch: Sequence[tuple[str, int]]) -> list[float]:
                before, after = ([part[place] for _, place in batch] for part in (prompts, endings))
                return decoding.likelihoods(self.panel.model, before, after, pad=int(self.panel.tokenizer.pad_token_id))

            found = self._shared(rows, measured)
            for (key, place), nats in zip(rows, chain.from_iterable(found), strict=True):
                self.nats[key] = nats
                self._count(len(prompts[place]) + len(endings[place]))
        return [self.nats[key] for key in keys]

    def _shared(self, rows: Sequence[Row], work: Callable[[Sequence[Row]], list[Done]]) -> list[list[Done]]:
        """What the work gives for each batch of rows."""
        small = forks.is_small(self.panel.model)
        parts = forks.batches(rows, self.how.batch_size, even=small)
        return forks.share(parts, work) if small else [work(part) for part in parts]

    def _count(self, tokens: int) -> None:
        self.panel.flop[self.name] = self.panel.flop.get(self.name, 0.0) + 2.0 * self.panel.parameters * tokens

    def save(self) -> None:
        """Keep what was said, whole or not at all."""
        if self.keep:
            draft = self.keep.with_name(f".{self.keep.name}.draft")
            draft.parent.mkdir(parents=True, exist_ok=True)
            draft.write_text(
                json.dumps({"said": self.said, "nats": self.nats, "flop": self.panel.flop.get(self.name, 0.0)}),
                encoding="utf-8",
            )
            draft.replace(self.keep)


def _key(dialogue: Dialogue, begin: str, noise: str, draws: int) -> str:
    return _digest(json.dumps([dialogue, begin, draws, *([noise] if noise else [])], sort_keys=True))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:24]
