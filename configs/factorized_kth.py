"""Factorized pose, appearance and background on KTH, for video prediction.

Paper: Dundar, Shih et al., Unsupervised Disentanglement of Pose, Appearance and Background from
Images and Videos, ECCV 2020, which only shows predicted frames (figure 5, no numbers):
forecast_kth.py predicts; here, renders from another frame of the clip are scored.
Data: frames of the six zips of www.csc.kth.se/cvap/actions in data/kth, one folder per video and
range of 00sequences.txt, data/kth/person01_boxing_d1_uncomp_1/image_0001.jpg, since people are away
between ranges: ffmpeg -i person01_boxing_d1_uncomp.avi -vf select='between(n,0,94)' ...
Persons 17 to 25 are the test set.
Not stated in the paper and chosen here: 128 pixels, the split, the critic's weight 1 (the official
default) and 200 000 iterations. Sources are 3 to 60 frames before or after; frames are stretched to
squares.
Hardware: 8 GPUs with 16 items each. VGG19 is torchvision's.
Text differs: as listed in factorized_bbc.py for networks and taps; masks of half the resolution,
which is mask_widths=(width // 2, width // 2) (here a quarter, as in the official code); sources are
future frames (either way).
"""

# fmt: off
image_size = 128
num_landmarks = 40
width = 64
critic_width = 64

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
        mask_widths=(width // 2,),
        background_widths=(width // 2, width, 2 * width)),
    image_critic=dict(type="critics/pix2pix", width=critic_width, scales=2),
)
losses = dict(
    perceptual=dict(
        type="losses/perceptual", weights="torchvision", relu=True, input_range="signed",
        taps=("conv1_2", "conv2_2", "conv3_2", "conv4_2", "input"),
        tap_weights=(1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0), weight=1.0),
    adversarial=dict(type="losses/adversarial", scores="image_critic", reduction="sum"),
    critic=dict(type="losses/critic", scores="image_critic", reduction="sum"),
)
data = dict(
    train=dict(type="datasets/frames", root="data/kth", image_size=image_size, pair_range=(3, 60),
               exclude=("person1[7-9]*", "person2*")),
    test=dict(type="datasets/frames", root="data/kth", image_size=image_size, pair_range=(3, 60),
              include=("person1[7-9]*", "person2*")),
    transforms=[dict(type="transforms/color_jitter")],
    workers=8,
)
train = dict(
    iterations=200_000, batch_size=16, lr=1e-4, weight_decay=5e-6, clip=1.0, checkpoint_every=5000,
    groups=dict(image_critic=dict(weight_decay=0.0)),
)
evaluate = dict(
    metrics=dict(
        psnr=dict(type="metrics/psnr"),
        ssim=dict(type="metrics/ssim"),
        lpips=dict(type="metrics/lpips")),
    crop="none", max_items=2000,
)
