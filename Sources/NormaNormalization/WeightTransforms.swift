import NormaNN
import NormaTensor

/// Weight normalization: the weight's direction and its length per output channel are trained apart.
///
///     w = g v / ‖v‖,   ‖v‖ over all but the output channels
///
/// v is the layer's `weight`; parameter `g` [out], initially ‖v‖, so that the layer computes at first what it did without.
///
/// Salimans & Kingma 2016, eq. 2.
public final class WeightNorm: Module, WeightTransform {
  /// The length of every output channel's weights: [out], initially that of the given ones.
  public let g: Parameter

  /// - Parameter weight: [out, …] of the layer that it is for.
  /// - Throws: ``NormalizationError`` unless the weight has at least two dimensions.
  public init(weight: Tensor) throws {
    guard weight.rank >= 2 else {
      throw NormalizationError("weight normalization is for weights [out, …], got \(weight.shape)")
    }
    g = try Parameter(withoutGradients { try weight.rowNorms().reshaped([weight.shape[0]]).cloned() })
  }

  /// v [out, …] → g v / ‖v‖ of the same shape; gradients reach both g and v.
  public func callAsFunction(_ weight: Tensor) throws -> Tensor {
    try weight * (g.value.reshaped([weight.shape[0]] + weight.shape.dropFirst().map { _ in 1 }) / weight.rowNorms())
  }
}

/// Spectral normalization: divides the weight, as a matrix [out, rest], by its largest singular value.
///
///     w = W / σ,   σ = uᵀ W v
///
/// with W the layer's `weight`, `u` [out] and `v` [rest] from power iterations, one per training pass; they count as constants in the backward
/// pass. Evaluation leaves them alone.
///
/// Miyato et al. 2018, algorithm 1.
public final class SpectralNorm: Module, WeightTransform {
  /// Estimate of the first left singular vector: [out], of length 1.
  public let u: Buffer
  /// Estimate of the first right singular vector, x above: [rest], of length 1.
  public let v: Buffer
  /// Power iterations per training pass; at least 1.
  public let iterations: Int
  /// The least length that `u` and `v` are divided by when they are brought to length 1.
  public let epsilon: Double

  /// - Parameters:
  ///   - weight: [out, …] of the layer that it is for.
  ///   - iterations: power iterations per training pass; 15 more are made now, as in PyTorch.
  public init(weight: Tensor, iterations: Int = 1, epsilon: Double = 1e-12, generator: Generator? = nil) throws {
    guard iterations > 0 else {
      throw NormalizationError("spectral normalization needs at least one power iteration, got \(iterations)")
    }
    let rows = weight.shape[0]
    func start(_ count: Int) throws -> Tensor {
      try Tensor.normal([count], generator: generator).to(dtype: weight.dtype).to(device: weight.device)
    }
    u = Buffer(try start(rows).unit(epsilon))
    v = Buffer(try start(weight.count / rows).unit(epsilon))
    self.iterations = iterations
    self.epsilon = epsilon
    super.init()
    try iterate(weight, 15)
  }

  /// v [out, …] → v / σ of the same shape. In training `u` and `v` first make their power iterations.
  public func callAsFunction(_ weight: Tensor) throws -> Tensor {
    if isTraining { try iterate(weight, iterations) }
    let matrix = try weight.reshaped([weight.shape[0], -1])
    // Copies: later iterations change the buffers, which the record refers to.
    let sigma = try (u.value.snapshot() * matrix.matmul(v.value.snapshot())).sum()
    return try weight / sigma
  }

  private func iterate(_ weight: Tensor, _ count: Int) throws {
    try withoutGradients {
      let matrix = try weight.detached().reshaped([weight.shape[0], -1])
      for _ in 0..<count {
        try u.value.copy(from: matrix.matmul(v.value).unit(epsilon))
        try v.value.copy(from: matrix.transposed(0, 1).matmul(u.value).unit(epsilon))
      }
    }
  }
}

/// Weight standardization: every output channel's weights get mean 0 and variance 1.
///
///     w = (v − μ) / √(σ² + ε),   μ and σ² (biased) over all but the output channels
///
/// No parameters. Meant for convolutions that group normalization follows.
///
/// Qiao et al. 2019, "Weight Standardization", eq. 7; with ε inside the root.
public final class WeightStandardization: Module, WeightTransform {
  /// Added to the variance.
  public let epsilon: Double
  /// - Parameter epsilon: added to the variance of every output channel's weights.
  public init(epsilon: Double = 1e-5) { self.epsilon = epsilon }

  /// v [out, …] → the standardized weight of the same shape.
  public func callAsFunction(_ weight: Tensor) throws -> Tensor {
    let rest = Array(1..<weight.rank)
    let centred = try weight - weight.mean(rest, keepDimensions: true)
    return try centred * (centred.squared().mean(rest, keepDimensions: true) + epsilon).reciprocalSquareRoot()
  }
}

extension Tensor {
  /// The length of every row [out, …] → [out, 1, …].
  fileprivate func rowNorms() throws -> Tensor {
    try squared().sum(Array(1..<rank), keepDimensions: true).squareRoot()
  }

  fileprivate func unit(_ epsilon: Double) throws -> Tensor {
    try self / squared().sum().squareRoot().clamped(from: epsilon)
  }
}
