"""Write imm_tensorflow.*: ``python tests/golden/imm_tensorflow.py``, with TensorFlow installed.

IMM's networks in TensorFlow's own operations, under the variable names of the official code: the
checkpoint is one that TensorFlow's Saver wrote, and the outputs are TensorFlow's. Topology, padding
and constants are those of IMM; widths are the smallest, weights are random. Made with
tensorflow-cpu 2.21.0. Run it again only for a reason, and say it in the commit.
"""

import json
import tempfile
from pathlib import Path

import numpy as np
import tensorflow as tf
from safetensors.numpy import save_file

tf1 = tf.compat.v1
tf1.disable_eager_execution()
HERE = Path(__file__).parent
K, WIDTH, SIDE = 2, 1, 32
RNG = np.random.RandomState(7)
CREATED = []


def variable(name, shape, draw, like):
    created = tf1.get_variable(name, initializer=tf.constant(draw, tf.float32, shape))
    CREATED.append(created)
    return tf.cast(created, like.dtype)


def conv(x, outputs, kernel, name, stride=1, last=False):
    inputs = int(x.shape[-1])
    with tf1.variable_scope(name):
        with tf1.variable_scope(name):
            scale = 2 / (kernel * kernel * inputs) ** 0.5
            scale /= {7: 128, 1: 16}.get(kernel, 1)  # which sees 0..255; which a softmax reads
            shape = (kernel, kernel, inputs, outputs)
            w = variable("w", shape, scale * RNG.standard_normal(shape), x)
            b = variable("b", (outputs,), 0.1 * RNG.standard_normal(outputs), x)
        x = tf.nn.bias_add(tf1.nn.conv2d(x, w, strides=[1, stride, stride, 1], padding="SAME"), b)
        if last:
            return x
        with tf1.variable_scope("batch_normalization"):
            gamma = variable("gamma", (outputs,), RNG.uniform(0.5, 1.5, outputs), x)
            beta = variable("beta", (outputs,), RNG.uniform(0.1, 0.5, outputs), x)
            mean = variable("moving_mean", (outputs,), 0.1 * RNG.standard_normal(outputs), x)
            var = variable("moving_variance", (outputs,), RNG.uniform(0.5, 1.5, outputs), x)
        x = tf.nn.batch_normalization(x, mean, var, beta, gamma, 1e-3)
    return tf.nn.relu(x)


def encoder(x):
    with tf1.variable_scope("encoder"):
        for i in range(8):
            stride = 2 if i in (2, 4, 6) else 1
            x = conv(x, WIDTH * 2 ** (i // 2), 7 if i == 0 else 3, f"conv_{i + 1}", stride)
    return x


def model(image, future):
    with tf1.variable_scope("image_encoder"):
        features = encoder(image)
    with tf1.variable_scope("pose_encoder"):
        maps = conv(encoder(future), K, 1, "conv_1", last=True)
        side = int(maps.shape[1])
        line = tf.cast(tf.linspace(-1.0, 1.0, side), maps.dtype)
        points = []
        for other in (2, 1):  # y, then x
            prob = tf.nn.softmax(tf.reduce_mean(maps, axis=other), axis=1)
            points.append(tf.reduce_sum(prob * line[None, :, None], axis=1))
        y, x = points
    gaussians = tf.exp(
        -(
            (line[None, :, None, None] - y[:, None, None]) ** 2
            + (line[None, None, :, None] - x[:, None, None]) ** 2
        )
        / 0.1**2
    )
    drawn = tf.concat([features, gaussians], axis=-1)
    with tf1.variable_scope("renderer"):
        z, number = drawn, 1
        for width in (8 * WIDTH, 4 * WIDTH, 2 * WIDTH):
            for _ in range(2):
                z = conv(z, width, 3, f"conv_{number}")
                number += 1
            size = [2 * int(z.shape[1])] * 2
            z = tf1.image.resize_bilinear(z, size, align_corners=False, half_pixel_centers=False)
        z = conv(z, WIDTH, 3, f"conv_{number}")
        z = conv(z, 9, 3, f"conv_{number + 1}", last=True)
    return {"points_yx": tf.stack([y, x], axis=-1), "render": z[..., :3], "pose_maps": maps}


def main():
    images = {
        name: RNG.randint(0, 256, (1, SIDE, SIDE, 3)).astype(np.uint8)
        for name in ("image", "future")
    }
    runs = []
    for kind in (tf.float32, tf.float64):
        given = {name: tf.constant(value, kind) for name, value in images.items()}
        with tf1.variable_scope("model", reuse=bool(runs)):
            runs.append(model(given["image"], given["future"]))
    # what else a training run saves: optimizer, step, running means, the loss's network
    bias = next(v for v in CREATED if v.op.name == "model/renderer/conv_8/conv_8/b")
    loss = tf.reduce_sum(bias**2)
    tf1.train.AdamOptimizer(1e-3).minimize(loss, var_list=[bias])
    tf1.get_variable("global_step", initializer=tf.constant(4000.0))
    with tf1.variable_scope("SelfSupReconstructionLoss"):
        tf1.get_variable("input_agg", initializer=tf.constant(100.0))
        with tf1.variable_scope("vgg16/conv1_1"):
            tf1.get_variable("biases", initializer=tf.zeros(4))
    with tf1.Session() as session:
        session.run(tf1.global_variables_initializer())
        found, exact = session.run(runs)
        with tempfile.TemporaryDirectory() as folder:
            saver = tf1.train.Saver(tf1.global_variables())
            prefix = Path(saver.save(session, f"{folder}/model.ckpt", write_meta_graph=False))
            for file in prefix.parent.glob(f"{prefix.name}.*"):
                target = HERE / file.name.replace("model.ckpt", "imm_tensorflow.ckpt")
                target.write_bytes(file.read_bytes())
                print(target.name, target.stat().st_size)
    tensors = {f"input/{name}_u8": value.transpose(0, 3, 1, 2) for name, value in images.items()}
    step = {"render": 12}
    tensors |= {
        f"output/{name}": value.reshape(-1)[:: step.get(name, 1)].astype(np.float32)
        for name, value in found.items()
    }
    # as of the other golden files
    noise = {name: float(np.abs(value - exact[name]).max()) for name, value in found.items()}
    atol = {
        f"output/{name}": max(10 * noise[name], 3e-6 * float(np.abs(value).max()))
        for name, value in found.items()
    }
    metadata = {
        "origin": f"TensorFlow {tf.__version__}, tests/golden/imm_tensorflow.py",
        "atol": json.dumps(atol),
        "step": json.dumps({f"output/{name}": n for name, n in step.items()}),
        "size": json.dumps({f"output/{name}": int(v.size) for name, v in found.items()}),
        "generated_weights": "{}",
    }
    tensors = {key: np.ascontiguousarray(value) for key, value in tensors.items()}
    save_file(tensors, str(HERE / "imm_tensorflow.safetensors"), metadata)
    for name, value in found.items():
        print(name, value.shape, np.abs(value).max(), value.std(), noise[name])


if __name__ == "__main__":
    main()
