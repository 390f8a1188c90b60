"""Transforms of both frames of a pair: flips, one zoom, one jitter; expected values by hand."""

import pytest
import torch

from components.transforms.color_jitter import ColorJitter
from components.transforms.flip_pair import FlipPair
from components.transforms.tps_pair import TpsPair
from components.warps.zoom import Zoom
from registry.contract import Batch

MANY = 4000
CPU = torch.device("cpu")


def pair(count, **fields):
    """Source is a ramp of 0, 1, 2, 3 / 10 along x, driving the same plus 1/2."""
    source = (torch.arange(4.0) / 10).expand(count, 3, 2, 4)
    driving = source + 0.5
    return Batch(source=source, driving=driving, target=driving, **fields)


def kinds(before, after):
    """Return which items are exchanged, which are mirrored, which are as they were."""
    cases = {
        "exchanged": (before.driving, before.source),
        "mirrored": (before.source.flip(-1), before.driving.flip(-1)),
        "kept": (before.source, before.driving),
    }
    return {
        name: (after.source == source).flatten(1).all(1)
        & (after.driving == driving).flatten(1).all(1)
        for name, (source, driving) in cases.items()
    }


def test_half_are_exchanged_and_half_of_the_others_mirrored():
    before = pair(MANY)
    after = FlipPair()(before, torch.arange(MANY))
    assert after.target is after.driving
    found = kinds(before, after)
    for name, share in (("exchanged", 1 / 2), ("mirrored", 1 / 4), ("kept", 1 / 4)):
        assert found[name].float().mean().item() == pytest.approx(share, abs=0.03)
    assert torch.stack(list(found.values())).sum(0).eq(1).all()


def test_an_item_flips_the_same_in_any_batch():
    before = pair(8)
    whole = FlipPair()(before, torch.arange(8))
    alone = FlipPair()(pair(2), torch.tensor([5, 2]))
    assert torch.equal(whole.driving[[5, 2]], alone.driving)
    assert torch.equal(whole.source[[5, 2]], alone.source)


