"""Writes golden.json: inputs, outputs, gradients and states of normalization layers, computed in double precision by PyTorch's
own modules where it has them, else by the formulas of the papers written out here. Run with a Python that has torch:

    python generate.py

The Swift tests read golden.json and need no Python.
"""

import json
import pathlib

import torch
from torch import nn

torch.set_default_dtype(torch.float64)
torch.manual_seed(20)
CASES = []


def numbers(tensor):
    return {"shape": list(tensor.shape), "values": tensor.detach().reshape(-1).tolist()}


def record(name, kind, module, shape, eval_after=True, steps=1):
    """Forward and backward in training mode (several times, so that states move), then evaluation."""
    for parameter in module.parameters():
        with torch.no_grad():
            parameter.copy_(torch.randn_like(parameter))
    state = {key: numbers(value.double()) for key, value in module.state_dict().items()}
    module.train()
    batches = []
    for _ in range(steps):
        x = (2 * torch.randn(shape) + 0.7).requires_grad_()
        g = torch.randn(shape)
        y = module(x)
        module.zero_grad()
        y.backward(g)
        gradients = {key: numbers(value.grad) for key, value in module.named_parameters()}
        batches.append({"x": numbers(x), "g": numbers(g), "y": numbers(y), "dx": numbers(x.grad), "gradients": gradients})
    buffers = {key: numbers(value.double()) for key, value in module.named_buffers()}
    case = {"name": name, "kind": kind, "state": state, "batches": batches, "buffers": buffers}
    if eval_after:
        module.eval()
        x = (2 * torch.randn(shape) + 0.7).requires_grad_()
        y = module(x)
        g = torch.randn(shape)
        y.backward(g)
        case["evaluation"] = {"x": numbers(x), "g": numbers(g), "y": numbers(y), "dx": numbers(x.grad), "gradients": {}}
    CASES.append(case)


def per_channel(vector, x):
    return vector.reshape([1, -1] + [1] * (x.dim() - 2))


class Switchable(nn.Module):
    """Luo et al. 2019, eq. 3-5. `unbiased`: planes' variances with M - 1. `branches`: names, or a number of groups."""

    def __init__(self, c, branches=("instance", "layer", "batch"), unbiased=False, unbiased_running=False, share=0.1,
                 eps=1e-5, temperature=1.0, rank=4):
        super().__init__()
        self.branches, self.unbiased, self.unbiased_running = branches, unbiased, unbiased_running
        self.share, self.eps, self.temperature = share, eps, temperature
        ones = [1, c] + [1] * (rank - 2)
        self.weight = nn.Parameter(torch.ones(ones))
        self.bias = nn.Parameter(torch.zeros(ones))
        self.mean_weight = nn.Parameter(torch.ones(len(branches)))
        self.var_weight = nn.Parameter(torch.ones(len(branches)))
        if "batch" in branches:
            self.register_buffer("running_mean", torch.zeros(1, c, 1))
            self.register_buffer("running_var", torch.ones(1, c, 1))

    def forward(self, x):
        n, c = x.shape[:2]
        flat = x.reshape(n, c, -1)
        mean = flat.mean(-1, keepdim=True)
        var = flat.var(-1, unbiased=self.unbiased, keepdim=True)
        square = var + mean ** 2
        means, variances = [], []
        for branch in self.branches:
            if branch == "instance":
                mu, second = mean, square
            elif branch == "layer":
                mu, second = mean.mean(1, keepdim=True), square.mean(1, keepdim=True)
            elif branch == "batch":
                if self.training:
                    mu, second = mean.mean(0, keepdim=True), square.mean(0, keepdim=True)
                    with torch.no_grad():
                        count = n * flat.shape[-1]
                        factor = count / (count - 1) if self.unbiased_running else 1
                        self.running_mean.lerp_(mu, self.share)
                        self.running_var.lerp_((second - mu ** 2) * factor, self.share)
                else:
                    mu = self.running_mean
                    second = self.running_var + mu ** 2
            else:
                shape = (n, branch, c // branch, 1)
                spread = lambda t: t.reshape(shape).mean(2, keepdim=True).expand(shape).reshape(n, c, 1)
                mu, second = spread(mean), spread(square)
            means.append(mu.expand(n, c, 1))
            variances.append((second - mu ** 2).expand(n, c, 1))
        w = torch.softmax(self.mean_weight / self.temperature, 0)
        l = torch.softmax(self.var_weight / self.temperature, 0)
        mu = sum(a * b for a, b in zip(w, means))
        sigma = sum(a * b for a, b in zip(l, variances))
        y = ((flat - mu) / (sigma + self.eps).sqrt()).reshape(x.shape)
        return y * self.weight + self.bias


class FilterResponse(nn.Module):
    """Singh & Krishnan 2020, eq. 1-4."""

    def __init__(self, c, thresholded=True):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(c))
        self.bias = nn.Parameter(torch.zeros(c))
        if thresholded:
            self.tau = nn.Parameter(torch.zeros(c))
        self.thresholded = thresholded

    def forward(self, x):
        nu = (x ** 2).mean(tuple(range(2, x.dim())), keepdim=True)
        y = per_channel(self.weight, x) * x / (nu + 1e-6).sqrt() + per_channel(self.bias, x)
        return torch.maximum(y, per_channel(self.tau, x)) if self.thresholded else y


