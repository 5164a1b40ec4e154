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
from torch_unet import NORMS, Block, UNet

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
LAYOUTS = {"channels-first": torch.contiguous_format, "channels-last": torch.channels_last}


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
