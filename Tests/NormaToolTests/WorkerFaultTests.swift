import Foundation
import NormaDistributed
import NormaReport
import TestSupport
import Testing

/// What happens to processes that train together when one of them, or the way between them, fails.
@Suite(.serialized) struct WorkerFaultTests {
  let crew: Crew

  init() throws { crew = try Crew() }

  /// Seconds; in fewer a busy machine may not start three processes.
  private static let timeout = 10
  /// Seconds that a busy machine may take besides; when quiet, survivors end within the time-out and six seconds.
  private static let grace = 30.0

  /// What a process says that ends for another's fault: one line, and nothing of libtorch.
  private func isOneLine(_ text: String, of rank: Int) -> Bool {
    let lines = text.split(separator: "\n", omittingEmptySubsequences: false).dropLast()
    // Rank 0 has told before how far it was.
    return rank == 0
      ? lines.last?.hasPrefix("Error: ") == true && lines.count { $0.hasPrefix("Error: ") } == 1
        && !lines.contains { $0.hasPrefix("[") || $0.contains("gloo") || $0.contains("c10") }
      : lines.count == 1 && lines[0].hasPrefix("Error: ")
  }

  /// Three that are in the middle of a run.
  private func begin(_ count: Int = 3, _ options: [String] = []) throws -> [Tool.Running] {
    let running = try (0..<count).map { try crew.start($0, of: count, Crew.longer + options, timeout: Self.timeout) }
    Crew.wait(running) { crew.hasCheckpoint }
    try #require(crew.hasCheckpoint, "\(running.map(\.errors))")
    return running
  }

  private func seconds(_ body: () throws -> Void) rethrows -> Double {
    try ContinuousClock().measure(body) / .seconds(1)
  }

  /// The checkpoint is whole: one process ends what three have begun.
  private func goesOn() throws {
    let more = try Tool.run(["train", "--resume", crew.output()])
    #expect(more.status == 0 && more.errors.contains("going on from the checkpoint"), "\(more.errors)")
    let runs = try ResultsFile.read("\(crew.output())/results.json").runs
    #expect(runs[0].history.count == 2 && runs[0].isFinished)
    #expect(crew.parts.isEmpty)
  }

