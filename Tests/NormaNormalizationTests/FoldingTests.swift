import NormaNN
import NormaTensor
import TestSupport
import Testing

@testable import NormaNormalization

@Suite struct FoldingTests {
  /// A small network with everything that a block can have, its running statistics away from their start.
  private func network(_ norm: Normalization = .batch, dtype: DType = .float32) throws -> Sequential {
    let generator = try Generator(seed: 3)
    func block(_ inputs: Int, _ outputs: Int, _ kernel: Int, _ activation: Activation, upsampling: Int = 1) throws
      -> ConvNormActivation
    {
      ConvNormActivation(
        try Convolution(
          inputChannels: inputs, outputChannels: outputs, kernel: [kernel, kernel], padding: .same, generator: generator
        ),
        norm: try norm.layer(channels: outputs), activation: activation, upsampling: upsampling)
    }
    let network = Sequential([
      try block(3, 8, 3, .relu), try block(8, 8, 2, .leakyReLU(slope: 0.1)), try block(8, 4, 2, .relu, upsampling: 2),
      try block(4, 5, 1, .none),
    ])
    try network.to(dtype: dtype)
    try network.to(memoryFormat: .channelsLast)
    for step in 0..<3 {
      _ = try network(Tensor.normal([2, 3, 8, 8], generator: Generator(seed: UInt64(step))).to(dtype: dtype) * 2)
    }
    network.evaluate()
    return network
  }

  private func apply(_ network: Sequential, dtype: DType = .float32) throws -> [Double] {
    let x = try Tensor.normal([2, 3, 12, 12], generator: Generator(seed: 9)).to(dtype: dtype)
    return try withoutGradients { try network(x.contiguous(.channelsLast)).array() }
  }

  @Test(arguments: [DType.float32, .float64]) func foldedNetworksGiveTheSame(_ dtype: DType) throws {
    let network = try network(dtype: dtype)
    let plain = try apply(network, dtype: dtype)
    try network.foldNormalization()
    let folded = try apply(network, dtype: dtype)
    #expect(relativeError(folded, plain) < (dtype == .float64 ? 1e-13 : 1e-5))
    #expect(folded != plain, "other roundings show that another computation ran")
    // Keys and gradients are those of the network as it was.
    #expect(network.namedParameters().count == 16)
    let y = try network(Tensor.normal([2, 3, 8, 8], generator: Generator(seed: 4)).to(dtype: dtype))
    try y.sum().backward()
    #expect(network.parameters.allSatisfy { $0.gradient != nil })
  }

  @Test func changedParametersAreNotForgotten() throws {
    let network = try network()
    try network.foldNormalization()
    let before = try apply(network)
    let block = try #require(network.layers[0] as? ConvNormActivation)
    let norm = try #require(block.norm as? BatchNorm)
    let changes: [() throws -> Void] = [
      { try withoutGradients { try block.conv.weight.value.scale(by: 1.5) } },
      { try norm.runningVar!.value.fill(3) },
      { try withoutGradients { try norm.bias!.value.fill(0.3) } },
      { try network.to(dtype: .float64) },
    ]
    var last = before
    for (index, change) in changes.enumerated() {
      try change()
      let dtype: DType = index == 3 ? .float64 : .float32
      let now = try apply(network, dtype: dtype)
      #expect(index == 3 || relativeError(now, last) > 1e-3)
      let copy = try self.network(dtype: dtype)
      try copy.load(stateDictionary: Dictionary(uniqueKeysWithValues: network.stateDictionary()))
      #expect(relativeError(now, try apply(copy, dtype: dtype)) < 1e-5)
      last = now
    }
  }

  @Test func frozenNormsAreFoldedToo() throws {
    let network = try network()
    let plain = try apply(network)
    try network.convertNormalization(to: .frozen)
    try network.foldNormalization()
    #expect(relativeError(try apply(network), plain) < 1e-5)
    let block = try #require(network.layers[0] as? ConvNormActivation)
    let frozen = try #require(block.norm as? FrozenBatchNorm)
    let conv = try #require(block.conv as? Convolution)
    let folded = try frozen.folded(into: conv)
    #expect(folded.bias != nil)
    #expect(throws: NormalizationError.self) { try LayerNorm(channels: 4).folded(into: conv) }
  }

  @Test func otherNormsStayAsTheyAre() throws {
    let network = try network(.instance)
    let plain = try apply(network)
    try network.foldNormalization()
    #expect(try apply(network) == plain)
  }

  @Test func numbersOfChannelsMustAgree() throws {
    let conv = try Convolution(inputChannels: 1, outputChannels: 3, kernel: [3])
    #expect(throws: NormalizationError.self) { try BatchNorm(channels: 4).folded(into: conv) }
  }
}
