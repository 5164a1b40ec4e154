// libtorch's own normalizations over the last dimensions.
extension Tensor {
  /// γ ⊙ (x − μ) / √(σ² + ε) + β with mean and biased variance over the last dimensions, which have the given shape.
  public func layerNormalized(
    _ normalizedShape: [Int], weight: Tensor? = nil, bias: Tensor? = nil, epsilon: Double = 1e-5
  ) throws -> Tensor {
    try Op.layerNorm(
      .tensor(self), .ints(normalizedShape), .optional(weight), .optional(bias), .double(epsilon), false)
  }

  /// γ ⊙ x / √(mean(x²) + ε) over the last dimensions.
  /// - Parameter epsilon: nil means the smallest difference from 1 in this tensor's type.
  public func rmsNormalized(
    _ normalizedShape: [Int], weight: Tensor? = nil, epsilon: Double? = nil
  ) throws -> Tensor {
    try Op.rmsNorm(.tensor(self), .ints(normalizedShape), .optional(weight), .optional(epsilon))
  }
}

extension Op {
  static let layerNorm = Operator("aten::layer_norm")
  static let rmsNorm = Operator("aten::rms_norm")
}
