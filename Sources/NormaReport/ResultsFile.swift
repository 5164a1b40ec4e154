#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif
import NormaRecords

/// A record as people and programs read it. Numbers that JSON cannot hold are written as the strings "nan", "inf" and "-inf".
public func jsonText(of record: some Encodable) throws -> String {
  let encoder = JSONEncoder()
  encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
  encoder.nonConformingFloatEncodingStrategy = .convertToString(
    positiveInfinity: "inf", negativeInfinity: "-inf", nan: "nan")
  return String(decoding: try encoder.encode(record), as: UTF8.self)
}

/// results.json.
public enum ResultsFile {
  public static func text(_ record: ComparisonRecord) throws -> String {
    try jsonText(of: record) + "\n"
  }

  public static func record(fromText text: String) throws -> ComparisonRecord {
    let decoder = JSONDecoder()
    decoder.nonConformingFloatDecodingStrategy = .convertFromString(
      positiveInfinity: "inf", negativeInfinity: "-inf", nan: "nan")
    return try decoder.decode(ComparisonRecord.self, from: Data(text.utf8))
  }
}
