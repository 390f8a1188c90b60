"""The card of a package, ``README.md``, generated from config and evaluation except for one part.

What a person wrote between the two marker lines is copied from the old card to the new one. Names
and texts may come from anywhere, so each is quoted (front matter) or escaped (text).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from zoo.errors import PublishRefusedError
from zoo.index import entries
from zoo.schema import check_evaluation, check_license

BEGIN, END = "<!-- notes -->", "<!-- /notes -->"

# the Hub's task for each of ours
PIPELINE_TAGS = {
    "keypoint-detection": "keypoint-detection",
    "pose-regression": "keypoint-detection",
    "motion-transfer": "image-to-video",
    "forecasting": "video-to-video",
}
ORIGINS = {
    "ours": "Measured with this package",
    "third-party": "Measured by others",
    "reported-by-paper": "Reported by the paper for its own model, not measured here",
}
CALLS = {
    "keypoint-detection": """\
image = np.zeros((120, 160, 3), np.uint8)  # yours: RGB, any size; or a list of images
ready = model.preprocess(image)
outputs = model.predict(ready)  # or predict(image), if you do not need pixels
outputs.landmarks.xy  # (1, {count}, 2): (x, y) in [-1, 1] of the network's input
ready.to_original(outputs.landmarks.xy)  # the same in pixels of the image
""",
    "motion-transfer": """\
picture = np.zeros((120, 160, 3), np.uint8)  # yours: RGB, any size
frames = [picture] * 5  # yours: the video whose motion animates the picture
source, driving = model.preprocess(picture).images[0], model.preprocess(frames).images
model.transfer(source, driving)  # (5, 3, S, S) in [0, 1]
model.predict(driving).landmarks.xy  # (5, {count}, 2): (x, y) in [-1, 1]
""",
    "forecasting": """\
frames = [np.zeros((120, 160, 3), np.uint8)] * {frames}  # yours: consecutive, RGB, any size
seen = model.preprocess(frames).images[None]
model.forecast(seen, 10)  # (1, 10, 3, S, S) in [0, 1]
""",
    "pose-regression": """\
drawn = model.rasterizer(Landmarks(xy=torch.zeros(1, {count}, 2)))  # yours: (x, y) in [-1, 1]
model.bottleneck(drawn).xy  # read back from the drawing: (1, {count}, 2)
""",
}
INTEGRITY = """\
`manifest.json` lists size and sha256 of every other file; its own sha256 identifies the package. \
Loading checks all files, that the weights belong to this `config.json`, and that every tensor \
fits. Nothing is unpickled or executed.

