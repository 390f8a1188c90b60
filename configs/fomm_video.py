"""The first order motion model, small, on your own videos; CPU is enough to try.

Paper: Siarohin et al., First Order Motion Model for Image Animation, NeurIPS 2019. It has no
results on such videos.
Expects videos or folders of frames in data/video/train: animals of one kind, one per video, whole
and about equally large in the picture, seen from about the same side by a still camera; crop around
the animal first if it is small. More videos, individuals and minutes give steadier landmarks. Other
videos in data/video/test are redrawn from their first frames and scored by L1; without them,
nothing is scored.
It finds ten landmarks per frame, for the clustering of behaviour: keypoint-zoo predict writes them
as a table; model.predict(frames).landmarks.affine also describes how the part around each rotates
and stretches. To make one animal move like another: keypoint-zoo animate.
If left and right must not be confused, remove transforms/flip_pair.
Images are stretched to squares; fit="pad" or "crop" in both data sets keeps proportions.
Sharper pictures, after a download of VGG19:
--cfg-options losses.perceptual.weights=torchvision losses.perceptual.width=64
Hardware: 2 CPU cores, about half an hour (1.5 seconds of one core per iteration); or a GPU.
"""

# fmt: off
image_size = 128
num_landmarks = 10
width = 16

model = dict(
    type="pipelines/motion_transfer",
    encoder=dict(type="encoders/keypoint_hourglass", num_landmarks=num_landmarks, stride=4,
                 width=24, max_width=192, depth=4, padding=3),
    bottleneck=dict(type="bottlenecks/affine", num_landmarks=num_landmarks, temperature=0.5),
    motion=dict(type="motions/dense_motion", num_landmarks=num_landmarks, stride=4,
                width=width, max_width=8 * width, depth=4, variance=0.01),
    decoder=dict(type="decoders/occlusion_aware", width=width, max_width=4 * width, downs=2,
                 blocks=3, blend=True),
)
losses = dict(
    perceptual=dict(
        type="losses/perceptual", weights="random", width=16, relu=True, distance="l1",
        taps=("input", "conv1_1", "conv2_1", "conv3_1"), tap_weights=(10, 10, 10, 10),
        scales=(1, 0.5, 0.25)),
    deformed=dict(type="losses/pixel", of="deformed", weight=10.0),
    equivariance=dict(type="losses/equivariance_points", weight=10.0),
    jacobian=dict(type="losses/equivariance_jacobian", weight=10.0),
)
data = dict(
    train=dict(type="datasets/frames", root="data/video/train", pair_range=(1, 16),
               image_size=image_size),
    test=dict(type="datasets/first_source", frame_dataset=dict(
        type="datasets/frames", root="data/video/test", image_size=image_size)),
    optional=("test",),
    transforms=[
        dict(type="transforms/flip_pair"),
        dict(type="transforms/color_jitter", brightness=0.1, contrast=0.1, saturation=0.1, hue=0.1,
             pair=True),
        dict(type="transforms/second_view", padding="reflection",
             driving_warp=dict(type="warps/tps_l1")),
    ],
)
train = dict(
    iterations=1200, batch_size=8, lr=1e-3, betas=(0.5, 0.999), amp=True, ema=0.99,
    lr_factors=((800, 1.0), (1200, 0.02)), panels_every=250, checkpoint_every=250,
)
evaluate = dict(metrics=dict(l1=dict(type="metrics/l1")), max_items=640)
