import ArgumentParser
import Foundation

/// The process in which files are read, so that its end is a result and not ours.
struct Worker: ParsableCommand {
  static let configuration = CommandConfiguration(shouldDisplay: false)

  /// How a process ended.
  enum End {
    case finished
    case crash(signal: Int32)
    case hang, memory, unnamed

    var name: String {
      switch self {
      case .finished: "finished"
      case .crash: "crash"
      case .hang: "hang"
      case .memory: "memory"
      case .unnamed: "unnamed"
      }
    }
  }

  struct Outcome: CustomStringConvertible {
    let end: End
    /// Standard output where it finished, otherwise the beginning of its complaint.
    let text: String

    var description: String {
      switch end {
      case .finished: text.isEmpty ? "is read" : text
      case .crash(let signal): "crashes (signal \(signal)): \(text)"
      case .hang: "takes too long"
      case .memory: "takes too much memory: \(text)"
      case .unnamed: "ends in an error that is not the reader's own: \(text)"
      }
    }
  }

  private static let memoryStatus: Int32 = 101
  private static let unnamedStatus: Int32 = 102

  @Argument var target: String
  @Option var corpus = ""
  @Option var seed: UInt64 = 0
  @Option var from = 0
  @Option var count = 0
  @Option var scratch = ""
  @Option var file: String?
  @OptionGroup var limits: Limits

  static func launch(_ arguments: [String]) throws -> Outcome {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
    #if os(macOS)
      process.executableURL = Bundle.main.executableURL
    #endif
    process.arguments = ["worker"] + arguments
    // Printing a backtrace takes longer than the rest.
    process.environment = ProcessInfo.processInfo.environment.merging(["SWIFT_BACKTRACE": "enable=no"]) { $1 }
    let (output, errors) = (Pipe(), Pipe())
    process.standardOutput = output
    // Both are short, so that none can fill up while the other is read.
    process.standardError = errors
    process.standardInput = FileHandle.nullDevice
    try process.run()
    let said = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    let complaint = String(decoding: errors.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
      .prefix(800).trimmingCharacters(in: .whitespacesAndNewlines)
    process.waitUntilExit()
    let status = process.terminationStatus
    let end: End =
      if process.terminationReason == .uncaughtSignal {
        status == SIGPROF || status == SIGALRM ? .hang : .crash(signal: status)
      } else {
        switch status {
        case 0: .finished
        case memoryStatus: .memory
        case unnamedStatus: .unnamed
        // Sanitizers end a process by a status of their own.
        default: .crash(signal: status)
        }
      }
    return Outcome(end: end, text: status == 0 ? said.trimmingCharacters(in: .whitespacesAndNewlines) : complaint)
  }

  func run() throws {
    let target = try FuzzTarget.named(target)
    setLimits()
    if let file {
      if let reason = outcome(of: file, target) { print("is refused: \(reason)") }
      return
    }
    let mutator = Mutator(target, seeds: try seeds(target.name), seed: seed)
    var refused = 0
    var reasons: Set<String> = []
    for number in from..<from + count {
      let path = "\(scratch)/\(number)"
      try Data(mutator.input(number)).write(to: URL(fileURLWithPath: path))
      if let reason = outcome(of: path, target) {
        refused += 1
        // Without what differs from file to file.
        let kind = reason.split(separator: "'", omittingEmptySubsequences: false).enumerated().filter { $0.0 % 2 == 0 }
        reasons.insert(
          String(kind.map(\.1).joined().filter { $0.isASCII && !$0.isNumber && !$0.isNewline }.prefix(100)))
      }
      unlink(path)
    }
    print("\(count - refused) \(refused)")
    // The parent waits for the end of the output before it reads errors, and a pipe holds 64 KiB.
    for reason in reasons.sorted().prefix(500) { print(reason) }
  }

  /// Reads a file and returns why it was refused, nil where it was read; what must not be ends the process.
  private func outcome(of path: String, _ target: FuzzTarget) -> String? {
    setTimers(seconds: limits.seconds)
    var reason: String?
    do {
      try target.read(path)
    } catch {
      reason = "\(error)"
      if !target.refuses.contains(where: { $0 == type(of: error) }) || reason == "" {
        fail(Self.unnamedStatus, "\(type(of: error)): \(error)")
      }
    }
    setTimers(seconds: 0)
    let peak = peakMemory()
    if peak > limits.memory { fail(Self.memoryStatus, "\(peak) MiB, \(limits.memory) are allowed") }
    return reason
  }

  private func fail(_ status: Int32, _ text: String) -> Never {
    FileHandle.standardError.write(Data(text.utf8))
    Foundation.exit(status)
  }

  private func seeds(_ name: String) throws -> [[UInt8]] {
    let folder = URL(fileURLWithPath: corpus).appendingPathComponent(name)
    let names = try FileManager.default.contentsOfDirectory(atPath: folder.path).filter { !$0.hasPrefix(".") }.sorted()
    guard !names.isEmpty else { throw ValidationError("there are no seeds in '\(folder.path)'") }
    return try names.map { [UInt8](try Data(contentsOf: folder.appendingPathComponent($0))) }
  }

  /// Signals that end the process: after so much processor time, and, for a reader that waits, after ten times as long.
  private func setTimers(seconds: Int) {
    var timer = itimerval()
    timer.it_value.tv_sec = .init(seconds)
    #if os(Linux)
      setitimer(.init(ITIMER_PROF.rawValue), &timer, nil)
    #else
      setitimer(ITIMER_PROF, &timer, nil)
    #endif
    alarm(UInt32(seconds * 10))
  }

  private func setLimits() {
    var none = rlimit(rlim_cur: 0, rlim_max: 0)
    var space = rlimit(rlim_cur: rlim_t(limits.addressSpace) << 20, rlim_max: rlim_t(limits.addressSpace) << 20)
    #if os(Linux)
      setrlimit(.init(RLIMIT_CORE.rawValue), &none)
      if limits.addressSpace > 0 { setrlimit(.init(RLIMIT_AS.rawValue), &space) }
    #else
      setrlimit(RLIMIT_CORE, &none)
      if limits.addressSpace > 0 { setrlimit(RLIMIT_AS, &space) }
    #endif
  }

  /// The most memory that the process has held so far, in MiB.
  private func peakMemory() -> Int {
    var usage = rusage()
    #if os(Linux)
      getrusage(.init(RUSAGE_SELF.rawValue), &usage)
      return usage.ru_maxrss >> 10
    #else
      getrusage(RUSAGE_SELF, &usage)
      return usage.ru_maxrss >> 20
    #endif
  }
}
