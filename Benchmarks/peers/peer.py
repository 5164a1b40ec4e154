"""What the peers share: a server that answers requests, and the timing, which is that of `norma bench`.

A peer reads one JSON request per line on standard input and answers each with one line of JSON on standard output;
what its library prints goes to standard error. It ends with its input. A request:

  case          what the request belongs to; a new one makes the peer forget what it made for the last
  op            describe, copy, norm, step or inference
  norm          none, batch, group, layer, instance or switchable
  shape         [N, C, H, W] of copy and norm
  dtype         float32 or bfloat16
  layout        channels-first or channels-last, of copy and norm
  activation    relu or none, of norm
  width, size, batchSize    of step and inference
  variant       plain or folded, of inference
  rounds        how many values to measure
  warmUp        calls before the first that counts
  calibrate     false takes the first way of doing it instead of the fastest
  memory        whether to measure the peak of live tensors too, of step

The answer has `milliseconds`, one value per round, and what else the peer has to tell; or `error`.
"""

import gc
import json
import os
import sys
import time

GROUPS = 32
EPSILON = 1e-5
MOMENTUM = 0.1
LEARNING_RATE = 1e-3
# A round of a short operation takes at least as many seconds; a single call would drown in the clock's grain.
SHORTEST = 0.01


def groups_of(channels):
    """min(32, C), or the next smaller number that divides C."""
    return next(g for g in range(min(GROUPS, channels), 0, -1) if channels % g == 0)


class Refused(Exception):
    """A request that this peer does not serve."""


class Work:
    """What a request asks for, ready to be called."""

    def __init__(self, ways, **facts):
        """ways: (name, body) pairs that do the same; facts: what else to answer."""
        self.ways = ways
        self.facts = facts
        self.way = None
        self.body = None

    def choose(self, calibrate):
        """The body of the fastest way, found once."""
        if self.body is None:
            times = [fastest(body) if calibrate and len(self.ways) > 1 else 0 for _, body in self.ways]
            self.way, self.body = self.ways[times.index(min(times))]
            # The others are not needed any more, nor is what they hold.
            self.ways = []
            gc.collect()
        return self.body


def timed(body, calls):
    start = time.perf_counter()
    for _ in range(calls):
        body()
    return time.perf_counter() - start


def fastest(body):
    timed(body, 2)
    return min(timed(body, 1) for _ in range(3))


def measure(body, rounds, warm_up, shortest):
    """Milliseconds of one call, one value per round."""
    timed(body, warm_up)
    calls = 1
    while shortest and calls < 1 << 20:
        elapsed = timed(body, calls)
        if elapsed >= shortest:
            break
        calls = max(2 * calls, min(int(calls * shortest / elapsed) + 1, 100 * calls))
    return [timed(body, calls) / calls * 1000 for _ in range(rounds)]


def serve(peer):
    """Answers until the input ends. `peer` makes Work by methods named as the operations."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    made = {"case": None}
    for line in sys.stdin:
        try:
            answer = respond(peer, json.loads(line), made)
        except Refused as refusal:
            answer = {"error": str(refusal)}
        except Exception as error:  # Anything a library throws; the next request may do better.
            text = str(error).strip().splitlines() or [""]
            answer = {"error": f"{type(error).__name__}: {text[0]}"}
        print(json.dumps(answer), file=answers, flush=True)


def respond(peer, request, made):
    op = request["op"]
    if op == "describe":
        return peer.describe()
    if op not in ("copy", "norm", "step", "inference") or not hasattr(peer, op):
        raise Refused(f"there is no operation '{op}'")
    if made["case"] != request["case"]:
        # Compiled code is kept over the rounds of a case; then its memory goes.
        made.clear()
        gc.collect()
        peer.forget()
        made["case"] = request["case"]
    about_measuring = ("rounds", "warmUp", "memory", "calibrate")
    key = json.dumps({name: request[name] for name in sorted(request) if name not in about_measuring})
    if key not in made:
        made[key] = getattr(peer, op)(request)
    work = made[key]
    body = work.choose(request.get("calibrate", True))
    shortest = SHORTEST if op in ("copy", "norm") else 0
    answer = dict(work.facts)
    answer["milliseconds"] = measure(body, request["rounds"], request["warmUp"], shortest)
    if work.way:
        answer["way"] = work.way
    if request.get("memory"):
        answer["peakTensorBytes"] = peer.peak(work)
    return answer
