import Foundation
import NormaExchange
import NormaFormats
import NormaModels
import NormaNN
import NormaNormalization
import NormaTensor
import TestSupport
import Testing

extension Module {
  /// Random parameters and statistics of usual magnitudes, so that nothing stays at 0 or 1, in evaluation mode.
  func scramble(seed: UInt64) throws {
    let generator = try Generator(seed: seed)
    for (key, value) in stateDictionary() where value.dtype.isFloatingPoint && !key.hasSuffix("radius") {
      let random = try Tensor.normal(value.shape, generator: generator)
      if key.hasSuffix("running_var") {
        try value.copy(from: random.abs() + 0.5)
      } else if value.rank == 1 {
        try value.copy(from: random * 0.3 + (key.hasSuffix("weight") ? 1 : 0))
      }
    }
    evaluate()
  }
}

/// A layer that is a function.
private final class Function: Module, Layer {
  private let function: (Tensor) throws -> Tensor
  init(_ function: @escaping (Tensor) throws -> Tensor) { self.function = function }
  func forward(_ input: Tensor) throws -> Tensor { try function(input) }
}

@Suite struct ONNXExportTests {
  /// Checks the models of a folder by ONNX's own checker and writes what ONNX Runtime makes of the input beside each.
  private static let runtime = """
    import glob, sys
    import numpy, onnx, onnxruntime
    folder, = sys.argv[1:]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    for path in sorted(glob.glob(folder + "/*.onnx")):
        try:
            onnx.checker.check_model(path, full_check=True)
            session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
            data = numpy.fromfile(path + ".input", "<f4")
            shape = [int(n) for n in open(path + ".shape").read().split(",")]
            output, = session.run(None, {"input": data.reshape(shape)})
            output.astype("<f4").tofile(path + ".output")
        except Exception as error:
            open(path + ".error", "w").write(str(error))
    """

  private struct Case {
    let name: String
    let network: any Layer
    let axes: [ONNXAxis]
    let shape: [Int]

    init(_ name: String, _ network: any Layer, _ axes: [ONNXAxis], _ shape: [Int]) {
      (self.name, self.network, self.axes, self.shape) = (name, network, axes, shape)
    }

    var input: Tensor { get throws { try Tensor.normal(shape, generator: Generator(seed: 5)) + 0.5 } }

    func output() throws -> [Double] {
      try withoutGradients { try network(input).array(of: Float.self).map(Double.init) }
    }
  }

  /// Relative to the largest value of the output.
  private static let tolerance = 1e-5

  /// Compares all cases in one run of Python.
  private func compare(_ cases: [Case]) throws {
    let folder = try TemporaryFolder()
    for (index, item) in cases.enumerated() {
      let path = folder.path("\(100 + index).onnx")
      try item.network.scramble(seed: UInt64(index))
      try item.network.onnx(input: item.axes).write(to: path)
      let values: [Float] = try item.input.array()
      try values.withUnsafeBytes { try Data($0).write(to: URL(fileURLWithPath: path + ".input")) }
      try item.shape.map(String.init).joined(separator: ",").write(
        toFile: path + ".shape", atomically: true, encoding: .utf8)
    }
    try Python.run(Self.runtime, folder.url.path)
    for (index, item) in cases.enumerated() {
      let path = folder.path("\(100 + index).onnx")
      if let error = try? String(contentsOfFile: path + ".error", encoding: .utf8) {
        Issue.record("\(item.name): \(error)")
        continue
      }
      let found = try Data(contentsOf: URL(fileURLWithPath: path + ".output")).withUnsafeBytes {
        $0.bindMemory(to: Float.self).map(Double.init)
      }
      let expected = try item.output()
      let error = relativeError(found, expected)
      #expect(error < Self.tolerance, "\(item.name): \(error)")
      // One weight that is a little different is seen.
      guard let weight = item.network.parameters.first(where: { $0.value.rank > 1 })?.value else { continue }
      try withoutGradients { try weight.reshaped([-1]).sliced(0..<1).add(scalar: 0.02) }
      let changed = relativeError(found, try item.output())
      #expect(changed > 3 * Self.tolerance, "\(item.name): \(changed) with another weight")
    }
  }

