"""Makes the tests' folder importable, as pytest does, and runs the kit."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

try:
    from conformance.cli import main
except ModuleNotFoundError as missing:
    sys.exit(
        f"the kit needs the Python package {missing.name}, which is not installed here: run "
        "`make setup` and use .venv/bin/python, or install what it needs with "
        "`pip install -e '.[dev]'`"
    )

sys.exit(main())
