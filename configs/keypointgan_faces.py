"""KeypointGAN, small, on your own face images with a 68-point prior of other people.

Paper: Jakab et al., CVPR 2020 (keypointgan_voxceleb2.py has the published size). Expects
data/faces/images; data/faces/landmarks.csv (file, identity, video, x0, y0 ... y67), which groups
the images and scores the result (its points are never used in training); and
data/faces/prior_landmarks.csv (id, x0 ... y67 in 128-pixel crops). Persons S-Z are held out. Ten
minutes on 2 CPU cores.
"""

# fmt: off
image_size = 64
num_landmarks = 68
width = 16
regressor_width = 8
critic_width = 32
edges = ((0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 6), (6, 7), (7, 8), (8, 9), (9, 10), (10, 11),
         (11, 12), (12, 13), (13, 14), (14, 15), (15, 16), (17, 18), (18, 19), (19, 20), (20, 21),
         (22, 23), (23, 24), (24, 25), (25, 26), (27, 28), (28, 29), (29, 30), (30, 33), (31, 32),
         (32, 33), (33, 34), (34, 35), (36, 37), (37, 38), (38, 39), (39, 40), (40, 41), (41, 36),
         (42, 43), (43, 44), (44, 45), (45, 46), (46, 47), (47, 42), (48, 49), (49, 50), (50, 51),
         (51, 52), (52, 53), (53, 54), (54, 55), (55, 56), (56, 57), (57, 58), (58, 59), (59, 48),
         (60, 61), (61, 62), (62, 63), (63, 64), (64, 65), (65, 66), (66, 67), (67, 60))

model = dict(
    type="pipelines/reconstruction",
    encoder=dict(type="encoders/image_to_skeleton", width=width),
    bottleneck=dict(
        type="bottlenecks/skeleton_regressor",
        encoder=dict(type="encoders/stem", takes="pose_image", width=regressor_width,
                     norm="instance", out_channels=num_landmarks)),
    bottleneck_apart=True,
    rasterizer=dict(type="rasterizers/skeleton", edges=edges, image_size=image_size),
    appearance_encoder=dict(type="encoders/stem", width=width, out_channels=8 * width),
    decoder=dict(
        type="decoders/conditional", width=width, appearance_channels=8 * width,
        pose_encoder=dict(type="encoders/stem", takes="pose_image", width=width,
                          out_channels=8 * width)),
    prior=dict(
        type="priors/unpaired_poses", image_size=image_size,
        critic=dict(type="critics/multiscale_patch", width=critic_width, scales=2)),
)
losses = dict(
    perceptual=dict(
        type="losses/perceptual", weights="random", width=16, weight=10.0,
        taps=("input", "conv1_2", "conv2_2", "conv3_2")),
    adversarial=dict(type="losses/adversarial", weight=10.0),
    critic=dict(type="losses/critic"),
    redraw=dict(type="losses/redraw", weight=0.1),
    points=dict(type="losses/prior_points", weight=0.9),
)
data = dict(
    train=dict(type="datasets/frames", root="data/faces/images", image_size=image_size,
               annotations="data/faces/landmarks.csv", clip_columns=("identity", "video"),
               exclude=("[S-Z]*",)),
    prior=dict(
        type="datasets/poses", source="data/faces/prior_landmarks.csv", format="csv",
        size=(128, 128)),
    test=dict(type="datasets/frames", root="data/faces/images", image_size=image_size,
              annotations="data/faces/landmarks.csv", clip_columns=("identity", "video"),
              include=("[S-Z]*",)),
)
train = dict(
    iterations=2000, batch_size=8, lr=3e-4, betas=(0.5, 0.999), clip=1.0, amp=True, ema=0.99,
    lr_factors=((1400, 1.0), (2000, 0.02)), init=dict(bottleneck="keypointgan_faces_regressor"),
    panels_every=500, checkpoint_every=250,
)
evaluate = dict(
    metrics=dict(
        image=dict(type="metrics/keypoint_error"),
        eyes=dict(type="metrics/keypoint_error", normaliser="eyes", eyes=(36, 45))),
    crop="gt",
)