  private static let hasRuntime = Python.imports("onnx", "onnxruntime", "numpy")

  private static let norms = [
    "none", "batch", "batch:keras", "batch:untracked", "batch:ghost=2", "layer", "instance", "instance:plain",
    "instance:tracked", "group", "group:2", "switchable", "switchable:instance+layer", "switchable:group(2)+batch",
    "switchable:pytorch", "switchable:sparse", "switchable:temperature=0.5", "rms", "rms:2:bias", "frn", "frn:plain",
    "evo-s0", "evo-b0", "lrn", "lrn:size=4", "lrn:alexnet", "unit",
  ]

  private static func unet(_ norm: String, outputs: Int = 1) throws -> UNet {
    var options = UNet.Options()
    (options.width, options.depth, options.normalization) = (4, 2, try Normalization(parsing: norm))
    options.outputChannels = outputs
    return try UNet(options, generator: Generator(seed: 1))
  }

  private static var dense: MNISTDense {
    get throws {
      var options = MNISTDense.Options()
      (options.height, options.width, options.hidden) = (5, 4, [24, 16])
      options.normalization = .switchable
      return try MNISTDense(options, generator: Generator(seed: 1))
    }
  }

  private static func recurrent(_ norm: String) throws -> MNISTLSTM {
    var options = MNISTLSTM.Options()
    (options.width, options.hidden, options.layers, options.normalization) = (4, 6, 2, try Normalization(parsing: norm))
    return try MNISTLSTM(options, generator: Generator(seed: 1))
  }

  private static let images: [ONNXAxis] = [
    .any("batch"), .fixed(1), .any("height", multipleOf: 4), .any("width", multipleOf: 4),
  ]

  @Test func everyMemberIsAmongThem() {
    let kinds = Set(Self.norms.map { $0.prefix { $0 != ":" } }.map(String.init))
    #expect(kinds == Set(NormalizationKind.knownNames))
  }

  @Test(.enabled(if: hasRuntime, "needs a Python with onnx, onnxruntime and numpy: PEERS_PYTHON or python3"))
  func theUNetIsTheSameInONNXRuntime() throws {
    // Another batch and other extents than those that were recorded.
    try compare(Self.norms.map { Case($0, try Self.unet($0), Self.images, [3, 1, 20, 28]) })
  }

  @Test(.enabled(if: hasRuntime, "needs a Python with onnx, onnxruntime and numpy: PEERS_PYTHON or python3"))
  func theVariantsOfTheUNetAreTheSameInONNXRuntime() throws {
    func item(_ norm: String, _ shape: [Int], _ change: (inout UNet.Options) -> Void) throws -> Case {
      var options = UNet.Options()
      (options.width, options.depth, options.normalization) = (4, 2, try Normalization(parsing: norm))
      options.dimensions = shape.count - 2
      change(&options)
      let shift = options.margin == 0 ? 0 : options.inputExtent(forOutput: 1)
      let axes = ["depth", "height", "width"].suffix(options.dimensions)
      return Case(
        "\(norm) \(options.metadata)", try UNet(options, generator: Generator(seed: 1)),
        [.any("batch"), .fixed(1)] + axes.map { .any($0, multipleOf: options.extentMultiple, plus: shift) }, shape)
    }
    var cases = [
      try item("switchable", [3, 1, 20, 28]) { ($0.upsampling, $0.isResidual) = (.transposed, true) },
      try item("batch", [2, 1, 8, 12, 20]) { $0.upsampling = .transposed },
      try item("group:2", [1, 1, 44, 56, 48]) {
        ($0.padding, $0.upsampling, $0.isResidual) = (.valid, .transposed, true)
      },
    ]
    for norm in Self.norms {
      // Local response normalization takes extents apart that are not the input's.
      if !norm.hasPrefix("lrn") { cases.append(try item(norm, [2, 1, 52, 64]) { $0.padding = .valid }) }
      cases.append(try item(norm, [2, 1, 4, 12, 8]) { _ in })
    }
    try compare(cases)
  }

