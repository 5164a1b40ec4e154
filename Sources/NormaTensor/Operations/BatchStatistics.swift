// libtorch's batch-normalization kernels, which are its fastest passes over planes of channels. The
// statistics, weights and biases are vectors over the channels of [N, C, spatial…].
extension Tensor {
  /// Mean and biased variance of every channel over N and space, in ``DType/accumulation`` type.
  public func channelMoments() throws -> (mean: Tensor, variance: Tensor) {
    // The running statistics only tell the kernel the type of the results; with momentum 0 they stay.
    let scratch = try Tensor.zeros([shape[1]], dtype: dtype.accumulation, device: device)
    let results = try Op.batchNormUpdateStatistics.all(
      .tensor(self), .tensor(scratch), .tensor(scratch), 0.0)
    guard results.count == 2, let mean = results[0], let variance = results[1] else {
      throw TensorError(operation: "channelMoments", message: "libtorch returned no moments")
    }
    return (mean, variance)
  }

  /// scale · (x − center) + shift for every channel.
  public func channelScaleShift(scale: Tensor, center: Tensor, shift: Tensor) throws -> Tensor {
    let one = try Tensor.ones([shape[1]], dtype: scale.dtype, device: device)
    return try Op.nativeBatchNorm(
      .tensor(self), .tensor(scale), .tensor(shift), .tensor(center), .tensor(one), false, 0.0, 0.0)
  }

  /// Σ g·(x − center) and Σ g for every channel, self being g.
  public func channelProductSums(with x: Tensor, center: Tensor) throws -> (products: Tensor, sums: Tensor) {
    let one = try Tensor.ones([shape[1]], dtype: center.dtype, device: device)
    let results = try Op.nativeBatchNormBackward.all(
      .tensor(self), .tensor(x), .tensor(one), .tensor(center), .tensor(one), .tensor(center), .tensor(one),
      true, 0.0, .bools([false, true, true]))
    guard results.count == 3, let products = results[1], let sums = results[2] else {
      throw TensorError(operation: "channelProductSums", message: "libtorch returned no sums")
    }
    return (products, sums)
  }
}

extension Op {
  static let batchNormUpdateStatistics = Operator("aten::batch_norm_update_stats")
  static let nativeBatchNorm = Operator("aten::native_batch_norm")
  static let nativeBatchNormBackward = Operator("aten::native_batch_norm_backward")
}
