import NormaNN
import NormaTensor
import TestSupport
import Testing

@testable import NormaNormalization

@Suite struct ConvNormActivationTests {
  /// The block's shortcuts (the convolution's bias goes into the means, the activation into the norm) against the layers one
  /// after the other, which is what an observer sees: outputs, all gradients and running statistics.
  @Test(arguments: FamilyCase.norms, [true, false]) func shortcutsChangeNothing(_ norm: Normalization, _ training: Bool)
    throws
  {
    func run(observed: Bool, upsampling: Int) throws -> [[Double]] {
      var random = TestRandom(5)
      let block = ConvNormActivation(
        try Convolution(inputChannels: 3, outputChannels: 4, kernel: [2, 3], padding: .same),
        norm: try norm.layer(channels: 4), activation: .leakyReLU(slope: 0.2), upsampling: upsampling)
      try block.to(dtype: .float64)
      for parameter in block.parameters {
        try parameter.value.copy(from: Tensor(random.numbers(parameter.value.count), shape: parameter.value.shape))
      }
      // Running statistics away from where they start.
      let warm = try Tensor(random.numbers(2 * 3 * 30), shape: [2, 3, 5, 6])
      _ = try withoutGradients { try block(warm) }
      block.train(training)
      let x = try Tensor(random.numbers(2 * 3 * 30), shape: [2, 3, 5, 6]).requiringGradient()
      let y =
        observed ? try LayerObserver.observe({ _, _, _ in }, { try block(x) }) : try block(x)
      try y.backward(Tensor(random.numbers(y.count), shape: y.shape))
      let state = block.namedBuffers().map(\.buffer.value)
      return try ([y, try #require(x.gradient)] + block.parameters.map { try #require($0.gradient) } + state)
        .map { try $0.array() }
    }
    for upsampling in [1, 2] {
      let plain = try run(observed: true, upsampling: upsampling)
      let fused = try run(observed: false, upsampling: upsampling)
      let scale = plain.dropFirst(2).flatMap { $0 }.map(abs).max() ?? 1
      for (a, b) in zip(fused, plain) {
        // The bias has no gradient where every channel's own mean is subtracted, hence the common scale.
        #expect(zip(a, b).allSatisfy { abs($0 - $1) < 1e-12 * max(1, scale) })
      }
      let biasGradient = plain[3]
      let vanishes = training && (norm == .batch || norm == .instance)
      #expect(biasGradient.contains { abs($0) > 1e-3 } != (vanishes || (!training && norm == .instance)))
    }
  }

  @Test(arguments: [false, true]) func observersSeeEveryLayer(folded: Bool) throws {
    let block = ConvNormActivation(
      try Convolution(inputChannels: 1, outputChannels: 2, kernel: [3, 3], padding: .same),
      norm: try BatchNorm(channels: 2))
    block.evaluate()
    if folded { try block.foldNormalization() }
    nonisolated(unsafe) var seen: [String] = []
    try withoutGradients {
      try LayerObserver.observe({ layer, _, _ in seen.append("\(type(of: layer))") }) {
        _ = try block(Tensor.ones([1, 1, 4, 4]))
      }
    }
    #expect(seen == ["Convolution", "BatchNorm", "ConvNormActivation"])
  }

  @Test func anInputBiasOfAnotherLengthIsAnError() throws {
    let norm = try BatchNorm(channels: 3)
    for count in [1, 2, 4] {
      #expect(throws: NormalizationError.self) {
        try norm(Tensor.ones([2, 3, 4, 4]), activation: .none, inputBias: Tensor.ones([count]))
      }
    }
  }
}
