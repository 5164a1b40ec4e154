"""The networks of style transfer in PyTorch, with the keys of Norma's."""

import torch
from torch import nn
from torch.nn import functional as F

from torch_alexnet import features, run
from torch_unet import NORMS


class ConditionalInstanceNorm(nn.Module):
    """Dumoulin et al. 2017, eq. 5. styles: [N] indices, or a blend [N, styles]."""

    def __init__(self, styles, channels):
        super().__init__()
        self.scales = nn.Parameter(torch.ones(styles, channels))
        self.shifts = nn.Parameter(torch.zeros(styles, channels))

    def forward(self, x, styles):
        blend = styles if styles.is_floating_point() else F.one_hot(styles, len(self.scales)).to(x.dtype)
        scale, shift = ((blend @ table)[:, :, None, None] for table in (self.scales, self.shifts))
        return F.instance_norm(x) * scale + shift


class Block(nn.Module):
    """Enlargement, reflection, convolution, norm, activation."""

    def __init__(self, inputs, outputs, kernel=3, stride=1, upsampling=1, norm=None, activation=F.relu):
        super().__init__()
        self.margin, self.upsampling, self.activation = kernel // 2, upsampling, activation
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride=stride)
        self.norm = norm(outputs) if norm else nn.Identity()

    def forward(self, x, styles=None):
        if self.upsampling > 1:
            x = F.interpolate(x, scale_factor=self.upsampling)
        x = self.conv(F.pad(x, [self.margin] * 4, mode="reflect"))
        x = self.norm(x, styles) if isinstance(self.norm, ConditionalInstanceNorm) else self.norm(x)
        return self.activation(x) if self.activation else x


class Residual(nn.Module):
    def __init__(self, width, norm):
        super().__init__()
        self.conv1 = Block(width, width, norm=norm)
        self.conv2 = Block(width, width, norm=norm, activation=None)

    def forward(self, x, styles):
        return x + self.conv2(self.conv1(x, styles), styles)


class TransformationNetwork(nn.Module):
    def __init__(self, norm="instance", width=32, blocks=5, styles=1, channels=3, output="sigmoid"):
        super().__init__()
        norm = NORMS[norm] if styles == 1 else lambda c: ConditionalInstanceNorm(styles, c)
        self.encoder = nn.ModuleList([
            Block(channels, width, 9, norm=norm), Block(width, 2 * width, stride=2, norm=norm),
            Block(2 * width, 4 * width, stride=2, norm=norm),
        ])
        self.blocks = nn.ModuleList(Residual(4 * width, norm) for _ in range(blocks))
        self.decoder = nn.ModuleList([
            Block(4 * width, 2 * width, upsampling=2, norm=norm), Block(2 * width, width, upsampling=2, norm=norm),
        ])
        ends = {"sigmoid": torch.sigmoid, "tanh": lambda x: (torch.tanh(x) + 1) / 2}
        self.output = Block(width, channels, 9, activation=ends[output])

    def forward(self, x, styles=None):
        height, width = x.shape[2:]
        for layer in [*self.encoder, *self.blocks, *self.decoder]:
            x = layer(x, styles)
        return self.output(x)[:, :, :height, :width]


class FeatureNetwork(nn.Module):
    """A VGG-like classifier; layout: small, vgg16 or vgg19."""

    LAYOUTS = {"small": [2, 2, 2, 2], "vgg16": [2, 2, 3, 3, 3], "vgg19": [2, 2, 4, 4, 4]}

    def __init__(self, layout="small", norm="batch", width=16, classes=10, inputs=3, standardizes=True):
        super().__init__()
        blocks = self.LAYOUTS[layout]
        channels = [width << min(b, 3) for b, count in enumerate(blocks) for _ in range(count)]
        ends = [sum(blocks[: b + 1]) - 1 for b in range(len(blocks))]
        convolutions = [nn.Conv2d(i, o, 3, padding=1) for i, o in zip([inputs] + channels, channels)]
        self.stages = [f"relu{b + 1}_{i + 1}" for b, count in enumerate(blocks) for i in range(count)]
        self.features = features(convolutions, ends, lambda: nn.MaxPool2d(2))
        self.norms = nn.ModuleList(NORMS[norm](c) for c in channels if norm != "none")
        if classes:
            self.head = nn.Linear(channels[-1], classes)
        self.standardizes = standardizes

    def standardized(self, x):
        if not self.standardizes:
            return x
        mean, deviation = (torch.tensor(v).view(1, 3, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
        return (x - mean) / deviation

    def activations(self, x, stages):
        taken = []
        run(self.features, self.norms, self.standardized(x), taken=taken)
        return [taken[self.stages.index(stage)] for stage in stages]

    def forward(self, x):
        return self.head(run(self.features, self.norms, self.standardized(x)).mean((2, 3)))


class AdaptiveStyleNetwork(nn.Module):
    """Huang & Belongie 2017."""

    def __init__(self, stage="relu4_1", **options):
        super().__init__()
        self.encoder = FeatureNetwork(**options)
        self.stage = stage
        mirrored, remaining = [], self.encoder.stages.index(stage) + 1
        for layer in self.encoder.features:
            if isinstance(layer, nn.Conv2d):
                if remaining == 0:
                    break
                mirrored.append([layer.out_channels, layer.in_channels, 1])
                remaining -= 1
            elif isinstance(layer, nn.MaxPool2d) and remaining > 0:
                mirrored[-1][2] = 2
        self.poolings = sum(m[2] == 2 for m in mirrored)
        mirrored.reverse()
        self.decoder = nn.ModuleList(
            Block(i, o, upsampling=u, activation=F.relu if n < len(mirrored) - 1 else None)
            for n, (i, o, u) in enumerate(mirrored))

    def forward(self, content, style):
        height, width = content.shape[2:]
        step = 1 << self.poolings
        x = F.pad(content, [0, -width % step, 0, -height % step], mode="reflect")
        (c,), (s,) = (self.encoder.activations(image, [self.stage]) for image in (x, style))
        (vc, mc), (vs, ms) = (torch.var_mean(f, (2, 3), correction=0, keepdim=True) for f in (c, s))
        x = (c - mc) / (vc + 1e-5).sqrt() * (vs + 1e-5).sqrt() + ms
        for layer in self.decoder:
            x = layer(x)
        return x[:, :, :height, :width]
