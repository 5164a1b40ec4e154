import Foundation
import NormaFormats
import NormaRecords
import NormaReport
import TestSupport
import Testing

/// Runs that end in between.
@Suite struct ResumeTests {
  private static let options = [
    "--width", "2", "--crop", "32", "--epochs", "2", "--samples-per-epoch", "12", "--dropout", "0.2", "--threads", "1",
    "--synthetic-size", "48", "--synthetic-slices", "4", "--val-slices", "1", "--test-slices", "1", "--ema", "0.9",
    "--diagnose",
  ]

  /// What must not depend on interruptions: histories, mixes and scores without times, and the files.
  struct Result: Equatable {
    var runs: [RunRecord]
    let files: [String: Data]

    init(_ folder: String) throws {
      runs = try ResultsFile.read("\(folder)/results.json").runs.map { run in
        var run = run
        run.history = run.history.map {
          var epoch = $0
          (epoch.seconds, epoch.validationSeconds, epoch.dataWaitSeconds) = (0, 0, 0)
          return epoch
        }
        run.stepMilliseconds = run.stepMilliseconds.map { _ in 0 }
        run.dataWaitMilliseconds = run.dataWaitMilliseconds.map { _ in 0 }
        for index in run.diagnoses.indices { run.diagnoses[index].seconds = 0 }
        (run.peakTensorBytes, run.peakProcessBytes) = (0, nil)
        return run
      }
      var files: [String: Data] = [:]
      for name in try FileManager.default.subpathsOfDirectory(atPath: folder)
      where name.hasSuffix(".safetensors") || name.hasSuffix(".tif") || name.hasSuffix(".png")
        || name.hasSuffix(".part")
      {
        files[name] = try Data(contentsOf: URL(fileURLWithPath: "\(folder)/\(name)"))
      }
      self.files = files
    }
  }

  @Test func killedAtAnyMomentItLosesNothing() throws {
    let folder = try TemporaryFolder()
    let whole = try Tool.run(
      ["compare", "--norms", "batch,switchable", "--output", folder.path("whole"), "--quiet"] + Self.options)
    #expect(whole.status == 0, "\(whole.errors)")
    let expected = try Result(folder.path("whole"))
    #expect(
      expected.files.keys.sorted().filter { !$0.hasPrefix("overlays") } == [
        "predictions-batch.tif", "predictions-switchable.tif", "weights-batch.safetensors",
        "weights-switchable.safetensors",
      ])

