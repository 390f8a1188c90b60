"""IMM on CelebA with 10 landmarks, as published.

Paper: Jakab, Gupta et al., Unsupervised Learning of Object Landmarks through Conditional Image
Generation, NeurIPS 2018: 3.19 % of the eye distance on MAFL, as the factorized paper's first
version prints it; recalled, not checked against a copy: 2.58 % with `--cfg-options
num_landmarks=30`, 2.54 % with 50.
Data: aligned CelebA and MAFL in data/celeba, as described in components/datasets/celeba.py.
The loss needs Larsson et al.'s VGG16, trained on colourisation: the release's vgg16.caffemodel.h5
with its batch norms folded into the kernels, saved under torchvision's names (features.0.weight is
(64, 1, 3, 3)). With torchvision's VGG16 instead (3.32 %; 2.63, 2.59; recalled):
losses.perceptual.weights=torchvision losses.perceptual.input_range=imagenet.
As in the official code except: decay is added after clipping and to all tensors; borders are
repeated where a warp leaves the image (black there). The authors ran it until stopped; 500 000 is
our choice.
Hardware: one GPU.
Text differs: (recalled, no copy at hand) eq 3 has a softmax over the whole map (here one per axis),
eq 4 a factor 2 with sigma^2 (none); scores are of a MATLAB pipeline, fitted on all of MAFL's
training set (nine tenths).
"""

# fmt: off
image_size = 128
num_landmarks = 10
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
    train=dict(type="datasets/celeba", root="data/celeba", image_size=image_size),
    fit=dict(type="datasets/celeba", root="data/celeba", image_size=image_size, split="mafl_train"),
    test=dict(type="datasets/celeba", root="data/celeba", image_size=image_size,
              split="mafl_test"),
    transforms=[
        dict(type="transforms/edge_weight"),
        dict(type="transforms/tps_pair", chained=True,
             driving_warp=dict(
                 type="warps/tps_gaussian", rotation_sd=0.0, scale_sd=0.0, translation_sd=0.1,
                 warp_sd=(0.001, 0.005), canvas=1.0),
             source_warp=dict(
                 type="warps/tps_gaussian", rotation_sd=5.0, scale_sd=0.1, translation_sd=0.1,
                 warp_sd=(0.001, 0.01), canvas=1.0))],
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
        mafl=dict(type="metrics/regression", normaliser="eyes", origin="corner", eyes=(0, 1))),
    crop="gt",
)