```python
# deep: also compares the outputs with golden.safetensors
zoo.verify({reference}, deep=True)
```"""
IMPORTS = {"pose-regression": "import torch\n\nimport zoo\nfrom registry.contract import Landmarks"}


def render(
    config: Mapping[str, Any],
    evaluation: Mapping[str, Any],
    *,
    license: str,
    repo_id: str | None = None,
    human: str = "",
    pictures: Sequence[str] = (),
    summary: str = "",
    folder: Path | None = None,
) -> str:
    """Write the card of a package.

    Args:
        config: content of ``config.json``.
        evaluation: content of ``evaluation.json``.
        license: the Hub's identifier of the weights' licence; never guessed. For ``other``, the
            text is the package's LICENSE.
        repo_id: where the package will be published: the card then loads it from there, otherwise
            from its folder.
        human: the text between the markers; see :func:`human_part`.
        pictures: files below ``assets/``.
        summary: one sentence; default: that of the zoo entry of this name.
        folder: of the package; if it is that of the zoo entry, the card loads it by name.

    Raises:
        PublishRefusedError: there is no licence, or ``human`` contains a marker.
        IntegrityError: the results are not valid.
    """
    name = str(config["name"])
    check_license(license, True, f"'{name}'")
    licence = {"license": license}
    if license == "other":
        licence |= {"license_name": f"{name} licence", "license_link": "LICENSE"}
    check_evaluation(evaluation, f"'{name}'")
    results = evaluation["results"]
    if BEGIN in human or END in human:
        raise PublishRefusedError(f"the notes contain {BEGIN} or {END}. Remove these lines.")
    known, trained = entries(), str(config["training"].get("config") or "").removesuffix(".py")
    entry = known.get(name)
    own = entry.folder if entry is not None else None
    reference = f"hf:{repo_id}" if repo_id else "dir:."
    if folder is not None and own is not None and folder.resolve() == own.resolve():
        reference = name
    entry = entry or known.get(trained.replace("_", "-"))
    keys = ("summary", "paper", "data_licence")
    about = {key: getattr(entry, key, "") or "" for key in keys}
    weights = _text(licence.get("license_name") or license)
    weights += ", see `LICENSE`." if license == "other" else "."
    data = f" The training data: {_text(about['data_licence'])}" if about["data_licence"] else ""
    sections = [
        f"# {_text(name)}",
        *(_picture(file) for file in pictures),
        _text(summary or about["summary"]),
        _description(config),
        "## Use\n\n" + _usage(config, reference),
        "<!-- The text between the next two lines is kept when this card is generated again. -->",
        f"{BEGIN}\n{human.strip()}\n{END}",
        "## Results\n\n" + _results(results),
        "## Training\n\n" + _training(config),
        "## Landmarks\n\n" + _landmarks(config["keypoints"]),
        "## Images and coordinates\n\n" + _coordinates(config),
        "## Limits\n\n" + _limits(config, results),
        f"## Licence\n\nThe weights: {weights}{data}",
        "## Integrity\n\n" + INTEGRITY.format(reference=json.dumps(_line(reference))),
    ]
    if about["paper"]:
        sections.append(f"## Citation\n\nPlease cite the method:\n\n> {_text(about['paper'])}")
    body = "\n\n".join(section for section in sections if section)
    return f"---\n{_front_matter(config, results, licence)}---\n\n{body}\n"


def repository_of(text: str) -> str | None:
    """Return the Hub repository from which a card loads its package, if any."""
    found = re.search(r'^model = zoo\.load\("hf:([^"@]+)"\)', text, re.MULTILINE)
    return found[1] if found else None


def human_part(text: str) -> str:
    """Return the text between the two marker lines of a card; '' if it has no markers.

    Raises:
        PublishRefusedError: a marker is missing or repeated, so a new card would lose the notes.
    """
    lines = text.splitlines()
    begins = [i for i, line in enumerate(lines) if line.strip() == BEGIN]
    ends = [i for i, line in enumerate(lines) if line.strip() == END]
    if not begins and not ends:
        return ""
    if len(begins) != 1 or len(ends) != 1 or ends[0] < begins[0]:
        raise PublishRefusedError(
            f"README.md: the notes must be between one line {BEGIN} and one line {END}."
        )
    return "\n".join(lines[begins[0] + 1 : ends[0]]).strip()


def _front_matter(
    config: Mapping[str, Any], results: Sequence[Mapping[str, Any]], licence: Mapping[str, str]
) -> str:
    training = config["training"]
    ours = [row for row in results if row["origin"] == "ours"]
    short = config["architecture"]["type"].split("/")[-1]
    rows = [{"name": config["name"], "results": [_index_row(row) for row in ours]}]
    front = {
        **licence,
        "library_name": "keypoint-zoo",
        "pipeline_tag": PIPELINE_TAGS.get(config["task"]),
        "tags": list(dict.fromkeys(["keypoint-zoo", short, "unsupervised", "landmarks"])),
        # our own names mean nothing on the Hub, so only names that are there
        "datasets": _hub_ids(training.get("dataset")),
        "base_model": _hub_ids(training.get("base")),
        "metrics": list(dict.fromkeys(row["metric"] for row in ours)),
        "model-index": rows if ours else None,
    }
    return _yaml({key: value for key, value in front.items() if value})


def _index_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a result as a row of model-index, with the other keys in ``args``."""
    data = row["dataset"]
    dataset = {"type": data["id"].removeprefix("hf:"), "name": data["name"]}
    if data["split"]:
        dataset["split"] = data["split"]
    further = {k: v for k, v in row.items() if k not in ("dataset", "task", "metric", "value")}
    name = f"{row['metric']}, {row['unit']} ({row['protocol']})"
    metric = {"type": row["metric"], "name": name, "value": row["value"], "args": further}
    task = {"type": PIPELINE_TAGS.get(row["task"], row["task"]), "name": row["task"]}
    return {"task": task, "dataset": dataset, "metrics": [metric]}


def _hub_ids(stated: Any) -> list[str]:
    """Return the ``owner/name`` of ``hf:owner/name[@revision]``."""
    found = re.fullmatch(r"hf:([\w.-]+/[\w.-]+)(@.*)?", stated) if isinstance(stated, str) else None
    return [found[1]] if found else []


