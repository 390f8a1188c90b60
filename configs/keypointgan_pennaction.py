"""KeypointGAN on Penn Action.

Paper: Jakab et al., Self-supervised Learning of Interpretable Keypoints from Unlabelled Videos,
CVPR 2020, figure 5: qualitative only, so there is nothing to evaluate here.
Data: data/pennaction/train/NNNN/FFFFFF.jpg, square crops of the boxes from one half of the videos
of each action; the labels of the other half as in keypointgan_pennaction_regressor.py.
Hardware: one GPU; hours and iterations are not published; 200 000 is our choice.
Text differs: as listed in keypointgan_h36m.py.
"""

# fmt: off
image_size = 128
num_landmarks = 14
width = 32
critic_width = 64
edges = ((0, 13), (1, 13), (3, 1), (5, 3), (2, 13), (4, 2), (6, 4), (7, 13), (9, 7), (11, 9),
         (8, 13), (10, 8), (12, 10))
flip_pairs = ((1, 2), (3, 4), (5, 6), (7, 8), (9, 10), (11, 12))

model = dict(
    type="pipelines/reconstruction",
    encoder=dict(type="encoders/image_to_skeleton", width=width),
    bottleneck=dict(
        type="bottlenecks/skeleton_regressor", grid="corners",
        encoder=dict(type="encoders/stem", takes="pose_image", width=width, norm="instance",
                     out_channels=num_landmarks)),
    bottleneck_apart=True,
    reference_bottleneck=dict(
        type="bottlenecks/skeleton_regressor", grid="corners",
        encoder=dict(type="encoders/stem", takes="pose_image", width=width, norm="instance",
                     out_channels=num_landmarks)),
    flip_pairs=flip_pairs,
    rasterizer=dict(
        type="rasterizers/skeleton", edges=edges, image_size=image_size, sigma=0.2, squared=False,
        grid="corners"),
    appearance_encoder=dict(type="encoders/stem", width=width, out_channels=8 * width),
    decoder=dict(
        type="decoders/conditional", width=width, appearance_channels=8 * width,
        pose_encoder=dict(type="encoders/stem", takes="pose_image", width=width,
                          out_channels=8 * width)),
    prior=dict(
        type="priors/unpaired_poses", image_size=image_size, history=50,
        critic=dict(type="critics/multiscale_patch", width=critic_width, scales=3)),
)
losses = dict(
    perceptual=dict(
        type="losses/perceptual", weights="torchvision", relu=False, weight=10.0,
        taps=("input", "conv1_2", "conv2_2", "conv3_2", "conv4_2", "conv5_2")),
    adversarial=dict(type="losses/adversarial", weight=10.0),
    critic=dict(type="losses/critic"),
    redraw=dict(type="losses/redraw", weight=0.1),
    points=dict(type="losses/prior_points", weight=0.9),
)
data = dict(
    train=dict(type="datasets/frames", root="data/pennaction/train", image_size=image_size,
               pair_range=(0, 1000)),
    prior=dict(type="datasets/poses", source="data/pennaction/prior", format="penn_action",
               midpoints=(("neck", "left_shoulder", "right_shoulder"),), fit="box"),
    workers=8,
)
train = dict(
    iterations=200_000, batch_size=16, lr=2e-4, betas=(0.5, 0.999), clip=1.0, checkpoint_every=5000,
    init=dict(bottleneck="keypointgan_pennaction_regressor",
              reference_bottleneck="keypointgan_pennaction_regressor:bottleneck"),
)
