import NormaNN
import NormaTensor
import TestSupport
import Testing

struct ConvolutionCase: Sendable, CustomTestStringConvertible {
  let input: [Int]
  let outputs: Int
  let kernel: [Int]
  var stride: [Int]?
  var padding = Padding.valid
  var dilation: [Int]?
  var groups = 1
  var bias = true

  var testDescription: String {
    "\(input) → \(outputs), kernel \(kernel), stride \(stride ?? []), \(padding), dilation \(dilation ?? []), \(groups) groups"
  }

  static let all: [ConvolutionCase] = [
    .init(input: [2, 3, 6], outputs: 2, kernel: [3]),
    .init(input: [1, 2, 7], outputs: 4, kernel: [2], stride: [3], dilation: [2], groups: 2),
    .init(input: [1, 2, 5], outputs: 1, kernel: [4], padding: .same),
    .init(input: [1, 2, 5], outputs: 2, kernel: [2], padding: .same, dilation: [3]),
    .init(input: [2, 2, 4, 5], outputs: 3, kernel: [3, 2]),
    .init(input: [1, 2, 5, 4], outputs: 2, kernel: [2, 2], padding: .same),
    .init(input: [1, 2, 4, 4], outputs: 2, kernel: [4, 3], padding: .same, bias: false),
    .init(input: [1, 2, 5, 4], outputs: 2, kernel: [2, 4], padding: .same, dilation: [2, 1]),
    .init(input: [1, 4, 5, 4], outputs: 4, kernel: [3, 3], padding: .explicit([2, 0]), groups: 4),
    .init(
      input: [1, 4, 6, 5], outputs: 2, kernel: [2, 3], stride: [2, 1], padding: .explicit([1, 1]), groups: 2),
    .init(input: [1, 1, 6, 6], outputs: 1, kernel: [2, 2], stride: [1, 2], dilation: [3, 2]),
    .init(input: [1, 3, 3, 3], outputs: 2, kernel: [1, 1], bias: false),
    .init(input: [1, 2, 3, 4, 3], outputs: 2, kernel: [2, 1, 3]),
    .init(input: [1, 2, 3, 3, 2], outputs: 2, kernel: [2, 3, 2], padding: .same, groups: 2),
    .init(input: [1, 1, 5, 4, 3], outputs: 1, kernel: [2, 2, 2], stride: [2, 1, 2], dilation: [2, 1, 1]),
  ]
}