  @Test(.enabled(if: hasRuntime, "needs a Python with onnx, onnxruntime and numpy: PEERS_PYTHON or python3"))
  func otherNetworksAreTheSameInONNXRuntime() throws {
    let generator = try Generator(seed: 2)
    let batch = ONNXAxis.any("batch")
    func convolution(_ inputs: Int, _ outputs: Int, _ kernel: [Int], _ stride: [Int]? = nil, groups: Int = 1) throws
      -> Convolution
    {
      try Convolution(
        inputChannels: inputs, outputChannels: outputs, kernel: kernel, stride: stride, padding: .same, groups: groups,
        generator: generator)
    }
    try compare([
      Case(
        "signals",
        Sequential([
          try convolution(2, 4, [3]), try BatchNorm(channels: 4), ActivationLayer(.gelu), AveragePool(kernel: [2]),
          try TransposedConvolution(inputChannels: 4, outputChannels: 6, kernel: [2], generator: generator),
          ActivationLayer(.leakyReLU(slope: 0.1)), try LayerNorm(channels: 6), Upsample(factor: 3),
        ]), [batch, .fixed(2), .any("length", multipleOf: 8)], [2, 2, 40]),
      Case(
        "volumes",
        Sequential([
          try convolution(1, 4, [3, 2, 3]), try GroupNorm(groups: 2, channels: 4), ActivationLayer(.silu),
          MaxPool(kernel: [2, 2, 2]), try SwitchableNorm(channels: 4, .paper), try convolution(4, 2, [1, 1, 1]),
          try TransposedConvolution(
            inputChannels: 2, outputChannels: 4, kernel: [3, 2, 3], stride: [2, 2, 3], padding: [1, 0, 1],
            outputPadding: [1, 0, 2], groups: 2, generator: generator),
        ]),
        [batch, .fixed(1), .any("depth", multipleOf: 2), .any("height", multipleOf: 2), .any("width", multipleOf: 2)],
        [2, 1, 6, 4, 8]),
      Case(
        "classifier",
        Sequential([
          try convolution(3, 8, [3, 3], [2, 2]), ActivationLayer(.tanh), try convolution(8, 8, [3, 3], groups: 4),
          try InstanceNorm(channels: 8), Flatten(),
          try Linear(inputs: 128, outputs: 8, generator: generator), try ElementwiseLayerNorm(normalizedShape: [8]),
          try LayerNorm(channels: 8), try BatchNorm(channels: 8), try RMSNorm(channels: 8),
          try ElementwiseRMSNorm(normalizedShape: [8]), ActivationLayer(.sigmoid),
          try Linear(inputs: 8, outputs: 5, bias: false, generator: generator),
        ]), [batch, .fixed(3), .fixed(8), .fixed(8)], [3, 3, 8, 8]),
      Case("dense pictures", try Self.dense, [batch, .fixed(1), .fixed(5), .fixed(4)], [3, 1, 5, 4]),
      Case("pictures by rows", try Self.recurrent("none"), [batch, .fixed(1), .fixed(5), .fixed(4)], [3, 1, 5, 4]),
      Case(
        "the same with norms", try Self.recurrent("layer"), [batch, .fixed(1), .fixed(5), .fixed(4)], [3, 1, 5, 4]),
      Case(
        "gated units",
        try GRU(
          inputs: 3, hidden: 4, layers: 2, bidirectional: true, generator: generator,
          norm: Normalization.layer.cellLayer),
        [batch, .fixed(5), .fixed(3)], [2, 5, 3]),
      Case(
        "weight transforms",
        Sequential([
          try Convolution(inputChannels: 1, outputChannels: 4, kernel: [3, 3], generator: generator) {
            try WeightNorm(weight: $0)
          },
          try Convolution(inputChannels: 4, outputChannels: 4, kernel: [3, 3], generator: generator) {
            try SpectralNorm(weight: $0, generator: generator)
          },
          try Convolution(inputChannels: 4, outputChannels: 2, kernel: [3, 3], generator: generator) { _ in
            WeightStandardization()
          },
        ]), [batch, .fixed(1), .fixed(16), .fixed(24)], [2, 1, 16, 24]),
      Case(
        "operators",
        Function { x in
          let mean = try x.mean([2, 3], keepDimensions: true)
          let deviation = try (x.variance([2, 3], keepDimensions: true) + 1e-3).squareRoot()
          var y = try (x - mean) / deviation
          y = try Tensor.concatenate(
            [y, 1 - y, y.flipped([3]).sliced(0..<y.shape[3], dimension: -1), 2 / (y.abs() + 1)], dimension: 1)
          y =
            try y.clamped(from: -1, to: 1.5).power(2).exp().log()
            + y.padded([1, 0, 2, 1]).sliced(1..<2, dimension: 1)
            .sliced(0..<y.shape[2], dimension: 2).sliced(1..<y.shape[3] + 1, dimension: 3)
          y = try y + mean.sum([0, 3]).expanded([y.shape[0], 4, 1]).unsqueezed(3).expanded(y.shape)
          let parts = try y.split([1, 3], dimension: 1)
          y = try parts[1].replaced(with: parts[1] * parts[0], where: parts[1] .> 0.5)
          y = try y.upsampledLinear(to: y.shape.dropFirst(2).map { 2 * $0 }).paddedByReflection([1, 1, 0, 2])
          y = try y.transposed(2, 3).permuted([0, 1, 3, 2]) + y.selected(1, dimension: 1).unsqueezed(1)
          let pooled = try y.maximum([2, 3]) + y.logSumExp([2, 3]) - y.minimum([2, 3]).softplus()
          return try y.softmax(1) * pooled.logSoftmax(1).reshaped(pooled.shape + [1, 1])
        }, [batch, .fixed(1), .any("height", multipleOf: 2), .any("width", multipleOf: 2)], [3, 1, 8, 14]),
      Case(
        "in place",
        Function { x in
          let y = try x * 2
          let kept = try y + 1
          try y.add(x, scale: 0.5)
          try y.scale(by: 3)
          // A constant that is made in several steps.
          let three = try Tensor.zeros([1])
          try three.add(scalar: 1)
          try three.add(scalar: 2)
          return try y.reluInPlace() - kept * three
        }, [batch, .any("features")], [2, 7]),
      Case("adaptive", Function { try $0.adaptiveInstanceNormalized(to: $0 * 2 + 1) }, Self.images, [2, 1, 8, 12]),
      Case("nothing", Function { $0 }, [batch, .any("features")], [2, 3]),
    ])
  }

