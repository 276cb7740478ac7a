# Two commands: `make demo` and `make test`. Both set everything up by themselves.
# Paths are relative on purpose: the checkout may lie in a folder with spaces in its name.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: setup demo serve test chaos screenshots lint audit wheel clean

setup: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed; $(PYTHON) is " + sys.version.split()[0] + ". Name another by: make PYTHON=python3.12 …")'
	@$(PYTHON) -c 'import platform as p, shutil, sys; (p.system(), p.machine()) == ("Linux", "x86_64") and sys.version_info < (3, 13) or shutil.which("redis-server") or sys.exit("redis-server is needed: here no Python package brings it. Install it by your package manager (Debian: apt install redis-server)")'
	@echo "Setting up $(VENV), once: a minute or a few, most of it for PyTorch …"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[server,demo,dev]"
	@touch $(INSTALLED)

# make demo SEED=photo.jpg TASK=denoising
demo: setup
	$(BIN)/python -m mdf demo $(if $(SEED),--seed "$(SEED)") $(if $(TASK),--task "$(TASK)")

serve: setup
	$(BIN)/python -m mdf serve

lint: setup
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy
	$(BIN)/lint-imports
	$(BIN)/bandit --quiet --recursive --configfile pyproject.toml mdf models services workers api docker

# Whether versions in constraints.txt have known vulnerabilities; asks the Internet.
audit: setup
	$(BIN)/python .ci/audit.py

# Two files at a time: much of a test is waiting for what it has started. The chaos suite, which
# measures, has the machine for itself. OpenMP's threads wait for each other asleep: many of the
# tests start processes beside them.
test: lint
	GOMP_SPINCOUNT=1000 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --ignore tests/chaos
	GOMP_SPINCOUNT=1000 $(BIN)/python -m pytest tests/chaos

# make chaos SCALE=0.1 SEED=7 ONLY="test_kills.py test_soak.py": a tenth of the counts of two files
# make chaos DATABASE=postgresql: on a server that it starts (Debian: apt install postgresql)
chaos: setup
	GOMP_SPINCOUNT=1000 $(BIN)/python -m pytest --chaos full --chaos-report build/chaos \
		$(if $(DATABASE),--chaos-database $(DATABASE)) $(if $(SCALE),--chaos-scale $(SCALE)) $(if $(SEED),--chaos-seed $(SEED)) \
		$(if $(ONLY),$(addprefix tests/chaos/,$(ONLY)),tests/chaos)

# Every page of the studio into docs/images/studio; needs Chromium (Debian: apt install chromium).
screenshots: setup
	$(BIN)/python -m tests.browser.screenshots

wheel: setup
	$(BIN)/python -m build --wheel

clean:
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache
