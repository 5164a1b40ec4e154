import Foundation
import NormaFormats
import NormaRecords
import NormaReport
import TestSupport
import Testing

/// Options that make a run small.
private let small = [
  "--width", "2", "--crop", "32", "--epochs", "2", "--samples-per-epoch", "6", "--dropout", "0.1", "--threads", "1",
]
private let smallSynthetic = small + ["--synthetic-size", "48", "--synthetic-slices", "4", "--val-slices", "2"]

@Suite struct CompareTests {
  @Test func leavesWhatItPromises() throws {
    let folder = try TemporaryFolder()
    let outcome = try Tool.run(
      ["compare", "--norms", "none,batch,group:2,switchable", "--output", folder.path("run")] + smallSynthetic)
    #expect(outcome.status == 0, "\(outcome.errors)")
    #expect(outcome.output.contains("synthetic"))
    for norm in ["none", "batch", "group:2", "switchable"] {
      #expect(outcome.output.split(separator: "\n").contains { $0.hasPrefix(norm) })
      let file = norm.replacing(":", with: "-")
      let csv = try String(contentsOfFile: folder.path("run/history-\(file).csv"), encoding: .utf8)
      let lines = csv.split(separator: "\n")
      #expect(lines[0] == "epoch,acc,loss,val_acc,val_loss,seconds")
      #expect(lines.count == 3)
      let predictions = try TIFF.read(folder.path("run/predictions-\(file).tif"))
      #expect(predictions.pages == 2)
      #expect(predictions.channels == 1)
      #expect(predictions.height == 48 && predictions.width == 48)
      #expect(predictions.values.allSatisfy { (0...1).contains($0) })
      #expect(FileManager.default.fileExists(atPath: folder.path("run/weights-\(file).safetensors")))
      for slice in 2..<4 {
        let overlay = try PNG.read(folder.path("run/overlays/\(file)-slice-\(slice).png"))
        #expect(overlay.channels == 3)
      }
    }
    let record = try ResultsFile.record(
      fromText: String(contentsOfFile: folder.path("run/results.json"), encoding: .utf8))
    #expect(record.runs.map(\.norm) == ["none", "batch", "group:2", "switchable"])
    #expect(record.data.isSynthetic)
    #expect(record.configuration["crop"] == "32")
    #expect(record.configuration["allocator"] == "caching")
    for norm in record.runs {
      #expect(norm.history.count == 2)
      #expect(norm.stepMilliseconds.count == 12)
      #expect(norm.peakTensorBytes > 100_000)
      #expect(norm.failure == nil)
      #expect(
        norm.history.allSatisfy { (0...1).contains($0.validationScores["accuracy"] ?? .nan) && $0.validationLoss > 0 })
    }
    #expect(record.runs[3].mixes.map(\.count) == [22, 22], "after every epoch")
    #expect(record.runs[0].mixes == [[], []])
  }

  @Test func overwritingLeavesNothingOfOtherNorms() throws {
    let folder = try TemporaryFolder()
    let options = ["--output", folder.path("run")] + smallSynthetic
    #expect(try Tool.run(["compare", "--norms", "layer"] + options).status == 0)
    try Data("mine".utf8).write(to: folder.url.appendingPathComponent("run/notes.txt"))
    #expect(try Tool.run(["compare", "--norms", "none", "--overwrite"] + options).status == 0)
    let names = try FileManager.default.subpathsOfDirectory(atPath: folder.path("run")).sorted()
    #expect(names.count { $0.hasPrefix("tensorboard/none/events.out.tfevents.") } == 1)
    #expect(
      names.filter { !$0.hasPrefix("tensorboard/none/") } == [
        "charts", "charts/memory-batch1.svg", "charts/score-batch1.svg", "charts/step-batch1.svg",
        "charts/training-loss-batch1.svg", "charts/validation-accuracy-batch1.svg",
        "charts/validation-loss-batch1.svg", "config.yaml", "history-none.csv", "history-none.jsonl", "notes.txt",
        "overlays",
        "overlays/none-slice-2.png", "overlays/none-slice-3.png", "predictions-none.tif", "report.html", "results.json",
        "tensorboard", "tensorboard/none", "weights-none.safetensors",
      ])
  }

  @Test func sameSeedSameNumbers() throws {
    let folder = try TemporaryFolder()
    func histories(_ name: String, seed: String, _ more: [String] = []) throws -> [[Double]] {
      let outcome = try Tool.run(
        ["compare", "--norms", "batch", "--augment", "full", "--seed", seed, "--output", folder.path(name)]
          + smallSynthetic + more)
      #expect(outcome.status == 0, "\(outcome.errors)")
      let record = try ResultsFile.record(
        fromText: String(contentsOfFile: folder.path("\(name)/results.json"), encoding: .utf8))
      return record.runs[0].history.map {
        [$0.loss, $0.validationLoss, $0.scores["accuracy"] ?? .nan, $0.validationScores["accuracy"] ?? .nan]
      }
    }
    let first = try histories("a", seed: "7")
    #expect(try histories("b", seed: "7") == first)
    #expect(try histories("c", seed: "8") != first)
    #expect(try histories("d", seed: "7", ["--allocator", "system"]) == first)
  }

  @Test func readsFilesOfThreeClassesWithAnIgnoreValue() throws {
    let folder = try TemporaryFolder()
    let images = try folder.writeStack("images.tif", format: .uint16) { page, y, x in
      Float((x * 1000 + page * 37 + y) % 65536)
    }
    let labels = try folder.writeStack("labels.tif") { _, y, x in y < 3 ? 9 : (x < 16 ? 1 : (x < 32 ? 2 : 5)) }
    let outcome = try Tool.run(
      [
        "train", "--norm", "switchable", "--images", images, "--labels", labels, "--ignore-label", "9", "--loss",
        "cross-entropy+dice", "--class-weights", "1,2,0.5", "--border-weights", "--val-slices", "1", "--dtype",
        "bfloat16",
        "--schedule", "one-cycle", "--optimizer", "nesterov", "--json", "--output", folder.path("run"),
      ] + small)
    #expect(outcome.status == 0, "\(outcome.errors)")
    let record = try ResultsFile.record(fromText: outcome.output)
    #expect(record.data.classes == 3)
    #expect(record.runs[0].history.last?.validationDice.count == 3)
    #expect(try TIFF.read(folder.path("run/predictions-switchable.tif")).channels == 3)
  }

  @Test func aConstantPredictionIsNamed() throws {
    let folder = try TemporaryFolder()
    // Labels that say nothing about the images, most of one class.
    let images = try folder.writeStack("images.tif") { _, _, _ in 100 }
    let labels = try folder.writeStack("labels.tif") { _, y, x in x % 16 == 0 && y % 16 == 0 ? 0 : 255 }
    let outcome = try Tool.run([
      "compare", "--norms", "batch", "--images", images, "--labels", labels, "--val-slices", "1", "--width", "2",
      "--crop", "32", "--epochs", "1", "--samples-per-epoch", "60", "--learning-rate", "0.01", "--head", "plain",
      "--dropout", "0", "--output", folder.path("run"),
    ])
    #expect(outcome.status == 0, "\(outcome.errors)")
    #expect(outcome.output.contains("batch has collapsed: it predicts class 1"))
  }

  @Test func aDivergedRunStopsAndKeepsWhatItWrote() throws {
    let folder = try TemporaryFolder()
    let outcome = try Tool.run(
      ["compare", "--norms", "none", "--optimizer", "sgd", "--learning-rate", "1e30", "--output", folder.path("run")]
        + smallSynthetic)
    #expect(outcome.status == 1)
    #expect(outcome.errors.contains("the loss became"))
    let record = try ResultsFile.record(
      fromText: String(contentsOfFile: folder.path("run/results.json"), encoding: .utf8))
    #expect(record.runs[0].failure?.contains("learning rate") == true)
  }

  @Test func aGridIsComparedAndGoesOn() throws {
    let folder = try TemporaryFolder()
    let results = folder.path("run/results.json")
    func compare(_ norms: String, _ seeds: String, _ more: [String] = []) throws -> Tool.Outcome {
      try Tool.run(
        ["compare", "--norms", norms, "--seeds", seeds]
          + (more.contains("--resume")
            ? [] : ["--batch-sizes", "1,3", "--output", folder.path("run")] + smallSynthetic + ["--val-slices", "1"])
          + more)
    }
    let first = try compare("batch,group:2", "1", ["--test-slices", "1"])
    #expect(first.status == 0, "\(first.errors)")
    let before = try ResultsFile.read(results)
    #expect(before.runs.count == 4)
    #expect(before.data.trainingSamples == 2 && before.data.validationSamples == 1 && before.data.testSamples == 1)
    #expect(Set(before.runs.map(\.fileStem)) == ["batch-batch1", "batch-batch3", "group-2-batch1", "group-2-batch3"])
    #expect(before.runs.map(\.stepMilliseconds.count) == [12, 12, 4, 4])
    for run in before.runs {
      #expect(run.isFinished)
      #expect(run.scores.count == 8)
      #expect(run.scores.values.allSatisfy { $0 >= 0 && ($0 <= 1 || $0 == run.scores["loss"]) }, "\(run.scores)")
      #expect((0...1).contains(try #require(run.threshold)))
    }
    #expect(before.analysis.map(\.batchSize) == [1, 3])

    #expect(try compare("batch", "1").errors.contains("--resume"), "nothing is replaced unasked")
    // An interrupted training is not a result, and a wider grid trains only what is new.
    var interrupted = before
    interrupted.runs[3].isFinished = false
    try Data(ResultsFile.text(interrupted).utf8).write(to: URL(fileURLWithPath: results))
    let second = try compare("batch,group:2,none", "2", ["--resume", folder.path("run")])
    #expect(second.status == 0, "\(second.errors)")
    #expect(second.errors.contains("3 finished trainings are kept, 9 are to do"))
    #expect(second.output.contains("2 seeds are too few to name a winner"))
    #expect(second.output.contains("Batch size 3"))
    let after = try ResultsFile.read(results)
    #expect(after.runs.count == 12)
    #expect(Set(after.runs.map(\.cell)).count == 12)
    #expect(Array(after.runs.prefix(3)) == Array(before.runs.prefix(3)))
    // The same cell gives the same numbers.
    let again = try #require(after.runs.first { $0.cell == before.runs[3].cell })
    #expect(again.scores == before.runs[3].scores)
    #expect(Set(after.runs.map(\.fileStem)).count == 12)

    #expect(after.configuration["norms"] == "batch,group:2,none" && after.configuration["seeds"] == "2")
    // Nothing left to do: nothing changes.
    #expect(try compare("batch", "2", ["--resume", folder.path("run")]).status == 0)
    #expect(try ResultsFile.read(results) == after)
    let scored = try compare("batch", "2", ["--resume", folder.path("run"), "--score", "rand"])
    #expect(scored.status != 0 && scored.errors.contains("--score"))
    let other = try compare("batch", "2", ["--resume", folder.path("run"), "--optimizer", "sgd"])
    #expect(other.status != 0)
    #expect(other.errors.contains("--optimizer adam there, sgd now"))
    #expect(try ResultsFile.read(results) == after, "nothing is lost")
  }

  @Test func optimizersAreComparedAsAWholeAndGoOn() throws {
    let folder = try TemporaryFolder()
    let small = [
      "--model", "mnist-dense", "--hidden", "8", "--synthetic-images", "60", "--epochs", "2", "--threads", "1",
      "--batch-size", "16",
    ]
    let rates = ["--learning-rates", "0.05,0.2"]
    let list = "sgd:0,sgd,adagrad"
    let first = try Tool.run(
      ["compare", "--norms", "batch,none", "--optimizers", list, "--output", "run"] + rates + small, in: folder.url)
    #expect(first.status == 0, "\(first.errors)")
    let record = try ResultsFile.read(folder.path("run/results.json"))
    let names = ["batch", "none"].flatMap { norm in ["sgd:0", "sgd", "adagrad"].map { "\(norm)+\($0)" } }
    #expect(record.analysis[0].contenders.map(\.norm) == names)
    #expect(record.runs.count == 12 && Set(record.runs.map(\.fileStem)).count == 12)
    #expect(record.configuration["optimizers"] == list && record.configuration["optimizer"] == nil)
    #expect(FileManager.default.fileExists(atPath: folder.path("run/charts/rates-batch16.svg")))
    // Each trains as it does alone: same weights, samples and steps.
    for (optimizer, options) in [("sgd:0", ["sgd", "--momentum", "0"]), ("sgd", ["sgd"]), ("adagrad", ["adagrad"])] {
      let alone = try Tool.run(
        ["train", "--norm", "batch", "--learning-rate", "0.2", "--json", "--output", optimizer, "--optimizer"] + options
          + small, in: folder.url)
      #expect(alone.status == 0, "\(alone.errors)")
      let run = try #require(
        record.runs.first { $0.norm == "batch+\(optimizer)" && $0.cell.learningRate == 0.2 })
      #expect(try ResultsFile.record(fromText: alone.output).runs[0].history.map(\.loss) == run.history.map(\.loss))
    }
    let losses = Set(record.runs.map { $0.history[1].loss })
    #expect(losses.count == 12)
    // A list may become longer, and what is there stays.
    let second = try Tool.run(["compare", "--resume", "run", "--optimizers", "adam"], in: folder.url)
    #expect(second.errors.contains("0 finished trainings are kept") || second.status == 0, "\(second.errors)")
    let wider = try ResultsFile.read(folder.path("run/results.json"))
    #expect(wider.runs.count == 16 && Array(wider.runs.prefix(12)) == record.runs)
    #expect(wider.configuration["optimizers"] == list + ",adam")
    let other = try Tool.run(["compare", "--resume", "run", "--optimizer", "sgd"], in: folder.url)
    #expect(other.status != 0 && other.errors.contains("--optimizer"), "\(other.errors)")
    let alone = try Tool.run(["train", "--resume", "run"], in: folder.url)
    #expect(alone.status != 0 && alone.errors.contains("norma compare --resume"), "\(alone.errors)")
    #expect(try !Tool.run(["doctor", "run"], in: folder.url).output.contains("not begun"))
  }

  @Test(arguments: [2, 3]) func networksOfOtherGeometryAreComparedAndUsed(_ dimensions: Int) throws {
    let folder = try TemporaryFolder()
    let isVolume = dimensions == 3
    let network =
      isVolume
      ? ["--dimensions", "3", "--depth", "1", "--crop", "16", "--crop-slices", "2"]
      : ["--padding", "valid", "--depth", "1", "--crop", "32", "--head", "plain"]
    let data = ["--synthetic-size", "35", "--synthetic-slices", "7", "--val-slices", "2", "--test-slices", "3"]
    let training = ["--width", "2", "--epochs", "2", "--samples-per-epoch", "4", "--threads", "1"]
    func compare(_ name: String, _ more: [String] = []) throws -> ComparisonRecord {
      let outcome = try Tool.run(
        ["compare", "--norms", "batch", "--output", name] + network + data + training + more, in: folder.url)
      #expect(outcome.status == 0, "\(outcome.errors)")
      return try ResultsFile.read(folder.path("\(name)/results.json"))
    }
    let record = try compare("run")
    #expect(record.data.trainingSamples == 2 && record.data.validationSamples == 2 && record.data.testSamples == 3)
    #expect(record.configuration["crop-slices"] == (isVolume ? "2" : nil))
    let predictions = try TIFF.read(folder.path("run/predictions-batch.tif"))
    #expect(predictions.pages == 3 && predictions.height == 35 && predictions.width == 35)
    for slice in 4..<7 {
      #expect(FileManager.default.fileExists(atPath: folder.path("run/overlays/batch-slice-\(slice).png")))
    }
    // What costs less memory or looks into the network changes no number.
    func losses(_ record: ComparisonRecord) -> [[Double]] {
      record.runs[0].history.map { [$0.loss, $0.validationLoss] }
    }
    #expect(losses(try compare("low", ["--memory", "low"])) == losses(record))
    let looked = try compare("looked", ["--diagnose"])
    #expect(losses(looked) == losses(record) && looked.runs[0].diagnoses.count == 2)
    let coarse = losses(try compare("coarse", ["--dtype", "bfloat16"]))
    for (coarse, fine) in zip(coarse.joined(), losses(record).joined()) {
      #expect(abs(coarse - fine) < 0.05 && coarse != fine)
    }
    // A run goes on from its folder alone.
    let longer = try Tool.run(["compare", "--resume", "run", "--norms", "group:2"], in: folder.url)
    #expect(longer.status == 0, "\(longer.errors)")
    #expect(try ResultsFile.read(folder.path("run/results.json")).runs.map(\.norm) == ["batch", "group:2"])

    _ = try folder.writeStack("images.tif", side: 40) { _, y, x in Float((x * 7 + y * 3) % 256) }
    let refused = try Tool.run(
      ["predict", "--model", "low", "images.tif", "-o", "out.tif"], in: folder.url)
    #expect(
      refused.status == 1 && refused.errors.contains("norma predict takes networks of 2 dimensions with same padding"))
    let exported = try Tool.run(["export", "--model", "low", "--onnx", "network.onnx"], in: folder.url)
    #expect(exported.status == 0, "\(exported.errors)")
    #expect(FileManager.default.fileExists(atPath: folder.path("network.onnx")))
  }

  @Test func aDivergedCellIsAResultAndTheGridGoesOn() throws {
    let folder = try TemporaryFolder()
    let outcome = try Tool.run(
      [
        "compare", "--norms", "none", "--optimizer", "sgd", "--learning-rates", "1e30,0.01", "--output",
        folder.path("run"),
      ] + smallSynthetic)
    #expect(outcome.status == 0, "\(outcome.errors)")
    let record = try ResultsFile.read(folder.path("run/results.json"))
    #expect(record.runs.map { $0.failure == nil } == [false, true])
    #expect(record.analysis[0].contenders.map(\.learningRate) == [0.01])
    #expect(outcome.output.contains(" failed: "))
  }
}
