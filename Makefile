# Two commands do everything on a fresh machine: make demo, make test.
SHELL := /bin/bash
DEMO ?= demo

.PHONY: demo test test-long lint setup clean

setup:
	@bash scripts/setup.sh

demo: setup
	@source .ws/env.sh && page4d demo --output "$(DEMO)"

test: setup
	@source .ws/env.sh && PAGE4D_REQUIRE_ALL=1 python -m pytest $(PYTEST_ARGS)

test-long: setup
	@source .ws/env.sh && PAGE4D_REQUIRE_ALL=1 python -m pytest -m long $(PYTEST_ARGS)

lint: setup
	@source .ws/env.sh && ruff check . && ruff format --check .

clean:
	rm -rf .venv .ws demo
