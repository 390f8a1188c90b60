"""Cut excerpts out of the golden files: ``python tests/golden/excerpt.py SOURCE_DIR NAME ...``.

The golden files hold numbers computed by the official implementations; these excerpts keep the
inputs and weights whole and every n-th element of each output, in as many files below 1 MB as that
takes. Run it again only when the golden files themselves change, and say why in the commit.
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
    "factorized_train": 24,
}

# no test reads these: takes no part in training; the published widths have no loss
LEFT_OUT = {
    "keypointgan_train": r"weights/offline",
    "factorized_published_width": r"input/target",
}

# kept whole: tests feed these on
WHOLE = {
    "keypointgan_operators": r"output/edges/",
    "factorized_operators": r"output/tps/warped_coordinates",
    "factorized_train": r"output/step1/grad_l2/",
    "fomm_forward": r"output/train/prediction",
    "imm_operators": r"output/tps_padded/warped",
    "keypointgan_train": r"output/step1/grad_l2/",
}
NOTHING = r"(?!)"


LIMIT = 1_000_000  # bytes of a file
ENTRY = 300  # and of its header, per tensor, at most


def main() -> None:
    source, *names = sys.argv[1:]
    for name in names:
        about = json.loads((Path(source) / f"{name}.json").read_text())
        tensors, size, step = cut(Path(source), name, about)
        parts, room = [], 0
        for key, tensor in tensors.items():
            room -= tensor.nbytes + ENTRY
            if room < 0:
                parts.append({})
                room = LIMIT - tensor.nbytes - ENTRY
            parts[-1][key] = tensor
        for number, part in enumerate(parts, start=1):
            metadata = {
                "repository": about["repository"],
                "commit": about["commit"],
                "atol": json.dumps({k: about["outputs"][k]["atol"] for k in part if k in size}),
                "step": json.dumps({k: step[k] for k in part if k in step}),
                "size": json.dumps({k: size[k] for k in part if k in size}),
                "generated_weights": json.dumps(
                    about.get("generated_weights", {}) if number == 1 else {}
                ),
            }
            file = Path(__file__).parent / (name + (f".{number}" if number > 1 else ""))
            file = file.with_name(f"{file.name}.safetensors")
            save_file(part, file, metadata)
            print(file.name, file.stat().st_size // 1000, "kB")
            assert file.stat().st_size < LIMIT


def cut(source: Path, name: str, about: dict) -> tuple[dict, dict[str, int], dict[str, int]]:
    """Return the tensors kept, and of the outputs the full number of elements and the step."""
    kept = KEPT.get(name, 256)
    left_out, whole = LEFT_OUT.get(name, NOTHING), WHOLE.get(name, NOTHING)
    tensors, size, step = {}, {}, {}
    with safe_open(source / f"{name}.safetensors", "pt") as file:
        keys = file.keys()  # the file itself is not iterable
        for key in keys:
            if re.search(left_out, key):
                continue
            tensor = file.get_tensor(key)
            if "/grad_l2/" in key:
                # from the order of the parameters to that of their names
                tensor = tensor[by_name(about["weights"], key.rpartition("/")[2])]
            if key.startswith("output"):
                size[key] = tensor.numel()
                if not re.match(whole, key) and size[key] > kept:
                    # odd: a multiple of the width would see a single column
                    step[key] = -(-size[key] // kept) | 1
                    tensor = tensor.flatten()[:: step[key]]
            tensors[key] = tensor.contiguous()
    return tensors, size, step


def by_name(weights: dict, networks: str) -> list[int]:
    """Return the positions of the parameters of networks, joined by +, in order of their names."""
    buffers = ("weight_u", "weight_v", "running_mean", "running_var", "tracked", "down.weight")
    parameters = [
        key
        for network in networks.split("+")  # the order of the optimizer
        for key in weights
        if key.startswith(f"{network}/") and not key.endswith(buffers)
    ]
    return sorted(range(len(parameters)), key=parameters.__getitem__)


if __name__ == "__main__":
    main()
