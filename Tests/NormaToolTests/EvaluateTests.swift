import Foundation
import NormaFormats
import TestSupport
import Testing

@Suite struct EvaluateTests {
  /// Two cells with a border of two columns; the last slice has a gap in it.
  private static func isCell(_ page: Int, _ y: Int, _ x: Int) -> Bool {
    !(7...8).contains(x) || (page == 3 && y == 5)
  }

  private func folder() throws -> TemporaryFolder {
    let folder = try TemporaryFolder()
    _ = try folder.writeStack("labels.tif", side: 16) { Self.isCell(0, $1, $2) ? 255 : 0 }
    _ = try folder.writeStack("float.tif", side: 16, format: .float32) { Self.isCell($0, $1, $2) ? 0.9 : 0.1 }
    return folder
  }

  private func json(_ arguments: [String], in folder: TemporaryFolder) throws -> [String: Any] {
    let outcome = try Tool.run(["evaluate", "--json"] + arguments, in: folder.url)
    #expect(outcome.status == 0, "\(outcome.errors)")
    return try #require(JSONSerialization.jsonObject(with: Data(outcome.output.utf8)) as? [String: Any])
  }

  private func score(_ name: String, _ record: [String: Any]) throws -> [String: Any] {
    let scores = try #require(record["scores"] as? [[String: Any]])
    return try #require(scores.first { $0["name"] as? String == name })
  }

  @Test func tellsEveryScore() throws {
    let folder = try folder()
    let outcome = try Tool.run(
      ["evaluate", "--truth", "labels.tif", "--prediction", "float.tif", "--slices"], in: folder.url)
    #expect(outcome.status == 0, "\(outcome.errors)")
    let lines = outcome.output.split(separator: "\n")
    for name in [
      "V_Rand", "V_Info", "Rand error", "warping error", "pixel error", "accuracy", "foreground Dice (F1)",
      "foreground IoU",
    ] {
      #expect(lines.contains { $0.hasPrefix(name) }, "\(outcome.output)")
    }
    // The gap makes one segment of two equal regions on one slice of four: V_Rand is (3 + 2/3) / 4.
    #expect(lines.contains { $0.hasPrefix("V_Rand") && $0.contains("0.9167") && $0.contains("0.5") })
    #expect(lines.contains { $0.hasPrefix("3 ") && $0.contains("0.6667") && $0.contains("0.0000") })
    // Where all four slices are perfect but for 2 of 1024 pixels.
    #expect(lines.contains { $0.hasPrefix("accuracy") && $0.contains("0.9980") })
  }

  @Test func jsonHoldsCurvesAndSlices() throws {
    let record = try json(["--truth", "labels.tif", "--prediction", "float.tif"], in: folder())
    #expect(record["thresholds"] as? [Double] == (0...10).map { Double($0) / 10 })
    #expect(record["slices"] as? [Int] == [0, 1, 2, 3] && record["foreground"] as? Int == 255)
    let rand = try score("rand", record)
    #expect((rand["curve"] as? [Double])?.count == 11 && (rand["slicesAtBest"] as? [Double])?.prefix(3) == [1, 1, 1])
    #expect(rand["bestThreshold"] as? Double == 0.5 && rand["partsAtBest"] != nil)
    let warping = try score("warpingError", record)
    #expect(warping["lowerIsBetter"] as? Bool == true)
    // The border may shrink to one of the gap's two pixels, which has to stay.
    let half = try #require((warping["curve"] as? [Double])?[5])
    #expect(half == 1.0 / 1024)
  }

  @Test func slicesForegroundAndFormats() throws {
    let folder = try folder()
    // The last two slices, 0…255 and 0…65535.
    for (name, format, scale) in [("8.tif", SampleFormat.uint8, Float(255)), ("16.tif", .uint16, 65535)] {
      _ = try folder.writeStack(name, pages: 2, side: 16, format: format) { Self.isCell($0, $1, $2) ? scale : 0 }
      let record = try json(["--truth", "labels.tif", "--prediction", name, "--truth-slices", "2-3"], in: folder)
      #expect(record["slices"] as? [Int] == [2, 3])
      #expect(try score("accuracy", record)["best"] as? Double == 1)
    }
    // The other value as foreground: all is wrong. With the border's pixels ignored, one value needs a name.
    let turned = try json(
      ["--truth", "labels.tif", "--prediction", "8.tif", "--truth-slices", "0-1", "--foreground", "0"], in: folder)
    #expect((try score("accuracy", turned)["curve"] as? [Double])?[5] == 0)
    let cells = try json(
      ["--truth", "labels.tif", "--prediction", "float.tif", "--ignore-label", "0", "--foreground", "255"], in: folder)
    #expect(try score("accuracy", cells)["best"] as? Double == 1)
  }

