"""Configs: one literal Python file per run, read top to bottom, overridden strictly.

A config holds plain numbers (``image_size = 64``) and the sections ``model``, ``losses``, ``data``,
``train``, ``evaluate``. An unknown key is an error with a suggestion, a value of the wrong kind
one that names its place, and ``image_size=128`` on the command line changes every use of it.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from mmengine.config import Config

from registry import data_file, origins, plugins
from registry.build import resolve
from registry.errors import ConfigError, did_you_mean, one_line
from registry.kinds import Part, arguments_of, check_arguments, check_tree


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """The ``data`` section.

    Attributes:
        train: dataset of training pairs; absent when only the prior is trained on.
        prior: dataset whose ``keypoints(index)`` are the unpaired poses.
        prior_size: use only this many prior poses, drawn with ``train.seed``; None for all.
        fit: annotated frames on which protocols fit their regressor or mean, and from which
            competitors learn; they must not be frames of ``test``.
        val: dataset that selects ``best.pth`` if ``train.evaluate_every`` is set, and that the
            panels show; never the test split.
        test: dataset on which the metrics are computed.
        optional: ``fit``, ``test``, or both: labelled data that not everybody has. If none of the
            files and folders that such a dataset names (strings with a slash) exist, it is left
            out with a note, and so are the metrics that need it. If only some are missing, that is
            an error. A dataset that an option sets (``data.test.root=...``) is required.
        transforms: batch transforms of the training batches, in order.
        workers: loader processes; 0 loads in the training process.
    """

    train: Part | None = None
    prior: Part | None = None
    prior_size: int | None = None
    fit: Part | None = None
    val: Part | None = None
    test: Part | None = None
    optional: Sequence[Literal["fit", "test"]] = ()
    transforms: Sequence[Part] = ()
    workers: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Changes for one parameter group: ``lr``, ``betas``, ``weight_decay`` of Adam."""

    lr: float = 0.0
    betas: tuple[float, float] = (0.0, 0.0)
    weight_decay: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Train:
    """The ``train`` section.

    Attributes:
        iterations: optimizer steps.
        batch_size: items per step and process.
        lr, betas, weight_decay: of Adam, for every parameter group.
        clip: maximum gradient norm of each parameter group; None for no clipping.
        clip_each: clip the norm of each tensor separately instead.
        groups: changes per parameter group of the pipeline: ``{"critic": {"weight_decay": 0.0}}``.
        lr_factors: ``(iteration, factor)`` points, interpolated linearly; two points at the same
            iteration make a step: ``((60, 1.0), (60, 0.1))``; empty for a constant rate. They are
            rescaled if an option changes ``train.iterations`` alone.
        ema: decay of the averaged weights, which are then evaluated; None to keep no average.
        init: part of the pipeline -> config whose trained weights it starts from
            (``{"bottleneck": "keypointgan_h36m_regressor"}``), trained first if necessary;
            ``"config:part"`` if the part has another name there.
        amp: autocast to bfloat16.
        compile: compile the pipeline with torch.compile.
        sync_batch_norm: batch norm over the batches of all processes, as in FOMM; needs several
            GPUs and is ignored otherwise (not yet tried on several GPUs).
        seed: for weights, batches and augmentation.
        timeout: seconds after which a distributed run ends because a process hangs: it is silent,
            or still at the same place of an iteration. Validation by the first process may take
            longer.
        log_every, panels_every, checkpoint_every, evaluate_every: iterations; 0 for never.
        hooks: additional hooks.
    """

    iterations: int
    batch_size: int
    lr: float
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    clip: float | None = None
    clip_each: bool = False
    groups: Mapping[str, Annotated[Mapping[str, Any], Group]] = field(default_factory=dict)
    lr_factors: Sequence[tuple[float, float]] = ()
    ema: float | None = None
    init: Mapping[str, str] = field(default_factory=dict)
    amp: bool = False
    compile: bool = False
    sync_batch_norm: bool = False
    seed: int = 0
    timeout: float = 600.0
    log_every: int = 50
    panels_every: int = 1000
    checkpoint_every: int = 1000
    evaluate_every: int = 0
    hooks: Sequence[Part] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluate:
    """The ``evaluate`` section.

    Attributes:
        metrics: protocol name -> metric.
        crop: the source of the test crops: ``gt``, ``detector``, ``tracker`` or ``none``.
        batch_size: frames per step.
        max_items: evaluate this many test frames, evenly spaced; None for all.
        fit_items: the same for the frames of ``data.fit``.
    """

    metrics: Mapping[str, Part] = field(default_factory=dict)
    crop: str = "none"
    batch_size: int = 64
    max_items: int | None = None
    fit_items: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sections:
    """All sections of a config, with the modules that it imports and its origins."""

    model: Part
    losses: Mapping[str, Part] = field(default_factory=dict)
    data: Data = field(default_factory=Data)
    train: Train
    evaluate: Evaluate = field(default_factory=Evaluate)
    plugins: Sequence[str] = ()
    origins: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


