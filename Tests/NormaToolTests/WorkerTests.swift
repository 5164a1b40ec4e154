import Foundation
import NormaDistributed
import NormaRecords
import NormaReport
import Synchronization
import TestSupport
import Testing

/// Processes of the tool that train one network together, and where they write.
struct Crew {
  let folder: TemporaryFolder
  let port: Int

  init() throws { (folder, port) = (try TemporaryFolder(), try Self.freePort()) }

  private static let nextPort = Atomic<UInt16>(20_000 + UInt16(getpid() % 100) * 100)

  /// A port that nobody listens on, below those that systems give to connections by themselves: until the process comes that it is for,
  /// somebody else's could take it.
  static func freePort() throws -> Int {
    for _ in 0..<1000 {
      let port = nextPort.wrappingAdd(1, ordering: .relaxed).oldValue
      if (try? ListeningSocket(port: port)) != nil { return Int(port) }
    }
    return try ListeningSocket().port
  }

  static let options = [
    "--norm", "switchable:synchronized", "--width", "2", "--depth", "2", "--crop", "32", "--epochs", "2",
    "--samples-per-epoch", "12",
    "--batch-size", "2", "--dropout", "0.2", "--augment", "full", "--threads", "1", "--synthetic-size", "48",
    "--synthetic-slices", "4", "--val-slices", "1", "--test-slices", "1",
  ]
  /// Of a run that a fault can come into the middle of, with a checkpoint after every step.
  static let longer = options + ["--samples-per-epoch", "40", "--batch-size", "1", "--checkpoint-minutes", "0"]
  static let checkpoint = "checkpoint-switchable-synchronized.safetensors"

  /// A rank's own, of which only rank 0's is to be made.
  func output(_ rank: Int = 0) -> String { folder.path(rank == 0 ? "run" : "rank\(rank)") }

  var hasCheckpoint: Bool { FileManager.default.fileExists(atPath: "\(output())/\(Self.checkpoint)") }

  /// Half-written files.
  var parts: [String] {
    ((try? FileManager.default.subpathsOfDirectory(atPath: folder.url.path)) ?? []).filter { $0.hasSuffix(".part") }
  }

  /// A process that is told its place.
  func start(
    _ rank: Int, of size: Int, _ options: [String] = options, output: String? = nil, port: Int? = nil,
    timeout: Int = 60
  ) throws -> Tool.Running {
    try Tool.Running(
      ["train", "--output", output ?? self.output(rank), "--worker-timeout", "\(timeout)"] + options,
      environment: [
        "RANK": "\(rank)", "WORLD_SIZE": "\(size)", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "\(port ?? self.port)",
      ])
  }

  /// The launcher's.
  func launch(_ count: Int, _ options: [String] = options, timeout: Int = 60) throws -> Tool.Running {
    try Tool.Running(
      ["train", "--output", output(), "--workers", "\(count)", "--worker-timeout", "\(timeout)"] + options)
  }

  /// Those of torchrun.
  func torchrun(_ agent: [String], _ options: [String] = options, output: String? = nil, timeout: Int = 60) throws
    -> Tool.Running
  {
    let torchrun = try #require(Self.torchrun)
    return try Tool.Running(
      ["--no-python"] + agent + [
        Tool.path.path, "train", "--output", output ?? self.output(), "--worker-timeout", "\(timeout)",
      ] + options, executable: torchrun)
  }

  /// Beside Python, or where the shell finds it.
  static let torchrun: URL? = {
    let beside = URL(fileURLWithPath: Python.executable).deletingLastPathComponent().path
    let folders =
      (Python.executable.contains("/") ? [beside] : [])
      + (ProcessInfo.processInfo.environment["PATH"] ?? "").split(separator: ":").map(String.init)
    return folders.map { URL(fileURLWithPath: "\($0)/torchrun") }.first {
      FileManager.default.isExecutableFile(atPath: $0.path)
    }
  }()

  /// Waits until something is so, or all of the processes have ended.
  static func wait(_ running: [Tool.Running], until isSo: () -> Bool) {
    while !isSo(), running.contains(where: \.process.isRunning) { usleep(5_000) }
  }

  /// The processes that one has started, by their ranks.
  static func workers(of parent: Process) throws -> [Int: pid_t] {
    var workers: [Int: pid_t] = [:]
    for name in try FileManager.default.contentsOfDirectory(atPath: "/proc") {
      guard let process = pid_t(name), let state = try? String(contentsOfFile: "/proc/\(name)/stat", encoding: .utf8),
        // After the command in brackets come the state and the parent.
        let rest = state.split(separator: ")").last?.split(separator: " "), rest.count > 1,
        rest[1] == "\(parent.processIdentifier)",
        let variables = FileManager.default.contents(atPath: "/proc/\(name)/environ"),
        let rank = variables.split(separator: 0).map({ String(decoding: $0, as: UTF8.self) })
          .first(where: { $0.hasPrefix("RANK=") }).flatMap({ Int($0.dropFirst(5)) })
      else { continue }
      workers[rank] = process
    }
    return workers
  }

