"""Measures Norma and its peers in turn on this machine and writes the figures as Markdown and JSON.

Every case is measured several times by every contestant, one after the other, so that a slow spell of the machine
meets all. A figure is the median over these rounds; the least and the greatest stand beside it. All use the same
number of threads on the same cores. Run nothing else meanwhile. --help lists the options.
"""

import argparse
import ctypes.util
import datetime
import json
import math
import os
import pathlib
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent

NORMS = ["none", "batch", "group", "switchable", "instance", "layer"]
KINDS = ["norm", "step", "inference", "start"]
DTYPES = ["float32", "bfloat16"]
LAYOUTS = ["channels-first", "channels-last"]
SHAPES = "2x64x256x256,1x64x512x512,8x64x64x64,2x256x32x32"
NAMES = {"torch": "PyTorch", "keras": "Keras", "tensorflow": "TensorFlow", "jax": "JAX", "python": "Python"}
# An input of at least as many numbers counts as large: it and what is made of it leave the caches.
LARGE = 4 << 20
# Between two contestants, until threads that wait for more work have gone to sleep.
PAUSE = 0.2


class Failed(Exception):
    """A contestant could not measure a case."""


# The machine --------------------------------------------------------------------------------------------------------


def output_of(command):
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return ""


def machine():
    cpu = dict(re.findall(r"^([^:\n]+):[ \t]*(.+)$", output_of(["lscpu"]), re.M))
    name = cpu.get("Model name") or platform.processor() or platform.machine()
    flags = set(cpu.get("Flags", "").split())
    vectors = [n for n, f in (("AVX2", "avx2"), ("AVX-512", "avx512f"), ("AVX-512 BF16", "avx512_bf16"),
                              ("AMX BF16", "amx_bf16")) if f in flags]
    system = re.search(r'^PRETTY_NAME="?([^"\n]*)', read("/etc/os-release"), re.M)
    memory = re.search(r"^MemTotal:\s*(\d+) kB", read("/proc/meminfo"), re.M)
    return {
        "processor": name, "family": cpu.get("CPU family"), "model": cpu.get("Model"), "cores": len(cores()),
        "isVirtual": "Hypervisor vendor" in cpu, "level2Cache": cpu.get("L2 cache"), "level3Cache": cpu.get("L3 cache"),
        "vectors": vectors, "memoryBytes": int(memory[1]) * 1024 if memory else None,
        "system": system[1] if system else platform.platform(), "kernel": platform.release(),
    }


def read(path):
    try:
        return pathlib.Path(path).read_text()
    except OSError:
        return ""


def cores():
    """The processors that may be used, the first thread of every core before the second ones."""
    if not hasattr(os, "sched_getaffinity"):
        return list(range(os.cpu_count() or 1))

    def thread_of_core(index):
        siblings = read(f"/sys/devices/system/cpu/cpu{index}/topology/thread_siblings_list").strip()
        numbers = []
        for part in filter(None, siblings.split(",")):
            first, _, last = part.partition("-")
            numbers += range(int(first), int(last or first) + 1)
        return numbers.index(index) if index in numbers else 0

    return sorted(os.sched_getaffinity(0), key=lambda index: (thread_of_core(index), index))


def confined_to(threads):
    """What a child process does first: it keeps to as many cores as it has threads, so that libraries that make
    a thread per core make as many too."""
    chosen = cores()[:threads]

    def confine():
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, chosen)

    return confine


ALLOCATORS = {"tcmalloc": ["tcmalloc_minimal", "tcmalloc"], "jemalloc": ["jemalloc"]}
# As PyTorch's tuning guide advises.
JEMALLOC = ("oversize_threshold:1,background_thread:true,metadata_thp:auto,dirty_decay_ms:9000000000,"
            "muzzy_decay_ms:9000000000")


def preloads(choice):
    """(name, environment) of every allocator to preload: the chosen ones, or the first that this machine has."""
    if choice == "none":
        return []
    found = []
    for name in ALLOCATORS if choice == "auto" else choice.split(","):
        if name in ALLOCATORS:
            path = next(filter(None, map(ctypes.util.find_library, ALLOCATORS[name])), None)
        else:
            path = name if os.path.exists(name) else None
            name = next((known for known in ALLOCATORS if known in name), os.path.basename(name))
        if path:
            found.append((name, {"LD_PRELOAD": path} | ({"MALLOC_CONF": JEMALLOC} if name == "jemalloc" else {})))
        elif choice != "auto":
            sys.exit(f"run.py: there is no allocator '{name}' to preload on this machine")
    return found[:1] if choice == "auto" else found


