"""Image to video on generated puppets: a GRU moves the landmarks of fomm_puppets.py for 31 frames.

Paper: Lee et al., Unsupervised landmark detection for video generation, section 4.2, after Siarohin
et al., Animating Arbitrary Objects via Deep Motion Transfer, CVPR 2019. Neither reports anything on
puppets. No download; fomm_puppets.py is trained first if missing, then minutes on 2 CPU cores. The
GRU sees the landmarks of one frame, points and affine maps, and predicts those of the next 31; the
test shows the first frame of clips unseen in training. A single frame does not show, for example,
which way a limb goes; any predictor can only learn the mean.
"""

# fmt: off
image_size = 64
num_landmarks = 10
width = 12

model = dict(
    type="pipelines/forecast",
    image_pipeline=dict(
        type="pipelines/motion_transfer",
        encoder=dict(type="encoders/keypoint_hourglass", num_landmarks=num_landmarks, stride=2,
                     width=16, max_width=128, depth=4, padding=3),
        bottleneck=dict(type="bottlenecks/affine", num_landmarks=num_landmarks, temperature=0.5),
        motion=dict(type="motions/dense_motion", num_landmarks=num_landmarks, stride=2,
                    width=width, max_width=8 * width, depth=4, variance=0.01),
        decoder=dict(type="decoders/occlusion_aware", width=16, max_width=64, downs=1,
                     blocks=3, blend=True),
    ),
    predictor=dict(type="predictors/gru", num_landmarks=num_landmarks, width=1024, state="affine",
                   delay=1),
    seen=1, steps=31,
)
losses = dict(state=dict(type="losses/state", distance="l1"))
data = dict(
    train=dict(
        type="datasets/clips", length=32,
        frame_dataset=dict(type="datasets/puppets", split="train", image_size=image_size)),
    test=dict(
        type="datasets/clips", length=32,
        frame_dataset=dict(type="datasets/puppets", split="test", clips=32, image_size=image_size)),
)
train = dict(
    init=dict(image_pipeline="fomm_puppets:pipeline"),
    iterations=2000, batch_size=32, lr=1e-3, clip=1.0, lr_factors=((1000, 1.0), (2000, 0.02)),
)
evaluate = dict(
    metrics=dict(
        l1=dict(type="metrics/l1"),
        ssim=dict(type="metrics/ssim"),
        state=dict(type="metrics/state_error")),
    batch_size=8,
)