  @Test(arguments: [1, 0]) func oneIsKilled(rank: Int) throws {
    let running = try begin()
    var outcomes: [Int: Tool.Outcome] = [:]
    let seconds = try seconds {
      kill(running[rank].process.processIdentifier, SIGKILL)
      for other in 0..<3 where other != rank { outcomes[other] = try running[other].end() }
    }
    #expect(seconds < Self.grace)
    for (other, outcome) in outcomes {
      #expect(outcome.status == 1 && isOneLine(outcome.errors, of: other), "rank \(other): \(outcome.errors)")
      #expect(
        outcome.errors.contains("Error: rank \(rank) of 3 was lost") && outcome.errors.contains("--resume"),
        "rank \(other): \(outcome.errors)")
      #expect(outcome.errors.contains("the store at 127.0.0.1:\(crew.port)") == (rank == 0), "\(outcome.errors)")
    }
    // Rank 0 may have been killed while it wrote one.
    #expect(rank == 0 || crew.parts.isEmpty)
    if rank == 0 { return try goesOn() }
    // The same command again, as a scheduler gives it.
    let again = try (0..<3).map { try crew.start($0, of: 3, Crew.longer + ["--continue"]) }.map { try $0.end() }
    #expect(again.allSatisfy { $0.status == 0 } && again[0].errors.contains("going on from the checkpoint"))
    let whole = try Crew()
    #expect(try whole.launch(3, Crew.longer).end().status == 0)
    #expect(try ResumeTests.Result(crew.output()) == ResumeTests.Result(whole.output()))
  }

  @Test(arguments: [1, 0]) func oneHangs(rank: Int) throws {
    let running = try begin()
    let process = running[rank].process.processIdentifier
    var outcomes: [Int: Tool.Outcome] = [:]
    let seconds = try seconds {
      kill(process, SIGSTOP)
      for other in 0..<3 where other != rank { outcomes[other] = try running[other].end() }
    }
    #expect(seconds > Double(Self.timeout) * 0.9 && seconds < Double(Self.timeout) + Self.grace)
    for (other, outcome) in outcomes {
      #expect(outcome.status == 1 && isOneLine(outcome.errors, of: other), "rank \(other): \(outcome.errors)")
      #expect(outcome.errors.contains("Error: rank \(rank) of 3 did not answer"), "rank \(other): \(outcome.errors)")
    }
    // It finds out by itself when it goes on.
    kill(process, SIGCONT)
    let late = try running[rank].end()
    #expect(late.status == 1 && isOneLine(late.errors, of: rank), "\(late.errors)")
    #expect(crew.parts.isEmpty)
    try goesOn()
  }

  @Test func someDoNotMeet() throws {
    let wrongPort = try Crew.freePort()
    let crews = try (0..<3).map { _ in try Crew() }
    func start(_ index: Int, _ ranks: [Int], _ size: (Int) -> Int = { _ in 3 }, port: Int? = nil) throws
      -> [Tool.Running]
    {
      try ranks.map { try crews[index].start($0, of: size($0), port: port, timeout: Self.timeout) }
    }
    // All wait at the same time.
    let alone = try start(0, [1])
    let wrong = try start(0, [2], port: wrongPort)
    let incomplete = try start(1, [0, 1])
    let different = try start(2, [0, 1, 2], { $0 == 1 ? 4 : 3 })
    for (running, rank, port) in [(alone, 1, crews[0].port), (wrong, 2, wrongPort)] {
      let outcome = try running[0].end()
      #expect(
        outcome.status == 1 && isOneLine(outcome.errors, of: rank)
          && outcome.errors.hasPrefix(
            "Error: rank \(rank) could not reach the store at 127.0.0.1:\(port) in \(Self.timeout) s (--worker-timeout): rank 0"
          ),
        "\(outcome.errors)")
    }
    for (rank, running) in incomplete.enumerated() {
      let outcome = try running.end()
      #expect(
        outcome.status == 1
          && outcome.errors == "Error: rank 2 of WORLD_SIZE 3 did not come in \(Self.timeout) s (--worker-timeout)\n",
        "rank \(rank): \(outcome.errors)")
    }
    for (rank, running) in different.enumerated() {
      let outcome = try running.end()
      #expect(outcome.status == 1 && isOneLine(outcome.errors, of: rank), "rank \(rank): \(outcome.errors)")
      #expect(
        try outcome.errors.contains(
          Regex("^Error: rank [012] was started with WORLD_SIZE [34], another process with [34]\n")),
        "rank \(rank): \(outcome.errors)")
    }
    for crew in crews { #expect(crew.folder.names.isEmpty) }
  }

  @Test func aSecondProcessOfARankEndsAlone() throws {
    let running = try begin(2, ["--epochs", "1000"])
    let second = try (0..<2).map {
      try crew.start($0, of: 2, output: crew.folder.path("second"), timeout: Self.timeout)
    }
    for (rank, second) in second.enumerated() {
      let outcome = try second.end()
      #expect(outcome.status == 1 && isOneLine(outcome.errors, of: 1), "\(outcome.errors)")
      #expect(
        outcome.errors.hasPrefix(
          "Error: rank \(rank) is there twice: 127.0.0.1 (process \(running[rank].process.processIdentifier) on "),
        "\(outcome.errors)")
    }
    #expect(running.allSatisfy { $0.process.isRunning })
    kill(running[0].process.processIdentifier, SIGTERM)
    for running in running {
      let outcome = try running.end()
      #expect(outcome.status == 143 && !outcome.errors.contains("Error"), "\(outcome.errors)")
    }
    #expect(!FileManager.default.fileExists(atPath: crew.folder.path("second")))
  }

  /// The others wait for long, but hear of it.
  @Test func oneFailsByItself() throws {
    let (output, data) = (try Crew(), try Crew())
    try Data().write(to: output.folder.url.appendingPathComponent("file"))
    let images = try data.folder.writeStack("images.tif") { page, y, x in Float((x * 7 + y * 3 + page) % 256) }
    let labels = try data.folder.writeStack("labels.tif") { _, y, x in (x / 8 + y / 8) % 2 == 0 ? 0 : 255 }
    let missing = data.folder.path("missing.tif")
    let small = ["--width", "2", "--crop", "32", "--epochs", "1", "--val-slices", "1", "--labels", labels]
    let cases = try [
      (0, (0..<3).map { try output.start($0, of: 3, output: $0 == 0 ? output.folder.path("file/run") : nil) }),
      (1, (0..<3).map { try data.start($0, of: 3, small + ["--images", $0 == 1 ? missing : images]) }),
    ]
    let reasons = ["cannot make the folder '\(output.folder.path("file/run/overlays"))'", "cannot read '\(missing)'"]
    let seconds = try seconds {
      for ((failing, running), reason) in zip(cases, reasons) {
        for (rank, running) in running.enumerated() {
          let outcome = try running.end()
          #expect(outcome.status == 1 && isOneLine(outcome.errors, of: rank), "rank \(rank): \(outcome.errors)")
          #expect(
            outcome.errors.hasPrefix("Error: \(rank == failing ? "" : "rank \(failing) of 3 failed: ")\(reason)"),
            "rank \(rank): \(outcome.errors)")
        }
      }
    }
    // Less than their time-out.
    #expect(seconds < 50)
    #expect(!FileManager.default.fileExists(atPath: data.output()))
  }

  #if os(Linux)
    @Test func theLauncherTellsWhoWasKilled() throws {
      let running = try crew.launch(3, Crew.longer, timeout: Self.timeout)
      Crew.wait([running]) { crew.hasCheckpoint }
      let process = try #require(try Crew.workers(of: running.process)[2])
      kill(process, SIGKILL)
      let outcome = try running.end(within: Double(Self.timeout) + Self.grace)
      #expect(outcome.status == 137, "\(outcome.errors)")
      #expect(outcome.errors.contains("error: rank 2 (process \(process)) was ended by signal 9"), "\(outcome.errors)")
      #expect(outcome.errors.components(separatedBy: "Error: rank 2 of 3 was lost").count == 3, "\(outcome.errors)")
      #expect(crew.parts.isEmpty)
    }

    @Test func workersEndWithTheirLauncher() throws {
      let running = try crew.launch(2, Crew.longer, timeout: Self.timeout)
      Crew.wait([running]) { crew.hasCheckpoint }
      let workers = try Crew.workers(of: running.process)
      #expect(workers.count == 2)
      kill(running.process.processIdentifier, SIGKILL)
      for _ in 0..<3000 where workers.values.contains(where: Crew.isThere) { usleep(10_000) }
      #expect(!workers.values.contains(where: Crew.isThere))
      #expect(crew.hasCheckpoint && crew.parts.isEmpty)
      try goesOn()
    }

    @Test(.enabled(if: Crew.torchrun != nil, "torchrun is missing")) func theStoreOfTorchrunIsLost() throws {
      let running = try crew.torchrun(
        ["--nproc-per-node", "2", "--master-port", "\(crew.port)"], Crew.longer + ["--epochs", "1000"],
        timeout: Self.timeout)
      Crew.wait([running]) { crew.hasCheckpoint }
      let workers = try Crew.workers(of: running.process)
      #expect(workers.count == 2)
      kill(running.process.processIdentifier, SIGKILL)
      for _ in 0..<3000 where workers.values.contains(where: Crew.isThere) { usleep(10_000) }
      #expect(!workers.values.contains(where: Crew.isThere))
      let words = "Error: the store at 127.0.0.1:\(crew.port), which torchrun keeps, was lost"
      #expect(running.errors.components(separatedBy: words).count == 3, "\(running.errors)")
      #expect(crew.parts.isEmpty)
    }

    @Test(.enabled(if: Crew.torchrun != nil, "torchrun is missing"), arguments: [(1, "0"), (0, "10")])
    func restartedItEndsAsIfNothingHadBeen(rank: Int, minutes: String) throws {
      let options = Crew.options + ["--samples-per-epoch", "40", "--batch-size", "1", "--checkpoint-minutes", minutes]
      let running = try crew.torchrun(
        ["--nproc-per-node", "2", "--master-port", "\(crew.port)", "--max-restarts", "1"], options,
        timeout: Self.timeout)
      Crew.wait([running]) { crew.hasCheckpoint && running.errors.contains("epoch 1/2") }
      let process = try #require(try Crew.workers(of: running.process)[rank])
      kill(process, SIGKILL)
      let outcome = try running.end()
      #expect(outcome.status == 0, "\(outcome.errors)")
      #expect(outcome.errors.contains("going on from the checkpoint"), "\(outcome.errors)")
      let whole = try Crew()
      #expect(try whole.launch(2, options).end().status == 0)
      #expect(try ResumeTests.Result(crew.output()) == ResumeTests.Result(whole.output()))
    }
  #endif
}

