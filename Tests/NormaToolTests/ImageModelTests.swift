import Foundation
import NormaFormats
import NormaRecords
import NormaReport
import TestSupport
import Testing

/// The networks for whole images on the command line.
@Suite struct ImageModelTests {
  struct Model: Sendable, CustomTestStringConvertible {
    let name: String
    let norms: [String]
    /// Options that make a run small.
    let options: [String]
    /// The head of the predictions' columns behind the image's number and its target.
    let columns: String
    var testDescription: String { name }

    var arguments: [String] { ["--model", name, "--threads", "1"] + options }
  }

  static let digits = (0..<10).map(String.init).joined(separator: ",")

  static let models = [
    Model(
      name: "alexnet", norms: ["batch", "lrn"],
      options: [
        "--width", "8", "--image-size", "16", "--synthetic-images", "64", "--epochs", "2", "--batch-size", "16",
      ],
      columns: "image,class,predicted,circle,square,triangle,cross,ring,stripes,crescent,dots"),
    Model(
      name: "mean-spot", norms: ["batch", "none"], options: ["--synthetic-images", "40", "--epochs", "2"],
      columns: "image,score,predicted"),
    Model(
      name: "mnist-dense", norms: ["layer", "none"],
      options: ["--hidden", "8,6", "--synthetic-images", "60", "--epochs", "2", "--batch-size", "16"],
      columns: "image,class,predicted,\(digits)"),
    Model(
      name: "mnist-lstm", norms: ["layer", "none"],
      options: ["--hidden", "6", "--synthetic-images", "60", "--epochs", "2", "--batch-size", "16"],
      columns: "image,class,predicted,\(digits)"),
  ]

  @Test(arguments: models) func leavesWhatItPromisesAndGoesOn(model: Model) throws {
    let folder = try TemporaryFolder()
    let run = folder.path("run")
    let outcome = try Tool.run(
      ["compare", "--norms", model.norms.joined(separator: ","), "--output", run] + model.arguments)
    #expect(outcome.status == 0, "\(outcome.errors)")
    let before = try ResultsFile.read("\(run)/results.json")
    #expect(before.schemaVersion == 3)
    #expect(before.configuration["model"] == model.name)
    #expect(before.runs.map(\.norm) == model.norms)
    let isMeasured = model.name == "mean-spot"
    #expect(before.score == (isMeasured ? .mae : .accuracy))
    #expect(Set(before.data.constantScores.keys) == (isMeasured ? ["mae", "loss"] : ["accuracy"]))
    #expect(before.data.unit == (isMeasured ? "frames" : "images"))
    for (norm, record) in zip(model.norms, before.runs) {
      #expect(record.failure == nil && record.history.count == 2)
      #expect(Set(record.scores.keys) == (isMeasured ? ["mae", "loss"] : ["accuracy", "f1", "loss"]))
      let csv = try text("\(run)/predictions-\(norm).csv").split(separator: "\n")
      #expect(csv[0] == model.columns)
      #expect(csv.count == 1 + before.data.validationSamples)
      try checkPredictions(csv.dropFirst().map(String.init), record, isMeasured: isMeasured)
      #expect(
        try text("\(run)/history-\(norm).csv").hasPrefix(
          isMeasured ? "epoch,mae,loss,val_mae,val_loss,seconds\n" : "epoch,acc,loss,val_acc,val_loss,seconds\n"))
      let weights = try SafetensorsReader("\(run)/weights-\(norm).safetensors")
      #expect(weights.metadata["architecture"] == model.name && weights.metadata["norm"] == norm)
      #expect(weights.metadata["class_names"]?.isEmpty ?? isMeasured == isMeasured)
    }
    let page = try text("\(run)/report.html")
    #expect(page.contains(model.name) && page.contains("of a constant prediction"))

