# Two commands do everything on a fresh machine with Python 3.11 or newer: make demo, make test.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test check docs coverage lowest package sbom audit clean

demo: $(READY)
	$(BIN)/hardball demo --out demo

# one thread for each process: more than there are cores would wait for each other
test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 --dist loadfile

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/codespell src tests tools docs examples README.md CONTRIBUTING.md CHANGELOG.md SECURITY.md .github

# the site, in site/: every warning is an error (a link that leads nowhere, a page outside the navigation)
docs: $(READY)
	$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going --jobs auto --conf-dir docs . site

coverage: $(READY)
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

# remade when the dependencies change
# torchattacks is compared with in the tests; it pins a `requests` of 2020, which it never imports,
# so it comes without its dependencies
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and f"Python {v[0]}.{v[1]} found; hardball needs 3.11 or newer: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	$(BIN)/python -m pip install --quiet --no-deps torchattacks==3.5.1
	touch $(READY)

# the core's tests with the lowest versions of constraints-lowest.txt, in an environment of their own
LOWEST := .venv-lowest
CORE := $(addprefix tests/test_,threats.py pgd.py storage.py cli.py verify.py data.py) \
	tests/theory/test_gaussian.py

lowest:
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet --constraint constraints-lowest.txt --editable '.[report,theory]'
	$(LOWEST)/bin/python -m pip install --quiet --constraint constraints-lowest.txt hypothesis pytest pytest-timeout scikit-learn
	OMP_NUM_THREADS=1 $(LOWEST)/bin/python -m pytest $(CORE)

# dist/: the wheel and the source archive
package: $(READY)
	$(BIN)/python -m build --no-isolation

# sbom.json: all packages of the environment and what needs which, as CycloneDX
sbom: $(READY)
	$(BIN)/cyclonedx-py environment $(BIN)/python --pyproject pyproject.toml --output-reproducible -o sbom.json

# known vulnerabilities of the versions in constraints.txt; 3 where they could not be looked up
audit: $(READY)
	$(BIN)/python tools/audit.py

clean:
	rm -rf $(VENV) $(LOWEST) demo dist site sbom.json
