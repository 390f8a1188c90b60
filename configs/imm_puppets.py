"""IMM, small, on generated puppets; no download.

Paper: Jakab, Gupta et al., Unsupervised Learning of Object Landmarks through Conditional Image
Generation, NeurIPS 2018. It has no results on puppets. Less than ten minutes on 2 CPU cores;
imm_celeba.py has the published size.
"""

# fmt: off
image_size = 64
num_landmarks = 16
width = 16

model = dict(
    type="pipelines/reconstruction",
    encoder=dict(type="encoders/imm", num_landmarks=num_landmarks, width=width),
    bottleneck=dict(type="bottlenecks/separable"),
    rasterizer=dict(
        type="rasterizers/gaussian", image_size=image_size, stride=8, kernel="exponential",
        variance=0.04),
    appearance_encoder=dict(type="encoders/imm", width=width),
    decoder=dict(
        type="decoders/imm", num_landmarks=num_landmarks, appearance_channels=8 * width,
        width=width, white=1.0),
)
losses = dict(
    perceptual=dict(
        type="losses/perceptual", weights="random", backbone="vgg16", width=16, relu=True,
        taps=("input", "conv1_2", "conv2_2", "conv3_2"), input_range="grey", weight=4000.0),
)
data = dict(
    train=dict(type="datasets/puppets", split="train", image_size=image_size),
    fit=dict(type="datasets/puppets", split="train", seed=1, clips=64, image_size=image_size),
    val=dict(type="datasets/puppets", split="test", seed=1, clips=8, image_size=image_size),
    test=dict(type="datasets/puppets", split="test", clips=64, image_size=image_size),
)
train = dict(
    iterations=2000, batch_size=8, lr=1e-3, clip=1.0, clip_each=True, amp=True, panels_every=250,
    lr_factors=((1400, 1.0), (2000, 0.02)),
)
evaluate = dict(
    metrics=dict(regression=dict(type="metrics/regression", origin="corner")),
    max_items=640, fit_items=640,
)
