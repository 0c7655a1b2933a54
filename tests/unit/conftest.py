"""Makes the guest's programs importable: they are packages of their own, not part of the host's."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "guest"))
