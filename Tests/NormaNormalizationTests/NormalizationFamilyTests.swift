import NormaNN
import NormaTensor
import TestSupport
import Testing

@testable import NormaNormalization

/// One norm on one shape, beside the reference.
struct FamilyCase: Sendable, CustomTestStringConvertible {
  let norm: Normalization
  let shape: [Int]
  var channelsLast = false

  var testDescription: String { "\(norm.name) \(shape)\(channelsLast ? " channels-last" : "")" }

  static let norms: [Normalization] = [.batch, .instance, .layer, .group(groups: 2), .switchable]

  static let all: [FamilyCase] = norms.flatMap { norm -> [FamilyCase] in
    var cases = [
      FamilyCase(norm: norm, shape: [2, 4, 3, 5]),
      FamilyCase(norm: norm, shape: [3, 4, 3, 5], channelsLast: true),
      FamilyCase(norm: norm, shape: [1, 4, 3, 3]),
      FamilyCase(norm: norm, shape: [1, 4, 3, 3], channelsLast: true),
      FamilyCase(norm: norm, shape: [2, 4, 7]),
      FamilyCase(norm: norm, shape: [2, 4, 2, 3, 2]),
    ]
    if norm != .group(groups: 2) { cases.append(FamilyCase(norm: norm, shape: [3, 1, 3, 3])) }
    // Planes of one position: every norm that still pools several values.
    if norm != .instance {
      cases.append(FamilyCase(norm: norm, shape: [3, 4, 1, 1]))
      cases.append(FamilyCase(norm: norm, shape: [3, 4]))
    }
    return cases
  }

  var samples: Int { shape[0] }
  var channels: Int { shape[1] }
  var positions: Int { shape.dropFirst(2).reduce(1, *) }
  var count: Int { shape.reduce(1, *) }

  var statistics: [ReferenceNormalization.Statistic] {
    switch norm.name {
    case "batch": [.batch]
    case "instance": [.instance]
    case "layer": [.layer]
    case "group:2": [.group(2)]
    case "switchable": [.instance, .layer, .batch]
    default: []
    }
  }

