import Foundation
import NormaFormats
import TestSupport
import Testing

/// What a user can get wrong: one clear error, a non-zero exit, nothing written.
@Suite struct BadInputTests {
  struct Case: Sendable, CustomTestStringConvertible {
    let name: String
    let arguments: [String]
    let says: [String]
    var testDescription: String { name }
  }

  static let cases: [Case] = [
    Case(
      name: "missing file", arguments: ["--images", "none.tif", "--labels", "labels.tif"],
      says: ["none.tif", "No such file"]),
    Case(
      name: "truncated", arguments: ["--images", "truncated.tif", "--labels", "labels.tif"], says: ["truncated.tif"]),
    Case(
      name: "not an image", arguments: ["--images", "text.tif", "--labels", "labels.tif"], says: ["text.tif"]),
    Case(
      name: "other size", arguments: ["--images", "images.tif", "--labels", "small.tif"], says: ["48", "32"]),
    Case(
      name: "other count", arguments: ["--images", "images.tif", "--labels", "three.tif"], says: ["4", "3"]),
    Case(
      name: "one label value", arguments: ["--images", "images.tif", "--labels", "constant.tif"], says: ["255"]),
    Case(
      name: "labels alone", arguments: ["--labels", "labels.tif"], says: ["--images and --labels belong together"]),
    Case(
      name: "group count", arguments: ["--norms", "group:3", "--width", "4"], says: ["3 groups", "4 channels"]),
    Case(
      name: "crop larger than the image",
      arguments: ["--images", "images.tif", "--labels", "labels.tif", "--crop", "64"], says: ["48", "64"]),
    Case(
      name: "crop larger than any stack", arguments: ["--crop", "1000000000000"], says: ["--crop", "65536"]),
    Case(name: "crop of no multiple", arguments: ["--crop", "40"], says: ["divisible by 16", "40", "choose 32"]),
    Case(
      name: "unknown norm", arguments: ["--norms", "bach"], says: ["bach", "batch", "group:8", "switchable", "layer"]),
    Case(name: "depth", arguments: ["--depth", "9"], says: ["--depth", "1…8", "9"]),
    Case(name: "upsampling", arguments: ["--upsampling", "cubic"], says: ["cubic", "transposed"]),
    Case(
      name: "crop of valid padding", arguments: ["--padding", "valid", "--depth", "1", "--crop", "31"],
      says: ["20, 22, 24", "31", "choose 30"]),
    Case(name: "padding", arguments: ["--padding", "half"], says: ["half", "valid"]),
    Case(
      name: "slices of a volume", arguments: ["--dimensions", "3", "--depth", "2", "--crop-slices", "3"],
      says: ["divisible by 4", "3"]),
    Case(
      name: "slices for a network of two dimensions", arguments: ["--crop-slices", "2"], says: ["--dimensions 3"]),
    Case(name: "dimensions", arguments: ["--dimensions", "4"], says: ["--dimensions", "2…3"]),
    Case(
      name: "activation before a sum", arguments: ["--residual", "--norms", "evo-s0", "--width", "8"],
      says: ["evo-s0", "its own activation"]),
    Case(
      name: "crop of a deep network", arguments: ["--depth", "5", "--crop", "48"], says: ["divisible by 32", "48"]),
    Case(name: "norm twice", arguments: ["--norms", "batch,batch"], says: ["twice"]),
    Case(name: "unknown schedule", arguments: ["--schedule", "warm"], says: ["warm", "one-cycle"]),
    Case(name: "unknown optimizer", arguments: ["--optimizer", "adamm"], says: ["adamm", "adamw"]),
    Case(name: "learning rate", arguments: ["--learning-rate", "-1"], says: ["--learning-rate"]),
    Case(name: "validation slices", arguments: ["--val-slices", "4"], says: ["4"]),
    Case(name: "class weights", arguments: ["--class-weights", "1,2,3"], says: ["2 class"]),
    Case(name: "momentum of adam", arguments: ["--momentum", "0.5"], says: ["--momentum", "adam"]),
    Case(
      name: "classes balanced twice", arguments: ["--border-weights", "--class-weights", "balanced"],
      says: ["already balances"]),
    Case(
      name: "synthetic and files",
      arguments: ["--images", "images.tif", "--labels", "labels.tif", "--synthetic-seed", "1"], says: ["--synthetic"]),
    Case(name: "empty output", arguments: ["--output", ""], says: ["--output"]),
    Case(name: "endless epochs", arguments: ["--epochs", "9223372036854775807"], says: ["--epochs", "1000000"]),
    Case(name: "endless batch", arguments: ["--batch-size", "9223372036854775807"], says: ["--batch-size"]),
    Case(name: "too many threads", arguments: ["--threads", "99999999999"], says: ["--threads"]),
    Case(name: "no weight at all", arguments: ["--class-weights", "0,0"], says: ["not all 0"]),
    Case(name: "no epochs", arguments: ["--epochs", "0"], says: ["--epochs"]),
    Case(name: "device", arguments: ["--device", "gpu"], says: ["gpu", "cuda"]),
    Case(name: "no seeds", arguments: ["--seeds", "0"], says: ["--seeds", "1…10000"]),
    Case(name: "batch sizes", arguments: ["--batch-sizes", "1,x"], says: ["'x'", "whole number"]),
    Case(name: "batch size twice", arguments: ["--batch-sizes", "1,1"], says: ["twice"]),
    Case(
      name: "batch sizes and one", arguments: ["--batch-sizes", "1,2", "--batch-size", "2"],
      says: ["leave out --batch-size"]),
    Case(
      name: "learning rates and one", arguments: ["--learning-rates", "1e-3", "--learning-rate", "1"],
      says: ["leave out --learning-rate"]),
    Case(
      name: "optimizers", arguments: ["--optimizers", "sgd,adan", "--learning-rate", "1"], says: ["adan", "adagrad"]),
    Case(
      name: "optimizer twice", arguments: ["--optimizers", "sgd,sgd:0.9", "--learning-rate", "1"], says: ["twice"]),
    Case(
      name: "momentum in a list", arguments: ["--optimizers", "adam:0.9", "--learning-rate", "1"],
      says: ["adam has no momentum"]),
    Case(
      name: "momentum of 1", arguments: ["--optimizers", "sgd:1", "--learning-rate", "1"], says: ["below 1", "sgd:0.9"]),
    Case(
      name: "optimizers and one", arguments: ["--optimizers", "sgd", "--optimizer", "adam", "--learning-rate", "1"],
      says: ["leave out --optimizer"]),
    Case(name: "optimizers without rates", arguments: ["--optimizers", "sgd,adam"], says: ["--learning-rates"]),
    Case(name: "unknown score", arguments: ["--score", "mcc"], says: ["mcc", "rand-error"]),
    Case(name: "test slices", arguments: ["--test-slices", "3"], says: ["4"]),
    Case(name: "resume nothing", arguments: ["--resume", "none"], says: ["none/results.json", "folder of a run"]),
    Case(name: "early stopping", arguments: ["--early-stopping", "0"], says: ["--early-stopping", "0"]),
    Case(name: "averages", arguments: ["--ema", "1"], says: ["--ema", "below 1"]),
    Case(name: "checkpoints", arguments: ["--checkpoint-minutes", "-1"], says: ["--checkpoint-minutes"]),
    Case(name: "verbose and quiet", arguments: ["--verbose", "--quiet"], says: ["one of them"]),
    Case(name: "no such configuration", arguments: ["--config", "none.yaml"], says: ["none.yaml", "No such file"]),
    Case(name: "not writable", arguments: ["--output", "labels.tif/run"], says: ["labels.tif", "writable"]),
  ]

