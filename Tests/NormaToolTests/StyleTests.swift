import Foundation
import NormaExchange
import NormaFormats
import NormaModels
import NormaRecords
import NormaReport
import NormaTensor
import TestSupport
import Testing

@Suite struct StyleToolTests {
  private let small = [
    "--model", "style", "--image-size", "16", "--width", "2", "--epochs", "1", "--threads", "1",
  ]

  /// A classifier of the form of torchvision's, so that none has to be trained first.
  private func writeFeatures(_ folder: TemporaryFolder) throws -> [String] {
    var options = FeatureNetwork.Options(.vgg16)
    options.width = 2
    try FeatureNetwork(options, generator: Generator(seed: 1)).writeWeights(to: folder.path("vgg.safetensors"))
    return ["--features", folder.path("vgg.safetensors")]
  }

  /// `count` pictures of stripes.
  private func writePictures(_ folder: TemporaryFolder, _ name: String, count: Int, channels: Int = 3) throws -> String
  {
    try FileManager.default.createDirectory(atPath: folder.path(name), withIntermediateDirectories: true)
    for number in 0..<count {
      try PNG.write(
        ImageStack(
          pages: 1, channels: channels, height: 20, width: 24, format: .uint8,
          values: (0..<channels * 480).map { Float(($0 / (number + 2)) % 2 * 200 + number) }),
        to: folder.path("\(name)/\(number).png"))
    }
    return folder.path(name)
  }

  @Test func leavesWhatItPromises() throws {
    let folder = try TemporaryFolder()
    let outcome = try Tool.run(
      ["compare", "--synthetic-images", "20", "--output", folder.path("run")] + small + writeFeatures(folder))
    #expect(outcome.status == 0, "\(outcome.errors)")
    #expect(outcome.output.contains("Leaving the pictures as they are scores loss"))
    let record = try ResultsFile.read(folder.path("run/results.json"))
    #expect(record.runs.map(\.norm) == ["instance", "batch"])
    #expect(record.score == .loss && record.data.unit == "images" && record.data.validationSamples == 4)
    for run in record.runs {
      #expect(Set(run.scores.keys) == ["loss", "content", "style"])
      #expect(Set(run.history[0].validationScores.keys) == ["content", "style"])
      #expect(run.stepMilliseconds.count == 16)
      let weights = try SafetensorsReader(folder.path("run/weights-\(run.norm).safetensors"))
      #expect(weights.metadata["architecture"] == "style" && weights.metadata["style_names"] == "mosaic")
      let csv = try String(contentsOfFile: folder.path("run/history-\(run.norm).csv"), encoding: .utf8)
      #expect(csv.hasPrefix("epoch,content,style,loss,val_content,val_style,val_loss,seconds\n"))
      let sheet = try PNG.read(folder.path("run/overlays/\(run.norm)-image-0.png"))
      #expect((sheet.channels, sheet.height, sheet.width) == (3, 48, 64))
      let first = try PNG.read(folder.path("run/overlays/\(run.norm)-image-1.png"))
      #expect((first.channels, first.height, first.width) == (3, 16, 16))
      // The same picture at its place in the sheet.
      #expect((0..<16).allSatisfy { sheet[0, 1, 32 + $0, $0] == first[0, 1, $0, $0] })
    }
    let page = try String(contentsOfFile: folder.path("run/report.html"), encoding: .utf8)
    #expect(page.contains("<h3>Picture 0</h3>") && page.contains("Picture 1 of batch"))
    #expect(!page.contains("norms are wrong"))
  }

  /// The classifier that is trained first, and several styles.
  @Test func trainsWithBuiltInPicturesAlone() throws {
    let folder = try TemporaryFolder()
    let outcome = try Tool.run(
      ["train", "--synthetic-images", "20", "--styles", "waves,dots", "--output", folder.path("run")] + small)
    #expect(outcome.status == 0, "\(outcome.errors)")
    #expect(outcome.errors.contains("10 kinds of built-in pictures with an accuracy of 0.9"))
    let weights = try SafetensorsReader(folder.path("run/weights-instance.safetensors"))
    #expect(weights.metadata["styles"] == "2" && weights.metadata["style_names"] == "waves, dots")
    #expect(weights.entries.contains { $0.name == "encoder.0.norm.scales" && $0.shape == [2, 2] })
  }

