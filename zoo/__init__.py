"""Finished models: list them, load them, check them, publish them.

Importing this package and listing entries load neither torch nor mmengine nor the Hub's client;
each function imports what it needs when it is first used.

Example:
    >>> import zoo
    >>> zoo.names("*-puppets", task="motion-transfer")
    ['fomm-puppets', 'monkeynet-puppets']
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any


def _check_origin() -> None:
    """Check that the packages ``registry`` and ``components`` are those installed beside this one.

    Raises:
        ImportError: another file of that name is first on ``sys.path``, or a package is missing.
    """
    folder = Path(__file__).resolve().parents[1]
    for name in ("registry", "components"):
        ours = folder / name / "__init__.py"
        spec = find_spec(name)
        if spec is None:
            raise ImportError(f"keypoint-zoo is incomplete: {ours} is missing. Reinstall it.")
        found = Path(spec.origin or next(iter(spec.submodule_search_locations or ()))).resolve()
        if found != ours:
            raise ImportError(
                f"{found} shadows {ours} of keypoint-zoo: 'import {name}' finds it first. Rename "
                "it, or run Python from another folder."
            )


_check_origin()

from zoo.index import Entry as Entry  # noqa: E402
from zoo.index import register_index as register_index  # noqa: E402
from zoo.listing import list_entries as list  # noqa: E402
from zoo.listing import names as names  # noqa: E402

if TYPE_CHECKING:
    from zoo.exporting import export as export
    from zoo.exporting import features as features
    from zoo.hub import push as push
    from zoo.model import architectures as architectures
    from zoo.model import build as build
    from zoo.model import load as load
    from zoo.saving import save as save
    from zoo.sources import doctor as doctor
    from zoo.sources import info as info
    from zoo.sources import pull as pull
    from zoo.verifying import verify as verify

LAZY = {
    **dict.fromkeys(("architectures", "build", "load"), "model"),
    **dict.fromkeys(("doctor", "info", "pull"), "sources"),
    **dict.fromkeys(("export", "features"), "exporting"),
    **{"push": "hub", "save": "saving", "verify": "verifying"},
}
__all__ = ["Entry", "list", "names", "register_index", *LAZY]


def __getattr__(name: str) -> Any:
    if name not in LAZY:
        raise AttributeError(f"module 'zoo' has no attribute '{name}'")
    return getattr(import_module(f"zoo.{LAZY[name]}"), name)


def __dir__() -> Any:
    return __all__
