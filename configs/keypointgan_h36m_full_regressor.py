"""Pre-training of the skeleton regressor on the poses of Human3.6M, 17 joints.

Paper: Jakab et al., Self-supervised Learning of Interpretable Keypoints from Unlabelled Videos,
CVPR 2020, supplement F.2. It reports no error for this stage. The limbs drawn for 17 joints are not
published: these are the limbs of its Simplified Human3.6M between the 17 joints.
Data: data/h36m_full/prior.json (COCO), the 17 joints pelvis, right and left hip, knee, ankle,
spine, neck, head, head top, left and right shoulder, elbow, wrist of the second halves of the
training videos, in pixels of the box crops that keypointgan_h36m_full.py describes.
Hardware: one small GPU; the paper states no hours.
Text differs: as listed in keypointgan_h36m_regressor.py.
"""

# fmt: off
image_size = 128
num_landmarks = 17
width = 32
edges = ((1, 0), (2, 1), (3, 2), (4, 0), (5, 4), (6, 5), (8, 0), (10, 8), (11, 8), (12, 11),
         (13, 12), (14, 8), (15, 14), (16, 15))

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
    prior=dict(type="datasets/poses", source="data/h36m_full/prior.json"),
    workers=8,
)
train = dict(
    iterations=580_000, batch_size=16, lr=2e-4, betas=(0.5, 0.999), clip=1.0, checkpoint_every=5000,
)