    let run = folder.path("killed")
    var random = SystemRandomNumberGenerator()
    var kills: [Double] = []
    // The start takes a good part of a second; the moments are spread over start, steps, checkpoints and writing.
    while kills.count < 8 {
      let begin = FileManager.default.fileExists(atPath: "\(run)/results.json")
      let outcome = try Tool.run(
        begin
          ? ["compare", "--resume", run, "--checkpoint-minutes", "0"]
          : ["compare", "--norms", "batch,switchable", "--output", run, "--checkpoint-minutes", "0"] + Self.options
      ) { process in
        let delay = Double.random(in: 0.1...1.6, using: &random)
        kills.append(delay)
        Thread.sleep(forTimeInterval: delay)
        kill(process.processIdentifier, SIGKILL)
      }
      if outcome.status == 0 { break }
    }
    let last = try Tool.run(
      FileManager.default.fileExists(atPath: "\(run)/results.json")
        ? ["compare", "--resume", run]
        : ["compare", "--norms", "batch,switchable", "--output", run, "--overwrite"] + Self.options)
    #expect(last.status == 0, "killed after \(kills): \(last.errors)")
    let result = try Result(run)
    let lines = try [result, expected].map { try jsonText(of: $0.runs).split(separator: "\n") }
    let different = zip(lines[0], lines[1]).filter { $0 != $1 }.prefix(5)
    #expect(result.runs == expected.runs, "killed after \(kills): \(different)")
    #expect(result.files == expected.files, "killed after \(kills)")
  }

  /// Of the network's shape a record keeps what is not usual, and a run goes on with the same network alone.
  @Test func theNetworksShapeIsKept() throws {
    let folder = try TemporaryFolder()
    let (run, again) = (folder.path("run"), folder.path("again"))
    let first = try Tool.run(
      ["train", "--residual", "--depth", "2", "--upsampling", "transposed", "--output", run] + Self.options)
    #expect(first.status == 0, "\(first.errors)")
    let configuration = try ResultsFile.read("\(run)/results.json").configuration
    #expect(["residual", "depth", "upsampling"].map { configuration[$0] } == ["true", "2", "transposed"])
    #expect(configuration["padding"] == nil && configuration["dimensions"] == nil)
    let second = try Tool.run(["train", "--config", "\(run)/config.yaml", "--output", again])
    #expect(second.status == 0, "\(second.errors)")
    let weights = try [run, again].map { try Data(contentsOf: URL(fileURLWithPath: "\($0)/weights-batch.safetensors")) }
    #expect(weights[0] == weights[1])
    #expect(try Tool.run(["train", "--resume", run]).status == 0)
    let other = try Tool.run(["train", "--resume", run, "--no-residual", "--depth", "4"])
    #expect(other.status != 0)
    #expect(
      other.errors.contains("--depth 2 there, not given now") && other.errors.contains("--residual true there"),
      "\(other.errors)")
  }

  @Test(arguments: [SIGINT, SIGTERM]) func anInterruptionLeavesTableAndCheckpoint(signal: Int32) throws {
    let folder = try TemporaryFolder()
    func arguments(_ name: String) -> [String] {
      ["train", "--norm", "group:2", "--output", folder.path(name)] + Self.options
        + ["--samples-per-epoch", "40", "--epochs", "3"]
    }
    #expect(try Tool.run(arguments("whole")).status == 0)
    let run = folder.path("run")
    let outcome = try Tool.run(arguments("run")) { process in
      // In the second epoch: what is measured at its end refers to the end of the first.
      let history = "\(run)/history-group-2.csv"
      while process.isRunning,
        (try? String(contentsOfFile: history, encoding: .utf8).split(separator: "\n").count) ?? 0 < 2
      {
        usleep(10_000)
      }
      usleep(50_000)
      kill(process.processIdentifier, signal)
    }
    #expect(outcome.status == 128 + signal, "\(outcome.errors)")
    #expect(outcome.output.contains("group:2 is unfinished: "))
    #expect(outcome.errors.contains("norma train --resume \(run)"))
    #expect(FileManager.default.fileExists(atPath: "\(run)/checkpoint-group-2.safetensors"))
    #expect(FileManager.default.fileExists(atPath: "\(run)/report.html"))
    let more = try Tool.run(["train", "--resume", run, "--verbose"])
    #expect(more.status == 0, "\(more.errors)")
    #expect(more.errors.contains("debug: checkpoint"))
    #expect(try Result(run) == Result(folder.path("whole")))
    #expect(try Result(run).files.keys.contains("weights-last-group-2.safetensors"))
    for (weights, isThere) in [("last", true), ("best", true), ("worst", false)] {
      let export = try Tool.run([
        "export", "--model", run, "--weights", weights, "--onnx", folder.path("\(weights).onnx"),
      ])
      #expect((export.status == 0) == isThere, "\(export.errors)")
    }
    let other = try Tool.run(["train", "--resume", run, "--epochs", "4"])
    #expect(other.status != 0 && other.errors.contains("--epochs 3 there, 4 now"))
    let stranger = try Tool.run(["train", "--resume", run, "--norm", "batch"])
    #expect(stranger.status != 0 && stranger.errors.contains("norma compare --resume"))
    let far = try Tool.run(["compare", "--resume", run, "--seed", "10"])
    #expect(far.status != 0 && far.errors.contains("0, 10 together"))
  }

  @Test func onlyTheSameDataGoOn() throws {
    let folder = try TemporaryFolder()
    let run = folder.path("run")
    let labels = try folder.writeStack("labels.tif") { _, y, x in (x / 8 + y / 8) % 2 == 0 ? 0 : 255 }
    func images(_ step: Int) throws -> String {
      try folder.writeStack("images.tif") { page, y, x in Float((x * 7 + y * step + page) % 256) }
    }
    let small = ["--width", "2", "--crop", "32", "--epochs", "1", "--samples-per-epoch", "2", "--val-slices", "1"]
    let arguments = ["compare", "--norms", "none", "--labels", labels, "--output", run] + small
    #expect(try Tool.run(arguments + ["--images", images(3)]).status == 0)
    _ = try images(5)
    let other = try Tool.run(["compare", "--resume", run, "--norms", "none,batch"])
    #expect(other.status == 1 && other.errors.contains("images or labels are not those"), "\(other.errors)")
    _ = try images(3)
    #expect(try Tool.run(["compare", "--resume", run, "--norms", "none,batch"]).status == 0)
  }

  @Test func aNewRunTakesNoCheckpointOfAnother() throws {
    let folder = try TemporaryFolder()
    let run = folder.path("run")
    let arguments = ["train", "--norm", "none", "--output", run] + Self.options
    #expect(try Tool.run(arguments).status == 0)
    let expected = try Result(run)
    // A checkpoint of a training with other data, and nothing that tells of it.
    let other = try Tool.run(arguments + ["--overwrite", "--synthetic-seed", "5", "--samples-per-epoch", "200"]) {
      process in
      let checkpoint = "\(run)/checkpoint-none.safetensors"
      while process.isRunning, !FileManager.default.fileExists(atPath: checkpoint) { usleep(10_000) }
      kill(process.processIdentifier, SIGKILL)
    }
    #expect(other.status == SIGKILL)
    try FileManager.default.removeItem(atPath: "\(run)/results.json")
    #expect(try Tool.run(arguments).status == 0)
    #expect(try Result(run) == expected)
    // What a process leaves that is killed between its last two steps.
    try Data("whatever".utf8).write(to: URL(fileURLWithPath: "\(run)/checkpoint-none.safetensors"))
    #expect(try Tool.run(["train", "--resume", run]).status == 0)
    #expect(try Result(run) == expected)
  }

  @Test func twoRunsCannotShareAFolder() throws {
    let folder = try TemporaryFolder()
    let run = folder.path("run")
    let arguments = ["train", "--norm", "none", "--output", run] + Self.options
    let lock = try FolderLock(folder.url.path)
    #expect(throws: FormatError.self) { try FolderLock(folder.url.path) }
    try FileManager.default.createDirectory(atPath: run, withIntermediateDirectories: true)
    try withExtendedLifetime((lock, FolderLock(run))) {
      let outcome = try Tool.run(arguments)
      #expect(outcome.status == 1 && outcome.errors.contains("another process"), "\(outcome.errors)")
    }
    #expect(try Tool.run(arguments).status == 0)
  }

  @Test(arguments: ["", "../../precious", ".", "a/b"]) func stemsThatLeaveTheFolderAreRefused(stem: String) throws {
    let folder = try TemporaryFolder()
    let run = folder.path("run")
    #expect(try Tool.run(["train", "--norm", "none", "--output", run] + Self.options).status == 0)
    var record = try ResultsFile.read("\(run)/results.json")
    (record.runs[0].fileStem, record.runs[0].isFinished) = (stem, false)
    try Data(ResultsFile.text(record).utf8).write(to: URL(fileURLWithPath: "\(run)/results.json"))
    try Data().write(to: folder.url.appendingPathComponent("precious"))
    for more in [["--resume", run], ["--output", run, "--overwrite"] + Self.options] {
      let outcome = try Tool.run(["train"] + more)
      if more[0] == "--resume" { #expect(outcome.status == 1 && outcome.errors.contains("names of files")) }
      #expect(FileManager.default.fileExists(atPath: folder.path("precious")))
    }
  }

  @Test func aFullDiskIsNamedAndLeavesTheLastCheckpoint() throws {
    let folder = try TemporaryFolder()
    let run = folder.path("run")
    // The shell's limit is in blocks of 512 or 1024 bytes: the event files fit in, checkpoints do not.
    let words = [Tool.path.path, "train", "--norm", "batch", "--output", run] + Self.options
    let outcome = try Tool.run(
      ["-c", "ulimit -f 200; exec \"$@\"", "sh"] + words, executable: URL(fileURLWithPath: "/bin/sh"))
    #expect(outcome.status == 1, "\(outcome.errors)")
    #expect(outcome.errors.contains("cannot write '\(run)/checkpoint-batch.safetensors': File too large"))
    let names = try FileManager.default.contentsOfDirectory(atPath: run)
    #expect(!names.contains { $0.hasSuffix(".part") })
    let more = try Tool.run(["train", "--resume", run])
    #expect(more.status == 0, "\(more.errors)")
  }

  @Test func aDamagedCheckpointIsNamed() throws {
    let folder = try TemporaryFolder()
    let run = folder.path("run")
    #expect(try Tool.run(["train", "--norm", "none", "--output", run] + Self.options).status == 0)
    var record = try ResultsFile.read("\(run)/results.json")
    record.runs[0].isFinished = false
    try Data(ResultsFile.text(record).utf8).write(to: URL(fileURLWithPath: "\(run)/results.json"))
    let checkpoint = "\(run)/checkpoint-none.safetensors"
    let weights = try Data(contentsOf: URL(fileURLWithPath: "\(run)/weights-none.safetensors"))
    for (data, part) in [
      (weights, "no checkpoint"), (weights.prefix(weights.count - 1), "incomplete"), (Data("text".utf8), "4 bytes"),
    ] {
      try data.write(to: URL(fileURLWithPath: checkpoint))
      let outcome = try Tool.run(["train", "--resume", run])
      #expect(outcome.status == 1)
      #expect(outcome.errors.contains(checkpoint) && outcome.errors.contains(part), "\(outcome.errors)")
      #expect(!outcome.errors.contains("Fatal"))
    }
  }
}

