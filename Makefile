# `make setup` builds .venv; every other target uses it and sets it up when it is missing.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
STAMP = $(VENV)/.installed

.PHONY: setup demo test test-fast test-thorough lint format docs pictures plugin bench bench-compare samples mini

setup: $(STAMP)

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e ".[dev,parquet,dask,cloud,notebook,fast]"
	@touch $(STAMP)

demo: $(STAMP)
	$(BIN)/segearth demo --out demo --overwrite

# The QGIS plugin as a zip in dist/.
plugin: $(STAMP)
	$(BIN)/python -m scripts.plugin_zip

# What README and docs show, from the demo.
pictures: demo
	$(BIN)/python -m scripts.pictures

# A file of tests stays on one worker, so that what its tests share is made once; conftest.py puts the long files first.
# More workers than cores where tests wait for Slurm, servers and claims that lapse.
CORES = $$(getconf _NPROCESSORS_ONLN)
PYTEST = $(BIN)/python -m pytest --dist loadfile --no-loadscope-reorder

test: $(STAMP) lint
	$(PYTEST) -n $$(($(CORES) + 2)) -m "not thorough"

test-fast: $(STAMP)
	$(PYTEST) -n $(CORES) -m "not slow and not thorough"

# All cases of all kinds, before a release.
test-thorough: $(STAMP) lint
	$(PYTEST) -n $$(($(CORES) + 2))

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The parts of README and docs that are written from the code, and the site, in site/.
docs: $(STAMP) $(VENV)/.site
	$(BIN)/python scripts/option_table.py
	$(BIN)/python scripts/module_table.py
	$(BIN)/python -m mkdocs build --quiet

$(VENV)/.site: pyproject.toml $(STAMP)
	$(BIN)/python -m pip install --quiet -e ".[docs]"
	@touch $@

bench: $(STAMP)
	$(BIN)/python -m benchmarks

# A commit against the files as they lie here: CPU time in turn, masks compared. COMPARE: more words, e.g. --scene.
bench-compare: $(STAMP)
	$(BIN)/python -m benchmarks.compare $(BASE) $(COMPARE)

samples: $(STAMP)
	$(BIN)/python sample_tiles/make.py

# The embedded model again, from imagery that is not ours to pass on: some hours on two cores (its MODEL_CARD.md).
SHARED ?= ../shared
mini: $(STAMP)
	PYTHON=$(BIN)/python sh scripts/mini.sh $(SHARED) build/mini
