import NormaNN
import NormaTensor
import TestSupport
import Testing

#if canImport(Glibc)
  import Glibc
#else
  import Darwin
#endif

/// Attention and adaptive pooling against loops in plain Swift.
@Suite struct ConvolutionalAttentionTests {
  private static func sigmoid(_ x: Double) -> Double { 1 / (1 + exp(-x)) }

  /// Values of one plane or, for the other axis, of one position.
  private static func values(_ x: NDArray, where keep: ([Int]) -> Bool) -> [Double] {
    NDArray.indices(of: x.shape).filter(keep).map { x[$0] }
  }

  /// Woo et al. 2018, eq. 2, on [N, C, H, W].
  private static func channelAttended(_ x: NDArray, _ layer: ChannelAttention) throws -> NDArray {
    let (w0, w1) = (try NDArray(layer.hidden.weight.value), try NDArray(layer.output.weight.value))
    let b0 = try layer.hidden.bias?.value.doubles, b1 = try layer.output.bias?.value.doubles
    let channels = x.shape[1]
    func perceptron(_ input: [Double]) -> [Double] {
      let units = (0..<w0.shape[0]).map { u in
        max(0, (b0?[u] ?? 0) + (0..<channels).reduce(0) { $0 + w0[[u, $1]] * input[$1] })
      }
      return (0..<channels).map { c in (b1?[c] ?? 0) + units.indices.reduce(0) { $0 + w1[[c, $1]] * units[$1] } }
    }
    var y = x
    for n in 0..<x.shape[0] {
      let planes = (0..<channels).map { c in values(x) { $0[0] == n && $0[1] == c } }
      let means = perceptron(planes.map { $0.reduce(0, +) / Double($0.count) })
      let maxima = perceptron(planes.map { $0.max()! })
      for index in NDArray.indices(of: x.shape) where index[0] == n {
        y[index] = x[index] * sigmoid(means[index[1]] + maxima[index[1]])
      }
    }
    return y
  }

  /// Woo et al. 2018, eq. 3.
  private static func spatiallyAttended(_ x: NDArray, _ layer: SpatialAttention) throws -> NDArray {
    var description = NDArray(shape: [x.shape[0], 2, x.shape[2], x.shape[3]])
    for index in NDArray.indices(of: description.shape) {
      let column = (0..<x.shape[1]).map { x[[index[0], $0, index[2], index[3]]] }
      description[index] = index[1] == 0 ? column.reduce(0, +) / Double(column.count) : column.max()!
    }
    let weight = try NDArray(layer.conv.weight.value)
    let before = (weight.shape[2] - 1) / 2
    let map = description.convolved(
      weight, bias: try layer.conv.bias?.value.doubles ?? [],
      .init(
        stride: [1, 1], before: [before, before], after: [weight.shape[2] - 1 - before, weight.shape[2] - 1 - before],
        dilation: [1, 1]))
    var y = x
    for index in NDArray.indices(of: x.shape) {
      y[index] = x[index] * sigmoid(map[[index[0], 0, index[2], index[3]]])
    }
    return y
  }

  @Test(arguments: [(6, 2, true), (6, 16, true), (3, 1, false), (1, 16, true)])
  func channels(channels: Int, reduction: Int, bias: Bool) throws {
    var random = TestRandom(UInt64(channels + reduction))
    let layer = try ChannelAttention(channels: channels, reduction: reduction, bias: bias)
    try randomize(layer, &random)
    #expect(layer.hidden.weight.value.shape == [max(1, channels / reduction), channels])
    #expect(layer.namedParameters().count == (bias ? 4 : 2))
    let x = NDArray.random([2, channels, 3, 5], &random)
    let expected = try Self.channelAttended(x, layer)
    try expect(layer(Tensor(x)), expected)
    try expect(
      layer(Tensor(x).reshaped([2, channels, 15])), NDArray(shape: [2, channels, 15], values: expected.values))
  }