  @Test(.enabled(if: hasRuntime, "needs a Python with onnx, onnxruntime and numpy: PEERS_PYTHON or python3"))
  func theOtherModelsAreTheSameInONNXRuntime() throws {
    let generator = try Generator(seed: 3)
    let batch = ONNXAxis.any("batch")
    var cases: [Case] = []
    for norm in ["batch", "lrn", "switchable"] {
      var options = AlexNet.Options()
      (options.inputSize, options.width, options.classes) = (32, 1.0 / 32, 5)
      options.normalization = try Normalization(parsing: norm)
      cases.append(
        Case(
          "alexnet \(norm)", try AlexNet(options, generator: generator), [batch, .fixed(3), .fixed(32), .fixed(32)],
          [3, 3, 32, 32]))
    }
    var spotter = MeanSpotter.Options()
    spotter.attention = .cbam
    cases.append(
      Case(
        "spotter", try MeanSpotter(spotter, generator: generator), [batch, .fixed(3), .fixed(42), .fixed(42)],
        [3, 3, 42, 42]))
    var style = TransformationNetwork.Options()
    (style.width, style.blocks, style.output) = (4, 1, .tanh)
    cases.append(
      Case(
        "style", try TransformationNetwork(style, generator: generator),
        [batch, .fixed(3), .any("height", multipleOf: 8), .any("width", multipleOf: 8)], [3, 3, 24, 40]))
    var features = FeatureNetwork.Options()
    features.width = 4
    cases.append(
      Case(
        "features", try FeatureNetwork(features, generator: generator),
        [batch, .fixed(3), .any("height", multipleOf: 16), .any("width", multipleOf: 16)], [3, 3, 48, 32]))
    try compare(cases)
  }

