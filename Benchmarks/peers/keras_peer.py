"""The benchmarks in Keras 3 on TensorFlow: a server as peer.py describes.

Channels-last, which is TensorFlow's layout. Everything is done without and with XLA, a training step both by
train_on_batch and by a tf.function, and the fastest way counts.
"""

import os
import platform

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import tensorflow as tf
from keras import layers, ops

import peer


class SwitchableNorm(layers.Layer):
    """From the formulas of Luo et al. 2019, with statistics in float32."""

    def build(self, shape):
        extent = (shape[-1],)
        self.gamma = self.add_weight(shape=extent, initializer="ones", name="gamma")
        self.beta = self.add_weight(shape=extent, initializer="zeros", name="beta")
        self.mean_weight = self.add_weight(shape=(3,), initializer="ones", name="mean_weight")
        self.var_weight = self.add_weight(shape=(3,), initializer="ones", name="var_weight")
        self.running_mean = self.add_weight(shape=extent, initializer="zeros", trainable=False, name="running_mean")
        self.running_var = self.add_weight(shape=extent, initializer="ones", trainable=False, name="running_var")

    def call(self, x, training=False):
        mean_in, var_in = ops.moments(ops.cast(x, "float32"), axes=(1, 2), keepdims=True)
        square = var_in + ops.square(mean_in)
        mean_ln = ops.mean(mean_in, axis=3, keepdims=True)
        var_ln = ops.mean(square, axis=3, keepdims=True) - ops.square(mean_ln)
        if training:
            mean_bn = ops.mean(mean_in, axis=0, keepdims=True)
            var_bn = ops.mean(square, axis=0, keepdims=True) - ops.square(mean_bn)
            for running, batch in ((self.running_mean, mean_bn), (self.running_var, var_bn)):
                running.assign(running + peer.MOMENTUM * (ops.reshape(batch, (-1,)) - running))
        else:
            mean_bn, var_bn = self.running_mean, self.running_var
        w, v = ops.softmax(ops.cast(self.mean_weight, "float32")), ops.softmax(ops.cast(self.var_weight, "float32"))
        mean = w[0] * mean_in + w[1] * mean_ln + w[2] * mean_bn
        var = v[0] * var_in + v[1] * var_ln + v[2] * var_bn
        scale = ops.cast(self.gamma, "float32") * ops.rsqrt(var + peer.EPSILON)
        shift = ops.cast(self.beta, "float32") - mean * scale
        return x * ops.cast(scale, x.dtype) + ops.cast(shift, x.dtype)


def norm_layer(name, channels):
    if name == "none":
        return layers.Identity()
    if name == "batch":
        return layers.BatchNormalization(momentum=1 - peer.MOMENTUM, epsilon=peer.EPSILON)
    if name == "switchable":
        return SwitchableNorm()
    groups = {"group": peer.groups_of(channels), "layer": 1, "instance": channels}[name]
    return layers.GroupNormalization(groups=groups, epsilon=peer.EPSILON)


def unet(norm, width, size):
    """Norma's UNet with a plain head and without dropout."""

    def block(x, outputs, kernel=3):
        x = layers.Conv2D(outputs, kernel, padding="same", kernel_initializer="he_normal")(x)
        return layers.ReLU()(norm_layer(norm, outputs)(x))

    widths = [width << level for level in range(5)]
    inputs = x = keras.Input((size, size, 1))
    skips = []
    for level in range(4):
        x = block(block(x, widths[level]), widths[level])
        skips.append(x)
        x = layers.MaxPooling2D(2)(x)
    x = block(block(x, widths[4]), widths[4])
    for level in (3, 2, 1, 0):
        up = block(layers.UpSampling2D(2, interpolation="nearest")(x), widths[level], 2)
        x = layers.Concatenate()([skips.pop(), up])
        x = block(block(x, widths[level]), widths[level])
    return keras.Model(inputs, layers.Conv2D(1, 1, kernel_initializer="he_normal")(x))


def loss(targets, logits):
    logits = tf.cast(logits, tf.float32)
    return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels=targets, logits=logits))


class Keras:
    def describe(self):
        versions = {"keras": keras.__version__, "tensorflow": tf.__version__, "python": platform.python_version()}
        return {"versions": versions}

    def forget(self):
        keras.utils.clear_session()

    def begin(self, request):
        keras.utils.set_random_seed(0)
        keras.config.set_dtype_policy("mixed_bfloat16" if request["dtype"] == "bfloat16" else "float32")

    def tensor(self, request):
        if request["layout"] != "channels-last":
            raise peer.Refused("this peer is channels-last only")
        n, c, h, w = request["shape"]
        return tf.cast(tf.random.normal((n, h, w, c), seed=0), request["dtype"])

    def norm(self, request):
        self.begin(request)
        x, cotangent = self.tensor(request), self.tensor(request)
        norm = norm_layer(request["norm"], request["shape"][1])
        norm.build(x.shape)
        ends = tf.nn.relu if request["activation"] == "relu" else tf.identity

        def way(xla):
            @tf.function(jit_compile=xla)
            def pass_and_back(x, cotangent):
                with tf.GradientTape() as tape:
                    tape.watch(x)
                    y = ends(norm(x, training=True))
                return y, tape.gradient(y, [x, *norm.trainable_variables], output_gradients=cotangent)

            # Reading the smallest result waits for all.
            return lambda: pass_and_back(x, cotangent)[1][-1].numpy()

        return peer.Work([("tf.function", way(False)), ("tf.function, XLA", way(True))])

    def images(self, request):
        extents = (request["batchSize"], request["size"], request["size"], 1)
        images = tf.cast(tf.random.normal(extents, seed=1), request["dtype"])
        return images, tf.cast(tf.random.uniform(extents, seed=2) < 0.78, tf.float32)

    def step(self, request):
        self.begin(request)
        images, targets = self.images(request)

        def network():
            return unet(request["norm"], request["width"], request["size"]), keras.optimizers.Adam(peer.LEARNING_RATE)

        def on_batch(xla):
            model, optimizer = network()
            model.compile(optimizer, loss=loss, jit_compile=xla)
            return lambda: model.train_on_batch(images, targets)

        def function(xla):
            model, optimizer = network()
            optimizer.build(model.trainable_variables)

            @tf.function(jit_compile=xla)
            def train(images, targets):
                with tf.GradientTape() as tape:
                    value = loss(targets, model(images, training=True))
                gradients = tape.gradient(value, model.trainable_variables)
                optimizer.apply_gradients(zip(gradients, model.trainable_variables))
                return value

            return lambda: train(images, targets).numpy()

        ways = [("train_on_batch", on_batch(False)), ("tf.function", function(False))]
        if request.get("calibrate", True):
            ways += [("train_on_batch, XLA", on_batch(True)), ("tf.function, XLA", function(True))]
        model, _ = network()
        count = sum(variable.shape.num_elements() for variable in model.trainable_variables)
        return peer.Work(ways, trainableParameters=count)

    def inference(self, request):
        if request["variant"] != "plain":
            raise peer.Refused("this peer has no folded network")
        self.begin(request)
        images, _ = self.images(request)
        model = unet(request["norm"], request["width"], request["size"])

        def way(xla):
            predict = tf.function(lambda images: model(images, training=False), jit_compile=xla)
            return lambda: predict(images).numpy()

        return peer.Work([("tf.function", way(False)), ("tf.function, XLA", way(True))])


if __name__ == "__main__":
    peer.serve(Keras())
