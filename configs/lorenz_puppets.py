"""Lorenz et al.'s part-based disentangling, small, on generated puppets; no download.

Paper: Lorenz et al., Unsupervised Part-Based Disentangling of Object Shape and Appearance, CVPR
2019. It has no results on puppets. Ten minutes on 2 CPU cores.
The official repository does not parse, so its networks' outputs cannot be compared: sizes and
formulas are checked by hand.
"""

# fmt: off
image_size = 64
num_landmarks = 16
width = 64

model = dict(
    type="pipelines/reconstruction",
    encoder=dict(type="encoders/residual_hourglass", num_landmarks=num_landmarks, width=width),
    bottleneck=dict(type="bottlenecks/gaussian", covariance="fitted"),
    rasterizer=dict(type="rasterizers/gaussian", image_size=image_size, scale=1 / 0.64),
    appearance_encoder=dict(
        type="encoders/hourglass_appearance", num_landmarks=num_landmarks, features=width,
        out_channels=32),
    decoder=dict(
        type="decoders/multiscale_parts", num_landmarks=num_landmarks, appearance_channels=32,
        widths=((2 * width, width), (width, width), (width, width // 2), (width // 2, width // 4))),
)
losses = dict(
    window=dict(type="losses/part_window"),
    equivariance=dict(type="losses/equivariance", weight=5.0, covariance_weight=0.1),
)
data = dict(
    train=dict(type="datasets/puppets", split="train", image_size=image_size, pair_range=(1, 1)),
    fit=dict(type="datasets/puppets", split="train", seed=1, clips=64, image_size=image_size),
    val=dict(type="datasets/puppets", split="test", seed=1, clips=8, image_size=image_size),
    test=dict(type="datasets/puppets", split="test", clips=64, image_size=image_size),
    transforms=(
        dict(type="transforms/tps_pair", source_warp=dict(type="warps/tps_solved"),
             driving_warp=dict(type="warps/tps_solved")),
        dict(type="transforms/second_view",
             driving_warp=dict(type="warps/tps_solved", scale=1.0)),
        dict(type="transforms/appearance_pair")),
)
train = dict(
    iterations=1500, batch_size=8, lr=1e-3, amp=True, panels_every=250,
    lr_factors=((1000, 1.0), (1500, 0.02)),
)
evaluate = dict(
    metrics=dict(regression=dict(type="metrics/regression")),
    max_items=640, fit_items=640,
)
