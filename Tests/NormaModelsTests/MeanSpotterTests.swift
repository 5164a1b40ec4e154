import NormaModels
import NormaNN
import NormaNormalization
import NormaTensor
import Testing

@Suite struct MeanSpotterTests {
  private func make(
    _ norm: Normalization = .batch, _ change: (inout MeanSpotter.Options) -> Void = { _ in }
  ) throws -> MeanSpotter {
    var options = MeanSpotter.Options()
    options.normalization = norm
    change(&options)
    return try MeanSpotter(options, generator: Generator(seed: 0))
  }

  /// The published totals, and those of a CBAM of c channels with one hidden unit: (c + 1) + 2c + 98.
  @Test func parameterTotals() throws {
    let network = try make()
    #expect(network.totalCount == 3_621)
    #expect(network.trainableCount == 3_593)
    #expect(try make(.none).totalCount == 3_565)
    func attention(_ channels: Int) -> Int { channels + 1 + 2 * channels + 98 }
    let streams = 2 * attention(3) + attention(8)
    #expect(try make(.batch) { $0.attention = .streams }.trainableCount == 3_593 + streams)
    #expect(try make(.batch) { $0.attention = .merge }.trainableCount == 3_593 + attention(14))
    #expect(try make(.batch) { $0.attention = .cbam }.trainableCount == 3_593 + streams + attention(14))
  }

  @Test(arguments: [Normalization.none, .batch, .group(groups: nil), .switchable, .instance, .layer])
  func shapesAndGradients(_ norm: Normalization) throws {
    for attention in MeanSpotter.Attention.allCases {
      // More hidden units than one, so that none of the perceptrons is silent.
      let network = try make(norm) { ($0.attention, $0.reduction) = (attention, 1) }
      let y = try network(Tensor.normal([4, 3, 42, 42], generator: Generator(seed: 1)))
      #expect(y.shape == [4, 1])
      try expectGradients(network, y)
    }
  }

  /// Every stream sees its channel alone, and the norm stands after the ReLU.
  @Test func streams() throws {
    let network = try make()
    network.evaluate()
    let x = try Tensor.normal([1, 3, 42, 42], generator: Generator(seed: 2))
    func outputs() throws -> [[Float]] {
      try withoutGradients {
        try network.streams.enumerated().map { try $1(x.sliced($0..<$0 + 1, dimension: 1)).array() }
      }
    }
    let before = try outputs()
    #expect(before.map(\.count) == [3 * 196, 3 * 196, 8 * 196])
    #expect(before.allSatisfy { $0.allSatisfy { $0 >= 0 } })
    // A shift by the norm is not cut off.
    for stream in network.streams {
      let norm = try #require(stream.norm as? BatchNorm)
      try withoutGradients { try norm.bias!.value.fill(-100) }
    }
    #expect(try outputs().allSatisfy { $0.allSatisfy { $0 < 0 } })
  }

  @Test func penalty() throws {
    let network = try make(.batch) { $0.attention = .cbam }
    func squares(_ conv: Convolution) throws -> Double {
      try conv.weight.value.array(of: Double.self).reduce(0) { $0 + $1 * $1 }
    }
    let expected = try network.streams.reduce(0) { try $0 + 0.001 * squares($1.conv) } + 0.1 * squares(network.conv)
    let penalty = try #require(try network.penalties())
    #expect(abs(try penalty.item() / expected - 1) < 1e-5)
    try penalty.backward()
    let gradient = try #require(network.conv.weight.gradient).array(of: Double.self)
    let weight = try network.conv.weight.value.array(of: Double.self)
    #expect(zip(gradient, weight).allSatisfy { abs($0 - 0.2 * $1) < 1e-6 })
    #expect(network.namedParameters().count { $0.parameter.gradient != nil } == 4)
  }

  @Test func sharesInitialWeightsWithAttention() throws {
    let weights = try MeanSpotter.Attention.allCases.map { attention in
      try make(.batch) { $0.attention = attention }.namedParameters().filter { !$0.key.contains("attention") }
        .map { try $0.parameter.value.array(of: Float.self) }
    }
    #expect(weights.allSatisfy { $0 == weights[0] })
  }

  /// The norm stands after the ReLU, where no member brings another.
  @Test func convertsNorms() throws {
    let network = try make()
    #expect(
      try network.convertNormalization(to: .kind(Normalization(parsing: "frn")))
        == ["streams.0.norm", "streams.1.norm", "streams.2.norm"])
    #expect(network.streams.allSatisfy { ($0.norm as? FilterResponseNorm)?.replacesActivation == false })
    #expect(throws: NormalizationError.self) { try make(Normalization(parsing: "evo-b0")) }
  }

  @Test func metadata() throws {
    var options = MeanSpotter.Options()
    (options.attention, options.reduction, options.streamDropout, options.dropout) = (.merge, 4, 0.1, 0)
    (options.streamPenalty, options.mergePenalty, options.normalization) = (0.5, 0, .switchable)
    #expect(try MeanSpotter.Options(metadata: options.metadata).metadata == options.metadata)
    for (key, value) in [("attention", "yes"), ("reduction", "0"), ("dropout", "1"), ("merge_penalty", "-1")] {
      var changed = options.metadata
      changed[key] = value
      #expect(throws: NetworkError.self) { try MeanSpotter.Options(metadata: changed) }
    }
  }

  @Test func wrongOptionsAndInputs() throws {
    for change: (inout MeanSpotter.Options) -> Void in [
      { $0.reduction = 0 }, { $0.dropout = 1 }, { $0.streamDropout = -0.1 }, { $0.mergePenalty = -1 },
    ] {
      #expect(throws: NetworkError.self) { try make(.batch, change) }
    }
    #expect(throws: NormalizationError.self) { try make(.group(groups: 2)) }
    for shape in [[1, 3, 42, 41], [1, 1, 42, 42], [3, 42, 42]] {
      #expect(message { _ = try make()(Tensor.zeros(shape)) }.contains("[N, 3, 42, 42]"))
    }
  }
}
