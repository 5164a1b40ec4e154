import NormaNN
import NormaTensor

/// Root-mean-square normalization of images: divides by the root of the mean square, without taking a mean off.
///
///     y = γ x / √(mean(x²) + ε)
///
/// Mean squares over (C / G channels, spatial…) of one sample, G = 1 by default. Parameter `weight` γ [C]; `bias` β [C] when
/// asked for. Training and evaluation are alike. For vectors in the last dimensions see ``ElementwiseRMSNorm``.
///
/// Zhang & Sennrich 2019, eq. 4.
public final class RMSNorm: NormalizationLayer {
  /// G, a divisor of the channels; 1 takes the mean square over all of them.
  public let groups: Int

  /// - Throws: ``NormalizationError`` when the groups do not divide the channels.
  public init(channels: Int, groups: Int = 1, epsilon: Double = 1e-5, affine: Bool = true, bias: Bool = false) throws {
    try Partition.checkGroups(groups, channels: channels)
    self.groups = groups
    try super.init(channels: channels, epsilon: epsilon, scale: affine, center: affine && bias)
  }

  override var branches: [Branch] { get throws { [.uncentred(groups == 1 ? .layer : .group(groups))] } }
}

/// Root-mean-square normalization over the last dimensions, with a scale per element: PyTorch's `RMSNorm`.
///
///     y = γ ⊙ x / √(mean(x²) + ε)
///
/// Input [..., normalizedShape]. Parameter `weight` γ of that shape. Training and evaluation are alike. Computed by libtorch's
/// operator.
///
/// Zhang & Sennrich 2019, eq. 4.
public final class ElementwiseRMSNorm: Module, Layer {
  /// Extents of the input's last dimensions, which mean squares are taken over.
  public let normalizedShape: [Int]
  /// γ of `normalizedShape`, initially 1; nil for a layer that is not affine.
  public let weight: Parameter?
  /// nil means the smallest difference from 1 in the input's type, as in PyTorch.
  public let epsilon: Double?

  /// - Parameters:
  ///   - epsilon: added to the mean square; for nil see ``epsilon``.
  ///   - affine: false leaves out γ.
  /// - Throws: ``NormalizationError`` for an empty shape, an extent below 1 or an epsilon that is not a finite number above 0.
  public init(normalizedShape: [Int], epsilon: Double? = nil, affine: Bool = true) throws {
    try checkNormalizedShape(normalizedShape, epsilon ?? 1)
    self.normalizedShape = normalizedShape
    self.epsilon = epsilon
    weight = affine ? try Parameter(Tensor.ones(normalizedShape)) : nil
  }

  /// [..., normalizedShape] → the same shape.
  /// - Throws: ``NormalizationError`` for an input whose last dimensions are others.
  public func forward(_ input: Tensor) throws -> Tensor {
    try checkLastDimensions(of: input, normalizedShape, "ElementwiseRMSNorm")
    return try input.rmsNormalized(
      normalizedShape, weight: weight?.value.to(dtype: input.dtype), epsilon: epsilon)
  }
}

extension NormalizationKind {
  static let rms = NormalizationKind(
    name: "rms", title: "Root-mean-square normalization",
    summary: "Divides every sample by the root of its mean square; no mean is taken off.",
    options: [
      .init(form: "G", help: "mean squares over so many groups of channels (default: 1)"),
      .init(form: "bias", help: "with a shift β"),
      .init(form: "epsilon=E", help: "added to the mean square (default: 1e-5)"),
    ],
    formula: "y = γ x / √(mean(x²) + ε)", statistics: [.init(.layer, "mean square")], parameters: "C",
    parameterCount: { $0 },
    useWhen: "as layer normalization, where its centring is not needed",
    weakness: "a common offset of all values stays and shrinks the rest",
    source: "Zhang & Sennrich 2019"
  ) { words in
    let epsilon = try words.epsilon() ?? 1e-5
    let bias = words.flag("bias")
    let groups = try words.groups() ?? 1
    return { try RMSNorm(channels: $0, groups: groups, epsilon: epsilon, bias: bias) }
  }
}
