// Spatial operations on [N, C, spatial…] with one, two or three spatial dimensions.
extension Tensor {
  public func maxPooled(kernel: [Int], stride: [Int]? = nil, padding: [Int]? = nil) throws -> Tensor {
    let op = try byRank("maxPooled", [Op.maxPool1d, Op.maxPool2d, Op.maxPool3d], spatial: kernel.count)
    return try op(
      .tensor(self), .ints(kernel), .ints(stride ?? kernel), .ints(padding ?? kernel.map { _ in 0 }))
  }

  public func averagePooled(kernel: [Int], stride: [Int]? = nil, padding: [Int]? = nil) throws -> Tensor {
    let op = try byRank(
      "averagePooled", [Op.averagePool1d, Op.averagePool2d, Op.averagePool3d], spatial: kernel.count)
    return try op(
      .tensor(self), .ints(kernel), .ints(stride ?? kernel), .ints(padding ?? kernel.map { _ in 0 }))
  }

  /// Averages over windows chosen so that the output has the given extents.
  public func adaptiveAveragePooled(_ output: [Int]) throws -> Tensor {
    let ops = [Op.adaptiveAveragePool1d, Op.adaptiveAveragePool2d, Op.adaptiveAveragePool3d]
    let op = try byRank("adaptiveAveragePooled", ops, spatial: output.count)
    return try op(.tensor(self), .ints(output))
  }

  /// Nearest-neighbour enlargement by a whole factor along every spatial dimension.
  public func upsampledNearest(factor: Int) throws -> Tensor {
    let op = try byRank(
      "upsampledNearest", [Op.upsampleNearest1d, Op.upsampleNearest2d, Op.upsampleNearest3d],
      spatial: rank - 2)
    return try op(.tensor(self), .ints(shape.dropFirst(2).map { $0 * factor }))
  }

  /// Linear interpolation (bilinear in two dimensions) to the given extents, with pixel centres aligned
  /// as in PyTorch's `align_corners=False`.
  public func upsampledLinear(to extents: [Int]) throws -> Tensor {
    let op = try byRank(
      "upsampledLinear", [Op.upsampleLinear1d, Op.upsampleBilinear2d, Op.upsampleTrilinear3d],
      spatial: extents.count)
    return try op(.tensor(self), .ints(extents), false)
  }

  private func byRank(_ name: String, _ operators: [Operator], spatial: Int) throws -> Operator {
    guard (1...3).contains(spatial) else {
      throw TensorError(
        operation: name, message: "one to three spatial dimensions were expected, got \(spatial)")
    }
    guard rank == spatial + 2 else {
      throw TensorError(
        operation: name,
        message: "a tensor [N, C, spatial…] of rank \(spatial + 2) was expected, got one of shape \(shape)")
    }
    return operators[spatial - 1]
  }
}

extension Op {
  static let maxPool1d = Operator("aten::max_pool1d")
  static let maxPool2d = Operator("aten::max_pool2d")
  static let maxPool3d = Operator("aten::max_pool3d")
  static let averagePool1d = Operator("aten::avg_pool1d")
  static let averagePool2d = Operator("aten::avg_pool2d")
  static let averagePool3d = Operator("aten::avg_pool3d")
  static let adaptiveAveragePool1d = Operator("aten::adaptive_avg_pool1d")
  static let adaptiveAveragePool2d = Operator("aten::adaptive_avg_pool2d")
  static let adaptiveAveragePool3d = Operator("aten::adaptive_avg_pool3d")
  static let upsampleNearest1d = Operator("aten::upsample_nearest1d")
  static let upsampleNearest2d = Operator("aten::upsample_nearest2d")
  static let upsampleNearest3d = Operator("aten::upsample_nearest3d")
  static let upsampleLinear1d = Operator("aten::upsample_linear1d")
  static let upsampleBilinear2d = Operator("aten::upsample_bilinear2d")
  static let upsampleTrilinear3d = Operator("aten::upsample_trilinear3d")
}
