"""Video prediction on generated puppets: an LSTM moves the landmarks of factorized_puppets.py.

Paper: Dundar, Shih et al., Unsupervised Disentanglement of Pose, Appearance and Background from
Images and Videos, ICLR 2020 submission, appendix D. It has no results on puppets.
No download; factorized_puppets.py is trained first if missing, then minutes on 2 CPU cores.
The test shows 10 frames of clips unseen in training and scores the 30 that follow.
"""

# fmt: off
image_size = 64
num_landmarks = 16
width = 16

model = dict(
    type="pipelines/forecast",
    image_pipeline=dict(
        type="pipelines/reconstruction",
        encoder=dict(
            type="encoders/unet", num_landmarks=num_landmarks, first=6, widths=(128, 128, 64)),
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
    ),
    predictor=dict(type="predictors/lstm", num_landmarks=num_landmarks, width=256, depth=3),
    seen=10, steps=10,
)
losses = dict(state=dict(type="losses/state"))
data = dict(
    train=dict(
        type="datasets/clips", length=20,
        frame_dataset=dict(type="datasets/puppets", split="train", clips=400, frames_per_clip=40,
                           image_size=image_size)),
    test=dict(
        type="datasets/clips", length=40,
        frame_dataset=dict(type="datasets/puppets", split="test", clips=64, frames_per_clip=40,
                           image_size=image_size)),
)
train = dict(
    init=dict(image_pipeline="factorized_puppets:pipeline"),
    iterations=2000, batch_size=32, lr=1e-3, clip=1.0, lr_factors=((1000, 1.0), (2000, 0.02)),
)
evaluate = dict(
    metrics=dict(
        psnr=dict(type="metrics/psnr"),
        ssim=dict(type="metrics/ssim"),
        state=dict(type="metrics/state_error")),
    batch_size=8,
)