# The contestants ----------------------------------------------------------------------------------------------------


def first_answer(command, confine, environment=None, text=None):
    """Starts a process and reads its output; the output, and the seconds until it began."""
    with tempfile.TemporaryFile("w+") as errors:
        start = time.perf_counter()
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, preexec_fn=confine,
            env={**os.environ, **(environment or {})})
        if text is not None:
            process.stdin.write(text)
        process.stdin.close()
        begin = process.stdout.read(1)
        seconds = time.perf_counter() - start
        output = begin + process.stdout.read()
        if process.wait() != 0 or not output:
            errors.seek(0)
            lines = errors.read().strip().splitlines()
            line = next((l for l in lines if l.startswith("Error:")), lines[-1] if lines else "no output")
            raise Failed(line.removeprefix("Error: "))
    return output, seconds


class Norma:
    """The command, started anew for every measurement."""

    name = "Norma"
    layouts = LAYOUTS

    def __init__(self, binary, threads):
        self.binary = binary
        self.confine = confined_to(threads)
        self.threads = threads

    def bench(self, *arguments):
        command = [self.binary, "bench", *map(str, arguments), "--threads", str(self.threads), "--json"]
        output, seconds = first_answer(command, self.confine)
        return json.loads(output), seconds

    def measure(self, request):
        names = {
            "norm": ["norm", "shape", "dtype", "layout", "activation", "rounds"],
            "step": ["norm", "width", "size", "batchSize", "dtype", "rounds", "warmUp"],
            "inference": ["norm", "width", "size", "batchSize", "dtype", "rounds"],
        }[request["op"]]
        options = {
            "norm": "--norms", "shape": "--shapes", "dtype": "--dtypes", "layout": "--layouts",
            "activation": "--activation", "rounds": "--steps" if request["op"] == "step" else "--rounds",
            "width": "--width", "size": "--size", "batchSize": "--batch-size", "warmUp": "--warm-up",
        }
        values = {**request, "shape": "x".join(map(str, request.get("shape", [])))}
        record, seconds = self.bench(
            request["op"], *[word for name in names for word in (options[name], values[name])])
        case = next((c for c in record["cases"] if c.get("variant") == request.get("variant")), None)
        if case is None:
            raise Failed(f"there is no variant '{request['variant']}'")
        return {**case, "milliseconds": [case["milliseconds"]["median"]], "startSeconds": seconds}

    def start(self, request):
        return self.measure(request)["startSeconds"]

    def describe(self):
        record, _ = self.bench("inference", "--norms", "batch", "--width", 1, "--size", 16, "--rounds", 1)
        return record

    def close(self):
        pass


class Server:
    """A peer that answers requests as peer.py describes."""

    def __init__(self, name, script, arguments, threads, layouts, environment=None, starts=True):
        self.name = name
        self.command = [sys.executable, str(HERE / script), str(threads), *arguments]
        self.environment = environment or {}
        self.confine = confined_to(threads)
        self.layouts = layouts
        # Whether it takes part in the start from nothing.
        self.starts = starts
        self.process = None
        self.errors = tempfile.TemporaryFile("w+")

    def measure(self, request):
        if self.process is None:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True,
                preexec_fn=self.confine, env={**os.environ, **self.environment})
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            status = self.close()
            # What the profiler says of itself explains nothing.
            self.errors.seek(0)
            lines = [l for l in self.errors.read().strip().splitlines() if not l.startswith("USDT:")]
            how = f"signal {-status}" if status < 0 else f"status {status}"
            raise Failed(f"the process ended with {how}{': ' + lines[-1] if lines else ''}")
        answer = json.loads(line)
        if "error" in answer:
            raise Failed(answer["error"])
        return answer

    def start(self, request):
        output, seconds = first_answer(
            self.command, self.confine, self.environment, json.dumps({**request, "calibrate": False}) + "\n")
        answer = json.loads(output)
        if "error" in answer:
            raise Failed(answer["error"])
        return seconds

    def describe(self):
        answer = self.measure({"op": "describe"})
        # The loader goes on without a library that it does not find.
        wanted = os.path.basename(self.environment.get("LD_PRELOAD", ""))
        if wanted and os.path.exists("/proc/self/maps") and wanted not in read(f"/proc/{self.process.pid}/maps"):
            raise Failed(f"{wanted} could not be preloaded")
        return answer

    def close(self):
        if self.process is None:
            return 0
        try:
            self.process.stdin.close()
        except BrokenPipeError:
            pass
        status = self.process.wait()
        self.process = None
        return status


