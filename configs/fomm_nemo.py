"""The first order motion model on UvA-Nemo smiles.

Paper: Siarohin et al., First Order Motion Model for Image Animation, NeurIPS 2019: L1 0.016, AKD
1.119, AED 0.048 (L1 and AED recalled, not checked; all but L1 need other networks:
metrics/keypoint_distance, metrics/embedding_distance).
Data: data/nemo/train and test, an mp4 or a folder of frames per video.
Iterations: 100 epochs of 8 passes over 1110 training videos; that number is from memory, not from
our sources.
Hardware: two GPUs for a day, according to the authors. The official batch of 36 is the total over
all GPUs; train.batch_size is per GPU. VGG19 is torchvision's.
Official checkpoint: keypoint-zoo convert fomm nemo-cpk.pth.tar --config fomm-nemo ...
Text differs: as listed in fomm_vox.py.
"""

# fmt: off
image_size = 256
num_landmarks = 10
width = 32
critic_width = 64

model = dict(
    type="pipelines/motion_transfer",
    encoder=dict(type="encoders/keypoint_hourglass", num_landmarks=num_landmarks, stride=4,
                 width=width, max_width=1024, depth=5, padding=0),
    bottleneck=dict(type="bottlenecks/affine", num_landmarks=num_landmarks, temperature=0.1,
                    grid="corners"),
    motion=dict(type="motions/dense_motion", num_landmarks=num_landmarks, stride=4,
                width=2 * width, max_width=1024, depth=5, variance=0.01, grid="corners",
                align_corners=False),
    decoder=dict(type="decoders/occlusion_aware", width=2 * width, max_width=512, downs=2, blocks=6,
                 align_corners=False),
    image_critic=dict(
        type="critics/feature_patch",
        widths=(critic_width, 2 * critic_width, 4 * critic_width, 8 * critic_width), spectral=True),
)
losses = dict(
    perceptual=dict(
        type="losses/perceptual", weights="torchvision", relu=True, distance="l1",
        taps=("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1"),
        tap_weights=(10, 10, 10, 10, 10), scales=(1, 0.5, 0.25, 0.125)),
    equivariance=dict(type="losses/equivariance_points", weight=10.0),
    jacobian=dict(type="losses/equivariance_jacobian", weight=10.0),
    adversarial=dict(type="losses/adversarial", scores="image_critic", weight=1.0),
    features=dict(type="losses/feature_matching", weights=(10, 10, 10, 10)),
    critic=dict(type="losses/critic", scores="image_critic", weight=2.0),
)
data = dict(
    train=dict(type="datasets/video_folder", root="data/nemo", split="train",
               image_size=image_size),
    test=dict(type="datasets/video_folder", root="data/nemo", split="test",
              image_size=image_size, pair="first"),
    transforms=[
        dict(type="transforms/flip_pair"),
        dict(type="transforms/second_view", padding="reflection", grid="corners",
             driving_warp=dict(type="warps/tps_l1", affine_sd=0.05, warp_sd=0.005)),
    ],
    workers=8,
)
train = dict(
    iterations=24_700, batch_size=36, lr=2e-4, betas=(0.5, 0.999), sync_batch_norm=True,
    lr_factors=((14_820, 1.0), (14_820, 0.1), (22_230, 0.1), (22_230, 0.01)),
    checkpoint_every=5000,
)
evaluate = dict(metrics=dict(l1=dict(type="metrics/l1")), crop="none")
