import NormaRecords

/// The epochs of one training as JSON lines: every line an ``EpochRecord`` with all its fields, keys sorted.
public enum HistoryJSONLines {
  /// Numbers that JSON cannot hold are written as in ``ResultsFile``.
  public static func text(_ history: [EpochRecord]) throws -> String {
    try history.map { try jsonText(of: $0, isPretty: false) + "\n" }.joined()
  }
}
