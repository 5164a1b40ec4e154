extension Tensor {
  /// Sum over the given dimensions, or over all.
  public func sum(_ dimensions: [Int]? = nil, keepDimensions: Bool = false) throws -> Tensor {
    try Op.sum(.tensor(self), dimensions.map(OperatorArgument.ints) ?? .none, .bool(keepDimensions))
  }

  /// Mean over the given dimensions, or over all.
  public func mean(_ dimensions: [Int]? = nil, keepDimensions: Bool = false) throws -> Tensor {
    try Op.mean(.tensor(self), dimensions.map(OperatorArgument.ints) ?? .none, .bool(keepDimensions))
  }

  /// Variance over the given dimensions, or over all: the squared deviations divided by
  /// count − correction.
  public func variance(
    _ dimensions: [Int]? = nil, correction: Double = 0, keepDimensions: Bool = false
  ) throws -> Tensor {
    try Op.variance(
      .tensor(self), dimensions.map(OperatorArgument.ints) ?? .none, .double(correction), .bool(keepDimensions))
  }

  /// Largest element along the given dimensions, or of all.
  public func maximum(_ dimensions: [Int] = [], keepDimensions: Bool = false) throws -> Tensor {
    try Op.amax(.tensor(self), .ints(dimensions), .bool(keepDimensions))
  }

  /// Smallest element along the given dimensions, or of all.
  public func minimum(_ dimensions: [Int] = [], keepDimensions: Bool = false) throws -> Tensor {
    try Op.amin(.tensor(self), .ints(dimensions), .bool(keepDimensions))
  }

  /// Index of the largest element along a dimension.
  public func argmax(_ dimension: Int, keepDimension: Bool = false) throws -> Tensor {
    try Op.argmax(.tensor(self), .int(dimension), .bool(keepDimension))
  }

  /// log Σ exp over the given dimensions, computed without overflow.
  public func logSumExp(_ dimensions: [Int], keepDimensions: Bool = false) throws -> Tensor {
    try Op.logSumExp(.tensor(self), .ints(dimensions), .bool(keepDimensions))
  }
}

extension Op {
  static let sum = Operator("aten::sum", "dim_IntList")
  static let mean = Operator("aten::mean", "dim")
  static let variance = Operator("aten::var", "correction")
  static let amax = Operator("aten::amax")
  static let amin = Operator("aten::amin")
  static let argmax = Operator("aten::argmax")
  static let logSumExp = Operator("aten::logsumexp")
}
