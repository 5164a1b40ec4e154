import NormaNN
import NormaTensor
import TestSupport
import Testing

@testable import NormaNormalization

/// Every layer that libtorch has an operator for, beside that operator in Double: output, gradients and running statistics,
/// over shapes, layouts, modes and options.
@Suite struct LibtorchAgreementTests {
  static let tolerance = 1e-11

  struct Setup: CustomTestStringConvertible {
    let shape: [Int]
    let layout: MemoryFormat
    let training: Bool
    let affine: Bool
    var testDescription: String { "\(shape) \(layout)\(training ? "" : " evaluation")\(affine ? "" : " plain")" }
  }

  static let setups: [Setup] = {
    // No vector width divides the channels; one sample; one channel; planes of one value; 1-d to 3-d.
    let shapes = [
      [3, 5], [2, 5, 7], [4, 6, 3, 5], [1, 6, 4, 4], [3, 1, 3, 3], [3, 18, 1, 1], [2, 6, 2, 3, 2], [2, 34, 5, 5],
    ]
    return shapes.flatMap { shape in
      (shape.count == 4 ? [MemoryFormat.contiguous, .channelsLast] : [.contiguous]).flatMap { layout in
        [true, false].flatMap { training in
          [true, false].map { Setup(shape: shape, layout: layout, training: training, affine: $0) }
        }
      }
    }
  }()

  struct Leaves {
    let x, g: Tensor
    let weight, bias, mean, variance: Tensor

    init(_ setup: Setup, parameterShape: [Int]? = nil, seed: UInt64 = 3) throws {
      var random = TestRandom(seed)
      let count = setup.shape.reduce(1, *)
      let parameters = parameterShape ?? [setup.shape[1]]
      func numbers(_ shape: [Int]) throws -> Tensor { try Tensor(random.numbers(shape.reduce(1, *)), shape: shape) }
      x = try Tensor(random.numbers(count).map { 2 * $0 + 1 }, shape: setup.shape).contiguous(setup.layout).detached()
      g = try numbers(setup.shape)
      weight = try numbers(parameters)
      bias = try numbers(parameters)
      mean = try numbers([setup.shape[1]])
      variance = try numbers([setup.shape[1]]).squared() + 0.3
    }
  }

  /// Runs the layer and the operator, each on leaves of its own, and compares.
  private func compare(
    _ setup: Setup, _ layer: any Layer, _ leaves: Leaves,
    _ operation: (_ x: Tensor, _ weight: Tensor?, _ bias: Tensor?) throws -> Tensor
  ) throws {
    let keys = layer.namedParameters()
    for (key, parameter) in keys { try parameter.value.copy(from: key == "weight" ? leaves.weight : leaves.bias) }
    layer.train(setup.training)
    let x = try leaves.x.detached().requiringGradient()
    let y = try layer(x)
    try y.backward(leaves.g)

    let other = try leaves.x.cloned().requiringGradient()
    let weight = keys.contains { $0.key == "weight" } ? try leaves.weight.cloned().requiringGradient() : nil
    let bias = keys.contains { $0.key == "bias" } ? try leaves.bias.cloned().requiringGradient() : nil
    let expected = try operation(other, weight, bias)
    try expected.backward(leaves.g)
    #expect(relativeError(try y.array(), try expected.array()) < Self.tolerance, "output")
    #expect(
      relativeError(try #require(x.gradient).array(), try #require(other.gradient).array()) < 10 * Self.tolerance,
      "gradient of x")
    for (key, parameter) in keys {
      let expected: [Double] = try #require((key == "weight" ? weight : bias)?.gradient).array()
      #expect(relativeError(try #require(parameter.gradient).array(), expected) < Self.tolerance, "gradient of \(key)")
    }
  }

