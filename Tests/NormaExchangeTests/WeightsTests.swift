import NormaExchange
import NormaFormats
import NormaModels
import NormaNN
import NormaNormalization
import NormaTensor
import TestSupport
import Testing

private func unet(_ norm: Normalization, seed: UInt64, width: Int = 2) throws -> UNet {
  var options = UNet.Options()
  (options.width, options.depth, options.normalization, options.dropout) = (width, 2, norm, 0)
  return try UNet(options, generator: Generator(seed: seed))
}

@Suite struct WeightsTests {
  @Test(arguments: [Normalization.batch, .group(groups: 2), .switchable])
  func aNetworkComesBack(norm: Normalization) throws {
    let folder = try TemporaryFolder()
    let model = try unet(norm, seed: 1)
    let input = try Tensor.normal([2, 1, 16, 16], generator: Generator(seed: 7))
    // So that running statistics are not the initial ones.
    _ = try model(input)
    model.evaluate()
    try model.writeWeights(to: folder.path("w.safetensors"), metadata: model.options.metadata)
    let file = try SafetensorsReader(folder.path("w.safetensors"))
    let again = try UNet(UNet.Options(metadata: file.metadata), generator: Generator(seed: 2))
    again.evaluate()
    let before: [Float] = try again(input).array()
    try again.loadWeights(from: file)
    let (expected, got): ([Float], [Float]) = (try model(input).array(), try again(input).array())
    #expect(got == expected)
    #expect(before != expected, "the weights make the difference")
  }

  @Test func otherTypesAreConverted() throws {
    let folder = try TemporaryFolder()
    let model = try unet(.batch, seed: 1)
    try model.to(dtype: .float64)
    try model.writeWeights(to: folder.path("w"))
    let file = try SafetensorsReader(folder.path("w"))
    #expect(file.entry("encoder.0.conv1.conv.weight")?.type == .f64)
    #expect(file.entry("encoder.0.conv1.norm.num_batches_tracked")?.type == .i64)
    let again = try unet(.batch, seed: 2)
    try again.loadWeights(from: file)
    for (own, other) in zip(again.stateDictionary(), model.stateDictionary()) {
      #expect(own.value.dtype == (other.value.dtype == .float64 ? .float32 : other.value.dtype))
      let (a, b): ([Float], [Float]) = (try own.value.array(), try other.value.array())
      #expect(a == b)
    }
  }

  @Test func everythingThatDoesNotFitIsListed() throws {
    let folder = try TemporaryFolder()
    try unet(.batch, seed: 1).writeWeights(to: folder.path("w"))
    let wider = try unet(.group(groups: 2), seed: 1, width: 4)
    let before: [Float] = try wider.parameters[0].value.array()
    let error = #expect(throws: StateError.self) { try wider.loadWeights(from: folder.path("w")) }
    let norms = wider.namedModules().count { $0.module is NormalizationLayer }
    #expect(error?.unexpected.count == norms * 3, "running_mean, running_var and num_batches_tracked of every norm")
    #expect(
      error?.misshaped.contains { $0.hasPrefix("encoder.0.conv1.conv.weight: expected [4, 1, 3, 3], got [2, 1, 3, 3]") }
        == true)
    let after: [Float] = try wider.parameters[0].value.array()
    #expect(after == before)
  }

  @Test(arguments: [
    ("architecture", "resnet", "unet"), ("width", "many", "width"), ("width", "0", "width"), ("depth", "-1", "depth"),
    ("dropout", "1", "dropout"), ("head", "x", "head"), ("norm", "bach", "bach"), ("as_logged", "maybe", "as_logged"),
    ("upsampling", "linear", "nearest or transposed"), ("padding", "zero", "same or valid"),
    ("residual", "1", "residual"),
    ("dimensions", "4", "2…3"),
  ]) func metadataThatCannotBe(key: String, value: String, part: String) throws {
    let error = #expect(throws: (any Error).self) { try UNet.Options(metadata: [key: value]) }
    #expect("\(error!)".contains(part))
  }
}

@Suite struct UNetShapesTests {
  @Test(arguments: UNet.Upsampling.allCases, [2, 3]) func shapesTellTheOptions(_ way: UNet.Upsampling, dimensions: Int)
    throws
  {
    for isResidual in [false, true] {
      var options = UNet.Options()
      (options.inputChannels, options.outputChannels, options.width, options.depth, options.head) = (3, 5, 4, 3, .plain)
      (options.upsampling, options.dimensions, options.isResidual) = (way, dimensions, isResidual)
      let shapes = Dictionary(
        uniqueKeysWithValues: try UNet(options).stateDictionary().map { ($0.key, $0.value.shape) })
      #expect(try UNet.Options(shapes: shapes).metadata == options.metadata.merging(["dropout": "0.5"]) { $1 })
      options.padding = .valid
      #expect(try UNet.Options(metadata: options.metadata).metadata == options.metadata)
    }
  }

  @Test func whatIsNoUNetIsNamed() throws {
    let error = #expect(throws: NetworkError.self) { try UNet.Options(shapes: ["conv.weight": [1, 2, 3, 3]]) }
    #expect(error?.description.contains("encoder.0.conv1.conv.weight") == true)
  }
}
