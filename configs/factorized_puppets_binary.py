"""Factorized, small, on generated puppets, with a loss that makes the mask more binary.

Paper: Dundar, Shih et al., Unsupervised Disentanglement of Pose, Appearance and Background from
Images and Videos, ECCV 2020. It leaves better binarised masks to future work; here a loss on the
mask's entropy is tried. Continues from the weights of factorized_puppets.py, since early on the
mask is faint everywhere and would only be pushed down.
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
    compositor=dict(
        type="compositors/mask_blend", num_landmarks=num_landmarks, first=8,
        mask_widths=(32, 16, 16), background_widths=(32, 32, 16), mask_bias=-1.0,
        residual=True),
)
losses = dict(
    perceptual=dict(
        type="losses/perceptual", weights="random", width=16, weight=5.0, relu=True,
        taps=("input", "conv1_2", "conv2_2", "conv3_2")),
    binary=dict(type="losses/mask_entropy", weight=1.0),
)
data = dict(
    train=dict(type="datasets/puppets", split="train", pair_range=(8, 31), image_size=image_size),
    fit=dict(type="datasets/puppets", split="train", image_size=image_size),
    val=dict(type="datasets/puppets", split="test", seed=1, clips=8, image_size=image_size),
    test=dict(type="datasets/puppets", split="test", clips=64, image_size=image_size),
    transforms=[dict(type="transforms/color_jitter")],
)
train = dict(
    init=dict(pipeline="factorized_puppets"),
    iterations=120, batch_size=8, lr=5e-4, amp=True, ema=0.99, clip=1.0,
    lr_factors=((80, 1.0), (120, 0.02)), panels_every=250, checkpoint_every=250,
)
evaluate = dict(
    metrics=dict(
        regression=dict(type="metrics/regression"),
        containment=dict(type="metrics/containment"),
        mask=dict(type="metrics/mask_iou"),
        psnr=dict(type="metrics/psnr")),
    max_items=640, fit_items=1000,
)
