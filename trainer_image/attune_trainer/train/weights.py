"""The part of a model that is trained, as it travels in checkpoints and in the memory of the best look. Used by `steering` and `watch`.

With adapters or a frozen half that is a small part of the model; the rest is loaded from the base model again.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from attune_trainer.errors import BadData

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

FILE = "model.safetensors"
State = dict[str, "Tensor"]


def trained_state(model: "Module") -> State:
    """Copies, on the CPU, of everything in the model's state but frozen parameters."""
    frozen = _frozen(model)
    return {
        name: value.detach().cpu().clone().contiguous()
        for name, value in model.state_dict().items()
        if name not in frozen
    }


def put_back(model: "Module", state: State) -> None:
    """Load what `trained_state` gave. BadData where it is of another model."""
    missing, unexpected = model.load_state_dict(state, strict=False)
    strange = [*unexpected, *(name for name in missing if name not in _frozen(model))]
    if strange:
        raise BadData(f"the weights are of another model: {', '.join(strange[:3])} do not fit.")


def save(model: "Module", folder: Path) -> None:
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    save_file(trained_state(model), folder / FILE)


def load(model: "Module", folder: Path) -> None:
    from safetensors.torch import load_file

    put_back(model, load_file(folder / FILE))


def _frozen(model: "Module") -> set[str]:
    named = model.named_parameters(remove_duplicate=False)
    return {name for name, parameter in named if not parameter.requires_grad}
