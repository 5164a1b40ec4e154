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
    let running = try Running(arguments, in: folder, environment: environment, executable: executable)
    try started(running.process)
    running.process.waitUntilExit()
    return try running.outcome
  }

  /// A process that goes on while the test does something else.
  final class Running {
    let process = Process()
    // Files, not pipes: nothing can block on a full one.
    private let scratch: TemporaryFolder
    private var file: (output: URL, errors: URL) {
      (scratch.url.appendingPathComponent("output"), scratch.url.appendingPathComponent("errors"))
    }

    init(
      _ arguments: [String], in folder: URL? = nil, environment: [String: String] = [:], executable: URL = Tool.path
    ) throws {
      scratch = try TemporaryFolder()
      process.executableURL = executable
      process.arguments = arguments
      // Several runs share the machine.
      process.environment = ProcessInfo.processInfo.environment.merging(["OMP_NUM_THREADS": "1"]) { $1 }
        .merging(NameService.brief) { $1 }.merging(environment) { $1 }
      if let folder { process.currentDirectoryURL = folder }
      for file in [file.output, file.errors] { try Data().write(to: file) }
      process.standardOutput = try FileHandle(forWritingTo: file.output)
      process.standardError = try FileHandle(forWritingTo: file.errors)
      process.standardInput = FileHandle.nullDevice
      try process.run()
    }

    deinit { if process.isRunning { kill(process.processIdentifier, SIGKILL) } }

    /// What it has written to standard error so far.
    var errors: String { (try? String(contentsOf: file.errors, encoding: .utf8)) ?? "" }

    /// Of a process that has ended.
    var outcome: Outcome {
      get throws {
        Outcome(
          status: process.terminationStatus, output: try String(contentsOf: file.output, encoding: .utf8),
          errors: errors)
      }
    }

    /// Waits for the end.
    /// - Throws: ``Endless`` with what it has written when that does not come.
    func end(within seconds: Double = 120) throws -> Outcome {
      let clock = ContinuousClock()
      let end = clock.now + .seconds(seconds)
      while process.isRunning {
        guard clock.now < end else {
          kill(process.processIdentifier, SIGKILL)
          throw Endless(errors: errors)
        }
        usleep(5_000)
      }
      return try outcome
    }
  }

  /// A process that did not end in time.
  struct Endless: Error { let errors: String }
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