  @Test func weightsKeepTheirNames() throws {
    let network = try Self.unet("switchable")
    network.evaluate()
    let graph = try network.onnx(input: Self.images)
    let state = network.stateDictionary()
    let constants = Dictionary(uniqueKeysWithValues: graph.constants.map { ($0.name, $0) })
    for (key, value) in state {
      let constant = try #require(constants[key], "\(key)")
      #expect(constant.shape == value.shape)
    }
    #expect(graph.inputs.map(\.name) == ["input"])
    #expect(graph.outputs.map(\.name) == ["logits"])
    #expect(graph.outputs[0].shape == [.named("batch"), .fixed(1), .named("height"), .named("width")])
    let used = Set(graph.nodes.flatMap(\.inputs))
    #expect(graph.constants.allSatisfy { used.contains($0.name) }, "nothing is there that nothing needs")
  }

  @Test func standardNormsAreStandardOperators() throws {
    for (norm, operation) in [
      ("batch", "BatchNormalization"), ("instance", "InstanceNormalization"), ("group:2", "GroupNormalization"),
      ("layer", "GroupNormalization"), ("instance:tracked", "BatchNormalization"),
    ] {
      let network = try Self.unet(norm)
      network.evaluate()
      let types = try network.onnx(input: Self.images).nodes.map(\.type)
      #expect(types.count { $0 == operation } == 12, "\(norm): \(types)")
      #expect(!types.contains("ReduceMean"))
    }
  }

  /// Blocks that were folded, and what is kept for a backward pass, do not show.
  @Test func shortcutsAreLeftOut() throws {
    let network = try Self.unet("batch")
    network.evaluate()
    let plain = try network.onnx(input: Self.images).nodes.map(\.type)
    try network.foldNormalization()
    let folded = try withGradients(enabled: true) {
      try Recomputation.$isEnabled.withValue(true) { try network.onnx(input: Self.images).nodes.map(\.type) }
    }
    #expect(plain == folded)
  }

  @Test func whatCannotBeExportedIsNamed() throws {
    func message(_ network: any Layer, _ axes: [ONNXAxis] = Self.images) -> String {
      network.evaluate()
      do {
        _ = try network.onnx(input: axes)
        return "nothing was thrown"
      } catch { return "\(error)" }
    }
    #expect(message(Function { try $0.reshaped([-1]).nonzeroIndices() }).contains("'aten::nonzero' has no translation"))
    #expect(message(Function { x in try x * x.sum().item() }).contains("reads elements"))
    #expect(message(Function { x in try x + Tensor.normal(x.shape) }).contains("aten::normal_"))
    #expect(message(Function { x in try x + Tensor.range(x.shape[3], dtype: .float32) }).contains("another size"))
    #expect(
      message(
        Function { try $0.padded([0, 1]).sliced(0..<1, dimension: 0).sliced(3..<$0.shape[3] / 2 + 1, dimension: 3) }
      )
      .contains("no multiple of their extents"))
    #expect(message(Function { try Tensor.ones([1, $0.shape[1]]) }).contains("does not depend on the input"))
    #expect(
      message(
        Function { x in
          let y = try x * 1
          try y.sliced(0..<1, dimension: 1).scale(by: 2)
          return y
        }
      ).contains("shares its elements"))
    var unpadded = UNet.Options()
    (unpadded.width, unpadded.depth, unpadded.padding, unpadded.normalization) = (
      4, 1, .valid, try Normalization(parsing: "lrn")
    )
    #expect(
      message(
        try UNet(unpadded, generator: Generator(seed: 1)),
        [.any("batch"), .fixed(1), .any("height", multipleOf: 2, plus: 20), .any("width", multipleOf: 2, plus: 20)]
      ).contains("an extent is 18 for inputs of [2, 1, 20, 20] and 20 for [3, 1, 22, 24]"))
    let changing = Function { x in
      let ones = try Tensor.ones([1])
      let y = try x + ones
      try ones.add(scalar: 1)
      return try y * ones
    }
    #expect(message(changing).contains("changed in place after it was used"))
    #expect(message(Function { $0.shape[0] == 4 ? try $0 * 2 : try $0 + 2 }).contains("other operators"))
    let names = ["a", "b", "c", "d", "e"]
    #expect(message(Function { $0 }, names.map { .any($0) }).contains("at most 4 axes"))
    let training = try Self.unet("batch")
    let error = #expect(throws: ONNXExportError.self) { try training.onnx(input: Self.images) }
    #expect(error?.description.contains("evaluate()") == true)
  }
}
