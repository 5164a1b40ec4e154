import Foundation
import NormaFormats
import TestSupport
import Testing

@Suite struct PredictTests {
  /// A small training under group normalization with labels 0 and 200, in the folder `run`; slices 2 and 3 are for validation.
  private func folder() throws -> TemporaryFolder {
    let folder = try TemporaryFolder()
    _ = try folder.writeStack("images.tif") { page, y, x in Float((x * 7 + y * 3 + page * 50) % 256) }
    _ = try folder.writeStack("labels.tif") { _, y, x in x % 12 == 0 || y % 16 == 0 ? 0 : 200 }
    let trained = try Tool.run(
      [
        "compare", "--norms", "group:2", "--images", "images.tif", "--labels", "labels.tif", "--val-slices", "2",
        "--width", "2", "--crop", "32", "--epochs", "1", "--samples-per-epoch", "2", "--output", "run",
      ], in: folder.url)
    #expect(trained.status == 0, "\(trained.errors)")
    return folder
  }

  /// Predicts into `out.tif` and returns what was printed and written.
  private func predict(
    _ folder: TemporaryFolder, _ arguments: [String], input: String = "images.tif"
  ) throws -> (text: String, errors: String, stack: ImageStack) {
    let outcome = try Tool.run(
      ["predict", "--model", "run", input, "-o", "out.tif"] + arguments, in: folder.url)
    try #require(outcome.status == 0, "\(outcome.errors)")
    return (outcome.output, outcome.errors, try TIFF.read(folder.path("out.tif")))
  }

  @Test func givesWhatTheTrainingPredicted() throws {
    let folder = try folder()
    let (text, errors, stack) = try predict(folder, [])
    let expected = try TIFF.read(folder.path("run/predictions-group-2.tif"))
    #expect(stack.pages == 4 && stack.format == .float32)
    #expect(stack.pages(2..<4) == expected)
    #expect(text.contains("4 pages") && text.contains("megapixels/s") && text.contains("in one piece"))
    #expect(errors.contains("page 4/4"))

    // The same grey values in another format, for which the file itself tells the range: 65535 becomes 1.
    _ = try folder.writeStack("wide.tif", format: .uint16) { page, y, x in
      Float((x * 7 + y * 3 + page * 50) % 256) * 257
    }
    let wide = try predict(folder, [], input: "wide.tif")
    #expect(wide.text.contains("65535") && zip(wide.stack.values, stack.values).allSatisfy { abs($0 - $1) < 1e-5 })

    let bytes = try predict(folder, ["--probabilities", "uint8"]).stack
    #expect(bytes.format == .uint8)
    #expect(zip(bytes.values, stack.values).allSatisfy { abs($0 / 255 - $1) <= 0.5 / 255 + 1e-6 })

    // Labels are those of the training, and the threshold decides between them.
    let threshold = stack.values.sorted()[stack.values.count / 3]
    let mask = try predict(folder, ["--mask", "--threshold", "\(threshold)"]).stack
    #expect(mask.format == .uint8)
    #expect(zip(mask.values, stack.values).allSatisfy { $0 == ($1 > threshold ? 200 : 0) })
    let half = try predict(folder, ["--mask"]).stack
    #expect(zip(half.values, stack.values).allSatisfy { $0 == ($1 > 0.5 ? 200 : 0) })
  }

  @Test func tilesSymmetriesAndDescriptions() throws {
    let folder = try folder()
    let writer = try TIFFWriter(
      folder.path("large.tif"), expectedPages: 1,
      description: {
        var description = TIFFDescription()
        (description.xResolution, description.yResolution, description.resolutionUnit) = (4, 4, 3)
        description.imageJLines = ["unit=nm", "spacing=50"]
        return description
      }())
    let (height, width) = (300, 330)
    try writer.append(
      ImageStack(
        pages: 1, channels: 1, height: height, width: width, format: .uint8,
        values: (0..<height * width).map { Float(($0 % width * 7 + $0 / width * 3 + $0 / 9000) % 256) }))
    try writer.finish()
    let whole = try predict(folder, [], input: "large.tif").stack
    func difference(_ arguments: [String], says: [String]) throws -> Float {
      let (text, _, stack) = try predict(folder, ["--tile", "288"] + arguments, input: "large.tif")
      #expect(says.allSatisfy(text.contains), "\(text)")
      #expect(stack.height == height && stack.width == width)
      let description = try TIFFReader(folder.path("out.tif")).description
      #expect(description.xResolution == 4 && description.resolutionUnit == 3)
      #expect(description.imageJLines == ["unit=nm", "spacing=50"])
      return zip(stack.values, whole.values).map { abs($0 - $1) }.max() ?? 0
    }
    let exact = try difference(["--statistics", "exact"], says: ["exact (the page's)", "blend none"])
    #expect(exact < 1e-5)
    let tile = try difference([], says: ["tile (every tile's own)", "blend gaussian"])
    #expect(tile > 10 * exact)
    let turned = try difference(
      ["--statistics", "pooled", "--tta", "--blend", "none", "--overlap", "0.1"],
      says: ["pooled", "blend none", "16 around"])
    #expect(turned > 10 * exact)
  }

