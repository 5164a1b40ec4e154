import Foundation
import NormaExchange
import NormaFormats
import NormaModels
import NormaNN
import NormaNormalization
import NormaTensor
import TestSupport
import Testing

/// norma export, import and weights.
@Suite struct ExchangeTests {
  private func network(_ norm: Normalization = .batch, outputs: Int = 1) throws -> UNet {
    var options = UNet.Options()
    (options.width, options.depth, options.normalization, options.outputChannels) = (2, 2, norm, outputs)
    return try UNet(options, generator: Generator(seed: 1))
  }

  @Test func exportWritesAGraph() throws {
    let folder = try TemporaryFolder()
    let network = try network()
    try network.writeWeights(to: folder.path("w.safetensors"), metadata: network.options.metadata)
    let logits = try Tool.run(["export", "--model", "w.safetensors", "--onnx", "a.onnx"], in: folder.url)
    #expect(logits.status == 0, "\(logits.errors)")
    #expect(logits.output.contains("operator set 21") && logits.output.contains("divisible by 4"), "\(logits.output)")
    network.evaluate()
    let graph = try network.onnx(
      input: [.any("batch"), .fixed(1), .any("height", multipleOf: 4), .any("width", multipleOf: 4)], name: "unet",
      metadata: network.options.metadata)
    try graph.write(to: folder.path("expected.onnx"))
    let bytes = try Data(contentsOf: folder.url.appendingPathComponent("a.onnx"))
    #expect(try bytes == Data(contentsOf: folder.url.appendingPathComponent("expected.onnx")))

    // Weights of another program do not tell their norm.
    try network.writeWeights(to: folder.path("bare.safetensors"))
    let arguments = ["export", "--model", "bare.safetensors", "--norm", "batch", "--onnx", "b.onnx", "--probabilities"]
    let probabilities = try Tool.run(arguments, in: folder.url)
    #expect(probabilities.output.contains("probabilities  [batch, 1, height, width]"), "\(probabilities.errors)")
    let other = try Data(contentsOf: folder.url.appendingPathComponent("b.onnx"))
    #expect(other.range(of: Data("Sigmoid".utf8)) != nil)
    #expect(bytes.range(of: Data("Sigmoid".utf8)) == nil)

    let classes = try self.network(outputs: 3)
    try classes.writeWeights(to: folder.path("c.safetensors"), metadata: classes.options.metadata)
    _ = try Tool.run(
      ["export", "--model", "c.safetensors", "--onnx", "c.onnx", "--probabilities"], in: folder.url)
    #expect(try Data(contentsOf: folder.url.appendingPathComponent("c.onnx")).range(of: Data("Softmax".utf8)) != nil)
  }

  @Test func weightsAreListed() throws {
    let folder = try TemporaryFolder()
    try Safetensors.write(
      [
        .init("conv.weight", Tensor.zeros([3, 2, 5, 5])), .init("steps", Tensor.zeros([], dtype: .int64)),
      ], metadata: ["norm": "group:8"], to: folder.path("w.safetensors"))
    let table = try Tool.run(["weights", "w.safetensors"], in: folder.url)
    #expect(table.status == 0)
    for part in ["norm: group:8", "conv.weight", "F32", "[3, 2, 5, 5]", "I64", "Values: 151", "Bytes: 608"] {
      #expect(table.output.contains(part), "\(table.output)")
    }
    struct Record: Decodable {
      struct Tensor: Decodable, Equatable {
        let name: String
        let type: String
        let shape: [Int]
        let values: Int
      }
      let schemaVersion: Int
      let metadata: [String: String]
      let tensors: [Tensor]
      let values: Int
      let bytes: Int
    }
    let json = try Tool.run(["weights", "w.safetensors", "--json"], in: folder.url)
    let record = try JSONDecoder().decode(Record.self, from: Data(json.output.utf8))
    #expect(record.metadata == ["norm": "group:8"])
    #expect(record.tensors.first == .init(name: "conv.weight", type: "F32", shape: [3, 2, 5, 5], values: 150))
    #expect((record.schemaVersion, record.values, record.bytes) == (1, 151, 608))
  }

