# README's two commands are `make demo` and `make test`; each sets up what it needs, in .venv.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
DEMO_READY := .venv/.demo-ready
BENCHES := startup throughput classify cancel client_python storm
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input \
  --constraint constraints.txt --editable
QUESTION ?= What is 2 + 3?

.PHONY: demo test check fmt bench clean
.DELETE_ON_ERROR:

demo: $(DEMO_READY)
	@for question in "$(QUESTION)" "Tell me a story about a cat."; do \
	  printf '> %s\n' "$$question"; \
	  $(BIN)/mlxwire chat testdata/tiny "$$question" </dev/null || exit 1; \
	done

test: $(READY)
	@$(BIN)/python -m pytest -q </dev/null

check: $(READY)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/pyright </dev/null

fmt: $(READY)
	@$(BIN)/ruff check --fix --quiet . || true
	@$(BIN)/ruff format .

bench: $(READY)
	@for name in $(BENCHES); do echo "== $$name"; $(BIN)/python bench/$$name.py </dev/null || exit 1; done

clean:
	rm -rf .venv dist build

# What the demo needs, and then what the checks and tests need beside it.
$(DEMO_READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "mlxwire needs Python 3.11 or newer: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@[ "$$(uname)" != Linux ] || command -v g++ >/dev/null \
	  || { echo "mlxwire needs g++ on Linux: MLX compiles its CPU kernels with it (install g++)" >&2; exit 1; }
	@echo "Setting up .venv with MLX and mlx-lm (once, about a minute) …"
	@$(PYTHON) -m venv .venv </dev/null
	@$(INSTALL) '.[mlx]' </dev/null
	@touch $@

$(READY): $(DEMO_READY)
	@echo "Adding the tools that test and check (once) …"
	@$(INSTALL) '.[mlx,dev]' </dev/null
	@touch $@
