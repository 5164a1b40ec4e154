import NormaNN
import NormaTensor

/// Unit normalization: every vector of channels has length 1.
///
///     y = x / max(√Σ_c x², ε)
///
/// Input [N, C, spatial…]; the sum runs over the given dimension, by default the channels. No parameters; training and
/// evaluation are alike. As Keras's `UnitNormalization`, whose channels lie last.
public final class UnitNorm: Module, Layer {
  /// Which dimension the vectors lie along; a negative one counts from the end.
  public let dimension: Int
  /// The least length that is divided by: shorter vectors stay shorter than 1.
  public let epsilon: Double

  /// - Throws: ``NormalizationError`` for an epsilon that is not a finite number above 0.
  public init(dimension: Int = 1, epsilon: Double = 1e-12) throws {
    try NormalizationError.check(channels: 1, epsilon: epsilon)
    self.dimension = dimension
    self.epsilon = epsilon
  }

  /// Any shape that has the dimension → the same shape.
  /// - Throws: ``NormalizationError`` for an input without that dimension.
  public func forward(_ input: Tensor) throws -> Tensor {
    guard (-input.rank..<input.rank).contains(dimension) else {
      throw NormalizationError("UnitNorm over dimension \(dimension) cannot take an input of shape \(input.shape)")
    }
    let energy = try input.squared().sum([dimension], keepDimensions: true)
    return try input * energy.clamped(from: epsilon * epsilon).reciprocalSquareRoot()
  }
}

extension NormalizationKind {
  static let unit = NormalizationKind(
    name: "unit", title: "Unit normalization", summary: "Every position's vector of channels has length 1.",
    options: [],
    formula: "y = x / max(√Σ_c x², ε)", statistics: [], parameters: "0", parameterCount: { _ in 0 },
    useWhen: "only directions matter, as for embeddings that are compared by angle",
    weakness: "lengths are lost", source: "Keras, UnitNormalization"
  ) { _ in { _ in try UnitNorm() } }
}
