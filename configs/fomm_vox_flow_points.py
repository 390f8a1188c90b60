"""The first order motion model whose landmarks follow optical flow, on VoxCeleb faces.

Paper: Lee et al., Unsupervised Landmark Detection for Video Generation: AKD 1.292 where fomm_vox.py
has 1.294, a gain of 0.002 pixels; no L1, no AED. It publishes neither code nor settings: everything
except the loss is from fomm_vox.py; sources are 1, 4 or 16 frames before their targets.
The loss is on the landmarks themselves: the paper's aim, in the form of Zhang et al. 2018.
Data: as fomm_vox.py, but videos as folders of frames: files are decoded at every start to count
them. The flow of real frames comes first, about 16 KB per frame and gap:
keypoint-zoo prepare flow fomm_vox_flow_points. Hardware: that of fomm_vox.py.
Text differs: as listed in fomm_vox.py; equation 5 has two losses alone (here FOMM's stay); equation
6 compares images (points that follow the flow); equation 7 (left out, see fomm_vox_flow.py).
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
    flow=dict(type="losses/flow_points", weight=10.0, warmup=5000),
)
data = dict(
    train=dict(
        type="datasets/flow_pairs", gaps=(1, 4, 16), flow="data/vox_flow", stride=4,
        frame_dataset=dict(type="datasets/video_folder", root="data/vox", split="train",
                           image_size=image_size)),
    test=dict(type="datasets/video_folder", root="data/vox", split="test",
              image_size=image_size, pair="first"),
    transforms=[
        dict(type="transforms/flip_pair", time=False),
        dict(type="transforms/color_jitter", brightness=0.1, contrast=0.1, saturation=0.1, hue=0.1,
             pair=True),
        dict(type="transforms/second_view", padding="reflection", grid="corners",
             driving_warp=dict(type="warps/tps_l1", affine_sd=0.05, warp_sd=0.005)),
    ],
    workers=8,
)
train = dict(
    iterations=100_000, batch_size=40, lr=2e-4, betas=(0.5, 0.999), sync_batch_norm=True,
    lr_factors=((60_000, 1.0), (60_000, 0.1), (90_000, 0.1), (90_000, 0.01)),
    checkpoint_every=5000,
)
evaluate = dict(metrics=dict(l1=dict(type="metrics/l1")), crop="none")
