"""KeypointGAN, small, on your own videos of a person, with a prior of other people's poses.

Paper: Jakab et al., CVPR 2020 (keypointgan_pennaction.py has the published size). Expects videos or
folders of frames in data/people/train; annotated ones in data/people/test with data/people/test.csv
(only for the score; the 15 points of this config in this order); Penn Action's label files in
data/penn_action/labels. In its front views, left means the left of the image; the same holds here.
Landmarks: head, left and right shoulder, elbow, wrist, hip, knee, ankle, then neck and pelvis. Ten
minutes on 2 CPU cores.
"""

# fmt: off
image_size = 64
num_landmarks = 15
width = 16
regressor_width = 8
critic_width = 32
edges = ((13, 0), (13, 1), (1, 3), (3, 5), (13, 2), (2, 4), (4, 6), (13, 14), (14, 7), (7, 9),
         (9, 11), (14, 8), (8, 10), (10, 12))
flip_pairs = ((1, 2), (3, 4), (5, 6), (7, 8), (9, 10), (11, 12))

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
    # the same warp for both frames avoids memorising a few clips
    transforms=[dict(
        type="transforms/tps_pair",
        driving_warp=dict(type="warps/tps_gaussian", rotation_sd=8.0, scale_sd=0.08,
                               translation_sd=0.06, warp_sd=(0.0, 0.001)))],
    train=dict(type="datasets/frames", root="data/people/train", image_size=image_size, fit="crop"),
    prior=dict(
        type="datasets/poses", source="data/penn_action/labels", format="penn_action",
        midpoints=(("neck", 1, 2), ("pelvis", 7, 8)), fit="box", torso=("neck", "pelvis"),
        box_height=(0.22, 0.32), center=(0.0, -0.1), box_shift=0.15, views=("front",),
        actions=("jumping_jacks", "jump_rope", "tennis_serve", "baseball_pitch", "squat", "bowl")),
    test=dict(type="datasets/frames", root="data/people/test", image_size=image_size, fit="crop",
              annotations="data/people/test.csv", labelled_only=True),
    optional=("test",),
)
train = dict(
    iterations=2000, batch_size=8, lr=3e-4, betas=(0.5, 0.999), clip=1.0, amp=True, ema=0.99,
    lr_factors=((1400, 1.0), (2000, 0.02)), init=dict(bottleneck="keypointgan_people_regressor"),
    panels_every=500, checkpoint_every=250,
)
evaluate = dict(metrics=dict(direct=dict(type="metrics/keypoint_error", flip_pairs=flip_pairs)))
