"""Lorenz et al. on CelebA, pairs made of one image.

Paper: Lorenz et al., Unsupervised Part-Based Disentangling of Object Shape and Appearance, CVPR
2019: 3.24 % of the eye distance on MAFL, as quoted by the papers that compare with it.
Data: aligned CelebA and MAFL in data/celeba, as described in components/datasets/celeba.py; the
faces were aligned by their annotated eyes (`crop`). The regressor is IMM's.
No golden numbers: the official repository does not parse, has no evaluation code, and has
hyper-parameters only for cropped people without background. Everything else as in lorenz_h36m.py;
the pair is two warps of one image, the code's static mode.
Hardware: one GPU; hours and iterations are not published; 300 000 is our choice.
Text differs: as said in lorenz_h36m.py.
"""

# fmt: off
image_size = 128
num_landmarks = 10
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
    train=dict(type="datasets/celeba", root="data/celeba", image_size=image_size),
    fit=dict(type="datasets/celeba", root="data/celeba", image_size=image_size, split="mafl_train"),
    test=dict(type="datasets/celeba", root="data/celeba", image_size=image_size,
              split="mafl_test"),
    transforms=(
        dict(type="transforms/tps_pair", source_warp=dict(type="warps/tps_solved"),
             driving_warp=dict(type="warps/tps_solved")),
        dict(type="transforms/second_view",
             driving_warp=dict(type="warps/tps_solved", scale=1.0)),
        dict(type="transforms/appearance_pair")),
    workers=8,
)
train = dict(iterations=300_000, batch_size=32, lr=1e-3, checkpoint_every=5000)
evaluate = dict(
    metrics=dict(
        mafl=dict(type="metrics/regression", normaliser="eyes", origin="corner", eyes=(0, 1))),
    crop="gt",
)
