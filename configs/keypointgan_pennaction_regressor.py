"""Pre-training of the skeleton regressor on the poses of Penn Action, 13 joints and a neck.

Paper: Jakab et al., Self-supervised Learning of Interpretable Keypoints from Unlabelled Videos,
CVPR 2020, supplement F.2. It reports no error for this stage, and publishes neither the limbs it
draws nor how poses are placed: here limbs meet in a neck between the shoulders, and a pose fills 60
to 90 % of the image height.
Data: data/pennaction/prior/NNNN.mat, the official labels of half of the videos of each action.
Hardware: one small GPU; the paper states no hours.
Text differs: as listed in keypointgan_h36m_regressor.py.
"""

# fmt: off
image_size = 128
num_landmarks = 14
width = 32
edges = ((0, 13), (1, 13), (3, 1), (5, 3), (2, 13), (4, 2), (6, 4), (7, 13), (9, 7), (11, 9),
         (8, 13), (10, 8), (12, 10))

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
    prior=dict(type="datasets/poses", source="data/pennaction/prior", format="penn_action",
               midpoints=(("neck", "left_shoulder", "right_shoulder"),), fit="box"),
    workers=8,
)
train = dict(
    iterations=580_000, batch_size=16, lr=2e-4, betas=(0.5, 0.999), clip=1.0, checkpoint_every=5000,
)