  @Test func anInterruptionLeavesNothing() throws {
    let folder = try folder()
    _ = try folder.writeStack("long.tif", pages: 400) { page, y, x in Float((x * 7 + y * 3 + page) % 256) }
    let before = folder.names
    let outcome = try Tool.run(
      ["predict", "--model", "run", "long.tif", "-o", "out.tif", "--tta"], in: folder.url
    ) { process in
      while process.isRunning, !folder.names.contains(where: { $0.hasSuffix(".part") }) { usleep(10_000) }
      kill(process.processIdentifier, SIGINT)
    }
    #expect(outcome.status == 128 + SIGINT && outcome.output.isEmpty, "\(outcome.errors)")
    #expect(folder.names == before)
  }

  static let bad: [BadInputTests.Case] = [
    .init(name: "missing file", arguments: ["none.tif"], says: ["none.tif", "No such file"]),
    .init(name: "not a TIFF", arguments: ["text.tif"], says: ["text.tif", "not a TIFF"]),
    .init(name: "channels", arguments: ["colour.tif"], says: ["1 channel,", "colour.tif", "3"]),
    .init(name: "no number", arguments: ["nan.tif"], says: ["finite", "page 2"]),
    .init(name: "itself", arguments: ["images.tif", "-o", "./images.tif"], says: ["./images.tif", "is read too"]),
    .init(name: "tile", arguments: ["images.tif", "--tile", "40"], says: ["multiple of 16", "40", "choose 32"]),
    .init(name: "endless tile", arguments: ["images.tif", "--tile", "0"], says: ["--tile", "65536"]),
    .init(
      name: "tile and halo", arguments: ["images.tif", "--tile", "32", "--statistics", "exact"],
      says: ["32 pixels are too small", "smallest that works is 272"]),
    .init(name: "overlap", arguments: ["images.tif", "--overlap", "0.7"], says: ["0…0.5", "0.7"]),
    .init(name: "blend", arguments: ["images.tif", "--blend", "linear"], says: ["--blend", "linear", "gaussian"]),
    .init(
      name: "blend of exact tiles", arguments: ["images.tif", "--blend", "gaussian", "--statistics", "exact"],
      says: ["nothing to blend"]),
    .init(name: "statistics", arguments: ["images.tif", "--statistics", "some"], says: ["some", "pooled"]),
    .init(name: "threshold alone", arguments: ["images.tif", "--threshold", "0.4"], says: ["--threshold", "--mask"]),
    .init(
      name: "threshold", arguments: ["images.tif", "--mask", "--threshold", "2"], says: ["--threshold", "0…1", "2"]),
    .init(
      name: "mask and probabilities", arguments: ["images.tif", "--mask", "--probabilities", "uint8"],
      says: ["--mask", "give one"]),
    .init(name: "format", arguments: ["images.tif", "--probabilities", "int3"], says: ["int3", "float32"]),
    .init(name: "device", arguments: ["images.tif", "--device", "gpu"], says: ["gpu", "cuda"]),
  ]

  @Test func badInputIsNamedOnce() throws {
    let folder = try folder()
    try Data("no image".utf8).write(to: folder.url.appendingPathComponent("text.tif"))
    _ = try folder.writeStack("nan.tif", pages: 2, format: .float32) { page, y, _ in page == 1 && y == 4 ? .nan : 0.5 }
    try TIFF.write(
      ImageStack(pages: 1, channels: 3, height: 8, width: 8, format: .uint8, values: Array(repeating: 1, count: 192)),
      to: folder.path("colour.tif"))
    let before = folder.names
    for item in Self.bad {
      let output = item.arguments.contains("-o") ? [] : ["-o", "out.tif"]
      let outcome = try Tool.run(["predict", "--model", "run"] + item.arguments + output, in: folder.url)
      #expect(outcome.status != 0 && outcome.output.isEmpty, "\(item.name)")
      for word in item.says { #expect(outcome.errors.contains(word), "\(item.name): \(outcome.errors)") }
      #expect(
        outcome.errors.split(separator: "\n").filter { $0.hasPrefix("Error") }.count == 1,
        "\(item.name): \(outcome.errors)")
      #expect(folder.names == before, "\(item.name)")
    }
  }
}
