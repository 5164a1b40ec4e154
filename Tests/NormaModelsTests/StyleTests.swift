import NormaModels
import NormaNN
import NormaNormalization
import NormaTensor
import TestSupport
import Testing

@Suite struct TransformationNetworkTests {
  private func make(_ change: (inout TransformationNetwork.Options) -> Void = { _ in }) throws -> TransformationNetwork
  {
    var options = TransformationNetwork.Options()
    (options.width, options.blocks) = (4, 2)
    change(&options)
    return try TransformationNetwork(options, generator: Generator(seed: 0))
  }

  private func image(_ shape: [Int], seed: UInt64 = 1) throws -> Tensor {
    try Tensor.uniform(shape, generator: Generator(seed: seed))
  }

  /// Counted from the layers' extents: 9·9·3·32 + 32 and so on, 2 per channel for the norms.
  @Test func parameterCount() throws {
    let network = try make { ($0.width, $0.blocks) = (32, 5) }
    func conv(_ kernel: Int, _ i: Int, _ o: Int) -> Int { kernel * kernel * i * o + o }
    let down = conv(9, 3, 32) + conv(3, 32, 64) + conv(3, 64, 128)
    let up = conv(3, 128, 64) + conv(3, 64, 32) + conv(9, 32, 3)
    let norms = 2 * (32 + 64 + 128 + 10 * 128 + 64 + 32)
    #expect(network.trainableCount == down + 10 * conv(3, 128, 128) + up + norms)
  }

  @Test(arguments: [Normalization.none, .batch, .group(groups: nil), .switchable, .instance, .layer])
  func shapesAndGradients(_ norm: Normalization) throws {
    for (extents, output) in [([16, 20], TransformationNetwork.Output.sigmoid), ([33, 5], .tanh)] {
      let network = try make { ($0.normalization, $0.output) = (norm, output) }
      let y = try network(image([2, 3] + extents))
      #expect(y.shape == [2, 3] + extents)
      let values = try y.array(of: Double.self)
      #expect(values.allSatisfy { (0...1).contains($0) } && Set(values).count > 100)
      try expectGradients(network, y)
    }
  }

  @Test func severalStyles() throws {
    let network = try make { $0.styles = 3 }
    for (key, parameter) in network.namedParameters() where key.hasSuffix("scales") || key.hasSuffix("shifts") {
      try parameter.value.copy(from: Tensor.normal(parameter.value.shape, generator: Generator(seed: 4)))
    }
    let x = try image([1, 3, 12, 16])
    let both = try Tensor.concatenate([x, x], dimension: 0)
    let y = try network(both, styles: [2, 0])
    let (first, second) = (try y.selected(0), try y.selected(1))
    #expect(try (first - second).abs().maximum().item() > 0.01)
    #expect(try network(x, styles: [2]).isClose(to: first.unsqueezed(0), absolute: 1e-6))
    let shares = try Tensor([0, 0, 1, 1, 0, 0] as [Float], shape: [2, 3])
    #expect(try network(both, blend: shares).isClose(to: y, absolute: 1e-6))
    let mixed = try network(x, blend: Tensor([0.5, 0, 0.5] as [Float], shape: [1, 3]))
    #expect(try (mixed - first.unsqueezed(0)).abs().maximum().item() > 0.01)
    try expectGradients(network, y)
    // A style that no sample had gets nothing.
    let gradient = try #require(network.parameters.first { $0.value.shape == [3, 4] }?.gradient)
    #expect(try gradient.selected(1).abs().maximum().item() == 0)

    #expect(message { _ = try network(x) }.contains("3 styles"))
    #expect(throws: NormalizationError.self) { try network(x, styles: [3]) }
    #expect(throws: NormalizationError.self) { try network(x, styles: [0, 1]) }
    #expect(message { _ = try make()(x, styles: [0]) }.contains("one style"))
  }

