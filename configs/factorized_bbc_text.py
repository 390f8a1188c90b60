"""The factorized model on BBC Pose as the text of the paper has it, not its code.

Paper: Dundar, Shih et al., Unsupervised Disentanglement of Pose, Appearance and Background from
Images and Videos, ECCV 2020, appendix A; table 1: 78.8 % of the joints, whichever form made it.
Data: BBC Pose of www.robots.ox.ac.uk/~vgg/data/pose, unpacked to data/bbc_pose as described in
components/datasets/bbc_pose.py. The text's 6 pixels are `accuracy_frame`.
As the text, where factorized_bbc.py is the code: pose net 64 to 512, background net 32 to 128, mask
net 32 throughout, one convolution and a pooling per module, skips concatenated; the appearance net
sees the image; a part's vector is a sum; the decoder starts once, has 256, 256, 128, 64 and 3
channels and spectral norm on every convolution; four VGG taps, no pixels, VGG's own input range,
weight 1; crops of 300 pixels in training, too; sources 3 to 60 frames later.
Left open by the text and settled here: 3x3 kernels, max pooling, bilinear upsampling; widths of the
appearance net (64) and of a part's vector (32); the background net's up-modules widen as those
down; a decoder module is SPADE's residual block; the map reduced by 8 is half as large as the
image, so that four upsamplings end at the image's size; frames are annotated ones, the centre of
joints is that of their box; initial values and pixel centres as elsewhere here; 200 000 iterations.
The jitter is that of the paper's first version, ICLR 2020 submission; the later one has no numbers.
Hardware: 8 GPUs with 16 items each; hours are not published. VGG19 is torchvision's.
"""

# fmt: off
image_size = 128
num_landmarks = 30
width = 64

model = dict(
    type="pipelines/reconstruction",
    encoder=dict(type="encoders/unet", num_landmarks=num_landmarks,
                 downs=(width, 2 * width, 4 * width, 8 * width),
                 widths=(8 * width, 4 * width, 2 * width)),
    bottleneck=dict(type="bottlenecks/gaussian", covariance="fitted"),
    rasterizer=dict(type="rasterizers/gaussian", image_size=image_size),
    appearance_encoder=dict(
        type="encoders/part_appearance", num_landmarks=num_landmarks, features=0, out_channels=32,
        downs=(width,), widths=(width,), reduction="sum"),
    decoder=dict(type="decoders/spade_modules", num_landmarks=num_landmarks, appearance_channels=32,
                 widths=(4 * width, 4 * width, 2 * width, width), hidden=2 * width),
    compositor=dict(
        type="compositors/mask_blend", num_landmarks=num_landmarks,
        mask_downs=(width // 2, width // 2, width // 2),
        mask_widths=(width // 2, width // 2, width // 2),
        background_downs=(width // 2, width, 2 * width),
        background_widths=(width // 2, width, 2 * width)),
)
losses = dict(
    perceptual=dict(
        type="losses/perceptual", weights="torchvision", relu=True,
        taps=("conv1_2", "conv2_2", "conv3_2", "conv4_2"),
        tap_weights=(1 / 32, 1 / 16, 1 / 8, 1 / 4)),
)
data = dict(
    train=dict(type="datasets/bbc_pose", root="data/bbc_pose", image_size=image_size, crop="square",
               pair_range=(3, 61)),
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
        accuracy_frame=dict(type="metrics/regression", radius_px=6)),
    crop="gt",
)
