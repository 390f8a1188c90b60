"""Pre-training of the face regressor for keypointgan_faces (KeypointGAN, supplement F.2).

Expects data/faces/prior_landmarks.csv (id, x0, y0 ... y67 in 128-pixel crops). A minute on 2 cores.
"""

# fmt: off
image_size = 64
num_landmarks = 68
regressor_width = 8
edges = ((0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 6), (6, 7), (7, 8), (8, 9), (9, 10), (10, 11),
         (11, 12), (12, 13), (13, 14), (14, 15), (15, 16), (17, 18), (18, 19), (19, 20), (20, 21),
         (22, 23), (23, 24), (24, 25), (25, 26), (27, 28), (28, 29), (29, 30), (30, 33), (31, 32),
         (32, 33), (33, 34), (34, 35), (36, 37), (37, 38), (38, 39), (39, 40), (40, 41), (41, 36),
         (42, 43), (43, 44), (44, 45), (45, 46), (46, 47), (47, 42), (48, 49), (49, 50), (50, 51),
         (51, 52), (52, 53), (53, 54), (54, 55), (55, 56), (56, 57), (57, 58), (58, 59), (59, 48),
         (60, 61), (61, 62), (62, 63), (63, 64), (64, 65), (65, 66), (66, 67), (67, 60))

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
    prior=dict(
        type="datasets/poses", source="data/faces/prior_landmarks.csv", format="csv",
        size=(128, 128)),
)
train = dict(
    iterations=800, batch_size=32, lr=2e-3, lr_factors=((400, 1.0), (800, 0.05)), clip=1.0,
    amp=True, checkpoint_every=200,
)