  /// In training, batch normalization makes a sample depend on the others of its batch; at batch size 1 it is instance
  /// normalization until evaluation.
  @Test func batchAgainstInstanceAtBatchSizeOne() throws {
    let (batch, instance) = (try make { $0.normalization = .batch }, try make { $0.normalization = .instance })
    let x = try image([1, 3, 16, 16])
    #expect(try batch(x).isClose(to: instance(x), absolute: 1e-5))
    batch.evaluate()
    instance.evaluate()
    #expect(try (batch(x) - instance(x)).abs().maximum().item() > 0.01)
  }

  @Test func convertsNorms() throws {
    let network = try make { $0.normalization = .batch }
    #expect(try network.convertNormalization(to: .kind(.instance)).count == 3 + 4 + 2)
    // Before a residual sum no member brings its activation.
    try network.convertNormalization(to: .kind(Normalization(parsing: "frn")))
    #expect(network.encoder.allSatisfy { ($0.norm as? FilterResponseNorm)?.replacesActivation == true })
    #expect(network.blocks.allSatisfy { ($0.conv2.norm as? FilterResponseNorm)?.replacesActivation == false })
    #expect(throws: NormalizationError.self) {
      try network.convertNormalization(to: .kind(Normalization(parsing: "evo-s0")))
    }
  }

  /// Plain gradient descent on one image and one style.
  @Test func learnsAStyle() throws {
    var options = FeatureNetwork.Options()
    options.width = 8
    let loss = try PerceptualLoss(
      features: FeatureNetwork(options, generator: Generator(seed: 3)), contentStage: "relu2_2",
      styleStages: ["relu1_2", "relu2_2"], weights: .init(content: 1, style: 1))
    let content = try image([2, 3, 32, 32])
    // Stripes.
    let bands = try Tensor((0..<32).map { Float($0 / 4 % 2) }, shape: [1, 1, 32, 1]).expanded([1, 3, 32, 32])
    let target = try loss.styleTarget([bands])
    let network = try make { $0.blocks = 1 }
    var totals: [Double] = []
    for _ in 0..<40 {
      try network.clearGradients()
      let terms = try loss(network(content), content: content, style: target)
      totals.append(try terms.total.item())
      try terms.total.backward()
      try withoutGradients {
        for parameter in network.parameters {
          let gradient = try #require(parameter.gradient)
          // Steps of one length, whatever the loss's scale.
          let length = try gradient.squared().sum().squareRoot().item()
          try parameter.value.add(gradient, scale: -0.05 / max(length, 1e-12))
        }
      }
    }
    #expect(totals.suffix(5).max()! < totals[0] / 2, "\(totals)")
  }

  @Test func metadata() throws {
    var options = TransformationNetwork.Options()
    (options.channels, options.width, options.blocks, options.styles, options.output) = (1, 8, 0, 4, .tanh)
    #expect(try TransformationNetwork.Options(metadata: options.metadata).metadata == options.metadata)
    for (key, value) in [("width", "0"), ("output", "relu"), ("styles", "x"), ("architecture", "alexnet")] {
      var changed = options.metadata
      changed[key] = value
      #expect(throws: NetworkError.self) { try TransformationNetwork.Options(metadata: changed) }
    }
  }

  @Test func wrongOptionsAndInputs() throws {
    // What weights' metadata may not say, options may not either.
    let outside: [(key: String, value: Int, WritableKeyPath<TransformationNetwork.Options, Int>)] = [
      ("width", 0, \.width), ("width", 1025, \.width), ("styles", 0, \.styles), ("styles", 4097, \.styles),
      ("blocks", -1, \.blocks), ("blocks", 65, \.blocks), ("channels", 0, \.channels), ("channels", 4097, \.channels),
      ("width", .max, \.width),
    ]
    for (key, value, path) in outside {
      let text = message { _ = try make { $0[keyPath: path] = value } }
      #expect(text.contains("\(key) should be") && text.contains("got \(value)"), "\(text)")
      #expect(throws: NetworkError.self) { try TransformationNetwork.Options(metadata: [key: "\(value)"]) }
    }
    #expect(throws: NetworkError.self) { try make { ($0.styles, $0.normalization) = (2, .batch) } }
    #expect(throws: NormalizationError.self) { try make { $0.normalization = .group(groups: 3) } }
    #expect(throws: NormalizationError.self) {
      try make { $0.normalization = try! Normalization(parsing: "evo-s0") }
    }
    for shape in [[1, 3, 4, 8], [1, 1, 8, 8], [3, 8, 8]] {
      #expect(message { _ = try make()(Tensor.zeros(shape)) }.contains("at least 5"))
    }
  }
}