/// The same on hosts with a network between them.
@Suite(.serialized, .enabled(if: Hosts.obstacle == nil, Comment(rawValue: Hosts.obstacle ?? "")))
struct WorkerHostTests {
  let crew: Crew

  init() throws { crew = try Crew() }

  private func run(_ hosts: [String], _ options: [String], timeout: Int = 60) throws -> Tool.Outcome {
    try Hosts.run(
      ["run"] + hosts + [
        "--", Tool.path.path, "train", "--output", crew.output(), "--worker-timeout", "\(timeout)",
      ] + options)
  }

  @Test func delayAndLossChangeNothing() throws {
    let outcome = try run(["--delay-milliseconds", "2", "--loss", "0.01"], Crew.options)
    #expect(outcome.status == 0, "\(outcome.errors)")
    let near = try Crew()
    #expect(try near.launch(2).end().status == 0)
    #expect(try ResumeTests.Result(crew.output()) == ResumeTests.Result(near.output()))
  }

  @Test(arguments: ["cut", "kill"], [1, 0]) func aHostIsGone(fault: String, host: Int) throws {
    let clock = ContinuousClock()
    let start = clock.now
    let outcome = try run(
      ["--count", "3", "--\(fault)", "\(host)", "--upon", "epoch 1/"], Crew.longer + ["--epochs", "1000"], timeout: 10)
    #expect(outcome.status == 1, "\(outcome.errors)")
    #expect((clock.now - start) / .seconds(1) < 100)
    let lines = outcome.errors.split(separator: "\n").filter { $0.contains("Error: ") }
    #expect(lines.count == (fault == "cut" ? 3 : 2), "\(outcome.errors)")
    for line in lines {
      let other = try #require(line.dropFirst("[host ".count).first?.wholeNumberValue)
      // One that is cut off hears of nobody.
      let words =
        other != host
        ? "Error: rank \(host) of 3 \(fault == "cut" ? "did not answer" : "was lost")"
        : host == 0 ? "Error: ranks 1, 2 of 3 did not answer" : "Error: rank 0 of 3 did not answer"
      #expect(line.hasPrefix("[host \(other)] \(words)"), "\(outcome.errors)")
    }
    #expect(fault == "kill" && host == 0 || crew.parts.isEmpty)
  }
}