  static func isThere(_ process: pid_t) -> Bool {
    // One that has ended and that nobody waits for is a zombie.
    guard let state = try? String(contentsOfFile: "/proc/\(process)/stat", encoding: .utf8) else { return false }
    return state.split(separator: ")").last?.split(separator: " ").first != "Z"
  }
}

/// Several processes train one network.
@Suite(.serialized) struct WorkerTests {
  let crew: Crew

  init() throws { crew = try Crew() }

  /// The run of the launcher that others are compared with.
  private func launched(_ count: Int, _ options: [String] = Crew.options) throws -> ResumeTests.Result {
    let other = try Crew()
    let outcome = try other.launch(count, options).end()
    #expect(outcome.status == 0, "\(outcome.errors)")
    return try ResumeTests.Result(other.output())
  }

  @Test(arguments: [2, 3]) func rankZeroSpeaksForAll(count: Int) throws {
    let running = try (0..<count).map { try crew.start($0, of: count) }
    let outcomes = try running.map { try $0.end() }
    for (rank, outcome) in outcomes.enumerated() {
      #expect(outcome.status == 0, "rank \(rank): \(outcome.errors)")
      #expect(outcome.output.isEmpty == (rank > 0) && outcome.errors.isEmpty == (rank > 0), "\(outcome.errors)")
      #expect(FileManager.default.fileExists(atPath: crew.output(rank)) == (rank == 0))
    }
    let result = try ResumeTests.Result(crew.output())
    #expect(result.runs[0].history.count == 2 && result.files.keys.contains { $0.hasPrefix("weights-last-") })
    #expect(try result == launched(count))
    #expect(try ResultsFile.read("\(crew.output())/results.json").configuration["workers"] == "\(count)")
  }

  @Test func allRanksAreHeardWhenAsked() throws {
    let outcome = try crew.launch(2, Crew.options + ["--verbose", "--epochs", "1"]).end()
    #expect(outcome.status == 0, "\(outcome.errors)")
    let lines = outcome.errors.split(separator: "\n")
    #expect(lines.contains { $0.hasPrefix("debug: rank 0 of 2, process ") }, "\(outcome.errors)")
    #expect(lines.contains { $0.hasPrefix("rank 1: debug: rank 1 of 2, process ") }, "\(outcome.errors)")
    #expect(lines.count { $0.contains("epoch 1/1") } == 1)
  }

  @Test(.enabled(if: ProcessInfo.processInfo.activeProcessorCount > 1), arguments: [true, false])
  func ranksOfAMachineShareItsProcessors(isFree: Bool) throws {
    let running = try Tool.Running(
      ["train", "--output", crew.output(), "--workers", "2", "--verbose", "--epochs", "1"] + Crew.options,
      environment: isFree ? [:] : ["OMP_PROC_BIND": "false"])
    let outcome = try running.end()
    #expect(outcome.status == 0, "\(outcome.errors)")
    let own = outcome.errors.matches(of: /processors ([0-9, ]+), threads/).map { $0.1.split(separator: ", ") }
    #expect(own.count == (isFree ? 2 : 0), "\(outcome.errors)")
    if isFree { #expect(Set(own[0]).isDisjoint(with: own[1]), "\(own)") }
  }

  @Test func interruptedByThreeItGoesOnByTwo() throws {
    let running = try crew.launch(3, Crew.longer)
    Crew.wait([running]) { crew.hasCheckpoint }
    kill(running.process.processIdentifier, SIGINT)
    let outcome = try running.end()
    #expect(outcome.status == 130, "\(outcome.errors)")
    #expect(outcome.errors.components(separatedBy: "Ending after this step").count == 2, "\(outcome.errors)")
    #expect(outcome.errors.contains("norma train --resume \(crew.output())"))
    #expect(crew.hasCheckpoint && crew.parts.isEmpty)
    let more = try Tool.run(["train", "--resume", crew.output(), "--workers", "2"])
    #expect(more.status == 0, "\(more.errors)")
    #expect(more.errors.contains("going on from the checkpoint"), "\(more.errors)")
    let runs = try ResultsFile.read("\(crew.output())/results.json").runs
    #expect(runs[0].history.count == 2 && runs[0].isFinished)
  }

  @Test func normsAreComparedOneAfterTheOther() throws {
    let options = Crew.options.dropFirst(2) + ["--norms", "batch,group:2", "--accumulate", "2", "--dtype", "bfloat16"]
    let results = try ["run", "again"].map { name in
      let path = crew.folder.path(name)
      let outcome = try Tool.run(["compare", "--output", path, "--workers", "2"] + options)
      #expect(outcome.status == 0, "\(outcome.errors)")
      return try ResumeTests.Result(path)
    }
    #expect(results[0] == results[1])
    #expect(results[0].runs.map(\.norm) == ["batch", "group:2"] && results[0].runs.allSatisfy(\.isFinished))
    let configuration = try ResultsFile.read("\(crew.output())/results.json").configuration
    #expect(["workers", "accumulate", "dtype"].map { configuration[$0] } == ["2", "2", "bfloat16"])
  }

  @Test func optionsThatDifferAreNamedOnce() throws {
    let own = [["--seed", "1"], ["--seed", "2", "--epochs", "3"], ["--seed", "1", "--learning-rate", "0.1"]]
    let outcomes = try own.enumerated().map { try crew.start($0, of: 3, Crew.options + $1) }.map { try $0.end() }
    #expect(outcomes.allSatisfy { $0.status == 1 && $0.output.isEmpty })
    let said = outcomes.map(\.errors).joined()
    #expect(
      said
        == "Error: all ranks have to be started with the same options and data as rank 0; rank 1: epochs 3 instead of 2, seed 2 instead of 1; "
        + "rank 2: learning-rate 0.1 instead of 0.001\n")
    #expect(!FileManager.default.fileExists(atPath: crew.output()))
  }

