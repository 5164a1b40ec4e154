import NormaNN
import NormaTensor
import TestSupport
import Testing

@testable import NormaNormalization

/// What theory says the members have in common.
@Suite struct FamilyIdentityTests {
  private func layer(_ name: String, channels: Int = 4) throws -> any Layer {
    let layer = try #require(try Normalization(parsing: name).layer(channels: channels))
    try layer.to(dtype: .float64)
    return layer
  }

  private func results(_ name: String, _ x: Tensor) throws -> [[Double]] {
    let layer = try layer(name)
    let input = try x.detached().requiringGradient()
    let y = try layer(input)
    try y.backward(BatchNormTests.data(x.shape, seed: 77))
    return [try y.array(), try #require(input.gradient).array()]
  }

  private func expectEqual(_ a: String, _ b: String, _ shape: [Int]) throws {
    let x = try BatchNormTests.data(shape) * 2 + 1
    for (left, right) in zip(try results(a, x), try results(b, x)) {
      #expect(relativeError(left, right) < 1e-12, "\(a) and \(b)")
    }
  }

  @Test func endsOfGroupNormalization() throws {
    try expectEqual("group:1", "layer", [3, 4, 5, 5])
    try expectEqual("group:4", "instance", [3, 4, 5, 5])
    try expectEqual("group:size=1", "instance", [3, 4, 5, 5])
    try expectEqual("rms:4", "frn:plain:epsilon=1e-5", [3, 4, 5, 5])
  }

  @Test func batchOfOneIsInstance() throws {
    try expectEqual("batch", "instance", [1, 4, 5, 5])
    try expectEqual("batch:ghost=1", "instance", [3, 4, 5, 5])
  }

  @Test func ghostOfTheWholeBatchIsBatch() throws {
    try expectEqual("switchable:instance+layer+ghost(8)", "switchable", [3, 4, 5, 5])
    try expectEqual("switchable:instance+layer+ghost(1)", "switchable", [1, 4, 5, 5])
    for size in [3, 8] { try expectEqual("batch:ghost=\(size)", "batch", [3, 4, 5, 5]) }
  }

  /// y(s x) = y(x) for s > 0, but for ε.
  @Test(arguments: ["batch", "group:2", "layer", "instance", "switchable", "rms", "frn", "unit"])
  func scaleOfTheInputDoesNotMatter(_ name: String) throws {
    let x = try BatchNormTests.data([3, 4, 5, 5]) * 10
    let base = try results(name, x)[0]
    #expect(relativeError(try results(name, x * 1000)[0], base) < 1e-6)
    // Shifts matter to those that take no mean off, and only to them.
    let shifted = relativeError(try results(name, x + 5)[0], base)
    let uncentred = ["rms", "frn", "unit"].contains(name)
    #expect(uncentred ? shifted > 1e-2 : shifted < 1e-10)
  }

  /// On a stationary source evaluation comes to give what training gives.
  @Test(arguments: [
    "batch", "batch:cumulative", "batch:keras", "batch:ghost=8", "batch:renorm", "switchable", "switchable:keras",
    "switchable:sparse", "switchable:layer+ghost(8)", "instance:tracked", "evo-b0",
  ])
  func evaluationApproachesTraining(_ name: String) throws {
    let layer = try layer(name)
    // Many values per plane, so that a batch's statistics are near the source's.
    func batch(_ seed: Int) throws -> Tensor {
      try BatchNormTests.data([16, 4, 24, 24], seed: UInt64(seed)) * 3 + 2
    }
    let x = try batch(1000)
    layer.evaluate()
    let before: [Double] = try layer(x).array()
    layer.train()
    let trained: [Double] = try layer(x).array()
    for seed in 0..<(name.contains("keras") ? 500 : 80) { _ = try layer(batch(seed)) }
    layer.evaluate()
    let after: [Double] = try layer(x).array()
    // One sample's plane is a smaller population than a batch.
    #expect(relativeError(after, trained) < (name == "instance:tracked" ? 0.1 : 0.05))
    #expect(relativeError(before, trained) > 0.1, "without training it is another")
  }

  @Test(arguments: NormalizationKind.all.map(\.name), [DType.float32, .float64, .bfloat16])
  func typesStayAndNothingIsNaN(_ name: String, _ dtype: DType) throws {
    for shape in [[2, 4, 3, 3], [2, 4, 6], [1, 4, 2, 2, 2], [5, 4]] where !(shape.count == 2 && name == "lrn") {
      // A constant, a tiny and a huge input: nothing to divide by, or all lost in ε.
      for scale in [0.0, 1e-20, 1, 1e15] {
        // Every statistic over one value.
        if shape.count == 2, ["instance", "group", "evo-s0"].contains(name) { continue }
        let layer = try #require(try Normalization(parsing: name).layer(channels: 4))
        let x = try (Tensor.normal(shape, generator: Generator(seed: 3)) * scale).to(dtype: dtype).detached()
          .requiringGradient()
        let y = try layer(x)
        #expect(y.dtype == dtype)
        #expect(y.shape == shape)
        #expect(try y.allFinite(), "\(name) \(shape) × \(scale)")
        try y.sum().backward()
        #expect(try #require(x.gradient).allFinite(), "gradient of \(name) \(shape) × \(scale)")
      }
    }
  }

  @Test func registryTellsTheTruth() throws {
    for kind in NormalizationKind.all {
      for channels in [4, 32] {
        let layer = try #require(try Normalization(parsing: kind.name).layer(channels: channels))
        #expect(layer.trainableCount == kind.parameterCount(channels), "\(kind.name)")
      }
      #expect(!kind.summary.isEmpty && !kind.useWhen.isEmpty && !kind.weakness.isEmpty && !kind.source.isEmpty)
    }
  }
}
