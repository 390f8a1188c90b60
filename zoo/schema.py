"""The schemas of a package's JSON files, and strict readers for them."""

from __future__ import annotations

import json
import math
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zoo.errors import FormatTooNewError, IntegrityError, PublishRefusedError

LIBRARY = "0.1.0"  # of pyproject.toml
FORMAT, FORMAT_VERSION = "keypoint-zoo", 1

MAX_JSON = 1 << 20  # bytes
MAX_DEPTH = 32
MAX_NUMBER = 1 << 14  # of an architecture's integers: channels, landmarks, levels
MAX_SIDE = 4096  # pixels of a model's images
MAX_CROP = 8192  # pixels, of photographs
MAX_KEYPOINTS = 4096
MAX_USUAL = 1000  # of the statistics of images; today's are below 2

TASKS = ("keypoint-detection", "motion-transfer", "forecasting", "pose-regression")
TEXT, NUMBER, NOTHING = str, (int, float), type(None)

# what this library implements; other values need another version
PREPROCESS = {
    **{"resize": "area then bilinear", "antialias": True, "color": "RGB", "range": [0, 1]},
    **{"mean": None, "std": None, "layout": "NCHW"},
}
COORDINATES = {
    **{"frame": "normalised", "order": "xy", "pixel_centre": "(2i+1)/S-1"},
    "align_corners": False,
}

# a dict: an object with these keys ("?": optional); {"*": s}: any keys; [s]: a list of s
CONFIG = {
    **dict.fromkeys(("format", "min_library", "name", "task"), TEXT),
    "format_version": int,
    "architecture": {"type": TEXT, "version": int, "args": {"*": object}},
    "components": {"*": {"type": TEXT, "prefix": TEXT, "parameters": int}},
    "plugins": [{"component": TEXT, "distribution": TEXT, "requires": TEXT}],
    "preprocess": {
        **dict.fromkeys(PREPROCESS, object),
        **{"image_size": (int, NOTHING), "fit": TEXT, "crop?": [int], "frames": int},
    },
    "keypoints": {
        **{"count": int, "names": [TEXT], "semantics": TEXT, "groups": {"*": [int]}},
        **{"edges": [[int]], "flip_pairs": [[int]]},
    },
    "coordinates": {**dict.fromkeys(COORDINATES, object), "extras": [TEXT]},
    "usual?": {"images": int, "quantiles": {"*": [NUMBER]}},
    "weights": {
        "model.safetensors": {
            **{"role": TEXT, "tensors": int, "parameters": int, "dtype": TEXT},
            "flops": (int, NOTHING),
        }
    },
    "training": {"*": object},
}
RESULT = {
    **dict.fromkeys(("task", "protocol", "metric", "unit", "definition", "crop"), TEXT),
    **dict.fromkeys(("origin", "date", "library", "command"), TEXT),
    "dataset": {"id": TEXT, "name": TEXT, "split": (str, NOTHING)},
    "higher_is_better": (bool, NOTHING),
    "value": NUMBER,
    "interval": ([NUMBER], NOTHING),
    "n": (int, NOTHING),
    "baselines": {"*": (*NUMBER, NOTHING)},
}
EVALUATION = {"format_version": int, "results": [RESULT]}
MANIFEST = {"format_version": int, "name": TEXT, "files": {"*": {"size": int, "sha256": TEXT}}}
FITS, SEMANTICS = ("stretch", "pad", "crop"), ("discovered", "annotated")
ORIGINS = ("ours", "reported-by-paper", "third-party")


def check_version(stated: Any, where: str) -> None:
    """Refuse files of a later format, and files without a format."""
    version = stated.get("format_version") if isinstance(stated, dict) else None
    if isinstance(version, int) and version > FORMAT_VERSION:
        needed = stated.get("min_library")
        known = isinstance(needed, str) and _numbers(needed)
        needs = f", and it needs >= {needed}" if known else ""
        raise FormatTooNewError(
            f"{where} has format {version}; this version ({LIBRARY}) reads up to {FORMAT_VERSION}"
            f"{needs}. Run pip install -U keypoint-zoo, or pin an older revision."
        )
    if version != FORMAT_VERSION:
        raise IntegrityError(f"{where}: format_version must be {FORMAT_VERSION}, not {version!r}.")


