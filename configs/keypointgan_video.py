"""KeypointGAN, small, on your own videos of any object, with a prior of poses that you provide.

Paper: Jakab et al., Self-supervised Learning of Interpretable Keypoints from Unlabelled Videos,
CVPR 2020. It has no results on such videos, and none have been measured here.
Expects videos or folders of frames in data/video/train, and in data/video/poses.json (COCO) typical
points of such objects in such frames: from other recordings or simulated, at least hundreds of
complete poses. Set the number of points and the limbs that join them:
--cfg-options num_landmarks=5 edges="((0,1),(1,2),(2,3),(3,4))"; here it is snout, left and right
ear, and base of the tail. A CSV (also DeepLabCut's) does not contain the size of its images:
--cfg-options data.prior.source=poses.csv data.prior.format=csv data.prior.size=640,480
If the poses are placed differently in their images than in yours: data.prior.fit=box.
For a score, frames with these points in data/video/test with test.csv; without them, nothing is
scored. Hardware: 2 CPU cores, ten minutes, after a minute for the regressor.
"""

# fmt: off
image_size = 64
num_landmarks = 4
width = 16
regressor_width = 8
critic_width = 32
edges = ((0, 1), (0, 2), (1, 3), (2, 3))

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
    # the same warp for both frames avoids memorising a few clips
    transforms=[dict(
        type="transforms/tps_pair",
        driving_warp=dict(type="warps/tps_gaussian", rotation_sd=5.0, scale_sd=0.05,
                               translation_sd=0.05, warp_sd=(0.0, 0.0005)))],
    train=dict(type="datasets/frames", root="data/video/train", image_size=image_size),
    prior=dict(type="datasets/poses", source="data/video/poses.json", format="coco"),
    test=dict(type="datasets/frames", root="data/video/test", image_size=image_size,
              annotations="data/video/test.csv", labelled_only=True, pair="same"),
    optional=("test",),
)
train = dict(
    iterations=2000, batch_size=8, lr=3e-4, betas=(0.5, 0.999), clip=1.0, amp=True, ema=0.99,
    lr_factors=((1400, 1.0), (2000, 0.02)), init=dict(bottleneck="keypointgan_video_regressor"),
    panels_every=250, checkpoint_every=250,
)
evaluate = dict(metrics=dict(direct=dict(type="metrics/keypoint_error")))
