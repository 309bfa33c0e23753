# Two commands do all their own set-up: `make demo` and `make test`.
PYTHON ?= python3.11
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.installed

.PHONY: demo test test-s3 clean
demo: $(READY)
	$(BIN)/python -m workflows.demo --config configs/demo.yaml

test: $(READY)
	$(BIN)/python -m pytest

# The part of the tests that needs a real S3 server (Ceph's object gateway), which `make test` skips where it is not installed.
test-s3: $(READY)
	command -v radosgw >/dev/null || { apt-get update -qq && \
	  apt-get install -y -qq --no-install-recommends ceph-mon ceph-osd radosgw ceph-common curl; }
	$(BIN)/python -m pytest tests/s3

# `pip check` is not asked: decord's wheel is tagged for another platform in its metadata, and works (docs/dependencies.md).
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[test]"
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info