def _yaml(value: Any) -> str:
    """Return ASCII block YAML; strings that a parser could misread are quoted."""
    import yaml

    class Dumper(yaml.SafeDumper):  # type: ignore[misc]
        def ignore_aliases(self, data: Any) -> bool:
            return True

    def text(dumper: Any, string: str) -> Any:
        style = None if re.fullmatch(r"[a-z][a-z_-]{2,}", string) else '"'
        return dumper.represent_scalar("tag:yaml.org,2002:str", string, style=style)

    Dumper.add_representer(str, text)
    return str(yaml.dump(value, Dumper=Dumper, sort_keys=False, width=math.inf))


def _text(value: Any) -> str:
    """Return a value as one line of Markdown, its markup escaped."""
    return re.sub(r"([\\`*_{}\[\]<>|#~$&])", r"\\\1", _line(value or ""))


def _code(value: Any) -> str:
    """Return a value as inline code that fits a table."""
    text = _line(value or "").replace("`", "'").replace("|", "\\|")
    return f"`{text}`" if text else ""


def _line(value: Any) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in str(value)).split())


def number(value: Any) -> str:
    """Return a value for a table: floats with four digits, '' for None."""
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _bullets(items: Mapping[str, Any]) -> str:
    return "\n".join(f"- {name}: {value}" for name, value in items.items() if value)


def _picture(file: str) -> str:
    if not re.fullmatch(r"assets/[A-Za-z0-9_-][A-Za-z0-9_.-]*\.png", file):
        raise PublishRefusedError(
            f"{file!r} cannot be a picture of a package. Name it assets/NAME.png."
        )
    return f"![{file.removeprefix('assets/').removesuffix('.png')}]({file})"


def _description(config: Mapping[str, Any]) -> str:
    keypoints, ((file, own),) = config["keypoints"], config["weights"].items()
    flops = number(own["flops"] and f"{own['flops']:,}")
    row = [_code(file), _text(own["role"]), f"{own['parameters']:,}", _code(own["dtype"]), flops]
    parts = [
        [_text(role), _code(part["type"]), f"{part['parameters']:,}"]
        for role, part in config["components"].items()
    ]
    text = (
        f"A model for {_text(config['task'])} of the library keypoint-zoo: "
        f"{_code(config['architecture']['type'])} with {keypoints['count']} landmarks "
        f"({_text(keypoints['semantics'])})."
    )
    text += "\n\n" + _table(["file", "for", "parameters", "stored as", "FLOPs"], [row])
    return text + ("\n\n" + _table(["part", "component", "parameters"], parts) if parts else "")


def _usage(config: Mapping[str, Any], reference: str) -> str:
    task, needed = config["task"], max(2, config["preprocess"]["frames"])
    quoted = json.dumps(_line(reference), ensure_ascii=False)
    code = CALLS.get(task, "").format(frames=needed, count=config["keypoints"]["count"])
    imports = IMPORTS.get(task, "import numpy as np\n\nimport zoo")
    plugins = "".join(
        f"\n\nThis needs the plugin {_code(plugin['distribution'])}, which is installed separately."
        for plugin in config["plugins"]
    )
    here = "  # the folder of this card; or its path" if reference == "dir:." else ""
    return f"```python\n{imports}\n\nmodel = zoo.load({quoted}){here}\n{code}```{plugins}"


def _results(results: Sequence[Mapping[str, Any]]) -> str:
    """Return one table per origin, so that numbers of different origin are kept apart."""
    parts = []
    for origin, title in ORIGINS.items():
        if rows := [row for row in results if row["origin"] == origin]:
            names = list(dict.fromkeys(name for row in rows for name in row["baselines"]))
            head = ["data", "protocol", "metric", "value", "interval", "n"]
            head += [_text(name.replace("_", " ")) for name in names] + ["crop"]
            table = _table(head, [_score_row(row, names) for row in rows])
            parts.append(f"### {title}\n\n{table}\n\n{_protocols(rows)}")
    return "\n\n".join(parts) or "Nothing has been measured yet."


