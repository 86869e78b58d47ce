# Two commands do everything, on a fresh clone: `make book` builds the site, `make test` checks all of it. `make check`
# gives a first answer without a site.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SITE := _build/html
SOURCES := $(shell find flatlab toy_problems book -type f -not -name '*.pyc' 2>/dev/null) _config.yml _toc.yml

.PHONY: book serve pdf check test bench release clean
.DEFAULT_GOAL := book
# The networks here are small: a second thread costs more than it gives, and tests and chapters run side by side.
export OMP_NUM_THREADS ?= 1
STYLE := $(BIN)/ruff check . && $(BIN)/ruff format --check --quiet . && \
  DENO_NO_UPDATE_CHECK=1 $(BIN)/deno lint --quiet && $(BIN)/deno fmt --check --quiet

book: $(SITE)/.built
	@echo
	@echo "The book is in $(SITE). Open $(SITE)/book/index.html in a browser,"
	@echo "or run 'make serve' and go to http://localhost:8000/."

$(SITE)/.built: $(VENV)/.ready $(SOURCES)
	@echo "== Building the book: every chapter whose text, code or records have changed is executed, 5 to 10 minutes"
	@$(BIN)/jupyter-book build . --warningiserror --quiet > _build.log 2>&1 || { cat _build.log; rm -f _build.log; exit 1; }
	@rm -f _build.log
	@touch $@

$(VENV)/.ready: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11, 5))' || \
	  { echo "Flatlab needs Python 3.11.5 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1). Try: make PYTHON=python3.12"; exit 1; }
	@echo "== Installing into $(VENV): 2 to 10 minutes, by your connection (PyTorch is the large part)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --upgrade pip
	@$(BIN)/python -m pip install --quiet -r requirements.txt
	@$(BIN)/python -m pip install --quiet --no-deps --editable .
	@touch $@

serve: book
	@echo "Serving http://localhost:8000/ (stop with Ctrl-C)"
	@cd $(SITE) && ../../$(BIN)/python -m http.server 8000 --bind 127.0.0.1

pdf: book
	@$(BIN)/python -m upkeep.pdf _build/flatlab.pdf
	@echo "The book on paper is _build/flatlab.pdf."

check: $(VENV)/.ready
	@$(STYLE)
	@$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder -m "not site and not slow"

test: $(VENV)/.ready
	@echo "== Checking style (seconds)"
	@$(STYLE)
	@$(MAKE) --no-print-directory book
	@echo "== Testing: library, doctests, notebooks, links, and every explorable in a real browser, 6 to 12 minutes"
	@$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

# Two parts are timed on the built site, the others need none.
bench: $(if $(PART),$(VENV)/.ready) $(if $(or $(filter explorables site,$(PART)),$(if $(PART),,all)),$(SITE)/.built)
	@echo "== Timing; leave the machine alone meanwhile (PART=\"optimizers trainer\" takes some parts alone)"
	@$(BIN)/python -m benchmarks $(PART)

release: $(VENV)/.ready
	@$(BIN)/python -m book.release --out dist

clean:
	rm -rf _build
