"""Where compiled kernels are kept between runs.

``NUMBA_CACHE_DIR`` wins where it is set. Otherwise it is ``cache/numba`` of the workflow, or a folder of the user's own
among the temporary files where the workflow's cannot be written. The kernels of every version of the sources have a
folder of their own, since Numba notices a changed kernel but not a changed operation that it is made of; Numba itself
keeps those of different processors apart.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from typing import Any

from openthoughts.base.places import WORKFLOW


def use_kernel_cache() -> Path:
    """Tell Numba where to keep its kernels; to be called before any is defined."""
    from numba.core import config as numba_config

    config: Any = numba_config

    if os.environ.get("NUMBA_CACHE_DIR"):
        return Path(config.CACHE_DIR)
    sources = sorted(Path(__file__).parent.glob("*.py"))
    version = hashlib.blake2b(b"".join(source.read_bytes() for source in sources), digest_size=6).hexdigest()
    user = os.getuid() if hasattr(os, "getuid") else "user"
    places = [WORKFLOW / "cache" / "numba", Path(tempfile.gettempdir()) / f"openthoughts-numba-{user}"]
    for place in places:
        folder = place / version
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(folder, os.W_OK):
            config.CACHE_DIR = str(folder)
            return folder
    return Path(config.CACHE_DIR)
