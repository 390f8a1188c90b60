"""KeypointGAN on Simplified Human3.6M as the text of the paper has it, not its code.

Paper: Jakab et al., Self-supervised Learning of Interpretable Keypoints from Unlabelled Videos,
CVPR 2020, appendix F; table 1: 2.73 % of the image side over 32 joints, whichever form made it.
Data: human_images.tar.gz of github.com/YutingZhang/lmdis-rep, unpacked to data/human_images.
As the text, where keypointgan_h36m.py is the code: limbs by squared distance (eq 2); figure 17
without 1x1 merges and with its second convolution at full size; batch norm in eta, whose maps are
2-D distributions; instance norm on D's first layer; no pool of earlier pictures; plain features in
place of errors over running means, no pixels; 10 on eq 5, 1 on eq 4; 1 on eq 7, 0.1 on its partner.
Left open by the text and settled here: the features (VGG19, the second convolution of each block,
equal weights); every squared norm is a mean; biases and initial values, as in the code; one channel
for a skeleton where figure 19 prints 3, three for an image where figure 18 prints 32; pictures from
-1 to 1, as images are; eq 5, unbounded for figure 20's linear critic, as the least squares of the
paper it cites (weight 20: 10, doubled since losses/critic halves); pairs 0 to 1000 frames apart.
Hardware: one GPU; hours and iterations are not published, 400 000 is chosen here.
"""

# fmt: off
image_size = 128
num_landmarks = 32
width = 32
critic_width = 64
edges = ((1, 11), (2, 1), (3, 2), (5, 3), (6, 11), (7, 6), (8, 7), (10, 8), (13, 11), (15, 13),
         (17, 13), (18, 17), (19, 18), (25, 13), (26, 25), (27, 26))
flip_pairs = ((6, 1), (7, 2), (8, 3), (9, 4), (10, 5), (16, 24), (17, 25), (18, 26), (19, 27),
              (20, 28), (21, 29), (22, 30), (23, 31))

model = dict(
    type="pipelines/reconstruction",
    encoder=dict(type="encoders/image_to_skeleton", width=width, merge=False),
    bottleneck=dict(
        type="bottlenecks/skeleton_regressor", grid="corners", softmax="spatial",
        encoder=dict(type="encoders/stem", takes="pose_image", width=width,
                     out_channels=num_landmarks)),
    bottleneck_apart=True,
    reference_bottleneck=dict(
        type="bottlenecks/skeleton_regressor", grid="corners", softmax="spatial",
        encoder=dict(type="encoders/stem", takes="pose_image", width=width,
                     out_channels=num_landmarks)),
    flip_pairs=flip_pairs,
    rasterizer=dict(
        type="rasterizers/skeleton", edges=edges, image_size=image_size, sigma=0.2, squared=True,
        grid="corners"),
    appearance_encoder=dict(type="encoders/stem", width=width, out_channels=8 * width),
    decoder=dict(
        type="decoders/conditional", width=width, appearance_channels=8 * width,
        pose_encoder=dict(type="encoders/stem", takes="pose_image", width=width,
                          out_channels=8 * width)),
    prior=dict(
        type="priors/unpaired_poses", image_size=image_size, history=0,
        critic=dict(type="critics/multiscale_patch", width=critic_width, first_norm=True)),
)
losses = dict(
    perceptual=dict(
        type="losses/perceptual", weights="torchvision", relu=True, tap_weights=(1, 1, 1, 1, 1),
        taps=("conv1_2", "conv2_2", "conv3_2", "conv4_2", "conv5_2")),
    adversarial=dict(type="losses/adversarial", weight=10.0),
    critic=dict(type="losses/critic", weight=20.0),
    redraw=dict(type="losses/redraw", weight=0.1),
    points=dict(type="losses/prior_points"),
)
data = dict(
    train=dict(type="datasets/simple_h36m", root="data/human_images", image_size=image_size),
    prior=dict(type="datasets/simple_h36m", root="data/human_images", role="prior"),
    test=dict(type="datasets/simple_h36m", root="data/human_images", image_size=image_size,
              split="test"),
    workers=8,
)
train = dict(
    iterations=400_000, batch_size=16, lr=2e-4, betas=(0.5, 0.999), clip=1.0, checkpoint_every=5000,
    init=dict(bottleneck="keypointgan_h36m_text_regressor",
              reference_bottleneck="keypointgan_h36m_text_regressor:bottleneck"),
)
evaluate = dict(
    metrics=dict(direct=dict(
        type="metrics/keypoint_error", flip_pairs=flip_pairs,
        activities=("waiting", "posing", "greeting", "directions", "discussion", "walking"))),
    crop="gt",
)
