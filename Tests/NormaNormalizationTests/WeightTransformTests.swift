import NormaNN
import NormaTensor
import TestSupport
import Testing

@testable import NormaNormalization

@Suite struct WeightTransformTests {
  /// A 3×3 convolution with the golden case's weight, and the transform on it.
  private func layer(
    _ item: Golden.WeightCase, _ transform: @escaping (Tensor) throws -> any WeightTransform
  ) throws -> Convolution {
    let weight = try item.weight.tensor
    let layer = try Convolution(
      inputChannels: 3, outputChannels: 4, kernel: [3, 3], weightTransform: { _ in try transform(weight) })
    try layer.to(dtype: .float64)
    try layer.weight.value.copy(from: weight)
    try layer.bias!.value.copy(from: item.bias.tensor)
    return layer
  }

  private func check(_ layer: Convolution, _ item: Golden.WeightCase, weightGradient: String, steps: Int = 1) throws {
    let x = try item.x.tensor
    var y = try layer(x)
    for _ in 1..<steps { y = try layer(x) }
    #expect(relativeError(try y.array(), item.y.values) < 1e-10)
    try y.backward(item.g.tensor)
    let expected = try #require(item.gradients[weightGradient])
    #expect(relativeError(try #require(layer.weight.gradient).array(), expected.values) < 1e-10)
    #expect(relativeError(try #require(layer.bias!.gradient).array(), item.gradients["bias"]!.values) < 1e-10)
  }

  @Test func weightNormIsPyTorchs() throws {
    let item = try Golden.weight("weight norm")
    let layer = try layer(item) { try WeightNorm(weight: $0) }
    try check(layer, item, weightGradient: "parametrizations.weight.original1")
    let g = try #require(layer.weightTransform as? WeightNorm).g
    let expected = item.gradients["parametrizations.weight.original0"]!.values
    #expect(relativeError(try #require(g.gradient).array(), expected) < 1e-10)
    #expect(layer.namedParameters().map(\.key) == ["weight", "bias", "weight_transform.g"])
  }

  @Test func spectralNormIsPyTorchs() throws {
    let item = try Golden.weight("spectral norm")
    let layer = try layer(item) { try SpectralNorm(weight: $0) }
    let norm = try #require(layer.weightTransform as? SpectralNorm)
    try norm.u.value.copy(from: item.state["parametrizations.weight.0._u"]!.tensor)
    try norm.v.value.copy(from: item.state["parametrizations.weight.0._v"]!.tensor)
    try check(layer, item, weightGradient: "parametrizations.weight.original", steps: 2)
    // In evaluation the vectors stay; after many steps the largest singular value is 1.
    layer.evaluate()
    let before: [Double] = try norm.u.value.array()
    _ = try layer(item.x.tensor)
    #expect(try norm.u.value.array() == before)
    layer.train()
    for _ in 0..<200 { _ = try layer.effectiveWeight }
    let matrix = try layer.effectiveWeight.reshaped([4, 27])
    var v = try Tensor.normal([27], generator: Generator(seed: 1)).to(dtype: .float64)
    for _ in 0..<300 {
      let u = try matrix.transposed(0, 1).matmul(matrix.matmul(v))
      v = try u / u.squared().sum().squareRoot()
    }
    #expect(abs(try matrix.matmul(v).squared().sum().squareRoot().item() - 1) < 1e-6)
  }

  @Test func weightStandardizationIsThePapers() throws {
    let item = try Golden.weight("weight standardization")
    let layer = try layer(item) { _ in WeightStandardization() }
    try check(layer, item, weightGradient: "parametrizations.weight.original")
  }

  /// Every path that uses a convolution's weight uses the transformed one.
  @Test func allPathsUseTheTransformedWeight() throws {
    for make: (Tensor) throws -> any WeightTransform in [
      { try WeightNorm(weight: $0) }, { _ in WeightStandardization() },
    ] {
      let conv = try Convolution(
        inputChannels: 3, outputChannels: 4, kernel: [2, 2], padding: .same, generator: Generator(seed: 1),
        weightTransform: make)
      if let norm = conv.weightTransform as? WeightNorm { try norm.g.value.fill(2) }
      let plain = try Convolution(
        weight: conv.effectiveWeight.detached().cloned(), bias: conv.bias!.value.detached().cloned(), padding: .same)
      let x = try Tensor.normal([2, 3, 6, 6], generator: Generator(seed: 2))
      #expect(relativeError(try conv(x).array(), try plain(x).array()) < 1e-5)
      #expect(relativeError(try conv(x, upsampledBy: 2).array(), try plain(x, upsampledBy: 2).array()) < 1e-5)
      let (a, b) = (
        ConvNormActivation(conv, norm: try BatchNorm(channels: 4)),
        ConvNormActivation(plain, norm: try BatchNorm(channels: 4))
      )
      for block in [a, b] {
        block.evaluate()
        try block.foldNormalization()
      }
      #expect(
        relativeError(try withoutGradients { try a(x).array() }, try withoutGradients { try b(x).array() }) < 1e-5)
    }
  }
}
