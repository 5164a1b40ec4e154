import NormaNN

/// A normalization as a value: what a configuration or a command line names.
public enum Normalization: Sendable, Hashable {
  /// No normalization: the control.
  case none
  case batch
  /// nil groups means min(32, C) of them.
  case group(groups: Int?)
  case switchable
  case instance
  case layer

  /// The names that ``init(parsing:)`` knows.
  public static let knownNames = ["none", "batch", "group", "group:G", "switchable", "instance", "layer"]

  /// - Throws: ``NormalizationError`` that lists the known names.
  public init(parsing text: String) throws {
    switch text {
    case "none": self = .none
    case "batch": self = .batch
    case "group": self = .group(groups: nil)
    case "switchable": self = .switchable
    case "instance": self = .instance
    case "layer": self = .layer
    default:
      let parts = text.split(separator: ":", omittingEmptySubsequences: false)
      guard parts.count == 2, parts[0] == "group" else {
        throw NormalizationError(
          "unknown normalization '\(text)'; the known ones are \(Self.knownNames.joined(separator: ", "))")
      }
      guard let groups = Int(parts[1]), groups > 0 else {
        throw NormalizationError(
          "'\(text)': the number of groups must be a whole number above 0, as in group:8")
      }
      self = .group(groups: groups)
    }
  }

  /// The name that ``init(parsing:)`` takes.
  public var name: String {
    switch self {
    case .none: "none"
    case .batch: "batch"
    case .group(nil): "group"
    case .group(let groups?): "group:\(groups)"
    case .switchable: "switchable"
    case .instance: "instance"
    case .layer: "layer"
    }
  }

  /// The layer for the given number of channels, with a weight and bias per channel; nil for ``none``.
  /// - Throws: ``NormalizationError`` when an explicit number of groups does not divide the channels.
  public func layer(channels: Int) throws -> NormalizationLayer? {
    switch self {
    case .none: return nil
    case .batch: return try BatchNorm(channels: channels)
    case .group(let groups):
      return try GroupNorm(groups: groups ?? Self.defaultGroups(channels: channels), channels: channels)
    case .switchable: return try SwitchableNorm(channels: channels)
    case .instance: return try InstanceNorm(channels: channels, affine: true)
    case .layer: return try LayerNorm(channels: channels)
    }
  }

  /// - Throws: ``NormalizationError`` when ``layer(channels:)`` would.
  public func check(channels: Int) throws {
    if case .group(let groups?) = self { try GroupNorm.check(groups: groups, channels: channels) }
  }

  /// min(32, C), or the largest number below it that divides C.
  static func defaultGroups(channels: Int) -> Int {
    var groups = min(32, channels)
    while channels % groups != 0 { groups -= 1 }
    return groups
  }
}