def _score_row(row: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    data, better = row["dataset"], row["higher_is_better"]
    arrow = "" if better is None else " ↑" if better else " ↓"
    low_high = [number(end) for end in row["interval"] or ()]
    return [
        _text(data["name"]) + (f", {_text(data['split'])}" if data["split"] else ""),
        _code(row["protocol"]),
        f"{_code(row['metric'])}, {_text(row['unit'])}{arrow}",
        f"**{number(row['value'])}**",
        " to ".join(low_high) if len(low_high) == 2 else "",
        number(row["n"]),
        *(number(row["baselines"].get(name)) for name in names),
        _text(row["crop"]),
    ]


def _protocols(rows: Sequence[Mapping[str, Any]]) -> str:
    lines: dict[str, None] = {}
    for row in rows:
        source = [_text(row["date"]), _text(row["library"]), _code(row["command"])]
        shown = f" ({', '.join(filter(None, source))})" if any(source) else ""
        definition = _text(row["definition"]) or "no definition was given"
        lines[f"- {_code(row['protocol'])}, {_code(row['metric'])}: {definition}{shown}"] = None
    return "\n".join(lines)


def _training(config: Mapping[str, Any]) -> str:
    of = config["training"].get
    seconds, overrides = of("seconds"), of("overrides")
    shown = {
        "data": _text(of("dataset")),
        "split": _text(of("split")),
        "steps": number(of("steps")),
        "checkpoint": _text(of("selection")),
        "seed": number(of("seed")),
        "hardware": _text(of("hardware")),
        "time": f"{round(seconds / 60)} min" if isinstance(seconds, (int, float)) else "",
        "config": _code(of("config")),
        "overrides": _code(json.dumps(overrides)) if overrides else "",
        "started from": _code(of("base")),
        "library": _text(of("library")),
        "commit": _code(of("commit")),
        "note": _text(of("note")),
    }
    return _bullets(shown) or "Not recorded."


def _landmarks(keypoints: Mapping[str, Any]) -> str:
    meaning = (
        "The names are those of the annotated keypoints that the model was trained to predict."
        if keypoints["semantics"] == "annotated"
        else "Discovered landmarks have no anatomical meaning: their names are numbers, and "
        "training decided which are left and right."
    )
    shown = {
        "names, in order": ", ".join(_code(name) for name in keypoints["names"]),
        "edges": ", ".join(f"{a}-{b}" for a, b in keypoints["edges"]),
        "swapped by mirroring": ", ".join(f"{a}-{b}" for a, b in keypoints["flip_pairs"]),
    }
    for name, members in keypoints["groups"].items():
        shown[f"group {_text(name)}"] = ", ".join(map(str, members))
    return f"{meaning}\n\n{_bullets(shown)}"


def _coordinates(config: Mapping[str, Any]) -> str:
    images, points = config["preprocess"], config["coordinates"]
    size = images["image_size"]
    shown = {
        "network input": f"{size} x {size} pixels" if size else "any size",
        "images are fitted by": _code(images["fit"]),
        "resizing": _text(images["resize"]) + (", antialiased" if images["antialias"] else ""),
        "values": f"{_text(images['color'])} in {_text(images['range'])}",
        "points": f"{_text(points['frame'])} to [-1, 1], order {_code(points['order'])}",
        "centre of pixel i of S": _code(points["pixel_centre"]),
        "other outputs": ", ".join(_code(extra) for extra in points["extras"]),
    }
    does = "\n\n`model.preprocess` does all this; `to_original` maps points back to the image."
    return _bullets(shown) + (does if size else "")


def _usual(config: Mapping[str, Any]) -> str:
    """Return a sentence on what the training images look like, if the package says so."""
    if (usual := config.get("usual")) is None:
        return ""
    ranges = [
        f"{_text(name.replace('_', ' '))} {number(float(five[1]))} to {number(float(five[3]))}"
        for name, five in usual["quantiles"].items()
    ]
    return (
        f" `predict` warns about photographs unlike the training images: 98 % of "
        f"{usual['images']} of these have {', '.join(ranges)} (values in [0, 1]; the image is 2 "
        "wide)."
    )


def _limits(config: Mapping[str, Any], results: Sequence[Mapping[str, Any]]) -> str:
    data, seed = config["training"].get("dataset"), config["training"].get("seed")
    lines = [f"Trained on {_text(data)} only; other images were not tried." if data else ""]
    if seed is not None:
        lines.append("One training run; another seed leads to other numbers and other landmarks.")
    if not any(row["origin"] == "ours" for row in results):
        lines.append("No number above was measured with these weights.")
    if config["preprocess"]["fit"] == "stretch":
        lines.append(
            "Images are stretched to a square, which distorts those that are very wide or tall."
        )
    lines.append(
        "Every image gets all landmarks, even if it shows something else." + _usual(config)
    )
    return "\n".join(f"- {line}" for line in lines if line)