SECTIONS: dict[str, Any] = {"data": Data, "train": Train, "evaluate": Evaluate}
KEYS = tuple(Sections.__dataclass_fields__)
LARGEST_FILE = 2**24  # bytes of a config


ROOT = Path(__file__).resolve().parents[1]
# zoo/configs in an installed wheel, configs in a checkout
SHIPPED = ROOT / "zoo" / "configs" if (ROOT / "zoo" / "configs").is_dir() else ROOT / "configs"


_RESOLVED = (
    "{} is a resolved config, in which '{}' has no effect. Override it in the .py config, or "
    "override the full key (such as model.encoder.width)."
)


def load_config(
    ref: str | Path | Mapping[str, Any],
    options: Mapping[str, Any] | None = None,
    *,
    data: str | Path | None = None,
) -> dict[str, Any]:
    """Read a shipped config, a ``.py`` file or a saved ``config.json``; apply ``options`` strictly.

    Args:
        ref: name of a shipped config (``factorized_video``), path of a file (anything with a
            suffix or a slash), or a resolved config itself, as checkpoints hold it.
        options: dotted key -> value, as from ``--cfg-options``. A plain key (``image_size``)
            changes every place that uses the number; a dict as value replaces a whole component.
            ``train.iterations`` alone also rescales ``train.lr_factors``.
            An argument that a data set lacks is passed to its ``frame_dataset`` if that has it:
            ``data.train.root`` works for clips of frames as it does for frames.
        data: another config, by name or path, whose data this method should use; see
            registry/data_file.py.

    Returns:
        The resolved config: plain dicts, lists and numbers. ``origins`` holds the resolved configs
        that ``train.init`` starts from, by name; registry/origins.py says which options reach them.

    Raises:
        ConfigError: the config does not exist, or a key is unknown or left over from another
            ``type``.
    """
    other = None if data is None else find_config(data)
    source: Any = ref
    if not isinstance(ref, Mapping):
        source = find_config(ref)
    elif other is None and (plain := [key for key in options or {} if "." not in key]):
        raise ConfigError(_RESOLVED.format("this", plain[0]))
    files = [file for file in (source, other) if isinstance(file, Path)]
    saved = [file.absolute().parent for file in files if file.suffix == ".json"]
    return _resolved(source, dict(options or {}), other, saved)


def find_config(ref: str | Path) -> Path:
    """Return the file of a shipped config's name or of a path.

    Raises:
        ConfigError: it does not exist; similar names and files are suggested.
    """
    path = Path(ref)
    named = not path.suffix and str(ref) == path.name
    file = SHIPPED / f"{ref}.py" if named else path
    if file.is_file():
        return file
    shipped = [config.stem for config in SHIPPED.glob("*.py")]
    near = [str(config) for config in path.parent.glob("*.py")] if path.parent.is_dir() else []
    hint = did_you_mean(str(ref), [*near, *shipped] if named else near)
    if "Did you mean" not in hint and path.stem in shipped:
        hint = f" Did you mean the shipped config '{path.stem}'?"
    raise ConfigError(f"there is no config '{ref}'.{hint}")


def config_name(ref: str | Path) -> str:
    """Return a config's name: the stem of its file, or the folder's name for ``config.json``.

    Example:
        >>> config_name("configs/factorized_video.py"), config_name("work_dirs/mice/config.json")
        ('factorized_video', 'mice')
    """
    path = Path(ref)
    return path.absolute().parent.name if path.suffix == ".json" else path.stem


