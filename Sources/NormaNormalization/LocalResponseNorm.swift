import NormaNN
import NormaTensor

/// Local response normalization: divides by a power of the energy of neighbouring channels at the same position.
///
///     y = x / (k + α/n Σ_{|i − c| ≤ n/2} x_i²)^β
///
/// Input [N, C, spatial…] with at least one spatial dimension. No parameters; training and evaluation are alike. The sum runs
/// over n channels around c, zeros outside, and is divided by n as in PyTorch; the paper's α is that of PyTorch over n.
///
/// Krizhevsky et al. 2012, section 3.3. Defaults of α, β and k as in PyTorch; the paper has n = 5, α = 5e-4 (1e-4 · n), k = 2.
public final class LocalResponseNorm: Module, Layer {
  /// n, the neighbouring channels that are summed; for an even n one more lies before c than after it.
  public let size: Int
  /// α, the factor of the mean square of the n channels.
  public let alpha: Double
  /// β, the exponent of the divisor; 0 leaves the input as it is.
  public let beta: Double
  /// Added to α times the mean square, so that neighbours that are all 0 do not divide by 0; at least 0.
  public let k: Double

  /// - Throws: ``NormalizationError`` for a size outside of 1…4096, and for an α, β or k below 0 or not finite.
  public init(size: Int = 5, alpha: Double = 1e-4, beta: Double = 0.75, k: Double = 1) throws {
    guard (1...4096).contains(size), [alpha, beta, k].allSatisfy({ $0 >= 0 && $0.isFinite }) else {
      throw NormalizationError(
        "local response normalization needs a size in 1…4096 and α, β and k of at least 0, got \(size), \(alpha), \(beta) and "
          + "\(k)")
    }
    self.size = size
    self.alpha = alpha
    self.beta = beta
    self.k = k
  }

  /// [N, C, spatial…] → the same shape.
  /// - Throws: ``NormalizationError`` for an input without spatial dimensions or without values.
  public func forward(_ input: Tensor) throws -> Tensor {
    let shape = input.shape
    guard shape.count >= 3, input.count > 0 else {
      throw NormalizationError("LocalResponseNorm expected [N, C, spatial…], got \(shape)")
    }
    // Channels as one more extent, over which an average pooling runs.
    let squares = try input.squared().reshaped([shape[0], 1, shape[1], -1])
    let padded = try squares.padded([0, 0, size / 2, (size - 1) / 2])
    let energy = try padded.averagePooled(kernel: [size, 1], stride: [1, 1]).reshaped(shape)
    return try input / (energy * alpha + k).power(beta)
  }
}

extension NormalizationKind {
  static let localResponse = NormalizationKind(
    name: "lrn", title: "Local response normalization",
    summary: "Divides by a power of the energy of neighbouring channels at the same position.",
    options: [
      .init(form: "size=N", help: "neighbouring channels (default: 5)"),
      .init(form: "alexnet", help: "the paper's n = 5, k = 2, α = 1e-4 per channel"),
    ],
    formula: "y = x / (k + α/n Σ x²)^β, the sum over n neighbouring channels", statistics: [], parameters: "0",
    parameterCount: { _ in 0 },
    useWhen: "AlexNet and its contemporaries are to be reproduced",
    weakness: "does not make training easier as the later norms do", source: "Krizhevsky et al. 2012"
  ) { words in
    let paper = words.flag("alexnet")
    let size: Int = try words.value("size", "a whole number in 1…4096") { (1...4096).contains($0) } ?? 5
    return { _ in
      paper ? try LocalResponseNorm(size: size, alpha: 1e-4 * Double(size), k: 2) : try LocalResponseNorm(size: size)
    }
  }
}
