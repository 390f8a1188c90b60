"""Monkey-Net, small, on your own videos; CPU is enough to try.

Paper: Siarohin et al., Animating Arbitrary Objects via Deep Motion Transfer, CVPR 2019. It has no
results on such videos, and none have been measured here.
Expects videos or folders of frames in data/video/train: objects of one kind, one per video, in
front of a still camera. Other videos in data/video/test are redrawn from their first frames and
scored by L1; without them, nothing is scored. To make one object move like another:
keypoint-zoo animate. fomm_video.py is its successor. Differs from the paper as listed in
monkeynet_puppets.py. Hardware: 2 CPU cores, about ten minutes.
"""

# fmt: off
image_size = 64
num_landmarks = 10
width = 16
critic_width = 16

model = dict(
    type="pipelines/motion_transfer", through_critic=True, joint=True,
    encoder=dict(type="encoders/monkeynet", num_landmarks=num_landmarks, width=width,
                 max_width=8 * width, depth=4),
    bottleneck=dict(type="bottlenecks/monkeynet", temperature=0.5, floor=0.001),
    motion=dict(type="motions/monkeynet", num_landmarks=num_landmarks, width=width,
                max_width=8 * width, depth=4, normaliser=100.0),
    decoder=dict(type="decoders/monkeynet", num_landmarks=num_landmarks, width=width,
                 max_width=8 * width, depth=4, blocks=2),
    rasterizer=dict(type="rasterizers/gaussian", image_size=image_size, kernel="exponential",
                    scale=2.0, normaliser=100.0),
    image_critic=dict(
        type="critics/feature_patch", num_landmarks=num_landmarks, pool_last=True,
        widths=(2 * critic_width, 4 * critic_width, 8 * critic_width, 8 * critic_width)),
)
losses = dict(
    pixel=dict(type="losses/pixel", weight=10.0),
    features=dict(type="losses/feature_matching", weights=(10.0, 10.0, 10.0, 1.0)),
    adversarial=dict(type="losses/adversarial", scores="image_critic"),
    critic=dict(type="losses/critic", scores="image_critic", weight=2.0),
)
data = dict(
    train=dict(type="datasets/frames", root="data/video/train", pair_range=(1, 16),
               image_size=image_size),
    test=dict(type="datasets/first_source", frame_dataset=dict(
        type="datasets/frames", root="data/video/test", image_size=image_size)),
    optional=("test",),
    transforms=[dict(type="transforms/flip_pair")],
)
train = dict(
    iterations=1000, batch_size=8, lr=5e-4, betas=(0.5, 0.999), amp=True, ema=0.99,
    lr_factors=((700, 1.0), (1000, 0.02)), panels_every=250, checkpoint_every=250,
)
evaluate = dict(metrics=dict(l1=dict(type="metrics/l1")), max_items=640)
