"""Factorized pose, appearance and background on BBC Pose, as published.

Paper: Dundar, Shih et al., Unsupervised Disentanglement of Pose, Appearance and Background from
Images and Videos, ECCV 2020, table 1: 78.8 % of the joints (table 3: 79.16 from the corner).
Data: BBC Pose of www.robots.ox.ac.uk/~vgg/data/pose, unpacked to data/bbc_pose as described in
components/datasets/bbc_pose.py; the regressor is fitted on all annotated frames of videos 1-10
(`--cfg-options evaluate.fit_items=20000` for a quick look; for figure 2a, which shows 10 to 40
landmarks without numbers in print, num_landmarks=10 data.test.split=val).
The published accuracy counts joints within 6 pixels at half resolution, 12 in the frame (`accuracy`
here); `accuracy_frame` counts 6 pixels of the frame, `accuracy_corner` is table 3's other origin.
Sources are 3 to 39 frames later in the list of annotated ones, as in the official code. Hardware: 8
GPUs with 16 items each; neither hours nor iterations are published; 200 000 is our choice. VGG19 is
torchvision's.
Text differs: pose net 64 to 512 wide (here 24 to 192), background net 32 to 128 and mask net 32
(both 128 to 512); modules of one convolution and a pooling, skips concatenated (two or more,
strides, added); an appearance net that sees the image (pose features) and sums over a part (means);
a decoder that starts once, at an eighth, and ends 64 wide (at a sixteenth and an eighth; 32);
spectral norm on every convolution (on SPADE blocks' own); no pixels among the taps, VGG's own input
range (-1 to 1), weight 1 (5); crops of 300 pixels in training (the joints and 60 pixels), sources 3
to 60 frames later (3 to 39). As the text, not the released configuration: masks.
factorized_bbc_text.py is built as the text throughout.
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
    compositor=dict(
        type="compositors/mask_blend", num_landmarks=num_landmarks, first=width // 2,
        mask_widths=(width // 2, width // 2, width // 2),
        background_widths=(width // 2, width, 2 * width)),
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
    transforms=[dict(type="transforms/color_jitter")],
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
