# Every target sets up what it needs from nothing: Python 3.11+ and make are enough.
PYTHON ?= python3
VENV := .venv
READY := $(VENV)/.ready

.PHONY: demo test check docs format lab bench clean help

# hundreds of processes that tests start would each compile the package anew
unexport PYTHONDONTWRITEBYTECODE

# a few minutes of two cores each; the others by name: python -m tests.bench --help
BENCHES := step curves data finetune startup memory engine

# two processes of one thread each; a file of tests stays whole in one of them, in the order of its
# tests, and files are dealt in their order, so that a test comes after no other than it would alone
TWO_AT_ONCE := -n 2 --dist loadfile --no-loadscope-reorder

help:        ## what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 14

demo: $(READY)  ## the quickstart sweep, from pre-training to transfer gain, in a few minutes
	$(VENV)/bin/python sweeps/run.py sweeps/quickstart.yaml

test: $(READY)  ## all tests: the quick ones first, then those that train for longer, then those on a local Ray cluster
	$(VENV)/bin/pytest --reruns 1 -rR $(TWO_AT_ONCE)
	$(VENV)/bin/pytest --reruns 1 -rR $(TWO_AT_ONCE) -m slow
	$(VENV)/bin/pytest --reruns 1 -rR -m ray --timeout 600

lab: $(READY)  ## three hosts made of namespaces: `ray up`, lost machines, `ray down` (Linux, root; half an hour)
	PYTHON=$(VENV)/bin/python cluster/lab/run

bench: $(READY)  ## what this machine does with a training step, batches, fine-tunes and trials, beside plain ways
	set -e; for name in $(BENCHES); do echo "== $$name"; $(VENV)/bin/python -m tests.bench $$name; done

check: $(READY)  ## lint, format, types, and the links of docs/
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/mkdocs build --strict --site-dir site

docs: $(READY)   ## docs/ as a site, on http://127.0.0.1:8000
	$(VENV)/bin/mkdocs serve

format: $(READY)  ## put the code into its format
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

clean:       ## remove the virtual environment and tool caches; results stay
	rm -rf $(VENV) site .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(READY): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("citrus_ray needs Python 3.11 or newer, but $(PYTHON) is " + sys.version.split()[0] + "; call make PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --editable '.[dev]'
	touch $@
