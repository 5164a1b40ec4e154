extension Tensor {
  public func relu() throws -> Tensor { try Op.relu(.tensor(self)) }
  /// ReLU written over this tensor, which must not be a leaf that requires a gradient.
  public func reluInPlace() throws -> Tensor { try Op.reluInPlace(.tensor(self)) }
  public func leakyReLU(slope: Double = 0.01) throws -> Tensor {
    try Op.leakyReLU(.tensor(self), .double(slope))
  }
  public func sigmoid() throws -> Tensor { try Op.sigmoid(.tensor(self)) }
  public func tanh() throws -> Tensor { try Op.tanh(.tensor(self)) }
  /// x · sigmoid(x).
  public func silu() throws -> Tensor { try Op.silu(.tensor(self)) }
  /// x · Φ(x), exact.
  public func gelu() throws -> Tensor { try Op.gelu(.tensor(self)) }
  public func softplus() throws -> Tensor { try Op.softplus(.tensor(self)) }
  public func softmax(_ dimension: Int) throws -> Tensor { try Op.softmax(.tensor(self), .int(dimension)) }
  public func logSoftmax(_ dimension: Int) throws -> Tensor {
    try Op.logSoftmax(.tensor(self), .int(dimension))
  }
}

extension Op {
  static let relu = Operator("aten::relu")
  static let reluInPlace = Operator("aten::relu_")
  static let leakyReLU = Operator("aten::leaky_relu")
  static let sigmoid = Operator("aten::sigmoid")
  static let tanh = Operator("aten::tanh")
  static let silu = Operator("aten::silu")
  static let gelu = Operator("aten::gelu")
  static let softplus = Operator("aten::softplus")
  static let softmax = Operator("aten::softmax", "int")
  static let logSoftmax = Operator("aten::log_softmax", "int")
}
