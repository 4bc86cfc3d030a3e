"""Base models, LoRA adapters, heads, tokenizers and generation; safetensors only. The only shared file that knows torch.

Letters for shapes: B sequences, T tokens, H hidden size.
"""

from __future__ import annotations

import json
import os
import random
import time
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.distributed import DistributedConfig
from transformers.pytorch_utils import Conv1D

from components import layers, lowrank, norms, packing
from components.errors import ModelRefused

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt", ".h5", ".msgpack")
BASE_NAME = "base_model"
"""What an adapter's config calls its base, whatever folder that lies in, so that equal adapters have equal bytes."""
PARAMETERS_OF_A_THREAD = 500_000

Dialogue = list[dict[str, str]]
"""Messages: `{"role": ..., "content": ...}`."""


def seed_everything(seed: int) -> None:
    """Seed Python's, and torch's generators on every device."""
    random.seed(seed)
    torch.manual_seed(seed)


def device() -> torch.device:
    """The GPU if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def share_out(model: nn.Module) -> None:
    """A thread for every half million parameters, one at least, where OMP_NUM_THREADS does not say how many.

    The operations of a tiny model are too short to be shared among many: they would wait for each other.
    """
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, min(torch.get_num_threads(), round(parameter_count(model) / PARAMETERS_OF_A_THREAD))))


def dtype(on: torch.device) -> torch.dtype:
    """bfloat16 on a GPU that has it, else float32."""
    return torch.bfloat16 if on.type == "cuda" and torch.cuda.is_bf16_supported() else torch.float32


def precision(name: str) -> torch.dtype | None:
    """The type that a setting names; None, the device's own choice, for `auto`; what was measured for `fastest`."""
    if name == "fastest":
        return fastest(device())
    return {"auto": None, "float32": torch.float32, "bfloat16": torch.bfloat16}[name]


def fastest(on: torch.device) -> torch.dtype:
    """bfloat16 where it multiplies matrices at least 1.5 times as fast as float32, by the best of a few products each."""
    best = {}
    for kind in (torch.float32, torch.bfloat16):
        one = torch.ones((512, 512), dtype=kind, device=on)
        times = []
        for _ in range(6):
            begin = time.perf_counter()
            float((one @ one)[0, 0])
            times.append(time.perf_counter() - begin)
        best[kind] = min(times)
    return torch.bfloat16 if best[torch.float32] > 1.5 * best[torch.bfloat16] else torch.float32


def quicken(model: PeftModel) -> PeftModel:
    """The model, computing without padding, with lean norms and LoRA layers, and what is read alone, where it can.

    Its weights stay what they are.
    """
    packing.enable(model.get_base_model())
    norms.quicken(model)
    lowrank.quicken(model)
    layers.enable(model.get_base_model())
    return model


def check_folder(folder: Path) -> None:
    """See that a folder is a model in Hugging Face layout that can be loaded without running anything in it.

    Raises:
        ModelRefused: No config, weights that are not safetensors, or code of its own.
    """
    if not (folder / "config.json").is_file():
        message = f"{folder} has no config.json. Give the folder of a model in Hugging Face layout."
        raise ModelRefused(message)
    if not list(folder.glob("*.safetensors")):
        other = ", ".join(sorted(path.name for path in folder.iterdir() if path.suffix in PICKLES)) or "no weights"
        message = (
            f"{folder} has no weights in safetensors format, found {other}. Pickled weights can run code when loaded; "
            "convert them with `save_pretrained(..., safe_serialization=True)` somewhere safe, and give that folder."
        )
        raise ModelRefused(message)
    for name in ("config.json", "tokenizer_config.json"):
        path = folder / name
        if path.is_file() and "auto_map" in json.loads(path.read_text(encoding="utf-8")):
            message = f"{folder}/{name} asks to run code from the model's folder (auto_map). Use a model that needs none."
            raise ModelRefused(message)


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer in a model's folder, set to pad on the left.

    Raises:
        ModelRefused: It has no end-of-sequence token or no chat template.
    """
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    if tokenizer.eos_token_id is None:
        message = f"The tokenizer in {folder} has no end-of-sequence token. Set `eos_token` in tokenizer_config.json."
        raise ModelRefused(message)
    if not tokenizer.chat_template:
        message = f"The tokenizer in {folder} has no chat template. Put the model's chat_template.jinja beside it."
        raise ModelRefused(message)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = "left"
    return tokenizer


def require_vocabulary(base: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """See that the model has an embedding for every token of the tokenizer.

    Raises:
        ModelRefused: It does not.
    """
    known, given = base.get_input_embeddings().num_embeddings, max(tokenizer.get_vocab().values()) + 1
    if given > known:
        message = (
            f"The tokenizer has tokens up to id {given - 1}, the base model embeddings up to id {known - 1}. "
            "Put the tokenizer that the model was trained with into its folder, or resize the model's embeddings."
        )
        raise ModelRefused(message)


def load_base(
    folder: Path, *, on: torch.device | None = None, as_type: torch.dtype | None = None, parts: int = 1
) -> PreTrainedModel:
    """The causal language model in a folder, frozen, in evaluation mode.

    Args:
        folder: In Hugging Face layout.
        on: Device; by default the GPU if there is one. Where the model is split, each process takes its own.
        as_type: Of the weights; by default what suits the device.
        parts: Into how many the weights are split, one for each process of the step (FSDP2): a process reads its part of
            every layer from the file, and the layer's other parts from the other processes while it computes there.

    Raises:
        ModelRefused: See `check_folder`.
    """
    check_folder(folder)
    on = on or device()
    settings = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    model = AutoModelForCausalLM.from_pretrained(
        folder,
        config=settings,
        dtype=as_type or dtype(on),
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=True,
        attn_implementation="sdpa",
        **({"distributed_config": DistributedConfig(fsdp_size=parts)} if parts > 1 else {}),
    )
    share_out(model)
    return freeze((model if parts > 1 else model.to(on)).eval())


def freeze(model: Any) -> Any:
    """No parameter of the model takes a gradient."""
    for parameter in model.parameters():
        parameter.requires_grad_(requires_grad=False)
    return model


def context_tokens(model: PreTrainedModel) -> int:
    """Longest sequence that the language model, which may be a part of the whole, is made for."""
    return int(model.config.get_text_config(decoder=True).max_position_embeddings)


def width(model: PreTrainedModel) -> int:
    """H, the size of the states of the language model, which may be a part of the whole."""
    return int(model.config.get_text_config(decoder=True).hidden_size)


def parameter_count(model: nn.Module, *, trainable: bool = False) -> int:
    """How many parameters the model has, or how many of them train."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad or not trainable)


