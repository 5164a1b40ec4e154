import NormaNN
import NormaTensor
import TestSupport
import Testing

@testable import NormaNormalization

@Suite struct SwitchableNormTests {
  static func layer(_ change: (inout SwitchableNorm.Options) -> Void = { _ in }) throws -> SwitchableNorm {
    var options = SwitchableNorm.Options.paper
    change(&options)
    let layer = try SwitchableNorm(channels: 4, options)
    try layer.to(dtype: .float64)
    return layer
  }

  @Test func loadsThePublishedKeysAndShapes() throws {
    let layer = try SwitchableNorm(channels: 3)
    let state: [String: Tensor] = [
      "weight": try Tensor([1.0, 2, 3], shape: [1, 3, 1, 1]), "bias": try Tensor([4.0, 5, 6], shape: [1, 3, 1, 1]),
      "mean_weight": try Tensor([1.0, 0, 2]), "var_weight": try Tensor([0.5, 0, 1]),
      "running_mean": try Tensor([7.0, 8, 9], shape: [1, 3, 1]),
      "running_var": try Tensor([1.5, 2, 3], shape: [1, 3, 1]),
    ]
    try layer.load(stateDictionary: state)
    #expect(try layer.weight!.value.array() == [1.0, 2, 3])
    #expect(try layer.runningMean!.value.array() == [7.0, 8, 9])
    var wrong = state
    wrong["weight"] = try Tensor.ones([1, 4, 1, 1])
    let error = #expect(throws: StateError.self) { try layer.load(stateDictionary: wrong) }
    #expect(error?.misshaped.count == 1)
  }

  @Test func sharesHaveNamesAndSumToOne() throws {
    let layer = try Self.layer { $0.branches = [.instance, .group(2), .layer, .batch] }
    try layer.meanWeight.value.copy(from: Tensor([0.1, -1, 2, 0.5]))
    try layer.varWeight.value.copy(from: Tensor([3.0, 1, 0, 0.5]))
    let shares = try layer.namedShares()
    #expect(shares.map(\.branch) == ["instance", "group(2)", "layer", "batch"])
    #expect(abs(shares.map(\.mean).reduce(0, +) - 1) < 1e-12)
    #expect(abs(shares.map(\.variance).reduce(0, +) - 1) < 1e-12)
    #expect(shares.map(\.mean).max() == shares[2].mean)
  }

  @Test func oneBranchIsThatNorm() throws {
    let x = try BatchNormTests.data([3, 4, 5, 5]) * 2 + 1
    let g = try BatchNormTests.data([3, 4, 5, 5], seed: 2)
    let pairs: [(Partition, Normalization)] = [
      (.instance, .instance), (.layer, .layer), (.batch, .batch), (.group(2), .group(groups: 2)),
    ]
    for (partition, norm) in pairs {
      let single = try Self.layer { $0.branches = [partition] }
      let other = try #require(try norm.layer(channels: 4))
      try other.to(dtype: .float64)
      let (a, b) = (try x.detached().requiringGradient(), try x.detached().requiringGradient())
      let (y, z) = (try single(a), try other(b))
      #expect(relativeError(try y.array(), try z.array()) < 1e-13, "\(partition)")
      try y.backward(g)
      try z.backward(g)
      #expect(relativeError(try #require(a.gradient).array(), try #require(b.gradient).array()) < 1e-12, "\(partition)")
    }
  }

  /// Brute force over a fine grid of the simplex: the nearest point outside the circle.
  @Test(arguments: [[0.3, 0.5, 0.1], [2.0, 1.9, -1], [0.4, 0.35, 0.25], [1.0, 0.2, 0.9], [-3.0, 1, 1.4]])
  func sparsestMaxIsTheNearestPointOutsideTheCircle(_ logits: [Double]) {
    for radius in [0.0, 0.1, 0.3, 0.4, 0.5, 0.6, 0.75] {
      let shares = MixingRule.sparsest(radius: radius).shares(logits).values
      #expect(abs(shares.reduce(0, +) - 1) < 1e-12)
      #expect(shares.allSatisfy { $0 >= -1e-15 })
      func fromCenter(_ p: [Double]) -> Double { p.reduce(0) { $0 + ($1 - 1 / 3.0) * ($1 - 1 / 3.0) }.squareRoot() }
      #expect(fromCenter(shares) > radius - 1e-9)
      // The definition is a projection; pushing outwards keeps to it as long as the circle lies within the triangle.
      guard radius <= (1.0 / 6).squareRoot() else { continue }
      let steps = 400
      var (best, nearest) = (Double.infinity, [0.0, 0, 0])
      for i in 0...steps {
        for j in 0...(steps - i) {
          let p = [Double(i), Double(j), Double(steps - i - j)].map { $0 / Double(steps) }
          guard fromCenter(p) >= radius - 1e-3 else { continue }
          let distance = zip(p, logits).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }
          if distance < best { (best, nearest) = (distance, p) }
        }
      }
      for (a, b) in zip(shares, nearest) { #expect(abs(a - b) < 0.03, "\(logits) \(radius)") }
    }
  }

