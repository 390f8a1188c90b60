"""Converting official checkpoints to packages: the only place where pickles are read.

Whoever has the right to the weights runs this once, offline; everyone else loads the package.
"""

from __future__ import annotations

from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from registry.atomic import replacing
from registry.errors import ConfigError, did_you_mean
from zoo.schema import check_license

if TYPE_CHECKING:
    from torch import Tensor

VGG = "colorization-vgg16"

# whose code wrote the file -> what the file must be
SOURCES: dict[str, str] = {
    "factorized": "a checkpoint of the official code, with the state dict of the whole model",
    "fomm": "a .pth.tar with the state dicts kp_detector and generator",
    "imm": "a TensorFlow checkpoint: the path that its .index and .data-00000-of-00001 begin with",
    "keypointgan": "a folder with ITERATION_net_NAME.pth for G_A, G_B and regressor, and the "
    "pre-trained regressor as ITERATION_net_offline_regressor.pth; or the file of a regressor",
    "monkeynet": "a .pth.tar with the state dicts kp_detector and generator",
    VGG: "vgg16.caffemodel.h5, the colourisation network of IMM's loss; writes one file",
}


def convert(
    source: str,
    file: str | Path,
    out: str | Path,
    *,
    license: str,
    config: str | Path | None = None,
    **options: Any,
) -> Path:
    """Write the weights of an official checkpoint as a package.

    Critics and priors, which only training needs, are left out; everything else must fit exactly.

    Args:
        source: whose code wrote the file, one of ``SOURCES``.
        file: as described in ``SOURCES``.
        out: the folder to write; for ``colorization-vgg16`` the ``.safetensors`` file.
        license: of the weights, as granted by their owner; never guessed.
        config: a config file or the name of a zoo entry, of the same model.
        **options: ``license_text`` and ``overwrite`` of ``zoo.save``.

    Returns:
        ``out``.

    Raises:
        ConfigError: the file cannot be read or is of another model, or the config does not exist.
        ZooError: the package cannot be written.
        FileExistsError: ``out`` exists.
    """
    if source not in SOURCES:
        raise ConfigError(f"there is no converter '{source}'.{did_you_mean(source, SOURCES)}")
    check_license(license, bool(options.get("license_text")) or source == VGG, source)
    file, out = Path(file), Path(out)
    if source == VGG:
        return _write(load(source, file), out, license, options.get("overwrite", False))
    from zoo.saving import save

    name, cfg, dataset = _config(source, config)
    model = _filled(load(source, file), cfg, source, file)
    read = getattr(_module(source), "files", lambda path: {"": path})(file).values()
    sums = [f"{path.name} (sha256 {sha256(path.read_bytes()).hexdigest()})" for path in read]
    base = f"converted from {', '.join(sums)}"
    training = {"dataset": dataset, "config": name, "base": base}
    return save(model, out, name=name, license=license, cfg=cfg, training=training, **options)


def load(source: str, file: str | Path) -> dict[str, Tensor]:
    """Return the tensors of an official file under the names of our components.

    Raises:
        ConfigError: the file cannot be read, or belongs to another model.
    """
    found: dict[str, Tensor] = _module(source).load(file)
    return found


def _module(source: str) -> Any:
    return import_module(f"zoo.convert.{source.replace('-', '_')}")


def _config(source: str, config: str | Path | None) -> tuple[str, dict[str, Any], str | None]:
    """Return name, resolved config and data set of the model that the weights are for."""
    from registry import load_config
    from zoo import index

    rows = [row for row in index.entries().values() if row.converter == source]
    if config is None:
        if len(rows) != 1:
            names = ", ".join(row.name for row in rows)
            raise ConfigError(f"--config is missing. Give one of {names}, or a config file.")
        config = rows[0].name
    if Path(config).suffix in (".py", ".json"):
        name, path = Path(config).stem.replace("_", "-"), Path(config)
        dataset = next((row.dataset for row in rows if row.name == name), None)
        return name, load_config(path), dataset
    row = index.find(str(config))
    if row.config is None:
        raise ConfigError(f"'{row.name}' of {row.provider} has no config. Give a config file.")
    return row.name, load_config(row.config, row.options), row.dataset


def _filled(found: dict[str, Tensor], cfg: dict[str, Any], source: str, file: Path) -> Any:
    """Return the config's model, without training-only parts, with strictly loaded weights."""
    from registry import checkpoint
    from registry.build import build_model, resolve
    from zoo import describe

    left_out = describe.training_only(resolve(cfg["model"]["type"], "model"))
    kept = {
        f"pipeline.{key}": value
        for key, value in found.items()
        if key.split(".")[0] not in left_out
    }
    model = build_model({"model": describe.inference(cfg["model"])}, to_fill=True)
    for part, module in model.named_children():
        if module.state_dict() and not any(key.startswith(f"pipeline.{part}.") for key in kept):
            raise ConfigError(
                f"{file} has no weights for model.{part}. For {source}, give {SOURCES[source]}."
            )
    checkpoint.load_part(model, {"model": kept}, "pipeline", str(file))
    return model.eval()


def _write(state: dict[str, Tensor], out: Path, license: str, overwrite: bool) -> Path:
    """Write a file of tensors, atomically."""
    if out.exists() and not overwrite:
        raise FileExistsError(f"'{out}' already exists. Give another --out.")
    if out.suffix != ".safetensors":
        raise ConfigError(f"--out '{out}': {VGG} writes one file. Give --out NAME.safetensors.")
    from zoo.tensors import to_bytes

    with replacing(out, sync=True) as temporary:
        temporary.write_bytes(to_bytes(state, {"license": license}))
    return out