def read_small(file: Path, where: str, *, inside: Path | None = None) -> bytes:
    """Read a file of at most ``MAX_JSON`` bytes, whatever somebody may have put there instead.

    Args:
        file: what to read.
        where: for the message.
        inside: a folder that the file must not leave by a link.

    Raises:
        OSError: it does not exist, or cannot be read.
        IntegrityError: it is not a plain file (but a pipe, which would wait for a writer, an
            endless device ...), leads out of ``inside``, or is larger.
    """
    where = f"{where}: {file.name}"
    if inside is not None and not file.resolve().is_relative_to(inside.resolve()):
        raise IntegrityError(f"{where} is a link that leads out of {inside}.")
    # not waiting for the writer of a pipe; on Windows, not translating line ends
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    with open(file, "rb", opener=lambda path, _: os.open(path, flags)) as opened:
        if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
            raise IntegrityError(f"{where} is not a plain file.")
        data = opened.read(MAX_JSON + 1)
    if len(data) > MAX_JSON:
        raise IntegrityError(f"{where} is larger than {MAX_JSON} bytes.")
    return data


def read_json(file: Path, where: str, *, inside: Path | None = None) -> Any:
    """Read a JSON file strictly; see :func:`read_small` and :func:`parse_json`."""
    return parse_json(read_small(file, where, inside=inside), f"{where}: {file.name}")


def parse_json(data: bytes, where: str, limit: int = MAX_JSON) -> Any:
    """Parse strict JSON: no NaN, no duplicate keys, bounded depth and size.

    Raises:
        IntegrityError: it is not strict JSON.
    """

    def number(text: str) -> float:
        if not math.isfinite(float(text)):
            raise ValueError(f"{text} is not a finite number")
        return float(text)

    def whole(text: str) -> int:
        if len(text) > 300:  # about what a float can be
            raise ValueError(f"{text[:20]}... is too large")
        return int(text)

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys: dict[str, Any] = {}
        for key, value in pairs:
            if key in keys:
                raise ValueError(f"the key {key!r} is repeated")
            keys[key] = value
        return keys

    if len(data) > limit:
        raise IntegrityError(f"{where} is larger than {limit} bytes.")
    hooks: Any = {"parse_constant": number, "parse_float": number, "parse_int": whole}
    hooks["object_pairs_hook"] = unique
    try:
        value = json.loads(data.decode("utf-8"), **hooks)
        if _depth(value) > MAX_DEPTH:
            raise ValueError(f"nested deeper than {MAX_DEPTH}")
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else error
        raise IntegrityError(f"{where} is not valid JSON: {reason}.") from None
    return value


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level:
        depth += 1
        dicts = (inner for outer in level if isinstance(outer, dict) for inner in outer.values())
        lists = (inner for outer in level if isinstance(outer, list) for inner in outer)
        level = [*dicts, *lists]
    return depth


def conform(value: Any, schema: Any, where: str) -> None:
    """Check a value against one of the tables above.

    Raises:
        IntegrityError: it does not conform; the text names the first place.
    """
    if isinstance(schema, tuple) and isinstance(schema[0], list):
        schema = object if value is None else schema[0]
    if isinstance(schema, dict):
        if not isinstance(value, dict):
            raise IntegrityError(f"{where} must be an object.")
        keys = {key.rstrip("?"): key for key in schema}
        if "*" not in schema:
            for key in value:
                if key not in keys:
                    raise IntegrityError(f"{where}: unknown key {key!r}.")
            for key, written in keys.items():
                if key not in value and not written.endswith("?"):
                    raise IntegrityError(f"{where}: {key!r} is missing.")
        for key, inner in value.items():
            conform(inner, schema[keys.get(key, "*")], f"{where}: {key}")
    elif isinstance(schema, list):
        if not isinstance(value, list):
            raise IntegrityError(f"{where} must be a list.")
        for i, inner in enumerate(value):
            conform(inner, schema[0], f"{where}[{i}]")
    else:
        kinds = schema if isinstance(schema, tuple) else (schema,)
        # in Python a bool is an int
        if not isinstance(value, kinds) or (
            isinstance(value, bool) and bool not in kinds and object not in kinds
        ):
            words = " or ".join(kind.__name__ for kind in kinds)
            raise IntegrityError(f"{where} must be {words}, not {str(value)[:60]!r}.")


