"""Pre-training of the skeleton regressor on the poses of Simplified Human3.6M, 32 joints.

Paper: Jakab et al., Self-supervised Learning of Interpretable Keypoints from Unlabelled Videos,
CVPR 2020, supplement F.2. It reports no error for this stage; its released file is of step 580 000.
Data: human_images.tar.gz of github.com/YutingZhang/lmdis-rep, unpacked to data/human_images; only
the joints of the second half of each training sequence (about 400 k poses) are read.
Hardware: one small GPU; the paper states no hours. keypointgan_h36m.py runs this config by itself.
Text differs: limbs by squared distance (here distance); batch norm, three input channels and 2-D
distributions (instance norm, one channel, a distribution per axis).
"""

# fmt: off
image_size = 128
num_landmarks = 32
width = 32
edges = ((1, 11), (2, 1), (3, 2), (5, 3), (6, 11), (7, 6), (8, 7), (10, 8), (13, 11), (15, 13),
         (17, 13), (18, 17), (19, 18), (25, 13), (26, 25), (27, 26))

model = dict(
    type="pipelines/pose_autoencoder",
    rasterizer=dict(
        type="rasterizers/skeleton", edges=edges, image_size=image_size, sigma=0.2, squared=False,
        grid="corners"),
    bottleneck=dict(
        type="bottlenecks/skeleton_regressor", grid="corners",
        encoder=dict(type="encoders/stem", takes="pose_image", width=width, norm="instance",
                     out_channels=num_landmarks)),
)
losses = dict(points=dict(type="losses/prior_points"))
data = dict(
    prior=dict(type="datasets/simple_h36m", root="data/human_images", role="prior"),
    workers=8,
)
train = dict(
    iterations=580_000, batch_size=16, lr=2e-4, betas=(0.5, 0.999), clip=1.0, checkpoint_every=5000,
)
