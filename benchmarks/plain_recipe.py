"""The recipe of the sentence-transformers documentation, nothing added: the peer of training_speed.py and quality.py."""

import math
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CALIBRATION_STEPS = 12
"""Steps that are timed to know how many fit a budget; the first third of them warms up and is not counted."""


@dataclass(frozen=True, slots=True)
class Plain:
    """What a plain script sets. The defaults are those of the documentation's examples."""

    base_model: str
    max_sequence_length: int
    batch_size: int = 32
    learning_rate: float = 2e-5
    precision: str = "fp32"
    seed: int = 42


def trainer(plain: Plain, pairs: Sequence[tuple[str, str]], scratch: str, **more: Any) -> Any:
    """A SentenceTransformerTrainer over (query, document) pairs; `more` goes into its arguments."""
    import torch
    from datasets import Dataset  # type: ignore[import-untyped]
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    model = SentenceTransformer(plain.base_model, device=None)
    model.max_seq_length = plain.max_sequence_length
    arguments = SentenceTransformerTrainingArguments(
        output_dir=scratch,
        per_device_train_batch_size=plain.batch_size,
        learning_rate=plain.learning_rate,
        bf16=plain.precision == "bf16",
        use_cpu=not torch.cuda.is_available(),  # or bf16 is refused
        seed=plain.seed,
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        **more,
    )
    return SentenceTransformerTrainer(
        model=model,
        args=arguments,
        train_dataset=Dataset.from_dict({"anchor": [q for q, _ in pairs], "positive": [d for _, d in pairs]}),
        loss=MultipleNegativesRankingLoss(model),
    )


def train_for(plain: Plain, pairs: Sequence[tuple[str, str]], seconds: float, folder: Path) -> dict[str, float]:
    """Train as many steps as fit into `seconds`, at least one epoch, and save to `folder`. What was done, in numbers."""
    from sentence_transformers import SentenceTransformer

    step = _seconds_a_step(plain, pairs)
    an_epoch = math.ceil(len(pairs) / plain.batch_size)
    steps = max(an_epoch, round(seconds / step))
    with tempfile.TemporaryDirectory() as scratch:
        running = trainer(plain, pairs, scratch, max_steps=steps, warmup_steps=steps // 10)
        own = SentenceTransformer(plain.base_model).max_seq_length
        began = time.monotonic()
        running.train()
        took = time.monotonic() - began
        running.model.max_seq_length = own  # it may read as far as Attune's
        running.model.save_pretrained(str(folder))
    return {"seconds": round(took, 1), "steps": steps, "epochs": round(steps / an_epoch, 2)}


def _seconds_a_step(plain: Plain, pairs: Sequence[tuple[str, str]]) -> float:
    from transformers import TrainerCallback

    times: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            times.append(time.monotonic())

    with tempfile.TemporaryDirectory() as scratch:
        running = trainer(plain, pairs, scratch, max_steps=CALIBRATION_STEPS)
        running.add_callback(Clock())
        running.train()
    warm = times[CALIBRATION_STEPS // 3 :]
    return (warm[-1] - warm[0]) / (len(warm) - 1)
