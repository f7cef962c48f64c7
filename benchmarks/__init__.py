"""Speed and memory, measured side by side with the alternative.

Each is a module, run in the repository's folder: ``.venv/bin/python -m benchmarks.asking.efficiency``.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# What is measured lies in scripts/, as its programs find it.
sys.path.insert(0, str(ROOT / "scripts"))