# The cases ----------------------------------------------------------------------------------------------------------


def cases(options, variants):
    """What to measure: dictionaries of `kind` and the requests, one per layout for norms."""
    found = []

    def add(kind, requests, **facts):
        for request in requests:
            request["case"] = len(found)
        found.append({"kind": kind, **facts, "requests": requests})

    def chosen(default):
        return [norm for norm in default if norm in options.norms] if options.norms else default

    if "norm" in options.only:
        for shape in options.shapes:
            for dtype in options.dtypes:
                for norm in chosen(["batch", "group", "layer", "instance", "switchable"]):
                    add("norm", [
                        {"op": "norm", "norm": norm, "shape": shape, "dtype": dtype, "layout": layout,
                         "activation": "relu", "rounds": options.repeats, "warmUp": 2}
                        for layout in LAYOUTS], norm=norm, shape=shape, dtype=dtype)
    if "step" in options.only:
        for dtype in options.dtypes:
            for norm in chosen(NORMS):
                sizes = {"width": options.width, "size": options.size, "batchSize": options.batch_size}
                add("step", [{"op": "step", "norm": norm, "dtype": dtype, **sizes, "rounds": options.repeats,
                              "warmUp": 6}], norm=norm, dtype=dtype, **sizes)
    if "inference" in options.only:
        for dtype in options.dtypes:
            for norm in options.norms or ["batch"]:
                for variant in variants:
                    if variant == "folded" and norm != "batch":
                        continue
                    sizes = {"width": options.inference_width, "size": options.inference_size, "batchSize": 1}
                    add("inference", [{"op": "inference", "norm": norm, "dtype": dtype, "variant": variant, **sizes,
                                       "rounds": options.repeats, "warmUp": 2}],
                        norm=norm, dtype=dtype, variant=variant, **sizes)
    if "start" in options.only:
        sizes = {"width": 8, "size": 64, "batchSize": 2}
        add("start", [{"op": "step", "norm": "batch", "dtype": "float32", **sizes, "rounds": 1, "warmUp": 0}],
            norm="batch", dtype="float32", **sizes)
    return found


def summary(values):
    return {"values": values, "median": statistics.median(values), "minimum": min(values), "maximum": max(values)}


def measure(case, contestants, options):
    """Fills in `results`: per contestant and layout what was measured, or why not."""
    unit = "seconds" if case["kind"] == "start" else "milliseconds"
    raw = {}
    failures = {}
    for turn in range(options.rounds):
        for request in case["requests"]:
            layout = request.get("layout")
            for contestant in contestants:
                if contestant.name in failures or (layout and layout not in contestant.layouts):
                    continue
                if case["kind"] == "start" and not getattr(contestant, "starts", True):
                    continue
                entry = raw.setdefault((contestant.name, layout), {unit: [], "facts": {}})
                time.sleep(PAUSE)
                try:
                    if case["kind"] == "start":
                        entry[unit].append(contestant.start(request))
                        continue
                    # The peak is the same in every turn.
                    memory = {"memory": True} if case["kind"] == "step" and turn == 0 and is_torch(contestant) else {}
                    answer = contestant.measure({**request, **memory})
                    entry[unit].append(statistics.median(answer["milliseconds"]))
                    for fact in ("peakTensorBytes", "trainableParameters", "way", "copyGigabytesPerSecond", "bytes"):
                        if fact in answer:
                            entry["facts"][fact] = answer[fact]
                except Failed as failure:
                    failures[contestant.name] = str(failure)
    results = []
    for (name, layout), entry in raw.items():
        if name in failures:
            continue
        results.append({"contestant": name, **({"layout": layout} if layout else {}), unit: summary(entry[unit]),
                        **entry["facts"]})
    counts = {r["contestant"]: r["trainableParameters"] for r in results if "trainableParameters" in r}
    if len(set(counts.values())) > 1:
        sys.exit(f"run.py: the networks differ in their numbers of parameters: {counts}")
    done = {key: value for key, value in case.items() if key != "requests"}
    return {**done, "results": results, "failures": failures}


