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
  @Test(arguments: [Normalization.none, .batch, .group(groups: nil), .switchable, .instance, .layer], [false, true])
  func recomputationChangesNoResult(_ norm: Normalization, isVariant: Bool) throws {
    let side = isVariant ? 44 : 32
    func step(_ recomputes: Bool) throws -> [[Double]] {
      let model = try make(norm) {
        $0.width = 4
        $0.dropout = 0.3
        if isVariant {
          ($0.depth, $0.upsampling, $0.padding, $0.isResidual) = (2, .transposed, .valid, true)
        }
      }
      try model.to(memoryFormat: .channelsLast)
      let x = try Tensor.normal([2, 1, side, side], generator: Generator(seed: 1))
      let y = try Recomputation.$isEnabled.withValue(recomputes) { try model(x) }
      try y.backward(Tensor.normal(y.shape, generator: Generator(seed: 2)))
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

/// What may be chosen beside width and normalization.
@Suite struct UNetVariantTests {
  private static func options(_ change: (inout UNet.Options) -> Void) -> UNet.Options {
    var options = UNet.Options()
    (options.width, options.depth, options.head, options.normalization) = (2, 1, .plain, .none)
    options.dropout = 0
    change(&options)
    return options
  }

  private static func make(seed: UInt64 = 0, _ change: (inout UNet.Options) -> Void) throws -> UNet {
    try UNet(options(change), generator: Generator(seed: seed))
  }

  /// Every combination of the discrete options.
  private static let all: [UNet.Options] = UNet.Upsampling.allCases.flatMap { upsampling in
    UNet.Padding.allCases.flatMap { padding in
      [false, true].flatMap { isResidual in
        [2, 3].flatMap { dimensions in
          UNet.HeadStyle.allCases.map { head in
            options {
              ($0.upsampling, $0.padding, $0.isResidual) = (upsampling, padding, isResidual)
              ($0.dimensions, $0.head) = (dimensions, head)
            }
          }
        }
      }
    }
  }

  /// One pooling, width 2: the convolutions counted one by one.
  @Test func parameterTotalsByHand() throws {
    func counts(_ change: (inout UNet.Options) -> Void) throws -> [Int] {
      let model = try Self.make(change)
      return [model.totalCount, model.trainableCount]
    }
    // Down 1·2·9+2, 2·2·9+2; bottom 2·4·9+4, 4·4·9+4; up 4·2·4+2; level 4·2·9+2, 2·2·9+2; head 2·1+1.
    let plain = 20 + 38 + 76 + 148 + 34 + 74 + 38 + 3
    #expect(try counts { _ in } == [plain, plain])
    #expect(try counts { $0.upsampling = .transposed } == [plain, plain])
    #expect(try counts { $0.padding = .valid } == [plain, plain])
    // Projections 1·2+2, 2·4+4, 4·2+2.
    let residual = plain + 4 + 12 + 10
    #expect(try counts { $0.isResidual = true } == [residual, residual])
    // Norms of 2+2, 4+4, 2 and 2+2 channels, and of 2, 4 and 2 in the projections: two trained numbers each and two that are not.
    let channels = 18 + 8
    #expect(
      try counts { ($0.isResidual, $0.normalization) = (true, .batch) } == [
        residual + 4 * channels, residual + 2 * channels,
      ])
    // As many channels go in as come out of the first level, which then needs no projection: 2·2·9+2 in the place of 1·2·9+2.
    #expect(try counts { ($0.isResidual, $0.inputChannels) = (true, 2) }[0] == residual - 4 + 18)
    // 27 weights in the place of 9, 8 in the place of 4, and the other head 2·2·27+2, 2·1+1.
    let volume = 56 + 110 + 220 + 436 + 66 + 218 + 110 + 110 + 3
    #expect(try counts { ($0.dimensions, $0.head, $0.upsampling) = (3, .seed, .transposed) } == [volume, volume])
  }

  @Test func keysSayWhatIsThere() throws {
    let keys = try Self.make { ($0.isResidual, $0.normalization) = (true, .group(groups: 1)) }.namedParameters().map(
      \.key)
    func level(_ name: String) -> [String] {
      ["conv1", "conv2", "shortcut"].flatMap { block in
        ["conv.weight", "conv.bias", "norm.weight", "norm.bias"].map { "\(name).\(block).\($0)" }
      }
    }
    let up = ["conv.weight", "conv.bias", "norm.weight", "norm.bias"].map { "decoder.0.up.\($0)" }
    let expected = [level("encoder.0"), level("bottom"), up, level("decoder.0.level")].flatMap { $0 }
    #expect(keys == expected + ["head.conv2.weight", "head.conv2.bias"])
    let plain = try Self.make { $0.normalization = .group(groups: 1) }.namedParameters().map(\.key)
    #expect(plain == keys.filter { !$0.contains("shortcut") })
  }

  /// Weights are drawn in the order of the keys, and nothing else takes numbers of the generator.
  @Test(arguments: [false, true]) func weightsAreDrawnInOrder(isResidual: Bool) throws {
    let model = try Self.make(seed: 7) {
      ($0.isResidual, $0.depth, $0.normalization, $0.head) = (isResidual, 3, .switchable, .seed)
    }
    let generator = try Generator(seed: 7)
    for (key, parameter) in model.namedParameters() where parameter.value.rank > 1 {
      let drawn = try Initializer.heNormal.tensor(parameter.value.shape, generator: generator)
      #expect(try parameter.value.array(of: Float.self) == drawn.array(of: Float.self), "\(key)")
    }
  }

  @Test(arguments: all) func gradientsReachEveryParameter(_ options: UNet.Options) throws {
    for norm in [Normalization.none, .batch, .group(groups: 1), .switchable] {
      var options = options
      (options.normalization, options.width, options.outputChannels) = (norm, 4, 3)
      let model = try UNet(options, generator: Generator(seed: 2))
      let extents = (0..<options.dimensions).map { options.inputExtent(forOutput: 5 + 2 * $0) }
      let y = try model(Tensor.normal([2, 1] + extents, generator: Generator(seed: 3)))
      #expect(y.shape == [2, 3] + extents.map { $0 - 2 * options.margin })
      try y.backward(Tensor.normal(y.shape, generator: Generator(seed: 4)))
      for (key, parameter) in model.namedParameters() {
        let gradient = try #require(parameter.gradient, "\(key)")
        // A norm of every channel takes the bias before it away.
        if key.hasSuffix("conv.bias"), norm == .batch { continue }
        #expect(try gradient.abs().sum().item() > 0, "\(key) under \(norm.name)")
      }
    }
  }

  @Test func sizesOfThePaper() throws {
    let model = try Self.make { ($0.width, $0.depth, $0.padding, $0.upsampling) = (1, 4, .valid, .transposed) }
    model.evaluate()
    #expect(model.options.margin == 92)
    #expect(try withoutGradients { try model(Tensor.ones([1, 1, 572, 188])) }.shape == [1, 1, 388, 4])
    #expect(model.options.inputExtent(forOutput: 388) == 572 && model.options.inputExtent(forOutput: 389) == 588)
    let error = #expect(throws: NetworkError.self) { try model(Tensor.ones([1, 1, 572, 192])) }
    #expect(error?.description.contains("H, W of 188, 204, 220, …") == true)
    #expect(throws: NetworkError.self) { try model(Tensor.ones([1, 1, 572, 172])) }
  }

  /// What the options tell about extents is what the network does.
  @Test(arguments: UNet.Padding.allCases, [1, 2])
  func extentsAreThoseOfTheNetwork(padding: UNet.Padding, depth: Int) throws {
    for head in UNet.HeadStyle.allCases {
      let model = try Self.make { ($0.width, $0.depth, $0.padding, $0.head) = (1, depth, padding, head) }
      model.evaluate()
      let options = model.options
      let other = options.inputExtent(forOutput: 1)
      var taken: [Int] = []
      withoutGradients {
        for extent in 1...80 {
          let output = try? model(Tensor.ones([1, 1, extent, other]))
          #expect(options.outputExtent(of: extent) == output?.shape[2])
          if let output {
            taken.append(extent)
            #expect(extent - output.shape[2] == 2 * options.margin)
          }
        }
      }
      #expect(Set(zip(taken, taken.dropFirst()).map { $1 - $0 }) == [options.extentMultiple])
      for wanted in 1...(80 - 2 * options.margin - options.extentMultiple) {
        let least = try #require(taken.first { $0 - 2 * options.margin >= wanted })
        #expect(options.inputExtent(forOutput: wanted) == least)
        let range = options.inputRange(forOutput: wanted)
        #expect(range.count == least)
        // The output covers what is wanted, and is as far beyond it on the one side as on the other.
        let (before, after) = (-(range.lowerBound + options.margin), range.upperBound - options.margin - wanted)
        #expect(before >= 0 && (0...1).contains(after - before))
      }
    }
  }

  /// Volumes that are the same in every slice, under weights that look at one slice: every slice becomes what the image becomes.
  @Test(arguments: UNet.Upsampling.allCases, UNet.Padding.allCases)
  func aConstantDepthChangesNothing(upsampling: UNet.Upsampling, padding: UNet.Padding) throws {
    for norm in [Normalization.batch, .group(groups: 2), .switchable] {
      func make(_ dimensions: Int) throws -> UNet {
        let model = try Self.make(seed: 3) {
          ($0.upsampling, $0.padding, $0.isResidual, $0.normalization) = (upsampling, padding, true, norm)
          ($0.dimensions, $0.head) = (dimensions, .seed)
        }
        try model.to(dtype: .float64)
        return model
      }
      let (flat, deep) = (try make(2), try make(3))
      try withoutGradients {
        for ((key, source), target) in zip(flat.namedParameters(), deep.parameters) {
          guard target.value.rank == 5 else { continue }
          let isTransposed = upsampling == .transposed && key.contains("up.conv")
          try target.value.fill(0)
          for slice in isTransposed ? [0, 1] : [(target.value.shape[2] - 1) / 2] {
            try target.value.selected(slice, dimension: 2).copy(from: source.value)
          }
        }
      }
      let extent = flat.options.inputExtent(forOutput: 4)
      let x = try Tensor.normal([2, 1, extent, extent + 2], generator: Generator(seed: 4)).to(dtype: .float64)
      let expected = try flat(x)
      func error() throws -> Double {
        let y = try deep(x.unsqueezed(2).expanded([2, 1, extent + 4, extent, extent + 2]))
        #expect(y.shape[2] == extent + 4 - 2 * flat.options.margin)
        return try (y - expected.unsqueezed(2)).abs().maximum([0, 1, 2, 3, 4]).item()
      }
      #expect(try error() < 1e-12)
      // Another weight on a neighbouring slice is seen.
      let weight = deep.bottom.conv1.conv.weight.value
      try withoutGradients { try weight.selected(0, dimension: 2).fill(0.1) }
      #expect(try error() > 1e-3)
    }
  }

  /// Where the convolutions say nothing, the input comes through, projected where the channels change.
  @Test(arguments: UNet.Padding.allCases) func residualBlocksAddTheirInput(padding: UNet.Padding) throws {
    let model = try Self.make { ($0.isResidual, $0.inputChannels, $0.padding) = (true, 2, padding) }
    let crop = padding == .same ? 0 : 2
    try withoutGradients {
      for level in [model.encoder[0], model.bottom] { try level.conv2.conv.weight.value.fill(0) }
      let x = try Tensor.normal([1, 2, 8, 8], generator: Generator(seed: 5))
      let middle = try x.sliced(crop..<8 - crop, dimension: 2).sliced(crop..<8 - crop, dimension: 3)
      #expect(model.encoder[0].shortcut == nil)
      #expect(try model.encoder[0](x).array(of: Float.self) == middle.relu().array(of: Float.self))
      let shortcut = try #require(model.bottom.shortcut)
      let projected = try shortcut(middle)
      #expect(try projected.minimum([0, 1, 2, 3]).item() < 0, "the projection has no activation of its own")
      #expect(try model.bottom(x).array(of: Float.self) == projected.relu().array(of: Float.self))
    }
  }

  @Test func whatIsNoNetworkIsNamed() throws {
    func message(_ change: (inout UNet.Options) -> Void) -> String {
      let options = Self.options(change)
      do {
        try options.validate()
        return "nothing was thrown"
      } catch {
        #expect(throws: (any Error).self) { try UNet(options) }
        return "\(error)"
      }
    }
    #expect(message { $0.depth = 0 }.contains("depth should be in 1…8, got 0"))
    #expect(message { $0.dimensions = 1 }.contains("dimensions should be in 2…3, got 1"))
    #expect(message { $0.outputChannels = 0 }.contains("output channels"))
    #expect(message { ($0.asLogged, $0.isResidual) = (true, true) }.contains("as it was logged"))
    let evo = try Normalization(parsing: "evo-s0")
    #expect(message { ($0.normalization, $0.width) = (evo, 8) } == "nothing was thrown")
    #expect(message { ($0.normalization, $0.width, $0.isResidual) = (evo, 8, true) }.contains("its own activation"))
  }
}

extension UNet.Options: CustomTestStringConvertible {
  public var testDescription: String {
    "\(upsampling), \(padding), \(isResidual ? "residual" : "plain"), \(dimensions)-d, \(head)"
  }
}