@Suite struct ConvolutionTests {
  @Test(arguments: ConvolutionCase.all) func agreesWithItsDefinition(_ item: ConvolutionCase) throws {
    var random = TestRandom(1)
    let layer = try Convolution(
      inputChannels: item.input[1], outputChannels: item.outputs, kernel: item.kernel, stride: item.stride,
      padding: item.padding, dilation: item.dilation, groups: item.groups, bias: item.bias)
    #expect(layer.weight.value.shape == [item.outputs, item.input[1] / item.groups] + item.kernel)
    #expect((layer.bias != nil) == item.bias)
    if item.bias { #expect(try #require(layer.bias).value.doubles.allSatisfy { $0 == 0 }) }
    try randomize(layer, &random)
    let x = NDArray.random(item.input, &random)
    let dilation = item.dilation ?? item.kernel.map { _ in 1 }
    let spread = zip(item.kernel, dilation).map { ($0 - 1) * $1 }
    var (before, after) = (item.kernel.map { _ in 0 }, item.kernel.map { _ in 0 })
    switch item.padding {
    case .valid: break
    case .same: (before, after) = (spread.map { $0 / 2 }, spread.map { ($0 + 1) / 2 })
    case .explicit(let amounts): (before, after) = (amounts, amounts)
    }
    let expected = x.convolved(
      try NDArray(layer.weight.value), bias: try layer.bias?.value.doubles ?? [],
      ConvolutionGeometry(
        stride: item.stride ?? item.kernel.map { _ in 1 }, before: before, after: after, dilation: dilation,
        groups: item.groups))
    if item.padding == .same { #expect(Array(expected.shape.dropFirst(2)) == Array(item.input.dropFirst(2))) }
    try expect(layer(Tensor(x)), expected)
    try checkGradients(layer, x, &random)
    if item.kernel.count == 2 {
      try layer.to(memoryFormat: .channelsLast)
      try expect(layer(Tensor(x).contiguous(.channelsLast)), expected)
    }
  }

  struct TransposedCase: Sendable, CustomTestStringConvertible {
    let input: [Int]
    let outputs: Int
    let kernel: [Int]
    var stride: [Int]?
    var padding: [Int]?
    var outputPadding: [Int]?
    var groups = 1
    var bias = true
    var testDescription: String {
      "\(input) → \(outputs), kernel \(kernel), stride \(stride ?? []), output padding \(outputPadding ?? []), \(groups) groups"
    }

    static let all: [TransposedCase] = [
      .init(input: [2, 2, 4], outputs: 3, kernel: [2]),
      .init(input: [1, 4, 4], outputs: 2, kernel: [3], stride: [2], padding: [1], groups: 2),
      .init(input: [1, 2, 3, 2], outputs: 3, kernel: [2, 3]),
      .init(
        input: [1, 2, 3, 3], outputs: 2, kernel: [3, 3], stride: [1, 2], padding: [1, 0], bias: false),
      .init(
        input: [2, 2, 3, 2], outputs: 2, kernel: [3, 2], stride: [2, 3], padding: [1, 0], outputPadding: [1, 2]),
      .init(input: [1, 2, 2, 2, 2], outputs: 4, kernel: [2, 1, 2], stride: [2, 2, 1], groups: 2),
      .init(input: [1, 2, 2, 1, 2], outputs: 1, kernel: [2, 2, 3], stride: [2, 2, 2], outputPadding: [0, 1, 1]),
    ]
  }

  @Test(arguments: TransposedCase.all) func transposedAgreesWithItsDefinition(_ item: TransposedCase) throws {
    var random = TestRandom(2)
    let layer = try TransposedConvolution(
      inputChannels: item.input[1], outputChannels: item.outputs, kernel: item.kernel, stride: item.stride,
      padding: item.padding, outputPadding: item.outputPadding, groups: item.groups, bias: item.bias)
    #expect(layer.weight.value.shape == [item.input[1], item.outputs / item.groups] + item.kernel)
    try randomize(layer, &random)
    let x = NDArray.random(item.input, &random)
    let padding = item.padding ?? item.kernel.map { _ in 0 }
    let expected = x.transposeConvolved(
      try NDArray(layer.weight.value), bias: try layer.bias?.value.doubles ?? [],
      ConvolutionGeometry(
        stride: item.stride ?? item.kernel, before: padding,
        after: zip(padding, item.outputPadding ?? item.kernel.map { _ in 0 }).map { $0 - $1 },
        dilation: item.kernel.map { _ in 1 },
        groups: item.groups))
    try expect(layer(Tensor(x)), expected)
    try checkGradients(layer, x, &random)
  }

  /// The variance of what comes out is twice that of what goes in, as a ReLU after it wants it.
  @Test(arguments: [([2, 2], [2, 2]), ([4], [2]), ([3, 3, 3], [3, 3, 3])])
  func transposedKeepsTheVariance(kernel: [Int], stride: [Int]) throws {
    let layer = try TransposedConvolution(
      inputChannels: 64, outputChannels: 32, kernel: kernel, stride: stride, generator: Generator(seed: 1))
    let x = try Tensor.normal([4, 64] + kernel.map { _ in 12 }, generator: Generator(seed: 2))
    let ratio = try layer(x).variance().item() / x.variance().item()
    #expect((1.8...2.1).contains(ratio), "\(ratio)")
  }

  @Test func float32ParametersServeBFloat16() throws {
    let layer = try Convolution(inputChannels: 2, outputChannels: 2, kernel: [3, 3], padding: .same)
    let x = try Tensor.normal([1, 2, 6, 6], generator: Generator(seed: 1)).to(dtype: .bfloat16)
    let y = try layer(x)
    #expect(y.dtype == .bfloat16)
    let exact = try layer(x.to(dtype: .float32))
    // Rounding of 18 products, weights and outputs to 8 significant bits.
    #expect(try relativeError(y.doubles, exact.doubles) < 0.02)
    try y.sum().backward()
    #expect(layer.weight.gradient?.dtype == .float32)
  }

  @Test func wrongNumbersAreErrors() throws {
    func make(_ inputs: Int, _ outputs: Int, _ kernel: [Int], groups: Int) throws {
      _ = try Convolution(inputChannels: inputs, outputChannels: outputs, kernel: kernel, groups: groups)
    }
    #expect(throws: TensorError.self) { try make(3, 4, [3, 3], groups: 2) }
    #expect(throws: TensorError.self) { try make(4, 3, [3, 3], groups: 2) }
    #expect(throws: TensorError.self) { try make(2, 2, [3, 3], groups: 0) }
    #expect(throws: TensorError.self) { try make(2, 2, [], groups: 1) }
    #expect(throws: TensorError.self) { try make(2, 2, [1, 1, 1, 1], groups: 1) }
    for groups in [0, 2] {
      #expect(throws: TensorError.self) {
        try TransposedConvolution(inputChannels: 3, outputChannels: 3, kernel: [2], groups: groups)
      }
    }
    for (stride, padding, outputPadding) in [
      ([2], [0, 0], [0, 0]), ([2, 0], [0, 0], [0, 0]), ([2, 2], [0, 0], [0, 2]),
    ] {
      #expect(throws: TensorError.self) {
        try TransposedConvolution(
          inputChannels: 1, outputChannels: 1, kernel: [2, 2], stride: stride, padding: padding,
          outputPadding: outputPadding)
      }
    }
    let layer = try Convolution(inputChannels: 2, outputChannels: 2, kernel: [3, 3])
    #expect(throws: TensorError.self) { try layer(Tensor.ones([1, 3, 5, 5])) }
    #expect(throws: TensorError.self) { try layer(Tensor.ones([1, 2, 2, 2])) }
  }
}
