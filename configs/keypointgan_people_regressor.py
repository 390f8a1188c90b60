"""Pre-training of the skeleton regressor for keypointgan_people (KeypointGAN, supplement F.2).

Expects Penn Action's label files in data/penn_action/labels. A minute on 2 CPU cores.
"""

# fmt: off
image_size = 64
num_landmarks = 15
regressor_width = 8
edges = ((13, 0), (13, 1), (1, 3), (3, 5), (13, 2), (2, 4), (4, 6), (13, 14), (14, 7), (7, 9),
         (9, 11), (14, 8), (8, 10), (10, 12))

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
        type="datasets/poses", source="data/penn_action/labels", format="penn_action",
        midpoints=(("neck", 1, 2), ("pelvis", 7, 8)), fit="box", torso=("neck", "pelvis"),
        box_height=(0.22, 0.32), center=(0.0, -0.1), box_shift=0.15, views=("front",),
        actions=("jumping_jacks", "jump_rope", "tennis_serve", "baseball_pitch", "squat", "bowl")),
)
train = dict(
    iterations=800, batch_size=32, lr=2e-3, lr_factors=((400, 1.0), (800, 0.05)), clip=1.0,
    amp=True, checkpoint_every=200,
)
