#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

/// A record as people and programs read it. Numbers that JSON cannot hold are written as the strings "nan", "inf" and "-inf".
/// - Parameter isPretty: false for one line.
public func jsonText(of record: some Encodable, isPretty: Bool = true) throws -> String {
  let encoder = JSONEncoder()
  // Sorted: the same record gives the same text.
  encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
  if isPretty { encoder.outputFormatting.insert(.prettyPrinted) }
  encoder.nonConformingFloatEncodingStrategy = .convertToString(
    positiveInfinity: "inf", negativeInfinity: "-inf", nan: "nan")
  return String(decoding: try encoder.encode(record), as: UTF8.self)
}

/// Reads what ``jsonText(of:isPretty:)`` wrote.
/// - Throws: `DecodingError` for any other text.
public func record<Record: Decodable>(_ type: Record.Type, fromJSON text: String) throws -> Record {
  let decoder = JSONDecoder()
  decoder.nonConformingFloatDecodingStrategy = .convertFromString(
    positiveInfinity: "inf", negativeInfinity: "-inf", nan: "nan")
  return try decoder.decode(type, from: Data(text.utf8))
}
