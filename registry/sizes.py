"""The image size of a run, shared by its data sets and the parts that draw."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from registry.build import resolve
from registry.errors import ConfigError
from registry.kinds import arguments_of

PLACES = ("model", "data.train", "data.fit", "data.val", "data.test")  # a prior has poses only


def image_size(cfg: Mapping[str, Any]) -> int | None:
    """Return the side, in pixels, of the images that a resolved config trains and scores on.

    It is the ``image_size`` of data sets, rasterizers and all other parts that have one, explicit
    or by default; the plain number at the top of a config only fills in these places.

    Returns:
        None if no part has one.

    Raises:
        ConfigError: two of them differ.
    """
    sizes: dict[str, int] = {}
    for place in PLACES:
        node: Any = cfg
        for key in place.split("."):
            node = node.get(key) or {}
        sizes |= _sizes(node, place)
    if not sizes:
        return None
    (first, size), *others = sizes.items()
    for place, other in others:
        if other != size:
            raise ConfigError(
                f"{place}.image_size is {other}, but {first}.image_size is {size}: a model needs "
                f"images of one size. Set image_size={other} for the .py config, which "
                "changes every place, or give each place the same number."
            )
    return size


def _sizes(node: Any, place: str) -> Iterator[tuple[str, int]]:
    if isinstance(node, (list, tuple)):
        for i, inner in enumerate(node):
            yield from _sizes(inner, f"{place}[{i}]")
    elif isinstance(node, Mapping):
        size = node.get("image_size")
        if "type" in node and "image_size" not in node:
            with suppress(ConfigError):  # not installed; building it will raise this error
                known = (arguments_of(resolve(node["type"], place)) or {}).get("image_size")
                size = known.default if known is not None else None
        if isinstance(size, int) and not isinstance(size, bool):
            yield place, size
        for key, inner in node.items():
            yield from _sizes(inner, f"{place}.{key}")
