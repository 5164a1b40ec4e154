#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

import ArgumentParser
import Dispatch
import NormaDistributed

/// Starts this command once per worker, on this machine.
enum Launcher {
  private static let variable = "NORMA_LAUNCHER"

  /// Where a worker hears from the process that has started it; nil in others.
  private static var line: Int32? { getenv(variable).flatMap { Int32(String(cString: $0)) } }

  /// Whether this process is a worker that ``run(_:)`` has started.
  static var isWorker: Bool { line != nil }

  /// Has a worker end with the process that has started it, however that ends.
  static func endWithParent() {
    guard let line else { return }
    let queue = DispatchQueue(label: "norma.launcher")
    queue.async {
      var byte: UInt8 = 0
      // Nobody writes: it ends when the other side is gone.
      while read(line, &byte, 1) < 0, errno == EINTR {}
      kill(getpid(), SIGTERM)
    }
  }

  /// Waits for all workers.
  /// - Throws: `ExitCode` with that of the first one that failed.
  /// - Parameter timeout: after which workers find out themselves that another one is gone.
  static func run(_ count: Int, timeout: Double) throws {
    let socket = try ListeningSocket()
    var line: [Int32] = [0, 0]
    guard pipe(&line) == 0, fcntl(line[1], F_SETFD, FD_CLOEXEC) == 0 else {
      throw ToolError("workers could not be started: \(String(cString: strerror(errno)))")
    }
    defer { for descriptor in line { close(descriptor) } }
    let common = [
      "WORLD_SIZE": "\(count)", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "\(socket.port)", variable: "\(line[0])",
    ]
    // Before the first worker can end.
    let signals = try Interruption.listen(besides: [SIGCHLD])
    var ranks: [pid_t: Int] = [:]
    func start(_ rank: Int, _ besides: [String: String] = [:]) throws {
      let own = ["RANK": "\(rank)", "LOCAL_RANK": "\(rank)"].merging(common) { $1 }.merging(besides) { $1 }
      ranks[try spawn(own)] = rank
    }
    do {
      try socket.letChildrenInherit()
      try start(0, [WorkerEnvironment.socketVariable: "\(socket.descriptor)"])
      // It ends with rank 0, as a port does that rank 0 has opened.
      socket.end()
      for rank in 1..<count { try start(rank) }
    } catch {
      for process in ranks.keys { kill(process, SIGKILL) }
      throw error
    }
    try wait(&ranks, signals, timeout)
  }

  /// - Parameter signals: where ``Interruption/listen(besides:)`` writes those that come.
  private static func wait(_ ranks: inout [pid_t: Int], _ signals: Int32, _ timeout: Double) throws {
    var failure: Int32?
    // Those that are left find out themselves. The first signal ends those that still wait for all to come; those that train find out at their next
    // operation, whose time-out the second one leaves them.
    var remedies = [SIGTERM, SIGKILL]
    var sent: Int32?
    let clock = ContinuousClock()
    var next: ContinuousClock.Instant?
    while !ranks.isEmpty {
      let left = next.map { max(0, ($0 - clock.now) / .milliseconds(1)) }
      var entry = pollfd(fd: signals, events: Int16(POLLIN), revents: 0)
      var number: UInt8 = 0
      if poll(&entry, 1, left.map { Int32($0) + 1 } ?? -1) > 0, read(signals, &number, 1) == 1,
        Int32(number) != SIGCHLD
      {
        for process in ranks.keys { kill(process, Int32(number)) }
      }
      var status: Int32 = 0
      while case let process = waitpid(-1, &status, WNOHANG), process > 0 {
        guard let rank = ranks.removeValue(forKey: process) else { continue }
        let signal = status & 0x7f
        let code = signal == 0 ? status >> 8 & 0xff : 128 + signal
        if signal != 0, signal != sent { log.error("rank \(rank) (process \(process)) was ended by signal \(signal)") }
        if code != 0, failure == nil {
          failure = code
          next = clock.now + .seconds(min(30, timeout + 5))
        }
      }
      if let due = next, due <= clock.now, let signal = remedies.first {
        for (process, rank) in ranks {
          if signal == SIGKILL { log.error("rank \(rank) (process \(process)) does not end and is killed") }
          kill(process, signal)
        }
        sent = signal
        remedies.removeFirst()
        next = remedies.isEmpty ? nil : clock.now + .seconds(max(10, timeout))
      }
    }
    if let failure { throw ExitCode(failure) }
  }

  /// Starts this program with its arguments in a process group of its own, so that a terminal's Ctrl-C comes to it once, from here.
  private static func spawn(_ variables: [String: String]) throws -> pid_t {
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    var none = sigset_t()
    sigemptyset(&none)
    posix_spawnattr_setsigmask(&attributes, &none)
    posix_spawnattr_setpgroup(&attributes, 0)
    posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK))
    var environment: [String] = []
    var next = environ
    while let entry = next.pointee {
      let text = String(cString: entry)
      let name = String(text.prefix { $0 != "=" })
      // torchrun's are of this process, not of those that it starts.
      if variables[name] == nil, !name.hasPrefix("TORCHELASTIC_") { environment.append(text) }
      next += 1
    }
    environment += variables.map { "\($0)=\($1)" }
    var arguments: [UnsafeMutablePointer<CChar>?] = CommandLine.arguments.map { strdup($0) } + [nil]
    var values: [UnsafeMutablePointer<CChar>?] = environment.map { strdup($0) } + [nil]
    defer { for pointer in arguments + values { free(pointer) } }
    var process: pid_t = 0
    let code = posix_spawn(&process, try executable(), nil, &attributes, &arguments, &values)
    guard code == 0 else {
      throw ToolError("a worker could not be started: \(String(cString: strerror(code)))")
    }
    return process
  }

  private static func executable() throws -> String {
    #if os(Linux)
      return "/proc/self/exe"
    #else
      var size = UInt32(4096)
      var path = [CChar](repeating: 0, count: Int(size))
      guard _NSGetExecutablePath(&path, &size) == 0 else { throw ToolError("this program's own file was not found") }
      return String(cString: path)
    #endif
  }
}