@Suite struct FeatureNetworkTests {
  private func small(_ change: (inout FeatureNetwork.Options) -> Void = { _ in }) throws -> FeatureNetwork {
    var options = FeatureNetwork.Options()
    (options.width, options.classes) = (4, 5)
    change(&options)
    return try FeatureNetwork(options, generator: Generator(seed: 0))
  }

  /// torchvision's `vgg16.features` and `vgg19.features`.
  @Test(arguments: [
    (FeatureNetwork.Layout.vgg16, 14_714_688, "features.28.weight", "relu5_3"),
    (.vgg19, 20_024_384, "features.34.weight", "relu5_4"),
  ])
  func vgg(layout: FeatureNetwork.Layout, count: Int, last: String, stage: String) throws {
    let network = try FeatureNetwork(.init(layout))
    #expect(network.totalCount == count)
    let shapes = shapes(of: network)
    #expect(shapes["features.0.weight"] == [64, 3, 3, 3])
    #expect(shapes["features.10.weight"] == [256, 128, 3, 3])
    #expect(shapes[last] == [512, 512, 3, 3])
    #expect(network.options.stages.last == stage)
    #expect(shapes.count == 2 * network.options.stages.count)
    try StateError.check(shapes, against: network.options.featureShapes)
  }

  @Test(arguments: [Normalization.none, .batch, .group(groups: nil), .switchable, .layer])
  func shapesAndGradients(_ norm: Normalization) throws {
    let network = try small { $0.normalization = norm }
    let x = try Tensor.uniform([3, 3, 37, 29], generator: Generator(seed: 1))
    let y = try network(x)
    #expect(y.shape == [3, 5])
    try expectGradients(network, y)
    let stages = ["relu3_1", "relu1_2", "relu3_1"]
    let found = try network.activations(of: x, stages: stages)
    #expect(found.map(\.shape) == [[3, 16, 9, 7], [3, 4, 37, 29], [3, 16, 9, 7]])
    #expect(try found.allSatisfy { try $0.minimum().item() >= 0 && $0.maximum().item() > 0 })
    // Shallow stages need less of an image than the logits.
    #expect(try network.activations(of: Tensor.zeros([1, 3, 2, 2]), stages: ["relu1_1"])[0].shape == [1, 4, 2, 2])
  }

  @Test func standardization() throws {
    let (with, without) = (
      try small { $0.normalization = .none },
      try small {
        ($0.standardizes, $0.normalization) = (false, .none)
      }
    )
    let x = try Tensor.uniform([1, 3, 8, 8], generator: Generator(seed: 1))
    let mean = try Tensor([0.485, 0.456, 0.406] as [Float], shape: [1, 3, 1, 1])
    let deviation = try Tensor([0.229, 0.224, 0.225] as [Float], shape: [1, 3, 1, 1])
    let stages = ["relu2_2"]
    let expected = try without.activations(of: (x - mean) / deviation, stages: stages)[0]
    #expect(try with.activations(of: x, stages: stages)[0].isClose(to: expected, absolute: 1e-6))
    #expect(message { _ = try small { $0.inputChannels = 1 } }.contains("turn the standardization off"))
    _ = try small { ($0.inputChannels, $0.standardizes) = (1, false) }
  }

