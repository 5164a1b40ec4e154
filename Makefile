# make demo   sets up and trains a small U-Net under batch, group and switchable normalization
# make test   sets up and runs the tests
# make example   sets up and trains the network of Examples under several norms
# make docs   sets up and builds the documentation into .build/docs
# make bench-peers   sets up and measures Norma beside other libraries (Benchmarks/README.md)
.PHONY: setup demo test example docs bench-peers format lint

setup:
	@Scripts/setup

# Built-in synthetic data; DEMO_OPTIONS shortens or lengthens it.
DEMO_OPTIONS ?= --width 16 --crop 128 --synthetic-size 256 --epochs 3 --samples-per-epoch 400 --head plain --dropout 0
demo: setup
	.build/release/norma compare --norms batch,group,switchable $(DEMO_OPTIONS) --output runs/demo --overwrite

test: setup
	swift test

# EXAMPLE_NORMS names norms in the place of the example's own choice.
EXAMPLE_NORMS ?=
example: setup
	swift run -c release --package-path Examples OwnNetwork $(EXAMPLE_NORMS)

docs: setup
	@Scripts/docs

# KERAS=1 and JAX=1 measure those too; BENCH_OPTIONS go to Benchmarks/peers/run.py.
BENCH_OPTIONS ?=
bench-peers: setup
	@KERAS='$(KERAS)' JAX='$(JAX)' PEERS_PYTHON='$(PEERS_PYTHON)' Scripts/bench-peers $(BENCH_OPTIONS)

FORMATTED = Sources Tests Benchmarks/Sources Examples/Sources Package.swift Benchmarks/Package.swift Examples/Package.swift
format:
	swift format --in-place --recursive $(FORMATTED)

lint:
	swift format lint --strict --recursive $(FORMATTED)
