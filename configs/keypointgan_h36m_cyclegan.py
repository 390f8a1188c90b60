"""CycleGAN on Simplified Human3.6M: first row of KeypointGAN's ablation.

Paper: Jakab et al., Self-supervised Learning of Interpretable Keypoints from Unlabelled Videos,
CVPR 2020, table 4: 3.54 % of the image side (`macro` here). No source image and no keypoint
bottleneck, but a second cycle and an image critic.
Data: human_images.tar.gz of github.com/YutingZhang/lmdis-rep, unpacked to data/human_images.
Chosen here, not published: the regressor learns as in keypointgan_h36m.py and only reads the
points, a perceptual first cycle, weights of 10, a pool of 50 for D_X too, 400 000 steps. 1 GPU.
Text differs: as listed in keypointgan_h36m.py.
"""

# fmt: off
image_size = 128
num_landmarks = 32
width = 32
critic_width = 64
image_critic_width = 16
edges = ((1, 11), (2, 1), (3, 2), (5, 3), (6, 11), (7, 6), (8, 7), (10, 8), (13, 11), (15, 13),
         (17, 13), (18, 17), (19, 18), (25, 13), (26, 25), (27, 26))
flip_pairs = ((6, 1), (7, 2), (8, 3), (9, 4), (10, 5), (16, 24), (17, 25), (18, 26), (19, 27),
              (20, 28), (21, 29), (22, 30), (23, 31))

model = dict(
    type="pipelines/reconstruction",
    encoder=dict(type="encoders/image_to_skeleton", width=width),
    bottleneck=dict(
        type="bottlenecks/skeleton_regressor", grid="corners",
        encoder=dict(type="encoders/stem", takes="pose_image", width=width, norm="instance",
                     out_channels=num_landmarks)),
    bottleneck_apart=True, through_bottleneck=False,
    reference_bottleneck=dict(
        type="bottlenecks/skeleton_regressor", grid="corners",
        encoder=dict(type="encoders/stem", takes="pose_image", width=width, norm="instance",
                     out_channels=num_landmarks)),
    flip_pairs=flip_pairs,
    rasterizer=dict(
        type="rasterizers/skeleton", edges=edges, image_size=image_size, sigma=0.2, squared=False,
        grid="corners"),
    decoder=dict(
        type="decoders/conditional", width=width, appearance_channels=0,
        pose_encoder=dict(type="encoders/stem", takes="pose_image", width=width,
                          out_channels=8 * width)),
    prior=dict(
        type="priors/unpaired_poses", image_size=image_size, history=50,
        critic=dict(type="critics/multiscale_patch", width=critic_width, scales=3)),
    prior_image_history=50, prior_image_side=image_size, prior_image_critic=dict(
        type="critics/conditional_image", width=image_critic_width, image_size=image_size,
        conditional=False),
    prior_cycle=True,
)
losses = dict(
    perceptual=dict(
        type="losses/perceptual", weights="torchvision", relu=False, weight=10.0,
        taps=("input", "conv1_2", "conv2_2", "conv3_2", "conv4_2", "conv5_2")),
    adversarial=dict(type="losses/adversarial", weight=10.0),
    critic=dict(type="losses/critic"),
    image_adversarial=dict(type="losses/adversarial", scores="image_critic", weight=10.0),
    image_critic=dict(type="losses/critic", scores="image_critic"),
    cycle=dict(type="losses/prior_cycle", weight=10.0),
    redraw=dict(type="losses/redraw", weight=0.1),
    points=dict(type="losses/prior_points", weight=0.9),
)
data = dict(
    train=dict(type="datasets/simple_h36m", root="data/human_images", image_size=image_size),
    prior=dict(type="datasets/simple_h36m", root="data/human_images", role="prior"),
    test=dict(type="datasets/simple_h36m", root="data/human_images", image_size=image_size,
              split="test"),
    workers=8,
)
train = dict(
    iterations=400_000, batch_size=16, lr=2e-4, betas=(0.5, 0.999), clip=1.0, checkpoint_every=5000,
    init=dict(bottleneck="keypointgan_h36m_regressor",
              reference_bottleneck="keypointgan_h36m_regressor:bottleneck"),
)
evaluate = dict(
    metrics=dict(direct=dict(
        type="metrics/keypoint_error", flip_pairs=flip_pairs,
        activities=("waiting", "posing", "greeting", "directions", "discussion", "walking"))),
    crop="gt",
)