def check_config(config: Mapping[str, Any], where: str) -> None:
    """Check the values of a config.json whose keys and types are right."""
    where = f"{where}: config.json"
    if config["format"] != FORMAT:
        raise IntegrityError(f"{where}: format must be '{FORMAT}', not {config['format']!r}.")
    if (_numbers(config["min_library"]) or (0,)) > (_numbers(LIBRARY) or (0,)):
        raise FormatTooNewError(
            f"{where}: it needs keypoint-zoo >= {config['min_library']}, but this is {LIBRARY}. "
            "Run pip install -U keypoint-zoo, or pin an older revision."
        )
    check_name(config["name"], where)
    if config["task"] not in TASKS:
        raise IntegrityError(f"{where}: task {config['task']!r} must be one of {', '.join(TASKS)}.")
    _check_numbers(config["architecture"]["args"], f"{where}: architecture")
    for place, fixed in (("preprocess", PREPROCESS), ("coordinates", COORDINATES)):
        for key, value in fixed.items():
            if config[place][key] != value:
                raise IntegrityError(
                    f"{where}: {place}.{key} is {str(config[place][key])[:60]!r}; this version "
                    f"supports only {value!r}."
                )
    preprocess = config["preprocess"]
    size, crop = preprocess["image_size"], preprocess.get("crop", (0, 0, 1, 1))
    whole = len(crop) == 4 and all(0 < side <= MAX_CROP for side in crop[2:])
    fine = {
        f"image_size {size} is not in 1 ... {MAX_SIDE}": size is None or 1 <= size <= MAX_SIDE,
        f"fit {preprocess['fit']!r} must be one of {', '.join(FITS)}": preprocess["fit"] in FITS,
        f"crop must be left, top, width and height, the last two 1 ... {MAX_CROP} pixels": whole
        and all(0 <= edge <= MAX_NUMBER for edge in crop[:2]),
        f"frames {preprocess['frames']} is not in 1 ... {MAX_NUMBER}": 1
        <= preprocess["frames"]
        <= MAX_NUMBER,
    }
    require(f"{where}: preprocess", fine)
    check_keypoints(config["keypoints"], where)
    _check_usual(config.get("usual", {"images": 1, "quantiles": {}}), where)


def _check_usual(usual: Mapping[str, Any], where: str) -> None:
    """Check the statistics of training images; names unknown to this version are allowed."""
    texts = [name for name in usual["quantiles"] if re.fullmatch(r"[a-z][a-z_]{0,39}", name)]
    fine = {
        f"images cannot be {str(usual['images'])[:20]}": 0 < usual["images"] <= 1 << 40,
        "there must be at most 16 names, in lower-case letters": len(texts)
        == len(usual["quantiles"])
        <= 16,
    } | {
        f"{name} must be 5 ascending numbers in 0 ... {MAX_USUAL}": len(five) == 5
        and list(five) == sorted(five)
        and 0 <= five[0] <= five[-1] <= MAX_USUAL
        for name, five in usual["quantiles"].items()
    }
    require(f"{where}: usual", fine)


def require(where: str, fine: Mapping[str, bool]) -> None:
    """Raise with the first text whose condition is false."""
    for text, holds in fine.items():
        if not holds:
            raise IntegrityError(f"{where}: {text}.")


