# Two commands do all their own set-up: `make demo` and `make test`.
PYTHON ?= python3.11
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.installed

.PHONY: demo test test-s3 test-cluster s3-server clean
demo: $(READY)
	$(BIN)/python -m workflows.demo --config configs/demo.yaml

test: $(READY)
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python -m pytest

# The part of the tests that needs a real S3 server (Ceph's object gateway), which `make test` skips where it is not installed.
test-s3: $(READY) s3-server
	$(BIN)/python -m pytest tests/s3

# Jobs over three hosts and S3 on this machine, hosts and links killed (docs/local-cluster.md), and more folds under fire:
# some fifteen minutes.
test-cluster: $(READY) s3-server
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[test,lint]"
	PATH="$(abspath $(BIN)):$$PATH" HSTA_LONG=1 $(BIN)/python -m pytest tests/cluster tests/s3/test_folds_s3.py tests/workflows/test_fold_faults.py

s3-server:
	command -v radosgw >/dev/null || { apt-get update -qq && \
	  apt-get install -y -qq --no-install-recommends ceph-mon ceph-osd radosgw ceph-common curl; }

# `pip check` is not asked: decord's wheel is tagged for another platform in its metadata, and works (docs/dependencies.md).
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[test]"
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info
