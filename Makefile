# README's two commands are `make demo` and `make test`; each sets up what it needs, in .venv.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
DEMO_READY := .venv/.demo-ready
DOCS_READY := .venv/.docs-ready
PEERS_READY := .peers/.ready
BENCHES := answers.startup answers.throughput texts.classify texts.score texts.embed answers.cancel \
  clients.python_client endurance.storm
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input \
  --constraint constraints.txt --editable
# $(call with,TOOL,COMMANDS): the commands, or a word on what is missing.
with = if command -v $(1) >/dev/null; then $(2) </dev/null; \
  elif [ -n "$$CI" ]; then echo "$@: CI needs $(1)" >&2; exit 1; \
  else echo "SKIPPED $@: no $(1) on the PATH" >&2; fi
RACE := $(shell command -v gcc >/dev/null && echo -race)
TYPESCRIPT := client/typescript/node_modules/.ready
QUESTION ?= What is 2 + 3?

.PHONY: demo setup test test-forms test-peers test-python test-go test-typescript check check-go check-typescript docs test-kills fmt bench soak fuzz zoo clean
.DELETE_ON_ERROR:

# All that the tests, the checks and the conformance kit need.
setup: $(READY)

demo: $(DEMO_READY)
	@for question in "$(QUESTION)" "Tell me a story about a cat."; do \
	  $(BIN)/mlxwire chat testdata/tiny "$$question" </dev/null || exit 1; \
	done

test: test-go test-typescript test-python

# Two processes must collect the tests in one order, that of sets too.
test-python: $(READY) $(TYPESCRIPT)
	@PYTHONHASHSEED=0 $(BIN)/python -m pytest -q --numprocesses 2 --dist loadfile </dev/null

# Without its toolchain a client is skipped, and says so; where CI is set that is a failure.
test-go: $(READY)
	@$(call with,go,cd client/go && go vet ./... && go test $(RACE) ./... \
	  && cd ../../examples/go-daemon && go vet ./... && go test ./...)

test-typescript: $(READY) $(TYPESCRIPT)
	@$(call with,npm,cd client/typescript && npm test --silent \
	  && cd ../../examples/node-chat && npm test --silent)

check: $(READY) check-go check-typescript docs
	@$(BIN)/python client/python/generate_sync.py --check
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/pyright </dev/null

check-go:
	@$(call with,go,test -z "$$(gofmt -l client/go examples/go-daemon)" && cd client/go \
	  && go vet ./... && GOOS=windows go vet ./... && GOOS=darwin go vet ./... \
	  && go vet -tags nomlxlm ./...)

check-typescript: $(TYPESCRIPT)
	@$(call with,npm,cd client/typescript && npm run --silent check)

# The pages and the reference as a site, in build/site. A link that leads nowhere is an error.
docs: $(DOCS_READY)
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --clean </dev/null

fmt: $(READY)
	@$(BIN)/ruff check --fix --quiet . || true
	@$(BIN)/ruff format .

bench: $(READY)
	@for name in $(BENCHES); do echo "== $$name"; $(BIN)/python -m bench.$$name </dev/null || exit 1; done

soak: $(READY)
	@$(BIN)/python -m bench.endurance.soak $(SOAK) </dev/null

# FUZZ="--target worker --seconds 600 --seed 7": more, or other cases.
fuzz: $(READY)
	@$(BIN)/python -m bench.endurance.fuzz $(FUZZ) </dev/null

# ZOO="--seed 7 --only jamba,mamba": other weights, or some of the architectures.
zoo: $(READY)
	@PYTHONPATH=tests $(BIN)/python -m pytest -q -p zoo.options --every tests/zoo $(ZOO) </dev/null

# FORMS="--model FOLDER --families": a model of your own, and each schema in the form of each family.
test-forms: $(READY)
	@PYTHONPATH=tests $(BIN)/python -m pytest -q -p forms.options --timeout 3600 --every tests/forms $(FORMS) </dev/null

# KILLS=500: more trainings, each killed at another moment.
KILLS ?= 50
test-kills: $(READY)
	@PYTHONPATH=tests $(BIN)/python -m pytest -q -p worker.training.options --kills $(KILLS) \
	  tests/worker/training/test_program.py -k killed </dev/null

# PEERS="-k DoRA": some of the adapters that are exchanged with PEFT.
test-peers: $(READY) $(PEERS_READY)
	@PYTHONPATH=tests $(BIN)/python -m pytest -q -p peers.options --peers "$$PWD/.peers/bin/python" tests/peers $(PEERS) </dev/null

clean:
	rm -rf .venv .peers dist build client/typescript/node_modules client/typescript/dist client/typescript/dist-test

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

$(DOCS_READY): $(READY)
	@echo "Adding the tools that build the pages (once) …"
	@$(INSTALL) '.[mlx,dev,docs]' </dev/null
	@touch $@

# PEFT and sentence-transformers need PyTorch, which is too large for an environment that everybody needs.
$(PEERS_READY): tests/peers/requirements.txt
	@echo "Setting up .peers with PEFT, sentence-transformers and PyTorch (once, some minutes; 4 GB on Linux) …"
	@$(PYTHON) -m venv --clear .peers </dev/null
	@.peers/bin/python -m pip install --quiet --disable-pip-version-check --no-input --requirement $< </dev/null
	@touch $@

$(TYPESCRIPT): client/typescript/package-lock.json
	@$(call with,npm,cd client/typescript && npm install --silent --no-save --no-audit --no-fund && npm run --silent build && touch node_modules/.ready)
