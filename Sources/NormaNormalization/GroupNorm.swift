import NormaNN
import NormaTensor

/// Group normalization: every group of neighbouring channels of every sample over its positions.
///
///     y = γ (x − μ_ng) / √(σ²_ng + ε) + β
///
/// Statistics over (C / G channels, spatial…). Parameters `weight` γ [C], `bias` β [C]. Training and
/// evaluation are alike. One group is layer normalization, C groups are instance normalization.
///
/// Wu & He 2018, eq. 7.
public final class GroupNorm: NormalizationLayer {
  public let groups: Int

  /// - Throws: ``NormalizationError`` when the groups do not divide the channels.
  public init(groups: Int, channels: Int, epsilon: Double = 1e-5, affine: Bool = true) throws {
    try Self.check(groups: groups, channels: channels)
    self.groups = groups
    try super.init(channels: channels, epsilon: epsilon, affine: affine)
  }

  static func check(groups: Int, channels: Int) throws {
    guard groups > 0, channels % groups == 0 else {
      throw NormalizationError(
        "group normalization needs a number of groups that divides the channels, got \(groups) groups for \(channels) "
          + "channels; choose a divisor of \(channels), or plain 'group' for at most 32 groups")
    }
  }

  override var partitions: [Partition] { [.group(groups)] }
}
