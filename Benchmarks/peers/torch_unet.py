"""The U-Net in PyTorch, with the keys of Norma's, so that weights go both ways by `load_state_dict`."""

from typing import NamedTuple

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
        places = tuple(range(2, x.dim()))
        per_channel = (1, -1) + (1,) * len(places)
        var_in, mean_in = torch.var_mean(x, places, correction=0, keepdim=True)
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
            mean_bn, var_bn = (s.view(per_channel) for s in (self.running_mean, self.running_var))
        w, v = self.mean_weight.softmax(0), self.var_weight.softmax(0)
        mean = w[0] * mean_in + w[1] * mean_ln + w[2] * mean_bn
        var = v[0] * var_in + v[1] * var_ln + v[2] * var_bn
        deviation = (var + peer.EPSILON).sqrt()
        weight, bias = (p.to(x.dtype).view(per_channel) for p in (self.weight, self.bias))
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


NORMS_3D = NORMS | {"batch": nn.BatchNorm3d, "instance": lambda c: nn.InstanceNorm3d(c, affine=True)}


class Form(NamedTuple):
    """What networks of one width and depth differ in, by the names of Norma's metadata."""

    upsampling: str = "nearest"
    padding: str = "same"
    residual: bool = False
    dimensions: int = 2

    def of(self, *layers):
        """The layer for images or the one for volumes."""
        return layers[self.dimensions - 2]


class Block(nn.Module):
    """Convolution, norm, ReLU; a 2×2 convolution has its zeros after the end."""

    def __init__(self, norm, inputs, outputs, kernel=3, form=Form(), relu=True):
        super().__init__()
        self.pad = form.of(nn.ZeroPad2d, nn.ZeroPad3d)((0, 1) * form.dimensions) if kernel == 2 else nn.Identity()
        padding = 1 if kernel == 3 and form.padding == "same" else 0
        self.conv = form.of(nn.Conv2d, nn.Conv3d)(inputs, outputs, kernel, padding=padding)
        self.norm = norm(outputs)
        self.relu = nn.ReLU(inplace=True) if relu else nn.Identity()

    def forward(self, x):
        return self.relu(self.norm(self.conv(self.pad(x))))

    def fold(self):
        self.conv = nn.utils.fusion.fuse_conv_bn_eval(self.conv, self.norm)
        self.norm = nn.Identity()


class TransposedBlock(nn.Module):
    def __init__(self, norm, inputs, outputs, form):
        super().__init__()
        self.conv = form.of(nn.ConvTranspose2d, nn.ConvTranspose3d)(inputs, outputs, 2, stride=2)
        self.norm = norm(outputs)

    def forward(self, x):
        return F.relu(self.norm(self.conv(x)))


def middle(x, like):
    """The middle of x, as large as another tensor."""
    for axis in range(2, x.dim()):
        x = x.narrow(axis, (x.shape[axis] - like.shape[axis]) // 2, like.shape[axis])
    return x


class Level(nn.Module):
    def __init__(self, norm, inputs, outputs, form=Form()):
        super().__init__()
        self.conv1 = Block(norm, inputs, outputs, form=form)
        self.conv2 = Block(norm, outputs, outputs, form=form, relu=not form.residual)
        self.residual = form.residual
        if form.residual and inputs != outputs:
            self.shortcut = Block(norm, inputs, outputs, kernel=1, form=form, relu=False)

    def forward(self, x):
        y = self.conv2(self.conv1(x))
        if not self.residual:
            return y
        x = middle(x, y)
        return F.relu(y + (self.shortcut(x) if hasattr(self, "shortcut") else x))


class UpLevel(nn.Module):
    def __init__(self, norm, inputs, outputs, form=Form()):
        super().__init__()
        self.enlarges = form.upsampling == "nearest"
        self.up = (
            Block(norm, inputs, outputs, 2, form) if self.enlarges else TransposedBlock(norm, inputs, outputs, form)
        )
        self.level = Level(norm, 2 * outputs, outputs, form)

    def forward(self, x, skip):
        x = self.up(F.interpolate(x, scale_factor=2) if self.enlarges else x)
        return self.level(torch.cat([middle(skip, x), x], 1))


class Head(nn.Module):
    """Plain: a 1×1 convolution. Seed: a 3×3 one and a ReLU before it."""

    def __init__(self, width, outputs, style, form=Form()):
        super().__init__()
        conv = form.of(nn.Conv2d, nn.Conv3d)
        middle = max(2, outputs) if style == "seed" else width
        if style == "seed":
            self.conv1 = conv(width, middle, 3, padding=1 if form.padding == "same" else 0)
        self.conv2 = conv(middle, outputs, 1)

    def forward(self, x):
        return self.conv2(F.relu(self.conv1(x)) if hasattr(self, "conv1") else x)


class UNet(nn.Module):
    """Norma's UNet without dropout."""

    def __init__(self, norm, width, depth=4, inputs=1, outputs=1, head="plain", form=Form()):
        super().__init__()
        widths = [width << level for level in range(depth + 1)]
        ins = [inputs] + widths[: depth - 1]
        self.encoder = nn.ModuleList(Level(norm, i, o, form) for i, o in zip(ins, widths[:depth]))
        self.bottom = Level(norm, widths[depth - 1], widths[depth], form)
        self.decoder = nn.ModuleList(UpLevel(norm, widths[k + 1], widths[k], form) for k in reversed(range(depth)))
        self.head = Head(width, outputs, head, form)
        self.pool = form.of(F.max_pool2d, F.max_pool3d)

    def forward(self, x):
        skips = []
        for level in self.encoder:
            skips.append(level(x))
            x = self.pool(skips[-1], 2)
        x = self.bottom(x)
        for level in self.decoder:
            x = level(x, skips.pop())
        return self.head(x)
