"""Factorized pose, appearance and background at the published size, on generated puppets.

Paper: Dundar, Shih et al., Unsupervised Disentanglement of Pose, Appearance and Background from
Images and Videos, ECCV 2020. It has no results on puppets. Networks and losses are those of
factorized_bbc.py; needs no download but VGG19's (losses.perceptual.weights also takes a file).
Hardware: one GPU; 100 000 iterations are our choice; it has not been run yet.
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
    train=dict(type="datasets/puppets", split="train", pair_range=(8, 31), image_size=image_size),
    fit=dict(type="datasets/puppets", split="train", image_size=image_size),
    val=dict(type="datasets/puppets", split="test", seed=1, clips=16, image_size=image_size),
    test=dict(type="datasets/puppets", split="test", clips=64, image_size=image_size),
    transforms=[dict(type="transforms/color_jitter")],
)
train = dict(
    iterations=100_000, batch_size=16, lr=1e-4, weight_decay=5e-6, checkpoint_every=5000,
)
evaluate = dict(
    metrics=dict(
        regression=dict(type="metrics/regression"),
        containment=dict(type="metrics/containment"),
        mask=dict(type="metrics/mask_iou"),
        psnr=dict(type="metrics/psnr")),
    max_items=640, fit_items=1000,
)
