"""The LPIPS network on AlexNet, and loading its weights."""

from __future__ import annotations

import warnings
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn

from registry.errors import ConfigError

# the convolutions before the last ReLU: index in torchvision's ``features`` -> slice of the network
_CONVS = {0: 1, 3: 2, 6: 3, 8: 4, 10: 5}


@cache
def lpips_network(trunk: str) -> nn.Module:
    """Return the frozen network of LPIPS v0.1 on AlexNet, shared by all callers: it has no state.

    The linear layers come with the ``lpips`` package.

    Args:
        trunk: ``torchvision``, ``random``, or a file.

    Raises:
        ConfigError: the trunk's weights are unavailable or do not fit.
    Source: factorized sec 4.3
    """
    import lpips  # slow to import, and only this metric needs it

    state = None if trunk == "random" else _trunk(trunk)
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.filterwarnings("ignore", module="torchvision", message=".*deprecated since 0.13")
        network = lpips.LPIPS(net="alex", version="0.1", pnet_rand=True, verbose=False)
    if state is None:
        _fill(network.net)
    else:
        try:
            network.net.load_state_dict(state)
        except RuntimeError as error:
            raise ConfigError(f"{trunk}: not weights of AlexNet: {error}.") from error
    return network.requires_grad_(False).eval()


def _trunk(source: str) -> dict[str, Tensor]:
    state = _download() if source == "torchvision" else _read(Path(source))
    try:
        return {
            f"slice{part}.{index}.{name}": state[f"features.{index}.{name}"]
            for index, part in _CONVS.items()
            for name in ("weight", "bias")
        }
    except KeyError as error:
        raise ConfigError(
            f"{source}: not AlexNet weights with torchvision's names: no {error}."
        ) from error


def _download() -> dict[str, Tensor]:
    from torchvision.models import AlexNet_Weights

    weights = AlexNet_Weights.IMAGENET1K_V1
    try:
        return dict(weights.get_state_dict(progress=True, check_hash=True))
    except OSError as error:
        raise ConfigError(
            f"cannot download AlexNet weights from {weights.url}: {error}. Download that file "
            "elsewhere and pass its path as trunk=."
        ) from error


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise ConfigError(
            f"no AlexNet weights at '{path}'. Set trunk= to 'torchvision' or the path of a "
            "downloaded alexnet .pth or .safetensors."
        )
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    return dict(torch.load(path, map_location="cpu", weights_only=True))


def _fill(trunk: nn.Module) -> None:
    """Draw He-scaled filters from a fixed seed, the same in every run and process."""
    generator = torch.Generator().manual_seed(19)
    for parameter in trunk.parameters():
        if parameter.ndim == 4:
            scale = (2 / parameter[0].numel()) ** 0.5
            parameter.data.normal_(0, scale, generator=generator)
        else:
            parameter.data.zero_()
