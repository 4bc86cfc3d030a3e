"""PPO against the last TRL that had it: samples a second, memory, and where the time goes.

    make bench NAME=ppo

ends with {"samples_ratio_3m", "samples_ratio_30m", "memory_ratio_3m", "memory_ratio_30m", "generation_share",
"scoring_share", "optimisation_share", "mfu"}, and further ratios. Ratios are ours over TRL's: more samples and less memory are
better. TRL runs with all parameters, with LoRA, and with all parameters and its flag `bf16`; ratios of samples are to the
fastest of the three, those of memory to the leanest. Ours trains the upper half of the layers, as it does by default;
`samples_ratio_SIZE_all_layers` is that of ours with all of them. `samples_ratio_SIZE_float32` is that of ours in float32, and
`samples_ratio_SIZE_bfloat16_weights` is to TRL with weights in bfloat16, in which its updates are lost; where a machine
multiplies bfloat16 no faster than float32, nothing runs in bfloat16 and these two are missing. Shares are of our update at the
last size; `mfu` is our FLOP of the optimisation over its time and this machine's matrix products of the same type.

Both answer the same prompts with the same random Llama, whose end-of-sequence token has a probability of about 1/40, so that
answers have between 1 and 48 tokens; learning rates are so small that this stays so. Where there is no GPU, time is CPU
seconds of one thread; systems take turns, and the fastest of three rounds counts for each, since other work on the machine
disturbs them. Ours runs with ppo.precision `fastest` and in float32, which `auto` takes on a CPU. Memory is that of all
systems' allocator as `components/quiet.py` sets it.
TRL 1.12.0 is installed once, beside its own dependencies, below ~/.cache/plumbline/peers.

`python -m benchmarks.ppo --sizes 3m` measures one size; `--ours FOLDER` measures ours in this process. `--growth` measures ours
at 3 M with answers that never end by themselves and ends with {"batch_exponent", "length_exponent", "mb_per_adapter"}: of the
seconds of an update over answers (16 to 128) and over tokens of a sequence (48 to 128), and what eight more adapters cost.
`--sizes 1b` is for a GPU: there ours also says `generation_over_limit`, the time of its generation over what reading weights,
keys and values once a token takes at this device's bandwidth.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks import peers

SIZES = {
    "3m": {"hidden_size": 256, "num_hidden_layers": 4, "intermediate_size": 688, "vocab_size": 1024, "num_attention_heads": 4},
    "30m": {
        "hidden_size": 512,
        "num_hidden_layers": 8,
        "intermediate_size": 1376,
        "vocab_size": 4096,
        "num_attention_heads": 8,
    },
    "1b": {
        "hidden_size": 2048,
        "num_hidden_layers": 16,
        "intermediate_size": 5504,
        "vocab_size": 32_000,
        "num_attention_heads": 16,
    },
}
ON_A_CPU = ("3m", "30m")
PROMPT_TOKENS, ANSWER_TOKENS, SAMPLES, EPOCHS, MINIBATCH, RANK = 32, 48, 64, 4, 16, 16
PAD, END = 0, 1
LEARNING_RATE = 1e-9
"""So small that the probability of an end stays what it is."""
END_CHANCE = 1 / 40
PEER = ("trl==1.12.0", "torch==2.13.0", "transformers==5.23.0", "accelerate==1.15.0", "peft==0.21.2")
TRL = {
    "trl, all parameters": ("full", "float32"),
    "trl, LoRA": ("lora", "float32"),
    "trl, all parameters, flag bf16": ("full", "autocast"),
    "trl, bfloat16 weights": ("full", "bfloat16"),
}
IN_HALF = ("ours, float32", "trl, all parameters, flag bf16", "trl, bfloat16 weights")
"""Systems that say what bfloat16 is worth."""
ROUNDED = "trl, bfloat16 weights"
"""In which TRL's updates are lost: so small a step does not change a number of eight bits."""
PHASES = ("generation", "scoring", "optimisation")


def main() -> None:
    """Measure what is asked for and print the summary."""
    options = argparse.ArgumentParser(prog="python -m benchmarks.ppo", description=__doc__.splitlines()[0])
    options.add_argument("--sizes", nargs="+", choices=SIZES, default=ON_A_CPU)
    options.add_argument("--ours", type=Path)
    options.add_argument("--precision", default="fastest")
    options.add_argument("--updates", type=int, default=3)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--growth", action="store_true")
    options.add_argument("--shape", type=json.loads, default={}, help="JSON: samples, answer_tokens, adapters, ends")
    given = options.parse_args()
    if given.ours:
        print(json.dumps(_ours(given.ours, given.precision, given.updates, Shape(**given.shape))))
        return
    if given.growth:
        print(json.dumps(_growth(given.updates)))
        return
    peer = peers.environment(PEER)
    found = {}
    with tempfile.TemporaryDirectory() as temporary:
        for size in given.sizes:
            folder = Path(temporary) / size
            peers.last_line([sys.executable, "-c", f"from benchmarks.ppo import write; write({size!r}, {str(folder)!r})"])
            found[size] = _compare(size, folder, peer, given)
    print(json.dumps(_summary(found)))


