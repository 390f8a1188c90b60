"""Monkey-Net, small, on generated puppets; no download.

Paper: Siarohin et al., Animating Arbitrary Objects via Deep Motion Transfer, CVPR 2019. It has no
results on puppets. About ten minutes on 2 CPU cores; monkeynet_taichi.py has the published size.
Unlike the paper: contract coordinates, one level fewer, a softer softmax, near frames as pairs, a
higher, decaying learning rate.
"""

# fmt: off
image_size = 64
num_landmarks = 10
width = 16
critic_width = 16

model = dict(
    type="pipelines/motion_transfer", through_critic=True, joint=True,
    encoder=dict(type="encoders/monkeynet", num_landmarks=num_landmarks, width=width,
                 max_width=8 * width, depth=4),
    bottleneck=dict(type="bottlenecks/monkeynet", temperature=0.5, floor=0.001),
    motion=dict(type="motions/monkeynet", num_landmarks=num_landmarks, width=width,
                max_width=8 * width, depth=4, normaliser=100.0),
    decoder=dict(type="decoders/monkeynet", num_landmarks=num_landmarks, width=width,
                 max_width=8 * width, depth=4, blocks=2),
    rasterizer=dict(type="rasterizers/gaussian", image_size=image_size, kernel="exponential",
                    scale=2.0, normaliser=100.0),
    image_critic=dict(
        type="critics/feature_patch", num_landmarks=num_landmarks, pool_last=True,
        widths=(2 * critic_width, 4 * critic_width, 8 * critic_width, 8 * critic_width)),
)
losses = dict(
    pixel=dict(type="losses/pixel", weight=10.0),
    features=dict(type="losses/feature_matching", weights=(10.0, 10.0, 10.0, 1.0)),
    adversarial=dict(type="losses/adversarial", scores="image_critic"),
    critic=dict(type="losses/critic", scores="image_critic", weight=2.0),
)
data = dict(
    train=dict(type="datasets/puppets", split="train", pair_range=(1, 8),
               image_size=image_size),
    fit=dict(type="datasets/puppets", split="train", image_size=image_size),
    val=dict(type="datasets/puppets", split="test", seed=1, clips=8, image_size=image_size),
    test=dict(type="datasets/first_source", frame_dataset=dict(
        type="datasets/puppets", split="test", clips=64, image_size=image_size)),
)
train = dict(
    iterations=1000, batch_size=8, lr=5e-4, betas=(0.5, 0.999), amp=True, ema=0.99,
    lr_factors=((700, 1.0), (1000, 0.02)), panels_every=250, checkpoint_every=250,
)
evaluate = dict(
    metrics=dict(
        l1=dict(type="metrics/l1"),
        regression=dict(type="metrics/regression")),
    max_items=640, fit_items=1000,
)