def is_torch(contestant):
    return isinstance(contestant, Server) and contestant.name.startswith("torch")


def compare(case, unit):
    """Adds to every peer's results the ratio of its time to Norma's: of the better layout where there are two."""
    for norma in [r for r in case["results"] if r["contestant"] == "Norma"]:
        norma["ratios"] = {}
        for peer in dict.fromkeys(r["contestant"] for r in case["results"] if r["contestant"] != "Norma"):
            norma["ratios"][peer] = best(case, peer, unit)[unit]["median"] / norma[unit]["median"]


def best(case, name, unit):
    own = [r for r in case["results"] if r["contestant"] == name]
    return min(own, key=lambda r: r[unit]["median"]) if own else None


# The report ---------------------------------------------------------------------------------------------------------


def number(value):
    digits = 0 if value >= 1000 else 1 if value >= 100 else 2 if value >= 1 else 3
    return f"{value:.{digits}f}"


def with_spread(figures):
    return f"{number(figures['median'])} ({number(figures['minimum'])}–{number(figures['maximum'])})"


def mebibytes(count):
    return f"{count / 2**20:.{0 if count >= 100 << 20 else 1}f}"


def table(header, rows):
    line = lambda cells: "| " + " | ".join(cells) + " |"
    return "\n".join([line(header), "|" + "---|" * len(header), *map(line, rows)])


def comparison(cases_, peers, unit, columns, cells):
    """A table with one row per result of Norma, and the geometric mean of every peer's ratios under it."""
    rows, ratios = [], {peer: [] for peer in peers}
    for case in cases_:
        for norma in [r for r in case["results"] if r["contestant"] == "Norma"]:
            row = [*cells(case, norma), with_spread(norma[unit])]
            for peer in peers:
                other = best(case, peer, unit)
                if other is None:
                    row.append("–")
                    continue
                ratios[peer].append(norma["ratios"][peer])
                row.append(f"{with_spread(other[unit])} ×{norma['ratios'][peer]:.2f}")
            rows.append(row)
    if len(rows) > 1:
        means = [f"×{math.exp(statistics.fmean(map(math.log, ratios[p]))):.2f}" if ratios[p] else "–" for p in peers]
        rows.append(["geometric mean", *[""] * len(columns), *means])
    return table([*columns, "Norma", *peers], rows)


def report(record):
    peers = [name for name in record["contestants"] if name != "Norma"]
    options = record["options"]
    of_kind = lambda kind, **facts: [
        c for c in record["cases"] if c["kind"] == kind and all(c[k] == v for k, v in facts.items())]
    parts = [heading(record)]

    def add(title, text, *table_):
        parts.extend([f"## {title}", text, *table_])

    for title, is_large in (("Norm layer and ReLU, large", True), ("Norm layer and ReLU, in cache", False)):
        chosen = [c for c in of_kind("norm") if (math.prod(c["shape"]) >= LARGE) == is_large]
        if chosen:
            cells = lambda case, norma: [
                "×".join(map(str, case["shape"])), case["dtype"], norma["layout"], case["norm"],
                f"{copy_ratio(norma):.2f}"]
            add(title,
                "Milliseconds, forward and backward, training mode. `× copy` is Norma's time divided by that of eight "
                "passes over the input (three forward, five backward) at the rate of a copy of this size. Peers are "
                "measured in both layouts where they have both, and the better one counts.",
                comparison(
                    chosen, peers, "milliseconds", ["input", "type", "layout of Norma", "norm", "× copy"], cells))
    copies = record["copies"]
    if copies:
        add("Copy rates", "GB/s, read and written, of a copy between two tensors of this size, channels-last.",
            table(["input", "type", "Norma", "torch"],
                  [["×".join(map(str, c["shape"])), c["dtype"], f"{c['Norma']:.1f}", f"{c['torch']:.1f}"]
                   for c in copies]))
    for dtype in DTYPES:
        chosen = of_kind("step", dtype=dtype)
        if chosen:
            add(f"U-Net step, {dtype}",
                f"Milliseconds: forward, binary cross-entropy, backward, Adam; width {options['width']}, "
                f"{options['batch-size']} images of {options['size']}×{options['size']}, plain head, no dropout, "
                "channels-last" + ("." if dtype == "float32" else "; PyTorch by autocast, Keras by mixed_bfloat16."),
                comparison(chosen, peers, "milliseconds", ["norm"], lambda case, norma: [case["norm"]]))
    memory = memory_table(of_kind("step"), peers)
    if memory:
        add("Peak memory of a step", "MiB of live CPU tensors at the peak of a step, parameters, gradients and Adam's "
            "state included: Norma's counting allocator, PyTorch's profiler.", memory)
    for dtype in DTYPES:
        chosen = of_kind("inference", dtype=dtype)
        if chosen:
            add(f"Inference, {dtype}",
                f"Milliseconds of the U-Net's forward pass in evaluation mode, width {options['inference-width']}, one "
                f"image of {options['inference-size']}×{options['inference-size']}.",
                comparison(chosen, peers, "milliseconds", ["norm", "variant"],
                           lambda case, norma: [case["norm"], case["variant"]]))
    if of_kind("start"):
        add("Process start", "Seconds from the start of the process to the answer after the first training step, "
            "width 8, 64×64.",
            comparison(of_kind("start"), peers, "seconds", ["norm"], lambda case, norma: [case["norm"]]))
    failures = [f"- {case_name(c)}, {name}: {why}" for c in record["cases"] for name, why in c["failures"].items()]
    if failures:
        add("Not measured", "\n".join(failures))
    return "\n\n".join(parts) + "\n"