def _resolved(
    source: Path | Mapping[str, Any],
    options: Mapping[str, Any],
    data: Path | None,
    saved: Sequence[Path],
    chain: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Return the config of a file, or a saved one, with options applied and its origins.

    Args:
        source, options, data: as of :func:`load_config`.
        saved: folders of saved configs, from which no plugin is imported.
        chain: the configs that start from this one, each from the next.
    """
    cfg = _read_with(data, source, options, bool(chain))
    folder = source.parent if isinstance(source, Path) and source.suffix == ".py" else None
    held = cfg.pop("origins", {}) if folder is None else {}
    plugins.import_local(cfg.get("plugins", ()), saved)
    planned = deepcopy(cfg.get("train"))
    options = {_reached(cfg, key): value for key, value in options.items()}
    for key, value in options.items():
        if "." in key:
            _override(cfg, key, value)
    _require_named(cfg, options)
    validate(cfg, _name_of(source))
    if "train.iterations" in options and not any("train.lr_factors" in key for key in options):
        _stretch(cfg["train"], planned)
    found = {}
    for name in origins.names(cfg):
        if name in chain or len(chain) > 9:
            raise ConfigError(f"train.init: {' -> '.join((*chain, name))} never ends.")
        first: Any = _origin_file(name, folder) if folder else held.get(name)
        if first is None:
            continue  # already trained: its folder is enough
        if not isinstance(first, (Path, Mapping)):
            raise ConfigError(f"origins.{name} must be a config, not {first!r}.")
        before = _read_with(data, source, {}, bool(chain))
        first_before = _read_with(data, first, {}, True)
        shared = origins.shared_options(options, before, name, first_before)
        try:
            found[name] = _resolved(first, shared, data, saved, (*chain, name))
        except ConfigError as error:
            raise ConfigError(f"train.init: {name}, which is trained first: {error}") from error
        if options:
            origins.require_agreement(before, cfg, name, first_before, found[name])
    return {**cfg, "origins": found} if found else cfg


def _name_of(source: Path | Mapping[str, Any]) -> str:
    return str(source) if isinstance(source, Path) else "the config"


def _origin_file(name: str, folder: Path) -> Path | None:
    """Return the config that ``train.init`` names: in the same folder, else a shipped one."""
    files = (folder / f"{name}.py", SHIPPED / f"{name}.py")
    return next((file for file in files if file.is_file()), None)


def _require_named(cfg: dict[str, Any], options: Mapping[str, Any]) -> None:
    """Make optional data sets required if an option names them."""
    optional = cfg.get("data", {}).get("optional")
    if isinstance(optional, list):
        named = [key.split(".")[1] for key in options if key.startswith("data.")]
        cfg["data"]["optional"] = [name for name in optional if name not in named]


def _read_with(
    data: Path | None,
    source: Path | Mapping[str, Any],
    options: Mapping[str, Any],
    origin: bool,
) -> dict[str, Any]:
    """Return a file's config with the plain ``options``, using the data of another file if given.

    Raises:
        ConfigError: a file cannot be read or is of the wrong kind.
    """
    plain = {key: value for key, value in options.items() if "." not in key}
    if data is None:
        return _read(source, plain)
    method, file = _read(source, {}), _read(data, {})
    unread = _unread(data) if data.suffix == ".py" else set()
    data_file.check(file, KEYS, unread, str(data))
    cfg = _read(source, {k: v for k, v in plain.items() if k in method or k not in file})
    if data.suffix == ".py":  # in a saved config plain numbers have no effect
        same = {key: cfg[key] for key in file if isinstance(cfg.get(key), (int, float))}
        own = {key: value for key, value in plain.items() if key in file and key not in method}
        file = _read(data, own | same)
    found = data_file.with_data(cfg, file, origin=origin)
    return found | {key: plain[key] for key in ("data", "evaluate") if key in plain}


def _read(source: Path | Mapping[str, Any], plain: dict[str, Any]) -> dict[str, Any]:
    """Return a file's config with the plain numbers in ``plain`` replaced, and lists as in JSON.

    Raises:
        ConfigError: the file cannot be read or does not hold a config.
    """
    where = _name_of(source)
    if isinstance(source, Path) and source.suffix == ".json" and plain:
        raise ConfigError(_RESOLVED.format(source, next(iter(plain))))
    try:
        if isinstance(source, Mapping):
            cfg: Any = source
        elif source.suffix == ".json":
            cfg = json.loads(_text(source), object_pairs_hook=_unique)
        else:
            text = _with_numbers(source, plain)
            with plugins.foreign(where):  # a config is a program: anything can fail in it
                cfg = Config.fromstring(text, ".py").to_dict()
    except ConfigError:
        raise
    except (OSError, ValueError, SyntaxError, RecursionError, MemoryError) as error:
        raise ConfigError(f"{where}: {one_line(error)}") from error
    if not isinstance(cfg, Mapping):
        raise ConfigError(f"{where} is not a config: it has no sections.")
    try:
        check_tree(cfg)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error
    for key in KEYS:
        kind, word = (list, "list") if key == "plugins" else (dict, "dict")
        if not isinstance(cfg.get(key, kind()), kind):
            what = f"the section '{key}'" if kind is dict else f"'{key}'"
            raise ConfigError(f"{where}: {what} must be a {word}, not {cfg[key]!r}.")
    found: dict[str, Any] = json.loads(json.dumps(cfg))  # tuples become lists, as in config.json
    return found


def _text(file: Path) -> str:
    """Return the text of a config.

    Raises:
        OSError: it cannot be read.
        ConfigError: it is not UTF-8, or too large.
    """
    with file.open("rb") as opened:
        content = opened.read(LARGEST_FILE + 1)
    if len(content) > LARGEST_FILE or b"\0" in content:
        raise ConfigError(f"{file} is not a config, but a binary or very large file.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ConfigError(f"{file}: line {line} is not UTF-8. Save the file as UTF-8.") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object as a dict.

    Raises:
        ValueError: a key occurs twice.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice!r} occurs twice in the same dict. Keep one.")
    return found


def _with_numbers(path: Path, plain: dict[str, Any]) -> str:
    """Return the source with the plain top-level assignments in ``plain`` replaced."""
    tree = ast.parse(_text(path))
    names: dict[str, Any] = {}
    for node in tree.body:
        if isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                if isinstance(target, ast.Name):
                    if target.id in names:
                        raise ConfigError(
                            f"{path}: line {node.lineno} assigns '{target.id}' a second time. "
                            "Keep one assignment."
                        )
                    names[target.id] = node
    imports = any(isinstance(node, (ast.Import, ast.ImportFrom)) for node in ast.walk(tree))
    if imports or "_base_" in names:
        raise ConfigError(
            f"{path}: a config must be self-contained. Remove its imports and _base_."
        )
    for key, value in plain.items():
        if key not in names:
            raise ConfigError(
                f"--cfg-options: there is no key '{key}' in {path}.{did_you_mean(key, names)}"
            )
        names[key].value = ast.parse(repr(value), mode="eval").body
    return ast.unparse(tree)


def _unread(path: Path) -> set[str]:
    """Return the names that a file assigns but does not use."""
    nodes = [node for node in ast.walk(ast.parse(_text(path))) if isinstance(node, ast.Name)]
    used = {node.id for node in nodes if isinstance(node.ctx, ast.Load)}
    return {node.id for node in nodes} - used


def _reached(cfg: Mapping[str, Any], dotted: str) -> str:
    """Return the full key of an option that belongs to a data set inside another one."""
    first, _, rest = dotted.partition(".")
    name, _, argument = rest.partition(".")
    node = cfg.get("data", {}).get(name)
    if first != "data" or not isinstance(node, Mapping) or "type" not in node:
        return dotted
    inner, known = node.get("frame_dataset"), _known_keys(node, f"data.{name}")
    if known is None or argument in known or not isinstance(inner, Mapping) or "type" not in inner:
        return dotted
    within = _known_keys(inner, f"data.{name}.frame_dataset")
    taken = within is None or argument in within
    return f"data.{name}.frame_dataset.{argument}" if taken else dotted


def _override(cfg: dict[str, Any], dotted: str, value: Any) -> None:
    *parents, last = dotted.split(".")
    node: Any = cfg
    for depth, key in enumerate(parents):
        here = ".".join(parents[: depth + 1])
        if isinstance(node, list) and key.isdigit() and int(key) < len(node):
            node = node[int(key)]
        elif isinstance(node, dict) and isinstance(node.get(key), (dict, list)):
            node = node[key]
        else:
            known = node if isinstance(node, dict) else map(str, range(len(node)))
            raise ConfigError(f"--cfg-options: there is no key '{here}'.{did_you_mean(key, known)}")
    place = ".".join(parents)
    if isinstance(node, list):
        if not (last.isdigit() and int(last) < len(node)):
            raise ConfigError(
                f"--cfg-options: there is no entry '{dotted}'; '{place}' has {len(node)} entries."
            )
        node[int(last)] = value
        return
    known_keys = _known_keys(node, place)
    if known_keys is not None and last not in known_keys:
        raise ConfigError(
            f"--cfg-options: there is no key '{dotted}'.{did_you_mean(last, known_keys)}"
        )
    if last == "type" and value != node["type"]:
        arguments = arguments_of(resolve(value, place))
        stale = [k for k in node if k != "type" and arguments is not None and k not in arguments]
        if stale:
            raise ConfigError(
                f"--cfg-options: {place}: '{stale[0]}' belongs to {node['type']}, not to {value}. "
                f"Replace the whole component: \"{place}={{'type': '{value}', ...}}\"."
            )
    node[last] = value


def _stretch(train: dict[str, Any], before: Any) -> None:
    """Rescale the learning-rate schedule to the new number of iterations."""
    planned = (before or {}).get("iterations")
    if isinstance(planned, int) and planned and train.get("lr_factors"):
        share = train["iterations"] / planned
        train["lr_factors"] = [[round(at * share), factor] for at, factor in train["lr_factors"]]


def _known_keys(node: Mapping[str, Any], place: str) -> set[str] | None:
    """Return the keys that an override may set in ``node``; None if its class accepts any."""
    if "type" in node:
        arguments = arguments_of(resolve(node["type"], place))
        return None if arguments is None else {"type", *arguments}
    if place in SECTIONS:
        return set(SECTIONS[place].__dataclass_fields__)
    return set(node)


def validate(cfg: Mapping[str, Any], path: str) -> None:
    """Check the sections of a config: keys, kinds and ranges of their values.

    Constructors' arguments are checked when they are built.

    Raises:
        ConfigError: a key is unknown, a required one is missing, or a value is wrong.
    """
    if "model" not in cfg or "train" not in cfg:
        raise ConfigError(f"{path}: a config needs the sections 'model' and 'train'.")
    for key, value in cfg.items():
        if isinstance(value, Mapping) and key not in KEYS:
            raise ConfigError(f"{path}: unknown section '{key}'.{did_you_mean(key, KEYS)}")
    check_arguments(Sections, {key: cfg[key] for key in KEYS if key in cfg}, "")


def section(cfg: Mapping[str, Any], name: str) -> Any:
    """Return a fixed section (``data``, ``train``, ``evaluate``) as its dataclass, not built."""
    return SECTIONS[name](**cfg.get(name, {}))


def parse_options(pairs: Sequence[str]) -> dict[str, Any]:
    """Parse ``key=value`` words; values are Python literals, lists (``a,b``) or plain strings.

    Example:
        >>> parse_options(["train.lr=1e-3", "model.encoder.type=encoders/stem", "train.amp=true"])
        {'train.lr': 0.001, 'model.encoder.type': 'encoders/stem', 'train.amp': True}

    Raises:
        ConfigError: a word has no ``=``.
    """
    options = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals:
            raise ConfigError(f"--cfg-options: '{pair}' must have the form key=value.")
        options[key] = _parse_value(text)
    return options


def _parse_value(text: str) -> Any:
    words = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return [_parse_value(part) for part in text.split(",")] if "," in text else text
    return list(value) if isinstance(value, tuple) else value