  @Test(arguments: [(7, false), (4, true), (1, false)]) func positions(kernel: Int, bias: Bool) throws {
    var random = TestRandom(UInt64(kernel))
    let layer = try SpatialAttention(kernel: kernel, bias: bias)
    try randomize(layer, &random)
    let x = NDArray.random([2, 3, 6, 5], &random)
    try expect(layer(Tensor(x)), Self.spatiallyAttended(x, layer))
  }

  @Test func both() throws {
    var random = TestRandom(9)
    let block = try CBAM(channels: 8, reduction: 3)
    try randomize(block, &random)
    #expect(
      block.namedParameters().map(\.key) == [
        "channel.hidden.weight", "channel.hidden.bias", "channel.output.weight", "channel.output.bias",
        "spatial.conv.weight",
      ])
    let x = NDArray.random([2, 8, 5, 4], &random)
    try expect(
      block(Tensor(x)), Self.spatiallyAttended(Self.channelAttended(x, block.channel), block.spatial))
    try checkGradients(block, x, &random)
  }

  @Test func gradients() throws {
    var random = TestRandom(10)
    for layer: any Layer in [
      try ChannelAttention(channels: 4, reduction: 2), try SpatialAttention(bias: true),
      AdaptiveAveragePool(extents: [2, 3]), GlobalAveragePool(),
    ] {
      try randomize(layer, &random)
      try checkGradients(layer, .random([2, 4, 5, 4], &random), &random)
    }
  }

  @Test(arguments: [[5, 7], [1, 1], [3, 4], [2, 9]]) func adaptivePooling(extents: [Int]) throws {
    var random = TestRandom(11)
    let x = NDArray.random([2, 3, 5, 7], &random)
    var expected = NDArray(shape: [2, 3] + extents)
    for index in NDArray.indices(of: expected.shape) {
      func window(_ axis: Int) -> Range<Int> {
        let (i, n, k) = (index[axis], x.shape[axis], extents[axis - 2])
        return i * n / k..<((i + 1) * n + k - 1) / k
      }
      let values = Self.values(x) {
        $0[0] == index[0] && $0[1] == index[1] && window(2).contains($0[2]) && window(3).contains($0[3])
      }
      expected[index] = values.reduce(0, +) / Double(values.count)
    }
    try expect(AdaptiveAveragePool(extents: extents)(Tensor(x)), expected)
    if extents == [1, 1] {
      try expect(GlobalAveragePool()(Tensor(x)), NDArray(shape: [2, 3], values: expected.values))
    }
  }

  @Test func wrongInputs() throws {
    #expect(throws: TensorError.self) { try ChannelAttention(channels: 4, reduction: 0) }
    #expect(throws: TensorError.self) { try SpatialAttention(kernel: 0) }
    let block = try CBAM(channels: 4)
    for shape in [[2, 3, 4, 4], [2, 4], [0, 4, 2, 2]] {
      #expect(throws: TensorError.self) { try block(Tensor.zeros(shape)) }
    }
    #expect(throws: TensorError.self) { try SpatialAttention()(Tensor.zeros([2, 4, 4])) }
    #expect(throws: TensorError.self) { try GlobalAveragePool()(Tensor.zeros([2, 4])) }
  }
}

@Suite struct PenaltyTests {
  private final class Penalized: Module, PenalizedModule {
    let weight: Parameter
    init(_ values: [Double]) throws { weight = try Parameter(Tensor(values)) }
    func penalty() throws -> Tensor { try weight.sumOfSquares() * 0.5 }
  }
  private final class Tree: Module {
    let parts: [Penalized]
    init(_ parts: [Penalized]) { self.parts = parts }
  }

  @Test func sumsOverTheTree() throws {
    let tree = Tree([try Penalized([1, -2]), try Penalized([3])])
    let penalty = try #require(try tree.penalties())
    #expect(penalty.shape == [])
    #expect(try penalty.item() == 7)
    try penalty.backward()
    #expect(try tree.parameters.map { try #require($0.gradient).doubles } == [[1, -2], [3]])
    #expect(try Tree([]).penalties() == nil)
  }
}
