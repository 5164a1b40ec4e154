import NormaNN
import NormaTensor

/// Batch normalization: every channel over all samples and positions.
///
///     y = γ (x − μ_c) / √(σ²_c + ε) + β
///
/// Statistics over (N, spatial…). Parameters `weight` γ [C], `bias` β [C]; state `running_mean`,
/// `running_var` [C], averaged with the share `momentum` of every new batch, the variance unbiased.
/// Training uses the batch's own statistics (biased variance), evaluation the running ones.
///
/// Ioffe & Szegedy 2015. Defaults as in PyTorch.
public final class BatchNorm: NormalizationLayer {
  public let runningMean: Buffer
  public let runningVar: Buffer
  /// The share of the new batch in the running statistics.
  public let momentum: Double

  public init(channels: Int, epsilon: Double = 1e-5, momentum: Double = 0.1, affine: Bool = true) throws {
    runningMean = Buffer(try Tensor.zeros([channels]))
    runningVar = Buffer(try Tensor.ones([channels]))
    self.momentum = momentum
    try super.init(channels: channels, epsilon: epsilon, affine: affine)
  }

  override var partitions: [Partition] { [.batch] }

  override var runningStatistics: RunningStatistics? {
    RunningStatistics(mean: runningMean, variance: runningVar, momentum: momentum, unbiased: true)
  }
}
