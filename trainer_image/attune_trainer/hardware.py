"""What the machine computes fast: bf16 on GPUs that have it, and on CPUs with instructions for it. Used by train and mining.

benchmarks/training_speed.py measures what it brings. Exports and the numbers of the evaluate stage stay float32.
"""

import contextlib
import ctypes
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from attune.contract import TrainingConfig
from attune_trainer.errors import BadConfig

if TYPE_CHECKING:
    from torch.nn import Module

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Of malloc.h."""
Precision = str
"""fp32, bf16 or fp16."""


BF16_INSTRUCTIONS = ("amx_bf16", "avx512_bf16")
"""Intel's matrix units, and the dot products of AVX-512 (AMD since Zen 4): on either a step takes a third of the time."""


def has_bf16() -> bool:
    """Whether bf16 is faster here than float32."""
    import torch

    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported())
    can = torch.cpu.get_capabilities()
    return any(can.get(name, False) for name in BF16_INSTRUCTIONS)


def precision_of(config: TrainingConfig) -> Precision:
    """What `precision` means on this machine. Raises BadConfig for fp16 without a GPU."""
    import torch

    if config.precision == "auto":
        return "bf16" if has_bf16() else "fp32"
    if config.precision == "fp16" and not torch.cuda.is_available():
        raise BadConfig("precision fp16 needs a GPU, and there is none; use auto, or ask for one in compute.resources.")
    return config.precision


@contextlib.contextmanager
def mixed(precision: Precision, model: "Module") -> Iterator[None]:
    """Matrix products in `precision`, as the trainer's own autocast does it. Vectors are pooled in float32."""
    import torch

    if precision == "fp32":
        yield
        return
    kind = next((parameter.device.type for parameter in model.parameters()), "cpu")
    with torch.autocast(kind, dtype=torch.bfloat16 if precision == "bf16" else torch.float16):
        yield


@contextlib.contextmanager
def suited(model: Any, precision: Precision, *, trains: bool = True) -> Iterator[None]:
    """The model as it is fastest here. On CPUs in bf16 it trains with attention as plain matrix products, because the fused kernel's
    backward pass takes 40% of a step; its forward pass alone is the faster one, by a quarter. Pooling and scoring heads are in
    float32, because a mean of hundreds of bf16 numbers, or a score of three digits, loses what training is about."""
    import torch

    inner = getattr(model[0], "auto_model", None)
    before = getattr(getattr(inner, "config", None), "_attn_implementation", None)
    plain = trains and precision == "bf16" and not torch.cuda.is_available() and before == "sdpa"
    hooks = [model[0].register_forward_hook(_in_float32)] if precision != "fp32" else []
    heads = _heads(inner) if precision != "fp32" and inner is not None else []
    found = [vars(head).get("forward") for head in heads]  # a look in the middle of a training comes here a second time
    try:
        for head in heads:
            head.forward = partial(_whole, type(head).forward, head)
        if plain and inner is not None:
            inner.set_attn_implementation("eager")
        yield
    finally:
        if plain and inner is not None:
            inner.set_attn_implementation(before)
        for hook in hooks:
            hook.remove()
        for head, forward in zip(heads, found, strict=True):
            if forward is None:
                del head.forward
            else:
                head.forward = forward


def _heads(inner: "Module") -> list[Any]:
    """Linear layers that are in none of the numbered blocks: a few products a text, pooler and scoring head."""
    import torch

    named = inner.named_modules()
    return [m for name, m in named if isinstance(m, torch.nn.Linear) and not any(p.isdigit() for p in name.split("."))]


def _whole(forward: Callable[[Any, Any], Any], layer: Any, values: Any) -> Any:
    """The layer's own product, in float32 whatever is around it."""
    import torch

    with torch.autocast(values.device.type, enabled=False):
        return forward(layer, values.float())


def _in_float32(_module: Any, _inputs: Any, found: Any) -> Any:
    """Forward hook: what leaves the transformer is float32."""
    if isinstance(found, dict) and "token_embeddings" in found:
        found["token_embeddings"] = found["token_embeddings"].float()
    return found


@contextlib.contextmanager
def in_full_precision(model: Any) -> Iterator[None]:
    """The model's own forward pass while the trainer has it wrapped for mixed precision: scores in bf16 have three digits, so that
    near ones would tie."""
    wrapped, own = model.__dict__.get("forward"), model.__dict__.get("_original_forward")
    if own is None:
        yield
        return
    model.forward = own
    try:
        yield
    finally:
        model.forward = wrapped


def keep_memory() -> None:
    """Large blocks stay with the process: glibc would give each back to the kernel and get it anew, page by page, at every step.

    For the rest of the process; nothing where the C library is another one.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        mallopt(_M_MMAP_THRESHOLD, 2**30)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
