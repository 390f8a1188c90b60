"""Lorenz et al. on Cat Head, pairs made of one image.

Paper: Lorenz et al., Unsupervised Part-Based Disentangling of Object Shape and Appearance, CVPR
2019, 20 parts: 9.30 % of the eye distance over seven points.
Data: aligned crops of Zhang et al. in data/cathead/train/*.jpg and data/cathead/test/*.jpg, with
train_seven.csv and test_seven.csv of points 1 to 4, 6, 7 and 9 of the nine. No evaluation code is
published; this is the protocol of Zhang et al.: no intercept, the origin in the centre.
No golden numbers: the official repository does not parse, has no evaluation code, and has
hyper-parameters only for cropped people without background. Everything else as in lorenz_h36m.py;
the pair is two warps of one image, the code's static mode.
Hardware: one GPU; hours and iterations are not published; 100 000 is our choice.
Text differs: as said in lorenz_h36m.py.
"""

# fmt: off
image_size = 128
num_landmarks = 20
width = 256

model = dict(
    type="pipelines/reconstruction",
    encoder=dict(type="encoders/residual_hourglass", num_landmarks=num_landmarks, stride=2,
                 width=width),
    bottleneck=dict(type="bottlenecks/gaussian", covariance="fitted"),
    rasterizer=dict(type="rasterizers/gaussian", image_size=image_size, scale=1 / 0.64),
    appearance_encoder=dict(
        type="encoders/hourglass_appearance", num_landmarks=num_landmarks, features=width,
        out_channels=64),
    decoder=dict(
        type="decoders/multiscale_parts", num_landmarks=num_landmarks, appearance_channels=64,
        widths=((2 * width, 2 * width), (2 * width, width), (width, width), (width, width // 2),
                (width // 2, width // 4))),
)
losses = dict(
    window=dict(type="losses/part_window", radius=0.1, threshold=0.2),
    equivariance=dict(type="losses/equivariance", weight=5.0, covariance_weight=0.1),
)
data = dict(
    train=dict(type="datasets/frames", root="data/cathead/train", image_size=image_size,
               pair="same"),
    fit=dict(type="datasets/frames", root="data/cathead/train", image_size=image_size,
             pair="same", annotations="data/cathead/train_seven.csv", labelled_only=True),
    test=dict(type="datasets/frames", root="data/cathead/test", image_size=image_size,
              pair="same", annotations="data/cathead/test_seven.csv", labelled_only=True),
    transforms=(
        dict(type="transforms/tps_pair", source_warp=dict(type="warps/tps_solved"),
             driving_warp=dict(type="warps/tps_solved")),
        dict(type="transforms/second_view",
             driving_warp=dict(type="warps/tps_solved", scale=1.0)),
        dict(type="transforms/appearance_pair")),
    workers=8,
)
train = dict(iterations=100_000, batch_size=32, lr=1e-3, checkpoint_every=5000)
evaluate = dict(
    metrics=dict(
        regression=dict(type="metrics/regression", normaliser="eyes", eyes=(0, 1))),
    crop="gt",
)
