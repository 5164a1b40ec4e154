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
  /// G, a divisor of the channels; each group has C / G neighbouring ones.
  public let groups: Int

  /// - Throws: ``NormalizationError`` when the groups do not divide the channels.
  public init(groups: Int, channels: Int, epsilon: Double = 1e-5, affine: Bool = true) throws {
    try Partition.checkGroups(groups, channels: channels)
    self.groups = groups
    try super.init(channels: channels, epsilon: epsilon, scale: affine, center: affine)
  }

  /// Groups of the given number of channels each.
  /// - Throws: ``NormalizationError`` when the size does not divide the channels.
  public convenience init(groupSize: Int, channels: Int, epsilon: Double = 1e-5, affine: Bool = true) throws {
    guard groupSize > 0, channels % groupSize == 0 else {
      throw NormalizationError(
        "group normalization needs a group size that divides the channels, got groups of \(groupSize) for \(channels) "
          + "channels; choose a divisor of \(channels)")
    }
    try self.init(groups: channels / groupSize, channels: channels, epsilon: epsilon, affine: affine)
  }

  override var branches: [Branch] { get throws { [.pooled(.group(groups))] } }
}

extension Partition {
  /// min(32, C), or the largest number below it that divides C. 32 as in Wu & He 2018, section 4.
  static func defaultGroups(channels: Int) -> Int {
    var groups = min(32, channels)
    while channels % groups != 0 { groups -= 1 }
    return groups
  }

  static func checkGroups(_ groups: Int, channels: Int) throws {
    guard groups > 0, channels % groups == 0 else {
      throw NormalizationError(
        "group normalization needs a number of groups that divides the channels, got \(groups) groups for \(channels) "
          + "channels; choose a divisor of \(channels), or plain 'group' for at most 32 groups")
    }
  }
}

extension NormalizationKind {
  static let group = NormalizationKind(
    name: "group", title: "Group normalization",
    summary: "Groups of neighbouring channels of every sample over their positions.",
    options: [
      .init(
        form: "G",
        help:
          "number of groups (default: at most 32, dividing the channels; with 32 or fewer channels each is its own group)"
      ),
      .init(form: "size=CHANNELS", help: "channels per group instead"),
      .epsilon,
    ],
    formula: "y = γ (x − μ_ng) / √(σ²_ng + ε) + β", statistics: [.init(.group(2))], parameters: "2C",
    parameterCount: { 2 * $0 },
    useWhen: "batches are small (1–8 samples), as in segmentation and detection",
    weakness:
      "one more number to choose, and with one channel per group it is instance normalization; a little behind batch normalization where batches are large",
    source: "Wu & He 2018"
  ) { words in
    let epsilon = try words.epsilon() ?? 1e-5
    let size: Int? = try words.value("size", "a whole number above 0, the channels of a group") { $0 > 0 }
    let groups = try words.groups()
    if groups != nil, size != nil { throw words.error("give the number of groups or their size, not both") }
    return { channels in
      if let size { return try GroupNorm(groupSize: size, channels: channels, epsilon: epsilon) }
      return try GroupNorm(
        groups: groups ?? Partition.defaultGroups(channels: channels), channels: channels, epsilon: epsilon)
    }
  }
}