def _compare(size: str, folder: Path, peer: Path, given: argparse.Namespace) -> dict[str, dict[str, float]]:
    """The measurements of a size, by system."""
    script = Path(__file__).with_name("peer_ppo.py")
    ours = [sys.executable, "-m", "benchmarks.ppo", "--ours", folder, "--updates", str(given.updates), "--precision"]
    runs = {
        "ours": [*ours, given.precision],
        "ours, all layers": [*ours, given.precision, "--shape", json.dumps({"upper_share": 1.0})],
        "ours, float32": [*ours, "float32"],
    }
    for name, how in TRL.items():
        runs[name] = [peer, "-W", "ignore", script, folder, *how, str(given.updates)]
    if not _half_is_fast():
        runs = {name: command for name, command in runs.items() if name not in IN_HALF}
    results: dict[str, dict[str, float]] = {}
    for _ in range(given.rounds):
        for name, command in runs.items():
            found = peers.last_line(command)
            rounded = {key: round(value, 3) for key, value in found.items()}
            print(f"{size} {name}: {rounded}", file=sys.stderr, flush=True)
            results[name] = max(results.get(name, found), found, key=lambda each: each["samples_per_second"])
    return results


def _half_is_fast() -> bool:
    """Whether this machine multiplies bfloat16 faster than float32, as a process with one thread finds."""
    told = "import json; from components import models; print(json.dumps({'is': str(models.fastest(models.device()))}))"
    return "bfloat16" in str(peers.last_line([sys.executable, "-c", told])["is"])


BATCHES, LENGTHS, MORE_ADAPTERS = (16, 32, 64, 128), (16, 32, 64, 96), 8


def _growth(updates: int) -> dict[str, float]:
    """How the seconds of an update grow, as exponents, and what an adapter more costs, in megabytes."""
    with tempfile.TemporaryDirectory() as folder:
        peers.last_line([sys.executable, "-c", f"from benchmarks.ppo import write; write('3m', {folder!r})"])

        def seen(**shape: int) -> dict[str, float]:
            command = [sys.executable, "-m", "benchmarks.ppo", "--ours", folder, "--updates", str(updates)]
            result = peers.last_line([*command, "--shape", json.dumps({"ends": False} | shape)])
            seconds = sum(result[phase] for phase in PHASES)
            print(f"{shape}: {seconds:.2f} s, {result['peak_bytes'] / 1e6:.0f} MB", file=sys.stderr, flush=True)
            return result | {"seconds": seconds}

        batches = {samples: seen(samples=samples)["seconds"] for samples in BATCHES}
        lengths = {PROMPT_TOKENS + tokens: seen(answer_tokens=tokens)["seconds"] for tokens in LENGTHS}
        more = seen(adapters=MORE_ADAPTERS)["peak_bytes"] - seen(adapters=0)["peak_bytes"]
    return {
        "batch_exponent": round(_exponent(batches), 3),
        "length_exponent": round(_exponent(lengths), 3),
        "mb_per_adapter": round(more / MORE_ADAPTERS / 1e6, 2),
    }


def _exponent(seconds: dict[int, float]) -> float:
    """The slope of a line through the logarithms."""
    sizes, took = ([math.log(value) for value in values] for values in (seconds.keys(), seconds.values()))
    return statistics.linear_regression(sizes, took).slope


def _summary(found: dict[str, dict[str, dict[str, float]]]) -> dict[str, Any]:
    summary: dict[str, Any] = {}
    for size, results in found.items():
        fastest = max(each["samples_per_second"] for each in _of_trl(results))
        for name, told in (("ours", ""), ("ours, all layers", "_all_layers"), ("ours, float32", "_float32")):
            if name in results:
                summary[f"samples_ratio_{size}{told}"] = round(results[name]["samples_per_second"] / fastest, 2)
        if ROUNDED in results:
            rounded = results[ROUNDED]["samples_per_second"]
            summary[f"samples_ratio_{size}_bfloat16_weights"] = round(results["ours"]["samples_per_second"] / rounded, 2)
    for size, results in found.items():
        leanest = min(each["peak_bytes"] for each in _of_trl(results))
        summary[f"memory_ratio_{size}"] = round(results["ours"]["peak_bytes"] / leanest, 3)
    last = found[[*found][-1]]["ours"]
    total = sum(last[phase] for phase in PHASES)
    return summary | {f"{phase}_share": round(last[phase] / total, 3) for phase in PHASES} | {"mfu": round(last["mfu"], 3)}


