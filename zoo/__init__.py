"""Finished models. Importing this loads neither torch nor mmengine."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path


def _check_origin() -> None:
    """Check that the packages ``registry`` and ``components`` are those installed beside this one.

    Raises:
        ImportError: another file of that name comes first on ``sys.path``, or one is missing.
    """
    folder = Path(__file__).resolve().parents[1]
    for name in ("registry", "components"):
        ours = folder / name / "__init__.py"
        spec = find_spec(name)
        if spec is None:
            raise ImportError(f"keypoint-zoo is incomplete: no {ours}. Install it again.")
        found = Path(spec.origin or next(iter(spec.submodule_search_locations or ()))).resolve()
        if found != ours:
            raise ImportError(
                f"{found} shadows {ours} of keypoint-zoo: 'import {name}' finds it first. Rename "
                "it, or start Python from another folder."
            )


_check_origin()