def copy_ratio(norma):
    """Norma's median over the rounds against eight passes at the copy rate, of which two make a copy."""
    passes = 8 * norma["bytes"] / norma["copyGigabytesPerSecond"] / 1e6
    return norma["milliseconds"]["median"] / passes


def memory_table(steps, peers):
    rows = []
    shown = [p for p in peers if any(peak(c, p) for c in steps)]
    for case in steps:
        own = peak(case, "Norma")
        if not own:
            continue
        others = [peak(case, name) for name in shown]
        rows.append([case["norm"], case["dtype"], mebibytes(own),
                     *[f"{mebibytes(o)} ×{o / own:.2f}" if o else "–" for o in others]])
    return table(["norm", "type", "Norma", *shown], rows) if rows and shown else None


def peak(case, name):
    return next((r["peakTensorBytes"] for r in case["results"]
                 if r["contestant"] == name and "peakTensorBytes" in r), None)


def case_name(case):
    words = [case["kind"], case["norm"], case["dtype"]]
    if "shape" in case:
        words.append("x".join(map(str, case["shape"])))
    return " ".join(words + ([case["variant"]] if "variant" in case else []))


def heading(record):
    facts = record["machine"]
    processor = facts["processor"]
    if facts["family"]:
        processor += f" (family {facts['family']}, model {facts['model']}; {', '.join(facts['vectors'])})"
    memory = f", {facts['memoryBytes'] / 2**30:.0f} GiB" if facts["memoryBytes"] else ""
    caches = ", ".join(f"{name} {facts[key]}" for name, key in (("L2", "level2Cache"), ("L3", "level3Cache"))
                       if facts[key])
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    return (
        f"# {record['date']}: {facts['processor']}, {record['threads']} threads\n\n"
        f"{facts['cores']} cores of {processor}{', a virtual machine' if facts['isVirtual'] else ''}{memory}; "
        f"{caches}; {facts['system']}, Linux {facts['kernel']}. {versions}.\n\n"
        f"Medians of {record['options']['rounds']} rounds in which the contestants take turns, least and greatest in "
        "brackets; ×ratio is the peer's time divided by Norma's, so above 1 Norma is faster. Norma is a process of "
        "its own for every measurement; the peers are processes that stay. `torch` is PyTorch as installed, with "
        "the layers that users take; `torch + …` the same with an allocator preloaded.")


# ------------------------------------------------------------------------------------------------------------------


