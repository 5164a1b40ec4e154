extension Tensor {
  /// Matrix product; leading dimensions are a batch and broadcast.
  public func matmul(_ other: Tensor) throws -> Tensor { try Op.matmul(.tensor(self), .tensor(other)) }

  /// x · weightᵀ + bias for weight [out, in].
  public func linear(weight: Tensor, bias: Tensor? = nil) throws -> Tensor {
    try Op.linear(.tensor(self), .tensor(weight), .optional(bias))
  }

  /// Convolution over the spatial dimensions of [N, C, spatial…] (their number follows from the weight).
  /// - Parameters:
  ///   - weight: [out, C / groups, kernel…], or [C, out / groups, kernel…] when transposed.
  ///   - stride, padding, dilation, outputPadding: one number per spatial dimension.
  public func convolution(
    weight: Tensor, bias: Tensor? = nil, stride: [Int], padding: [Int], dilation: [Int],
    transposed: Bool = false, outputPadding: [Int]? = nil, groups: Int = 1
  ) throws -> Tensor {
    try Op.convolution(
      .tensor(self), .tensor(weight), .optional(bias), .ints(stride), .ints(padding), .ints(dilation),
      .bool(transposed), .ints(outputPadding ?? stride.map { _ in 0 }), .int(groups))
  }

  /// The gradients of a convolution's input, weight and bias from this one of its output; nil where not wanted.
  public func convolutionGradients(
    input: Tensor, weight: Tensor, stride: [Int], padding: [Int], dilation: [Int], groups: Int, wanted: [Bool]
  ) throws -> [Tensor?] {
    let mask = (0..<3).map { $0 < wanted.count && wanted[$0] }
    let results = try Op.convolutionBackward.all(
      .tensor(self), .tensor(input), .tensor(weight), .ints([weight.shape[0]]), .ints(stride), .ints(padding),
      .ints(dilation), false, .ints(stride.map { _ in 0 }), .int(groups), .bools(mask))
    return zip(results, mask).map { $1 ? $0 : nil }
  }

  /// This weight of a 2-d convolution in the layout that oneDNN computes with, for ``convolutionPacked``.
  public func packedForConvolution(padding: [Int], stride: [Int], dilation: [Int], groups: Int) throws -> Tensor {
    try Op.packConvolutionWeight(
      .tensor(self), .ints(padding), .ints(stride), .ints(dilation), .int(groups), .none)
  }

  /// A 2-d convolution with a packed weight, followed by a ReLU in the same pass if asked. It records no gradients.
  public func convolutionPacked(
    weight: Tensor, bias: Tensor?, padding: [Int], stride: [Int], dilation: [Int], groups: Int, relu: Bool
  ) throws -> Tensor {
    try withoutGradients {
      try Op.convolutionPacked(
        .tensor(self), .tensor(weight), .optional(bias), .ints(padding), .ints(stride), .ints(dilation), .int(groups),
        .string(relu ? "relu" : "none"), .doubles([]), .string(""))
    }
  }

  /// All windows of [N, C, H, W] as columns: [N, C · kernel, positions].
  public func windows(kernel: [Int], padding: [Int]) throws -> Tensor {
    try Op.windows(.tensor(self), .ints(kernel), .ints([1, 1]), .ints(padding), .ints([1, 1]))
  }

  /// Row `indices[…]` of the table `self` [entries, features] for every index.
  /// - Parameter padding: a row that takes no gradient; nil for none.
  public func embedded(_ indices: Tensor, padding: Int? = nil) throws -> Tensor {
    try Op.embedding(.tensor(self), .tensor(indices), .int(padding ?? -1))
  }
}

extension Op {
  static let matmul = Operator("aten::matmul")
  static let linear = Operator("aten::linear")
  static let convolution = Operator("aten::convolution")
  static let convolutionBackward = Operator("aten::convolution_backward")
  static let packConvolutionWeight = Operator("mkldnn::_reorder_convolution_weight")
  static let convolutionPacked = Operator("mkldnn::_convolution_pointwise")
  static let windows = Operator("aten::im2col")
  static let embedding = Operator("aten::embedding")
}
