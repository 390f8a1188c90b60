"""Monkey-Net on the smiles of UvA-NEMO.

Paper: Siarohin et al., Animating Arbitrary Objects via Deep Motion Transfer, CVPR 2019.
It reports an L1 of 0.017, AKD 0.37 and AED 0.072 for reconstruction from the first frame (recalled,
not checked).
Data: the preprocessed UvA-NEMO clips in data/nemo/{train,test}, one film strip, video or folder of
frames each. 750 epochs of 1 110 clips (that number is from memory, not from our sources).
Conventions of the published code: corner-aligned coordinates and sampling (torch 0.4.1), both
images through the detector at once, and landmarks that also learn through the critic.
Official checkpoint: keypoint-zoo convert monkeynet FILE --config monkeynet-nemo ...
Hardware: one GPU; the authors' README says six hours.
Text differs: as said in monkeynet_taichi.py.
"""

# fmt: off
image_size = 64
num_landmarks = 10
width = 32
critic_width = 32

model = dict(
    type="pipelines/motion_transfer", through_critic=True, joint=True,
    encoder=dict(type="encoders/monkeynet", num_landmarks=num_landmarks, width=width,
                 max_width=512, depth=5),
    bottleneck=dict(type="bottlenecks/monkeynet", temperature=0.1, floor=0.001, grid="corners"),
    motion=dict(type="motions/monkeynet", num_landmarks=num_landmarks, width=width,
                max_width=512, depth=5, normaliser=100.0, grid="corners",
                align_corners=True),
    decoder=dict(type="decoders/monkeynet", num_landmarks=num_landmarks, width=width,
                 max_width=512, depth=5, blocks=4, resize="nearest", align_corners=True),
    rasterizer=dict(type="rasterizers/gaussian", image_size=image_size, kernel="exponential",
                    scale=2.0, grid="corners", normaliser=100.0),
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
    train=dict(
        type="datasets/video_folder", root="data/nemo", split="train", image_size=image_size),
    test=dict(
        type="datasets/video_folder", root="data/nemo", split="test", pair="first",
        image_size=image_size),
    transforms=[dict(type="transforms/flip_pair")],
    workers=8,
)
train = dict(
    iterations=26_000, batch_size=32, lr=2e-4, betas=(0.5, 0.999),
    lr_factors=((17_300, 1.0), (17_300, 0.1)),
)
evaluate = dict(metrics=dict(l1=dict(type="metrics/l1")), crop="none")
