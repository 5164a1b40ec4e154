#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif
import NormaRecords

/// results.json.
public enum ResultsFile {
  /// Numbers that JSON cannot hold are written as the strings "nan", "inf" and "-inf".
  public static func text(_ record: ComparisonRecord) throws -> String {
    try json(record, isPretty: true) + "\n"
  }

  /// JSON with sorted keys: the same record gives the same text.
  static func json(_ record: some Encodable, isPretty: Bool) throws -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    if isPretty { encoder.outputFormatting.insert(.prettyPrinted) }
    encoder.nonConformingFloatEncodingStrategy = .convertToString(
      positiveInfinity: "inf", negativeInfinity: "-inf", nan: "nan")
    return String(decoding: try encoder.encode(record), as: UTF8.self)
  }

  public static func record(fromText text: String) throws -> ComparisonRecord {
    let decoder = JSONDecoder()
    decoder.nonConformingFloatDecodingStrategy = .convertFromString(
      positiveInfinity: "inf", negativeInfinity: "-inf", nan: "nan")
    return try decoder.decode(ComparisonRecord.self, from: Data(text.utf8))
  }
}
