"""Pre-training of the skeleton regressor on the 68 face points of MultiPIE.

Paper: Jakab et al., Self-supervised Learning of Interpretable Keypoints from Unlabelled Videos,
CVPR 2020, supplement F.2. It reports no error for this stage, and publishes neither the lines it
draws nor how faces are placed: here jaw, brows, nose, eyes and lips, 40 to 65 % of the height.
Data: data/multipie/points/*.pts, converted from the about 6 k annotations that have 68 points.
Hardware: one small GPU; the paper states no hours.
Text differs: as listed in keypointgan_h36m_regressor.py.
"""

# fmt: off
image_size = 128
num_landmarks = 68
width = 32
edges = (
    (0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 6), (6, 7), (7, 8),
    (8, 9), (9, 10), (10, 11), (11, 12), (12, 13), (13, 14), (14, 15), (15, 16),
    (17, 18), (18, 19), (19, 20), (20, 21), (22, 23), (23, 24), (24, 25), (25, 26),
    (27, 28), (28, 29), (29, 30), (31, 32), (32, 33), (33, 34), (34, 35),
    (36, 37), (37, 38), (38, 39), (39, 40), (40, 41), (41, 36),
    (42, 43), (43, 44), (44, 45), (45, 46), (46, 47), (47, 42),
    (48, 49), (49, 50), (50, 51), (51, 52), (52, 53), (53, 54),
    (54, 55), (55, 56), (56, 57), (57, 58), (58, 59), (59, 48),
    (60, 61), (61, 62), (62, 63), (63, 64), (64, 65), (65, 66), (66, 67), (67, 60),
)

model = dict(
    type="pipelines/pose_autoencoder",
    rasterizer=dict(
        type="rasterizers/skeleton", edges=edges, image_size=image_size, sigma=0.2, squared=False,
        grid="corners"),
    bottleneck=dict(
        type="bottlenecks/skeleton_regressor", grid="corners",
        encoder=dict(type="encoders/stem", takes="pose_image", width=width, norm="instance",
                     out_channels=num_landmarks)),
)
losses = dict(points=dict(type="losses/prior_points"))
data = dict(
    prior=dict(type="datasets/poses", source="data/multipie/points", format="pts",
               fit="box", box_height=(0.4, 0.65), box_shift=0.15),
    workers=8,
)
train = dict(
    iterations=580_000, batch_size=16, lr=2e-4, betas=(0.5, 0.999), clip=1.0, checkpoint_every=5000,
)
