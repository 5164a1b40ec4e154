import NormaModels
import NormaNN
import NormaNormalization
import NormaTensor
import Testing

@Suite struct AlexNetTests {
  private func make(_ norm: Normalization, _ change: (inout AlexNet.Options) -> Void = { _ in }) throws -> AlexNet {
    var options = AlexNet.Options()
    options.normalization = norm
    change(&options)
    return try AlexNet(options, generator: Generator(seed: 0))
  }

  private static let lrn = try! Normalization(parsing: "lrn")

  /// torchvision's `alexnet`, key by key, and its count; batch normalization adds γ, β and two statistics for each of 1152
  /// channels, and moves no key.
  @Test func torchvisionsKeysAndCount() throws {
    let plain = try make(.none)
    #expect(plain.totalCount == 61_100_840)
    let expected: [String: [Int]] = [
      "features.0.weight": [64, 3, 11, 11], "features.0.bias": [64], "features.3.weight": [192, 64, 5, 5],
      "features.3.bias": [192], "features.6.weight": [384, 192, 3, 3], "features.6.bias": [384],
      "features.8.weight": [256, 384, 3, 3], "features.8.bias": [256], "features.10.weight": [256, 256, 3, 3],
      "features.10.bias": [256], "classifier.1.weight": [4096, 9216], "classifier.1.bias": [4096],
      "classifier.4.weight": [4096, 4096], "classifier.4.bias": [4096], "classifier.6.weight": [1000, 4096],
      "classifier.6.bias": [1000],
    ]
    #expect(shapes(of: plain) == expected)
    #expect(plain.stateDictionary().count == 16)
    let batch = try make(.batch)
    #expect(batch.trainableCount == 61_100_840 + 2 * 1152)
    #expect(batch.totalCount == 61_100_840 + 4 * 1152)
    let kept = shapes(of: batch).filter { !$0.key.hasPrefix("norms.") }
    #expect(kept == expected)
  }

  /// The first paper's network, whose published implementations have 60,965,224 parameters.
  @Test func originalCount() throws {
    let network = try make(Self.lrn)
    #expect(network.totalCount == 60_965_224)
    #expect(shapes(of: network)["features.3.weight"] == [256, 48, 5, 5])
    let norms = network.norms.compactMap { $0 as? LocalResponseNorm }
    #expect(norms.count == 2 && network.norms.count == 2)
    #expect(norms.allSatisfy { $0.size == 5 && $0.k == 2 && abs($0.alpha - 5e-4) < 1e-15 && $0.beta == 0.75 })
    #expect(network.options.metadata["variant"] == "original")
  }

  @Test(arguments: [
    (Normalization.none, 32, [33, 40]), (.batch, 32, [8, 64]), (.group(groups: nil), 64, [64, 64]),
    (.switchable, 28, [28, 28]),
    (.instance, 32, [32, 32]), (Self.lrn, 32, [32, 32]), (.batch, 224, [63, 90]), (Self.lrn, 224, [97, 71]),
  ])
  func shapesAndGradients(norm: Normalization, size: Int, extents: [Int]) throws {
    let network = try make(norm) {
      ($0.inputSize, $0.width, $0.classes, $0.inputChannels) = (size, 1.0 / 16, 7, 2)
    }
    let y = try network(Tensor.normal([3, 2] + extents, generator: Generator(seed: 1)))
    #expect(y.shape == [3, 7])
    try expectGradients(network, y)
  }

  @Test func normalizedClassifier() throws {
    let change = { (options: inout AlexNet.Options) in
      (options.inputSize, options.width, options.classes) = (32, 1.0 / 16, 5)
      options.normalizesClassifier = true
    }
    let network = try make(.batch, change)
    #expect(network.namedModules().count { $0.module is BatchNorm } == 7)
    try expectGradients(network, network(Tensor.normal([4, 3, 32, 32], generator: Generator(seed: 1))))
    for norm in [Normalization.instance, Self.lrn] {
      #expect(message { _ = try make(norm, change) }.contains("cannot stand in the classifier"))
    }
  }

  /// A norm comes before the ReLU, local response normalization after it.
  @Test func orderOfNormAndActivation() throws {
    let network = try make(.custom("shift") { _ in Shift() }) { ($0.inputSize, $0.width) = (32, 1.0 / 64) }
    let last = try #require(network.features.compactMap { $0 as? Convolution }.last)
    try last.weight.value.fill(0)
    network.evaluate()
    // Zeros, less 1, then ReLU: nothing is left for the classifier but its biases, which are 0.
    func largest() throws -> Double { try network(Tensor.ones([1, 3, 32, 32])).abs().maximum().item() }
    #expect(try largest() == 0)
    try last.bias?.value.fill(2)
    #expect(try largest() > 0)
  }

  private final class Shift: Module, Layer {
    func forward(_ input: Tensor) throws -> Tensor { try input - 1 }
  }

  @Test func convertsNorms() throws {
    let network = try make(.batch) { ($0.inputSize, $0.width) = (32, 1.0 / 64) }
    #expect(
      try network.convertNormalization(to: .kind(.group(groups: 4)))
        == ["norms.0", "norms.1", "norms.2", "norms.3", "norms.4"])
    #expect(network.norms.allSatisfy { $0 is GroupNorm })
  }

  @Test func sharesInitialWeightsBetweenNorms() throws {
    let weights = try [Normalization.none, .batch, .switchable].map { norm in
      try make(norm) { ($0.inputSize, $0.width) = (32, 1.0 / 64) }.namedParameters()
        .filter { !$0.key.hasPrefix("norms.") }.map { try $0.parameter.value.array(of: Float.self) }
    }
    #expect(weights[0].count == 16)
    #expect(weights.allSatisfy { $0 == weights[0] })
  }

  @Test func metadata() throws {
    var options = AlexNet.Options()
    (options.inputChannels, options.classes, options.inputSize, options.width) = (1, 12, 48, 0.125)
    (options.variant, options.dropout, options.normalizesClassifier) = (.original, 0.25, true)
    options.normalization = .group(groups: 4)
    #expect(try AlexNet.Options(metadata: options.metadata).metadata == options.metadata)
    for (key, value) in [
      ("classes", "0"), ("variant", "third"), ("width", "0"), ("dropout", "1"), ("architecture", "unet"),
    ] {
      var changed = options.metadata
      changed[key] = value
      #expect(throws: NetworkError.self) { try AlexNet.Options(metadata: changed) }
    }
  }

  @Test func wrongOptionsAndInputs() throws {
    for change: (inout AlexNet.Options) -> Void in [
      { $0.classes = 0 }, { $0.inputChannels = 0 }, { $0.inputSize = 7 }, { $0.width = 0 }, { $0.dropout = 1 },
      { $0.width = .nan },
    ] {
      #expect(throws: NetworkError.self) { try make(.batch, change) }
    }
    #expect(throws: NormalizationError.self) { try make(.group(groups: 7)) { $0.width = 1.0 / 64 } }
    let network = try make(.none) { $0.width = 1.0 / 64 }
    for shape in [[1, 3, 62, 63], [1, 1, 224, 224], [3, 224, 224]] {
      #expect(message { _ = try network(Tensor.zeros(shape)) }.contains("at least 63"))
    }
  }
}
