import NormaNN
import NormaTensor
import TestSupport
import Testing

@Suite struct UpsampledConvolutionTests {
  struct Case: Sendable, CustomTestStringConvertible {
    let input: [Int]
    let kernel: [Int]
    var factor = 2
    var groups = 1
    var bias = true
    var testDescription: String { "\(input), kernel \(kernel), ×\(factor), \(groups) groups" }

    static let all: [Case] = [
      .init(input: [2, 2, 3, 4], kernel: [2, 2]),
      .init(input: [1, 2, 4, 3], kernel: [3, 3]),
      .init(input: [1, 4, 3, 3], kernel: [1, 1], groups: 2, bias: false),
      .init(input: [1, 2, 3, 4], kernel: [4, 5]),
      .init(input: [1, 2, 3, 2], kernel: [2, 3], factor: 3),
      .init(input: [1, 2, 1, 1], kernel: [5, 2], factor: 4),
      .init(input: [2, 2, 5], kernel: [3]),
      .init(input: [1, 2, 2, 3, 2], kernel: [2, 3, 2], groups: 2),
    ]
  }

  /// The convolution of the enlargement as a layer of its own, for the gradient check.
  private final class Upsampled: Module, Layer {
    let conv: Convolution
    let factor: Int
    init(_ conv: Convolution, _ factor: Int) {
      self.conv = conv
      self.factor = factor
    }
    func forward(_ input: Tensor) throws -> Tensor { try conv(input, upsampledBy: factor) }
  }

  @Test(arguments: Case.all) func equalsTheConvolutionOfTheEnlargement(_ item: Case) throws {
    var random = TestRandom(7)
    let conv = try Convolution(
      inputChannels: item.input[1], outputChannels: 4, kernel: item.kernel, padding: .same, groups: item.groups,
      bias: item.bias)
    try randomize(conv, &random)
    let x = NDArray.random(item.input, &random)
    var enlarged = NDArray(shape: Array(item.input.prefix(2)) + item.input.dropFirst(2).map { $0 * item.factor })
    for index in NDArray.indices(of: enlarged.shape) {
      enlarged[index] = x[Array(index.prefix(2)) + index.dropFirst(2).map { $0 / item.factor }]
    }
    let ones = item.kernel.map { _ in 1 }
    let expected = enlarged.convolved(
      try NDArray(conv.weight.value), bias: try conv.bias?.value.doubles ?? [],
      ConvolutionGeometry(
        stride: ones, before: item.kernel.map { ($0 - 1) / 2 }, after: item.kernel.map { $0 / 2 }, dilation: ones,
        groups: item.groups))
    let layer = Upsampled(conv, item.factor)
    try expect(layer(Tensor(x)), expected)
    try checkGradients(layer, x, &random)
    if item.kernel.count == 2 {
      try layer.to(memoryFormat: .channelsLast)
      let y = try layer(Tensor(x).contiguous(.channelsLast))
      try expect(y, expected)
      #expect(y.isContiguous(.channelsLast))
    }
  }

  /// The interleaving writes into memory that autograd does not see, so a second derivative would silently be wrong.
  @Test func secondDerivativesAreRefused() throws {
    let conv = try Convolution(inputChannels: 1, outputChannels: 2, kernel: [2, 2], padding: .same)
    let x = try Tensor.ones([1, 1, 3, 3]).requiringGradient()
    let y = try conv(x, upsampledBy: 2).power(3).sum()
    #expect(throws: TensorError.self) { try y.gradients(of: [x], createGraph: true) }
  }

  /// What has no such form is enlarged first.
  @Test(arguments: [Padding.valid, .explicit([1, 0])]) func otherConvolutionsAreEnlargedFirst(_ padding: Padding) throws
  {
    let conv = try Convolution(inputChannels: 2, outputChannels: 3, kernel: [3, 2], padding: padding)
    let x = try Tensor.normal([1, 2, 3, 4], generator: Generator(seed: 1))
    let expected = try conv(x.upsampledNearest(factor: 2))
    #expect(try conv(x, upsampledBy: 2).doubles == expected.doubles)
    #expect(try conv(x, upsampledBy: 1).doubles == conv(x).doubles)
  }
}
