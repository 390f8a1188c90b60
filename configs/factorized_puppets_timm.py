"""The factorized model on generated puppets with a backbone of timm as its pose encoder.

Paper: Dundar, Shih et al., Unsupervised Disentanglement of Pose, Appearance and Background from
Images and Videos, ECCV 2020; the paper has no such row. Everything except model.encoder is that of
factorized_puppets.py; the backbone starts from random weights, since nothing is downloaded. About
ten minutes on 2 CPU cores. With frozen pretrained weights:
--cfg-options model.encoder.name=resnet18 model.encoder.weights=timm model.encoder.frozen=true
weights= also takes a .safetensors or .pth file in timm's format. A transformer needs image_size:
model.encoder.name=vit_tiny_patch16_224 model.encoder.image_size=64
"""

# fmt: off
image_size = 64
num_landmarks = 16
width = 16

model = dict(
    type="pipelines/reconstruction",
    encoder=dict(
        type="encoders/timm_features", num_landmarks=num_landmarks, name="mobilenetv3_small_050",
        weights="random", width=24),
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
        mask=dict(type="metrics/mask_iou"),
        psnr=dict(type="metrics/psnr")),
    max_items=640, fit_items=1000,
)
