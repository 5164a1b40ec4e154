/// A training that cannot be configured or go on: what was expected and what came.
public struct TrainingError: Error, CustomStringConvertible, Sendable {
  public let description: String
  public init(_ description: String) { self.description = description }
}