  /// The layer in Double with the reference's parameters.
  func layer(_ reference: ReferenceNormalization) throws -> NormalizationLayer {
    let layer = try #require(try norm.layer(channels: channels) as? NormalizationLayer)
    try layer.to(dtype: .float64)
    var state = ["weight": reference.weight, "bias": reference.bias]
    if norm == .switchable {
      state["mean_weight"] = reference.meanLogits
      state["var_weight"] = reference.varianceLogits
    }
    for (key, parameter) in layer.namedParameters() {
      try parameter.value.copy(from: Tensor(try #require(state[key])))
    }
    return layer
  }

  func input(_ values: [Double]) throws -> Tensor {
    let x = try Tensor(values, shape: shape)
    return channelsLast ? try x.contiguous(.channelsLast) : x
  }

  func reference(_ random: inout TestRandom) -> ReferenceNormalization {
    let mixed = norm == .switchable
    return ReferenceNormalization(
      statistics, meanLogits: mixed ? random.numbers(3) : [0], varianceLogits: mixed ? random.numbers(3) : [0],
      weight: random.numbers(channels), bias: random.numbers(channels))
  }

  func apply(_ reference: ReferenceNormalization, _ x: [Double]) -> [Double] {
    reference(x, samples: samples, channels: channels, positions: positions)
  }
}

@Suite struct NormalizationFamilyTests {
  /// Far above what rounding and central differences leave, far below what any wrong term makes.
  static let outputTolerance = 1e-11
  static let gradientTolerance = 1e-7

  @Test(arguments: FamilyCase.all) func forwardAgreesWithReference(_ item: FamilyCase) throws {
    var random = TestRandom(1)
    let reference = item.reference(&random)
    let x = random.numbers(item.count).map { 3 * $0 + 2 }
    let y = try item.layer(reference)(item.input(x))
    #expect(y.shape == item.shape)
    #expect(y.isContiguous(item.channelsLast ? .channelsLast : .contiguous), "the layout is kept")
    #expect(relativeError(try y.array(), item.apply(reference, x)) < Self.outputTolerance)
  }

  @Test(arguments: FamilyCase.all) func allGradientsAgreeWithFiniteDifferences(_ item: FamilyCase) throws {
    var random = TestRandom(2)
    let reference = item.reference(&random)
    let x = random.numbers(item.count).map { 2 * $0 + 1 }
    let cotangent = random.numbers(item.count)
    func check(_ gradient: Tensor?, _ values: [Double], _ name: String, _ apply: ([Double]) -> [Double]) throws {
      let expected = numericalGradient(at: values) { dot(cotangent, apply($0)) }
      let actual: [Double] = try #require(gradient, "no gradient for \(name)").array()
      #expect(relativeError(actual, expected) < Self.gradientTolerance, "gradient of \(name)")
      // The tolerance tells right from wrong: a gradient of zero or in another order does not pass.
      guard (expected.map(abs).max() ?? 0) > 1e-6 else { return }
      #expect(relativeError(actual.map { _ in 0 }, expected) > 1000 * Self.gradientTolerance)
      if actual.count > 1 {
        #expect(relativeError(actual.reversed(), expected) > 1000 * Self.gradientTolerance)
      }
    }
    let layer = try item.layer(reference)
    let input = try item.input(x).requiringGradient()
    try layer(input).backward(item.input(cotangent))

    try check(input.gradient, x, "x") { item.apply(reference, $0) }
    var gradients: [String: Tensor?] = [:]
    for (key, parameter) in layer.namedParameters() { gradients[key] = parameter.gradient }
    let parameters: [(String, WritableKeyPath<ReferenceNormalization, [Double]>)] = [
      ("weight", \.weight), ("bias", \.bias), ("mean_weight", \.meanLogits), ("var_weight", \.varianceLogits),
    ]
    for (key, path) in parameters where gradients[key] != nil {
      try check(gradients[key]!, reference[keyPath: path], key) { values in
        var changed = reference
        changed[keyPath: path] = values
        return item.apply(changed, x)
      }
    }
  }

  @Test(arguments: [false, true]) func runningStatisticsAndEvaluation(switchable: Bool) throws {
    var random = TestRandom(3)
    let item = FamilyCase(norm: switchable ? .switchable : .batch, shape: [3, 2, 2, 5])
    var reference = item.reference(&random)
    let layer = try item.layer(reference)
    var mean = [0.0, 0.0]
    var variance = [1.0, 1.0]
    for _ in 0..<3 {
      let x = random.numbers(item.count)
      _ = try layer(item.input(x))
      for c in 0..<2 {
        let set = (0..<3).flatMap { (n: Int) -> ArraySlice<Double> in
          let start = (n * 2 + c) * 10
          return x[start..<start + 10]
        }
        let (m, v) = ReferenceNormalization.meanAndVariance(set)
        mean[c] = 0.9 * mean[c] + 0.1 * m
        // Batch normalization keeps the unbiased variance (PyTorch), switchable the biased one (paper).
        let correction = switchable ? 1 : 30.0 / 29
        variance[c] = 0.9 * variance[c] + 0.1 * v * correction
      }
    }
    let buffers = Dictionary(uniqueKeysWithValues: layer.namedBuffers().map { ($0.key, $0.buffer.value) })
    #expect(relativeError(try buffers["running_mean"]!.array(), mean) < 1e-12)
    #expect(relativeError(try buffers["running_var"]!.array(), variance) < 1e-12)

    layer.evaluate()
    let running = ReferenceNormalization.Statistic.running(mean: mean, variance: variance)
    reference.statistics = switchable ? [.instance, .layer, running] : [running]
    let x = random.numbers(item.count)
    let cotangent = random.numbers(item.count)
    let input = try item.input(x).requiringGradient()
    let y = try layer(input)
    #expect(relativeError(try y.array(), item.apply(reference, x)) < Self.outputTolerance)
    try y.backward(item.input(cotangent))
    let expected = numericalGradient(at: x) { dot(cotangent, item.apply(reference, $0)) }
    let gradient: [Double] = try #require(input.gradient).array()
    #expect(relativeError(gradient, expected) < Self.gradientTolerance)
    #expect(relativeError(try buffers["running_mean"]!.array(), mean) < 1e-12, "evaluation changes no state")
  }

  @Test(arguments: FamilyCase.norms) func evaluationEqualsTrainingWithoutRunningStatistics(_ norm: Normalization)
    throws
  {
    guard norm != .batch, norm != .switchable else { return }
    let layer = try #require(try norm.layer(channels: 4) as? NormalizationLayer)
    let x = try Tensor.normal([2, 4, 3, 3], generator: Generator(seed: 1))
    let trained: [Double] = try layer(x).array()
    layer.evaluate()
    #expect(try layer(x).array() == trained)
  }

  @Test func trainingOnSingleValuesIsAnErrorOnlyWhenNoStatisticIsLeft() throws {
    func train(_ norm: Normalization, _ shape: [Int]) throws -> [Double] {
      let layer = try #require(try norm.layer(channels: shape[1]))
      let x = try Tensor.normal(shape, generator: Generator(seed: 2)).requiringGradient()
      let y = try layer(x)
      try y.backward(Tensor.ones(shape))
      let gradient = try #require(x.gradient)
      return try y.array() + gradient.array()
    }
    #expect(throws: NormalizationError.self) { try train(.instance, [3, 4, 1, 1]) }
    #expect(throws: NormalizationError.self) { try train(.batch, [1, 4, 1, 1]) }
    #expect(throws: NormalizationError.self) { try train(.switchable, [1, 1, 1, 1]) }
    #expect(throws: NormalizationError.self) { try train(.group(groups: 4), [2, 4, 1, 1]) }
    // Instance and batch statistics are degenerate here, but not the layer's.
    let mixed = try train(.switchable, [1, 4, 1, 1])
    #expect(mixed.allSatisfy { $0.isFinite })
    #expect(mixed.contains { $0 != 0 })
    // A constant input has no variance, and no NaN either.
    let layer = try #require(try Normalization.switchable.layer(channels: 2))
    #expect(try layer(Tensor.ones([2, 2, 3, 3])).array(of: Double.self).allSatisfy { $0 == 0 })
  }

  @Test func lowPrecisionDataKeepsFloat32Statistics() throws {
    for norm in FamilyCase.norms {
      let layer = try #require(try norm.layer(channels: 4) as? NormalizationLayer)
      let exact = try Tensor.normal([2, 4, 8, 8], generator: Generator(seed: 5)).to(dtype: .bfloat16)
      let x = try exact.detached().requiringGradient()
      let y = try layer(x)
      #expect(y.dtype == .bfloat16)
      try y.backward(exact)
      #expect(x.gradient?.dtype == .bfloat16)
      #expect(layer.weight?.gradient?.dtype == .float32)
      let full: [Double] = try layer(exact.to(dtype: .float32)).array()
      // One rounding of the output: bfloat16 has 8 significant bits.
      #expect(relativeError(try y.array(), full) < 1.0 / 256)
    }
  }

  @Test(arguments: FamilyCase.norms) func parametersMayBeLowPrecision(_ norm: Normalization) throws {
    let layer = try #require(try norm.layer(channels: 4) as? NormalizationLayer)
    try layer.to(dtype: .bfloat16)
    let x = try Tensor.normal([2, 4, 3, 3], generator: Generator(seed: 5)).to(dtype: .bfloat16)
    try layer(x).sum().backward()
    #expect(layer.weight?.gradient?.dtype == .bfloat16)
    layer.evaluate()
    #expect(try layer(x).dtype == .bfloat16)
  }

  /// Their backward pass computes with plain numbers, so its own gradient would silently be wrong.
  @Test(arguments: ["group:4", "instance", "instance:plain", "switchable:instance", "batch:untracked", "evo-s0:4"])
  func singleValuesAreAnErrorInEvaluationToo(_ name: String) throws {
    let layer = try #require(try Normalization(parsing: name).layer(channels: 4))
    let x = try Tensor.normal([1, 4], generator: Generator(seed: 1))
    for isTraining in [true, false] {
      layer.train(isTraining)
      #expect(throws: NormalizationError.self) { try layer(x) }
    }
  }

  @Test func singleValuesAreFineWhereStatisticsAreKnown() throws {
    for name in ["batch", "switchable", "instance:tracked", "evo-b0"] {
      let layer = try #require(try Normalization(parsing: name).layer(channels: 4))
      layer.evaluate()
      #expect(try layer(Tensor.normal([1, 4, 1, 1], generator: Generator(seed: 1))).allFinite())
    }
    let evo = try #require(try Normalization(parsing: "evo-b0").layer(channels: 4))
    #expect(throws: NormalizationError.self) { try evo(Tensor.normal([1, 4, 1, 1], generator: Generator(seed: 1))) }
  }

  @Test func customNormsAreNoMembersOfTheName() throws {
    let custom = Normalization.custom("frn") { try GroupNorm(groups: 1, channels: $0) }
    #expect(try custom.linearLayer(channels: 4) is GroupNorm)
    #expect(custom != (try Normalization(parsing: "frn")))
  }

  @Test(arguments: [
    "batch:cumulative:momentum=0.5", "batch:untracked:momentum=0.5", "batch:untracked:cumulative",
    "switchable:pytorch:keras",
    "batch:epsilon=inf", "lrn:size=1000000",
  ]) func contradictionsAreRefused(_ name: String) {
    #expect(throws: NormalizationError.self) { try Normalization(parsing: name) }
  }

  @Test func tinyVectorsAndTemperatures() throws {
    let y: [Double] = try UnitNorm()(Tensor([3e-9, 4e-9], shape: [1, 2])).array()
    #expect(relativeError(y, [0.6, 0.8]) < 1e-12)
    let shares = MixingRule.softmax(temperature: 1e-300).shares([1, 2, 0])
    #expect(shares.values == [0, 1, 0])
    #expect(shares.pullback([1, 2, 3]).allSatisfy { $0 == 0 })
  }

  @Test(arguments: FamilyCase.norms) func secondDerivativesAreRefused(_ norm: Normalization) throws {
    let layer = try #require(try norm.layer(channels: 4) as? NormalizationLayer)
    let x = try Tensor.normal([2, 4, 3, 3], generator: Generator(seed: 6)).requiringGradient()
    let y = try layer(x).power(3).sum()
    let error = #expect(throws: TensorError.self) { try y.gradients(of: [x], createGraph: true) }
    #expect(error?.description.contains("second derivatives") == true)
  }

  @Test func evaluationKeepsTheStatisticsItSaw() throws {
    func gradient(trainingBetween: Bool) throws -> [Double] {
      let layer = try BatchNorm(channels: 2)
      layer.evaluate()
      let x = try Tensor.normal([2, 2, 3, 3], generator: Generator(seed: 7)).requiringGradient()
      let y = try layer(x)
      if trainingBetween {
        layer.train()
        _ = try layer(Tensor.normal([2, 2, 3, 3], generator: Generator(seed: 8)) * 9)
      }
      try y.backward(Tensor.normal([2, 2, 3, 3], generator: Generator(seed: 9)))
      let weight = try #require(layer.weight?.gradient)
      let input = try #require(x.gradient)
      return try input.array() + weight.array()
    }
    #expect(try gradient(trainingBetween: true) == gradient(trainingBetween: false))
  }

  @Test func wrongInputsAreNamed() throws {
    let layer = try BatchNorm(channels: 4)
    #expect(throws: NormalizationError.self) { try layer(Tensor.ones([2, 3, 4, 4])) }
    #expect(throws: NormalizationError.self) { try layer(Tensor.ones([4])) }
    #expect(throws: NormalizationError.self) { try layer(Tensor.ones([0, 4, 2, 2])) }
    #expect(throws: NormalizationError.self) { try GroupNorm(groups: 3, channels: 4) }
  }
}

@Suite struct NormalizationNameTests {
  @Test func namesRoundTrip() throws {
    for name in [
      "none", "batch", "group", "group:8", "switchable", "instance", "layer", "batch:momentum=0.01:ghost=4",
      "switchable:instance+group(4)+batch:temperature=2", "rms:2", "frn", "evo-s0", "evo-b0", "lrn:alexnet",
      "unit",
    ] {
      #expect(try Normalization(parsing: name).name == name)
    }
  }

  @Test func unknownNamesListTheKnown() throws {
    for text in [
      "bach", "group:", "group:0", "group:x", "batch:2", "batch:momentum=2", "group:2:size=3", "switchable:instance+",
      "frn:x", "",
    ] {
      let error = #expect(throws: NormalizationError.self) { try Normalization(parsing: text) }
      #expect(error?.description.isEmpty == false)
    }
    let error = #expect(throws: NormalizationError.self) { try Normalization(parsing: "bach") }
    #expect(error?.description.contains("switchable") == true)
  }

  @Test(arguments: [
    ("batch:keras:keras", "twice"), ("batch:momentum=0.1:momentum=0.2", "twice"), ("instance:momentum=0.3", "tracked"),
    ("switchable:sparse:temperature=2", "radius"), ("switchable:instance+layer:momentum=0.1", "batch"),
    ("group:4:size=2", "both"), ("rms:0", "rms:8"), ("batch:epsilon=inf", "epsilon"),
    ("switchable:batch+ghost(2)", "one branch"),
  ])
  func optionsWithoutSenseAreRefused(_ text: String, _ says: String) {
    let error = #expect(throws: NormalizationError.self) {
      try Normalization(parsing: text).layer(channels: 4)
    }
    #expect(error?.description.contains(says) == true, "\(error?.description ?? "")")
  }

  @Test func numbersThatCannotBeAreRefused() throws {
    for make: () throws -> Any in [
      { try BatchNorm(channels: -1) }, { try SwitchableNorm(channels: 0) },
      { try GroupNorm(groups: 1, channels: 4, epsilon: .infinity) },
      { try InstanceNorm(channels: 4, tracksRunningStatistics: true, momentum: 7) },
      { try EvoNorm(channels: 4, form: .b0(momentum: -1)) }, { try LocalResponseNorm(beta: .nan) },
      { try UnitNorm(epsilon: -1) }, { try ConditionalInstanceNorm(styles: 0, channels: 4) },
      { try BatchNorm(channels: 2)(Tensor([1, 2, 3, 4] as [Int64], shape: [2, 2])) },
      { try ConditionalInstanceNorm(styles: 2, channels: 4)(Tensor.ones([1, 4, 1, 1]), styles: [0]) },
    ] {
      #expect(throws: NormalizationError.self) { try make() }
    }
  }

  @Test func customOnesStandBesideTheFamily() throws {
    let own = Normalization.custom("mine") { try GroupNorm(groups: 1, channels: $0) }
    #expect(own.name == "mine")
    #expect(try own.layer(channels: 4) is GroupNorm)
    #expect(own == Normalization.custom("mine") { try LayerNorm(channels: $0) }, "the name tells")
    #expect(own != .batch)
  }

  /// Where no activation follows, none may hide in the norm.
  @Test func linearLayersLetNegativeNumbersThrough() throws {
    let x = try Tensor.normal([2, 4, 5, 5], generator: Generator(seed: 1))
    for kind in NormalizationKind.all where !kind.name.hasPrefix("evo") {
      let layer = try #require(try Normalization(parsing: kind.name).linearLayer(channels: 4))
      #expect(try layer(x, then: .none).minimum().item() < -0.1, "\(kind.name)")
    }
    #expect(throws: NormalizationError.self) { try Normalization(parsing: "evo-s0").linearLayer(channels: 4) }
    #expect(try Normalization.none.linearLayer(channels: 4) == nil)
  }

  @Test func groupAloneTakesAtMost32Groups() throws {
    func groups(_ channels: Int) throws -> Int? {
      (try Normalization.group(groups: nil).layer(channels: channels) as? GroupNorm)?.groups
    }
    #expect(try groups(64) == 32)
    #expect(try groups(16) == 16)
    #expect(try groups(48) == 24)
  }

  @Test func switchableHasTwoCPlusSixParameters() throws {
    #expect(try SwitchableNorm(channels: 10).trainableCount == 26)
    let shares = try SwitchableNorm(channels: 4).shares()
    #expect(shares.mean.allSatisfy { abs($0 - 1.0 / 3) < 1e-7 })
  }
}