  @Test(arguments: setups) func batchNorm(_ setup: Setup) throws {
    for momentum in [0.1, 0.6] {
      let leaves = try Leaves(setup)
      let layer = try BatchNorm(channels: setup.shape[1], epsilon: 1e-3, momentum: momentum, affine: setup.affine)
      try layer.to(dtype: .float64)
      try layer.runningMean!.value.copy(from: leaves.mean)
      try layer.runningVar!.value.copy(from: leaves.variance)
      let (mean, variance) = (try leaves.mean.cloned(), try leaves.variance.cloned())
      try compare(setup, layer, leaves) { x, weight, bias in
        try Operator("aten::batch_norm")(
          .tensor(x), .optional(weight), .optional(bias), .tensor(mean), .tensor(variance), .bool(setup.training),
          .double(momentum), 1e-3, false)
      }
      #expect(relativeError(try layer.runningMean!.value.array(), try mean.array()) < Self.tolerance)
      #expect(relativeError(try layer.runningVar!.value.array(), try variance.array()) < Self.tolerance)
    }
  }

  @Test(arguments: setups.filter { $0.shape.dropFirst(2).reduce(1, *) > 1 }) func instanceNorm(_ setup: Setup) throws {
    for tracks in [false, true] {
      let leaves = try Leaves(setup)
      let layer = try InstanceNorm(
        channels: setup.shape[1], affine: setup.affine, tracksRunningStatistics: tracks, momentum: 0.3)
      try layer.to(dtype: .float64)
      let (mean, variance) = (try leaves.mean.cloned(), try leaves.variance.cloned())
      try layer.runningMean?.value.copy(from: mean)
      try layer.runningVar?.value.copy(from: variance)
      try compare(setup, layer, leaves) { x, weight, bias in
        try Operator("aten::instance_norm")(
          .tensor(x), .optional(weight), .optional(bias), .optional(tracks ? mean : nil),
          .optional(tracks ? variance : nil), .bool(setup.training || !tracks), 0.3, 1e-5, false)
      }
      guard tracks else { continue }
      #expect(relativeError(try layer.runningMean!.value.array(), try mean.array()) < Self.tolerance)
      #expect(relativeError(try layer.runningVar!.value.array(), try variance.array()) < Self.tolerance)
    }
  }

  @Test(arguments: setups) func groupAndLayerNorm(_ setup: Setup) throws {
    let channels = setup.shape[1]
    let positions = setup.shape.dropFirst(2).reduce(1, *)
    for groups in 1...channels where channels % groups == 0 && channels / groups * positions > 1 {
      let leaves = try Leaves(setup)
      var layers: [any Layer] = [
        try GroupNorm(groups: groups, channels: channels, affine: setup.affine),
        try GroupNorm(groupSize: channels / groups, channels: channels, affine: setup.affine),
      ]
      if groups == 1 { layers.append(try LayerNorm(channels: channels, affine: setup.affine)) }
      for layer in layers {
        try layer.to(dtype: .float64)
        try compare(setup, layer, leaves) { x, weight, bias in
          try Operator("aten::group_norm")(
            .tensor(x.contiguous()), .int(groups), .optional(weight), .optional(bias), 1e-5, false)
        }
      }
    }
  }

  @Test(arguments: setups) func elementwiseNorms(_ setup: Setup) throws {
    for dimensions in 1..<setup.shape.count {
      let normalized = Array(setup.shape.suffix(dimensions))
      guard normalized.reduce(1, *) > 1 else { continue }
      let leaves = try Leaves(setup, parameterShape: normalized)
      let layer = try ElementwiseLayerNorm(normalizedShape: normalized, affine: setup.affine)
      try layer.to(dtype: .float64)
      // From the definition: libtorch's operator is what the layer itself uses.
      let last = Array((setup.shape.count - dimensions)..<setup.shape.count)
      try compare(setup, layer, leaves) { x, weight, bias in
        let centred = try x - x.mean(last, keepDimensions: true)
        var y = try centred / (centred.squared().mean(last, keepDimensions: true) + 1e-5).squareRoot()
        if let weight { y = try y * weight }
        if let bias { y = try y + bias }
        return y
      }
      let rms = try ElementwiseRMSNorm(normalizedShape: normalized, epsilon: 1e-6, affine: setup.affine)
      try rms.to(dtype: .float64)
      try compare(setup, rms, leaves) { x, weight, _ in
        let y = try x / (x.squared().mean(last, keepDimensions: true) + 1e-6).squareRoot()
        return try weight.map { try y * $0 } ?? y
      }
    }
  }