  @Test(arguments: [0.0, 0.2, 0.45, 0.6, 0.75]) func sparsestMaxDifferentiates(_ radius: Double) {
    for logits in [[0.3, 0.5, 0.1], [0.6, 0.5, -1], [0.1, 0.11, 0.5], [0.3, 0.2, 0.35, 0.1]] {
      let rule = MixingRule.sparsest(radius: radius)
      let cotangent = [0.7, -0.4, 1.1, 0.2].prefix(logits.count).map { $0 }
      let expected = numericalGradient(at: logits, step: 1e-6) { dot(cotangent, rule.shares($0).values) }
      let actual = rule.shares(logits).pullback(cotangent)
      for (a, b) in zip(actual, expected) { #expect(abs(a - b) < 1e-5, "\(logits) \(radius)") }
    }
  }

  @Test func sparsityEndsWithOneBranchThatAloneIsComputed() throws {
    let layer = try Self.layer { $0.sparsity = .init() }
    try layer.meanWeight.value.copy(from: Tensor([0.2, 0.5, 0.3]))
    try layer.varWeight.value.copy(from: Tensor([0.2, 0.6, 0.1]))
    let x = try BatchNormTests.data([3, 4, 5, 5]) * 2 + 1
    try layer.follow(progress: 0.3)
    let early = try layer.shares()
    #expect(early.mean.filter { $0 > 0 }.count > 1)
    _ = try layer(x)
    let seen: [Double] = try layer.runningMean!.value.array()
    // A training loop tells the whole network.
    try Sequential([layer]).follow(progress: 0.8)
    #expect(try layer.shares().mean == [0, 1, 0])
    #expect(try layer.shares().variance == [0, 1, 0])
    let other = try LayerNorm(channels: 4)
    try other.to(dtype: .float64)
    #expect(relativeError(try layer(x).array(), try other(x).array()) < 1e-13)
    #expect(try layer.branches.count == 1)
    #expect(try layer.runningMean!.value.array() == seen, "the batch branch is not computed any more")
    // Another branch for the variance: two are computed, and their shares are exact.
    try layer.varWeight.value.copy(from: Tensor([0.9, 0.6, 0.1]))
    #expect(try layer.branches.count == 2)
    let mean = try x.mean([1, 2, 3], keepDimensions: true)
    let expected = try (x - mean) / (x.variance([2, 3], keepDimensions: true) + 1e-5).squareRoot()
    #expect(relativeError(try layer(x).array(), try expected.array()) < 1e-12)
    // It is part of the state: a copy evaluates alike.
    let copy = try Self.layer { $0.sparsity = .init() }
    try copy.load(stateDictionary: Dictionary(uniqueKeysWithValues: layer.stateDictionary().map { ($0.key, $0.value) }))
    #expect(try copy(x).array(of: Double.self) == layer(x).array(of: Double.self))
  }

  @Test func sparseGradientsAreThoseOfTheOutput() throws {
    let layer = try Self.layer { $0.sparsity = .init() }
    var random = TestRandom(8)
    for (index, radius) in [0.0, 0.3, 0.7].enumerated() {
      try layer.radius!.value.fill(radius)
      try layer.meanWeight.value.copy(from: Tensor([0.3, 0.45, 0.2]))
      try layer.varWeight.value.copy(from: Tensor([0.4, 0.1, 0.45]))
      let x = try BatchNormTests.data([2, 4, 3, 3], seed: UInt64(index)) * 2
      var leaves = ["x": x]
      for (key, parameter) in layer.namedParameters() { leaves[key] = parameter.value }
      // At the larger radius the shares move along a circle, and other gradients are small beside x's.
      try GradientCheck.run(leaves, tolerance: 2e-6, random: &random) { try layer(x) }
    }
  }

  @Test func batchAverageIsTheOtherWayOfEvaluating() throws {
    let layer = try Self.layer()
    let batches = try (0..<4).map { try BatchNormTests.data([2, 4, 3, 3], seed: UInt64($0)) + Double($0) }
    try layer.reestimateStatistics(over: batches)
    let whole = try Tensor.concatenate(batches, dimension: 0)
    #expect(relativeError(try layer.runningMean!.value.array(), try whole.mean([0, 2, 3]).array()) < 1e-12)
    #expect(relativeError(try layer.runningVar!.value.array(), try whole.variance([0, 2, 3]).array()) < 1e-12)
  }

  @Test func optionsThatCannotBeAreRefused() throws {
    for change: (inout SwitchableNorm.Options) -> Void in [
      { $0.branches = [] }, { $0.branches = [.layer, .layer] }, { $0.branches = [.group(3)] },
      { $0.branches = [.ghost(samples: 2), .batch] }, { $0.temperature = 0 }, { $0.momentum = -1 },
    ] {
      #expect(throws: NormalizationError.self) { try Self.layer(change) }
    }
    #expect(try Self.layer { $0.initialScale = 0 }.weight!.value.array() == [0.0, 0, 0, 0])
    #expect(try SwitchableNorm(channels: 4, batch: false).trainableCount == 12)
    #expect(try SwitchableNorm(channels: 4, batch: false).namedBuffers().isEmpty)
  }
}
