"""KeypointGAN on Cat Head.

Paper: Jakab et al., Self-supervised Learning of Interpretable Keypoints from Unlabelled Videos,
CVPR 2020, section 5.3 and figure 8: qualitative only, no numbers.
Data: aligned crops of Zhang et al. in data/cathead/train/*.jpg (half of their training images) and
data/cathead/test/*.jpg with test.csv; prior.csv of the other half, columns and lines as in
keypointgan_cathead_regressor.py. Pairs are two warps of one image.
Hardware: one GPU; hours and iterations are not published; 100 000 is our choice.
Text differs: as listed in keypointgan_h36m.py.
"""

# fmt: off
image_size = 128
num_landmarks = 7
width = 32
critic_width = 64
edges = ((0, 1), (0, 2), (1, 2), (0, 3), (3, 4), (4, 5), (5, 6), (6, 1))

model = dict(
    type="pipelines/reconstruction",
    encoder=dict(type="encoders/image_to_skeleton", width=width),
    bottleneck=dict(
        type="bottlenecks/skeleton_regressor", grid="corners",
        encoder=dict(type="encoders/stem", takes="pose_image", width=width, norm="instance",
                     out_channels=num_landmarks)),
    bottleneck_apart=True,
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
    train=dict(type="datasets/frames", root="data/cathead/train", image_size=image_size,
               pair="same"),
    prior=dict(type="datasets/poses", format="csv", source="data/cathead/prior.csv",
               select=(0, 1, 2, 3, 5, 6, 8)),
    test=dict(type="datasets/frames", root="data/cathead/test", image_size=image_size,
              pair="same", annotations="data/cathead/test.csv"),
    transforms=(dict(
        type="transforms/tps_pair",
        source_warp=dict(type="warps/tps_gaussian", warp_sd=(0.0005, 0.005)),
        driving_warp=dict(type="warps/tps_gaussian", warp_sd=(0.0, 0.0))),),
    workers=8,
)
train = dict(
    iterations=100_000, batch_size=16, lr=2e-4, betas=(0.5, 0.999), clip=1.0, checkpoint_every=5000,
    init=dict(bottleneck="keypointgan_cathead_regressor"),
)
evaluate = dict(
    metrics=dict(
        direct=dict(type="metrics/keypoint_error", normaliser="eyes", eyes=(0, 1),
                    keypoints=(0, 1, 2, 3, 5, 6, 8))),
    crop="gt",
)
