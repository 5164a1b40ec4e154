import NormaNN
import NormaTensor

/// Layer normalization of images in its channel-affine form: every sample over all channels and positions.
///
///     y = γ (x − μ_n) / √(σ²_n + ε) + β
///
/// Statistics over (C, spatial…). Parameters `weight` γ [C], `bias` β [C], one per channel. Training and
/// evaluation are alike. This is group normalization with one group.
///
/// Ba et al. 2016, section 3; the form for images as in Wu & He 2018, section 3.1.
public final class LayerNorm: NormalizationLayer {
  public override init(channels: Int, epsilon: Double = 1e-5, affine: Bool = true) throws {
    try super.init(channels: channels, epsilon: epsilon, affine: affine)
  }

  override var partitions: [Partition] { [.layer] }
}
