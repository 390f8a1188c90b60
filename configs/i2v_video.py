"""Image to video on your own videos: a GRU moves the landmarks of fomm_video.py for 31 frames.

Paper: Lee et al., Unsupervised landmark detection for video generation, section 4.2, after Siarohin
et al., Animating Arbitrary Objects via Deep Motion Transfer, CVPR 2019. Neither reports results on
such videos, and none have been measured here.
Expects videos or folders of frames in data/video/train, as fomm_video.py, which is trained first if
missing; each needs at least 32 frames. Of other videos in data/video/test the first frame of one
window of 32 is shown and the others are scored; without them, nothing is scored. A single frame
does not show, for example, which way an animal will turn; the GRU can only learn the mean.
Hardware: 2 CPU cores, minutes after the image model.
"""

# fmt: off
image_size = 128
num_landmarks = 10
width = 16

model = dict(
    type="pipelines/forecast",
    image_pipeline=dict(
        type="pipelines/motion_transfer",
        encoder=dict(type="encoders/keypoint_hourglass", num_landmarks=num_landmarks, stride=4,
                     width=24, max_width=192, depth=4, padding=3),
        bottleneck=dict(type="bottlenecks/affine", num_landmarks=num_landmarks, temperature=0.5),
        motion=dict(type="motions/dense_motion", num_landmarks=num_landmarks, stride=4,
                    width=width, max_width=8 * width, depth=4, variance=0.01),
        decoder=dict(type="decoders/occlusion_aware", width=width, max_width=4 * width, downs=2,
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
        frame_dataset=dict(type="datasets/frames", root="data/video/train", pair_range=(1, 16),
                           image_size=image_size)),
    test=dict(
        type="datasets/clips", length=32,
        frame_dataset=dict(type="datasets/frames", root="data/video/test", image_size=image_size)),
    optional=("test",),
)
train = dict(
    init=dict(image_pipeline="fomm_video:pipeline"), panels_every=500,
    iterations=2000, batch_size=32, lr=1e-3, clip=1.0, lr_factors=((1000, 1.0), (2000, 0.02)),
)
evaluate = dict(
    metrics=dict(
        l1=dict(type="metrics/l1"),
        ssim=dict(type="metrics/ssim"),
        state=dict(type="metrics/state_error")),
    batch_size=8,
)
