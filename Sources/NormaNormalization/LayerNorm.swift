import NormaNN
import NormaTensor

/// Layer normalization of images in its channel-affine form: every sample over all channels and positions.
///
///     y = γ (x − μ_n) / √(σ²_n + ε) + β
///
/// Statistics over (C, spatial…). Parameters `weight` γ [C], `bias` β [C], one per channel. Training and
/// evaluation are alike. This is group normalization with one group. For PyTorch's `LayerNorm`, with parameters per
/// element of the last dimensions, see ``ElementwiseLayerNorm``.
///
/// Ba et al. 2016, section 3; the form for images as in Wu & He 2018, section 3.1.
public final class LayerNorm: NormalizationLayer {
  /// - Parameter affine: false leaves out both γ and β.
  /// - Throws: ``NormalizationError`` for no channels or an epsilon that is not a finite number above 0.
  public init(channels: Int, epsilon: Double = 1e-5, affine: Bool = true) throws {
    try super.init(channels: channels, epsilon: epsilon, scale: affine, center: affine)
  }

  override var branches: [Branch] { get throws { [.pooled(.layer)] } }
}

/// Layer normalization over the last dimensions, with a scale and shift per element: PyTorch's `LayerNorm`.
///
///     y = γ ⊙ (x − μ) / √(σ² + ε) + β
///
/// Input [..., normalizedShape]; statistics over `normalizedShape`, such as [512] for sequences of vectors or
/// [64, 128, 128] for whole images. Parameters `weight` γ and `bias` β of that shape. Training and evaluation are alike.
/// Computed by libtorch's operator.
///
/// Ba et al. 2016, section 3.
public final class ElementwiseLayerNorm: Module, Layer {
  /// Extents of the input's last dimensions, which statistics are taken over.
  public let normalizedShape: [Int]
  /// γ of `normalizedShape`, initially 1; nil for a layer that is not affine.
  public let weight: Parameter?
  /// β of `normalizedShape`, initially 0; nil for a layer that is not affine or was made without.
  public let bias: Parameter?
  /// Added to the variance.
  public let epsilon: Double

  /// - Parameters:
  ///   - affine: false leaves out both γ and β.
  ///   - bias: false leaves out β alone.
  /// - Throws: ``NormalizationError`` for an empty shape, an extent below 1 or an epsilon that is not a finite number above 0.
  public init(
    normalizedShape: [Int], epsilon: Double = 1e-5, affine: Bool = true, bias: Bool = true
  ) throws {
    try checkNormalizedShape(normalizedShape, epsilon)
    self.normalizedShape = normalizedShape
    self.epsilon = epsilon
    weight = affine ? try Parameter(Tensor.ones(normalizedShape)) : nil
    self.bias = affine && bias ? try Parameter(Tensor.zeros(normalizedShape)) : nil
  }

  /// [..., normalizedShape] → the same shape.
  /// - Throws: ``NormalizationError`` for an input whose last dimensions are others.
  public func forward(_ input: Tensor) throws -> Tensor {
    try checkLastDimensions(of: input, normalizedShape, "ElementwiseLayerNorm")
    return try input.layerNormalized(
      normalizedShape, weight: weight?.value.to(dtype: input.dtype), bias: bias?.value.to(dtype: input.dtype),
      epsilon: epsilon)
  }
}

func checkNormalizedShape(_ shape: [Int], _ epsilon: Double) throws {
  guard !shape.isEmpty, shape.allSatisfy({ $0 > 0 }), epsilon > 0, epsilon.isFinite else {
    throw NormalizationError(
      "a normalized shape of one or more extents above 0 and a finite epsilon > 0 were expected, got \(shape) and \(epsilon)"
    )
  }
}

func checkLastDimensions(of input: Tensor, _ normalizedShape: [Int], _ name: String) throws {
  guard input.rank >= normalizedShape.count, Array(input.shape.suffix(normalizedShape.count)) == normalizedShape else {
    throw NormalizationError(
      "\(name) expected [..., \(normalizedShape.map(String.init).joined(separator: ", "))], got \(input.shape)")
  }
}

extension NormalizationKind {
  static let layer = NormalizationKind(
    name: "layer", title: "Layer normalization", summary: "Every sample over all its channels and positions.",
    options: [.epsilon],
    formula: "y = γ (x − μ_n) / √(σ²_n + ε) + β", statistics: [.init(.layer)], parameters: "2C",
    parameterCount: { 2 * $0 },
    useWhen:
      "fully connected layers [N, C], whatever the batch size; for steps of sequences take ElementwiseLayerNorm, which does not pool over time",
    weakness: "for images it ties together channels of very different statistics",
    source: "Ba et al. 2016"
  ) { words in
    let epsilon = try words.epsilon() ?? 1e-5
    return { try LayerNorm(channels: $0, epsilon: epsilon) }
  }
}