  /// The state of a network as a Keras program would write it, and the map.
  private func asKeras(_ network: UNet) throws -> (entries: [Safetensors.Entry], map: String) {
    let norms = Set(network.namedModules().filter { $0.module is NormalizationLayer }.map(\.key))
    let names = [
      "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance", "mean_weight": "mean_weights",
      "var_weight": "variance_weights", "weight": "gamma",
    ]
    var layers: [String] = []
    let entries = try network.stateDictionary().compactMap { key, value -> Safetensors.Entry? in
      let parts = key.split(separator: ".")
      let (module, member) = (parts.dropLast().joined(separator: "."), String(parts.last!))
      guard member != "num_batches_tracked" else { return nil }
      if !layers.contains(module) { layers.append(module) }
      let layer = "layer_\(layers.firstIndex(of: module)!)"
      if norms.contains(module) { return .init("\(layer)/\(names[member]!)", value) }
      return member == "weight"
        ? .init("\(layer)/kernel", try value.permuted([2, 3, 1, 0])) : .init("\(layer)/bias", value)
    }
    return (entries, layers.enumerated().map { "layer_\($0) = \($1)" }.joined(separator: "\n") + "\n# the end\n")
  }

  @Test(arguments: [Normalization.batch, .switchable]) func kerasWeightsComeBack(norm: Normalization) throws {
    let folder = try TemporaryFolder()
    let network = try network(norm)
    _ = try network(Tensor.normal([2, 1, 16, 16], generator: Generator(seed: 2)))
    let keras = try asKeras(network)
    try Safetensors.write(keras.entries, to: folder.path("keras.safetensors"))
    try keras.map.write(toFile: folder.path("map.txt"), atomically: true, encoding: .utf8)
    let outcome = try Tool.run(
      [
        "import", "keras.safetensors", "--keras", "--map", "map.txt", "-o", "w.safetensors", "--width", "2", "--depth",
        "2",
        "--norm", norm.name,
      ], in: folder.url)
    #expect(outcome.status == 0, "\(outcome.errors)")
    let file = try SafetensorsReader(folder.path("w.safetensors"))
    let again = try UNet(UNet.Options(metadata: file.metadata))
    try again.loadWeights(from: file)
    for ((key, value), (_, other)) in zip(network.stateDictionary(), again.stateDictionary())
    where !key.hasSuffix("num_batches_tracked") {
      let (a, b): ([Float], [Float]) = (try value.array(), try other.array())
      #expect(a == b, "\(key)")
    }
  }

  /// Without padding and for volumes, which norma predict does not take.
  @Test(arguments: [
    (UNet.Padding.valid, 2, "[batch, 1, height, width], extents of 44, 48, 52, …"),
    (.same, 3, "[batch, 1, depth, height, width], extents divisible by 4"),
  ])
  func otherNetworksAreExported(padding: UNet.Padding, dimensions: Int, sizes: String) throws {
    let folder = try TemporaryFolder()
    var options = UNet.Options()
    (options.width, options.depth, options.padding, options.dimensions) = (2, 2, padding, dimensions)
    let network = try UNet(options, generator: Generator(seed: 1))
    try network.writeWeights(to: folder.path("w.safetensors"), metadata: options.metadata)
    let export = try Tool.run(["export", "--model", "w.safetensors", "--onnx", "w.onnx"], in: folder.url)
    #expect(export.status == 0 && export.output.contains(sizes), "\(export.output) \(export.errors)")
    #expect(export.output.contains("42 less than the input's") == (padding == .valid))
    _ = try folder.writeStack("images.tif") { page, y, x in Float((x * 7 + y * 3 + page) % 256) }
    let predict = try Tool.run(["predict", "--model", "w.safetensors", "images.tif", "-o", "out.tif"], in: folder.url)
    #expect(predict.status != 0 && predict.output.isEmpty)
    #expect(predict.errors.contains("2 dimensions with same padding, that of 'w.safetensors' has"), "\(predict.errors)")
    #expect(!folder.names.contains("out.tif"))
  }

