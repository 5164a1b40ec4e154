#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif
import NormaRecords

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

/// results.json.
public enum ResultsFile {
  public static func text(_ record: ComparisonRecord) throws -> String {
    try jsonText(of: record) + "\n"
  }

  /// - Throws: ``ResultsError`` for what is no record of this version.
  public static func read(_ path: String) throws -> ComparisonRecord {
    guard let data = FileManager.default.contents(atPath: path) else {
      throw ResultsError("cannot read '\(path)'; give the folder of a run, which has a results.json")
    }
    struct Version: Decodable { let schemaVersion: Int }
    guard let version = try? JSONDecoder().decode(Version.self, from: data).schemaVersion else {
      throw ResultsError("'\(path)' is no results.json of norma, or it is damaged")
    }
    guard version == ComparisonRecord.currentVersion else {
      throw ResultsError(
        "'\(path)' has version \(version), expected \(ComparisonRecord.currentVersion); use the norma that wrote it, or run "
          + "the comparison again")
    }
    do {
      return try record(fromText: String(decoding: data, as: UTF8.self))
    } catch {
      throw ResultsError("'\(path)' is damaged: \(error)")
    }
  }

  public static func record(fromText text: String) throws -> ComparisonRecord {
    let decoder = JSONDecoder()
    decoder.nonConformingFloatDecodingStrategy = .convertFromString(
      positiveInfinity: "inf", negativeInfinity: "-inf", nan: "nan")
    return try decoder.decode(ComparisonRecord.self, from: Data(text.utf8))
  }
}

/// A results.json that cannot be used: what was expected, what came, what to do.
public struct ResultsError: Error, CustomStringConvertible, Sendable {
  public let description: String
  init(_ description: String) { self.description = description }
}