def parse():
    def names(known):
        def parse_names(text):
            given = [name for name in text.split(",") if name]
            for name in given:
                if name not in known:
                    raise argparse.ArgumentTypeError(f"'{name}' is unknown; the known ones are {', '.join(known)}")
            if not given:
                raise argparse.ArgumentTypeError(f"at least one is needed of {', '.join(known)}")
            return given
        return parse_names

    def shapes(text):
        found = [re.fullmatch(r"(\d+)x(\d+)x(\d+)x(\d+)", part) for part in text.split(",")]
        if not all(found) or any(int(extent) == 0 for match in found for extent in match.groups()):
            raise argparse.ArgumentTypeError(f"'{text}' is not a list of shapes such as 2x64x256x256")
        return [[int(extent) for extent in match.groups()] for match in found]

    def count(text):
        if not text.isdecimal() or int(text) == 0:
            raise argparse.ArgumentTypeError(f"a whole number above 0 was expected, got '{text}'")
        return int(text)

    parser = argparse.ArgumentParser(prog="run.py", description=__doc__.split("\n\n")[0])
    parser.add_argument("--only", type=names(KINDS), default=KINDS, help=",".join(KINDS))
    parser.add_argument("--norms", type=names(NORMS), help="measure only these norms")
    parser.add_argument("--shapes", type=shapes, default=shapes(SHAPES), help=f"inputs of norms ({SHAPES})")
    parser.add_argument("--dtypes", type=names(DTYPES), default=DTYPES, help=",".join(DTYPES))
    parser.add_argument("--rounds", type=count, default=5, help="turns of every contestant in a case (5)")
    parser.add_argument("--repeats", type=count, default=5, help="values per turn, whose median counts (5)")
    parser.add_argument("--width", type=count, default=32, help="of the U-Net in steps (32)")
    parser.add_argument("--size", type=count, default=256, help="of the images in steps (256)")
    parser.add_argument("--batch-size", type=count, default=2, help="images per step (2)")
    parser.add_argument("--inference-width", type=count, default=64, help="of the U-Net in inference (64)")
    parser.add_argument("--inference-size", type=count, default=512, help="of the image in inference (512)")
    parser.add_argument("--threads", type=count, help="default: libtorch's own choice, one per core")
    parser.add_argument("--preload", default="auto", metavar="LIBRARY",
                        help="allocators for further PyTorch processes, separated by commas: tcmalloc, jemalloc or a "
                        "path; auto is the first of these that is there, or none (auto)")
    parser.add_argument("--no-compile", action="store_true", help="leave out torch.compile")
    parser.add_argument("--keras", action="store_true", help="measure Keras on TensorFlow too")
    parser.add_argument("--jax", action="store_true", help="measure JAX too")
    parser.add_argument("--quick", action="store_true",
                        help="tiny sizes, to see that all works; figures mean nothing and go only where --output says")
    parser.add_argument("--output", type=pathlib.Path, metavar="PREFIX",
                        help="where PREFIX.md and PREFIX.json go (Benchmarks/results/DATE-MACHINE)")
    parser.add_argument("--norma", default=str(ROOT / ".build/release/norma"), metavar="PATH",
                        help="the command (.build/release/norma)")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.repeats = 2, 2
        options.shapes = [[2, 8, 16, 16]]
        options.width = options.inference_width = 4
        options.size = options.inference_size = 32
        options.norms = options.norms or ["batch", "switchable"]
    return options


def default_output(facts, threads):
    words = re.sub(r"\(.*?\)|\d+-Core|Processor|CPU|@.*", " ", facts["processor"])
    slug = "-".join(re.findall(r"[a-z0-9]+", words.lower())) or "machine"
    stem = f"{datetime.date.today().isoformat()}-{slug}-{threads}-threads"
    taken = lambda name: (ROOT / f"Benchmarks/results/{name}.md").exists()
    names = (stem if number == 1 else f"{stem}-{number}" for number in range(1, 1000))
    return ROOT / "Benchmarks/results" / next(name for name in names if not taken(name))


def copy_rates(options, norma_cases, torch):
    """GB/s of copies by PyTorch beside those that Norma told."""
    rates = []
    for shape in options.shapes:
        for dtype in options.dtypes:
            own = [r["copyGigabytesPerSecond"] for c in norma_cases if c["shape"] == shape and c["dtype"] == dtype
                   for r in c["results"] if "copyGigabytesPerSecond" in r and r["layout"] == "channels-last"]
            if not own:
                continue
            request = {"op": "copy", "case": f"copy {shape} {dtype}", "shape": shape, "dtype": dtype,
                       "layout": "channels-last", "rounds": 3 * options.repeats, "warmUp": 2}
            try:
                milliseconds = statistics.median(torch.measure(request)["milliseconds"])
            except Failed:
                continue
            size = math.prod(shape) * (4 if dtype == "float32" else 2)
            rates.append({"shape": shape, "dtype": dtype, "Norma": statistics.median(own),
                          "torch": 2 * size / milliseconds / 1e6})
    return rates


