"""Pre-training of the skeleton regressor on the 7 points of Cat Head.

Paper: Jakab et al., Self-supervised Learning of Interpretable Keypoints from Unlabelled Videos,
CVPR 2020, supplement F.2. It reports no error for this stage, and does not publish the lines it
draws: here a triangle of eyes and mouth, and an arc over both ears.
Data: data/cathead/prior.csv (file, width, height, then _x and _y of left_eye, right_eye, mouth,
left_ear_1 .. left_ear_3, right_ear_1 .. right_ear_3) of one half of the training images of Zhang et
al., in pixels of their aligned crops; the two ear tips are left out, as in their work.
Hardware: one small GPU; the paper states no hours.
Text differs: as listed in keypointgan_h36m_regressor.py.
"""

# fmt: off
image_size = 128
num_landmarks = 7
width = 32
edges = ((0, 1), (0, 2), (1, 2), (0, 3), (3, 4), (4, 5), (5, 6), (6, 1))

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
    prior=dict(type="datasets/poses", format="csv", source="data/cathead/prior.csv",
               select=(0, 1, 2, 3, 5, 6, 8)),
    workers=8,
)
train = dict(
    iterations=580_000, batch_size=16, lr=2e-4, betas=(0.5, 0.999), clip=1.0, checkpoint_every=5000,
)
