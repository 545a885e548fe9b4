# make figures: every figure, table, notebook and the report.  make test: the test suite.
# make lint: style and types.  make docs: the documentation, in site/.
# make results: docs/results/, and picture, claims and cost in README and docs, from results/.
# make train-all OUT=folder MINUTES=60 PACK=pack.npz: every bundled model trained anew.
# make pack PACK=pack.npz DATA="name=folder …" LOSSY="cifar10=folder": what that needs, in one file.
# make cards: the pages of the bundled models.
# make live: the documentation, and a page that runs a network in the browser, in site/live; needs npm.
# All need Python 3.11 or newer and a package index, and nothing else.
PYTHON ?= python3
VENV := .venv
STAMP := $(VENV)/installed

# One thread a job: Snakemake runs as many jobs as there are cores.
export OMP_NUM_THREADS := 1
export MKL_NUM_THREADS := 1
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

# Snakemake, Jupyter and Matplotlib keep files at home; where nothing can be written there, in the clone.
ifneq ($(shell mkdir -p "$$HOME/.cache" 2> /dev/null && test -w "$$HOME" && test -w "$$HOME/.cache" && echo yes),yes)
export HOME := $(CURDIR)/.home
endif

.PHONY: live figures test lint docs results pack train-all cards clean

OUT ?= trained
MINUTES ?= 60
PACK ?= pack.npz

figures: $(STAMP)
	snakemake --cores all --workflow-profile workflow/profiles/default

test: $(STAMP)
	pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

lint: $(STAMP)
	ruff check .
	ruff format --check .
	snakefmt --check Snakefile workflow
	mypy
	lint-imports
	snakemake --lint

docs: $(STAMP)
	mkdocs build --strict

live: docs
	$(VENV)/bin/python -m pip install -e ".[live]"
	python workflow/live.py site/live

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=/path/to/python3")'
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --no-compile -r requirements.lock
	$(VENV)/bin/python -m pip install --no-deps -e .
	# bytecode by all cores, also where PYTHONDONTWRITEBYTECODE is set; some packages ship files that
	# are not Python of this version
	$(VENV)/bin/python -m compileall -qq -j 0 $(VENV)/lib src || true
	touch $@

results: $(STAMP)
	python workflow/refresh.py

pack: $(STAMP)
	python workflow/train_all.py pack $(PACK) --data $(DATA) $(if $(LOSSY),--lossy $(LOSSY))

train-all: $(STAMP)
	OMP_NUM_THREADS=$$(nproc) python workflow/train_all.py train $(OUT) --minutes $(MINUTES) --pack $(PACK)

cards: $(STAMP)
	python workflow/cards.py

clean:
	rm -rf $(VENV) .home .snakemake site
	find results -mindepth 1 -maxdepth 1 ! -name README.md -exec rm -rf {} +
