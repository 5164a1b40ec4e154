"""The networks for small pictures in PyTorch, with the keys of Norma's, so that weights go both ways by `load_state_dict`."""

import torch
from torch import nn

import peer

# Norms of vectors [N, features].
NORMS = {
    "none": lambda c: nn.Identity(),
    "batch": nn.BatchNorm1d,
    "group": lambda c: nn.GroupNorm(peer.groups_of(c), c),
    "layer": nn.LayerNorm,
}


class Block(nn.Module):
    """Linear, norm, ReLU."""

    def __init__(self, norm, inputs, outputs):
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)
        self.norm = norm(outputs)

    def forward(self, x):
        return torch.relu(self.norm(self.linear(x)))


class MNISTDense(nn.Module):
    """Norma's MNISTDense without dropout."""

    def __init__(self, norm, inputs=784, hidden=(256, 128), classes=10):
        super().__init__()
        sizes = [inputs, *hidden]
        self.hidden = nn.ModuleList(Block(norm, i, o) for i, o in zip(sizes, hidden))
        self.output = nn.Linear(sizes[-1], classes)

    def forward(self, x):
        x = x.flatten(1)
        for block in self.hidden:
            x = block(x)
        return self.output(x)


class NormLSTM(nn.Module):
    """LSTM with norms of the gates' sums and of the cell state: Ba et al. 2016, supplement, eq. 20-22. [N, T, features]."""

    def __init__(self, norm, inputs, hidden, layers):
        super().__init__()
        self.layers = layers
        self.hidden = hidden
        bound = hidden**-0.5
        for k in range(layers):
            shapes = {
                "weight_ih": (4 * hidden, inputs if k == 0 else hidden),
                "weight_hh": (4 * hidden, hidden),
                "bias_ih": (4 * hidden,),
            }
            for name, shape in shapes.items():
                self.register_parameter(f"{name}_l{k}", nn.Parameter(torch.empty(shape).uniform_(-bound, bound)))
            for name, features in {"norm_ih": 4 * hidden, "norm_hh": 4 * hidden, "norm_c": hidden}.items():
                self.add_module(f"{name}_l{k}", norm(features))

    def forward(self, x):
        for k in range(self.layers):
            w_ih, w_hh, bias, norm_ih, norm_hh, norm_c = (
                getattr(self, f"{name}_l{k}")
                for name in ("weight_ih", "weight_hh", "bias_ih", "norm_ih", "norm_hh", "norm_c")
            )
            h = c = x.new_zeros(x.shape[0], self.hidden)
            outputs = []
            for step in x.unbind(1):
                i, f, g, o = (norm_ih(step @ w_ih.T) + norm_hh(h @ w_hh.T) + bias).chunk(4, 1)
                c = f.sigmoid() * c + i.sigmoid() * g.tanh()
                h = o.sigmoid() * norm_c(c).tanh()
                outputs.append(h)
            x = torch.stack(outputs, 1)
        return x


class MNISTLSTM(nn.Module):
    """Norma's MNISTLSTM without dropout. norm: the name of one that measures every sample alone."""

    def __init__(self, norm, width=28, hidden=128, layers=1, classes=10):
        super().__init__()
        plain = norm == "none"
        self.lstm = (
            nn.LSTM(width, hidden, layers, batch_first=True) if plain else NormLSTM(NORMS[norm], width, hidden, layers)
        )
        self.output = nn.Linear(hidden, classes)

    def forward(self, x):
        y = self.lstm(x.squeeze(1))
        return self.output((y[0] if isinstance(y, tuple) else y)[:, -1])
