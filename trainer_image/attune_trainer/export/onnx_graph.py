"""The model as one ONNX graph: tokens in, unit vectors out. Called by `artifact.write`.

Own export, because optimum pins transformers < 5. Pooling and normalization are inside the graph, batch and sequence
are dynamic, so a server needs no knowledge of the model.
"""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attune_trainer.errors import BadConfig

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from torch import Tensor
    from torch.nn import Module

INPUTS = ["input_ids", "attention_mask"]
OUTPUT = "sentence_embedding"
SINGLE_FILE_BYTES = 1_800_000_000
"""A protobuf ends at 2 GiB; larger weights go beside the graph."""


def export(model: "SentenceTransformer", path: Path) -> None:
    """Write `path` (and `path`.data for large models). The model is on the CPU, in float32, when this returns."""
    import torch
    from torch import Tensor

    class Graph(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
            features: dict[str, Any] = {"input_ids": input_ids, "attention_mask": attention_mask}
            for module in self.model:
                features = module(features)
            return torch.nn.functional.normalize(features["sentence_embedding"], dim=1)

    example = torch.ones((2, 8), dtype=torch.int64)
    with plain_attention(getattr(model[0], "auto_model", None)):
        saved(Graph(), [example, example.clone()], INPUTS, OUTPUT, path)


@contextlib.contextmanager
def plain_attention(auto_model: Any) -> Iterator[None]:
    """Attention as matrix products and a softmax. The fused form is exported with a test of every weight for NaN, a quarter of
    the time of a document on a CPU; rows without any token, which it is for, do not occur."""
    before = getattr(getattr(auto_model, "config", None), "_attn_implementation", None)
    can = before is not None and hasattr(auto_model, "set_attn_implementation")
    try:
        if can:
            auto_model.set_attn_implementation("eager")
        yield
    finally:
        if can:
            auto_model.set_attn_implementation(before)


def saved(graph: "Module", examples: list["Tensor"], inputs: list[str], output: str, path: Path) -> None:
    """Write a module as `path` (and `path`.data for large ones), with free batch and sequence. BadConfig (ExportFailed)."""
    import torch

    batch, sequence = torch.export.Dim("batch"), torch.export.Dim("sequence")
    size = sum(parameter.numel() * 4 for parameter in graph.parameters())
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                graph.cpu().float().eval(),
                tuple(examples),
                input_names=inputs,
                output_names=[output],
                dynamic_shapes={name: {0: batch, 1: sequence} for name in inputs},
                dynamo=True,
            )
    except Exception as error:
        raise BadConfig(
            f"the model cannot be exported to ONNX ({type(error).__name__}: {error}); use another base model.",
            reason="ExportFailed",
        ) from error
    if program is None:
        raise BadConfig("torch.onnx.export returned no program; use another base model.", reason="ExportFailed")
    _strip(program.model)
    program.save(str(path), external_data=size > SINGLE_FILE_BYTES)


def _strip(model: Any) -> None:
    """Drop names of source files and stack traces: they say nothing of the model and differ between machines."""
    for node in model.graph.all_nodes():
        node.metadata_props.clear()
        node.doc_string = None
    for value in (*model.graph.inputs, *model.graph.outputs, *model.graph.initializers.values()):
        value.metadata_props.clear()
    model.metadata_props.clear()
    model.graph.metadata_props.clear()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter narrates on standard output, which belongs to progress lines."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