def pass_flop(
    model: PeftModel, adapter: str, *, tokens: int, answer_tokens: int, above: int = 0, whole: bool = False
) -> tuple[int, int]:
    """FLOP of a pass over tokens with one adapter: forwards, and backwards to the adapter's gradients.

        forwards   2 N (w + a) + 2 M (v + b + o)        backwards   2 N (w + 2 a) + 2 M (v + 2 b + o)

    N tokens, M answer tokens (only these have logits); w weights of the base's linear layers, a of the adapter, o of the
    output layer; v and b those of the last layer's parts that are computed at the tokens that are read (`layers.enable`),
    which w and a leave out. Experts held as one tensor count as often as a token is sent to one. Left out: adapters on such
    experts, attention's own products, norms, activations, and the state after the last answer token, which a score reads; the
    gradient of the first layer's inputs, which nobody needs, is counted. Checked against PyTorch's FlopCounterMode in
    `tests/components/ppo/test_flop.py`, to 5 %.

    Args:
        model: With the adapter.
        adapter: Its name.
        tokens: That the model computes on.
        answer_tokens: That have logits.
        above: Number of the lowest layer that is computed.
        whole: Whether the last layer computes at all tokens, as another library's passes do.
    """
    base = model.get_base_model()
    found = layers.of(base)
    skipped = {id(module) for layer in found[:above] for module in layer.modules()} | {id(model.get_output_embeddings())}
    late = layers.token_by_token(base) if hasattr(base, "under_way") and not whole else []
    at_answers = {id(module) for part in late for module in part.modules()}
    forwards = backwards = 2 * answer_tokens * model.get_output_embeddings().weight.numel()
    for name, module in model.named_modules():
        is_left_out = id(module) in skipped or (".experts." in name and ".lora_" in name)
        weights = 0 if is_left_out else _weights_of_a_token(module, base)
        work = 2 * weights * (answer_tokens if id(module) in at_answers else tokens)
        if name.endswith((f".lora_A.{adapter}", f".lora_B.{adapter}")):
            forwards, backwards = forwards + work, backwards + 2 * work
        elif ".lora_" not in name:
            forwards, backwards = forwards + work, backwards + work
    return forwards, backwards


