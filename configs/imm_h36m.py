"""IMM on Human3.6M; the architecture and losses as published, the data as for KeypointGAN.

Paper: Jakab, Gupta et al., Unsupervised Learning of Object Landmarks through Conditional Image
Generation, NeurIPS 2018; KeypointGAN, table 2, prints 19.12 px over 17 of the 32 joints.
Data: frames and annotations in data/h36m_full as for keypointgan_h36m_full.py, and the joints of
the training frames, for the regressor, in data/h36m_full/train.json.
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
    train=dict(type="datasets/frames", root="data/h36m_full/train", image_size=image_size,
               pair_range=(0, 1000)),
    fit=dict(type="datasets/frames", root="data/h36m_full/train", image_size=image_size,
             pair="same", annotations="data/h36m_full/train.json", labelled_only=True),
    test=dict(type="datasets/frames", root="data/h36m_full/test", image_size=image_size,
              pair="same", annotations="data/h36m_full/test.json", labelled_only=True),
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
        regression=dict(
            type="metrics/regression", normaliser="pixels", origin="corner",
            activities=(
                "waiting_", "posing_", "greeting_", "directions_", "discussion_", "walking_",
                "eating_", "phoning_", "purchases_", "sitting_", "sittingdown_", "smoking_",
                "takingphoto_", "walkingdog_", "walktogether_"))),
    fit_items=20_000, crop="gt",
)