def test_what_belongs_to_driving_is_mirrored_with_it():
    """A flow of one column to the right becomes one to the left, at the mirrored pixel."""
    flow = torch.zeros(64, 2, 2, 4)
    flow[:, 0, 0, 0], flow[:, 1, 0, 0] = 0.5, 0.25
    mask = torch.zeros(64, 1, 2, 4)
    mask[..., 3] = 1
    jittered = torch.rand(64, 3, 2, 4, generator=torch.Generator().manual_seed(0))
    points = torch.tensor([[[0.25, -0.75], [-1.0, 0.5]]]).repeat(64, 1, 1)
    before = Batch(
        source=pair(64).source,
        driving=jittered,
        target=pair(64).driving,
        flow=flow,
        mask=mask,
        weight=mask,
        keypoints=points,
        warped=jittered,
    )
    after = FlipPair(time=False)(before, torch.arange(64))
    found = kinds(before, after)
    mirrored = found["mirrored"]
    assert not found["exchanged"].any()
    assert 20 < mirrored.sum() < 44  # half of 64
    assert after.flow[mirrored][:, :, 0, 3].unique(dim=0).tolist() == [[-0.5, 0.25]]
    assert after.flow[mirrored].abs().sum() == mirrored.sum() * 0.75  # and nothing elsewhere
    assert after.keypoints[mirrored].unique(dim=0).tolist() == [[[-0.25, -0.75], [1.0, 0.5]]]
    for field in ("mask", "weight", "target"):
        own, new = getattr(before, field), getattr(after, field)
        assert torch.equal(new[mirrored], own[mirrored].flip(-1))
    for field in ("flow", "mask", "weight", "target", "keypoints"):
        assert torch.equal(getattr(after, field)[~mirrored], getattr(before, field)[~mirrored])
    assert after.warped is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("flow", torch.zeros(1, 2, 2, 4)),
        ("mask", torch.zeros(1, 1, 2, 4)),
        ("weight", torch.zeros(1, 1, 2, 4)),
        ("keypoints", torch.zeros(1, 5, 2)),
        ("target", torch.zeros(1, 3, 2, 4)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_no_flip_in_time_where_the_source_lacks_something(field, value):
    batch = Batch(**{"source": pair(1).source, "driving": pair(1).driving, field: value})
    with pytest.raises(ValueError, match=rf"transforms/flip_pair: {field} of the driving image .*"):
        FlipPair()(batch, torch.arange(1))


def test_zoom_shows_a_window_of_the_resized_image():
    """Scale s about the window's place: the image's edges are s wide, and no window leaves them."""
    splines = Zoom(scale=(0.9, 1.1))(torch.arange(MANY), 1, CPU)
    corners = splines(torch.tensor([[[-1.0, -1.0], [1.0, 1.0]]]).expand(MANY, -1, -1))
    scale = 2 / (corners[:, 1] - corners[:, 0])
    middle = corners.mean(dim=1)
    assert torch.allclose(scale[:, 0], scale[:, 1])
    assert scale.min().item() == pytest.approx(0.9, abs=1e-3)
    assert scale.max().item() == pytest.approx(1.1, abs=1e-3)
    assert scale.mean().item() == pytest.approx(1.0, abs=3e-3)
    larger = scale[:, 0] > 1
    assert corners[larger].abs().max() <= 1 + 1e-5
    assert (corners[larger].abs().amax(dim=(1, 2)) > 0.999).any()  # some touch the edge
    assert middle[~larger].abs().max() < 1e-5
    assert (middle[larger, 0] - middle[larger, 1]).abs().max() > 0.05  # x and y on their own


def test_both_frames_are_zoomed_alike():
    before = pair(3)
    zoom = TpsPair(driving_warp=Zoom(scale=(2.0, 2.0)))
    after = zoom(before, torch.arange(3))
    assert torch.allclose(after.driving, after.source + 0.5)
    assert torch.equal(after.target, after.driving)
    # twice as large: neighbours of the ramp differ by half as much
    steps = (after.source[..., 1:] - after.source[..., :-1])[..., 1]
    assert torch.allclose(steps, torch.full_like(steps, 0.05), atol=1e-6)


def test_one_jitter_of_both_frames():
    """Grey images keep their hue: brightness b and contrast c turn g into m + (bg - m) c."""
    image = torch.tensor([0.2, 0.3, 0.4, 0.5]).expand(2, 3, 1, 4)
    other = image.flip(-1) * 0.9
    batch = Batch(source=other, driving=image, target=image)
    after = ColorJitter(brightness=0.1, contrast=0.1, saturation=0.1, hue=0.1, pair=True)(
        batch, torch.arange(2)
    )
    assert after.target is after.driving
    factors = []
    for grey, found in ((image, after.driving), (other, after.source)):
        mean = found.mean(dim=(1, 2, 3))  # contrast does not move it, so this is b times the mean
        bright = mean / grey.mean(dim=(1, 2, 3))
        spread = (found.amax(dim=(1, 2, 3)) - found.amin(dim=(1, 2, 3))) / bright
        contrast = spread / (grey.amax(dim=(1, 2, 3)) - grey.amin(dim=(1, 2, 3)))
        factors.append(torch.stack((bright, contrast)))
    assert torch.allclose(*factors, atol=1e-5)
    assert (factors[0] - 1).abs().max() <= 0.1
    assert not torch.allclose(factors[0][:, 0], factors[0][:, 1])  # items draw on their own


def test_a_target_of_its_own_is_jittered_as_its_pair():
    image = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    batch = Batch(source=image, driving=1 - image, target=image)
    after = ColorJitter(pair=True)(batch, torch.arange(2))
    assert torch.equal(after.target, after.source)
    assert not torch.allclose(after.target, image, atol=0.05)


def test_hue_alone_keeps_value_and_saturation():
    image = torch.rand(4, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    after = ColorJitter(brightness=0, contrast=0, saturation=0, hue=0.5, pair=True)(
        Batch(source=image, driving=image, target=image), torch.arange(4)
    )
    assert torch.allclose(after.source.amax(dim=1), image.amax(dim=1), atol=1e-5)
    assert torch.allclose(after.source.amin(dim=1), image.amin(dim=1), atol=1e-5)
    assert not torch.allclose(after.source, image, atol=0.1)
    assert torch.equal(after.source, after.driving)
