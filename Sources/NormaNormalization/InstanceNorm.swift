import NormaNN
import NormaTensor

/// Instance normalization: every channel of every sample over its positions.
///
///     y = γ (x − μ_nc) / √(σ²_nc + ε) + β
///
/// Statistics over (spatial…). Parameters `weight` γ [C], `bias` β [C] when affine. Training and evaluation are alike
/// unless running statistics are tracked: then evaluation uses `running_mean` and `running_var` [C], averages over samples
/// and batches (unbiased variance), as in PyTorch.
///
/// Ulyanov et al. 2016, eq. 4. `affine` and `tracksRunningStatistics` default to false as in PyTorch.
public final class InstanceNorm: NormalizationLayer {
  /// [C], initially 0; nil without running statistics.
  public let runningMean: Buffer?
  /// [C], initially 1, of unbiased variances; nil without running statistics.
  public let runningVar: Buffer?
  /// Training batches that the running statistics have seen: an int64 scalar.
  public let numBatchesTracked: Buffer?
  /// The share of the new batch in the running statistics; nil averages all batches alike.
  public let momentum: Double?

  /// - Parameters:
  ///   - affine: whether there are γ and β.
  ///   - tracksRunningStatistics: whether evaluation uses running averages in the place of the input's own statistics.
  ///   - momentum: the share of the new batch in them; nil averages all batches alike. Without them it has no effect.
  /// - Throws: ``NormalizationError`` for no channels, an epsilon that is not finite and above 0, or a momentum outside of 0…1.
  public init(
    channels: Int, epsilon: Double = 1e-5, affine: Bool = false, tracksRunningStatistics: Bool = false,
    momentum: Double? = 0.1
  ) throws {
    try NormalizationError.check(channels: channels, epsilon: epsilon, momentum: momentum)
    runningMean = tracksRunningStatistics ? Buffer(try Tensor.zeros([channels])) : nil
    runningVar = tracksRunningStatistics ? Buffer(try Tensor.ones([channels])) : nil
    numBatchesTracked = tracksRunningStatistics ? Buffer(try Tensor.zeros([], dtype: .int64)) : nil
    self.momentum = momentum
    try super.init(channels: channels, epsilon: epsilon, scale: affine, center: affine)
  }

  override var branches: [Branch] { get throws { [.pooled(.instance)] } }

  override var runningStatistics: RunningStatistics? {
    guard let runningMean, let runningVar else { return nil }
    return RunningStatistics(
      partition: .instance, mean: runningMean, variance: runningVar, count: numBatchesTracked, momentum: momentum,
      unbiased: true)
  }

  /// A state without the count of batches loads too.
  override public var optionalKeys: Set<String> { ["num_batches_tracked"] }
}

/// Conditional instance normalization: γ and β are rows of tables, chosen by every sample's style.
///
///     y = γ_s (x − μ_nc) / √(σ²_nc + ε) + β_s
///
/// Statistics over (spatial…). Parameters `scales` γ [S, C], initially 1, `shifts` β [S, C], initially 0. Training and
/// evaluation are alike.
///
/// Dumoulin et al. 2017, "A Learned Representation for Artistic Style", eq. 5.
public final class ConditionalInstanceNorm: Module {
  /// γ [S, C], one row per style, initially 1.
  public let scales: Parameter
  /// β [S, C], one row per style, initially 0.
  public let shifts: Parameter
  /// Added to the variance.
  public let epsilon: Double

  /// - Parameter styles: S, the rows of the tables; at least one.
  /// - Throws: ``NormalizationError`` for no styles, no channels or an epsilon that is not a finite number above 0.
  public init(styles: Int, channels: Int, epsilon: Double = 1e-5) throws {
    try NormalizationError.check(channels: channels, epsilon: epsilon)
    guard styles > 0 else {
      throw NormalizationError("conditional instance normalization needs at least one style, got \(styles)")
    }
    scales = try Parameter(Tensor.ones([styles, channels]))
    shifts = try Parameter(Tensor.zeros([styles, channels]))
    self.epsilon = epsilon
  }

