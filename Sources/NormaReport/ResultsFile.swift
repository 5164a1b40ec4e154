#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif
import NormaRecords

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
    guard (2...ComparisonRecord.currentVersion).contains(version) else {
      throw ResultsError(
        "'\(path)' has version \(version), expected 2 to \(ComparisonRecord.currentVersion); use the norma that wrote it, or run "
          + "the comparison again")
    }
    var record: ComparisonRecord
    do {
      record = try self.record(fromText: String(decoding: data, as: UTF8.self))
    } catch {
      throw ResultsError("'\(path)' is damaged: \(error)")
    }
    if record.schemaVersion == 2 {
      record.schemaVersion = ComparisonRecord.currentVersion
      record.configuration["model"] = "unet"
    }
    try check(record.runs, path)
    return record
  }

  /// - Throws: ``ResultsError`` for runs whose names could lead out of the folder.
  public static func check(_ runs: [RunRecord], _ path: String) throws {
    // Parts of file names, some of which are removed.
    if let run = runs.first(where: { run in
      run.fileStem.isEmpty || run.fileStem.hasPrefix(".")
        || run.fileStem.utf8.contains { $0 == UInt8(ascii: "/") || $0 == 0 }
    }) {
      throw ResultsError("'\(path)' is damaged: '\(run.fileStem)' cannot be part of the names of files")
    }
  }

  public static func record(fromText text: String) throws -> ComparisonRecord {
    try NormaRecords.record(ComparisonRecord.self, fromJSON: text)
  }
}

/// A results.json that cannot be used: what was expected, what came, what to do.
public struct ResultsError: Error, CustomStringConvertible, Sendable {
  public let description: String
  init(_ description: String) { self.description = description }
}
