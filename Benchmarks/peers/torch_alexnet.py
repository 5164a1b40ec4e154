"""AlexNet in PyTorch, with the keys of Norma's: torchvision's for convolutions and linear layers, norms apart from them."""

from torch import nn
from torch.nn import functional as F

from torch_unet import NORMS


def response(_):
    """Krizhevsky et al. 2012, section 3.3; PyTorch divides alpha by the size."""
    return nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2)


def features(convolutions, pools, pool):
    """Convolutions and what follows them, at torchvision's places."""
    layers = []
    for stage, conv in enumerate(convolutions):
        layers += [conv, nn.ReLU()] + ([pool()] if stage in pools else [])
    return nn.ModuleList(layers)


def run(features, norms, x, norm_first=True, taken=None):
    """taken: gets every convolution's output after norm and ReLU."""
    norms = iter(norms)
    for layer in features:
        if isinstance(layer, nn.Conv2d):
            norm = next(norms, nn.Identity())
            x = F.relu(norm(layer(x))) if norm_first else norm(F.relu(layer(x)))
            if taken is not None:
                taken.append(x)
        elif not isinstance(layer, nn.ReLU):
            x = layer(x)
    return x


class AlexNet(nn.Module):
    """norm: none, lrn or a name of NORMS. original: the groups and channels of the first paper. small: for images up to 64."""

    def __init__(self, norm="batch", classes=1000, inputs=3, original=False, small=False, width=1.0, dropout=0.5,
                 normalizes_classifier=False):
        super().__init__()
        original = original or norm == "lrn"

        def scaled(count):
            return max(1, int(count * width / 8 + 0.5)) * 8

        channels = [scaled(c) for c in ([96, 256, 384, 384, 256] if original else [64, 192, 384, 256, 256])]
        groups = [1, 2, 1, 2, 2] if original else [1] * 5
        kernels = [3] * 5 if small else [11, 5, 3, 3, 3]
        strides = [1 if small else 4, 1, 1, 1, 1]
        self.features = features(
            [
                nn.Conv2d(i, o, k, stride=s, padding=2 if k == 11 else k // 2, groups=g)
                for i, o, k, s, g in zip([inputs] + channels, channels, kernels, strides, groups)
            ],
            (0, 1, 4), lambda: nn.MaxPool2d(2) if small else nn.MaxPool2d(3, 2))
        self.norm_first = norm != "lrn"
        normed = [] if norm == "none" else channels[:2] if norm == "lrn" else channels
        self.norms = nn.ModuleList((response if norm == "lrn" else NORMS[norm])(c) for c in normed)
        side, hidden = 4 if small else 6, scaled(4096)
        self.avgpool = nn.AdaptiveAvgPool2d(side)
        self.classifier = nn.ModuleList([
            nn.Dropout(dropout), nn.Linear(channels[4] * side * side, hidden), nn.ReLU(),
            nn.Dropout(dropout), nn.Linear(hidden, hidden), nn.ReLU(),
            nn.Linear(hidden, classes),
        ])
        flat = nn.BatchNorm1d if norm == "batch" else NORMS.get(norm)
        self.classifier_norms = nn.ModuleList(flat(hidden) for _ in range(2 if normalizes_classifier else 0))

    def forward(self, x):
        x = self.avgpool(run(self.features, self.norms, x, self.norm_first)).flatten(1)
        norms = iter(self.classifier_norms)
        for layer in self.classifier:
            x = layer(next(norms, nn.Identity())(x) if isinstance(layer, nn.ReLU) else x)
        return x