  /// Neither contiguous nor channels-last: a part of a larger tensor, and swapped dimensions.
  /// Every name with options that change the arithmetic, in both layouts and training modes.
  @Test(arguments: [
    "batch", "batch:ghost=2", "batch:renorm", "batch:keras", "batch:untracked", "instance:tracked", "group:2", "layer",
    "rms:2", "rms:bias",
    "frn", "frn:plain", "evo-s0:2", "evo-b0", "switchable", "switchable:pytorch", "switchable:batch:pytorch",
    "switchable:keras", "switchable:sparse", "switchable:sparse:pytorch", "switchable:ghost(2)+group(2)", "lrn", "unit",
  ]) func layoutsChangeNothing(_ name: String) throws {
    for isTraining in [true, false] {
      var results: [(y: [Double], dx: [Double], state: [[Double]])] = []
      for layout in [MemoryFormat.contiguous, .channelsLast] {
        let layer = try #require(try Normalization(parsing: name).layer(channels: 4))
        try layer.to(dtype: .float64)
        // The radius at which sparse mixes select: a single branch is computed.
        if let sparse = layer as? SwitchableNorm, sparse.radius != nil { try sparse.followProgress(1) }
        layer.train(isTraining)
        let x = try Tensor.normal([5, 4, 3, 3], generator: Generator(seed: 6)).to(dtype: .float64)
        let input = try (x * 2 + 1).contiguous(layout).detached().requiringGradient()
        let y = try layer(input)
        try y.backward(Tensor.normal([5, 4, 3, 3], generator: Generator(seed: 7)).to(dtype: .float64))
        results.append(
          (
            try y.array(), try #require(input.gradient).array(),
            try layer.namedBuffers().map { try $0.buffer.value.to(dtype: .float64).array() }
          ))
      }
      #expect(relativeError(results[1].y, results[0].y) < 1e-12, "\(isTraining)")
      #expect(relativeError(results[1].dx, results[0].dx) < 1e-11, "\(isTraining)")
      for (a, b) in zip(results[0].state, results[1].state) { #expect(relativeError(b, a) < 1e-12) }
    }
  }

  @Test(arguments: FamilyCase.norms) func stridedInputsAreTheirCopies(_ norm: Normalization) throws {
    let layer = try #require(try norm.layer(channels: 4))
    try layer.to(dtype: .float64)
    let whole = try Tensor.normal([4, 8, 6, 6], generator: Generator(seed: 4)).to(dtype: .float64)
    let views = [
      try whole.sliced(0..<8, dimension: 1, step: 2), try whole.transposed(0, 1).sliced(0..<3),
      try whole.sliced(0..<4, dimension: 1).sliced(0..<6, dimension: 3, step: 2),
    ]
    for view in views {
      let x = try view.requiringGradient(false).detached().requiringGradient()
      let copy = try view.contiguous().cloned().requiringGradient()
      let (a, b) = (try layer(x), try layer(copy))
      #expect(relativeError(try a.array(), try b.array()) < 1e-13)
      let g = try Tensor.normal(view.shape, generator: Generator(seed: 5)).to(dtype: .float64)
      try a.backward(g)
      try b.backward(g.transposed(2, 3).contiguous().transposed(2, 3))
      #expect(relativeError(try #require(x.gradient).array(), try #require(copy.gradient).array()) < 1e-12)
    }
  }
}
