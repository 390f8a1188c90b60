"""Lorenz et al.'s model with ten parts on DeepFashion, as Lee et al. show part landmarks.

Paper: Lee et al., section 4.1: parts of full-body frontal photographs, a random fifth for testing,
found under spatial and appearance changes; no numbers are reported, so none are computed. The model
is that of Lorenz et al., Unsupervised Part-Based Disentangling of Object Shape and Appearance, CVPR
2019: Lee et al. give no sizes, these are those of lorenz_cathead.py, with pairs made of one image.
Data: the In-shop Clothes Retrieval Benchmark in data/deepfashion (Img/img/WOMEN/...), or the
flattened names of pose transfer; mmlab.ie.cuhk.edu.hk/projects/DeepFashion.html.
Hardware: one GPU; hours and iterations are not published; 100 000 is our choice.
Text differs: as said in lorenz_h36m.py.
"""

# fmt: off
image_size = 128
num_landmarks = 10
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
    train=dict(type="datasets/deepfashion", root="data/deepfashion", image_size=image_size,
               views=("full",)),
    test=dict(type="datasets/deepfashion", root="data/deepfashion", image_size=image_size,
              split="test", views=("full",)),
    transforms=(
        dict(type="transforms/tps_pair", source_warp=dict(type="warps/tps_solved"),
             driving_warp=dict(type="warps/tps_solved")),
        dict(type="transforms/second_view",
             driving_warp=dict(type="warps/tps_solved", scale=1.0)),
        dict(type="transforms/appearance_pair")),
    workers=8,
)
train = dict(iterations=100_000, batch_size=32, lr=1e-3, checkpoint_every=5000)