  static let bad: [BadInputTests.Case] = [
    .init(
      name: "weights of another norm", arguments: ["export", "--model", "w.safetensors", "--norm", "switchable"],
      says: [
        "missing: encoder.0.conv1.norm.mean_weight", "unexpected: bottom.conv1.norm.num_batches_tracked",
        "w.safetensors",
      ]
    ),
    .init(
      name: "misshaped", arguments: ["export", "--model", "misshaped.safetensors"],
      says: [
        "encoder.0.conv2.conv.weight: expected [2, 2, 3, 3], got [5, 1]",
        "head.conv1.weight: expected [2, 2, 3, 3], got [5, 1]",
      ]),
    .init(
      name: "metadata of another width", arguments: ["export", "--model", "told.safetensors"],
      says: ["width 3, its tensors 2", "told.safetensors"]),
    .init(
      name: "unknown norm", arguments: ["export", "--model", "bare.safetensors"],
      says: ["does not tell its normalization", "--norm"]),
    .init(
      name: "no file", arguments: ["export", "--model", "none.safetensors"], says: ["none.safetensors", "No such file"]),
    .init(
      name: "not writable", arguments: ["export", "--model", "w.safetensors", "--onnx", "none/a.onnx"],
      says: ["none/a.onnx", "No such file"]),
    .init(name: "listing no file", arguments: ["weights", "none"], says: ["none", "No such file"]),
    .init(name: "listing text", arguments: ["weights", "map.txt"], says: ["map.txt", "safetensors"]),
    .init(
      name: "no source", arguments: ["import", "w.safetensors", "--map", "map.txt", "-o", "out"], says: ["--keras"]),
    .init(
      name: "nothing fits",
      arguments: ["import", "w.safetensors", "--keras", "--map", "map.txt", "-o", "out", "--width", "2"],
      says: ["the map has no layer", "the map's layer 'conv2d'", "missing: encoder.0.conv1.conv.weight"]),
    .init(
      name: "no map", arguments: ["import", "w.safetensors", "--keras", "--map", "none", "-o", "out"],
      says: ["none", "No such file"]),
    .init(
      name: "no text", arguments: ["import", "w.safetensors", "--keras", "--map", "w.safetensors", "-o", "out"],
      says: ["w.safetensors", "UTF-8"]),
    .init(
      name: "depth",
      arguments: ["import", "w.safetensors", "--keras", "--map", "map.txt", "-o", "out", "--depth", "0"],
      says: ["--depth", "1…8"]),
  ]

  @Test(arguments: bad) func badInputIsNamedOnce(_ item: BadInputTests.Case) throws {
    let folder = try TemporaryFolder()
    let network = try network()
    try network.writeWeights(to: folder.path("w.safetensors"), metadata: network.options.metadata)
    try network.writeWeights(to: folder.path("bare.safetensors"))
    var other = network.options
    other.width = 3
    try network.writeWeights(to: folder.path("told.safetensors"), metadata: other.metadata)
    let misshaped = try network.weightEntries().map { entry in
      try ["encoder.0.conv2.conv.weight", "head.conv1.weight"].contains(entry.name)
        ? Safetensors.Entry(entry.name, Tensor.zeros([5, 1])) : entry
    }
    try Safetensors.write(misshaped, metadata: network.options.metadata, to: folder.path("misshaped.safetensors"))
    try "conv2d = encoder.0.conv1.conv".write(toFile: folder.path("map.txt"), atomically: true, encoding: .utf8)
    let before = folder.names
    let isExport = item.arguments[0] == "export" && !item.arguments.contains("--onnx")
    let outcome = try Tool.run(item.arguments + (isExport ? ["--onnx", "out.onnx"] : []), in: folder.url)
    #expect(outcome.status != 0)
    #expect(outcome.output.isEmpty)
    for text in item.says { #expect(outcome.errors.contains(text), "\(outcome.errors)") }
    #expect(outcome.errors.split(separator: "\n").filter { $0.hasPrefix("Error:") }.count == 1, "\(outcome.errors)")
    #expect(!outcome.errors.contains("Fatal"), "\(outcome.errors)")
    #expect(folder.names == before, "nothing is left behind")
  }
}