@Suite struct ConfigurationTests {
  private static let text = """
    # A small run.
    norms: [batch, "group:2"]
    width: 2
    crop: 32
    epochs: 1
    samples-per-epoch: 4
    synthetic-size: 48
    synthetic-slices: 4
    val-slices: 1
    batch-size: 2
    diagnose: true
    threads: 1
    """

  private func compare(_ text: String, _ more: [String], in folder: TemporaryFolder) throws -> Tool.Outcome {
    try Data(text.utf8).write(to: folder.url.appendingPathComponent("run.yaml"))
    return try Tool.run(["compare", "--config", "run.yaml"] + more, in: folder.url)
  }

  @Test func aRunIsBegunFromItsFileAndOverridden() throws {
    let folder = try TemporaryFolder()
    let first = try compare(Self.text, ["--output", "a"], in: folder)
    #expect(first.status == 0, "\(first.errors)")
    let a = try ResultsFile.read(folder.path("a/results.json"))
    #expect(a.runs.map(\.norm) == ["batch", "group:2"])
    #expect(a.configuration["batch-size"] == "2" && a.configuration["diagnose"] == "true")

    // The saved file gives the same run.
    let again = try Tool.run(["compare", "--config", folder.path("a/config.yaml"), "--output", folder.path("b")])
    #expect(again.status == 0, "\(again.errors)")
    let b = try ResultsFile.read(folder.path("b/results.json"))
    #expect(b.configuration == a.configuration)
    #expect(b.runs.map { $0.history.map(\.validationLoss) } == a.runs.map { $0.history.map(\.validationLoss) })
    #expect(
      try String(contentsOfFile: folder.path("b/config.yaml"), encoding: .utf8)
        == String(contentsOfFile: folder.path("a/config.yaml"), encoding: .utf8))

