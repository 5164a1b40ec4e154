import Foundation
import NormaFormats
import NormaRecords
import NormaReport
import Synchronization
import TestSupport
import Testing

/// Several processes in one folder.
@Suite struct ShareTests {
  private static let options = [
    "--width", "2", "--crop", "32", "--epochs", "2", "--dropout", "0.2", "--threads", "1",
    "--synthetic-size", "48", "--synthetic-slices", "4", "--val-slices", "1", "--test-slices", "1",
  ]
  // A busy machine may keep a process from telling for seconds that it is there.
  private static let sharing = ["--share", "--claim-timeout", "5"]

  private func run(
    _ grid: [String], _ output: String, _ more: [String] = sharing, samples: Int = 12,
    started: (Process) throws -> Void = { _ in }
  ) throws -> Tool.Outcome {
    try Tool.run(
      ["compare", "--output", output, "--samples-per-epoch", "\(samples)"] + grid + Self.options + more,
      started: started)
  }

  /// Runs processes at the same time.
  private func together(_ runs: [@Sendable () throws -> Tool.Outcome]) throws -> [Tool.Outcome] {
    let results = Mutex<[Int: Swift.Result<Tool.Outcome, any Error>]>([:])
    DispatchQueue.concurrentPerform(iterations: runs.count) { index in
      let result = Swift.Result { try runs[index]() }
      results.withLock { $0[index] = result }
    }
    return try results.withLock { all in try all.sorted { $0.key < $1.key }.map { try $0.value.get() } }
  }

  /// Waits until a training has ended an epoch and is at steps of the next.
  private func waitForEpoch(_ process: Process, _ run: String, _ stem: String) {
    let history = "\(run)/history-\(stem).csv"
    while process.isRunning,
      (try? String(contentsOfFile: history, encoding: .utf8).split(separator: "\n").count) ?? 0 < 2
    {
      usleep(5_000)
    }
    usleep(100_000)
  }

  private func names(_ folder: String) throws -> [String] {
    try FileManager.default.contentsOfDirectory(atPath: folder)
  }

  @Test func everyTrainingIsDoneOnce() throws {
    let folder = try TemporaryFolder()
    let (whole, shared) = (folder.path("whole"), folder.path("shared"))
    let grid = ["--norms", "batch,group:2", "--seeds", "2", "--diagnose"]
    let alone = try run(grid, whole, [])
    #expect(alone.status == 0, "\(alone.errors)")
    let expected = try ResumeTests.Result(whole)

    let outcomes = try together(Array(repeating: { try self.run(grid, shared) }, count: 3))
    for outcome in outcomes {
      #expect(outcome.status == 0, "\(outcome.errors)")
      #expect(outcome.output == outcomes[0].output)
    }
    let errors = outcomes.map(\.errors).joined()
    for norm in ["batch", "group:2"] {
      for seed in 0...1 {
        let count = errors.components(separatedBy: "\(norm) seed\(seed) epoch 1/2").count - 1
        #expect(count == 1, "\(norm), seed \(seed): \(count)\n\(errors)")
      }
    }
    #expect(try ResumeTests.Result(shared) == expected)
    #expect(try names("\(shared)/shared").filter { !$0.hasSuffix(".json") } == [])
    let (a, b) = (try ResultsFile.read("\(whole)/results.json"), try ResultsFile.read("\(shared)/results.json"))
    #expect(
      a.configuration == b.configuration && a.environment == b.environment && a.analysis.count == b.analysis.count)
    let (files, sharedFiles) = (try names(whole).sorted(), try names(shared).sorted())
    #expect(files == sharedFiles.filter { $0 != "shared" })

    // Whoever comes late gets the same table.
    let late = try run(grid, shared)
    #expect(late.status == 0 && late.output == outcomes[0].output && !late.errors.contains("epoch"), "\(late.errors)")

    // A failure is left as it is by those who join, and tried again by those who go on.
    let file = "\(shared)/shared/batch-batch1-rate0.001-seed0.json"
    var failed = try record(RunRecord.self, fromJSON: String(contentsOfFile: file, encoding: .utf8))
    (failed.failure, failed.scores) = ("out of memory", [:])
    try AtomicFile.write(jsonText(of: failed), to: file)
    let joined = try run(grid, shared)
    #expect(joined.output.contains("batch-seed0 failed: out of memory") && !joined.errors.contains("epoch"))
    let again = try Tool.run(["compare", "--resume", shared] + Self.sharing)
    #expect(again.status == 0 && again.errors.contains("batch seed0 epoch 1/2"), "\(again.errors)")
    #expect(!again.errors.contains("seed1 epoch"))
    #expect(try ResumeTests.Result(shared) == expected)

    try refusals(grid, shared)

