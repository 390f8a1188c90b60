"""Image to video on Tai-Chi videos: a GRU moves the landmarks of monkeynet_taichi.py.

Paper: Siarohin et al., Animating Arbitrary Objects via Deep Motion Transfer, CVPR 2019.
It reports an FID of 19.75 (MoCoGAN 54.83); recalled, not checked, and not measured here.
Data: as in monkeynet_taichi.py, which is trained first if missing; clips of 32 frames.
The GRU sees the landmarks of one frame, mean and covariance, and then zeros, the first of them
before its first prediction, and moves them for 31 frames. 1000 epochs of 3 288 clips (from memory).
The published learning rate falls when the loss stalls for 50 epochs; here it falls linearly in the
second half.
Hardware: one GPU, minutes after the image model and its landmarks.
Text differs: as said in monkeynet_taichi.py; Lee et al., who take this GRU over, predict "the other
32 frames" (here the given one is counted).
"""

# fmt: off
image_size = 64
num_landmarks = 10
width = 32
critic_width = 32

model = dict(
    type="pipelines/forecast",
    image_pipeline=dict(
        type="pipelines/motion_transfer", through_critic=True, joint=True,
        encoder=dict(type="encoders/monkeynet", num_landmarks=num_landmarks, width=width,
                     max_width=1024, depth=5),
        bottleneck=dict(type="bottlenecks/monkeynet", temperature=0.1, floor=0.001, grid="corners"),
        motion=dict(type="motions/monkeynet", num_landmarks=num_landmarks, width=width,
                    max_width=1024, depth=5, normaliser=100.0, grid="corners",
                    align_corners=True),
        decoder=dict(type="decoders/monkeynet", num_landmarks=num_landmarks, width=width,
                     max_width=1024, depth=5, blocks=4, resize="nearest", align_corners=True),
        rasterizer=dict(type="rasterizers/gaussian", image_size=image_size, kernel="exponential",
                        scale=2.0, grid="corners", normaliser=100.0),
        image_critic=dict(
            type="critics/feature_patch", num_landmarks=num_landmarks, pool_last=True,
            widths=(2 * critic_width, 4 * critic_width, 8 * critic_width, 8 * critic_width)),
    ),
    predictor=dict(type="predictors/gru", num_landmarks=num_landmarks, width=1024,
                   state="covariance", delay=1),
    seen=1, steps=31,
)
losses = dict(state=dict(type="losses/state", distance="l1"))
data = dict(
    train=dict(type="datasets/clips", length=32, frame_dataset=dict(
        type="datasets/video_folder", root="data/taichi64", split="train", image_size=image_size)),
    test=dict(type="datasets/clips", length=32, frame_dataset=dict(
        type="datasets/video_folder", root="data/taichi64", split="test", image_size=image_size)),
    workers=8,
)
train = dict(
    init=dict(image_pipeline="monkeynet_taichi:pipeline"),
    iterations=13_000, batch_size=256, lr=1e-3, lr_factors=((6_500, 1.0), (13_000, 0.02)),
)
evaluate = dict(
    metrics=dict(
        l1=dict(type="metrics/l1"),
        ssim=dict(type="metrics/ssim"),
        state=dict(type="metrics/state_error")),
    crop="none", batch_size=8,
)
