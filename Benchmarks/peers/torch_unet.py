"""The U-Net in PyTorch, with the keys of Norma's, so that weights go both ways by `load_state_dict`."""

import torch
from torch import nn
from torch.nn import functional as F

import peer


class SwitchableNorm(nn.Module):
    """From the formulas of Luo et al. 2019, in the way users write it: whole-tensor operations, in the input's type."""

    def __init__(self, channels):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.mean_weight = nn.Parameter(torch.ones(3))
        self.var_weight = nn.Parameter(torch.ones(3))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x):
        var_in, mean_in = torch.var_mean(x, (2, 3), correction=0, keepdim=True)
        var_in, mean_in = var_in.float(), mean_in.float()
        mean_ln = mean_in.mean(1, keepdim=True)
        var_ln = (var_in + mean_in**2).mean(1, keepdim=True) - mean_ln**2
        mean_bn = mean_in.mean(0, keepdim=True)
        var_bn = (var_in + mean_in**2).mean(0, keepdim=True) - mean_bn**2
        if self.training:
            with torch.no_grad():
                self.running_mean.lerp_(mean_bn.flatten(), peer.MOMENTUM)
                self.running_var.lerp_(var_bn.flatten(), peer.MOMENTUM)
        else:
            mean_bn, var_bn = (s.view(1, -1, 1, 1) for s in (self.running_mean, self.running_var))
        w, v = self.mean_weight.softmax(0), self.var_weight.softmax(0)
        mean = w[0] * mean_in + w[1] * mean_ln + w[2] * mean_bn
        var = v[0] * var_in + v[1] * var_ln + v[2] * var_bn
        deviation = (var + peer.EPSILON).sqrt()
        weight, bias = (p.to(x.dtype).view(1, -1, 1, 1) for p in (self.weight, self.bias))
        # Without the casts bfloat16 data would become float32.
        return (x - mean.to(x.dtype)) / deviation.to(x.dtype) * weight + bias


NORMS = {
    "none": lambda c: nn.Identity(),
    "batch": nn.BatchNorm2d,
    "group": lambda c: nn.GroupNorm(peer.groups_of(c), c),
    "layer": lambda c: nn.GroupNorm(1, c),
    "instance": lambda c: nn.InstanceNorm2d(c, affine=True),
    "switchable": SwitchableNorm,
}


class Block(nn.Module):
    """Convolution, norm, ReLU; a 2×2 convolution has its zeros after the end."""

    def __init__(self, norm, inputs, outputs, kernel=3):
        super().__init__()
        self.pad = nn.ZeroPad2d((0, 1, 0, 1)) if kernel == 2 else nn.Identity()
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=1 if kernel == 3 else 0)
        self.norm = norm(outputs)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        return self.relu(self.norm(self.conv(self.pad(x))))

    def fold(self):
        self.conv = nn.utils.fusion.fuse_conv_bn_eval(self.conv, self.norm)
        self.norm = nn.Identity()


class Level(nn.Module):
    def __init__(self, norm, inputs, outputs):
        super().__init__()
        self.conv1 = Block(norm, inputs, outputs)
        self.conv2 = Block(norm, outputs, outputs)

    def forward(self, x):
        return self.conv2(self.conv1(x))


class UpLevel(nn.Module):
    def __init__(self, norm, inputs, outputs):
        super().__init__()
        self.up = Block(norm, inputs, outputs, 2)
        self.level = Level(norm, 2 * outputs, outputs)

    def forward(self, x, skip):
        return self.level(torch.cat([skip, self.up(F.interpolate(x, scale_factor=2))], 1))


class Head(nn.Module):
    """Plain: a 1×1 convolution. Seed: a 3×3 one and a ReLU before it."""

    def __init__(self, width, outputs, style):
        super().__init__()
        middle = max(2, outputs) if style == "seed" else width
        if style == "seed":
            self.conv1 = nn.Conv2d(width, middle, 3, padding=1)
        self.conv2 = nn.Conv2d(middle, outputs, 1)

    def forward(self, x):
        return self.conv2(F.relu(self.conv1(x)) if hasattr(self, "conv1") else x)


class UNet(nn.Module):
    """Norma's UNet without dropout."""

    def __init__(self, norm, width, depth=4, outputs=1, head="plain"):
        super().__init__()
        widths = [width << level for level in range(depth + 1)]
        self.encoder = nn.ModuleList(Level(norm, i, o) for i, o in zip([1] + widths[: depth - 1], widths[:depth]))
        self.bottom = Level(norm, widths[depth - 1], widths[depth])
        self.decoder = nn.ModuleList(UpLevel(norm, widths[k + 1], widths[k]) for k in reversed(range(depth)))
        self.head = Head(width, outputs, head)

    def forward(self, x):
        skips = []
        for level in self.encoder:
            skips.append(level(x))
            x = F.max_pool2d(skips[-1], 2)
        x = self.bottom(x)
        for level in self.decoder:
            x = level(x, skips.pop())
        return self.head(x)