def check_name(name: str, where: str) -> None:
    """Refuse names other than lower-case words joined by hyphens."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{0,95}", name):
        raise IntegrityError(
            f"{where}: {name[:80]!r} cannot be the name of an entry. Use lower-case letters, "
            "digits, '-' and '.'."
        )


_PART = r"\w(?:[\w.-]{0,94}\w)?"
_REPO = re.compile(rf"(?!.*(?:--|\.\.)){_PART}/{_PART}", re.ASCII)


def is_repo_id(text: str) -> bool:
    """Return whether ``text`` is an ``owner/name`` that the Hub allows.

    Example:
        >>> is_repo_id("lab/factorized-bbc"), is_repo_id("factorized-bbc"), is_repo_id("a/../b")
        (True, False, False)
    """
    return _REPO.fullmatch(text) is not None


def licence_of(card: str) -> str | None:
    r"""Return the licence named in the front matter of a card.

    Example:
        >>> licence_of("---\nlicense: apache-2.0\n---\n# A model")
        'apache-2.0'
    """
    front = card.split("\n---", 1)[0] if card.startswith("---\n") else ""
    found = re.search(r"^license: *[\"']?([^\s\"']+)", front, re.MULTILINE)
    return found[1] if found else None


def check_license(license: Any, has_text: bool, where: str) -> None:
    """Check that weights have a licence that the Hub knows, or one whose text is included.

    Args:
        license: the Hub's identifier: ``apache-2.0``, ``other`` ...
        has_text: whether the package has the text, LICENSE.
        where: for the message.

    Raises:
        PublishRefusedError: they do not; the text says what to give.
    """
    if not isinstance(license, str) or not re.fullmatch(r"[a-z0-9][a-z0-9.-]*", license):
        fault = f"cannot be {license!r}" if license else "is missing"
        raise PublishRefusedError(
            f"{where}: the licence of the weights {fault}. Give license='apache-2.0', another "
            "identifier of the Hub, or 'other' with license_text."
        )
    if license == "other" and not has_text:
        raise PublishRefusedError(
            f"{where}: license 'other' needs a LICENSE file in the package. Give license_text."
        )


def check_keypoints(keypoints: Mapping[str, Any], where: str) -> None:
    """Check names, groups, edges and flips against the number of keypoints."""
    count, names, flips = (keypoints[key] for key in ("count", "names", "flip_pairs"))
    pairs, flipped = [*keypoints["edges"], *flips], [k for pair in flips for k in pair]
    members = [k for part in (*pairs, *keypoints["groups"].values()) for k in part]
    printable = all(0 < len(name) <= 64 and name.isprintable() for name in names)
    distinct = all(len(pair) == 2 and pair[0] != pair[1] for pair in pairs)
    fine = {
        f"count {count} is not in 1 ... {MAX_KEYPOINTS}": 0 < count <= MAX_KEYPOINTS,
        f"names must be {count} different names": len(names) == count == len(set(names)),
        "names must have 1 to 64 printable characters": printable,
        f"semantics must be one of {', '.join(SEMANTICS)}": keypoints["semantics"] in SEMANTICS,
        "edges and flip_pairs must be pairs of different keypoints": distinct,
        f"edges, flip_pairs and groups must be in 0 ... {count - 1}": all(
            0 <= k < count for k in members
        ),
        "a keypoint is in two flip_pairs": len(flipped) == len(set(flipped)),
    }
    require(f"{where}: keypoints", fine)


def check_evaluation(evaluation: Any, where: str) -> None:
    """Check the table of results."""
    where = f"{where}: evaluation.json"
    check_version(evaluation, where)
    conform(evaluation, EVALUATION, where)
    for i, row in enumerate(evaluation["results"]):
        place = f"{where}: results[{i}]"
        if row["origin"] not in ORIGINS:
            raise IntegrityError(f"{place}: origin {row['origin']!r} must be one of {ORIGINS}.")
        if not math.isfinite(row["value"]):
            raise IntegrityError(f"{place}: the value {row['value']} is not finite.")
        if not all(row[key].strip() for key in ("task", "protocol", "metric", "unit")):
            raise IntegrityError(f"{place}: task, protocol, metric and unit must not be empty.")


def _check_numbers(node: Any, where: str, most: int = MAX_NUMBER) -> None:
    """Refuse numbers that could make a constructor loop or allocate endlessly."""
    if isinstance(node, dict):
        for key, value in node.items():
            _check_numbers(value, f"{where}.{key}", MAX_SIDE if key == "image_size" else most)
    elif isinstance(node, list):
        for value in node:
            _check_numbers(value, where, most)
    elif isinstance(node, int) and abs(node) > most:
        raise IntegrityError(f"{where} must be at most {most}, not {str(node)[:20]}.")


def _numbers(version: str) -> tuple[int, ...]:
    """Return the release numbers of a version: (0, 1, 0); empty if it is not valid."""
    found = re.match(r"\d{1,9}(\.\d{1,9})*", version)
    return tuple(map(int, found[0].split("."))) if found else ()


def canonical(value: Any) -> bytes:
    """Return a JSON value in canonical form: sorted keys, no spaces."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return text.encode()


def pretty(value: Any) -> bytes:
    """Return JSON for people, ending with a newline.

    Raises:
        ValueError: it contains NaN or infinity.
    """
    return (json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n").encode()
