/// Numbers in a row-major grid, with the definitions of convolution and pooling written as loops over indices:
/// slow, and sharing nothing with the library.
public struct NDArray: Equatable, Sendable {
  public var shape: [Int]
  public var values: [Double]

  public init(shape: [Int], values: [Double]) {
    precondition(shape.reduce(1, *) == values.count)
    self.shape = shape
    self.values = values
  }

  public init(shape: [Int], repeating value: Double = 0) {
    self.init(shape: shape, values: Array(repeating: value, count: shape.reduce(1, *)))
  }

  public static func random(_ shape: [Int], _ random: inout TestRandom) -> NDArray {
    NDArray(shape: shape, values: random.numbers(shape.reduce(1, *)))
  }

  /// All indices of a grid in row-major order.
  public static func indices(of shape: [Int]) -> [[Int]] {
    shape.reduce([[]]) { prefixes, extent in prefixes.flatMap { prefix in (0..<extent).map { prefix + [$0] } }
    }
  }

  /// Where an index lies, or nil outside the grid.
  public func offset(_ index: [Int]) -> Int? {
    var offset = 0
    for (place, extent) in zip(index, shape) {
      guard place >= 0, place < extent else { return nil }
      offset = offset * extent + place
    }
    return offset
  }

  public subscript(index: [Int]) -> Double {
    get { values[offset(index)!] }
    set { values[offset(index)!] = newValue }
  }
}

/// The numbers that convolutions have besides their weights, one per spatial dimension.
public struct ConvolutionGeometry: Sendable {
  public var stride: [Int]
  public var before: [Int]
  public var after: [Int]
  public var dilation: [Int]
  public var groups: Int

  public init(stride: [Int], before: [Int], after: [Int], dilation: [Int], groups: Int = 1) {
    self.stride = stride
    self.before = before
    self.after = after
    self.dilation = dilation
    self.groups = groups
  }
}

extension NDArray {
  /// y[n, o, p] = b[o] + Σ x[n, c, p · stride − before + k · dilation] w[o, c, k], zeros outside.
  public func convolved(_ weight: NDArray, bias: [Double], _ g: ConvolutionGeometry) -> NDArray {
    let kernel = Array(weight.shape.dropFirst(2))
    let extents = kernel.indices.map { d in
      (shape[d + 2] + g.before[d] + g.after[d] - (kernel[d] - 1) * g.dilation[d] - 1) / g.stride[d] + 1
    }
    let outputs = weight.shape[0]
    let places = NDArray.indices(of: kernel)
    var y = NDArray(shape: [shape[0], outputs] + extents)
    for index in NDArray.indices(of: y.shape) {
      var sum = bias.isEmpty ? 0 : bias[index[1]]
      let group = index[1] / (outputs / g.groups)
      for c in 0..<weight.shape[1] {
        for k in places {
          let position = kernel.indices.map {
            index[$0 + 2] * g.stride[$0] - g.before[$0] + k[$0] * g.dilation[$0]
          }
          guard let from = offset([index[0], group * weight.shape[1] + c] + position) else { continue }
          sum += values[from] * weight[[index[1], c] + k]
        }
      }
      y[index] = sum
    }
    return y
  }

  /// Every input spreads over the outputs that a convolution of this geometry would read it for.
  public func transposeConvolved(_ weight: NDArray, bias: [Double], _ g: ConvolutionGeometry) -> NDArray {
    let kernel = Array(weight.shape.dropFirst(2))
    let extents = kernel.indices.map { d in
      (shape[d + 2] - 1) * g.stride[d] + (kernel[d] - 1) * g.dilation[d] + 1 - g.before[d] - g.after[d]
    }
    let perGroup = weight.shape[1]
    var y = NDArray(shape: [shape[0], perGroup * g.groups] + extents)
    for index in NDArray.indices(of: y.shape) where !bias.isEmpty { y[index] = bias[index[1]] }
    for index in NDArray.indices(of: shape) {
      let group = index[1] / (shape[1] / g.groups)
      for o in 0..<perGroup {
        for k in NDArray.indices(of: kernel) {
          let position = kernel.indices.map {
            index[$0 + 2] * g.stride[$0] - g.before[$0] + k[$0] * g.dilation[$0]
          }
          guard let to = y.offset([index[0], group * perGroup + o] + position) else { continue }
          y.values[to] += self[index] * weight[[index[1], o] + k]
        }
      }
    }
    return y
  }

  /// Windows over the spatial dimensions, reduced to one number; places outside give `outside`, or nothing.
  public func pooled(
    kernel: [Int], stride: [Int], padding: [Int], outside: Double?, _ reduce: ([Double]) -> Double
  ) -> NDArray {
    let extents = kernel.indices.map { (shape[$0 + 2] + 2 * padding[$0] - kernel[$0]) / stride[$0] + 1 }
    var y = NDArray(shape: Array(shape.prefix(2)) + extents)
    for index in NDArray.indices(of: y.shape) {
      let window = NDArray.indices(of: kernel).compactMap { k -> Double? in
        let position = kernel.indices.map { index[$0 + 2] * stride[$0] - padding[$0] + k[$0] }
        return offset(Array(index.prefix(2)) + position).map { values[$0] } ?? outside
      }
      y[index] = reduce(window)
    }
    return y
  }
}
