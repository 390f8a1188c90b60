"""The first order motion model on Tai-Chi-HD.

Paper: Siarohin et al., First Order Motion Model for Image Animation, NeurIPS 2019: L1 0.063, AKD
6.862, MKR 0.036, AED 0.179 (recalled, not checked; all but L1 need other networks:
metrics/keypoint_distance, metrics/embedding_distance); the released checkpoint, trained 1.5 times
as long, is better.
Data: data/taichi/train and test, an mp4 or a folder of frames per chunk, called
<video>#<start>#<end>.mp4; one item per video.
Iterations: 100 epochs of 150 passes over the videos, whose number we do not know; 100 000, as for
faces, is our choice.
Hardware: two GPUs for two to three days, according to the authors. The official batch of 30 is the
total over all GPUs; train.batch_size is per GPU. VGG19 is torchvision's.
Official checkpoint: keypoint-zoo convert fomm taichi-cpk.pth.tar --config fomm-taichi ...
Text differs: as listed in fomm_vox.py.
"""

# fmt: off
image_size = 256
num_landmarks = 10
width = 32

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
)
losses = dict(
    perceptual=dict(
        type="losses/perceptual", weights="torchvision", relu=True, distance="l1",
        taps=("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1"),
        tap_weights=(10, 10, 10, 10, 10), scales=(1, 0.5, 0.25, 0.125)),
    equivariance=dict(type="losses/equivariance_points", weight=10.0),
    jacobian=dict(type="losses/equivariance_jacobian", weight=10.0),
)
data = dict(
    train=dict(type="datasets/video_folder", root="data/taichi", split="train",
               image_size=image_size, id_sampling=True),
    test=dict(type="datasets/video_folder", root="data/taichi", split="test",
              image_size=image_size, pair="first"),
    transforms=[
        dict(type="transforms/flip_pair"),
        dict(type="transforms/color_jitter", brightness=0.1, contrast=0.1, saturation=0.1, hue=0.1,
             pair=True),
        dict(type="transforms/second_view", padding="reflection", grid="corners",
             driving_warp=dict(type="warps/tps_l1", affine_sd=0.05, warp_sd=0.005)),
    ],
    workers=8,
)
train = dict(
    iterations=100_000, batch_size=30, lr=2e-4, betas=(0.5, 0.999), sync_batch_norm=True,
    lr_factors=((60_000, 1.0), (60_000, 0.1), (90_000, 0.1), (90_000, 0.01)),
    checkpoint_every=5000,
)
evaluate = dict(metrics=dict(l1=dict(type="metrics/l1")), crop="none")
