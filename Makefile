# make demo   sets up and trains a small U-Net under batch, group and switchable normalization
# make test   sets up and runs the tests
# make bench-peers   sets up and measures Norma beside other libraries (Benchmarks/README.md)
.PHONY: setup demo test bench-peers format lint

setup:
	@Scripts/setup

# Built-in synthetic data; DEMO_OPTIONS shortens or lengthens it.
DEMO_OPTIONS ?= --width 16 --crop 128 --synthetic-size 256 --epochs 3 --samples-per-epoch 400 --head plain --dropout 0
demo: setup
	.build/release/norma compare --norms batch,group,switchable $(DEMO_OPTIONS) --output runs/demo --overwrite

test: setup
	swift test

# KERAS=1 and JAX=1 measure those too; BENCH_OPTIONS go to Benchmarks/peers/run.py.
BENCH_OPTIONS ?=
bench-peers: setup
	@KERAS='$(KERAS)' JAX='$(JAX)' PEERS_PYTHON='$(PEERS_PYTHON)' Scripts/bench-peers $(BENCH_OPTIONS)

format:
	swift format --in-place --recursive Sources Tests Benchmarks/Sources Package.swift Benchmarks/Package.swift

lint:
	swift format lint --strict --recursive Sources Tests Benchmarks/Sources Package.swift Benchmarks/Package.swift