  @Test func takesWhatCompareWrites() throws {
    let folder = try TemporaryFolder()
    _ = try folder.writeStack("images.tif") { page, y, x in Float((x * 7 + y * 3 + page) % 256) }
    _ = try folder.writeStack("labels.tif") { _, y, x in x % 12 == 0 || y % 16 == 0 ? 0 : 255 }
    let trained = try Tool.run(
      [
        "compare", "--norms", "group:2", "--images", "images.tif", "--labels", "labels.tif", "--val-slices", "2",
        "--width", "2", "--crop", "32", "--epochs", "1", "--samples-per-epoch", "2", "--output", "run",
      ], in: folder.url)
    #expect(trained.status == 0, "\(trained.errors)")
    let record = try json(
      ["--truth", "labels.tif", "--prediction", "run/predictions-group-2.tif", "--truth-slices", "2-3"], in: folder)
    #expect(try (0...1).contains(#require(score("rand", record)["best"] as? Double)))
  }

  static let bad: [BadInputTests.Case] = [
    .init(name: "missing file", arguments: ["--truth", "none.tif"], says: ["none.tif", "No such file"]),
    .init(
      name: "other size", arguments: ["--prediction", "small.tif"], says: ["16×16", "8×8", "small.tif", "labels.tif"]),
    .init(
      name: "other count", arguments: ["--prediction", "three.tif"],
      says: ["4", "3", "--truth-slices 1-3", "three.tif"]
    ),
    .init(
      name: "more slices chosen", arguments: ["--truth-slices", "1-2", "--prediction", "three.tif"],
      says: ["--truth-slices 1-2", "2", "3"]),
    .init(name: "slices outside", arguments: ["--truth-slices", "2-4"], says: ["slice 4", "0-3"]),
    .init(name: "slices turned", arguments: ["--truth-slices", "3-2"], says: ["3-2", "smaller number first"]),
    .init(name: "slices no numbers", arguments: ["--truth-slices", "all"], says: ["all", "20-23"]),
    .init(name: "logits", arguments: ["--prediction", "logits.tif"], says: ["0…1", "-3.5", "sigmoid"]),
    .init(name: "not a number", arguments: ["--prediction", "nan.tif"], says: ["0…1", "nan", "slice 0"]),
    .init(name: "classes", arguments: ["--prediction", "classes.tif"], says: ["uint8", "255", "float"]),
    .init(name: "other type", arguments: ["--prediction", "int16.tif"], says: ["int16", "uint8"]),
    .init(
      name: "three labels", arguments: ["--truth", "labels3.tif"], says: ["two values", "0, 1, 2", "--ignore-label"]),
    .init(name: "one label", arguments: ["--truth", "constant.tif"], says: ["only 255", "--foreground"]),
    .init(name: "exchanged", arguments: ["--truth", "float.tif"], says: ["whole numbers", "exchanged"]),
    .init(name: "foreground", arguments: ["--foreground", "7"], says: ["--foreground is 7", "0, 255"]),
    .init(
      name: "foreground ignored", arguments: ["--foreground", "255", "--ignore-label", "255"],
      says: ["different", "255"]),
    .init(
      name: "nothing counts", arguments: ["--truth", "constant.tif", "--ignore-label", "255", "--foreground", "1"],
      says: ["slice 0", "--truth-slices"]),
    .init(name: "channels", arguments: ["--prediction", "colour.tif"], says: ["one channel", "3"]),
  ]

  @Test(arguments: bad) func badInputIsNamedOnce(_ item: BadInputTests.Case) throws {
    let folder = try folder()
    _ = try folder.writeStack("small.tif", side: 8, format: .float32) { _, _, _ in 0.5 }
    _ = try folder.writeStack("three.tif", pages: 3, side: 16, format: .float32) { _, _, _ in 0.5 }
    _ = try folder.writeStack("logits.tif", side: 16, format: .float32) { _, _, x in x < 3 ? 0.5 : -3.5 }
    _ = try folder.writeStack("nan.tif", side: 16, format: .float32) { _, _, x in x < 3 ? 0.5 : .nan }
    _ = try folder.writeStack("classes.tif", side: 16) { _, _, x in x < 3 ? 0 : 1 }
    _ = try folder.writeStack("int16.tif", side: 16, format: .int16) { _, _, x in x < 3 ? 0 : 1 }
    _ = try folder.writeStack("labels3.tif", side: 16) { _, _, x in Float(x % 3) }
    _ = try folder.writeStack("constant.tif", side: 16) { _, _, _ in 255 }
    try TIFF.write(
      ImageStack(
        pages: 4, channels: 3, height: 16, width: 16, format: .float32, values: Array(repeating: 0.5, count: 3072)),
      to: folder.path("colour.tif"))
    let standard = ["--truth", "labels.tif", "--prediction", "float.tif"].chunked(by: 2)
      .filter { !item.arguments.contains($0[0]) }.flatMap { $0 }
    let outcome = try Tool.run(["evaluate"] + standard + item.arguments, in: folder.url)
    #expect(outcome.status != 0)
    #expect(outcome.output.isEmpty)
    for text in item.says { #expect(outcome.errors.contains(text), "\(outcome.errors)") }
    #expect(outcome.errors.split(separator: "\n").filter { $0.hasPrefix("Error:") }.count == 1, "\(outcome.errors)")
    #expect(!outcome.errors.contains("Fatal"), "\(outcome.errors)")
  }
}
