/// How a loss is reduced over the elements. Raw values are libtorch's.
public enum Reduction: Int, Sendable {
  case none = 0
  case mean = 1
  case sum = 2
}

extension Tensor {
  /// Binary cross-entropy of sigmoid(self) with targets in 0…1, computed from logits without overflow.
  /// - Parameter weight: per element, broadcastable.
  public func binaryCrossEntropy(
    target: Tensor, weight: Tensor? = nil, positiveWeight: Tensor? = nil, reduction: Reduction = .mean
  ) throws -> Tensor {
    try Op.bceWithLogits(
      .tensor(self), .tensor(target), .optional(weight), .optional(positiveWeight), .int(reduction.rawValue))
  }

  /// Cross-entropy of logits [N, K, …] with class indices [N, …] (int64).
  /// - Parameters:
  ///   - classWeights: [K].
  ///   - ignore: targets of this value do not count.
  public func crossEntropy(
    target: Tensor, classWeights: Tensor? = nil, ignore: Int = -100, reduction: Reduction = .mean
  ) throws -> Tensor {
    try Op.crossEntropy(
      .tensor(self), .tensor(target), .optional(classWeights), .int(reduction.rawValue), .int(ignore))
  }

  public func meanSquaredError(target: Tensor, reduction: Reduction = .mean) throws -> Tensor {
    try Op.mse(.tensor(self), .tensor(target), .int(reduction.rawValue))
  }

  public func meanAbsoluteError(target: Tensor, reduction: Reduction = .mean) throws -> Tensor {
    try Op.l1(.tensor(self), .tensor(target), .int(reduction.rawValue))
  }
}

extension Op {
  static let bceWithLogits = Operator("aten::binary_cross_entropy_with_logits")
  static let crossEntropy = Operator("aten::cross_entropy_loss")
  static let mse = Operator("aten::mse_loss")
  static let l1 = Operator("aten::l1_loss")
}
