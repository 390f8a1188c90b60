"""What a plugin's author checks: the component, the config that trains it, the entry."""

from pathlib import Path

import keypoint_zoo_example
import numpy as np
import pytest
import torch

import registry
import zoo
from registry.contract import Landmarks
from registry.runner import train

PART, NAME = "encoders/example/convnext", "example-convnext-regressor"
CONFIG = Path(keypoint_zoo_example.__file__).parent / "configs/example_convnext_regressor.py"


@pytest.mark.parametrize("takes", ["image", "pose_image"])
def test_the_encoder_keeps_the_contract(takes):
    registry.check(PART, takes=takes, out_channels=5, width=8, depth=2)
    assert PART in registry.ENCODERS.names()


def test_a_few_iterations_read_poses_better_than_their_mean_does(tmp_path):
    options = {"train.iterations": 60, "train.lr_factors": []}
    job = train(registry.load_config(CONFIG, options), tmp_path / "run")
    poses = unseen_poses()
    mean = 50 * (poses - poses.mean(dim=0)).norm(dim=-1).mean().item()
    assert reading_error(job.evaluated().eval().cpu()) < mean


def test_the_entry_is_listed():
    [entry] = zoo.list(NAME)
    assert entry.provider.startswith("keypoint-zoo-example ")
    assert entry.config == CONFIG


def unseen_poses():
    puppets = registry.build({"type": "datasets/puppets", "split": "test", "clips": 64})
    return torch.from_numpy(np.stack([puppets.keypoints(i) for i in range(0, len(puppets), 8)]))


def reading_error(model):
    """Return the mean distance of joints read from drawings of unseen poses, % of the image."""
    poses = unseen_poses()
    with torch.no_grad():
        found = model.bottleneck(model.rasterizer(Landmarks(xy=poses))).xy
    return 50 * (found - poses).norm(dim=-1).mean().item()  # the image is 2 wide