def main():
    options = parse()
    if not pathlib.Path(options.norma).exists():
        sys.exit(f"run.py: there is no '{options.norma}'; build it with `make setup` or name it by --norma")
    facts = machine()
    threads = options.threads or json.loads(output_of(
        [options.norma, "bench", "inference", "--width", "1", "--size", "16", "--rounds", "1", "--json"])
        or "{}").get("machine", {}).get("threads", len(cores()))
    if threads > len(cores()):
        sys.exit(f"run.py: {threads} threads on {len(cores())} cores would wait for each other; choose fewer --threads")

    torch = Server("torch", "torch_peer.py", [], threads, LAYOUTS)
    contestants = [Norma(options.norma, threads), torch]
    for name, environment in preloads(options.preload):
        contestants.append(Server(f"torch + {name}", "torch_peer.py", [], threads, LAYOUTS, environment))
    if not options.no_compile:
        contestants.append(Server("torch.compile", "torch_peer.py", ["compile"], threads, LAYOUTS, starts=False))
    if options.keras:
        contestants.append(Server("Keras", "keras_peer.py", [], threads, ["channels-last"]))
    if options.jax:
        contestants.append(Server("JAX", "jax_peer.py", [], threads, LAYOUTS))
    try:
        run(options, facts, threads, contestants, torch)
    finally:
        for contestant in contestants:
            contestant.close()


def run(options, facts, threads, contestants, torch):
    versions = {}
    variants = []
    for contestant in contestants:
        try:
            described = contestant.describe()
        except Failed as failure:
            sys.exit(f"run.py: {contestant.name} cannot be measured: {failure}")
        if isinstance(contestant, Norma):
            told = described["machine"]
            versions |= {"Norma": told["norma"], "Swift": told["swift"], "libtorch": told["libtorch"]}
            variants = list(dict.fromkeys(case["variant"] for case in described["cases"]))
        else:
            versions |= {NAMES[name]: version for name, version in described["versions"].items()}
    record = {
        "schemaVersion": 1, "date": datetime.date.today().isoformat(), "machine": facts, "threads": threads,
        "versions": versions, "contestants": [c.name for c in contestants],
        "options": {
            "rounds": options.rounds, "repeats": options.repeats, "width": options.width, "size": options.size,
            "batch-size": options.batch_size, "inference-width": options.inference_width,
            "inference-size": options.inference_size, "only": options.only, "norms": options.norms,
            "dtypes": options.dtypes, "shapes": options.shapes,
        },
        "copies": [], "cases": [],
    }
    prefix = options.output or (None if options.quick else default_output(facts, threads))
    todo = cases(options, variants)
    started = time.monotonic()
    for index, case in enumerate(todo):
        result = measure(case, contestants, options)
        compare(result, "seconds" if case["kind"] == "start" else "milliseconds")
        record["cases"].append(result)
        left = (time.monotonic() - started) / (index + 1) * (len(todo) - index - 1)
        told = "; ".join(f"{r['contestant']} {number((r.get('milliseconds') or r['seconds'])['median'])}"
                         for r in result["results"])
        print(f"[{index + 1}/{len(todo)}, about {left / 60:.0f} min left] {case_name(case)}: {told}",
              *[f"{name} failed: {why}" for name, why in result["failures"].items()], sep="\n  ", file=sys.stderr)
        # Every case, so that an interrupted run leaves what it measured.
        write(record, prefix)
    record["copies"] = copy_rates(options, [c for c in record["cases"] if c["kind"] == "norm"], torch)
    write(record, prefix)
    print(report(record))
    if prefix:
        print(f"run.py: wrote {prefix.name}.md and .json", file=sys.stderr)


def write(record, prefix):
    if prefix is None:
        return
    prefix.parent.mkdir(parents=True, exist_ok=True)
    for suffix, content in ((".md", report(record)), (".json", json.dumps(record, indent=1) + "\n")):
        prefix.with_name(prefix.name + suffix).write_text(content)


if __name__ == "__main__":
    main()
