import NormaTensor

/// How the weights of a layer are drawn. Fans count the inputs (outputs) of one unit:
/// channels per group times the kernel's extent.
public enum Initializer: Sendable {
  /// Normal, variance 2 / fan-in, for layers followed by ReLU (He et al. 2015, section 2.2).
  case heNormal
  /// Uniform with the same variance.
  case heUniform
  /// Uniform, variance 2 / (fan-in + fan-out) (Glorot & Bengio 2010, eq. 16).
  case glorotUniform
  case normal(standardDeviation: Double)
  /// Uniform over −bound ..< bound.
  case uniform(bound: Double)
  case constant(Double)

  /// A tensor of the given shape, float32 on the CPU. Weights are [out, in / groups, kernel…].
  public func tensor(_ shape: [Int], generator: Generator? = nil) throws -> Tensor {
    let receptive = shape.dropFirst(2).reduce(1, *)
    return try tensor(
      shape, fanIn: Double((shape.count > 1 ? shape[1] : shape.first ?? 1) * receptive),
      fanOut: Double((shape.first ?? 1) * receptive), generator: generator)
  }

  /// The same for weights of another order, whose fans the shape does not tell.
  func tensor(_ shape: [Int], fanIn: Double, fanOut: Double, generator: Generator?) throws -> Tensor {
    func uniform(_ bound: Double) throws -> Tensor {
      try Tensor.uniform(shape, from: -bound, to: bound, generator: generator)
    }
    func normal(_ deviation: Double) throws -> Tensor {
      let tensor = try Tensor.normal(shape, generator: generator)
      try tensor.scale(by: deviation)
      return tensor
    }
    switch self {
    case .heNormal: return try normal((2 / fanIn).squareRoot())
    case .heUniform: return try uniform((6 / fanIn).squareRoot())
    case .glorotUniform: return try uniform((6 / (fanIn + fanOut)).squareRoot())
    case .normal(let deviation): return try normal(deviation)
    case .uniform(let bound): return try uniform(bound)
    case .constant(let value): return try Tensor.full(shape, value)
    }
  }
}
