import Foundation
import NormaExchange
import NormaFormats
import NormaModels
import NormaTensor
import TestSupport
import Testing

@testable import NormaTool

@Suite struct OtherWeightsTests {
  @Test func namesOfClassesComeBack() throws {
    let names = ["plain", "a,b", "say \"hi\"", "", "\"", "two\r\nlines", "ü,\"\"x"]
    #expect(try CSV.fields(of: names.map(CSV.field).joined(separator: ","), in: "names") == names)
  }

  /// As PyTorch's own file: the keys without what norma says of them.
  @Test func weightsWithoutMetadataAreToldByOthers() throws {
    let folder = try TemporaryFolder()
    var options = MNISTDense.Options()
    (options.hidden, options.normalization) = ([6], .layer)
    let network = try MNISTDense(options, generator: Generator(seed: 1))
    try network.writeWeights(to: folder.path("norma.safetensors"), metadata: options.metadata)
    try network.writeWeights(to: folder.path("other.safetensors"))
    func export(_ more: [String]) throws -> Tool.Outcome {
      try Tool.run(["export", "--onnx", "o.onnx", "--model"] + more, in: folder.url)
    }
    let alone = try export(["other.safetensors"])
    #expect(alone.status == 1 && alone.errors.contains("not a U-Net's"), "\(alone.errors)")
    let told = try export(["other.safetensors", "--like", "norma.safetensors"])
    #expect(told.status == 0 && told.output.contains("layer normalization"), "\(told.errors)")
    let twice = try export(["norma.safetensors", "--like", "norma.safetensors"])
    #expect(twice.status == 1 && twice.errors.contains("leave out --like"), "\(twice.errors)")
  }

  @Test(arguments: [("layers", "64"), ("hidden", "16384"), ("width", "4096"), ("layers", "65")])
  func networksAreNoLargerThanTheirFiles(key: String, value: String) throws {
    let folder = try TemporaryFolder()
    var options = MNISTLSTM.Options()
    options.hidden = 4
    let network = try MNISTLSTM(options, generator: Generator(seed: 1))
    try network.writeWeights(
      to: folder.path("w.safetensors"), metadata: options.metadata.merging([key: value]) { $1 })
    let outcome = try Tool.run(["export", "--model", "w.safetensors", "--onnx", "o.onnx"], in: folder.url)
    #expect(outcome.status == 1 && outcome.output.isEmpty)
    #expect(outcome.errors.contains(value == "65" ? "1…64" : "damaged"), "\(outcome.errors)")
  }

  @Test func aTestSetOfAnotherSizeIsRefusedFirst() throws {
    let folder = try TemporaryFolder()
    for (stem, side) in [("train", 12), ("t10k", 14)] {
      let bytes = (0..<40 * side * side).map { UInt8($0 % 251) }
      try IDX.write(
        IDXArray(shape: [40, side, side], format: .uint8, bytes: bytes), to: folder.path("\(stem)-images-idx3-ubyte"))
      try IDX.write(
        IDXArray(shape: [40], format: .uint8, bytes: (0..<40).map { UInt8($0 % 4) }),
        to: folder.path("\(stem)-labels-idx1-ubyte"))
    }
    let before = folder.names
    let outcome = try Tool.run(["compare", "--model", "mnist-dense", "--images", "."], in: folder.url)
    #expect(outcome.status == 1 && outcome.errors.contains("both must be the same"), "\(outcome.errors)")
    #expect(folder.names == before)
  }
}
