"""Lorenz et al. on Simplified Human3.6M.

Paper: Lorenz et al., Unsupervised Part-Based Disentangling of Object Shape and Appearance, CVPR
2019: 2.79 % of the image side over 32 joints, as quoted by the papers that compare with it.
Data: human_images.tar.gz of github.com/YutingZhang/lmdis-rep, unpacked to data/human_images, black
where the background was; pairs are adjacent frames.
No golden numbers: the official repository does not parse, has no evaluation code, and has
hyper-parameters only for cropped people without background. Part maps and appearance are shaped by
covariances, as in the paper; the code's default is circles:
model.bottleneck.covariance=fixed model.bottleneck.variance=0.01 model.rasterizer.scale=1.
The optional critic of patches is left out.
Each item is two images and one more view of the first.
Hardware: one GPU; hours and iterations are not published; 300 000 is our choice. The batch size is
the code's default; its README says 16.
Text differs: not compared line by line, no copy at hand; the known difference, appearance shaped by
covariances (circles in the code), is as the text here.
"""

# fmt: off
image_size = 128
num_landmarks = 16
width = 256

model = dict(
    type="pipelines/reconstruction",
    encoder=dict(type="encoders/residual_hourglass", num_landmarks=num_landmarks, stride=2,
                 width=width),
    bottleneck=dict(type="bottlenecks/gaussian", covariance="fitted"),
    rasterizer=dict(type="rasterizers/gaussian", image_size=image_size, scale=1 / 0.64),
    appearance_encoder=dict(
        type="encoders/hourglass_appearance", num_landmarks=num_landmarks, features=width,
        out_channels=64),
    decoder=dict(
        type="decoders/multiscale_parts", num_landmarks=num_landmarks, appearance_channels=64,
        widths=((2 * width, 2 * width), (2 * width, width), (width, width), (width, width // 2),
                (width // 2, width // 4))),
)
losses = dict(
    window=dict(type="losses/part_window", radius=0.1, threshold=0.2),
    equivariance=dict(type="losses/equivariance", weight=5.0, covariance_weight=0.1),
)
data = dict(
    train=dict(type="datasets/simple_h36m", root="data/human_images", image_size=image_size,
               role="all", sample_window=(1, 1)),
    fit=dict(type="datasets/simple_h36m", root="data/human_images", image_size=image_size,
             role="all", sample_window=(0, 0), sampling="frame"),
    test=dict(type="datasets/simple_h36m", root="data/human_images", image_size=image_size,
              split="test"),
    transforms=(
        dict(type="transforms/tps_pair", source_warp=dict(type="warps/tps_solved"),
             driving_warp=dict(type="warps/tps_solved")),
        dict(type="transforms/second_view",
             driving_warp=dict(type="warps/tps_solved", scale=1.0)),
        dict(type="transforms/appearance_pair")),
    workers=8,
)
train = dict(iterations=300_000, batch_size=32, lr=1e-3, checkpoint_every=5000)
evaluate = dict(
    metrics=dict(regression=dict(type="metrics/regression")),
    crop="gt",
)
