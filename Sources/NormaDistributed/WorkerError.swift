/// Why processes that train together cannot begin or go on: which rank, what happened and, where it helps, what to do.
public struct WorkerError: Error, CustomStringConvertible, Sendable {
  /// The whole message.
  public let description: String
  /// The process that it began with, where that is another one and known.
  public let rank: Int?
  /// Whether all processes end with it at the same place.
  public let isCommon: Bool

  /// - Parameter description: the message, as ``description`` gives it.
  public init(_ description: String, rank: Int? = nil, isCommon: Bool = false) {
    (self.description, self.rank, self.isCommon) = (description, rank, isCommon)
  }
}
