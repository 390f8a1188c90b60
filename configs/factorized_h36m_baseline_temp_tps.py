"""The factorized model's Baseline (temp, tps) on Human3.6M: no background, no masks.

Paper: Dundar, Shih et al., Unsupervised Disentanglement of Pose, Appearance and Background from
Images and Videos, ECCV 2020, table 1: 2.86 % of the image side over 32 joints.
Data: human_images.tar.gz of github.com/YutingZhang/lmdis-rep, unpacked to data/human_images, with
its backgrounds; the paper cuts 300 pixels around the joints out of Human3.6M itself. The masks are
for `containment`, whose "least contained" is figure 2b's.
Sources are 3 to 60 released frames later. Hardware: 8 GPUs with 16 items each; neither hours nor
iterations are published; 200 000 is our choice. VGG19 is torchvision's.
Text differs: as listed in factorized_bbc.py for the parts that are here, but the weight and the
range of sources, which are the text's; crops of 300 pixels (here the release's frames); a variance
of 0.08, 18 pixels to half the height (0.008, as in official configurations).
"""

# fmt: off
image_size = 128
num_landmarks = 16
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
    train=dict(type="datasets/simple_h36m", root="data/human_images", image_size=image_size,
               role="all", use_mask=False, sample_window=(3, 60)),
    fit=dict(type="datasets/simple_h36m", root="data/human_images", image_size=image_size,
             role="all", use_mask=False, sample_window=(0, 0), sampling="frame"),
    test=dict(type="datasets/simple_h36m", root="data/human_images", image_size=image_size,
              split="test", use_mask=False),
    transforms=[
        dict(type="transforms/color_jitter"),
        dict(type="transforms/tps_and_temporal",
             source_warp=dict(type="warps/tps_uniform"))],
    workers=8,
)
train = dict(
    iterations=200_000, batch_size=16, lr=1e-4, weight_decay=5e-6, clip=1.0, checkpoint_every=5000,
)
evaluate = dict(
    metrics=dict(
        regression=dict(type="metrics/regression"),
        containment=dict(type="metrics/containment")),
    crop="gt",
)
