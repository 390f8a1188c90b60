"""Monkey-Net on VoxCeleb at 256 pixels.

Paper: Siarohin et al., Animating Arbitrary Objects via Deep Motion Transfer, CVPR 2019.
Lee et al. report for it an L1 of 0.049, AKD 1.878 and AED 0.199 (table 1); its own paper has no
VoxCeleb.
Data: VoxCeleb crops in data/vox/{train,test} as fomm_vox.py has them. 20 epochs of 19 522 clips
(that number is from memory, not from our sources), at a constant rate.
Landmarks and motion at a quarter of the image's size; the generator has seven levels.
Conventions of the published code: corner-aligned coordinates and sampling (torch 0.4.1), both
images through the detector at once, and landmarks that also learn through the critic.
Official checkpoint: keypoint-zoo convert monkeynet FILE --config monkeynet-vox ...
Hardware: one GPU of 16 GB or more.
Text differs: as said in monkeynet_taichi.py.
"""

# fmt: off
image_size = 256
num_landmarks = 10
width = 32
critic_width = 32

model = dict(
    type="pipelines/motion_transfer", through_critic=True, joint=True,
    encoder=dict(type="encoders/monkeynet", num_landmarks=num_landmarks, width=width,
                 stride=4, max_width=1024, depth=5),
    bottleneck=dict(type="bottlenecks/monkeynet", temperature=0.1, floor=0.001, grid="corners"),
    motion=dict(type="motions/monkeynet", num_landmarks=num_landmarks, width=width,
                stride=4, max_width=1024, depth=5, normaliser=100.0, grid="corners",
                align_corners=True),
    decoder=dict(type="decoders/monkeynet", num_landmarks=num_landmarks, width=width,
                 max_width=1024, depth=7, blocks=4, resize="bilinear", align_corners=True),
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
        type="datasets/video_folder", root="data/vox", split="train", image_size=image_size),
    test=dict(
        type="datasets/video_folder", root="data/vox", split="test", pair="first",
        image_size=image_size),
    transforms=[dict(type="transforms/flip_pair")],
    workers=8,
)
train = dict(
    iterations=19_500, batch_size=20, lr=2e-4, betas=(0.5, 0.999),
)
evaluate = dict(metrics=dict(l1=dict(type="metrics/l1")), crop="none")
