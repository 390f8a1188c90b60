"""RAFT, an estimator of optical flow that passes gradients to its images and is never trained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import FrozenBatchNorm2d

from components.ops.flow import to_contract
from components.ops.grid import at_least_float32
from registry.errors import ConfigError

SMALLEST = 128  # pixels: RAFT's coarsest correlation map must be at least 2 x 2
MULTIPLE = 8  # RAFT works on maps of 1/8 of the size


class Raft(nn.Module):
    """torchvision's RAFT: the displacement of each pixel from the first image to the second.

    Images are resized to at least 128 pixels and multiples of 8. The weights are kept out of state
    dicts and in float32, whatever the precision of the images.

    Args:
        network: ``raft_small`` or ``raft_large``.
        weights: ``torchvision`` (downloads once), a file (``.pth`` or ``.safetensors``) or
            ``random``.
        updates: refinement steps, starting from zero flow.

    Shapes:
        two (B, 3, H, W) in [0, 1] -> (B, 2, H, W), differences (x, y) of contract coordinates
    Raises:
        ConfigError: weights are unavailable or do not fit.
    """

    def __init__(
        self, network: Literal["raft_small", "raft_large"], weights: str, updates: int
    ) -> None:
        super().__init__()
        self.updates = updates
        self.net = _build(network, weights)
        for part in list(self.net.modules()):
            for name, child in part.named_children():
                if isinstance(child, nn.BatchNorm2d):  # its statistics are weights too
                    fixed = FrozenBatchNorm2d(child.num_features, child.eps)
                    fixed.load_state_dict(child.state_dict())
                    setattr(part, name, fixed)
        for part in list(self.net.modules()):
            held = [*part.named_parameters(recurse=False), *part.named_buffers(recurse=False)]
            for name, value in held:  # buffers outside the state dict: never trained, never saved
                delattr(part, name)
                part.register_buffer(name, value.detach(), persistent=False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Raft:
        # RAFT's internal coordinates are float32: changing the precision would break it
        return super()._apply(lambda tensor: fn(tensor).to(tensor.dtype), recurse)

    def forward(self, image: Tensor, other: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        size = [max(-(-side // MULTIPLE) * MULTIPLE, SMALLEST) for side in (height, width)]
        flow = self.net(*(2 * _resize(x.float(), size) - 1 for x in (image, other)), self.updates)
        found = _resize(to_contract(flow[-1]), [height, width])
        return found.to(at_least_float32(image).dtype)


def _resize(maps: Tensor, size: list[int]) -> Tensor:
    if list(maps.shape[-2:]) == size:
        return maps
    return F.interpolate(maps, size, mode="bilinear", align_corners=False, antialias=True)


def _build(network: str, weights: str) -> nn.Module:
    from torchvision.models import get_model, get_model_weights, list_models, optical_flow

    known = list_models(optical_flow)
    if network not in known:
        raise ConfigError(f"no flow network '{network}'; use one of {', '.join(known)}.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(19)  # the same random filters in every run and process
        net: nn.Module = get_model(network, weights=None)
    if weights == "random":
        return net
    if weights == "torchvision":
        origin = get_model_weights(network)["DEFAULT"]
        try:
            net.load_state_dict(origin.get_state_dict(progress=True, check_hash=True))
        except OSError as error:
            raise ConfigError(
                f"cannot download {network} weights from {origin.url}: {error}. Download that file "
                "elsewhere and pass its path as weights=."
            ) from error
        return net
    try:
        net.load_state_dict(_read(Path(weights)))
    except RuntimeError as error:
        reason = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise ConfigError(
            f"{weights}: not {network} weights with torchvision's names: {reason}"
        ) from error
    return net


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ConfigError(
            f"no RAFT weights at '{path}'. Set weights= to 'torchvision' or the path of a "
            "downloaded .pth or .safetensors file."
        )
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state