  @Test(arguments: cases) func isNamedOnce(_ item: Case) throws {
    let folder = try TemporaryFolder()
    _ = try folder.writeStack("images.tif") { page, y, x in Float((x * 7 + y * 3 + page) % 256) }
    _ = try folder.writeStack("labels.tif") { _, y, x in (x / 8 + y / 8) % 2 == 0 ? 0 : 255 }
    _ = try folder.writeStack("small.tif", side: 32) { _, _, x in x < 9 ? 0 : 255 }
    _ = try folder.writeStack("three.tif", pages: 3) { _, _, x in x < 9 ? 0 : 255 }
    _ = try folder.writeStack("constant.tif") { _, _, _ in 255 }
    let whole = try Data(contentsOf: folder.url.appendingPathComponent("images.tif"))
    try whole.prefix(whole.count / 2).write(to: folder.url.appendingPathComponent("truncated.tif"))
    try Data("no image at all".utf8).write(to: folder.url.appendingPathComponent("text.tif"))
    let before = folder.names

    // The case's own options come last and win over these.
    let standard = [
      "--width", "4", "--crop", "32", "--epochs", "1", "--samples-per-epoch", "2", "--val-slices", "1",
    ].chunked(by: 2).filter { !item.arguments.contains($0[0]) }.flatMap { $0 }
    let synthetic =
      item.arguments.contains("--images") || item.arguments.contains("--labels")
      ? [] : ["--synthetic-size", "48", "--synthetic-slices", "4"]
    let outcome = try Tool.run(["compare"] + standard + synthetic + item.arguments, in: folder.url)
    #expect(outcome.status != 0)
    #expect(outcome.output.isEmpty)
    for text in item.says { #expect(outcome.errors.contains(text), "\(outcome.errors)") }
    let errors = outcome.errors.split(separator: "\n").filter { $0.hasPrefix("Error:") }
    #expect(errors.count == 1, "\(outcome.errors)")
    #expect(!outcome.errors.contains("Fatal"), "\(outcome.errors)")
    #expect(folder.names == before, "nothing is left behind")
  }

  @Test func anEarlierRunIsNotReplaced() throws {
    let folder = try TemporaryFolder()
    try FileManager.default.createDirectory(atPath: folder.path("run"), withIntermediateDirectories: true)
    try Data("precious".utf8).write(to: folder.url.appendingPathComponent("run/results.json"))
    let outcome = try Tool.run(
      ["compare", "--crop", "32", "--synthetic-size", "48", "--output", folder.path("run")])
    #expect(outcome.status == 1)
    #expect(outcome.errors.contains("--overwrite"))
    #expect(try String(contentsOfFile: folder.path("run/results.json"), encoding: .utf8) == "precious")
  }
}

extension Array {
  func chunked(by size: Int) -> [[Element]] {
    stride(from: 0, to: count, by: size).map { Array(self[$0..<Swift.min($0 + size, count)]) }
  }
}