class RMS(nn.Module):
    """Zhang & Sennrich 2019, eq. 4, over groups of channels."""

    def __init__(self, c, groups):
        super().__init__()
        self.groups = groups
        self.weight = nn.Parameter(torch.ones(c))

    def forward(self, x):
        grouped = x.reshape(x.shape[0], self.groups, -1)
        y = grouped / (grouped.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt()
        return y.reshape(x.shape) * per_channel(self.weight, x)


class EvoS0(nn.Module):
    """Liu et al. 2020, table 1."""

    def __init__(self, c, groups):
        super().__init__()
        self.groups = groups
        self.weight = nn.Parameter(torch.ones(c))
        self.bias = nn.Parameter(torch.zeros(c))
        self.v = nn.Parameter(torch.ones(c))

    def forward(self, x):
        grouped = x.reshape(x.shape[0], self.groups, -1)
        deviation = (grouped.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt().expand(grouped.shape).reshape(x.shape)
        return (x * torch.sigmoid(per_channel(self.v, x) * x) / deviation * per_channel(self.weight, x)
                + per_channel(self.bias, x))


class EvoB0(nn.Module):
    """Liu et al. 2020, table 1."""

    def __init__(self, c, share=0.1):
        super().__init__()
        self.share = share
        self.weight = nn.Parameter(torch.ones(c))
        self.bias = nn.Parameter(torch.zeros(c))
        self.v = nn.Parameter(torch.ones(c))
        self.register_buffer("running_var", torch.ones(c))

    def forward(self, x):
        space = tuple(range(2, x.dim()))
        plane = (x.var(space, unbiased=False, keepdim=True) + 1e-5).sqrt()
        if self.training:
            batch = x.var((0,) + space, unbiased=False)
            with torch.no_grad():
                count = x.numel() // x.shape[1]
                self.running_var.lerp_(batch * count / (count - 1), self.share)
        else:
            batch = self.running_var
        denominator = torch.maximum(per_channel((batch + 1e-5).sqrt(), x), per_channel(self.v, x) * x + plane)
        return x / denominator * per_channel(self.weight, x) + per_channel(self.bias, x)


class Renorm(nn.Module):
    """Ioffe 2017, algorithm 1, with fixed bounds."""

    def __init__(self, c, r_max, d_max, share):
        super().__init__()
        self.r_max, self.d_max, self.share = r_max, d_max, share
        self.weight = nn.Parameter(torch.ones(c))
        self.bias = nn.Parameter(torch.zeros(c))
        self.register_buffer("running_mean", torch.zeros(c))
        self.register_buffer("running_var", torch.ones(c))

    def forward(self, x):
        axes = (0,) + tuple(range(2, x.dim()))
        if not self.training:
            y = (x - per_channel(self.running_mean, x)) / per_channel((self.running_var + 1e-5).sqrt(), x)
            return y * per_channel(self.weight, x) + per_channel(self.bias, x)
        mu, var = x.mean(axes), x.var(axes, unbiased=False)
        sigma = (var + 1e-5).sqrt()
        with torch.no_grad():
            running = (self.running_var + 1e-5).sqrt()
            r = (sigma / running).clamp(1 / self.r_max, self.r_max)
            d = ((mu - self.running_mean) / running).clamp(-self.d_max, self.d_max)
            count = x.numel() // x.shape[1]
            self.running_mean.lerp_(mu, self.share)
            self.running_var.lerp_(var * count / (count - 1), self.share)
        y = (x - per_channel(mu, x)) / per_channel(sigma, x) * per_channel(r, x) + per_channel(d, x)
        return y * per_channel(self.weight, x) + per_channel(self.bias, x)


class Ghost(nn.BatchNorm2d):
    """Hoffer et al. 2017: sub-batches; running statistics here average over them."""

    def __init__(self, c, size):
        super().__init__(c)
        self.size = size

    def forward(self, x):
        if not self.training:
            return super().forward(x)
        parts = x.split(self.size)
        with torch.no_grad():
            share = self.momentum
            weights = [len(p) / len(x) for p in parts]
            count = self.size * x.shape[2] * x.shape[3]
            mean = sum(w * p.mean((0, 2, 3)) for w, p in zip(weights, parts))
            var = sum(w * p.var((0, 2, 3), unbiased=False) for w, p in zip(weights, parts))
            self.running_mean.lerp_(mean, share)
            self.running_var.lerp_(var * count / (count - 1), share)
            self.num_batches_tracked += 1
        return torch.cat([nn.functional.batch_norm(p, None, None, self.weight, self.bias, True, 0.0, self.eps) for p in parts])


class Keras(nn.BatchNorm2d):
    """Keras's batch normalization: epsilon 1e-3, 0.99 of the old is kept, biased running variance."""

    def __init__(self, c):
        super().__init__(c, eps=1e-3)

    def forward(self, x):
        if not self.training:
            return super().forward(x)
        with torch.no_grad():
            self.running_mean.lerp_(x.mean((0, 2, 3)), 0.01)
            self.running_var.lerp_(x.var((0, 2, 3), unbiased=False), 0.01)
            self.num_batches_tracked += 1
        return nn.functional.batch_norm(x, None, None, self.weight, self.bias, True, 0.0, self.eps)


class Unit(nn.Module):
    def forward(self, x):
        return x / (x ** 2).sum(1, keepdim=True).clamp(min=1e-12).sqrt()


S = [3, 4, 3, 2]
record("batch as PyTorch", "batch", nn.BatchNorm2d(4), S, steps=3)
record("batch, cumulative", "batch:cumulative", nn.BatchNorm2d(4, momentum=None), S, steps=3)
record("batch, untracked", "batch:untracked", nn.BatchNorm2d(4, track_running_stats=False), S)
record("batch, 1-d", "batch:momentum=0.3:epsilon=1e-2", nn.BatchNorm1d(4, eps=1e-2, momentum=0.3), [5, 4, 6], steps=2)
record("batch after a linear layer", "batch", nn.BatchNorm1d(4), [7, 4], steps=2)
record("batch, 3-d", "batch", nn.BatchNorm3d(4), [2, 4, 2, 3, 2], steps=2)
record("batch as Keras", "batch:keras", Keras(4), S, steps=3)
record("ghost batches", "batch:ghost=2", Ghost(4, 2), [6, 4, 3, 2], steps=2)
record("ghost batches with a rest", "batch:ghost=2", Ghost(4, 2), [5, 4, 3, 2], steps=2)
record("instance", "instance", nn.InstanceNorm2d(4, affine=True), S)
record("instance, tracked", "instance:tracked", nn.InstanceNorm2d(4, affine=True, track_running_stats=True), S, steps=2)
record("group", "group:2", nn.GroupNorm(2, 4), S)
record("layer", "layer", nn.GroupNorm(1, 4), S)
record("switchable as in the paper", "switchable", Switchable(4), S, steps=3)
record("switchable as the authors' PyTorch code", "switchable:pytorch", Switchable(4, unbiased=True), S, steps=3)
record("switchable as the Keras code", "switchable:keras",
       Switchable(4, unbiased_running=True, share=0.01, eps=1e-3), S, steps=3)
record("switchable without batch", "switchable:instance+layer", Switchable(4, ("instance", "layer")), S)
record("switchable of four", "switchable:instance+group(2)+layer+batch",
       Switchable(4, ("instance", 2, "layer", "batch")), S, steps=2)
record("switchable, tempered", "switchable:temperature=0.5", Switchable(4, temperature=0.5), S, steps=2)
record("switchable, 3-d", "switchable", Switchable(4, rank=5), [2, 4, 2, 3, 2], steps=2)
record("rms", "rms", RMS(4, 1), S)
record("rms of groups", "rms:2", RMS(4, 2), S)
record("frn", "frn", FilterResponse(4), S)
record("frn without threshold", "frn:plain", FilterResponse(4, False), S)
record("EvoNorm S0", "evo-s0:2", EvoS0(4, 2), S)
record("EvoNorm B0", "evo-b0", EvoB0(4), S, steps=2)
record("lrn", "lrn", nn.LocalResponseNorm(5), [2, 7, 3, 2])
record("lrn, even size", "lrn:size=4", nn.LocalResponseNorm(4), [2, 7, 3, 2])
record("lrn of AlexNet", "lrn:alexnet", nn.LocalResponseNorm(5, 5e-4, 0.75, 2.0), [2, 7, 3, 2])
record("lrn, 1-d", "lrn", nn.LocalResponseNorm(5), [2, 7, 5])
record("unit", "unit", Unit(), S)

# A schedule that opens both bounds at once; the Swift test makes the layer with these numbers.
record("batch renormalization", "renorm 1.5 0.4", Renorm(4, 1.5, 0.4, 0.2), S, steps=3)


def weight_case(name, layer, transform, steps=1):
    with torch.no_grad():
        layer.weight.copy_(torch.randn_like(layer.weight))
    original = layer.weight.detach().clone()
    transform(layer)
    layer.train()
    x = torch.randn(2, 3, 5, 5)
    g = torch.randn(2, 4, 3, 3)
    state = {key: numbers(value) for key, value in layer.state_dict().items()}
    for _ in range(steps):
        layer.zero_grad()
        y = layer(x)
    y.backward(g)
    gradients = {key: numbers(value.grad) for key, value in layer.named_parameters()}
    return {"name": name, "weight": numbers(original), "bias": numbers(layer.bias), "x": numbers(x), "g": numbers(g),
            "y": numbers(y), "state": state, "gradients": gradients}


def standardize(layer):
    class Standardized(nn.Module):
        """Qiao et al. 2019, eq. 7."""

        def forward(self, w):
            mean = w.mean((1, 2, 3), keepdim=True)
            return (w - mean) / (w.var((1, 2, 3), unbiased=False, keepdim=True) + 1e-5).sqrt()

    nn.utils.parametrize.register_parametrization(layer, "weight", Standardized())


WEIGHTS = [
    weight_case("weight norm", nn.Conv2d(3, 4, 3), nn.utils.parametrizations.weight_norm),
    weight_case("spectral norm", nn.Conv2d(3, 4, 3), nn.utils.parametrizations.spectral_norm, steps=2),
    weight_case("weight standardization", nn.Conv2d(3, 4, 3), standardize),
]

path = pathlib.Path(__file__).with_name("golden.json")


def rounded(value):
    if isinstance(value, float):
        return float(f"{value:.15g}")
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    return [rounded(item) for item in value] if isinstance(value, list) else value


path.write_text(json.dumps(rounded({"torch": torch.__version__.split("+")[0], "cases": CASES, "weights": WEIGHTS}),
                           separators=(",", ":")) + "\n")
