"""The benchmarks in PyTorch: a server as peer.py describes.

Arguments: threads, and `compile` for torch.compile. Layers are those that users take, at their best: channels-last
where asked, in-place ReLU, fused Adam, and autocast for bfloat16.
"""

import copy
import platform
import sys

import torch
from torch import nn
from torch.nn import functional as F

import peer

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
LAYOUTS = {"channels-first": torch.contiguous_format, "channels-last": torch.channels_last}


class SwitchableNorm(nn.Module):
    """From the formulas of Luo et al. 2019, in the way users write it: whole-tensor operations, in the input's type."""

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
        var_in, mean_in = var_in.float(), mean_in.float()
        mean_ln = mean_in.mean(1, keepdim=True)
        var_ln = (var_in + mean_in**2).mean(1, keepdim=True) - mean_ln**2
        mean_bn = mean_in.mean(0, keepdim=True)
        var_bn = (var_in + mean_in**2).mean(0, keepdim=True) - mean_bn**2
        if self.training:
            with torch.no_grad():
                self.running_mean.lerp_(mean_bn, peer.MOMENTUM)
                self.running_var.lerp_(var_bn, peer.MOMENTUM)
        else:
            mean_bn, var_bn = self.running_mean, self.running_var
        w, v = self.mean_weight.softmax(0), self.var_weight.softmax(0)
        mean = w[0] * mean_in + w[1] * mean_ln + w[2] * mean_bn
        var = v[0] * var_in + v[1] * var_ln + v[2] * var_bn
        deviation = (var + peer.EPSILON).sqrt()
        # Without the casts bfloat16 data would become float32.
        return (x - mean.to(x.dtype)) / deviation.to(x.dtype) * self.weight.to(x.dtype) + self.bias.to(x.dtype)


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


class UNet(nn.Module):
    """Norma's UNet with a plain head and without dropout."""

    def __init__(self, norm, width):
        super().__init__()
        widths = [width << level for level in range(5)]
        pair = lambda i, o: nn.Sequential(Block(norm, i, o), Block(norm, o, o))
        self.encoder = nn.ModuleList(pair(i, o) for i, o in zip([1] + widths[:3], widths[:4]))
        self.bottom = pair(widths[3], widths[4])
        self.ups = nn.ModuleList(Block(norm, widths[k + 1], widths[k], 2) for k in (3, 2, 1, 0))
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


class Torch:
    def __init__(self, threads, compiles):
        torch.set_num_threads(threads)
        self.compiles = compiles

    def describe(self):
        return {"versions": {"torch": torch.__version__, "python": platform.python_version()},
                "threads": torch.get_num_threads()}

    def compiled(self, function):
        return torch.compile(function) if self.compiles else function

    def forget(self):
        # What was compiled for other shapes would make later code general and slower.
        if self.compiles:
            torch.compiler.reset()

    def tensor(self, request):
        x = torch.randn(request["shape"], generator=torch.Generator().manual_seed(0)).to(DTYPES[request["dtype"]])
        return x.contiguous(memory_format=LAYOUTS[request["layout"]])

    def copy(self, request):
        source = self.tensor(request)
        target = torch.empty_like(source)
        return peer.Work([(None, lambda: target.copy_(source))])

    def norm(self, request):
        x = self.tensor(request).requires_grad_()
        cotangent = self.tensor(request)
        norm = NORMS[request["norm"]](request["shape"][1])
        block = nn.Sequential(norm, nn.ReLU(inplace=True)) if request["activation"] == "relu" else norm
        leaves = [x, *block.parameters()]
        call = self.compiled(block)

        def body():
            for leaf in leaves:
                leaf.grad = None
            call(x).backward(cotangent)

        return peer.Work([(None, body)])

    def images(self, request):
        generator = torch.Generator().manual_seed(1)
        extents = (request["batchSize"], 1, request["size"], request["size"])
        images = torch.randn(extents, generator=generator).contiguous(memory_format=torch.channels_last)
        return images, (torch.rand(extents, generator=generator) < 0.78).float()

    def network(self, request):
        torch.manual_seed(0)
        return UNet(NORMS[request["norm"]], request["width"]).to(memory_format=torch.channels_last)

    def step(self, request):
        images, targets = self.images(request)
        model = self.network(request)
        optimizer = torch.optim.Adam(model.parameters(), lr=peer.LEARNING_RATE, fused=True)
        is_bfloat16 = request["dtype"] == "bfloat16"

        def loss(images, targets):
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=is_bfloat16):
                logits = model(images)
            return F.binary_cross_entropy_with_logits(logits.float(), targets)

        loss = self.compiled(loss)

        def body():
            optimizer.zero_grad()
            loss(images, targets).backward()
            optimizer.step()

        work = peer.Work([(None, body)], trainableParameters=sum(p.numel() for p in model.parameters()))
        work.live = lambda: [
            images, targets, *model.parameters(), *model.buffers(),
            *(value for state in optimizer.state.values() for value in state.values() if torch.is_tensor(value)),
        ]
        work.clear = optimizer.zero_grad
        return work

    def peak(self, work):
        """The largest sum of live CPU tensors during a step: what lives before it, and the profiler's account of
        every allocation and release in it, in the order of time."""
        work.clear()  # The profiler does not see releases of what was there before it.
        live = sum(tensor.untyped_storage().nbytes() for tensor in work.live())
        activities = [torch.profiler.ProfilerActivity.CPU]
        with torch.profiler.profile(activities=activities, profile_memory=True, acc_events=True) as profile:
            work.body()
        events = [e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
        events.sort(key=lambda e: e.start_ns())
        greatest = now = 0
        for event in events:
            now += event.nbytes()
            greatest = max(greatest, now)
        return live + greatest

    def inference(self, request):
        images, _ = self.images(request)
        model = self.network(request).eval()
        if request["variant"] == "folded":
            if request["norm"] != "batch":
                raise peer.Refused("only batch normalization can be folded into the convolutions")
            for module in model.modules():
                if isinstance(module, Block):
                    module.fold()
            model = model.to(memory_format=torch.channels_last)

        is_bfloat16 = request["dtype"] == "bfloat16"

        def way(model, images, autocasts):
            call = self.compiled(model)

            def body():
                with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocasts):
                    call(images)

            return body

        ways = [("autocast" if is_bfloat16 else None, way(model, images, is_bfloat16))]
        if is_bfloat16:
            whole = copy.deepcopy(model).to(torch.bfloat16)
            ways.append(("whole network", way(whole, images.to(torch.bfloat16), False)))
        return peer.Work(ways)


if __name__ == "__main__":
    peer.serve(Torch(int(sys.argv[1]), "compile" in sys.argv[2:]))
