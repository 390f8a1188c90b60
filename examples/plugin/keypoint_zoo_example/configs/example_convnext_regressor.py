"""A ConvNeXt encoder reads 15 joints from a drawn skeleton; needs no data.

About one minute on one CPU core. It is the pre-training of keypointgan_puppets_regressor.py of
keypoint-zoo (Jakab et al., CVPR 2020, supplement F.2) at half the size, with another encoder.
"""

# fmt: off
image_size = 32
num_landmarks = 15
edges = ((0, 1), (1, 2), (1, 3), (3, 5), (5, 7), (1, 4), (4, 6), (6, 8), (0, 9), (9, 11), (11, 13),
         (0, 10), (10, 12), (12, 14))

model = dict(
    type="pipelines/pose_autoencoder",
    rasterizer=dict(type="rasterizers/skeleton", edges=edges, image_size=image_size),
    bottleneck=dict(
        type="bottlenecks/skeleton_regressor",
        encoder=dict(type="encoders/example/convnext", takes="pose_image", width=24,
                     out_channels=num_landmarks)),
)
losses = dict(points=dict(type="losses/prior_points"))
data = dict(
    prior=dict(type="datasets/puppets", split="prior", image_size=image_size),
)
train = dict(
    iterations=600, batch_size=16, lr=3e-3, lr_factors=((400, 1.0), (600, 0.02)), clip=1.0,
)
