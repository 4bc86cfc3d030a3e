"""Prompts read once, answers token by token, with the keys and values of what was read kept in place.

Shapes: B sequences, P prompt tokens, V vocabulary, K key heads, L tokens there is room for, D size of a head.
"""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import torch
from transformers import Cache, DynamicCache
from transformers.cache_utils import DynamicLayer

from components import layers, packing
from components.sequences import position_ids

if TYPE_CHECKING:
    from torch import Tensor


SIZES = 8
"""Finished sequences leave an eighth of the batch at a time: moving the rest costs, and so does a size never seen before."""


class Reader:
    """A model in the middle of a batch of sequences."""

    def __init__(self, model: Any, is_prompt: Tensor, *, longest: int) -> None:
        """Make room for `longest` tokens, prompts included; `is_prompt` is (B, P) bool, True where one is not padding."""
        layers = model.config.get_text_config(decoder=True).num_hidden_layers
        self.model, self.packed = model, packing.possible(model)
        self.cache = Cache(layers=[_Room(longest) for _ in range(layers)]) if self.packed else DynamicCache()
        self.is_read = torch.nn.functional.pad(is_prompt, (0, longest - is_prompt.shape[1]), value=True)
        self.bias = torch.where(self.is_read, 0.0, float("-inf"))[:, None, None]
        self.positions, self.used = position_ids(is_prompt), 0
        self.share = max(1, len(is_prompt) // SIZES)

    def read(self, new: Tensor) -> Tensor:
        """(B, 1) or, at first, (B, P) token ids that follow what was read → (B, V) logits of what comes next."""
        if self.used:
            self.positions = self.positions[:, -1:] + 1
        self.used += new.shape[1]
        attention: dict[str, Any] = {"attention_mask": self.is_read[:, : self.used]}
        if self.packed and new.shape[1] == 1:
            attention = packing.next_arguments(self.bias[..., : self.used])
        # Chosen by number, a prompt's last token is a copy; a view of it would make PyTorch copy the head for every sequence.
        last = torch.tensor([new.shape[1] - 1], device=new.device)
        with layers.leaving_out(self.model, read=last) if len(new[0]) > 1 else nullcontext():
            return self.model(
                input_ids=new,
                position_ids=self.positions,
                past_key_values=self.cache,
                use_cache=True,
                logits_to_keep=last if len(new[0]) > 1 else 1,
                **attention,
            ).logits[:, 0]

    def without(self, is_over: Tensor) -> Tensor | slice:
        """Let go of sequences that are over, (B,) bool, where enough of them are; what is kept of the batch, as an index."""
        going = (~is_over).nonzero().squeeze(-1)
        size = self.share * math.ceil(len(going) / self.share)
        if size >= len(is_over):
            return slice(None)
        kept = torch.cat([going, is_over.nonzero().squeeze(-1)])[:size]
        self.cache.batch_select_indices(kept)
        self.is_read, self.bias, self.positions = self.is_read[kept], self.bias[kept], self.positions[kept]
        return kept


class _Room(DynamicLayer):
    """Keys and values of one layer in (B, K, L, D) buffers that are made once; what is handed out is a view of them.

    In float32 where attention is half precision on a CPU: there one query takes 0.2 ms instead of 0.4 to 1.1
    (`components/packing.py`), and the conversion happens once.
    """

    def __init__(self, longest: int) -> None:
        super().__init__()
        self.longest, self.used = longest, 0
        self.rooms: list[Tensor] = []

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Add the newest tokens; all keys and values so far."""
        if not self.rooms:
            kind = torch.float32 if packing.half_on_cpu(key_states) else key_states.dtype
            self.rooms = [
                part.new_empty((*part.shape[:2], self.longest, part.shape[3]), dtype=kind)
                for part in (key_states, value_states)
            ]
            self.is_initialized = True
        begin, self.used = self.used, self.used + key_states.shape[2]
        for room, new in zip(self.rooms, (key_states, value_states), strict=True):
            room[:, :, begin : self.used] = new
        view = self._view()
        return view if begin else (key_states, value_states)

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep some rows."""
        self.rooms = [room.index_select(0, indices) for room in self.rooms]
        self._view()

    def _view(self) -> tuple[Tensor, Tensor]:
        keys, values = (room[:, :, : self.used] for room in self.rooms)
        self.keys, self.values = keys, values
        return keys, values