  @Test func loadsConvolutionsAlone() throws {
    let (source, target) = (
      try small { $0.normalization = .none }, try FeatureNetwork(source: .init(), seed: 9, width: 4)
    )
    var state = Dictionary(
      uniqueKeysWithValues: source.stateDictionary().filter { $0.key.hasPrefix("features.") }.map { ($0.key, $0.value) }
    )
    state["classifier.0.weight"] = try Tensor.zeros([4096, 25088])
    let head = try target.head!.weight.value.array(of: Float.self)
    try target.loadFeatures(state)
    for (key, value) in state where key.hasPrefix("features.") {
      let own = try #require(target.stateDictionary().first { $0.key == key }?.value)
      #expect(try own.array(of: Float.self) == value.array(of: Float.self))
    }
    #expect(try target.head!.weight.value.array(of: Float.self) == head)
    state["features.0.weight"] = nil
    state["features.99.weight"] = try Tensor.zeros([1])
    let text = message { try target.loadFeatures(state) }
    #expect(text.contains("missing: features.0.weight") && text.contains("unexpected: features.99.weight"))
  }

  @Test func metadata() throws {
    var options = FeatureNetwork.Options(.vgg19)
    (options.inputChannels, options.classes, options.width, options.standardizes) = (1, 3, 8, false)
    #expect(try FeatureNetwork.Options(metadata: options.metadata).metadata == options.metadata)
    var changed = options.metadata
    changed["layout"] = "vgg11"
    #expect(throws: NetworkError.self) { try FeatureNetwork.Options(metadata: changed) }
    var adaptive = AdaptiveStyleNetwork.Options()
    (adaptive.features, adaptive.stage) = (options, "relu3_4")
    #expect(try AdaptiveStyleNetwork.Options(metadata: adaptive.metadata).metadata == adaptive.metadata)
    changed = adaptive.metadata
    changed["stage"] = "relu9_1"
    #expect(throws: NetworkError.self) { try AdaptiveStyleNetwork.Options(metadata: changed) }
  }

  @Test func wrongInputs() throws {
    let network = try small()
    #expect(
      message { _ = try network.activations(of: Tensor.zeros([1, 3, 8, 8]), stages: ["relu5_1"]) }.contains("relu4_2"))
    #expect(message { _ = try network(Tensor.zeros([1, 3, 15, 16])) }.contains("at least 16"))
    #expect(message { _ = try small { $0.classes = 0 }(Tensor.zeros([1, 3, 16, 16])) }.contains("no head"))
    for width in [0, 1025, 1 << 60] {
      #expect(message { _ = try small { $0.width = width } }.contains("1…1024, got \(width)"))
      #expect(throws: NetworkError.self) { try FeatureNetwork.Options(metadata: ["width": "\(width)"]) }
    }
  }
}

extension FeatureNetwork {
  fileprivate convenience init(source options: Options, seed: UInt64, width: Int) throws {
    var options = options
    options.width = width
    try self.init(options, generator: Generator(seed: seed))
  }
}

@Suite struct AdaptiveStyleNetworkTests {
  private func make(_ stage: String = "relu3_1") throws -> AdaptiveStyleNetwork {
    var options = AdaptiveStyleNetwork.Options()
    (options.stage, options.features.width) = (stage, 4)
    return try AdaptiveStyleNetwork(options, generator: Generator(seed: 0))
  }

  /// The published decoder: that of VGG-19 up to relu4_1.
  @Test func mirrorsVGG19() throws {
    var options = AdaptiveStyleNetwork.Options()
    options.features = .init(.vgg19)
    options.features.width = 2
    let network = try AdaptiveStyleNetwork(options)
    let shapes = network.decoder.map { Array($0.conv.weight.value.shape.prefix(2).reversed()) }
    #expect(shapes == [[16, 8], [8, 8], [8, 8], [8, 8], [8, 4], [4, 4], [4, 2], [2, 2], [2, 3]])
    #expect(network.decoder.map(\.upsampling) == [1, 2, 1, 1, 1, 2, 1, 2, 1])
    #expect(network.decoder.last?.activation == Activation.none)
  }

