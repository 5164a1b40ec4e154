"""The three-stream spotter in PyTorch, with the keys of Norma's MeanSpotter."""

import torch
from torch import nn
from torch.nn import functional as F

from torch_unet import NORMS


class ChannelAttention(nn.Module):
    """Woo et al. 2018, eq. 2."""

    def __init__(self, channels, reduction):
        super().__init__()
        units = max(1, channels // reduction)
        self.hidden = nn.Linear(channels, units)
        self.output = nn.Linear(units, channels)

    def forward(self, x):
        mean, top = (self.output(F.relu(self.hidden(d))) for d in (x.mean((2, 3)), x.amax((2, 3))))
        return x * torch.sigmoid(mean + top)[:, :, None, None]


class SpatialAttention(nn.Module):
    """Woo et al. 2018, eq. 3."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 1, 7, padding=3, bias=False)

    def forward(self, x):
        return x * torch.sigmoid(self.conv(torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)))


class CBAM(nn.Module):
    def __init__(self, channels, reduction):
        super().__init__()
        self.channel = ChannelAttention(channels, reduction)
        self.spatial = SpatialAttention()

    def forward(self, x):
        return self.spatial(self.channel(x))


class Stream(nn.Module):
    def __init__(self, norm, filters, attends, reduction, dropout):
        super().__init__()
        self.conv = nn.Conv2d(1, filters, 5, padding=2)
        self.norm = norm(filters)
        self.attention = CBAM(filters, reduction) if attends else nn.Identity()
        self.dropout = nn.Dropout(dropout)

    def forward(self, x):
        x = F.max_pool2d(self.norm(F.relu(self.conv(x))), 3)
        return self.dropout(self.attention(x))


class MeanSpotter(nn.Module):
    """attention: none, cbam, cbam-streams or cbam-merge."""

    def __init__(self, norm="batch", attention="none", reduction=8, stream_dropout=0.3, dropout=0.2):
        super().__init__()
        streams = attention in ("cbam", "cbam-streams")
        self.streams = nn.ModuleList(Stream(NORMS[norm], f, streams, reduction, stream_dropout) for f in (3, 3, 8))
        self.attention = CBAM(14, reduction) if attention in ("cbam", "cbam-merge") else nn.Identity()
        self.conv = nn.Conv2d(14, 8, 5, padding=2)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(8 * 7 * 7, 1)

    def forward(self, x):
        x = torch.cat([stream(x[:, i : i + 1]) for i, stream in enumerate(self.streams)], 1)
        x = F.max_pool2d(F.relu(self.conv(self.attention(x))), 2)
        return self.output(self.dropout(x.flatten(1)))

    def penalty(self):
        squares = [(conv.weight**2).sum() for conv in [s.conv for s in self.streams] + [self.conv]]
        return 0.001 * sum(squares[:3]) + 0.1 * squares[3]
