import Foundation
import NormaExchange
import NormaFormats
import NormaNN
import NormaNormalization
import NormaTensor
import TestSupport
import Testing

/// Every kind of layer that Keras weights are for.
private final class Network: Module, Layer {
  let conv: Convolution
  let norm: BatchNorm
  let up: TransposedConvolution
  let dense: Linear

  override init() {
    conv = try! Convolution(inputChannels: 2, outputChannels: 4, kernel: [3, 3], padding: .same)
    norm = try! BatchNorm(channels: 4, .keras)
    up = try! TransposedConvolution(inputChannels: 4, outputChannels: 3, kernel: [2, 2])
    dense = try! Linear(inputs: 3, outputs: 5)
    super.init()
    evaluate()
  }

  func forward(_ input: Tensor) throws -> Tensor {
    try dense(up(norm(conv(input)).relu()).mean([2, 3])).sigmoid()
  }
}

@Suite struct KerasImportTests {
  private func ramp(_ shape: [Int], from start: Float = 0) throws -> Tensor {
    try Tensor((0..<shape.reduce(1, *)).map { start + Float($0) }, shape: shape)
  }

  @Test(arguments: 1...3) func kernelsAreTransposed(dimensions: Int) throws {
    let kernel = Array([2, 3, 4].prefix(dimensions))
    let (inputs, outputs) = (3, 5)
    let network = Sequential([
      try Convolution(inputChannels: inputs, outputChannels: outputs, kernel: kernel),
      try TransposedConvolution(inputChannels: outputs, outputChannels: inputs, kernel: kernel),
      try Linear(inputs: inputs, outputs: outputs),
    ])
    try KerasImport(map: ["c": "layers.0", "block/t": "layers.1", "d": "layers.2"]).load(
      [
        "c/kernel": ramp(kernel + [inputs, outputs]), "c/bias:0": ramp([outputs], from: 7),
        "block/t/kernel": ramp(kernel + [inputs, outputs], from: 1), "block/t/bias": ramp([inputs]),
        "d/kernel:0": ramp([inputs, outputs]), "d/bias": ramp([outputs]),
      ], into: network)
    let state = Dictionary(uniqueKeysWithValues: network.stateDictionary().map { ($0.key, $0.value) })
    let positions = kernel.reduce(1, *)
    for key in ["layers.0.weight", "layers.1.weight"] {
      let first = try #require(state[key])
      let start: Float = key == "layers.0.weight" ? 0 : 1
      #expect(first.shape == [outputs, inputs] + kernel)
      let values: [Float] = try first.array()
      for o in 0..<outputs {
        for i in 0..<inputs {
          for p in 0..<positions {
            #expect(values[(o * inputs + i) * positions + p] == start + Float((p * inputs + i) * outputs + o))
          }
        }
      }
    }
    let bias: [Float]? = try state["layers.0.bias"]?.array()
    #expect(bias == [7, 8, 9, 10, 11])
    let dense: [Float]? = try state["layers.2.weight"]?.array()
    #expect(dense == [0, 5, 10, 1, 6, 11, 2, 7, 12, 3, 8, 13, 4, 9, 14])
  }

  @Test func normsAreRenamed() throws {
    let network = Sequential([try BatchNorm(channels: 2), try SwitchableNorm(channels: 2, .referenceKeras)])
    var variables: [String: Tensor] = [:]
    for (index, layer) in ["bn", "sn"].enumerated() {
      for (place, name) in ["gamma", "beta", "moving_mean", "moving_variance"].enumerated() {
        // Ports of switchable normalization keep them as [1, 1, 1, C].
        variables["\(layer)/\(name)"] = try ramp(
          index == 0 ? [2] : [1, 1, 1, 2], from: Float(10 * place + 100 * index))
      }
    }
    variables["sn/mean_weights"] = try ramp([3], from: 1)
    variables["sn/variance_weights"] = try ramp([3], from: 5)
    try KerasImport(parsing: "bn = layers.0 # first\n\n# no more\n\tsn=layers.1\r\n").load(variables, into: network)
    let state = Dictionary(uniqueKeysWithValues: network.stateDictionary().map { ($0.key, $0.value) })
    func values(_ key: String) throws -> [Float]? { try state[key]?.array() }
    for (index, layer) in ["layers.0", "layers.1"].enumerated() {
      for (place, name) in ["weight", "bias", "running_mean", "running_var"].enumerated() {
        let start = Float(10 * place + 100 * index)
        #expect(try values("\(layer).\(name)") == [start, start + 1])
      }
    }
    #expect(try values("layers.1.mean_weight") == [1, 2, 3])
    #expect(try values("layers.1.var_weight") == [5, 6, 7])
  }

