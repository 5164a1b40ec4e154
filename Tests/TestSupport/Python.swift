import Foundation

/// A Python for tests against other programs' own code: PEERS_PYTHON, else python3.
public enum Python {
  public struct Failure: Error, CustomStringConvertible {
    public let status: Int32
    public let errors: String
    public var description: String { "python ended with \(status): \(errors)" }
  }

  /// Its name or path.
  public static let executable =
    ProcessInfo.processInfo.environment["PEERS_PYTHON"].flatMap { $0.isEmpty ? nil : $0 } ?? "python3"

  /// Whether these modules are there.
  public static func imports(_ modules: String...) -> Bool {
    (try? run("import " + modules.joined(separator: ", "))) != nil
  }

  /// What a script writes to its standard output.
  /// - Throws: ``Failure`` with what it wrote to standard error where it ends with another status than 0.
  @discardableResult
  public static func run(_ script: String, _ arguments: String...) throws -> Data {
    let folder = try TemporaryFolder()
    let (output, errors) = (folder.url.appendingPathComponent("out"), folder.url.appendingPathComponent("err"))
    for file in [output, errors] { try Data().write(to: file) }
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = [executable, "-c", script] + arguments
    process.standardOutput = try FileHandle(forWritingTo: output)
    process.standardError = try FileHandle(forWritingTo: errors)
    process.standardInput = FileHandle.nullDevice
    try process.run()
    process.waitUntilExit()
    guard process.terminationStatus == 0 else {
      throw Failure(status: process.terminationStatus, errors: try String(contentsOf: errors, encoding: .utf8))
    }
    return try Data(contentsOf: output)
  }
}
