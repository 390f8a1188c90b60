"""Using another data set with a method: ``--data FILE``, ``load_config(ref, data=FILE)``.

The file is a config, literal Python like any other, that may hold nothing but data::

    image_size = 64
    data = dict(
        train=dict(type="datasets/frames", root="my/clips", image_size=image_size),
        fit=dict(type="datasets/frames", root="my/labelled", image_size=image_size,
                 annotations="my/labelled.csv", labelled_only=True, pair="same"),
        test=dict(type="datasets/frames", root="my/test", image_size=image_size,
                  annotations="my/test.csv", labelled_only=True, pair="same"),
    )
    evaluate = dict(metrics=dict(regression=dict(type="metrics/regression", normaliser="pixels")))

Its ``data`` section replaces that of the method's config, and so does ``evaluate`` if it has one.
The file may be the config of another method (``--data keypointgan_h36m``). The rules are:

- A number that both files assign (``image_size``) has the value of the method's config.
- What belongs to the method stays: ``transforms``, unless a file without ``model`` has its own;
  the prior, unless the file has one; and a data set that is built on another one, its
  ``frame_dataset`` (clips for a forecast): the file's data set becomes the inner one.
- ``train`` and ``prior`` are used only by methods that learn from them; a file for evaluation
  needs neither.
- Configs that ``train.init`` names are trained on the same data and are not scored.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from copy import deepcopy
from typing import Any

from registry.errors import ConfigError, did_you_mean

LEARNED_FROM = ("train", "prior")


def check(
    file: Mapping[str, Any], sections: Collection[str], unread: Collection[str], where: str
) -> None:
    """Check that a file provides data, and that nothing in it is ignored.

    Args:
        file: its content.
        sections: those that a config may have.
        unread: names that it assigns but does not use.
        where: its path, for the messages.

    Raises:
        ConfigError: it has no data, or holds something that would be ignored.
    """
    if not isinstance(file.get("data"), Mapping):
        raise ConfigError(f"--data: {where} has no section 'data'.")
    for key, value in file.items():
        if isinstance(value, Mapping) and key not in sections:
            raise ConfigError(f"{where}: unknown section '{key}'.{did_you_mean(key, sections)}")
    if "model" in file:
        return
    for key in file:
        if key in ("train", "losses"):
            raise ConfigError(
                f"--data: {where}: '{key}' would be ignored: a file without 'model' provides only "
                "'data' and 'evaluate'. Remove it, and change other settings with --cfg-options."
            )
        if key in unread and key not in sections:
            raise ConfigError(f"--data: {where}: '{key}' is assigned but never used. Remove it.")


def with_data(cfg: Mapping[str, Any], file: Mapping[str, Any], *, origin: bool) -> dict[str, Any]:
    """Return a config with the data of a file that passed `check`.

    Args:
        cfg: config of the method, before options.
        file: content of the file.
        origin: whether ``train.init`` names this config.
    """
    old = cfg.get("data", {})
    new = {
        key: _inside(old.get(key), value, key)
        for key, value in file["data"].items()
        if key not in LEARNED_FROM or old.get(key)
    }
    for key in ("prior", "prior_size"):
        if key in old and "prior" not in new:
            new[key] = old[key]
    if "transforms" in old and ("model" in file or "transforms" not in new):
        new["transforms"] = old["transforms"]
    found = dict(cfg) | {"data": new}
    if origin:
        for key in ("fit", "val", "test", "optional"):
            new.pop(key, None)
        found.pop("evaluate", None)
    elif "evaluate" in file:
        found["evaluate"] = file["evaluate"]
    modules = dict.fromkeys([*cfg.get("plugins", []), *file.get("plugins", [])])
    if modules:
        found["plugins"] = list(modules)
    return deepcopy(found)


def _inside(old: Any, new: Any, key: str) -> Any:
    """Put a data set of frames inside the data set that the method builds on such frames."""
    if not isinstance(old, Mapping) or not isinstance(new, Mapping):
        return new
    if key == "train" and new.get("type") != old.get("type"):
        new = new.get("frame_dataset", new)
    if "frame_dataset" in old and "frame_dataset" not in new:
        return {**old, "frame_dataset": new}
    return new
