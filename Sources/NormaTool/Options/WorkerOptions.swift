#if canImport(Glibc)
  @preconcurrency import Glibc
#elseif canImport(Musl)
  @preconcurrency import Musl
#else
  import Darwin
#endif

import ArgumentParser
import NormaDistributed
import NormaTensor

/// A command that several processes can do together.
protocol WorkerCommand: ParsableCommand {
  var workers: WorkerOptions { get }
}

/// How many processes train one network together.
struct WorkerOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "Processes of this machine that train each network together, each with --batch-size samples at a time; torchrun and schedulers start them "
        + "themselves. (default: 1; of bench scale: 2)", valueName: "count"))
  var workers: Int?

  @Option(help: ArgumentHelp("Give up a worker that does not answer for so long.", valueName: "seconds"))
  var workerTimeout = 300.0

  func validate() throws {
    if let workers, !(1...1024).contains(workers) {
      throw ValidationError("--workers must be in 1…1024, got \(workers).")
    }
    guard workerTimeout >= 1, workerTimeout <= 1e6 else {
      throw ValidationError("--worker-timeout must be from 1 to 1,000,000 seconds, got \(workerTimeout).")
    }
  }

  /// Runs the body in this process, in the group that this process belongs to, or in processes that it starts.
  /// - Parameter standard: how many there are where nobody says.
  func run(standard: Int = 1, _ body: () throws -> Void) throws {
    if let environment = try WorkerEnvironment.current(), environment.size > 1 {
      if let workers, !Launcher.isWorker {
        throw ValidationError(
          "--workers \(workers) starts processes by itself, but RANK and WORLD_SIZE tell this one of \(environment.size): leave out --workers, "
            + "or unset them.")
      }
      try Self.run(as: environment, timeout: workerTimeout, body)
    } else if (workers ?? standard) > 1 {
      try Launcher.run(workers ?? standard, timeout: workerTimeout)
    } else {
      try body()
    }
  }

  private static func run(as environment: WorkerEnvironment, timeout: Double, _ body: () throws -> Void) throws {
    Launcher.endWithParent()
    let group: ProcessGroup
    do { group = try ProcessGroup(environment, timeout: timeout) } catch { end(error) }
    do {
      let processors = try group.shareProcessors().map { $0.map(String.init).joined(separator: ", ") }
      log.debug(
        "rank \(group.rank) of \(group.size), process \(getpid()), processors \(processors ?? "as the system likes"), threads \(Runtime.threads)"
      )
      try ProcessGroup.$current.withValue(group, operation: body)
      try group.leave()
    } catch let code as ExitCode {
      // What all have agreed on.
      do { try group.leave() } catch { withExtendedLifetime(group) { end(code) } }
      throw code
    } catch {
      // A group that nobody needs any more would be released here, and wait.
      withExtendedLifetime(group) {
        let isOwn = (error as? WorkerError)?.isCommon ?? true
        end(error, isTold: isOwn && group.isTold(failure: Norma.message(for: error)))
      }
    }
  }

  /// Without waiting for operations under way, as the end of the group and of the process would.
  private static func end(_ error: any Error, isTold: Bool = false) -> Never {
    if !isTold { fputs(Norma.fullMessage(for: error) + "\n", stderr) }
    fflush(stdout)
    fflush(stderr)
    _exit(Norma.exitCode(for: error).rawValue)
  }
}
