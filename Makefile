# make sweep: the quick τ sweep and its figure. make test: lint, types and tests. make install: their environment alone.
PYTHON ?= python3
PIN := torch==2.13.0
# Left out: what was chosen for the environment that is there, or else today's pin.
TORCH ?= $(or $(filter-out pinned=%,$(shell cat .venv/torch 2>/dev/null)),$(PIN))
CHOSEN := $(if $(filter-out $(PIN),$(TORCH)),$(TORCH),pinned=$(PIN))
BIN := .venv/bin
SWEEP_FLAGS ?=
STUDY_FLAGS ?=
# The quick sweep's own name, unless flags give it another.
STUDY := $(if $(strip $(foreach flag,--study --grid --preset,$(findstring $(flag),$(SWEEP_FLAGS)))),,--study tau-sweep-quick)
TRACKING_URI ?=
# Left out, commands read MLFLOW_TRACKING_URI themselves: it may have a password, which none of their lines shall show.
TRACKING := $(if $(TRACKING_URI),--tracking-uri '$(TRACKING_URI)')
UI_ADDRESS := $(if $(TRACKING_URI),"$(TRACKING_URI)",$(if $(MLFLOW_TRACKING_URI),"$$MLFLOW_TRACKING_URI",sqlite:///mlflow.db))
HAS_SERVER := $(filter http%,$(firstword $(TRACKING_URI) $(MLFLOW_TRACKING_URI)))

.PHONY: sweep install test test-slow test-cluster test-faults study figures check-figures lint clean force
.DELETE_ON_ERROR:

sweep: .venv/installed
	$(BIN)/python sweeps/tau_sweep.py --preset quick $(TRACKING) $(SWEEP_FLAGS)
	$(BIN)/python analysis/sensitivity.py $(TRACKING) $(STUDY)
	@echo
	@$(if $(STUDY),echo "The figure:    figures/tau-sweep-quick/tau_sensitivity.png (.pdf, .csv)")
	@echo 'MLflow UI:     $(if $(HAS_SERVER),the address of your server,$(BIN)/mlflow ui --backend-store-uri $(UI_ADDRESS)   then open http://127.0.0.1:5000)'
	@echo "Ray dashboard: http://127.0.0.1:8265 while a sweep runs, with the token of $(BIN)/ray get-auth-token; to keep it:"
	@echo "               RAY_AUTH_MODE=token $(BIN)/ray start --head, then $(BIN)/python sweeps/tau_sweep.py --address auto"

install: .venv/installed

test: lint
	$(BIN)/python -m pytest

test-slow: .venv/installed
	$(BIN)/python -m pytest -n 0 -m 'slow and not cluster'

# As root, with Debian's iproute2, slurm-wlm, munge and postgresql; what is missing is skipped with a reason.
test-cluster: .venv/installed
	$(BIN)/python -m pytest -n 0 -m cluster tests/cluster

# Whatever may happen to a study, and the table of it, for docs/reliability.md. As root and with iproute2, like the above.
test-faults: .venv/installed
	$(BIN)/python -m pytest -n 0 -m fault -p tests.faults.table --fault-table benchmarks/results/faults.json
	$(BIN)/python -m tests.faults.table

# Trains what is missing of docs/results, at the lowest priority: stop it whenever you like, the same command goes on.
study: .venv/installed
	$(BIN)/python sweeps/kept_study.py $(STUDY_FLAGS)

# Draws the pictures of README and docs anew, from kept results and benchmarks' numbers; or tells where they disagree.
figures: .venv/installed
	$(BIN)/python analysis/kept_figures.py
	$(BIN)/python benchmarks/draw.py --output docs

check-figures: .venv/installed
	$(BIN)/python analysis/kept_figures.py --check
	$(BIN)/python benchmarks/draw.py --output docs --check

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# What PyTorch to install; with another one the environment is made anew, as pip takes builds of one version for the same.
.venv/torch: force
	@test "$$(cat $@ 2>/dev/null)" = '$(CHOSEN)' || { test ! -f $@ || test "$$(cat $@)" = '$(TORCH)' || rm -rf .venv; mkdir -p .venv; echo '$(CHOSEN)' > $@; }

.venv/installed: pyproject.toml .venv/torch
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python >= 3.11 is needed, got " + sys.version.split()[0] + ": make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet $(TORCH)
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache *.egg-info
