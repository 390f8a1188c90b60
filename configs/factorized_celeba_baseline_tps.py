"""The factorized model's Baseline (tps) on CelebA: no background, no masks.

Paper: Dundar, Shih et al., Unsupervised Disentanglement of Pose, Appearance and Background from
Images and Videos, ECCV 2020, table 2: 4.34 % of the eye distance on MAFL.
Data: aligned CelebA and MAFL in data/celeba, as described in components/datasets/celeba.py; the
faces were aligned by their annotated eyes (`crop`). The regressor has no intercept and the upper
left corner as its origin, and is fitted on nine tenths of MAFL's training set, as IMM's. The model
trains on IMM's set, too, which keeps those; the paper leaves all of MAFL out.
Hardware: 8 GPUs with 16 items each; neither hours nor iterations are published; 200 000 is our
choice. VGG19 is torchvision's.
Text differs: as listed in factorized_bbc.py for the networks that are here and the taps; all of
MAFL kept out of training (here its training images stay); a variance of 0.08, 18 pixels to half the
height (0.008, as in official configurations).
"""

# fmt: off
image_size = 128
num_landmarks = 10
width = 64

model = dict(
    type="pipelines/reconstruction",
    encoder=dict(type="encoders/unet", num_landmarks=num_landmarks, first=6,
                 widths=(8 * width, 4 * width, 2 * width)),
    bottleneck=dict(
        type="bottlenecks/gaussian", covariance="fixed", variance=0.008, grid="left_edge"),
    rasterizer=dict(type="rasterizers/gaussian", image_size=image_size, grid="left_edge"),
    appearance_encoder=dict(
        type="encoders/part_appearance", num_landmarks=num_landmarks, features=24, out_channels=32,
        widths=(width,), reduction="mean"),
    decoder=dict(type="decoders/spade", num_landmarks=num_landmarks, appearance_channels=32,
                 width=width, hidden=2 * width),
)
losses = dict(
    perceptual=dict(
        type="losses/perceptual", weights="torchvision", relu=True, input_range="signed",
        taps=("conv1_2", "conv2_2", "conv3_2", "conv4_2", "input"),
        tap_weights=(1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0), weight=1.0),
)
data = dict(
    train=dict(type="datasets/celeba", root="data/celeba", image_size=image_size),
    fit=dict(type="datasets/celeba", root="data/celeba", image_size=image_size, split="mafl_train"),
    test=dict(type="datasets/celeba", root="data/celeba", image_size=image_size,
              split="mafl_test"),
    transforms=[
        dict(type="transforms/color_jitter"),
        dict(type="transforms/tps_pair", source_warp=dict(type="warps/tps_uniform"))],
    workers=8,
)
train = dict(
    iterations=200_000, batch_size=16, lr=1e-4, weight_decay=5e-6, clip=1.0, checkpoint_every=5000,
)
evaluate = dict(
    metrics=dict(
        mafl=dict(type="metrics/regression", normaliser="eyes", origin="corner", eyes=(0, 1))),
    crop="gt",
)
