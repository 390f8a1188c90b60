"""IMM on BBC Pose; the architecture and losses as published, the data as for the factorized model.

Paper: Jakab, Gupta et al., Unsupervised Learning of Object Landmarks through Conditional Image
Generation, NeurIPS 2018; the factorized paper, table 1, prints 68.4 % of the points within 6 px.
Data: BBC Pose in data/bbc_pose, as described in components/datasets/bbc_pose.py.
The loss needs Larsson et al.'s VGG16, trained on colourisation, see imm_celeba.py. Frames are not
warped and every pixel counts.
The release has no loader for video: pairs, crop and the number of landmarks are chosen here.
Hardware: one GPU. The authors ran it until stopped; 500 000 iterations are our choice.
Text differs: as listed in imm_celeba.py, but MAFL.
"""

# fmt: off
image_size = 128
num_landmarks = 30
width = 32

model = dict(
    type="pipelines/reconstruction",
    encoder=dict(type="encoders/imm", num_landmarks=num_landmarks, width=width),
    bottleneck=dict(type="bottlenecks/separable", grid="corners"),
    rasterizer=dict(
        type="rasterizers/gaussian", image_size=image_size, stride=8, kernel="exponential",
        variance=0.01, grid="corners"),
    appearance_encoder=dict(type="encoders/imm", width=width),
    decoder=dict(
        type="decoders/imm", num_landmarks=num_landmarks, appearance_channels=8 * width,
        width=width),
)
losses = dict(
    perceptual=dict(
        type="losses/perceptual", weights="data/vgg16_colorization.safetensors", backbone="vgg16",
        taps=("input", "conv1_2", "conv2_2", "conv3_2", "conv4_2", "conv5_2"), relu=True,
        running_start=(100.0, 1.6, 2.3, 1.8, 2.8, 100.0), input_range="grey", weight=6000.0),
)
data = dict(
    train=dict(type="datasets/bbc_pose", root="data/bbc_pose", image_size=image_size),
    fit=dict(type="datasets/bbc_pose", root="data/bbc_pose", image_size=image_size, crop="square",
             pair_range=None),
    test=dict(type="datasets/bbc_pose", root="data/bbc_pose", image_size=image_size, crop="square",
              split="test"),
    workers=8,
)
train = dict(
    iterations=500_000, batch_size=50, lr=1e-3, weight_decay=1e-5, clip=1.0, clip_each=True,
    lr_factors=((100_000, 1.0), (100_000, 0.95), (200_000, 0.95), (200_000, 0.9025),
                (300_000, 0.9025), (300_000, 0.857375), (400_000, 0.857375), (400_000, 0.81450625)),
    checkpoint_every=2000,
)
evaluate = dict(
    metrics=dict(
        accuracy=dict(type="metrics/regression", radius_px=6, accuracy_scale=0.5, origin="corner"),
        accuracy_frame=dict(type="metrics/regression", radius_px=6, origin="corner")),
    crop="gt",
)