  @Test func takesFilesAndGoesOn() throws {
    let folder = try TemporaryFolder()
    let (content, styles) = (
      try writePictures(folder, "content", count: 12, channels: 1), try writePictures(folder, "styles", count: 2)
    )
    let options =
      ["--content", content, "--styles", "\(styles),weave"] + small + (try writeFeatures(folder))
    let outcome = try Tool.run(
      ["train", "--network", "adaptive", "--norm", "none", "--output", folder.path("a")]
        + options.chunked(by: 2).filter { $0[0] != "--width" }.joined())
    #expect(outcome.status == 0, "\(outcome.errors)")
    #expect(
      try SafetensorsReader(folder.path("a/weights-none.safetensors")).metadata["architecture"] == "style-adaptive")

    #expect(try Tool.run(["train", "--output", folder.path("run")] + options).status == 0)
    let record = try ResultsFile.read(folder.path("run/results.json"))
    #expect(record.data.trainingSamples == 10 && record.data.channels == 3 && !record.data.isSynthetic)
    #expect(record.configuration["styles"] == "\(styles),weave")
    // The options of the run are those of the new seeds.
    let more = try Tool.run(["compare", "--seeds", "2", "--resume", folder.path("run")])
    #expect(more.status == 0, "\(more.errors)")
    #expect(try ResultsFile.read(folder.path("run/results.json")).runs.map(\.cell.seed) == [0, 1])
    // Other weights are another experiment.
    var other = FeatureNetwork.Options(.vgg16)
    other.width = 2
    try FeatureNetwork(other, generator: Generator(seed: 2)).writeWeights(to: folder.path("vgg.safetensors"))
    let refused = try Tool.run(["compare", "--seeds", "3", "--resume", folder.path("run")])
    #expect(refused.status != 0)
    #expect(refused.errors.contains("are not those of the run"), "\(refused.errors)")
  }

  @Test func badInputIsNamedOnce() throws {
    let folder = try TemporaryFolder()
    try Data("no weights".utf8).write(to: folder.url.appendingPathComponent("text"))
    let pictures = try writePictures(folder, "pictures", count: 2)
    let features = try writeFeatures(folder)
    let before = folder.names
    let cases: [(arguments: [String], says: [String])] = [
      (["--content", "none"], ["none", "No such file"]),
      (["--content", pictures, "--val-share", "0.9", "--test-share", "0.05"], ["pictures"]),
      (["--content", pictures, "--synthetic-images", "40"], ["--synthetic", "leave them out"]),
      (["--styles", "none.png"], ["none.png", "No such file"]),
      (["--styles", "waves,"], ["empty part"]), (["--styles", "waves,waves"], ["waves"]),
      (["--styles", "text"], ["text"]),
      (["--styles", "waves,dots"], ["several styles", "'instance'", "'batch'"]),
      (["--features", "text"], ["text"]), (["--features", "none"], ["none", "No such file"]),
      (["--network", "adaptive", "--norms", "batch"], ["no norms", "'none'"]),
      (["--network", "adaptive", "--norms", "none", "--width", "4"], ["--width"]),
      (["--style-weight=-1"], ["--style-weight", "-1"]), (["--image-size", "8"], ["--image-size", "16"]),
      (["--score", "accuracy"], ["accuracy", "content"]),
      (["--dropout", "0.5"], ["--dropout is for", "not for style"]),
      (["--model", "mnist-dense", "--styles", "waves"], ["--styles is for style, not for mnist-dense"]),
    ]
    for (arguments, says) in cases {
      let standard = ["--model", "style", "--epochs", "1", "--synthetic-images", "20"] + features
      let given = standard.chunked(by: 2).filter { pair in
        !arguments.contains(pair[0]) && !(pair[0].hasPrefix("--synthetic") && arguments.contains("--content"))
      }
      let outcome = try Tool.run(["compare"] + given.joined() + arguments, in: folder.url)
      #expect(outcome.status != 0 && outcome.output.isEmpty, "\(arguments)")
      for text in says { #expect(outcome.errors.contains(text), "\(arguments): \(outcome.errors)") }
      #expect(
        outcome.errors.split(separator: "\n").count { $0.hasPrefix("Error:") } == 1, "\(arguments): \(outcome.errors)")
      #expect(folder.names == before, "nothing is left behind")
    }
  }
}
