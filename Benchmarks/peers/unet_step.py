"""Milliseconds of one training step of the same U-Net in PyTorch: the peer of UNetStep.

Arguments: width extent batch steps. Channels-last, Adam, plain head, no dropout. The norms take turns.
"""
import statistics
import sys
import time

import torch
from torch import nn
from torch.nn import functional as F


class SwitchableNorm(nn.Module):
    """From the formulas of Luo et al. 2019, in the way users write it: whole-tensor operations."""

    def __init__(self, channels):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1, channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.mean_weight = nn.Parameter(torch.ones(3))
        self.var_weight = nn.Parameter(torch.ones(3))
        self.register_buffer("running_mean", torch.zeros(1, channels, 1, 1))
        self.register_buffer("running_var", torch.ones(1, channels, 1, 1))

    def forward(self, x):
        var_in, mean_in = torch.var_mean(x, (2, 3), correction=0, keepdim=True)
        mean_ln = mean_in.mean(1, keepdim=True)
        var_ln = (var_in + mean_in**2).mean(1, keepdim=True) - mean_ln**2
        mean_bn = mean_in.mean(0, keepdim=True)
        var_bn = (var_in + mean_in**2).mean(0, keepdim=True) - mean_bn**2
        if self.training:
            with torch.no_grad():
                self.running_mean.lerp_(mean_bn, 0.1)
                self.running_var.lerp_(var_bn, 0.1)
        else:
            mean_bn, var_bn = self.running_mean, self.running_var
        w, v = self.mean_weight.softmax(0), self.var_weight.softmax(0)
        mean = w[0] * mean_in + w[1] * mean_ln + w[2] * mean_bn
        var = v[0] * var_in + v[1] * var_ln + v[2] * var_bn
        return (x - mean) / (var + 1e-5).sqrt() * self.weight + self.bias


NORMS = {
    "none": lambda c: nn.Identity(),
    "batch": nn.BatchNorm2d,
    "group": lambda c: nn.GroupNorm(min(32, c), c),
    "switchable": SwitchableNorm,
}


def block(norm, inputs, outputs, kernel=3):
    pad = nn.ZeroPad2d((0, 1, 0, 1)) if kernel == 2 else nn.Identity()
    conv = nn.Conv2d(inputs, outputs, kernel, padding=1 if kernel == 3 else 0)
    return nn.Sequential(pad, conv, norm(outputs), nn.ReLU(inplace=True))


class UNet(nn.Module):
    def __init__(self, norm, width):
        super().__init__()
        widths = [width << level for level in range(5)]
        pair = lambda i, o: nn.Sequential(block(norm, i, o), block(norm, o, o))
        self.encoder = nn.ModuleList(pair(i, o) for i, o in zip([1] + widths[:3], widths[:4]))
        self.bottom = pair(widths[3], widths[4])
        self.ups = nn.ModuleList(block(norm, widths[k + 1], widths[k], 2) for k in (3, 2, 1, 0))
        self.decoder = nn.ModuleList(pair(2 * widths[k], widths[k]) for k in (3, 2, 1, 0))
        self.head = nn.Conv2d(width, 1, 1)

    def forward(self, x):
        skips = []
        for level in self.encoder:
            skips.append(level(x))
            x = F.max_pool2d(skips[-1], 2)
        x = self.bottom(x)
        for up, level in zip(self.ups, self.decoder):
            x = level(torch.cat([skips.pop(), up(F.interpolate(x, scale_factor=2))], 1))
        return self.head(x)


def main():
    numbers = [int(argument) for argument in sys.argv[1:5]]
    width, extent, batch, steps = numbers + [16, 256, 1, 15][len(numbers) :]
    names = sys.argv[5:] or list(NORMS)
    images = torch.randn(batch, 1, extent, extent).contiguous(memory_format=torch.channels_last)
    targets = (torch.rand(batch, 1, extent, extent) < 0.78).float()
    cases = []
    for name in names:
        torch.manual_seed(0)
        model = UNet(NORMS[name], width).to(memory_format=torch.channels_last)
        cases.append((name, model, torch.optim.Adam(model.parameters(), lr=1e-3, fused=True), []))
    for step in range(steps + 2):
        for _, model, optimizer, times in cases:
            start = time.perf_counter()
            optimizer.zero_grad()
            F.binary_cross_entropy_with_logits(model(images), targets).backward()
            optimizer.step()
            if step >= 2:
                times.append((time.perf_counter() - start) * 1000)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    for name, _, _, times in cases:
        print(f"{name}: {statistics.median(times):.1f} ms")


main()
