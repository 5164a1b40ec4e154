import NormaNN
import NormaTensor

/// A batch normalization whose statistics and parameters are fixed, in training too: for fine-tuning with small batches.
///
///     y = γ (x − running_mean) / √(running_var + ε) + β
///
/// State `weight`, `bias`, `running_mean`, `running_var` [C], none of it trained; training and evaluation are alike.
///
/// As the frozen layers of detection networks: He et al. 2017, "Mask R-CNN", section 3.1.
public final class FrozenBatchNorm: NormalizationLayer {
  /// The mean that is taken off: [C], initially a copy of the batch normalization's.
  public let runningMean: Buffer
  /// The variance that is normalized by: [C], initially a copy of the batch normalization's.
  public let runningVar: Buffer

  /// The layer that gives what the given one gives in evaluation.
  /// - Throws: ``NormalizationError`` when it has no running statistics.
  public init(_ norm: BatchNorm) throws {
    guard let mean = norm.runningMean, let variance = norm.runningVar else {
      throw NormalizationError(
        "a batch normalization without running statistics cannot be frozen; give it some, and train it or re-estimate them first"
      )
    }
    runningMean = Buffer(try mean.value.snapshot())
    runningVar = Buffer(try variance.value.snapshot())
    try super.init(channels: norm.channels, epsilon: norm.epsilon, scale: true, center: true)
    try takeAffine(of: norm)
    for parameter in [weight, bias] { try parameter?.freeze() }
  }

  override var keptStatistics: RunningStatistics? {
    RunningStatistics(mean: runningMean, variance: runningVar, momentum: nil, unbiased: false)
  }

  override var branches: [Branch] {
    get throws { [.fixed(mean: try runningMean.value.array(), variance: try runningVar.value.array())] }
  }
}
