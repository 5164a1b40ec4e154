import NormaNN
import NormaTensor

/// Instance normalization: every channel of every sample over its positions.
///
///     y = γ (x − μ_nc) / √(σ²_nc + ε) + β
///
/// Statistics over (spatial…). Parameters `weight` γ [C], `bias` β [C]. Training and evaluation are alike.
///
/// Ulyanov et al. 2016, eq. 4. `affine` defaults to false as in PyTorch.
public final class InstanceNorm: NormalizationLayer {
  public override init(channels: Int, epsilon: Double = 1e-5, affine: Bool = false) throws {
    try super.init(channels: channels, epsilon: epsilon, affine: affine)
  }

  override var partitions: [Partition] { [.instance] }
}