  @Test func featuresTakeTheStylesMoments() throws {
    let network = try make()
    let content = try Tensor.uniform([2, 3, 21, 18], generator: Generator(seed: 1))
    let style = try Tensor.uniform([2, 3, 16, 32], from: 0.3, to: 0.5, generator: Generator(seed: 2))
    let (image, features) = try network.transferred(content, style: style)
    #expect(image.shape == [2, 3, 21, 18])
    let expected = try PerceptualLoss.moments(network.encoder.activations(of: style, stages: ["relu3_1"])[0])
    // Dead channels of the content stay at the style's mean.
    #expect(try (PerceptualLoss.moments(features) - expected).selected(0, dimension: 1).abs().maximum().item() < 1e-3)
    // The encoder is frozen, and stays in evaluation mode when the network is trained.
    network.train()
    let statistics = try network.encoder.namedBuffers().map { try $0.buffer.value.array(of: Double.self) }
    try expectGradients(network, network(content, style: style)) { $0.hasPrefix("encoder.") }
    #expect(network.encoder.parameters.allSatisfy { $0.isFrozen && $0.gradient == nil })
    #expect(try network.encoder.namedBuffers().map { try $0.buffer.value.array(of: Double.self) } == statistics)
    // Strength 0 leaves the content's features.
    let plain = try network.transferred(content, style: style, strength: 0).features
    #expect(
      try PerceptualLoss.moments(plain).isClose(
        to: PerceptualLoss.moments(
          network.transferred(content, style: content.flipped([0]), strength: 0).features)))
    #expect(try (plain - features).abs().maximum().item() > 1e-3)
  }

  @Test func wrongInputs() throws {
    let network = try make()
    let good = try Tensor.zeros([1, 3, 8, 8])
    for (content, style) in [([1, 3, 4, 8], [1, 3, 8, 8]), ([1, 3, 8, 8], [2, 3, 8, 8]), ([3, 8, 8], [3, 8, 8])] {
      #expect(throws: NetworkError.self) { try network(Tensor.zeros(content), style: Tensor.zeros(style)) }
    }
    #expect(throws: NetworkError.self) { try network(good, style: good, strength: .nan) }
    #expect(throws: NetworkError.self) { try make("relu7_1") }
  }
}

@Suite struct PerceptualLossTests {
  private func make(
    _ statistic: PerceptualLoss.StyleStatistic,
    _ weights: PerceptualLoss.Weights = .init(content: 2, style: 3, totalVariation: 5)
  ) throws -> PerceptualLoss {
    var options = FeatureNetwork.Options()
    options.width = 2
    let network = try FeatureNetwork(options, generator: Generator(seed: 0))
    try network.to(dtype: .float64)
    return try PerceptualLoss(
      features: network, contentStage: "relu2_1", styleStages: ["relu1_2", "relu2_2"], weights: weights,
      statistic: statistic)
  }

  private func image(_ shape: [Int], seed: UInt64) throws -> Tensor {
    try Tensor.uniform(shape, dtype: .float64, generator: Generator(seed: seed))
  }

  @Test func statisticsByLoops() throws {
    var random = TestRandom(1)
    let x = NDArray.random([2, 3, 4, 5], &random)
    let tensor = try Tensor(x.values, shape: x.shape)
    var gram = NDArray(shape: [2, 3, 3])
    var moments = NDArray(shape: [2, 2, 3])
    var variation = (down: 0.0, across: 0.0)
    let places = NDArray.indices(of: [4, 5])
    for n in 0..<2 {
      for i in 0..<3 {
        for j in 0..<3 { gram[[n, i, j]] = places.reduce(0) { $0 + x[[n, i] + $1] * x[[n, j] + $1] } / 60 }
        let mean = places.reduce(0) { $0 + x[[n, i] + $1] } / 20
        moments[[n, 0, i]] = mean
        moments[[n, 1, i]] =
          (places.reduce(0) { $0 + (x[[n, i] + $1] - mean) * (x[[n, i] + $1] - mean) } / 20 + 1e-5).squareRoot()
        for p in places {
          let value = x[[n, i] + p]
          if p[0] < 3 { variation.down += (x[[n, i, p[0] + 1, p[1]]] - value) * (x[[n, i, p[0] + 1, p[1]]] - value) }
          if p[1] < 4 {
            variation.across += (x[[n, i, p[0], p[1] + 1]] - value) * (x[[n, i, p[0], p[1] + 1]] - value)
          }
        }
      }
    }
    #expect(try relativeError(PerceptualLoss.gram(tensor).array(), gram.values) < 1e-13)
    #expect(try relativeError(PerceptualLoss.moments(tensor).array(), moments.values) < 1e-13)
    let expected = variation.down / Double(2 * 3 * 3 * 5) + variation.across / Double(2 * 3 * 4 * 4)
    #expect(abs(try PerceptualLoss.totalVariation(tensor).item() / expected - 1) < 1e-13)
    #expect(try PerceptualLoss.totalVariation(Tensor.ones([1, 1, 1, 1])).item() == 0)
  }

