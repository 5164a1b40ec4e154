import Foundation
import NormaFormats
import TestSupport
import Testing

/// The built tool, run as a user runs it.
enum Tool {
  struct Outcome {
    let status: Int32
    let output: String
    let errors: String
  }

  /// The executable beside the test bundle.
  static let path: URL = {
    var folder = URL(fileURLWithPath: CommandLine.arguments[0]).deletingLastPathComponent()
    #if os(macOS)
      folder = Bundle.allBundles.first { $0.bundlePath.hasSuffix(".xctest") }!.bundleURL.deletingLastPathComponent()
    #endif
    return folder.appendingPathComponent("norma")
  }()

  /// - Parameter started: called with the running process, which it may send signals to.
  static func run(
    _ arguments: [String], in folder: URL? = nil, environment: [String: String] = [:], executable: URL = path,
    started: (Process) throws -> Void = { _ in }
  ) throws -> Outcome {
    let process = Process()
    process.executableURL = executable
    process.arguments = arguments
    // Several runs share the machine.
    process.environment = ProcessInfo.processInfo.environment.merging(["OMP_NUM_THREADS": "1"]) { $1 }
      .merging(environment) { $1 }
    if let folder { process.currentDirectoryURL = folder }
    // Files, not pipes: nothing can block on a full one.
    let scratch = try TemporaryFolder()
    let output = scratch.url.appendingPathComponent("output")
    let errors = scratch.url.appendingPathComponent("errors")
    for file in [output, errors] { try Data().write(to: file) }
    process.standardOutput = try FileHandle(forWritingTo: output)
    process.standardError = try FileHandle(forWritingTo: errors)
    process.standardInput = FileHandle.nullDevice
    try process.run()
    try started(process)
    process.waitUntilExit()
    return Outcome(
      status: process.terminationStatus, output: try String(contentsOf: output, encoding: .utf8),
      errors: try String(contentsOf: errors, encoding: .utf8))
  }
}

extension TemporaryFolder {
  /// Writes a small stack; `value` gives the value at (page, y, x).
  func writeStack(
    _ name: String, pages: Int = 4, side: Int = 48, format: SampleFormat = .uint8,
    value: (Int, Int, Int) -> Float
  ) throws -> String {
    var values: [Float] = []
    for page in 0..<pages {
      for y in 0..<side { for x in 0..<side { values.append(value(page, y, x)) } }
    }
    try TIFF.write(
      ImageStack(pages: pages, channels: 1, height: side, width: side, format: format, values: values),
      to: path(name), compression: .none)
    return path(name)
  }
}
