import NormaNN
import NormaTensor
import TestSupport
import Testing

@testable import NormaNormalization

@Suite struct ConversionTests {
  private func network() throws -> Sequential {
    let network = Sequential([
      ConvNormActivation(
        try Convolution(
          inputChannels: 1, outputChannels: 4, kernel: [3, 3], padding: .same, generator: Generator(seed: 1)),
        norm: try BatchNorm(channels: 4)),
      try Convolution(inputChannels: 4, outputChannels: 2, kernel: [3, 3], generator: Generator(seed: 2)),
      try BatchNorm(channels: 2),
    ])
    for seed in UInt64(0)..<3 { _ = try network(Tensor.normal([2, 1, 8, 8], generator: Generator(seed: seed))) }
    for (key, parameter) in network.namedParameters() where key.hasSuffix("norm.weight") {
      try withoutGradients { try parameter.value.copy(from: Tensor([0.5, 1.5, 2, -1])) }
    }
    return network
  }

  @Test func frozenComputesTheSameInEvaluation() throws {
    let network = try network()
    let x = try Tensor.normal([2, 1, 8, 8], generator: Generator(seed: 9))
    network.evaluate()
    let before: [Double] = try network(x).array()
    let keys = network.stateDictionary().map(\.key).filter { !$0.hasSuffix("num_batches_tracked") }
    #expect(try network.convertNormalization(to: .frozen) == ["layers.0.norm", "layers.2"])
    #expect(try network(x).array() == before)
    network.train()
    #expect(relativeError(try network(x).array(), before) < 1e-6)
    #expect(network.stateDictionary().map(\.key) == keys, "a state of one loads into the other")
    #expect(try network.convertNormalization(to: .frozen).isEmpty)
  }

  @Test func otherMembersKeepTheAffine() throws {
    let network = try network()
    try network.to(dtype: .float64)
    network.evaluate()
    try network.convertNormalization(to: .kind(.group(groups: 2)))
    let block = try #require(network.layers[0] as? ConvNormActivation)
    let norm = try #require(block.norm as? GroupNorm)
    #expect(try norm.weight!.value.array() == [0.5, 1.5, 2, -1])
    #expect(norm.weight!.value.dtype == .float64)
    #expect(!norm.isTraining)
    try network.convertNormalization(to: .kind(Normalization(parsing: "frn")))
    #expect(block.norm is FilterResponseNorm)
    _ = try network(Tensor.normal([1, 1, 8, 8], generator: Generator(seed: 3)).to(dtype: .float64))
  }

  @Test func frozenStatisticsComeBack() throws {
    let network = try network()
    let x = try Tensor.normal([2, 1, 8, 8], generator: Generator(seed: 9))
    network.evaluate()
    let before: [Double] = try network(x).array()
    try network.convertNormalization(to: .frozen)
    try network.convertNormalization(to: .kind(.batch))
    #expect(relativeError(try network(x).array(), before) < 1e-6)
  }

  @Test func evoNormGivesAndTakesItsState() throws {
    let evo = try EvoNorm(channels: 2, form: .b0(momentum: 0.1))
    let network = Sequential([evo])
    try network.to(dtype: .float64)
    try withoutGradients {
      try evo.weight.value.copy(from: Tensor([3.0, 4]))
      try evo.runningVar!.value.copy(from: Tensor([5.0, 6]))
    }
    try network.convertNormalization(to: .kind(.batch))
    let batch = try #require(network.layers[0] as? BatchNorm)
    #expect(batch.weight!.value.dtype == .float64)
    #expect(try batch.weight!.value.array() == [3, 4])
    #expect(try batch.runningVar!.value.array() == [5, 6])
    try network.convertNormalization(to: .kind(Normalization(parsing: "evo-b0")))
    let back = try #require(network.layers[0] as? EvoNorm)
    #expect(try back.weight.value.array() == [3, 4])
    #expect(try back.runningVar!.value.array() == [5, 6])
  }

  @Test func noActivationAppearsWhereNoneWas() throws {
    let block = ConvNormActivation(
      try Convolution(inputChannels: 1, outputChannels: 4, kernel: [3, 3], generator: Generator(seed: 1)),
      norm: try BatchNorm(channels: 4), activation: .none)
    try block.convertNormalization(to: .kind(Normalization(parsing: "frn")))
    let y: [Double] = try block(Tensor.normal([2, 1, 8, 8], generator: Generator(seed: 2))).array()
    #expect(y.min()! < -0.1)
    #expect(throws: NormalizationError.self) {
      try block.convertNormalization(to: .kind(Normalization(parsing: "evo-s0")))
    }
    #expect(block.norm is FilterResponseNorm, "nothing was swapped")
  }

  @Test func whatCannotBeFrozenIsNamed() throws {
    var options = BatchNorm.Options()
    options.tracksRunningStatistics = false
    let network = Sequential([try BatchNorm(channels: 2, options)])
    #expect {
      try network.convertNormalization(to: .frozen)
    } throws: { "\($0)".contains("'layers.0'") }
  }

  @Test func runningStatisticsMoveAlong() throws {
    let network = try network()
    let norm = try #require(network.layers[2] as? BatchNorm)
    let mean: [Float] = try norm.runningMean!.value.array()
    try network.convertNormalization(to: .kind(.switchable))
    let converted = try #require(network.layers[2] as? SwitchableNorm)
    #expect(try converted.runningMean!.value.array() == mean)
    try network.convertNormalization(to: .frozen)
    #expect(network.layers[2] is SwitchableNorm, "only batch normalization freezes")
  }

  @Test func whatCannotBeSwappedIsNamedAndNothingChanges() throws {
    final class Own: Module, Layer {
      let norm: BatchNorm
      let inner: Sequential
      init(_ norm: BatchNorm, _ inner: Sequential) {
        self.norm = norm
        self.inner = inner
      }
      func forward(_ input: Tensor) throws -> Tensor { try inner(norm(input)) }
    }
    let own = Own(try BatchNorm(channels: 2), Sequential([try BatchNorm(channels: 2)]))
    let error = #expect(throws: NormalizationError.self) { try own.convertNormalization(to: .kind(.layer)) }
    #expect(error?.description.contains("'norm'") == true)
    #expect(own.inner.layers[0] is BatchNorm)
    #expect(throws: NormalizationError.self) {
      try Sequential([BatchNorm(channels: 2)]).convertNormalization(to: .kind(.none))
    }
    // Three groups do not divide four channels.
    #expect(throws: NormalizationError.self) { try network().convertNormalization(to: .kind(.group(groups: 3))) }
  }
}
