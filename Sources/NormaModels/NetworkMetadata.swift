/// The options of a network by the names that weight files carry in their metadata, with the text of each checked.
struct NetworkMetadata {
  private let values: [String: String]

  /// - Throws: ``NetworkError`` for the metadata of another architecture. Without one they are taken as the wanted one's.
  init(_ values: [String: String], of architecture: String) throws {
    guard values["architecture", default: architecture] == architecture else {
      throw NetworkError("the architecture '\(architecture)' was expected, got '\(values["architecture"] ?? "")'")
    }
    self.values = values
  }

  /// The text of an option; nil where there is none.
  subscript(key: String) -> String? { values[key] }

  /// - Parameters:
  ///   - kind: what the value should be, in words.
  ///   - fallback: for a name that is missing.
  /// - Throws: ``NetworkError`` for a text that is no such value, or one that does not fit.
  func value<Value: LosslessStringConvertible>(
    _ key: String, _ kind: String, _ fallback: Value, where fits: (Value) -> Bool = { _ in true }
  ) throws -> Value {
    guard let text = values[key] else { return fallback }
    guard let value = Value(text), fits(value) else {
      throw NetworkError("'\(key)' in the weights' metadata should be \(kind), got '\(text)'")
    }
    return value
  }

  /// A whole number in a range.
  func count(_ key: String, in range: ClosedRange<Int>, _ fallback: Int) throws -> Int {
    try value(key, "a whole number in \(range.lowerBound)…\(range.upperBound)", fallback) { range.contains($0) }
  }

  /// Whole numbers in a range, with commas between them.
  func counts(_ key: String, in range: ClosedRange<Int>, _ fallback: [Int]) throws -> [Int] {
    guard let text = values[key] else { return fallback }
    let numbers = text.split(separator: ",", omittingEmptySubsequences: false).map { Int($0) }
    guard numbers.allSatisfy({ $0.map(range.contains) ?? false }) else {
      throw NetworkError(
        "'\(key)' in the weights' metadata should be whole numbers in \(range.lowerBound)…\(range.upperBound) with commas "
          + "between them, got '\(text)'")
    }
    return numbers.compactMap { $0 }
  }

  /// One of the cases of an enumeration by name.
  func choice<Choice: RawRepresentable & CaseIterable>(_ key: String, _ fallback: Choice) throws -> Choice
  where Choice.RawValue == String {
    let names = Choice.allCases.map(\.rawValue)
    let name = try value(key, names.joined(separator: " or "), fallback.rawValue) { names.contains($0) }
    return Choice(rawValue: name) ?? fallback
  }
}

/// An input or an option that a network cannot take.
public struct NetworkError: Error, CustomStringConvertible, Sendable {
  public let description: String
  init(_ description: String) { self.description = description }
}