def _weights_of_a_token(module: nn.Module, base: PreTrainedModel) -> int:
    """Weights of a module itself, without its parts', that a token is multiplied with."""
    if isinstance(module, (nn.Linear, Conv1D)):
        return module.weight.numel()
    if not type(module).__name__.endswith("Experts"):
        return 0
    chosen = int(base.config.get_text_config(decoder=True).num_experts_per_tok)
    return chosen * sum(weight.numel() // len(weight) for weight in module.parameters(recurse=False) if weight.dim() > 2)


def new_adapter(base: PreTrainedModel | PeftModel, *, name: str, rank: int, alpha: float) -> PeftModel:
    """A fresh trainable LoRA adapter on all linear layers of the base but its head. Starts as no change at all."""
    from peft import LoraConfig, PeftModel, get_peft_model  # noqa: PLC0415  (seconds of import)

    settings = LoraConfig(
        r=rank, lora_alpha=alpha, lora_dropout=0.0, target_modules="all-linear", bias="none", task_type="CAUSAL_LM"
    )
    if isinstance(base, PeftModel):
        base.add_adapter(name, settings)
        base.set_adapter(name)
        return base
    return get_peft_model(base, settings, adapter_name=name)


def load_adapter(base: PreTrainedModel | PeftModel, folder: Path, *, name: str, trainable: bool = False) -> PeftModel:
    """The base with one more adapter, active.

    Raises:
        ModelRefused: The folder holds no LoRA adapter in safetensors format.
    """
    from peft import PeftModel  # noqa: PLC0415  (seconds of import)

    for file in ("adapter_config.json", "adapter_model.safetensors"):
        if not (folder / file).is_file():
            message = f"{folder} has no {file}. Give the folder of a LoRA adapter in safetensors format."
            raise ModelRefused(message)
    if not isinstance(base, PeftModel):
        return PeftModel.from_pretrained(base, folder, adapter_name=name, is_trainable=trainable)
    base.load_adapter(str(folder), adapter_name=name, is_trainable=trainable)
    base.set_adapter(name)
    return base


def adapter_weights(model: PeftModel, *, name: str) -> dict[str, Tensor]:
    """The weights of one adapter, under the names that its file has."""
    from peft import get_peft_model_state_dict  # noqa: PLC0415  (seconds of import)

    weights = get_peft_model_state_dict(model, adapter_name=name, save_embedding_layers=False)
    return {part: weight.detach().clone() for part, weight in weights.items()}


def put_adapter(model: PeftModel, weights: dict[str, Tensor], *, name: str) -> None:
    """Give an adapter the weights of another one, by the names of `adapter_weights`."""
    from peft import set_peft_model_state_dict  # noqa: PLC0415  (seconds of import)

    set_peft_model_state_dict(model, weights, adapter_name=name)


def save_adapter(model: PeftModel, folder: Path, *, name: str) -> None:
    """Write one adapter: same weights, same bytes, wherever the base lies."""
    folder.mkdir(parents=True, exist_ok=True)
    save_tensors(folder / "adapter_model.safetensors", adapter_weights(model, name=name))
    settings = model.peft_config[name].to_dict() | {"base_model_name_or_path": BASE_NAME, "inference_mode": True}
    text = json.dumps(settings, indent=1, sort_keys=True, default=sorted)
    _replace(folder / "adapter_config.json", text.encode() + b"\n")


def save_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write tensors as safetensors, whole or not at all."""
    draft = path.with_name(f".{path.name}.draft")
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in sorted(tensors.items())}, draft)
    draft.replace(path)


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file, on the CPU."""
    return load_file(path)


def _replace(path: Path, content: bytes) -> None:
    draft = path.with_name(f".{path.name}.draft")
    draft.write_bytes(content)
    os.replace(draft, path)  # noqa: PTH105  (atomic, and says so)


def encode(tokenizer: PreTrainedTokenizerBase, dialogue: Sequence[dict[str, str]], *, answering: bool) -> list[int]:
    """Token ids of a dialogue in the chat template; `answering` ends it where the assistant's answer begins."""
    ids = tokenizer.apply_chat_template(list(dialogue), add_generation_prompt=answering, tokenize=True, return_dict=True)[
        "input_ids"
    ]
    return list(ids)


@torch.inference_mode()
def generate(  # noqa: PLR0913  (each keyword is one choice of decoding)
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    dialogues: Sequence[Dialogue],
    *,
    max_new_tokens: int,
    temperature: float,
    seed: int,
    batch_size: int,
) -> list[str]:
    """Answers to dialogues, in their order.

    Args:
        model: A causal language model, with the adapter that is to answer active.
        tokenizer: Its tokenizer, padding on the left.
        dialogues: What to answer; the last message is the user's.
        max_new_tokens: Longest answer. [tokens]
        temperature: 0 takes the likeliest token each time; otherwise tokens are sampled.
        seed: Of the sampling.
        batch_size: Dialogues answered at once.

    Returns:
        The answers without special tokens, stripped.
    """
    prompts = [encode(tokenizer, dialogue, answering=True) for dialogue in dialogues]
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    answers = [""] * len(prompts)
    torch.manual_seed(seed)
    how: dict[str, Any] = {"do_sample": False} if temperature == 0 else {"do_sample": True, "temperature": temperature}
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        batch = tokenizer.pad({"input_ids": [prompts[row] for row in rows]}, return_tensors="pt").to(model.device)
        made = model.generate(
            **batch,
            **how,
            top_k=None,
            top_p=None,
            max_new_tokens=max_new_tokens,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
        new = made[:, batch["input_ids"].shape[1] :]
        for row, text in zip(rows, tokenizer.batch_decode(new, skip_special_tokens=True), strict=True):
            answers[row] = text.strip()
    return answers
