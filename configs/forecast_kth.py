"""Video prediction on KTH: an LSTM moves the landmarks of factorized_kth.py.

Paper: Dundar, Shih et al., Unsupervised Disentanglement of Pose, Appearance and Background from
Images and Videos, ICLR 2020 submission, section 4.3 and appendix D.
It shows curves of SSIM, PSNR and LPIPS to about frame 40 (figure 5) and prints no numbers.
Data: as in factorized_kth.py, which is trained first if missing.
The LSTM sees 10 frames and predicts 10 in training; the test shows 10 and scores the 30 after them,
in one window of each test clip of at least 40 frames. Not stated in the paper and chosen here: mean
squared error, Adam at 1e-3 and 20 000 iterations. Hardware: one GPU, minutes after the image model.
As the text: no code of this part was released.
"""

# fmt: off
image_size = 128
num_landmarks = 40
width = 64
critic_width = 64

model = dict(
    type="pipelines/forecast",
    image_pipeline=dict(
        type="pipelines/reconstruction",
        encoder=dict(type="encoders/unet", num_landmarks=num_landmarks, first=6,
                     widths=(8 * width, 4 * width, 2 * width)),
        bottleneck=dict(
            type="bottlenecks/gaussian", covariance="fitted", grid="left_edge"),
        rasterizer=dict(type="rasterizers/gaussian", image_size=image_size, grid="left_edge"),
        appearance_encoder=dict(
            type="encoders/part_appearance", num_landmarks=num_landmarks, features=24,
            out_channels=32, widths=(width,), reduction="mean"),
        decoder=dict(type="decoders/spade", num_landmarks=num_landmarks, appearance_channels=32,
                     width=width, hidden=2 * width),
        compositor=dict(
            type="compositors/mask_blend", num_landmarks=num_landmarks, first=width // 2,
            mask_widths=(width // 2,),
            background_widths=(width // 2, width, 2 * width)),
        image_critic=dict(type="critics/pix2pix", width=critic_width, scales=2),
    ),
    predictor=dict(type="predictors/lstm", num_landmarks=num_landmarks, width=256, depth=3),
    seen=10, steps=10,
)
losses = dict(state=dict(type="losses/state"))
data = dict(
    train=dict(
        type="datasets/clips", length=20,
        frame_dataset=dict(type="datasets/frames", root="data/kth", image_size=image_size,
                           exclude=("person1[7-9]*", "person2*"))),
    test=dict(
        type="datasets/clips", length=40,
        frame_dataset=dict(type="datasets/frames", root="data/kth", image_size=image_size,
                           include=("person1[7-9]*", "person2*"))),
    workers=8,
)
train = dict(
    init=dict(image_pipeline="factorized_kth:pipeline"),
    iterations=20_000, batch_size=32, lr=1e-3, clip=1.0, lr_factors=((10_000, 1.0), (20_000, 0.02)),
)
evaluate = dict(
    metrics=dict(
        psnr=dict(type="metrics/psnr"),
        ssim=dict(type="metrics/ssim"),
        lpips=dict(type="metrics/lpips"),
        state=dict(type="metrics/state_error")),
    crop="none", batch_size=8,
)
