#if canImport(Glibc)
  @preconcurrency import Glibc
#elseif canImport(Musl)
  @preconcurrency import Musl
#else
  import Darwin
#endif

import ArgumentParser
import Logging
import NormaDistributed

/// How much a command tells about its work.
struct LogOptions: ParsableArguments {
  @Flag(name: .shortAndLong, help: "Tell more, such as checkpoints and what the machine offers.")
  var verbose = false

  @Flag(name: .shortAndLong, help: "Tell warnings and errors only, and show no progress.")
  var quiet = false

  func validate() throws {
    if verbose, quiet { throw ValidationError("--verbose and --quiet contradict each other: give one of them.") }
  }

  /// Makes the log that the command's messages go to; called once, first.
  func start() {
    var level: Logger.Level = quiet ? .warning : verbose ? .debug : .info
    // Of several workers rank 0 speaks for all.
    let rank = (try? WorkerEnvironment.current())??.rank ?? 0
    if rank > 0, !verbose { level = .error }
    let prefix = rank > 0 ? "rank \(rank): " : ""
    LoggingSystem.bootstrap { [level] _ in StandardErrorLog(logLevel: level, prefix: prefix) }
  }
}

/// The log of the tool. Messages of level info are what a user should see in any case.
let log = Logger(label: "norma")

extension Logger {
  /// Whether progress is to be shown.
  var showsProgress: Bool { logLevel <= .info }
}

/// Whether a person may be looking at standard error, where lines can be drawn over.
let errorsAreOnTerminal = isatty(2) == 1

/// Lines on standard error, each with its level unless it is info.
private struct StandardErrorLog: LogHandler {
  var metadata: Logger.Metadata = [:]
  var logLevel: Logger.Level
  let prefix: String

  subscript(metadataKey key: String) -> Logger.Metadata.Value? {
    get { metadata[key] }
    set { metadata[key] = newValue }
  }

  func log(event: LogEvent) {
    // Over a bar that is being drawn.
    let start = errorsAreOnTerminal ? "\r\u{1B}[K" : ""
    fputs(start + prefix + (event.level == .info ? "" : "\(event.level): ") + "\(event.message)\n", stderr)
    fflush(stderr)
  }
}
