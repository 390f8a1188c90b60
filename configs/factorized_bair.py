"""Factorized pose, appearance and background on BAIR robot pushing, for video prediction.

Paper: Dundar, Shih et al., Unsupervised Disentanglement of Pose, Appearance and Background from
Images and Videos, ECCV 2020, which only shows predicted frames (figure 9, no numbers):
forecast_bair.py predicts; here, renders from another frame of the clip are scored.
Data: BAIR action-free (softmotion30_44k) at its 64 pixels: the frames of image_aux1 as pictures,
one folder per trajectory, as svg's convert_bair.py writes them:
data/bair/{train,test}/<file>/<trajectory>/<0 ... 29>.png; 43 264 and 256 trajectories. The videos
that fomm_bair.py reads are another release, in data/bair_mp4.
Not stated in the paper and chosen here: 40 landmarks, as on KTH, no critic, and 200 000 iterations.
Sources are 3 to 29 frames before or after. Hardware: 8 GPUs with 16 items each. VGG19 is
torchvision's.
Text differs: as listed in factorized_bbc.py for networks and taps; sources are future frames (here
either way).
"""

# fmt: off
image_size = 64
num_landmarks = 40
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
        tap_weights=(1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0), weight=1.0),
)
data = dict(
    train=dict(type="datasets/frames", root="data/bair/train", image_size=image_size,
               pair_range=(3, 29)),
    test=dict(type="datasets/frames", root="data/bair/test", image_size=image_size,
              pair_range=(3, 29)),
    transforms=[dict(type="transforms/color_jitter")],
    workers=8,
)
train = dict(
    iterations=200_000, batch_size=16, lr=1e-4, weight_decay=5e-6, clip=1.0, checkpoint_every=5000,
)
evaluate = dict(
    metrics=dict(
        psnr=dict(type="metrics/psnr"),
        ssim=dict(type="metrics/ssim"),
        lpips=dict(type="metrics/lpips")),
    crop="none", max_items=2000,
)
