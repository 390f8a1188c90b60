"""Factorized pose, appearance and background, small, on your own videos; CPU is enough.

Paper: Dundar, Shih et al., Unsupervised Disentanglement of Pose, Appearance and Background from
Images and Videos, ECCV 2020.
Expects videos or folders of frames in data/video/train: a still camera, one moving object or more.
For a score, some frames with points placed by hand (CSV, DeepLabCut or COCO) in data/video/labelled
with labelled.csv, on which a regressor from landmarks to your points is fitted, and others in
data/video/test with test.csv; without them, nothing is scored.
Landmarks of new videos: keypoint-zoo predict. About ten minutes on 2 CPU cores.
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
)
data = dict(
    train=dict(type="datasets/frames", root="data/video/train", image_size=image_size),
    fit=dict(type="datasets/frames", root="data/video/labelled", image_size=image_size,
             annotations="data/video/labelled.csv", labelled_only=True, pair="same"),
    test=dict(type="datasets/frames", root="data/video/test", image_size=image_size,
              annotations="data/video/test.csv", labelled_only=True, pair="same"),
    optional=("fit", "test"),
    transforms=[
        # the same small warp for both frames avoids memorising a few clips
        dict(type="transforms/tps_pair",
             driving_warp=dict(type="warps/tps_gaussian", rotation_sd=5.0, scale_sd=0.05,
                                    translation_sd=0.05, warp_sd=(0.0, 0.0005))),
        dict(type="transforms/color_jitter", hue=0.1)],
)
train = dict(
    iterations=1100, batch_size=8, lr=1e-3, amp=True, ema=0.99, clip=1.0,
    lr_factors=((750, 1.0), (1100, 0.02)), panels_every=250, checkpoint_every=250,
)
evaluate = dict(metrics=dict(regression=dict(type="metrics/regression")))
