"""IMM, small, on your own videos; CPU is enough.

Paper: Jakab, Gupta et al., Unsupervised Learning of Object Landmarks through Conditional Image
Generation, NeurIPS 2018. It has no results on such videos, and none have been measured here.
Expects videos or folders of frames in data/video/train: a still camera, one moving object or more.
For a score, some frames with points placed by hand (CSV, DeepLabCut or COCO) in data/video/labelled
with labelled.csv, on which a regressor from landmarks to your points is fitted, and others in
data/video/test with test.csv; without them, nothing is scored.
Unlike the paper, both frames of a pair get the same small warp; imm_celeba.py has the published
size. Hardware: 2 CPU cores, about ten minutes.
"""

# fmt: off
image_size = 64
num_landmarks = 16
width = 16

model = dict(
    type="pipelines/reconstruction",
    encoder=dict(type="encoders/imm", num_landmarks=num_landmarks, width=width),
    bottleneck=dict(type="bottlenecks/separable"),
    rasterizer=dict(
        type="rasterizers/gaussian", image_size=image_size, stride=8, kernel="exponential",
        variance=0.04),
    appearance_encoder=dict(type="encoders/imm", width=width),
    decoder=dict(
        type="decoders/imm", num_landmarks=num_landmarks, appearance_channels=8 * width,
        width=width, white=1.0),
)
losses = dict(
    perceptual=dict(
        type="losses/perceptual", weights="random", backbone="vgg16", width=16, relu=True,
        taps=("input", "conv1_2", "conv2_2", "conv3_2"), input_range="grey", weight=4000.0),
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
    iterations=2000, batch_size=8, lr=1e-3, clip=1.0, clip_each=True, amp=True, panels_every=250,
    checkpoint_every=250, lr_factors=((1400, 1.0), (2000, 0.02)),
)
evaluate = dict(metrics=dict(regression=dict(type="metrics/regression", origin="corner")))
