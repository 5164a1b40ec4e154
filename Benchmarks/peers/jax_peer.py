"""The benchmarks in JAX: a server as peer.py describes. Plain jax code, everything under jax.jit."""

import functools
import platform

import jax
import jax.numpy as jnp
from jax import lax

import peer


def norm_parameters(name, channels):
    if name == "none":
        return {}
    parameters = {"weight": jnp.ones(channels), "bias": jnp.zeros(channels)}
    if name == "switchable":
        parameters |= {"mean_weight": jnp.ones(3), "var_weight": jnp.ones(3)}
    return parameters


def norm_state(name, channels):
    """Running statistics, of the norms that have them."""
    return {"mean": jnp.zeros(channels), "var": jnp.ones(channels)} if name in ("batch", "switchable") else {}


def normalize(name, parameters, state, x, axis, training=True):
    """The normalized x in x's type, and the new running statistics. `axis` is that of the channels: 1 or 3."""
    if name == "none":
        return x, state
    channels = x.shape[axis]
    space = (2, 3) if axis == 1 else (1, 2)
    data = x.astype(jnp.float32)
    per_channel = lambda vector: vector.reshape((1, -1, 1, 1) if axis == 1 else (1, 1, 1, -1))

    def moments(axes, of=data):
        return jnp.mean(of, axes, keepdims=True), jnp.var(of, axes, keepdims=True)

    def update(mean, var):
        blend = lambda old, new: old + peer.MOMENTUM * (lax.stop_gradient(new).reshape(-1) - old)
        return {"mean": blend(state["mean"], mean), "var": blend(state["var"], var)}

    if name == "batch":
        if training:
            mean, var = moments((0, *space))
            count = x.size // channels
            state = update(mean, var * (count / max(1, count - 1)))
        else:
            mean, var = per_channel(state["mean"]), per_channel(state["var"])
    elif name == "switchable":
        mean_in, var_in = moments(space)
        square = var_in + mean_in**2
        mean_ln = mean_in.mean(axis, keepdims=True)
        var_ln = square.mean(axis, keepdims=True) - mean_ln**2
        if training:
            mean_bn = mean_in.mean(0, keepdims=True)
            var_bn = square.mean(0, keepdims=True) - mean_bn**2
            state = update(mean_bn, var_bn)
        else:
            mean_bn, var_bn = per_channel(state["mean"]), per_channel(state["var"])
        w, v = jax.nn.softmax(parameters["mean_weight"]), jax.nn.softmax(parameters["var_weight"])
        mean = w[0] * mean_in + w[1] * mean_ln + w[2] * mean_bn
        var = v[0] * var_in + v[1] * var_ln + v[2] * var_bn
    else:
        groups = {"group": peer.groups_of(channels), "layer": 1, "instance": channels}[name]
        split = x.shape[:axis] + (groups, channels // groups) + x.shape[axis + 1 :]
        mean, var = moments((2, 3, 4) if axis == 1 else (1, 2, 4), data.reshape(split))
        # One statistic per channel again.
        per_group = lambda table: jnp.repeat(table.reshape(x.shape[0], groups), channels // groups, 1)
        place = (x.shape[0], channels, 1, 1) if axis == 1 else (x.shape[0], 1, 1, channels)
        mean, var = per_group(mean).reshape(place), per_group(var).reshape(place)
    y = (data - mean) * lax.rsqrt(var + peer.EPSILON) * per_channel(parameters["weight"])
    return (y + per_channel(parameters["bias"])).astype(x.dtype), state


def layout_of_network(width):
    """(input channels, output channels, kernel) of the blocks in the order of their use."""
    widths = [width << level for level in range(5)]
    blocks = []
    for inputs, outputs in zip([1] + widths[:4], widths):
        blocks += [(inputs, outputs, 3), (outputs, outputs, 3)]
    for level in (3, 2, 1, 0):
        blocks += [(widths[level + 1], widths[level], 2), (2 * widths[level], widths[level], 3)]
        blocks += [(widths[level], widths[level], 3)]
    return blocks


def make_network(norm, width):
    """Parameters and running statistics of Norma's UNet with a plain head and without dropout."""
    key = jax.random.key(0)
    parameters, states = [], []
    for inputs, outputs, kernel in layout_of_network(width) + [(width, 1, 1)]:
        key, own = jax.random.split(key)
        weight = jax.random.normal(own, (kernel, kernel, inputs, outputs)) * (2 / (kernel**2 * inputs)) ** 0.5
        parameters.append({"conv": weight, "conv_bias": jnp.zeros(outputs)})
        if kernel > 1:
            parameters[-1] |= norm_parameters(norm, outputs)
            states.append(norm_state(norm, outputs))
    return parameters, states


def convolve(parameters, x):
    kernel = parameters["conv"].shape[0]
    # Zeros after the end where their number is odd.
    padding = [((kernel - 1) // 2, kernel // 2)] * 2
    y = lax.conv_general_dilated(
        x, parameters["conv"].astype(x.dtype), (1, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))
    return y + parameters["conv_bias"].astype(x.dtype)


def pool(x):
    # On the CPU the gradient of this is faster than that of lax.reduce_window.
    n, h, w, c = x.shape
    return x.reshape(n, h // 2, 2, w // 2, 2, c).max((2, 4))


def apply_network(norm, parameters, states, x, training=True):
    remaining, before, after = iter(parameters), iter(states), []

    def block(x):
        own = next(remaining)
        y, state = normalize(norm, own, next(before), convolve(own, x), 3, training)
        after.append(state)
        return jax.nn.relu(y)

    skips = []
    for _ in range(4):
        x = block(block(x))
        skips.append(x)
        x = pool(x)
    x = block(block(x))
    for _ in range(4):
        up = block(jnp.repeat(jnp.repeat(x, 2, 1), 2, 2))
        x = block(block(jnp.concatenate([skips.pop(), up], 3)))
    return convolve(next(remaining), x), after


def cross_entropy(logits, targets):
    logits = logits.astype(jnp.float32)
    return jnp.mean(jnp.maximum(logits, 0) - logits * targets + jnp.log1p(jnp.exp(-jnp.abs(logits))))


def adam(parameters, gradients, first, second, count):
    """Kingma & Ba 2015."""
    beta1, beta2, epsilon = 0.9, 0.999, 1e-8
    mix = lambda beta, power: lambda m, g: beta * m + (1 - beta) * g**power
    first = jax.tree.map(mix(beta1, 1), first, gradients)
    second = jax.tree.map(mix(beta2, 2), second, gradients)
    rate = peer.LEARNING_RATE / (1 - beta1**count)
    unbias = 1 / (1 - beta2**count)
    move = lambda p, m, v: p - rate * m / (jnp.sqrt(v * unbias) + epsilon)
    return jax.tree.map(move, parameters, first, second), first, second


class Jax:
    def describe(self):
        return {"versions": {"jax": jax.__version__, "python": platform.python_version()}}

    def forget(self):
        jax.clear_caches()

    def tensor(self, request):
        n, c, h, w = request["shape"]
        shape = (n, c, h, w) if request["layout"] == "channels-first" else (n, h, w, c)
        return jax.random.normal(jax.random.key(0), shape).astype(request["dtype"])

    def copy(self, request):
        source = self.tensor(request)
        return peer.Work([(None, lambda: jnp.copy(source).block_until_ready())])

    def norm(self, request):
        x, cotangent = self.tensor(request), self.tensor(request)
        name, channels = request["norm"], request["shape"][1]
        axis = 1 if request["layout"] == "channels-first" else 3
        ends = jax.nn.relu if request["activation"] == "relu" else lambda y: y
        parameters, state = norm_parameters(name, channels), norm_state(name, channels)

        @jax.jit
        def pass_and_back(parameters, state, x, cotangent):
            def forward(parameters, x):
                y, after = normalize(name, parameters, state, x, axis)
                return ends(y), after

            y, back, after = jax.vjp(forward, parameters, x, has_aux=True)
            return y, back(cotangent), after

        return peer.Work([(None, lambda: jax.block_until_ready(pass_and_back(parameters, state, x, cotangent)))])

    def images(self, request):
        extents = (request["batchSize"], request["size"], request["size"], 1)
        images = jax.random.normal(jax.random.key(1), extents).astype(request["dtype"])
        return images, (jax.random.uniform(jax.random.key(2), extents) < 0.78).astype(jnp.float32)

    def step(self, request):
        images, targets = self.images(request)
        norm = request["norm"]
        parameters, states = make_network(norm, request["width"])
        zeros = lambda: jax.tree.map(jnp.zeros_like, parameters)
        everything = {"now": (parameters, states, zeros(), zeros(), jnp.ones(()))}

        def loss(parameters, states, images, targets):
            logits, after = apply_network(norm, parameters, states, images)
            return cross_entropy(logits, targets), after

        # What the step replaces may be overwritten.
        @functools.partial(jax.jit, donate_argnums=0)
        def train(everything, images, targets):
            parameters, states, first, second, count = everything
            (value, states), gradients = jax.value_and_grad(loss, has_aux=True)(parameters, states, images, targets)
            parameters, first, second = adam(parameters, gradients, first, second, count)
            return (parameters, states, first, second, count + 1), value

        def body():
            everything["now"], value = train(everything["now"], images, targets)
            jax.block_until_ready((everything["now"], value))

        count = sum(leaf.size for leaf in jax.tree.leaves(parameters))
        return peer.Work([(None, body)], trainableParameters=count)

    def inference(self, request):
        if request["variant"] != "plain":
            raise peer.Refused("this peer has no folded network")
        images, _ = self.images(request)
        parameters, states = make_network(request["norm"], request["width"])
        predict = jax.jit(lambda p, s, x: apply_network(request["norm"], p, s, x, training=False)[0])
        return peer.Work([(None, lambda: predict(parameters, states, images).block_until_ready())])


if __name__ == "__main__":
    peer.serve(Jax())
