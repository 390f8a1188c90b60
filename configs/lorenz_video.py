"""Lorenz et al.'s part-based disentangling, small, on your own videos; CPU is enough.

Paper: Lorenz et al., Unsupervised Part-Based Disentangling of Object Shape and Appearance, CVPR
2019. It has no results on such videos, and none have been measured here.
Expects videos or folders of frames in data/video/train: one object of the same kind per frame; the
camera may move. A pair is a frame and its neighbour.
For a score, some frames with points placed by hand (CSV, DeepLabCut or COCO) in data/video/labelled
with labelled.csv, on which a regressor from landmarks to your points is fitted, and others in
data/video/test with test.csv; without them, nothing is scored.
lorenz_h36m.py has the published size. Hardware: 2 CPU cores, ten to twenty minutes.
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
    train=dict(type="datasets/frames", root="data/video/train", pair_range=(1, 1),
               image_size=image_size),
    fit=dict(type="datasets/frames", root="data/video/labelled", image_size=image_size,
             annotations="data/video/labelled.csv", labelled_only=True, pair="same"),
    test=dict(type="datasets/frames", root="data/video/test", image_size=image_size,
              annotations="data/video/test.csv", labelled_only=True, pair="same"),
    optional=("fit", "test"),
    transforms=(
        dict(type="transforms/tps_pair", source_warp=dict(type="warps/tps_solved"),
             driving_warp=dict(type="warps/tps_solved")),
        dict(type="transforms/second_view",
             driving_warp=dict(type="warps/tps_solved", scale=1.0)),
        dict(type="transforms/appearance_pair")),
)
train = dict(
    iterations=1500, batch_size=8, lr=1e-3, amp=True, panels_every=250, checkpoint_every=250,
    lr_factors=((1000, 1.0), (1500, 0.02)),
)
evaluate = dict(metrics=dict(regression=dict(type="metrics/regression")))
