"""Cut excerpts out of the golden files: ``python tests/golden/excerpt.py SOURCE_DIR NAME ...``.

The golden files hold numbers computed by the official implementations; these excerpts keep the
inputs and weights whole and every n-th element of each output. Run it again only when the golden
files themselves change, and say why in the commit.
"""

import json
import sys
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file

KEPT = {
    "keypointgan_operators": 400,
    "keypointgan_train": 24,
    "factorized_train": 24,
}


def main() -> None:
    source, *names = sys.argv[1:]
    for name in names:
        about = json.loads((Path(source) / f"{name}.json").read_text())
        kept = KEPT.get(name, 256)
        tensors, step, size = {}, {}, {}
        with safe_open(Path(source) / f"{name}.safetensors", "pt") as file:
            keys = file.keys()  # the file itself is not iterable
            for key in keys:
                tensor = file.get_tensor(key)
                if name == "keypointgan_train" and key.startswith("weights/offline"):
                    continue  # takes no part in training
                size[key] = tensor.numel()
                if key.startswith("output") and "/edges/" not in key and tensor.numel() > kept:
                    step[key] = -(-tensor.numel() // kept)
                    tensor = tensor.flatten()[:: step[key]]
                tensors[key] = tensor.contiguous()
        atol = {k: v["atol"] for k, v in about["outputs"].items()}
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


if __name__ == "__main__":
    main()
