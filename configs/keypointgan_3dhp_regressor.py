"""Pre-training of the skeleton regressor on the poses of MPI-INF-3DHP, 28 joints.

Paper: Jakab et al., Self-supervised Learning of Interpretable Keypoints from Unlabelled Videos,
CVPR 2020, supplement F.2. It reports no error for this stage, and publishes neither the limbs it
draws nor how poses are placed: here limbs follow Human3.6M, and poses fill 60 to 90 % of the
height.
Data: data/3dhp/poses.json (COCO), the 28 joints of annot2 of annot.mat in their order, in pixels.
Hardware: one small GPU; the paper states no hours.
Text differs: as listed in keypointgan_h36m_regressor.py.
"""

# fmt: off
image_size = 128
num_landmarks = 28
width = 32
edges = ((23, 4), (24, 23), (25, 24), (27, 25), (18, 4), (19, 18), (20, 19), (22, 20), (5, 4),
         (7, 5), (9, 5), (10, 9), (11, 10), (14, 5), (15, 14), (16, 15))

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
    prior=dict(type="datasets/poses", source="data/3dhp/poses.json", fit="box"),
    workers=8,
)
train = dict(
    iterations=580_000, batch_size=16, lr=2e-4, betas=(0.5, 0.999), clip=1.0, checkpoint_every=5000,
)