  @Test(arguments: PerceptualLoss.StyleStatistic.allCases) func gradientByDifferences(
    statistic: PerceptualLoss.StyleStatistic
  ) throws {
    let loss = try make(statistic)
    let (content, style) = (try image([2, 3, 6, 5], seed: 1), try loss.styleTarget([image([1, 3, 7, 9], seed: 2)]))
    let x = try image([2, 3, 6, 5], seed: 3).requiringGradient()
    func total() throws -> Tensor { try loss(x, content: content, style: style).total }
    let actual = try #require(try total().gradients(of: [x])[0]).array(of: Double.self)
    let point = try x.array(of: Double.self)
    let expected = try withoutGradients {
      try numericalGradient(at: point, step: 1e-6) {
        try x.copy(from: Tensor($0, shape: x.shape))
        return try total().item()
      }
    }
    #expect(relativeError(actual, expected) < 1e-6)
    #expect(relativeError(actual.reversed(), expected) > 1e-2)
    #expect(loss.features.parameters.allSatisfy { $0.gradient == nil })
    // As a part of a network that is being trained the features stay as they are.
    let before = try total().item()
    loss.features.train()
    #expect(try total().item() == before)
  }

  @Test(arguments: PerceptualLoss.StyleStatistic.allCases) func terms(statistic: PerceptualLoss.StyleStatistic) throws {
    let loss = try make(statistic)
    let a = try image([1, 3, 8, 8], seed: 1), b = try image([1, 3, 8, 8], seed: 2)
    let target = try loss.styleTarget([a, image([1, 3, 12, 6], seed: 5), b])
    #expect(target.statistics.allSatisfy { $0.shape[0] == 3 })
    let same = try loss(a, content: a, style: target, styles: [0])
    #expect(try same.content.item() == 0 && abs(same.style.item()) < 1e-20 && same.totalVariation.item() > 0)
    let other = try loss(a, content: b, style: target, styles: [2])
    let terms = try [other.content, other.style, other.totalVariation].map { try $0.item() }
    #expect(terms.allSatisfy { $0 > 1e-6 })
    #expect(abs(try other.total.item() - (2 * terms[0] + 3 * terms[1] + 5 * terms[2])) < 1e-12)
    // The mean over a batch, with a style for every sample.
    let both = try Tensor.concatenate([a, a], dimension: 0)
    let contents = try Tensor.concatenate([a, b], dimension: 0)
    let mean = try loss(both, content: contents, style: target, styles: [0, 2])
    #expect(abs(try mean.style.item() - terms[1] / 2) < 1e-12)
    #expect(abs(try mean.content.item() - terms[0] / 2) < 1e-12)
  }

  @Test func wrongInputs() throws {
    let loss = try make(.gram)
    let x = try image([2, 3, 8, 8], seed: 1)
    let target = try loss.styleTarget([x, x.sliced(0..<1)])
    #expect(message { _ = try loss(x, content: x, style: target) }.contains("3 styles"))
    #expect(throws: NetworkError.self) { try loss(x, content: x, style: target, styles: [0, 3]) }
    #expect(throws: NetworkError.self) { try loss(x, content: x.sliced(0..<1), style: target, styles: [0, 1]) }
    #expect(throws: NetworkError.self) { try loss.styleTarget([]) }
    #expect(throws: NetworkError.self) { try make(.gram, .init(content: -1)) }
    #expect(throws: NetworkError.self) {
      try PerceptualLoss(features: loss.features, contentStage: "relu1_9", styleStages: ["relu1_1"])
    }
  }
}
