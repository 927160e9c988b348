# `make help` lists what there is. Every target that runs something installs what it needs first.
# Written for GNU make 3.81 and later.

VENV  := .venv
BIN   := $(VENV)/bin
STAMP := $(VENV)/.installed
# Present while packages are being written: a .venv that was cut half-way is made anew.
DIRTY := $(VENV)/.installing

# The oldest first: the figures in docs/ come from it, and CPU builds of torch exist for it everywhere.
PYTHONS := $(or $(PYTHON),python3.11 python3.12 python3.13 python3)
PROBE   := import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))

PIP   := $(BIN)/python -m pip install --no-compile --disable-pip-version-check $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))
TORCH := $(shell sed -n 's/^torch==//p' constraints.txt)

.PHONY: help install run test test-slow check format demo bench bench-strategies constraints clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /  \1 ~/p' Makefile | awk -F '~' '{ printf "%-19s%s\n", $$1, $$2 }'
	@echo "  Variables: ARGS='...' goes to the program; PYTHON=... makes .venv; TORCH_INDEX=... offers builds of torch."

install: $(STAMP) ## make .venv; done once, and again when pyproject.toml or constraints.txt change

run: $(STAMP) ## solve the default problems with the shipped models; ARGS='strategy=greedy seed=1'
	$(BIN)/python run.py $(ARGS)

test: check ## check, then the default tests
	$(BIN)/python -m pytest $(ARGS)

# pytest's status 5, nothing collected, is no failure: a tree may have no slow tests.
test-slow: $(STAMP) ## the slow tests
	$(BIN)/python -m pytest -m "slow and not gpu" $(ARGS) || [ $$? -eq 5 ]

check: $(STAMP) ## lint, formatting, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP) ## rewrite the source the way `make check` wants it
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

demo: $(STAMP) ## a small sweep: four strategies, three budgets
	$(BIN)/python run.py -m strategy=greedy,best_of_n,self_consistency,particle_filter budget=4,8,16 task.limit=40 $(ARGS)

bench: $(STAMP) ## the benchmarks of tests/bench, one after another
	@set -e; for file in tests/bench/bench_*.py; do \
	    name=$$(basename "$$file" .py); echo "== $$name"; $(BIN)/python -m "tests.bench.$$name" $(ARGS); \
	done

bench-strategies: $(STAMP) ## every strategy's accuracy against its cost, into docs/strategies.md; takes hours
	$(BIN)/python -m tests.bench.bench_strategies --docs docs/strategies.md $(ARGS)

constraints: $(STAMP) ## pin what .venv holds now in constraints.txt, by name and version alone
	$(BIN)/python -m pip freeze --all --exclude pip --exclude-editable | sed 's/+[A-Za-z0-9.]*$$//' > $(DIRTY).txt
	mv $(DIRTY).txt constraints.txt
	touch $(STAMP)

clean: ## remove .venv and every cache; runs in outputs/ stay
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMP): pyproject.toml constraints.txt
	@$(make_venv)
	@$(install_packages)

define make_venv
set -e; \
[ -e $(DIRTY) ] || ! $(BIN)/python -m pip --version >/dev/null 2>&1 || exit 0; \
for python in $(PYTHONS); do \
    if $$python -c '$(PROBE)' 2>/dev/null; then break; fi; \
    python=; \
done; \
if [ -z "$$python" ]; then \
    echo "make: none of these is a Python 3.11 or newer with its venv module: $(PYTHONS)" >&2; \
    echo "make: install one, or name it: make install PYTHON=/path/to/python3" >&2; \
    exit 2; \
fi; \
echo "making $(VENV) with $$($$python --version)"; \
$$python -m venv --clear $(VENV)
endef

# Without a GPU: torch's CPU build first, alone, so that the rest finds torch already there; with one, any
# other build. Byte code is compiled afterwards, on every core; pip would do it on one. A status of 128 and more
# is a signal: what pip was writing may be incomplete.
define install_packages
touch $(DIRTY); \
failed() { [ $$1 -ge 128 ] || rm -f $(DIRTY); exit $$1; }; \
gpu_build=; \
if nvidia-smi -L >/dev/null 2>&1; then \
    gpu_build="torch!=$(TORCH)+cpu"; \
elif ! $(PIP) --no-deps "torch==$(TORCH)+cpu" 2>/dev/null; then \
    echo "no index offers torch $(TORCH)+cpu: taking the default build, which is large on Linux"; \
    echo "(set TORCH_INDEX to an index with CPU builds to avoid that)"; \
fi; \
$(PIP) -c constraints.txt -e ".[dev]" $$gpu_build || failed $$?; \
$(BIN)/python -m compileall -q -j 0 -x '/(tests?|testing)/' $(VENV)/lib >/dev/null || :; \
rm -f $(DIRTY); \
touch $(STAMP)
endef