  @Test func everythingThatDoesNotFitIsListed() throws {
    let network = Network()
    let before: [Float] = try network.conv.bias!.value.array()
    let error = #expect(throws: KerasImportError.self) {
      try KerasImport(map: ["conv": "conv", "bn": "norm", "dense": "dense", "again": "conv", "x": "nowhere"]).load(
        [
          "conv/kernel": ramp([3, 3, 3, 4]), "conv/bias": ramp([4], from: 1), "again/bias": ramp([4]),
          "bn/gamma": ramp([4]), "bn/beta": ramp([4]), "bn/moving_mean": ramp([4]), "bn/mystery": ramp([4]),
          "other/kernel": ramp([2, 2]), "x/bias": ramp([1]),
        ], into: network)
    }
    let text = error?.description ?? ""
    for part in [
      "'other/kernel': the map has no layer 'other'", "'bn/mystery': the known variables are",
      "the map's layer 'dense'",
      "'conv.bias' comes from several variables",
      "missing: norm.running_var, up.weight, up.bias, dense.weight, dense.bias",
      "unexpected: nowhere.bias", "conv.weight: expected [4, 2, 3, 3], got [4, 3, 3, 3]",
    ] { #expect(text.contains(part), "\(text)") }
    let after: [Float] = try network.conv.bias!.value.array()
    #expect(after == before)
  }

  @Test func aMapThatCannotBe() throws {
    let error = #expect(throws: KerasImportError.self) {
      try KerasImport(parsing: "a = b\nc\nd =\n = e\na = f\ng = h = i")
    }
    #expect(
      error?.problems == [
        "line 2: 'keras layer = module' was expected, got 'c'",
        "line 3: 'keras layer = module' was expected, got 'd ='",
        "line 4: 'keras layer = module' was expected, got '= e'", "line 5: the layer 'a' is there twice",
        "line 6: 'keras layer = module' was expected, got 'g = h = i'",
      ])
  }

  /// The network in Keras, its weights written by the lines that `norma import --help` shows.
  private static let script = """
    import sys
    folder, = sys.argv[1:]
    import keras, numpy
    from safetensors.numpy import load_file, save_file
    keras.utils.set_random_seed(1)
    model = keras.Sequential([
        keras.Input((None, None, 2)),
        keras.layers.Conv2D(4, 3, padding="same", name="first"),
        keras.layers.BatchNormalization(name="norm"),
        keras.layers.ReLU(),
        keras.layers.Conv2DTranspose(3, 2, strides=2, padding="same", name="up"),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(5, activation="sigmoid", name="dense"),
    ])
    random = numpy.random.default_rng(0)
    for w in model.weights:
        w.assign(random.uniform(0.5, 1.5, w.shape) if "variance" in w.path else random.normal(0, 0.5, w.shape))
    x = load_file(folder + "/input.safetensors")["x"]
    y = numpy.ascontiguousarray(model(numpy.moveaxis(x, 1, -1), training=False))
    save_file({w.path: w.numpy() for w in model.weights}, folder + "/keras.safetensors")
    save_file({"y": y}, folder + "/output.safetensors")
    print("\\n".join(w.path for w in model.weights))
    """

  @Test(
    .enabled(
      if: Python.imports("keras", "safetensors"), "needs a Python with keras, a backend and safetensors: PEERS_PYTHON"))
  func outputsAreThoseOfKeras() throws {
    let folder = try TemporaryFolder()
    let x = try Tensor.normal([2, 2, 9, 12], generator: Generator(seed: 5))
    try Safetensors.write([.init("x", x)], to: folder.path("input.safetensors"))
    let paths = String(decoding: try Python.run(Self.script, folder.url.path), as: UTF8.self)
    #expect(paths.contains("first/kernel"), "\(paths)")
    let network = Network()
    let variables = try SafetensorsReader(folder.path("keras.safetensors")).tensors()
    // Sequential models may put their own name first.
    let layers = Set(variables.keys.map { $0.split(separator: "/").dropLast().joined(separator: "/") })
    let modules = ["first": "conv", "norm": "norm", "up": "up", "dense": "dense"]
    let map = Dictionary(
      uniqueKeysWithValues: layers.map { ($0, modules[$0.split(separator: "/").last.map(String.init) ?? ""] ?? "?") })
    let expected: [Double] = try #require(SafetensorsReader(folder.path("output.safetensors")).tensors()["y"]).array()
    func error() throws -> Double { relativeError(try withoutGradients { try network(x).array() }, expected) }
    #expect(try error() > 0.01)
    try KerasImport(map: map).load(variables, into: network)
    #expect(try error() < 1e-5)
    try withoutGradients { try network.conv.weight.value.selected(0).add(scalar: 0.01) }
    #expect(try error() > 3e-5)
  }
}
