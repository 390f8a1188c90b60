"""The card of a package, ``README.md``: made of config and evaluation, but for one part.

What a person wrote between the two marker lines is read from the old card and put into the new.
Names and texts may come from anywhere, so each is quoted (front matter) or escaped (text).
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
    "reported-by-paper": "Reported by the paper, of the paper's own model, not measured here",
}
CALLS = {
    "keypoint-detection": """\
image = np.zeros((120, 160, 3), np.uint8)  # yours: RGB, of any size; or a list of such
ready = model.preprocess(image)
outputs = model.predict(ready)  # or predict(image), if pixels are not needed
outputs.landmarks.xy  # (1, {count}, 2): (x, y) in [-1, 1] of what the network saw
ready.to_original(outputs.landmarks.xy)  # the same in pixels of the image
""",
    "motion-transfer": """\
picture = np.zeros((120, 160, 3), np.uint8)  # yours: RGB, of any size
frames = [picture] * 5  # yours: the video whose motion the picture takes over
source, driving = model.preprocess(picture).images[0], model.preprocess(frames).images
model.transfer(source, driving)  # (5, 3, S, S) in [0, 1]
model.predict(driving).landmarks.xy  # (5, {count}, 2): (x, y) in [-1, 1]
""",
    "forecasting": """\
frames = [np.zeros((120, 160, 3), np.uint8)] * {frames}  # yours: consecutive, RGB, of any size
seen = model.preprocess(frames).images[None]
model.forecast(seen, 10)  # (1, 10, 3, S, S) in [0, 1]
""",
    "pose-regression": """\
drawn = model.rasterizer(Landmarks(xy=torch.zeros(1, {count}, 2)))  # yours: (x, y) in [-1, 1]
model.bottleneck(drawn).xy  # read back from the drawing: (1, {count}, 2)
""",
}
INTEGRITY = """\
`manifest.json` lists size and sha256 of every other file; its own sha256 stands for the whole. \
Each loading checks all of them, that the weights were made for this `config.json`, and that \
every tensor fits. Nothing is unpickled or executed.

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
        license: the Hub's identifier of the weights' licence; never guessed. The text of
            ``other`` is the package's LICENSE.
        repo_id: where the package will be published. The card says how to load it from there;
            without, from the folder it is in.
        human: what stands between the markers; see :func:`human_part`.
        pictures: files below ``assets/``.
        summary: one sentence; that of the zoo's entry of this name without.
        folder: of the package; if it is that of the zoo's entry, the card loads it by name.

    Raises:
        PublishRefusedError: no licence, or markers in ``human``.
        IntegrityError: results that cannot be published.
    """
    name = str(config["name"])
    check_license(license, True, f"'{name}'")
    licence = {"license": license}
    if license == "other":
        licence |= {"license_name": f"{name} licence", "license_link": "LICENSE"}
    check_evaluation(evaluation, f"'{name}'")
    results = evaluation["results"]
    if BEGIN in human or END in human:
        raise PublishRefusedError(f"the notes hold {BEGIN} or {END}; these lines frame them.")
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
        "<!-- Kept when this card is made again: the lines between the next two. -->",
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
        sections.append(
            f"## Citation\n\nThe method, which please cite:\n\n> {_text(about['paper'])}"
        )
    body = "\n\n".join(section for section in sections if section)
    return f"---\n{_front_matter(config, results, licence)}---\n\n{body}\n"


def repository_of(text: str) -> str | None:
    """Return the Hub repository that a card loads its package from, if it does."""
    found = re.search(r'^model = zoo\.load\("hf:([^"@]+)"\)', text, re.MULTILINE)
    return found[1] if found else None


def human_part(text: str) -> str:
    """Return what stands between the two marker lines of a card; nothing if it has none.

    Raises:
        PublishRefusedError: one of the lines is missing or there twice, so that a new card would
            lose what a person wrote.
    """
    lines = text.splitlines()
    begins = [i for i, line in enumerate(lines) if line.strip() == BEGIN]
    ends = [i for i, line in enumerate(lines) if line.strip() == END]
    if not begins and not ends:
        return ""
    if len(begins) != 1 or len(ends) != 1 or ends[0] < begins[0]:
        raise PublishRefusedError(
            f"README.md: the notes must stand between one line {BEGIN} and one line {END}."
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
        # a name of ours does not identify anything on the Hub, so only what says that it is there
        "datasets": _hub_ids(training.get("dataset")),
        "base_model": _hub_ids(training.get("base")),
        "metrics": list(dict.fromkeys(row["metric"] for row in ours)),
        "model-index": rows if ours else None,
    }
    return _yaml({key: value for key, value in front.items() if value})


def _index_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a result as model-index has it; what it has no place for is in ``args``."""
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
    """Return the ``owner/name`` of an ``hf:owner/name[@revision]``."""
    found = re.fullmatch(r"hf:([\w.-]+/[\w.-]+)(@.*)?", stated) if isinstance(stated, str) else None
    return [found[1]] if found else []