  /// - Parameters:
  ///   - input: [N, C, spatial…].
  ///   - styles: which style each sample gets: N indices below S.
  public func callAsFunction(_ input: Tensor, styles: [Int]) throws -> Tensor {
    let shape = scales.value.shape
    guard input.rank >= 3, input.shape[1] == shape[1], styles.count == input.shape[0],
      styles.allSatisfy({ (0..<shape[0]).contains($0) })
    else {
      throw NormalizationError(
        "an input [N, \(shape[1]), spatial…] and N styles from 0 to \(shape[0] - 1) were expected, got \(input.shape) and "
          + "\(styles)")
    }
    let rows = try Tensor(styles.map(Int64.init), device: input.device)
    return try input.normalizedPlanes(
      weight: scales.value.gatheredRows(rows), bias: shifts.value.gatheredRows(rows), epsilon: epsilon)
  }

  /// Every sample in a blend of the styles.
  /// - Parameter blend: [N, S], how much of each style.
  public func callAsFunction(_ input: Tensor, blend: Tensor) throws -> Tensor {
    let shape = scales.value.shape
    guard input.rank >= 3, input.shape[1] == shape[1], blend.shape == [input.shape[0], shape[0]] else {
      throw NormalizationError(
        "an input [N, \(shape[1]), spatial…] and a blend [N, \(shape[0])] were expected, got \(input.shape) and "
          + "\(blend.shape)")
    }
    return try input.normalizedPlanes(
      weight: blend.matmul(scales.value), bias: blend.matmul(shifts.value), epsilon: epsilon)
  }
}

extension Tensor {
  /// Adaptive instance normalization: this tensor with the mean and deviation of every plane of another.
  ///
  ///     y = σ(style)_nc (x − μ_nc) / √(σ²_nc + ε) + μ(style)_nc,   σ = √(variance + ε)
  ///
  /// Both [N, C, spatial…] with equal N and C; their extents in space may differ. Gradients reach both.
  ///
  /// Huang & Belongie 2017, "Arbitrary Style Transfer in Real-time with Adaptive Instance Normalization", eq. 8.
  public func adaptiveInstanceNormalized(to style: Tensor, epsilon: Double = 1e-5) throws -> Tensor {
    guard rank >= 3, style.rank >= 3, shape.prefix(2) == style.shape.prefix(2) else {
      throw NormalizationError(
        "content and style of shapes [N, C, spatial…] with equal N and C were expected, got \(shape) and \(style.shape)"
      )
    }
    let moments = try style.pooledMoments([.instance])[0]
    return try normalizedPlanes(
      weight: (moments.variance + epsilon).squareRoot(), bias: moments.mean, epsilon: epsilon)
  }

  /// Instance normalization with γ and β [N, C].
  fileprivate func normalizedPlanes(weight: Tensor, bias: Tensor, epsilon: Double) throws -> Tensor {
    guard shape.dropFirst(2).reduce(1, *) > 1 else {
      throw NormalizationError(
        "instance normalization of \(shape) would take every statistic over one value, and leave nothing of the input")
    }
    return try MomentNormalization(branches: [.pooled(.instance)], weight: weight, bias: bias, epsilon: epsilon)(self)
      .output
  }
}

extension NormalizationKind {
  static let instance = NormalizationKind(
    name: "instance", title: "Instance normalization",
    summary: "Every channel of every sample over its positions.",
    options: [
      .init(form: "plain", help: "without scale and shift"),
      .init(form: "tracked", help: "running statistics in evaluation"),
      .init(form: "momentum=SHARE", help: "share of the new batch in them (default: 0.1)"),
      .epsilon,
    ],
    formula: "y = γ (x − μ_nc) / √(σ²_nc + ε) + β", statistics: [.init(.instance)], parameters: "2C",
    parameterCount: { 2 * $0 },
    useWhen: "contrast and style of single images should not matter, as in style transfer",
    weakness: "takes the means of channels away, which often tell what is seen; needs planes of more than one value",
    source: "Ulyanov et al. 2016"
  ) { words in
    let (affine, tracks) = (!words.flag("plain"), words.flag("tracked"))
    let (momentum, epsilon) = (try words.momentum(), try words.epsilon() ?? 1e-5)
    if momentum != nil, !tracks { throw words.error("momentum is for running statistics; add tracked") }
    return {
      try InstanceNorm(
        channels: $0, epsilon: epsilon, affine: affine, tracksRunningStatistics: tracks, momentum: momentum ?? 0.1)
    }
  }
}
