"""KeypointGAN on Human3.6M with Human3.6M poses as prior.

Paper: Jakab et al., Self-supervised Learning of Interpretable Keypoints from Unlabelled Videos,
CVPR 2020, table 2: 14.46 px over 17 joints, the mean of 15 activities (`macro` here, see table 6).
Its pixels are of the original crops, ours of the 128 px image: scale before comparing.
Data: square crops of the subject boxes, data/h36m_full/train/S1/Sitting_1.54138969/000001.jpg from
the first halves of the videos of S1, 5, 6, 7, 8; data/h36m_full/test likewise from S9 and S11 with
test.json (COCO, every 60th frame), actions named as below; prior.json as in
keypointgan_h36m_full_regressor.py.
Hardware: one GPU; hours and iterations are not published; 400 000 is our choice.
Text differs: as listed in keypointgan_h36m.py; 32 joints found, 17 scored (here 17 found); pairs
before or after.
"""

# fmt: off
image_size = 128
num_landmarks = 17
width = 32
critic_width = 64
edges = ((1, 0), (2, 1), (3, 2), (4, 0), (5, 4), (6, 5), (8, 0), (10, 8), (11, 8), (12, 11),
         (13, 12), (14, 8), (15, 14), (16, 15))
flip_pairs = ((4, 1), (5, 2), (6, 3), (11, 14), (12, 15), (13, 16))

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
    train=dict(type="datasets/frames", root="data/h36m_full/train", image_size=image_size,
               pair_range=(0, 1000)),
    prior=dict(type="datasets/poses", source="data/h36m_full/prior.json"),
    test=dict(type="datasets/frames", root="data/h36m_full/test", image_size=image_size,
              pair="same", annotations="data/h36m_full/test.json", labelled_only=True),
    workers=8,
)
train = dict(
    iterations=400_000, batch_size=16, lr=2e-4, betas=(0.5, 0.999), clip=1.0, checkpoint_every=5000,
    init=dict(bottleneck="keypointgan_h36m_full_regressor",
              reference_bottleneck="keypointgan_h36m_full_regressor:bottleneck"),
)
evaluate = dict(
    metrics=dict(
        direct=dict(
            type="metrics/keypoint_error", normaliser="pixels", flip_pairs=flip_pairs,
            activities=(
                "waiting_", "posing_", "greeting_", "directions_", "discussion_", "walking_",
                "eating_", "phoning_", "purchases_", "sitting_", "sittingdown_", "smoking_",
                "takingphoto_", "walkingdog_", "walktogether_"))),
    crop="gt",
)