  @Test(arguments: [
    (["RANK": "0"], "WORLD_SIZE is not set"), (["WORLD_SIZE": "2"], "RANK is not set"),
    (["RANK": "0", "WORLD_SIZE": "2"], "MASTER_ADDR is not set"),
    (["RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"], "MASTER_PORT is not set"),
    (["RANK": "2", "WORLD_SIZE": "2"], "RANK should be a number from 0 to 1, got '2'"),
    (["RANK": "one", "WORLD_SIZE": "2"], "RANK should be a number from 0 to 1, got 'one'"),
    (["RANK": "0", "WORLD_SIZE": "0"], "WORLD_SIZE should be a number from 1 to 65535, got '0'"),
    (
      ["RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"],
      "MASTER_PORT should be a number from 1 to 65535, got '0'"
    ),
  ]) func aPlaceThatIsNotWholeIsRefused(environment: [String: String], words: String) throws {
    let outcome = try Tool.run(["train", "--output", crew.output()] + Crew.options, environment: environment)
    #expect(outcome.status == 1 && outcome.errors.contains(words), "\(outcome.errors)")
    #expect(outcome.errors.split(separator: "\n").count == 1, "\(outcome.errors)")
  }

  @Test func whatIsNotSharedOutIsDoneByRankZero() throws {
    for rank in [0, 1] {
      let environment = [
        "RANK": "\(rank)", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "\(crew.port)",
      ]
      let outcome = try Tool.run(["explain", "batch"], environment: environment)
      #expect(outcome.status == 0 && outcome.output.isEmpty == (rank > 0), "\(outcome.output)")
      #expect(try Tool.run(["explain", "batch", "--nothing"], environment: environment).status == 64)
    }
  }

  @Test func twoWaysToStartWorkersAreOneTooMany() throws {
    let outcome = try crew.start(0, of: 2, Crew.options + ["--workers", "2"]).end()
    #expect(outcome.status == 64 && outcome.errors.contains("leave out --workers"), "\(outcome.errors)")
    for (option, value, words) in [
      ("workers", "0", "must be in 1…1024"), ("worker-timeout", "0", "from 1 to 1,000,000 seconds"),
    ] {
      let outcome = try Tool.run(["train", "--\(option)", value])
      #expect(outcome.status == 64 && outcome.errors.contains(words), "\(outcome.errors)")
    }
  }

  @Test(.enabled(if: Crew.torchrun != nil, "torchrun is missing")) func torchrunStartsThem() throws {
    let expected = try launched(2)
    let one = try crew.torchrun(["--nproc-per-node", "2", "--master-port", "\(crew.port)"]).end()
    #expect(one.status == 0, "\(one.errors)")
    #expect(try ResumeTests.Result(crew.output()) == expected)
    // Two machines that know their places.
    let other = try Crew()
    let agents = try (0..<2).map { node in
      try other.torchrun(
        [
          "--nnodes", "2", "--node-rank", "\(node)", "--nproc-per-node", "1", "--master-addr", "127.0.0.1",
          "--master-port", "\(other.port)",
        ], output: other.output(node))
    }
    for agent in agents {
      let outcome = try agent.end()
      #expect(outcome.status == 0, "\(outcome.errors)")
    }
    #expect(try ResumeTests.Result(other.output()) == expected)
    #expect(!FileManager.default.fileExists(atPath: other.output(1)))
  }
}