    // More seeds: what is there stays.
    let second = try Tool.run(["compare", "--resume", run, "--seeds", "2"])
    #expect(second.status == 0, "\(second.errors)")
    #expect(second.errors.contains("2 finished trainings are kept, 2 are to do"))
    let after = try ResultsFile.read("\(run)/results.json")
    #expect(Array(after.runs.prefix(2)) == before.runs)
    #expect(after.runs.map(\.cell.seed) == [0, 0, 1, 1])
    #expect(after.analysis.count == 1)
  }

  private func text(_ path: String) throws -> String { try String(contentsOfFile: path, encoding: .utf8) }

  /// The score in the record is that of the rows.
  private func checkPredictions(_ rows: [String], _ record: RunRecord, isMeasured: Bool) throws {
    let cells = rows.map { $0.split(separator: ",").map(String.init) }
    if isMeasured {
      let errors = try cells.map { row -> Double in
        let (score, predicted) = (try #require(Double(row[1])), try #require(Double(row[2])))
        return abs(score - predicted)
      }
      let mean = errors.reduce(0, +) / Double(errors.count)
      #expect(abs(mean - (try #require(record.scores["mae"]))) < 1e-5)
    } else {
      let right = cells.count { $0[1] == $0[2] }
      #expect(Double(right) / Double(cells.count) == record.scores["accuracy"])
      for row in cells {
        let sum = row.dropFirst(3).compactMap(Double.init).reduce(0, +)
        #expect(abs(sum - 1) < 1e-4)
      }
    }
  }

  @Test func attentionIsComparedLikeANorm() throws {
    let folder = try TemporaryFolder()
    let outcome = try Tool.run([
      "compare", "--model", "mean-spot", "--norms", "batch", "--attention", "none,cbam", "--seeds", "2", "--epochs",
      "1",
      "--synthetic-images", "40", "--threads", "1", "--output", folder.path("run"),
    ])
    #expect(outcome.status == 0, "\(outcome.errors)")
    let record = try ResultsFile.read(folder.path("run/results.json"))
    #expect(record.runs.map(\.norm) == ["batch", "batch+cbam", "batch", "batch+cbam"])
    #expect(record.runs[0].trainableParameters == 3593 && record.runs[1].trainableParameters > 3593)
    #expect(record.analysis[0].contenders.map(\.norm) == ["batch", "batch+cbam"])
    #expect(record.analysis[0].pairs.count == 1)
    #expect(outcome.output.contains("2 seeds are too few to name a winner"))
    #expect(record.configuration["attention"] == "none,cbam")
    #expect(FileManager.default.fileExists(atPath: folder.path("run/weights-batch+cbam-seed1.safetensors")))
    let alone = try Tool.run([
      "train", "--model", "mean-spot", "--attention", "none,cbam", "--output", folder.path("a"),
    ])
    #expect(alone.status != 0 && alone.errors.contains("--attention takes one name"), "\(alone.errors)")
  }

  // MARK: - Files

  /// Pictures whose class a child would see: dark or bright, of several sizes.
  @Test func aFolderOfClasses() throws {
    let folder = try TemporaryFolder()
    for (name, grey) in [("dark", 40), ("bright", 200)] {
      try FileManager.default.createDirectory(atPath: folder.path("classes/\(name)"), withIntermediateDirectories: true)
      for index in 0..<12 {
        let (height, width) = (12 + index % 3, 12 + index % 5)
        try PNG.write(
          ImageStack(
            pages: 1, channels: 1, height: height, width: width, format: .uint8,
            values: (0..<height * width).map { place in Float(grey + (place * 7 + index * 3) % 31) }),
          to: folder.path("classes/\(name)/\(index).png"))
      }
    }
    for model in ["alexnet", "mnist-dense"] {
      let small = model == "alexnet" ? ["--width", "8", "--image-size", "16", "--dropout", "0"] : ["--hidden", "4"]
      let outcome = try Tool.run(
        [
          "compare", "--model", model, "--norms", "none,batch", "--images", folder.path("classes"), "--epochs", "4",
          "--batch-size", "4", "--val-share", "0.25", "--test-share", "0.25", "--threads", "1", "--output",
          folder.path(model),
        ] + small)
      #expect(outcome.status == 0, "\(outcome.errors)")
      let record = try ResultsFile.read(folder.path("\(model)/results.json"))
      #expect(record.data.trainingSamples == 12 && record.data.validationSamples == 6 && record.data.testSamples == 6)
      #expect(record.data.channels == 1 && record.data.height == (model == "alexnet" ? 16 : 28))
      #expect(record.data.classes == 2)
      let weights = try SafetensorsReader(folder.path("\(model)/weights-none.safetensors"))
      #expect(weights.metadata["class_names"] == "bright,dark")
      let rows = try text(folder.path("\(model)/predictions-none.csv")).split(separator: "\n")
      #expect(rows.count == 7 && rows[0] == "image,class,predicted,bright,dark")
      #expect(record.runs.contains { $0.scores["accuracy"] == 1 }, "\(record.runs.map(\.scores))")
    }
  }

  @Test func idxFiles() throws {
    let folder = try TemporaryFolder()
    let count = 40
    // Rows that are bright from the class's place on.
    var pixels: [UInt8] = []
    for index in 0..<count {
      for place in 0..<28 * 28 {
        let isBright = place / 28 / 7 == index % 4
        pixels.append(isBright ? 200 : UInt8((place + index) % 29))
      }
    }
    try IDX.write(IDXArray(shape: [count, 28, 28], format: .uint8, bytes: pixels), to: folder.path("images.idx.gz"))
    try IDX.write(
      IDXArray(shape: [count], format: .uint8, bytes: (0..<count).map { UInt8($0 % 4) }),
      to: folder.path("labels.idx"))
    func compare(_ model: String, _ more: [String]) throws -> Tool.Outcome {
      try Tool.run(
        [
          "compare", "--model", model, "--norms", "layer", "--images", folder.path("images.idx.gz"), "--labels",
          folder.path("labels.idx"), "--epochs", "6", "--batch-size", "8", "--learning-rate", "0.01", "--threads", "1",
          "--output", folder.path("\(model)"),
        ] + more)
    }
    for (model, hidden) in [("mnist-dense", "16"), ("mnist-lstm", "8")] {
      let outcome = try compare(model, ["--hidden", hidden])
      #expect(outcome.status == 0, "\(outcome.errors)")
      let record = try ResultsFile.read(folder.path("\(model)/results.json"))
      #expect(record.data.classes == 4 && !record.data.isSynthetic && record.data.height == 28)
      #expect(record.runs[0].scores["accuracy"] ?? 0 > 0.5, "of 4 classes: \(record.runs[0].scores)")
    }
    // The four files under their known names, those of the test apart.
    try FileManager.default.createDirectory(atPath: folder.path("set"), withIntermediateDirectories: true)
    for (from, to) in [
      ("images.idx.gz", "train-images-idx3-ubyte.gz"), ("labels.idx", "train-labels-idx1-ubyte"),
      ("images.idx.gz", "t10k-images-idx3-ubyte.gz"), ("labels.idx", "t10k-labels-idx1-ubyte"),
    ] {
      try FileManager.default.copyItem(atPath: folder.path(from), toPath: folder.path("set/\(to)"))
    }
    func known(_ more: [String]) throws -> Tool.Outcome {
      try Tool.run(
        [
          "train", "--model", "mnist-dense", "--hidden", "4", "--epochs", "1", "--images", folder.path("set"),
          "--output", folder.path("known"), "--json",
        ] + more)
    }
    let outcome = try known([])
    #expect(outcome.status == 0, "\(outcome.errors)")
    let record = try ResultsFile.record(fromText: outcome.output)
    #expect(record.data.trainingSamples == 32 && record.data.validationSamples == 8 && record.data.testSamples == 40)
    let refused = try known(["--test-share", "0.1", "--overwrite"])
    #expect(refused.status != 0 && refused.errors.contains("comes with test images"), "\(refused.errors)")
    let exchanged = try Tool.run([
      "train", "--model", "mnist-dense", "--images", folder.path("labels.idx"), "--labels",
      folder.path("images.idx.gz"), "--output", folder.path("exchanged"),
    ])
    #expect(exchanged.status != 0 && exchanged.errors.contains("exchanged"), "\(exchanged.errors)")
  }

  @Test func cifarFiles() throws {
    let folder = try TemporaryFolder()
    func write(_ name: String, _ count: Int) throws {
      var bytes: [UInt8] = []
      for index in 0..<count {
        bytes.append(UInt8(index % 10))
        for place in 0..<CIFAR.imageBytes {
          let base = place / 1024 == index % 3 ? 120 : 0
          bytes.append(UInt8(base + (place + index) % 64))
        }
      }
      try Data(bytes).write(to: folder.url.appendingPathComponent(name))
    }
    try write("data_batch_1.bin", 40)
    try write("data_batch_2.bin", 20)
    try write("test_batch.bin", 10)
    let outcome = try Tool.run([
      "train", "--model", "alexnet", "--width", "8", "--images", folder.path("."), "--epochs", "1", "--augment", "full",
      "--json", "--threads", "1", "--output", folder.path("run"),
    ])
    #expect(outcome.status == 0, "\(outcome.errors)")
    let data = try ResultsFile.record(fromText: outcome.output).data
    #expect(data.classes == 10 && data.channels == 3 && data.height == 32 && data.testSamples == 10)
    #expect(data.trainingSamples == 50 && data.validationSamples == 10)
    #expect(
      try SafetensorsReader(folder.path("run/weights-batch.safetensors")).metadata["class_names"]?.hasPrefix(
        "airplane,automobile") == true)
    // The LSTM reads grey rows.
    let colour = try Tool.run([
      "train", "--model", "mnist-lstm", "--images", folder.path("."), "--output", folder.path("b"),
    ])
    #expect(colour.status != 0 && colour.errors.contains("grey images"), "\(colour.errors)")
  }

  @Test func flowStacksAndScores() throws {
    let folder = try TemporaryFolder()
    let pages = 20
    for name in ["u", "v", "strain"] {
      _ = try folder.writeStack("\(name).tif", pages: pages, side: 42, format: .float32) { page, y, x in
        Float((x * 3 + y * 5 + page * 7) % 11) / 11 * Float(page % 4)
      }
    }
    // Rows in another order than the pages.
    let rows = (0..<pages).reversed().map { "\($0 + 1),\(Double($0 % 4) / 4)" }
    try (["frame,score"] + rows).joined(separator: "\n").write(
      toFile: folder.path("scores.csv"), atomically: true, encoding: .utf8)
    func train(_ more: [String]) throws -> Tool.Outcome {
      try Tool.run(
        ["train", "--model", "mean-spot", "--epochs", "2", "--threads", "1", "--output", folder.path("run")] + more,
        in: folder.url)
    }
    let flow = ["--flow-u", "u.tif", "--flow-v", "v.tif", "--strain", "strain.tif", "--scores", "scores.csv"]
    let outcome = try train(flow)
    #expect(outcome.status == 0, "\(outcome.errors)")
    let record = try ResultsFile.read(folder.path("run/results.json"))
    #expect(!record.data.isSynthetic && record.data.unit == "frames")
    #expect(record.data.trainingSamples == 17 && record.data.validationSamples == 3)
    // The last frames are those of the validation.
    let csv = try text(folder.path("run/predictions-batch.csv")).split(separator: "\n")
    #expect(csv.dropFirst().map { Double($0.split(separator: ",")[1]) } == [0.25, 0.5, 0.75])
    #expect(FileManager.default.fileExists(atPath: folder.path("run/weights-last-batch.safetensors")))
    let three = try train(Array(flow.prefix(6)) + ["--overwrite"])
    #expect(three.status != 0 && three.errors.contains("belong together"), "\(three.errors)")
    _ = try folder.writeStack("wide.tif", pages: pages, side: 48, format: .float32) { _, _, x in Float(x) }
    let wide = try train(
      ["--flow-u", "wide.tif", "--flow-v", "wide.tif", "--strain", "wide.tif", "--scores", "scores.csv", "--overwrite"])
    #expect(wide.status != 0 && wide.errors.contains("42"), "\(wide.errors)")
  }

  // MARK: - What cannot be

  @Test(arguments: [
    ("mnist-dense", ["--crop", "32"], ["--crop is for unet, not for mnist-dense"]),
    ("mnist-dense", ["--attention", "cbam"], ["--attention is for mean-spot, not for mnist-dense"]),
    ("alexnet", ["--hidden", "8"], ["--hidden is for mnist-dense, mnist-lstm, not for alexnet"]),
    ("alexnet", ["--depth", "3"], ["--depth is for unet, not for alexnet"]),
    ("alexnet", ["--val-slices", "3"], ["--val-slices is for unet, not for alexnet"]),
    ("mean-spot", ["--width", "8"], ["--width is for unet, alexnet, style, not for mean-spot"]),
    ("mean-spot", ["--images", "x"], ["--images is for unet, alexnet, mnist-dense, mnist-lstm, not for mean-spot"]),
    ("mean-spot", ["--augment", "flips"], ["mirrors images"]),
    ("mnist-lstm", ["--image-size", "32"], ["--image-size is for alexnet, style, not for mnist-lstm"]),
    ("unet", ["--synthetic-images", "100"], ["--synthetic-images is for", "not for unet"]),
    ("unet", ["--flow-u", "a", "--flow-v", "a", "--strain", "a", "--scores", "a"], ["--flow-u is for mean-spot"]),
    ("mnist-lstm", ["--norms", "batch"], ["batch", "recurrent cell"]),
    ("mnist-dense", ["--norms", "instance"], ["instance"]),
    ("mean-spot", ["--norms", "group:2"], ["group", "3 channels"]),
    ("alexnet", ["--score", "mae"], ["--score mae", "accuracy, f1, loss"]),
    ("alexnet", ["--images", "nowhere"], ["nowhere"]),
    ("mnist-dense", ["--val-share", "1"], ["--val-share", "below 1"]),
    ("alexnet", ["--synthetic-images", "20", "--val-share", "0.01", "--test-share", "0.99"], ["shares"]),
    ("lenet", [], ["lenet", "mnist-dense"]),
  ])
  func whatCannotBeIsNamed(model: String, options: [String], says: [String]) throws {
    let folder = try TemporaryFolder()
    let outcome = try Tool.run(["compare", "--model", model, "--epochs", "1"] + options, in: folder.url)
    #expect(outcome.status != 0 && outcome.output.isEmpty)
    for text in says { #expect(outcome.errors.contains(text), "\(outcome.errors)") }
    #expect(outcome.errors.split(separator: "\n").count { $0.hasPrefix("Error:") } == 1, "\(outcome.errors)")
    #expect(folder.names.isEmpty, "nothing is left behind")
  }
}
