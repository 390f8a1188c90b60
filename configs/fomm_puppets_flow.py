"""The first order motion model with Lee et al.'s optical flow loss, small, on generated puppets.

Paper: Lee et al., Unsupervised Landmark Detection for Video Generation. It has no results on
puppets, and neither code nor settings are published. Flow adds less than 1 ms per image.
fomm_puppets.py on other pairs (sources are 2, 4 or 8 frames before their targets) plus one loss:
near landmarks, the model's own motion should be the true flow, which puppets provide. With
estimated flow, and without the loss on the same pairs:
--cfg-options data.train.flow=dis
--cfg-options losses.flow.weight=0.0
fomm_puppets_flow_points.py has the other form of the loss, fomm_vox_flow.py the paper's data.
"""

# fmt: off
image_size = 64
num_landmarks = 10
width = 12

model = dict(
    type="pipelines/motion_transfer",
    encoder=dict(type="encoders/keypoint_hourglass", num_landmarks=num_landmarks, stride=2,
                 width=16, max_width=128, depth=4, padding=3),
    bottleneck=dict(type="bottlenecks/affine", num_landmarks=num_landmarks, temperature=0.5),
    motion=dict(type="motions/dense_motion", num_landmarks=num_landmarks, stride=2,
                width=width, max_width=8 * width, depth=4, variance=0.01),
    decoder=dict(type="decoders/occlusion_aware", width=16, max_width=64, downs=1,
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
    flow=dict(type="losses/flow_agreement", weight=5.0, warmup=200),
)
data = dict(
    train=dict(
        type="datasets/flow_pairs", gaps=(2, 4, 8), flow="exact",
        frame_dataset=dict(type="datasets/puppets", split="train", image_size=image_size)),
    fit=dict(type="datasets/puppets", split="train", image_size=image_size),
    val=dict(type="datasets/puppets", split="test", seed=1, clips=8, image_size=image_size),
    test=dict(type="datasets/first_source", frame_dataset=dict(
        type="datasets/puppets", split="test", clips=32, image_size=image_size)),
    transforms=[
        dict(type="transforms/second_view", padding="reflection",
             driving_warp=dict(type="warps/tps_l1")),
    ],
)
train = dict(
    iterations=1600, batch_size=8, lr=1e-3, betas=(0.5, 0.999), amp=True, ema=0.99,
    lr_factors=((1100, 1.0), (1600, 0.02)), panels_every=250, checkpoint_every=250,
)
evaluate = dict(
    metrics=dict(
        l1=dict(type="metrics/l1"),
        regression=dict(type="metrics/regression"),
        jitter=dict(type="metrics/jitter")),
    fit_items=1000,
)