def _of_trl(results: dict[str, dict[str, float]]) -> list[dict[str, float]]:
    return [results[name] for name in TRL if name in results and name != ROUNDED]


def write(size: str, folder: str) -> None:
    """A random Llama with its tokenizer, a reward model and an SFT adapter, and prompts."""
    import torch
    from tokenizers import Tokenizer
    from tokenizers import models as kinds
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    from components import models, rewardmodel

    torch.manual_seed(0)
    shape = SIZES[size]
    base = Path(folder) / "base_model"
    config = LlamaConfig(
        **shape,
        num_key_value_heads=shape["num_attention_heads"],
        max_position_embeddings=128,
        pad_token_id=PAD,
        bos_token_id=None,
        eos_token_id=END,
        tie_word_embeddings=False,
    )
    model = LlamaForCausalLM(config)
    _let_answers_end(model)
    model.save_pretrained(base)
    words = Tokenizer(kinds.WordLevel({f"w{index}": index for index in range(shape["vocab_size"])}, unk_token="w2"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="w0", eos_token="w1", padding_side="left")
    tokenizer.chat_template = "{{ messages[0].content }}"
    tokenizer.save_pretrained(base)
    for name in ("sft_adapter", "reward_adapter", "judge_adapter"):
        adapted = models.new_adapter(models.load_base(base, as_type=torch.float32), name="any", rank=RANK, alpha=2 * RANK)
        models.save_adapter(adapted, Path(folder) / name, name="any")
    for reward in (Path(folder) / "reward_adapter", Path(folder) / "judge_adapter"):
        rewardmodel.ScoreHead(shape["hidden_size"]).save(reward / rewardmodel.HEAD)
        rewardmodel.Card("", "", 0.0, 1.0, "bradley-terry", 1, "sft").write(reward)
    prompts = torch.randint(2, shape["vocab_size"], (8 * SAMPLES, PROMPT_TOKENS)).tolist()
    (Path(folder) / "prompts.json").write_text(json.dumps(prompts))


def _let_answers_end(model: Any) -> None:
    """One number of every state is made constant, and the end token's logit reads it."""
    import torch

    with torch.no_grad():
        model.get_input_embeddings().weight[:, 0] = 0.2
        head = model.get_output_embeddings().weight
        head[:, 0] = 0
        head[END] = 0
        ids = torch.randint(2, len(head), (16, PROMPT_TOKENS))
        logits = model(ids, output_hidden_states=True)
        constant = logits.hidden_states[-1][..., 0].mean()
        wanted = torch.logsumexp(logits.logits, dim=-1).mean() + torch.logit(torch.tensor(END_CHANCE))
        head[END, 0] = wanted / constant


@dataclass(frozen=True)
class Shape:
    """Of an update that is measured."""

    samples: int = SAMPLES
    answer_tokens: int = ANSWER_TOKENS
    adapters: int = 0
    """Loaded, and not used."""
    ends: bool = True
    """Whether answers may end by themselves."""
    upper_share: float = 0.5
    """Of the layers, which PPO trains."""


def _ours(folder: Path, precision: str, updates: int, shape: Shape) -> dict[str, float]:
    """Our seconds by phase in an update, samples a second, and peak memory above what the imports take."""
    import torch

    from components import models, quiet
    from components.ppo import actors as acting
    from components.ppo import rollout, update
    from components.ppo.config import Settings

    quiet.settle()
    import_module("peft")  # before memory is first read, as the peer does

    clock = Clock()
    settings = Settings(
        rollouts=shape.samples,
        max_new_tokens=shape.answer_tokens,
        epochs=EPOCHS,
        minibatch=MINIBATCH,
        learning_rate=LEARNING_RATE,
        precision=precision,
        upper_share=shape.upper_share,
    )
    inputs = {name: folder / name for name in ("base_model", "sft_adapter", "reward_adapter", "judge_adapter")}
    models.seed_everything(0)
    actors = acting.load(inputs, base_digest="", settings=settings)
    for extra in range(shape.adapters):
        models.load_adapter(actors.model, inputs["sft_adapter"], name=f"extra_{extra}")
    end = END if shape.ends else -1
    optimizer, prompts = update.optimizer_of(actors, settings), json.loads((folder / "prompts.json").read_text())
    generator = torch.Generator().manual_seed(0)
    found, tokens, read = [], [], 0
    for at in range(updates + 1):
        clock.begin()
        uniforms = torch.rand((shape.samples, shape.answer_tokens), dtype=torch.float64, generator=generator)
        batch = [prompts[(at * shape.samples + row) % len(prompts)] for row in range(shape.samples)]
        with actors.acting(acting.POLICY) as model:
            answers = rollout.sample(model, batch, uniforms=uniforms, temperature=1.0, eos=end, pad=PAD)
        clock.end("generation")
        experience = update.appraise(actors, answers, settings, kl_coef=0.05)
        clock.end("scoring")
        update.improve(actors, experience, settings, optimizer=optimizer, seed=at)
        clock.end("optimisation")
        if at:
            found.append(dict(clock.spent))
            tokens.append(int(answers.is_response.sum()))
            read += int(answers.is_response.sum()) + int(answers.is_prompt.sum())
    result = clock.result(found, shape.samples, tokens)
    passes = models.pass_flop(actors.model, acting.POLICY, tokens=read, answer_tokens=sum(tokens), above=actors.lowest)
    work = EPOCHS / updates * sum(passes)
    rate = clock.matmul_rate(next(actors.model.get_base_model().parameters()).dtype)
    result["mfu"] = work / result["optimisation"] / rate
    if clock.on_gpu:
        result["generation_over_limit"] = (
            result["generation"] * clock.bandwidth() / _read_bytes(actors.model, answers.is_response)
        )
    return result


def _read_bytes(model: Any, is_response: Any) -> float:
    """Bytes that sampling (B, T) answers has to read: all weights once a token; of each answer, keys and values so far."""
    weights = [value for name, value in model.get_base_model().named_parameters() if ".lora_" not in name]
    config = model.config
    of_a_token = 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim * weights[0].element_size()
    so_far = int(((PROMPT_TOKENS + is_response.cumsum(dim=1)) * is_response).sum())
    return is_response.shape[1] * sum(value.nbytes for value in weights) + so_far * of_a_token


class Clock:
    """CPU seconds of this process, or wall seconds on a GPU, by phase; and memory above the imports'."""

    def __init__(self) -> None:
        import psutil
        import torch

        self.torch, self.on_gpu = torch, torch.cuda.is_available()
        self.imports = psutil.Process().memory_info().rss
        self.spent: dict[str, float] = {}
        self.last = 0.0

    def now(self) -> float:
        """The clock, in seconds."""
        if not self.on_gpu:
            return time.process_time()
        self.torch.cuda.synchronize()
        return time.perf_counter()

    def begin(self) -> None:
        """An update begins."""
        self.spent, self.last = {}, self.now()

    def end(self, phase: str) -> None:
        """A phase of it ends."""
        now = self.now()
        self.spent[phase], self.last = now - self.last, now

    def peak(self) -> float:
        """Most memory used so far, in bytes."""
        import resource

        if self.on_gpu:
            return float(self.torch.cuda.max_memory_allocated())
        return 1024.0 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - self.imports

    def result(self, found: list[dict[str, float]], samples: int, tokens: list[int]) -> dict[str, float]:
        """Medians over the updates."""
        phases = {phase: statistics.median(each[phase] for each in found) for phase in PHASES}
        seconds = statistics.median(sum(each.values()) for each in found)
        return phases | {
            "samples_per_second": samples / seconds,
            "peak_bytes": self.peak(),
            "answer_tokens": statistics.fmean(tokens) / samples,
        }

    def matmul_rate(self, kind: Any) -> float:
        """FLOP a second of a large matrix product of this type."""
        size = 8192 if self.on_gpu else 1024
        one = self.torch.randn(size, size).to(kind)
        if self.on_gpu:
            one = one.cuda()
        rates = []
        for _ in range(8):
            begin = self.now()
            one @ one
            rates.append(2 * size**3 / (self.now() - begin))
        return statistics.median(rates)

    def bandwidth(self) -> float:
        """Bytes a second that this device reads, by copies of 2 GiB, which read and write."""
        one = self.torch.empty(1 << 31, dtype=self.torch.uint8, device="cuda" if self.on_gpu else "cpu")
        rates = []
        for _ in range(8):
            begin = self.now()
            one.clone()
            rates.append(2 * one.nbytes / (self.now() - begin))
        return statistics.median(rates)


if __name__ == "__main__":
    main()
