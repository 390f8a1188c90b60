"""Lorenz et al. on BBC Pose, in the form for 256 pixels.

Paper: Lorenz et al., Unsupervised Part-Based Disentangling of Object Shape and Appearance, CVPR
2019: 74.5 % of the joints within 6 pixels, as quoted by the papers that compare with it.
Data: BBC Pose of www.robots.ox.ac.uk/~vgg/data/pose, unpacked to data/bbc_pose as described in
components/datasets/bbc_pose.py; pairs are neighbours in the list of annotated frames.
The accuracy is that of factorized_bbc.py: 6 pixels at half resolution, 12 in the frame.
No golden numbers: the official repository does not parse, has no evaluation code, and has
hyper-parameters only for cropped people without background. 30 parts, like the models it is
compared with; the rest as in lorenz_h36m.py.
Hardware: one GPU; hours and iterations are not published; 300 000 is our choice.
Text differs: as said in lorenz_h36m.py.
"""

# fmt: off
image_size = 256
num_landmarks = 30
width = 256

model = dict(
    type="pipelines/reconstruction",
    encoder=dict(type="encoders/residual_hourglass", num_landmarks=num_landmarks, stride=4,
                 width=width),
    bottleneck=dict(type="bottlenecks/gaussian", covariance="fitted"),
    rasterizer=dict(type="rasterizers/gaussian", image_size=image_size, scale=1 / 0.64),
    appearance_encoder=dict(
        type="encoders/hourglass_appearance", num_landmarks=num_landmarks, features=width,
        out_channels=64),
    decoder=dict(
        type="decoders/multiscale_parts", num_landmarks=num_landmarks, appearance_channels=64,
        widths=((2 * width, 2 * width), (2 * width, width), (width, width), (width, width // 2),
                (width // 2, width // 2), (width // 2, width // 4))),
)
losses = dict(
    window=dict(type="losses/part_window", radius=0.1, threshold=0.2),
    equivariance=dict(type="losses/equivariance", weight=5.0, covariance_weight=0.1),
)
data = dict(
    train=dict(type="datasets/bbc_pose", root="data/bbc_pose", image_size=image_size, crop="square",
               pair_range=(1, 2)),
    fit=dict(type="datasets/bbc_pose", root="data/bbc_pose", image_size=image_size, crop="square",
             pair_range=None),
    test=dict(type="datasets/bbc_pose", root="data/bbc_pose", image_size=image_size, crop="square",
              split="test"),
    transforms=(
        dict(type="transforms/tps_pair", source_warp=dict(type="warps/tps_solved"),
             driving_warp=dict(type="warps/tps_solved")),
        dict(type="transforms/second_view",
             driving_warp=dict(type="warps/tps_solved", scale=1.0)),
        dict(type="transforms/appearance_pair")),
    workers=8,
)
train = dict(iterations=300_000, batch_size=32, lr=1e-3, checkpoint_every=5000)
evaluate = dict(
    metrics=dict(
        accuracy=dict(type="metrics/regression", radius_px=6, accuracy_scale=0.5),
        accuracy_frame=dict(type="metrics/regression", radius_px=6)),
    crop="gt",
)
