"""Makes the tests' folder importable, as pytest does, and runs the kit."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from conformance.cli import main

sys.exit(main())