    let other = try compare(
      Self.text, ["--output", "c", "--batch-sizes", "1,2", "--norms=none", "--no-diagnose"], in: folder)
    #expect(other.status == 0, "\(other.errors)")
    let c = try ResultsFile.read(folder.path("c/results.json"))
    #expect(c.configuration["batch-size"] == "1,2" && c.configuration["diagnose"] == "false")
    #expect(c.runs.map(\.norm) == ["none", "none"])
  }

  @Test func trainTakesAFileOfItsOwn() throws {
    let folder = try TemporaryFolder()
    try Data(Self.text.replacing("norms: [batch, \"group:2\"]", with: "norm: layer").utf8)
      .write(to: folder.url.appendingPathComponent("train.yaml"))
    let outcome = try Tool.run(["train", "--config", "train.yaml", "--output", "run"], in: folder.url)
    #expect(outcome.status == 0, "\(outcome.errors)")
    let saved = try String(contentsOfFile: folder.path("run/config.yaml"), encoding: .utf8)
    #expect(saved.contains("\nnorm: layer\n") && !saved.contains("seeds"))
    #expect(try Tool.run(["train", "--config", "run/config.yaml", "--output", "again"], in: folder.url).status == 0)
  }

  static let broken: [(text: String, says: [String])] = [
    ("epohcs: 5", ["'epohcs'", "did you mean 'epochs'?"]),
    ("batchsize: 5", ["did you mean 'batch-size'?"]),
    ("zzzzzzzzzzzz: 5", ["the known ones are", "learning-rate"]),
    ("config: run.yaml", ["unknown key 'config'"]),
    ("epochs: 5\nepochs: 6", ["run.yaml"]),
    ("epochs:", ["'epochs' has no value"]),
    ("epochs: {a: 1}", ["'epochs' should be a value"]),
    ("norms: [[a]]", ["'norms' should be a value"]),
    ("epochs: many", ["many", "--epochs"]),
    ("diagnose: maybe", ["true or false", "maybe"]),
    ("- a\n- b", ["a mapping of option names"]),
    ("a: [", ["it is no YAML"]),
    ("\u{7}", ["it is no YAML"]),
    (String(repeating: "[", count: 100_000), ["it is no YAML"]),
    (String(repeating: "- ", count: 100_000), ["it is no YAML"]),
    ("x: " + String(repeating: "x", count: 2 << 20), ["at most 1048576 bytes"]),
  ]

  @Test(arguments: broken.indices) func brokenFilesAreNamed(index: Int) throws {
    let folder = try TemporaryFolder()
    let outcome = try compare(Self.broken[index].text, ["--output", "run"], in: folder)
    #expect(outcome.status != 0)
    for text in Self.broken[index].says { #expect(outcome.errors.contains(text), "\(outcome.errors.prefix(2000))") }
    #expect(outcome.errors.split(separator: "\n").count { $0.hasPrefix("Error:") } == 1)
    #expect(!outcome.errors.contains("Fatal"))
    #expect(folder.names == ["run.yaml"])
  }

  @Test func messagesAreAsManyAsAskedFor() throws {
    let folder = try TemporaryFolder()
    let quiet = try compare(Self.text, ["--output", "a", "--quiet"], in: folder)
    #expect(quiet.status == 0 && quiet.errors.isEmpty, "\(quiet.errors)")
    #expect(quiet.output.contains("group:2"))
    let verbose = try compare(Self.text, ["--output", "b", "--verbose"], in: folder)
    #expect(verbose.errors.contains("kernels, 1 threads") && verbose.errors.contains("epoch 1/1"))
  }
}