def _yaml(value: Any) -> str:
    """Return block YAML in ASCII that every parser reads alike: what could be misread is quoted."""
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
    """Return a value as one line of Markdown without any markup of its own."""
    return re.sub(r"([\\`*_{}\[\]<>|#~$&])", r"\\\1", _line(value or ""))


def _code(value: Any) -> str:
    """Return a value as code on one line, fit for a table."""
    text = _line(value or "").replace("`", "'").replace("|", "\\|")
    return f"`{text}`" if text else ""


def _line(value: Any) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in str(value)).split())


def number(value: Any) -> str:
    """Return a value of a table: four digits of a fraction, nothing for None."""
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _bullets(items: Mapping[str, Any]) -> str:
    return "\n".join(f"- {name}: {value}" for name, value in items.items() if value)


def _picture(file: str) -> str:
    if not re.fullmatch(r"assets/[A-Za-z0-9_-][A-Za-z0-9_.-]*\.png", file):
        raise PublishRefusedError(f"{file!r} is not a picture of a package, assets/*.png.")
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
        f"\n\nNeeds the plugin {_code(plugin['distribution'])}, which is not part of the library."
        for plugin in config["plugins"]
    )
    here = "  # the folder of this card; or its path" if reference == "dir:." else ""
    return f"```python\n{imports}\n\nmodel = zoo.load({quoted}){here}\n{code}```{plugins}"


def _results(results: Sequence[Mapping[str, Any]]) -> str:
    """Return one table per origin, so that nobody's numbers stand in another's column."""
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
        definition = _text(row["definition"]) or "no definition given"
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
        "The names are those of the annotated keypoints the model was made to predict."
        if keypoints["semantics"] == "annotated"
        else "Discovered landmarks have no anatomical meaning: their names are numbers, and left "
        "and right are whatever the training made of them."
    )
    shown = {
        "names, in order": ", ".join(_code(name) for name in keypoints["names"]),
        "edges": ", ".join(f"{a}-{b}" for a, b in keypoints["edges"]),
        "swapped by a mirror": ", ".join(f"{a}-{b}" for a, b in keypoints["flip_pairs"]),
    }
    for name, members in keypoints["groups"].items():
        shown[f"group {_text(name)}"] = ", ".join(map(str, members))
    return f"{meaning}\n\n{_bullets(shown)}"


def _coordinates(config: Mapping[str, Any]) -> str:
    images, points = config["preprocess"], config["coordinates"]
    size = images["image_size"]
    shown = {
        "network input": f"{size} x {size} pixels" if size else "any size",
        "an image is fitted by": _code(images["fit"]),
        "resizing": _text(images["resize"]) + (", antialiased" if images["antialias"] else ""),
        "values": f"{_text(images['color'])} in {_text(images['range'])}",
        "points": f"{_text(points['frame'])} to [-1, 1], order {_code(points['order'])}",
        "centre of pixel i of S": _code(points["pixel_centre"]),
        "further outputs": ", ".join(_code(extra) for extra in points["extras"]),
    }
    does = "\n\n`model.preprocess` does all this, and its `to_original` takes points back."
    return _bullets(shown) + (does if size else "")


def _usual(config: Mapping[str, Any]) -> str:
    """Tell what images of training looked like, where a package says it."""
    if (usual := config.get("usual")) is None:
        return ""
    ranges = [
        f"{_text(name.replace('_', ' '))} {number(float(five[1]))} to {number(float(five[3]))}"
        for name, five in usual["quantiles"].items()
    ]
    return (
        f" `predict` warns of photographs unlike those of training: 98 % of {usual['images']} of "
        f"these have {', '.join(ranges)} (values in [0, 1], the image is 2 wide)."
    )


def _limits(config: Mapping[str, Any], results: Sequence[Mapping[str, Any]]) -> str:
    data, seed = config["training"].get("dataset"), config["training"].get("seed")
    lines = [f"Trained on {_text(data)} alone; other images were not tried." if data else ""]
    if seed is not None:
        lines.append("One training run; another seed gives other numbers and other landmarks.")
    if not any(row["origin"] == "ours" for row in results):
        lines.append("No number above was measured with these weights.")
    if config["preprocess"]["fit"] == "stretch":
        lines.append("Images are stretched to a square; very wide or tall ones suffer.")
    lines.append(
        "Every image gets all landmarks, also one that shows nothing of the kind." + _usual(config)
    )
    return "\n".join(f"- {line}" for line in lines if line)