    // What is there goes on without sharing.
    let alone2 = try Tool.run(["compare", "--resume", shared, "--seeds", "2"])
    #expect(alone2.status == 0 && !alone2.errors.contains("epoch"), "\(alone2.errors)")
    #expect(!FileManager.default.fileExists(atPath: "\(shared)/shared"))
    #expect(try ResumeTests.Result(shared) == expected)
    let stranger = try run(grid, shared)
    #expect(stranger.status == 1 && stranger.errors.contains("already holds the results"), "\(stranger.errors)")
  }

  private func refusals(_ grid: [String], _ shared: String) throws {
    func refused(_ arguments: [String], _ parts: String...) throws {
      let outcome = try Tool.run(["compare"] + arguments)
      #expect(outcome.status != 0, "\(arguments)")
      for part in parts { #expect(outcome.errors.contains(part), "\(outcome.errors)") }
      #expect(!outcome.errors.contains("Fatal"))
    }
    let here = ["--output", shared, "--samples-per-epoch", "12"] + Self.options
    try refused(
      here + Self.sharing + ["--norms", "batch,layer", "--seeds", "2", "--diagnose", "--epochs", "3"],
      "--epochs 2 there, 3 now", "--norms batch,group:2 there, batch,layer now", "--resume in the place of --output")
    try refused(here + Self.sharing + grid + ["--synthetic-seed", "4"], "--synthetic-seed 0 there, 4 now")
    try refused(here + Self.sharing + grid + ["--overwrite"], "--overwrite would remove what other processes")
    try refused(Self.options + ["--share"], "--share needs the folder")
    try refused(here + grid + ["--claim-timeout", "5"], "give --share too")
    try refused(here + grid + ["--no-wait"], "--no-wait is for processes that share")
    try refused(here + grid + ["--share", "--claim-timeout", "0.5"], "1…86400 seconds, got 0.5")

    // A process of another machine is there, of which no lock tells.
    let claim = "\(shared)/shared/batch-batch1-rate0.001-seed0.claim-1"
    try Data("60 s unless renewed; process 7 on elsewhere\n".utf8).write(to: URL(fileURLWithPath: claim))
    for more in [["--resume", shared], here + grid + ["--overwrite"]] {
      try refused(more, "process 7 on elsewhere", "pass --share to join")
    }
    try FileManager.default.removeItem(atPath: claim)
    // One of this machine has the folder for itself, or shares it.
    try withExtendedLifetime(FolderLock(shared)) {
      try refused(here + Self.sharing + grid, "another process is writing into this folder, without sharing it")
    }
    try withExtendedLifetime(FolderLock(shared, isShared: true)) {
      try refused(["--resume", shared], "processes that share it are writing")
    }
    // What leads out of the folder is not followed.
    let file = "\(shared)/shared/batch-batch1-rate0.001-seed0.json"
    let text = try String(contentsOfFile: file, encoding: .utf8)
    for (part, told) in [("../../x", "names of files"), (nil, "is damaged")] as [(String?, String)] {
      let broken = part.map { text.replacing("\"fileStem\" : \"batch-seed0\"", with: "\"fileStem\" : \"\($0)\"") }
      try AtomicFile.write(broken ?? String(text.dropLast(5)), to: file)
      try refused(here + Self.sharing + grid, told)
    }
    try AtomicFile.write(text, to: file)
  }

  @Test func ofAKilledProcessOthersGoOn() throws {
    let folder = try TemporaryFolder()
    let (whole, shared) = (folder.path("whole"), folder.path("shared"))
    let grid = ["--norms", "none,batch", "--seeds", "2"]
    #expect(try run(grid, whole, [], samples: 40).status == 0)
    let others = Mutex<[Tool.Outcome]>([])
    let killed = try run(grid, shared, Self.sharing + ["--checkpoint-minutes", "0"], samples: 40) { process in
      waitForEpoch(process, shared, "none-seed0")
      kill(process.processIdentifier, SIGKILL)
      let outcomes = try together(Array(repeating: { try self.run(grid, shared, samples: 40) }, count: 2))
      others.withLock { $0 = outcomes }
    }
    #expect(killed.status == SIGKILL)
    let outcomes = others.withLock { $0 }
    #expect(outcomes.count == 2)
    for outcome in outcomes { #expect(outcome.status == 0, "\(outcome.errors)") }
    let errors = outcomes.map(\.errors).joined()
    #expect(errors.components(separatedBy: "is taken over from process").count == 2, "\(errors)")
    // Only what was not done yet.
    #expect(
      errors.contains("going on from the checkpoint, 1 epochs") && !errors.contains("none seed0 epoch 1/2"), "\(errors)"
    )
    #expect(try ResumeTests.Result(shared) == ResumeTests.Result(whole))
    #expect(try names("\(shared)/shared").filter { !$0.hasSuffix(".json") } == [])
  }

  @Test func aProcessThatSleptWritesNothingOfWhatWasTakenOver() throws {
    let folder = try TemporaryFolder()
    let (whole, shared) = (folder.path("whole"), folder.path("shared"))
    let grid = ["--norms", "none,batch"]
    #expect(try run(grid, whole, [], samples: 40).status == 0)
    func written() throws -> [String: Date] {
      var dates: [String: Date] = [:]
      for name in try FileManager.default.subpathsOfDirectory(atPath: shared)
      where name.contains("none") && !name.hasPrefix("charts") {
        dates[name] =
          try FileManager.default.attributesOfItem(atPath: "\(shared)/\(name)")[.modificationDate] as? Date
      }
      return dates
    }
    var before: [String: Date] = [:]
    let slept = try run(grid, shared, samples: 40) { process in
      waitForEpoch(process, shared, "none")
      kill(process.processIdentifier, SIGSTOP)
      defer { kill(process.processIdentifier, SIGCONT) }
      let other = try run(grid, shared, samples: 40)
      #expect(other.status == 0, "\(other.errors)")
      #expect(other.errors.contains("is taken over from process \(process.processIdentifier)"), "\(other.errors)")
      before = try written()
    }
    #expect(slept.status == 0, "\(slept.errors)")
    #expect(slept.errors.contains("was taken over by another process"), "\(slept.errors)")
    #expect(slept.output.contains("none") && slept.output.contains("batch") && !slept.output.contains("unfinished"))
    #expect(try written() == before && before.count > 4)
    #expect(try ResumeTests.Result(shared) == ResumeTests.Result(whole))
  }

  @Test func anInterruptedProcessLeavesItsTrainingToOthers() throws {
    let folder = try TemporaryFolder()
    let (whole, shared) = (folder.path("whole"), folder.path("shared"))
    #expect(try run(["--norms", "none"], whole, [], samples: 40).status == 0)
    let outcome = try run(["--norms", "none"], shared, ["--share"], samples: 40) { process in
      waitForEpoch(process, shared, "none")
      // It is to be under way still when the other one looks.
      kill(process.processIdentifier, SIGSTOP)
      defer { kill(process.processIdentifier, SIGCONT) }
      let other = try run(["--norms", "none"], shared, ["--share", "--no-wait"], samples: 40)
      #expect(other.status == 0, "\(other.errors)")
      #expect(
        other.errors.contains(
          "still under way elsewhere: none-batch1-rate0.001-seed0 (process \(process.processIdentifier) on"),
        "\(other.errors)")
      #expect(other.output.contains("none is unfinished"))
      kill(process.processIdentifier, SIGINT)
    }
    #expect(outcome.status == 130, "\(outcome.errors)")
    #expect(outcome.errors.contains("norma compare --resume \(shared) --share"))
    // At once: the time-out is two minutes.
    let started = Date()
    let more = try Tool.run(["compare", "--resume", shared, "--share"])
    #expect(Date().timeIntervalSince(started) < 60)
    #expect(more.status == 0 && !more.errors.contains("taken over"), "\(more.errors)")
    #expect(more.errors.contains("going on from the checkpoint, 1 epochs"))
    #expect(try ResumeTests.Result(shared) == ResumeTests.Result(whole))
  }

  /// From a process alone to several with a wider grid, and on another machine.
  @Test func aRunThatWasBegunAloneGoesOnShared() throws {
    let folder = try TemporaryFolder()
    let (whole, shared) = (folder.path("whole"), folder.path("shared"))
    #expect(try run(["--norms", "none,batch", "--seeds", "2"], whole, [], samples: 40).status == 0)
    let alone = try run(["--norms", "none", "--seeds", "2"], shared, [], samples: 40) { process in
      waitForEpoch(process, shared, "none-seed0")
      kill(process.processIdentifier, SIGTERM)
    }
    #expect(alone.status == 143)
    var begun = try ResultsFile.read("\(shared)/results.json")
    let here = begun.environment
    begun.environment.processor = "another one"
    try AtomicFile.write(ResultsFile.text(begun), to: "\(shared)/results.json")
    let outcomes = try together(
      Array(
        repeating: { try Tool.run(["compare", "--resume", shared, "--norms", "none,batch"] + Self.sharing) }, count: 2))
    for outcome in outcomes {
      #expect(outcome.status == 0, "\(outcome.errors)")
      #expect(outcome.errors.contains("begun on another machine"))
    }
    var result = try ResumeTests.Result(shared)
    #expect(result.runs.allSatisfy { $0.environment == here })
    for index in result.runs.indices { result.runs[index].environment = nil }
    // Those of the narrower grid stand first.
    let order = ["none 0", "none 1", "batch 0", "batch 1"]
    let expected = try ResumeTests.Result(whole)
    #expect(Set(result.runs.map { "\($0.norm) \($0.cell.seed)" }) == Set(order))
    for run in expected.runs { #expect(result.runs.contains(run)) }
    #expect(result.files == expected.files)
    #expect(try ResultsFile.read("\(shared)/results.json").configuration["norms"] == "none,batch")
    let page = try String(contentsOfFile: "\(shared)/report.html", encoding: .utf8)
    #expect(page.contains("different machines"))
  }
}
