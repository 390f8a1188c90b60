"""Cut excerpts out of the golden files: ``python tests/golden/excerpt.py SOURCE_DIR NAME ...``.

The golden files hold numbers computed by the official implementations; these excerpts keep the
inputs and weights whole and every n-th element of each output. Run it again only when the golden
files themselves change, and say why in the commit.
"""

import json
import re
import sys
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file

# elements kept of an output, 256 unless named here
KEPT = {
    "keypointgan_operators": 400,
    "keypointgan_train": 24,
    "factorized_train": 4,
    "factorized_forward": 192,
    "factorized_forward_fixed": 192,
}

# no test reads these: takes no part in training; parts that another file covers, so that this one
# stays below 1 MB (the decoder alone is 0.8 MB)
LEFT_OUT = {
    "keypointgan_train": r"weights/offline",
    "factorized_forward": r"weights/(model/(image_dec|app|bg|fg)|disc)"
    r"|output\w*/(app|pooled|proj|dec|fore|mask|back|ext|disc|loss/gan|after|composite$)",
    "factorized_forward_fixed": r"weights/(model/(shape|bg)|disc|vgg)|input/\w+_u8"
    r"|output/(pose_a|pose_b/logits|softmax_a|cov|loss|disc|composite|pose_only)",
    "factorized_operators": r"tps|discriminator|input/image",
    "factorized_published_width": r"input/target",
    "factorized_train": r"output/(step1/grad/|after_step3/.*(bias|norm_[1s]|middle_[01]))",
}

# kept whole: tests feed these on
WHOLE = {
    "keypointgan_operators": r"output/edges/",
    "factorized_forward": r"output/composite$",
    "factorized_forward_fixed": r"output/(background|softmax_b|pose_b/first_block_features)$",
    "factorized_operators": r"output/loss_zero_targets/prediction_after$",
    "factorized_train": r"output/step1/grad_l2/",
}
NOTHING = r"(?!)"


def main() -> None:
    source, *names = sys.argv[1:]
    for name in names:
        about = json.loads((Path(source) / f"{name}.json").read_text())
        kept = KEPT.get(name, 256)
        left_out, whole = LEFT_OUT.get(name, NOTHING), WHOLE.get(name, NOTHING)
        tensors, step, size = {}, {}, {}
        with safe_open(Path(source) / f"{name}.safetensors", "pt") as file:
            keys = file.keys()  # the file itself is not iterable
            for key in keys:
                if re.search(whole, key) is None and re.search(left_out, key) is not None:
                    continue
                tensor = file.get_tensor(key)
                if key.endswith("/grad_l2/model"):
                    # from the order of the parameters to that of their names
                    tensor = tensor[by_name(about["weights"])]
                size[key] = tensor.numel()
                if key.startswith("output") and not re.match(whole, key) and size[key] > kept:
                    step[key] = -(-tensor.numel() // kept)
                    tensor = tensor.flatten()[:: step[key]]
                tensors[key] = tensor.contiguous()
        atol = {k: v["atol"] for k, v in about["outputs"].items() if k in tensors}
        metadata = {
            "repository": about["repository"],
            "commit": about["commit"],
            "atol": json.dumps(atol),
            "step": json.dumps(step),
            "size": json.dumps({k: n for k, n in size.items() if k.startswith("output")}),
            "generated_weights": json.dumps(about.get("generated_weights", {})),
        }
        here = Path(__file__).parent / f"{name}.safetensors"
        save_file(tensors, here, metadata)
        print(here.name, here.stat().st_size // 1024, "KiB")


def by_name(weights: dict) -> list[int]:
    """Return the positions of the parameters in the order of their names."""
    parameters = [
        key.removeprefix("model/")
        for key in weights
        if key.startswith("model/") and not key.endswith(("weight_u", "weight_v"))
    ]
    return sorted(range(len(parameters)), key=parameters.__getitem__)


if __name__ == "__main__":
    main()
