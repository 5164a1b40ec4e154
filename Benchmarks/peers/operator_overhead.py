"""Nanoseconds of a one-element addition in PyTorch: the peer of OperatorOverhead."""
import statistics
import time

import torch

torch.set_num_threads(1)


def median_nanoseconds(body, calls=20_000):
    times = []
    for _ in range(31):
        start = time.perf_counter_ns()
        for _ in range(calls):
            body()
        times.append((time.perf_counter_ns() - start) / calls)
    return statistics.median(times)


a, b = torch.ones(1), torch.ones(1)
leaf = torch.ones(1, requires_grad=True)
print(f"torch {torch.__version__}")
with torch.no_grad():
    print(f"a + b without gradient recording: {median_nanoseconds(lambda: a + b):.0f} ns")
print(f"a + b with gradient recording:    {median_nanoseconds(lambda: leaf + b):.0f} ns")
