import NormaNN
import NormaTensor

/// Switchable normalization: learns how to mix instance, layer and batch statistics.
///
///     y = γ (x − Σ w_k μ_k) / √(Σ λ_k σ²_k + ε) + β,   w = softmax(mean_weight), λ = softmax(var_weight)
///
/// with k over (instance, layer, batch), in this order. Statistics over (spatial…), (C, spatial…) and
/// (N, spatial…). Parameters `weight` γ [C], `bias` β [C], `mean_weight` [3], `var_weight` [3]: 2C + 6; state
/// `running_mean`, `running_var` [C] (biased) for the batch branch, which evaluation uses.
///
/// Luo et al. 2019, "Differentiable Learning-to-Normalize via Switchable Normalization", eq. 3–5.
public final class SwitchableNorm: NormalizationLayer {
  /// Logits of the means' mixing weights [3].
  public let meanWeight: Parameter
  /// Logits of the variances' mixing weights [3].
  public let varWeight: Parameter
  public let runningMean: Buffer
  public let runningVar: Buffer
  /// The share of the new batch in the running statistics.
  public let momentum: Double

  public init(channels: Int, epsilon: Double = 1e-5, momentum: Double = 0.1, affine: Bool = true) throws {
    meanWeight = try Parameter(Tensor.ones([3]))
    varWeight = try Parameter(Tensor.ones([3]))
    runningMean = Buffer(try Tensor.zeros([channels]))
    runningVar = Buffer(try Tensor.ones([channels]))
    self.momentum = momentum
    try super.init(channels: channels, epsilon: epsilon, affine: affine)
  }

  override var partitions: [Partition] { [.instance, .layer, .batch] }

  override var mixLogits: (mean: Parameter, variance: Parameter)? { (meanWeight, varWeight) }

  override var runningStatistics: RunningStatistics? {
    RunningStatistics(mean: runningMean, variance: runningVar, momentum: momentum, unbiased: false)
  }

  /// The learned shares of (instance, layer, batch) in the mean and in the variance; each sums to 1.
  public func shares() throws -> (mean: [Double], variance: [Double]) {
    try withoutGradients {
      (try meanWeight.value.softmax(0).array(), try varWeight.value.softmax(0).array())
    }
  }
}
