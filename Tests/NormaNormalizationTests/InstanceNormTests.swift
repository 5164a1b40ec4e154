import NormaNN
import NormaTensor
import TestSupport
import Testing

@testable import NormaNormalization

@Suite struct InstanceNormTests {
  private func reference(_ x: Tensor, _ weight: Tensor, _ bias: Tensor) throws -> Tensor {
    let normalized =
      try (x - x.mean([2, 3], keepDimensions: true))
      / (x.variance([2, 3], keepDimensions: true) + 1e-5).squareRoot()
    return try normalized * weight.reshaped([3, 2, 1, 1]) + bias.reshaped([3, 2, 1, 1])
  }

  @Test(arguments: [MemoryFormat.contiguous, .channelsLast])
  func conditionalTakesEverySamplesOwnStyle(_ layout: MemoryFormat) throws {
    let layer = try ConditionalInstanceNorm(styles: 4, channels: 2)
    try layer.to(dtype: .float64)
    var random = TestRandom(2)
    for parameter in layer.parameters { try parameter.value.copy(from: Tensor(random.numbers(8), shape: [4, 2])) }
    let x = try Tensor(random.numbers(72), shape: [3, 2, 3, 4]).contiguous(layout).detached()
    let styles = [2, 0, 2]
    let rows = try Tensor(styles.map(Int64.init))
    let expected = try reference(x, layer.scales.value.gatheredRows(rows), layer.shifts.value.gatheredRows(rows))
    #expect(relativeError(try layer(x, styles: styles).array(), try expected.array()) < 1e-12)
    try GradientCheck.run(
      ["x": x, "scales": layer.scales.value, "shifts": layer.shifts.value], tolerance: 1e-6, random: &random
    ) { try layer(x, styles: styles) }
    let blend = try Tensor([0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 1, 0].map(Double.init), shape: [3, 4])
    #expect(relativeError(try layer(x, blend: blend).array(), try expected.array()) < 1e-12)
    #expect(throws: NormalizationError.self) { try layer(x, styles: [0, 1, 4]) }
    #expect(throws: NormalizationError.self) { try layer(x, styles: [0, 1]) }
  }

  @Test func adaptiveTakesTheStylesMoments() throws {
    var random = TestRandom(3)
    let content = try Tensor(random.numbers(72).map { 3 * $0 + 1 }, shape: [3, 2, 3, 4])
    let style = try Tensor(random.numbers(150).map { 2 * $0 - 1 }, shape: [3, 2, 5, 5])
    let y = try content.adaptiveInstanceNormalized(to: style)
    let expected = try reference(
      content, (style.variance([2, 3]) + 1e-5).squareRoot(), style.mean([2, 3]))
    #expect(relativeError(try y.array(), try expected.array()) < 1e-12)
    // Up to ε the result has the style's moments.
    #expect(relativeError(try y.mean([2, 3]).array(), try style.mean([2, 3]).array()) < 1e-10)
    #expect(relativeError(try y.variance([2, 3]).array(), try style.variance([2, 3]).array()) < 1e-4)
    try GradientCheck.run(["content": content, "style": style], tolerance: 1e-6, random: &random) {
      try content.adaptiveInstanceNormalized(to: style)
    }
    #expect(throws: NormalizationError.self) {
      try content.adaptiveInstanceNormalized(to: Tensor.ones([3, 1, 5, 5], dtype: .float64))
    }
  }

  /// Float32 data too, on every instruction set's kernels: mean 10³ leaves the moments' gradient exact.
  @Test func pooledMomentsKeepTheirDigits() throws {
    var random = TestRandom(4)
    let exact = try Tensor(random.numbers(2 * 6 * 40).map { $0 + 1000 }, shape: [2, 6, 5, 8])
    let g = try Tensor(random.numbers(12), shape: [2, 6])
    func gradient(_ x: Tensor) throws -> [Double] {
      let x = try x.detached().requiringGradient()
      let moments = try x.pooledMoments([.instance, .batch, .group(2)])
      var sum = try (moments[0].variance * g.to(dtype: x.dtype)).sum()
      sum =
        try sum + (moments[1].variance * g.to(dtype: x.dtype)).sum() + (moments[2].mean * g.to(dtype: x.dtype)).sum()
      try sum.backward()
      return try #require(x.gradient).array()
    }
    let single = try exact.to(dtype: .float32)
    #expect(relativeError(try gradient(single), try gradient(single.to(dtype: .float64))) < 1e-6)
  }
}
