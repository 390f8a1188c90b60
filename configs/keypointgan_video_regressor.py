"""Pre-training of the skeleton regressor for keypointgan_video (KeypointGAN, supplement F.2).

Expects poses in data/video/poses.json, as keypointgan_video.py says. A minute on 2 CPU cores.
"""

# fmt: off
image_size = 64
num_landmarks = 4
regressor_width = 8
edges = ((0, 1), (0, 2), (1, 3), (2, 3))

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
    prior=dict(type="datasets/poses", source="data/video/poses.json", format="coco"),
)
train = dict(
    iterations=800, batch_size=32, lr=2e-3, lr_factors=((400, 1.0), (800, 0.05)), clip=1.0,
    amp=True, checkpoint_every=200,
)
