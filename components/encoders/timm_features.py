"""Any timm backbone as a pose encoder, with a light head that upsamples to half the size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from components.layers.blocks import conv_norm_relu
from registry.contract import Encoding
from registry.errors import ConfigError, did_you_mean
from registry.roles import ENCODERS


@ENCODERS.register_module("encoders/timm_features")
class TimmFeatures(nn.Module):
    """Every backbone level reduced to ``width`` channels, upsampled and added; two convolutions.

    Args:
        num_landmarks: K.
        name: model name in timm: ``resnet18``, ``convnext_atto``, ``vit_small_patch16_dinov3``.
        weights: ``timm`` downloads the pretrained ones once; a ``.safetensors`` or ``.pth`` file of
            the whole model as saved by timm; ``random`` trains from scratch.
        frozen: never train the backbone or update its batch statistics.
        width: channels of the head and of ``features``.
        image_size: side of the images, a multiple of the patch size, for transformers, whose
            position grid it fixes; None for convolutional networks, which accept any.

    Shapes:
        (B, 3, H, W) -> Encoding with maps (B, K, H/2, W/2), features (B, width, H/2, W/2)
    Range:
        input [0, 1], normalised by the model's own mean and deviation inside; output logits;
        features are those of the finest level
    Raises:
        ConfigError: the model or weights do not exist; random weights are never a fallback.
    Source: factorized fig 1
    Differs: replaces ``encoders/unet``; not in any of the papers
    """

    fills = ("maps", "features")

    fetches_weights = True

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        *,
        num_landmarks: int,
        name: str,
        weights: str,
        frozen: bool = False,
        width: int = 32,
        image_size: int | None = None,
    ) -> None:
        super().__init__()
        self.frozen = frozen
        backbone: Any = load_backbone(name, weights, image_size)  # Any: timm's attributes
        self.backbone = backbone.requires_grad_(not frozen)
        for key in ("mean", "std"):
            value = torch.tensor(backbone.pretrained_cfg[key]).view(1, 3, 1, 1)
            self.register_buffer(key, value, persistent=False)
        channels = backbone.feature_info.channels()
        self.levels = nn.ModuleList(nn.Conv2d(c, width, 1) for c in channels)
        head = conv_norm_relu(width, width, norm="instance")
        self.head = nn.Sequential(*head, nn.Conv2d(width, num_landmarks, 1))
        self.train()

    def train(self, mode: bool = True) -> TimmFeatures:
        """Set the mode; a frozen backbone stays in evaluation mode."""
        super().train(mode)
        if self.frozen:
            self.backbone.eval()
        return self

    def forward(self, image: Tensor) -> Encoding:
        size = (image.shape[-2] // 2, image.shape[-1] // 2)
        maps = [
            F.interpolate(level(x), size, mode="bilinear", align_corners=False)
            for level, x in zip(self.levels, self.backbone((image - self.mean) / self.std))
        ]
        return Encoding(maps=self.head(torch.stack(maps).sum(dim=0)), features=maps[0].relu())


def load_backbone(name: str, weights: str, image_size: int | None = None) -> nn.Module:
    """Return the backbone; called with images, it returns a list of (B, C, h, w), finest first.

    Raises:
        ConfigError: the model does not exist, or its weights are unavailable or do not fit.
    """
    import timm  # slow to import

    known = timm.list_models(pretrained="." in name)  # with their tags: vit_small_patch16_224.dino
    if name not in known:
        raise ConfigError(
            f"timm {timm.__version__} has no model '{name}'.{did_you_mean(name, known)}"
        )
    # the getter returns (B, C, h, w) for every architecture and keeps the whole model's names
    options: dict[str, Any] = {"features_only": True, "feature_cls": "getter"}
    if image_size is not None:
        options["img_size"] = image_size
    if weights == "random":
        return _create(name, options)
    if weights == "timm":
        try:
            return _create(name, {**options, "pretrained": True})
        except ConfigError:
            raise
        except Exception as error:  # whatever the download's HTTP library raises
            raise ConfigError(
                f"cannot download the weights of timm's '{name}': {type(error).__name__}: {error}. "
                "Download them elsewhere and pass the file as weights=, or train from scratch "
                "with weights='random'."
            ) from error
    path = Path(weights)
    if not path.is_file():
        raise ConfigError(
            f"no weights of timm's '{name}' at '{path}'. Set weights= to 'timm' to download them, "
            "the path of a .safetensors or .pth file, or 'random' to train from scratch."
        )
    state = timm.models.load_state_dict(str(path))
    given = set(state)
    options |= {"pretrained": True, "pretrained_cfg_overlay": {"state_dict": state}}
    try:
        loaded: Any = _create(name, options)
    except RuntimeError as error:  # a shape differs
        raise ConfigError(f"{path}: not the weights of timm's '{name}': {error}") from error
    # timm loads features non-strictly: tensors missing from the file would stay random
    missing = [key for key in loaded.model.state_dict() if key not in given]
    if missing:
        raise ConfigError(f"{path}: not the weights of timm's '{name}': no '{missing[0]}'.")
    return loaded


def _create(name: str, options: dict[str, Any]) -> nn.Module:
    import timm

    try:
        model: nn.Module = timm.create_model(name, **options)
    except TypeError as error:
        raise ConfigError(
            f"timm's '{name}' does not accept these arguments: {error}. Set image_size for "
            "transformers only."
        ) from error
    return model
