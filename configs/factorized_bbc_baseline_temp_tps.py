"""The factorized model's Baseline (temp, tps) on BBC Pose: no background, no masks.

Paper: Dundar, Shih et al., Unsupervised Disentanglement of Pose, Appearance and Background from
Images and Videos, ECCV 2020, table 1: 73.4 % of the joints (table 3: 72.73 from the corner).
Data: BBC Pose of www.robots.ox.ac.uk/~vgg/data/pose, unpacked to data/bbc_pose as described in
components/datasets/bbc_pose.py; the regressor is fitted on all annotated frames of videos 1-10
(`--cfg-options evaluate.fit_items=20000` for a quick look).
The published accuracy counts joints within 6 pixels at half resolution, 12 in the frame (`accuracy`
here); `accuracy_frame` counts 6 pixels of the frame, `accuracy_corner` is table 3's other origin.
Sources are 3 to 39 frames later in the list of annotated ones, as in the official code. Hardware: 8
GPUs with 16 items each; neither hours nor iterations are published; 200 000 is our choice. VGG19 is
torchvision's.
Text differs: as listed in factorized_bbc.py, for the parts that are here.
"""

# fmt: off
image_size = 128
num_landmarks = 30
width = 64

model = dict(
    type="pipelines/reconstruction",
    encoder=dict(type="encoders/unet", num_landmarks=num_landmarks, first=6,
                 widths=(8 * width, 4 * width, 2 * width)),
    bottleneck=dict(
        type="bottlenecks/gaussian", covariance="fitted", grid="left_edge"),
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
        tap_weights=(1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0), weight=5.0),
)
data = dict(
    train=dict(type="datasets/bbc_pose", root="data/bbc_pose", image_size=image_size),
    fit=dict(type="datasets/bbc_pose", root="data/bbc_pose", image_size=image_size, crop="square",
             pair_range=None),
    test=dict(type="datasets/bbc_pose", root="data/bbc_pose", image_size=image_size, crop="square",
              split="test"),
    transforms=[
        dict(type="transforms/color_jitter"),
        dict(type="transforms/tps_and_temporal",
             source_warp=dict(type="warps/tps_uniform"))],
    workers=8,
)
train = dict(
    iterations=200_000, batch_size=16, lr=1e-4, weight_decay=5e-6, checkpoint_every=5000,
)
evaluate = dict(
    metrics=dict(
        accuracy=dict(type="metrics/regression", radius_px=6, accuracy_scale=0.5),
        accuracy_frame=dict(type="metrics/regression", radius_px=6),
        accuracy_corner=dict(type="metrics/regression", radius_px=6, accuracy_scale=0.5,
                             origin="corner")),
    crop="gt",
)
