"""A combination of two papers that neither has, small, on generated puppets: no download.

KeypointGAN's unpaired pose prior and skeleton bottleneck (Jakab et al., CVPR 2020) with the
background net and the mask compositor of the factorized model (Dundar, Shih et al., ECCV 2020): the
drawn skeleton determines the mask, and the background comes from the source. It needs no new code,
only one more part than keypointgan_puppets.py, its comparison. About twelve minutes on 2 CPU cores.
"""

# fmt: off
image_size = 64
num_landmarks = 15
width = 16
regressor_width = 8
critic_width = 32
edges = ((0, 1), (1, 2), (1, 3), (3, 5), (5, 7), (1, 4), (4, 6), (6, 8), (0, 9), (9, 11), (11, 13),
         (0, 10), (10, 12), (12, 14))
flip_pairs = ((3, 4), (5, 6), (7, 8), (9, 10), (11, 12), (13, 14))

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
    compositor=dict(
        type="compositors/mask_blend", num_landmarks=1, first=8, mask_widths=(32, 16, 16),
        background_widths=(32, 32, 16), mask_bias=-1.0, residual=True),
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
    train=dict(type="datasets/puppets", split="train", pair_range=(8, 31), image_size=image_size),
    prior=dict(type="datasets/puppets", split="prior", image_size=image_size),
    val=dict(type="datasets/puppets", split="test", seed=1, clips=8, image_size=image_size),
    test=dict(type="datasets/puppets", split="test", clips=64, image_size=image_size),
)
train = dict(
    iterations=1600, batch_size=8, lr=3e-4, betas=(0.5, 0.999), clip=1.0, amp=True, ema=0.99,
    lr_factors=((1080, 1.0), (1600, 0.02)), init=dict(bottleneck="keypointgan_puppets_regressor"),
    panels_every=300, checkpoint_every=250, evaluate_every=300
)
evaluate = dict(
    metrics=dict(direct=dict(type="metrics/keypoint_error", flip_pairs=flip_pairs)), max_items=640,
)
