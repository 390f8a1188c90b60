"""Pre-training of the skeleton regressor for keypointgan_puppets (KeypointGAN, supplement F.2).

Needs no data. About one minute on 2 CPU cores; keypointgan_puppets.py runs it by itself.
"""

# fmt: off
image_size = 64
num_landmarks = 15
regressor_width = 8
edges = ((0, 1), (1, 2), (1, 3), (3, 5), (5, 7), (1, 4), (4, 6), (6, 8), (0, 9), (9, 11), (11, 13),
         (0, 10), (10, 12), (12, 14))

model = dict(
    type="pipelines/pose_autoencoder",
    rasterizer=dict(type="rasterizers/skeleton", edges=edges, image_size=image_size),
    bottleneck=dict(
        type="bottlenecks/skeleton_regressor",
        encoder=dict(type="encoders/stem", takes="pose_image", width=regressor_width,
                     norm="instance", out_channels=num_landmarks)),
)
losses = dict(points=dict(type="losses/prior_points"))
data = dict(
    prior=dict(type="datasets/puppets", split="prior", image_size=image_size),
)
train = dict(
    iterations=800, batch_size=32, lr=2e-3, lr_factors=((400, 1.0), (800, 0.05)), clip=1.0,
    amp=True, checkpoint_every=200,
)
