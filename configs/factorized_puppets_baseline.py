"""Baseline (temp) of the factorized paper, small, on generated puppets: no background, no mask.

Paper: Dundar, Shih et al., Unsupervised Disentanglement of Pose, Appearance and Background from
Images and Videos, ECCV 2020.
factorized_puppets.py without its compositor, with the same budget: the landmarks alone must explain
the whole image.
"""

# fmt: off
image_size = 64
num_landmarks = 16
width = 16

model = dict(
    type="pipelines/reconstruction",
    encoder=dict(type="encoders/unet", num_landmarks=num_landmarks, first=6, widths=(128, 128, 64)),
    bottleneck=dict(type="bottlenecks/gaussian", covariance="fixed", variance=0.01),
    rasterizer=dict(type="rasterizers/gaussian", image_size=image_size),
    appearance_encoder=dict(
        type="encoders/part_appearance", num_landmarks=num_landmarks, features=24, first=16,
        out_channels=32, reduction="sum"),
    decoder=dict(type="decoders/spade", num_landmarks=num_landmarks, width=width, hidden=32,
                 tanh=True),
)
losses = dict(
    perceptual=dict(
        type="losses/perceptual", weights="random", width=16, weight=5.0, relu=True,
        taps=("input", "conv1_2", "conv2_2", "conv3_2")),
)
data = dict(
    train=dict(type="datasets/puppets", split="train", pair_range=(8, 31), image_size=image_size),
    fit=dict(type="datasets/puppets", split="train", image_size=image_size),
    val=dict(type="datasets/puppets", split="test", seed=1, clips=8, image_size=image_size),
    test=dict(type="datasets/puppets", split="test", clips=64, image_size=image_size),
    transforms=[dict(type="transforms/color_jitter")],
)
train = dict(
    iterations=1600, batch_size=8, lr=1e-3, amp=True, ema=0.99, clip=1.0,
    lr_factors=((1100, 1.0), (1600, 0.02)), panels_every=250, checkpoint_every=250,
)
evaluate = dict(
    metrics=dict(
        regression=dict(type="metrics/regression"),
        containment=dict(type="metrics/containment"),
        psnr=dict(type="metrics/psnr")),
    max_items=640, fit_items=1000,
)
