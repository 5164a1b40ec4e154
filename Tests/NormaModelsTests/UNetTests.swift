import NormaModels
import NormaNN
import NormaNormalization
import NormaTensor
import Testing

@Suite struct UNetTests {
  private func make(_ norm: Normalization, _ change: (inout UNet.Options) -> Void = { _ in }) throws -> UNet {
    var options = UNet.Options()
    options.normalization = norm
    change(&options)
    return try UNet(options, generator: Generator(seed: 0))
  }

  /// The totals of the published logs and of the layer list.
  @Test func parameterTotals() throws {
    let batch = try make(.batch)
    #expect(batch.totalCount == 31_059_077)
    #expect(batch.trainableCount == 31_045_381)
    let group = try make(.group(groups: nil))
    #expect(group.totalCount == 31_045_381)
    #expect(group.trainableCount == 31_045_381)
    let switchable = try make(.switchable)
    #expect(switchable.totalCount == 31_059_209)
    #expect(switchable.trainableCount == 31_045_513)
    let logged = try make(.switchable) { $0.asLogged = true }
    #expect(logged.totalCount == 31_060_995)
    #expect(logged.trainableCount == 31_047_427)
  }

  @Test(arguments: [Normalization.none, .batch, .group(groups: nil), .switchable, .instance, .layer])
  func keepsTheExtent(_ norm: Normalization) throws {
    let model = try make(norm) {
      $0.width = 4
      $0.outputChannels = 3
      $0.inputChannels = 2
    }
    let y = try model(Tensor.normal([2, 2, 32, 48], generator: Generator(seed: 1)))
    #expect(y.shape == [2, 3, 32, 48])
    try y.sum().backward()
    #expect(model.parameters.allSatisfy { $0.gradient != nil })
  }

  /// Recomputation changes what is kept, not what comes out: outputs, gradients and running statistics are the same
  /// bits, in every norm.
  @Test(arguments: [Normalization.none, .batch, .group(groups: nil), .switchable, .instance, .layer])
  func recomputationChangesNoResult(_ norm: Normalization) throws {
    func step(_ recomputes: Bool) throws -> [[Double]] {
      let model = try make(norm) {
        $0.width = 4
        $0.dropout = 0.3
      }
      try model.to(memoryFormat: .channelsLast)
      let x = try Tensor.normal([2, 1, 32, 32], generator: Generator(seed: 1))
      let y = try Recomputation.$isEnabled.withValue(recomputes) { try model(x) }
      try y.backward(Tensor.normal([2, 1, 32, 32], generator: Generator(seed: 2)))
      let state = model.stateDictionary().filter { $0.key.contains("running") }.map(\.value)
      return try ([y] + model.parameters.map { try #require($0.gradient) } + state).map { try $0.array() }
    }
    let (kept, recomputed) = (try step(false), try step(true))
    #expect(kept == recomputed)
    #expect(kept.dropFirst().contains { $0.contains { $0 != 0 } })
  }

  @Test func sharesInitialWeightsBetweenNorms() throws {
    let models = try [Normalization.batch, .switchable, .none].map { norm in
      try make(norm) { $0.width = 4 }
    }
    let weights = try models.map { model in
      try model.namedParameters().filter { !$0.key.contains("norm") }
        .map { (key: $0.key, values: try $0.parameter.value.array(of: Float.self)) }
    }
    #expect(weights[0].count == 2 * 22 + 4)
    for other in weights.dropFirst() {
      #expect(other.map(\.key) == weights[0].map(\.key))
      #expect(other.map(\.values) == weights[0].map(\.values))
    }
  }

  @Test func normalizesTwentyTwoConvolutions() throws {
    let count = try make(.batch) { $0.width = 4 }.namedModules().count { $0.module is NormalizationLayer }
    #expect(count == 22)
  }

  @Test func heInitialization() throws {
    let model = try make(.none) { $0.width = 16 }
    let weights = model.namedParameters().filter { $0.key.hasSuffix("weight") && $0.parameter.value.count > 10_000 }
    #expect(weights.count > 5)
    for (key, parameter) in weights {
      let fanIn = Double(parameter.value.shape.dropFirst().reduce(1, *))
      let ratio = try parameter.value.variance().item() * fanIn / 2
      #expect(abs(ratio - 1) < 0.1, "\(key)")
    }
  }

  @Test func evenKernelPadsZeroBeforeAndOneAfter() throws {
    let conv = try Convolution(
      inputChannels: 1, outputChannels: 1, kernel: [2, 2], padding: .same, initializer: .constant(1))
    let y: [Float] = try conv(Tensor([1, 2, 3, 4] as [Float], shape: [1, 1, 2, 2])).array()
    #expect(y == [10, 6, 7, 4])
  }

  @Test func sizesThatDoNotFitAreNamed() throws {
    let model = try make(.batch) { $0.width = 4 }
    #expect(throws: NetworkError.self) { try model(Tensor.ones([1, 1, 40, 32])) }
    #expect(throws: NetworkError.self) { try model(Tensor.ones([1, 2, 32, 32])) }
  }
}
