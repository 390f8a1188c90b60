"""What the author of a plugin checks: the component, its entry, and the weights."""

import numpy as np
import pytest
import torch

import registry
import zoo
from registry.contract import Landmarks

PART, NAME = "encoders/example/convnext", "example-convnext-regressor"


@pytest.mark.parametrize("takes", ["image", "pose_image"])
def test_the_encoder_keeps_the_contract(takes):
    registry.check(PART, takes=takes, out_channels=5, width=8, depth=2)
    assert PART in registry.ENCODERS.names()


def test_the_entry_is_listed_with_its_results():
    [entry] = zoo.list(NAME)
    assert entry.provider.startswith("keypoint-zoo-example ")
    assert [result["metric"] for result in entry.results] == ["reading_error"]


def test_the_weights_are_intact_and_compute_what_they_did():
    report = zoo.verify(NAME, deep=True)
    assert report.ok, report.problems


def test_the_model_reads_poses_as_well_as_its_entry_says():
    [result] = zoo.list(NAME)[0].results
    error = reading_error(zoo.load(NAME))
    assert error == pytest.approx(result["value"], rel=0.01)
    assert error < 0.5 * result["baselines"]["predict_mean"]


def reading_error(model):
    """Return the mean distance of joints read off drawings of unseen puppets, % of the image."""
    puppets = registry.build({"type": "datasets/puppets", "split": "test", "clips": 64})
    poses = torch.from_numpy(np.stack([puppets.keypoints(i) for i in range(0, len(puppets), 8)]))
    with torch.no_grad():
        found = model.bottleneck(model.rasterizer(Landmarks(xy=poses))).xy
    return 50 * (found - poses).norm(dim=-1).mean().item()  # the image is 2 wide
