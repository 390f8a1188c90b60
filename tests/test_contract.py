"""What the contract's objects print: shapes and ranges by hand, never their numbers."""

import torch

from registry.contract import (
    Batch,
    CriticScores,
    Encoding,
    Judgement,
    Landmarks,
    Layers,
    Motion,
    Outputs,
    Pose,
)


def test_nested_fields_are_indented_and_missing_ones_left_out():
    xy = torch.tensor([[[0.0, 0.5], [-1.0, 0.25]]])
    found = Outputs(landmarks=Landmarks(xy=xy), render=torch.full((1, 3, 4, 4), 0.125).half())
    assert repr(found) == str(found) == "\n".join([
        "Outputs",
        "  landmarks: Landmarks",
        "    xy: (1, 2, 2) float32, -1 to 0.5, cpu",
        "  render: (1, 3, 4, 4) float16, 0.125 to 0.125, cpu",
    ])  # fmt: skip


def test_every_kind_of_field_is_one_line():
    flags = torch.tensor([True, False, True])
    batch = Batch(
        source=torch.zeros(5, 3, 2, 2),
        keypoints=torch.tensor([[[torch.nan, 2.0]]] * 5),
        name=("a/0", "a/1", "a/2", "a/3", "a/4"),
        warp=abs,
        extra={"flags": flags, "counts": torch.tensor([3, -4])},
    )
    assert repr(batch).split("\n") == [
        "Batch",
        "  source: (5, 3, 2, 2) float32, 0 to 0, cpu",
        "  warp: builtin_function_or_method",
        "  keypoints: (5, 1, 2) float32, 2 to 2, 5 not finite, cpu",
        "  name: 'a/0', 'a/1', 'a/2', ... 5 in all",
        "  extra:",
        "    flags: (3,) bool, 0 to 1, cpu",
        "    counts: (2,) int64, -4 to 3, cpu",
    ]
    assert repr(Landmarks(xy=torch.empty(0, 3, 2))) == "Landmarks\n  xy: (0, 3, 2) float32, cpu"
    assert repr(Landmarks(xy=torch.empty(1, 3, 2, device="meta"))).endswith("float32, meta")
    grown = torch.ones(1, 2, 2, requires_grad=True)
    assert repr(Landmarks(xy=grown)).endswith("(1, 2, 2) float32, 1 to 1, cpu")


def test_all_of_them_are_short():
    image, maps = torch.rand(2, 3, 64, 64), torch.rand(2, 8, 32, 32)
    landmarks, scores = Landmarks(xy=torch.rand(2, 8, 2)), (torch.rand(2, 1, 8, 8),) * 3
    for one in (
        Encoding(maps=maps),
        Pose(encoding=Encoding(maps=maps), landmarks=landmarks, drawn=maps),
        Layers(foreground=image, background=image),
        Motion(grid=torch.rand(2, 8, 8, 2)),
        Judgement(scores=scores, features=(maps,) * 9),
        CriticScores(generator=scores, fake=scores, real=scores),
    ):
        text = repr(one)
        assert text.startswith(type(one).__name__ + "\n")
        assert len(text) < 500
        assert "tensor" not in text
