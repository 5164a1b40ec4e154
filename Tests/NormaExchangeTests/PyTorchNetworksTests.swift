import Foundation
import NormaExchange
import NormaFormats
import NormaModels
import NormaNN
import NormaNormalization
import NormaTensor
import TestSupport
import Testing

/// The other networks against their twins in plain PyTorch: the same keys, and the same outputs from the same weights.
@Suite struct PyTorchNetworksTests {
  /// For every folder: loads Norma's weights into the twin and writes its output; then writes a random state of its own and what
  /// comes out with it.
  private static let script = """
    import importlib, json, os, sys
    peers, folder = sys.argv[1:]
    sys.path.insert(0, peers)
    import torch
    from safetensors.torch import load_file, save_file
    torch.set_num_threads(1)
    torch.manual_seed(0)
    for case in sorted(os.listdir(folder)):
        path = os.path.join(folder, case)
        with open(path + "/twin.json") as file:
            twin = json.load(file)
        inputs = load_file(path + "/input.safetensors")
        inputs = [inputs[key] for key in sorted(inputs)]
        network = getattr(importlib.import_module(twin["module"]), twin["class"])(**twin["options"]).eval()
        outputs = {}
        try:
            network.load_state_dict(load_file(path + "/norma.safetensors"), strict=True)
            with torch.inference_mode():
                outputs["norma"] = network(*inputs)
            for name, value in network.state_dict().items():
                if value.is_floating_point():
                    with torch.no_grad():
                        random = torch.randn_like(value)
                        if "running_var" in name:
                            random = torch.rand_like(value) + 0.5
                        elif value.dim() > 1:
                            random *= 1.3 / value[0].numel() ** 0.5
                        else:
                            random = random * 0.3 + (1 if "norm" in name and name.endswith("weight") else 0)
                        value.copy_(random)
            with torch.inference_mode():
                outputs["torch"] = network(*inputs)
        except Exception as error:
            open(path + "/error", "w").write(str(error))
            continue
        save_file(network.state_dict(), path + "/torch.safetensors")
        save_file({k: v.contiguous() for k, v in outputs.items()}, path + "/outputs.safetensors")
    """

  private static let peers = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent().appendingPathComponent("Benchmarks/peers").path

  private static let tolerance = 1e-5

  private struct Case {
    let name: String
    let module: String
    let twin: String
    let options: [String: Any]
    let inputs: [Tensor]
    let make: (Generator) throws -> Module
    let run: (Module, [Tensor]) throws -> Tensor
  }

  private static func image(_ shape: [Int], seed: UInt64 = 5) throws -> Tensor {
    try Tensor.uniform(shape, generator: Generator(seed: seed))
  }

  private static func layer(
    _ name: String, _ module: String, _ twin: String, _ options: [String: Any], _ shape: [Int],
    _ make: @escaping (Generator) throws -> any Layer
  ) throws -> Case {
    Case(
      name: "\(twin) \(name)", module: module, twin: twin, options: options, inputs: [try image(shape)], make: make
    ) { network, inputs in try (network as! any Layer)(inputs[0]) }
  }

  private static func alexNet(
    _ norm: String, _ shape: [Int], original: Bool = false, classifier: Bool = false
  ) throws -> Case {
    let small = shape[2] <= 64 && shape[3] <= 64
    return try layer(
      norm, "torch_alexnet", "AlexNet",
      [
        "norm": norm, "classes": 7, "original": original, "small": small, "width": 0.0625,
        "normalizes_classifier": classifier,
      ], shape
    ) {
      var options = AlexNet.Options()
      (options.classes, options.inputSize, options.width) = (7, small ? 64 : 224, 0.0625)
      options.variant = original ? .original : nil
      options.normalizesClassifier = classifier
      options.normalization = try Normalization(parsing: norm)
      return try AlexNet(options, generator: $0)
    }
  }

  private static func spotter(_ norm: String, _ attention: MeanSpotter.Attention) throws -> Case {
    try layer(
      "\(norm) \(attention)", "torch_mean_spot", "MeanSpotter",
      ["norm": norm, "attention": attention.rawValue, "reduction": 2], [2, 3, 42, 42]
    ) {
      var options = MeanSpotter.Options()
      (options.attention, options.reduction) = (attention, 2)
      options.normalization = try Normalization(parsing: norm)
      return try MeanSpotter(options, generator: $0)
    }
  }

  private static func transformation(_ norm: String, _ output: TransformationNetwork.Output, styles: Int = 1) throws
    -> Case
  {
    var options = TransformationNetwork.Options()
    (options.width, options.blocks, options.output, options.styles) = (4, 2, output, styles)
    options.normalization = try Normalization(parsing: norm)
    let given: [String: Any] = [
      "norm": norm, "width": 4, "blocks": 2, "output": output.rawValue, "styles": styles,
    ]
    guard styles > 1 else {
      return try layer(norm, "torch_style", "TransformationNetwork", given, [2, 3, 21, 26]) { [options] in
        try TransformationNetwork(options, generator: $0)
      }
    }
    let blend = try Tensor([0.2, 0.3, 0.5, 0, 1, 0] as [Float], shape: [2, 3])
    return Case(
      name: "TransformationNetwork of \(styles) styles", module: "torch_style", twin: "TransformationNetwork",
      options: given, inputs: [try image([2, 3, 21, 26]), blend],
      make: { [options] in try TransformationNetwork(options, generator: $0) },
      run: { try ($0 as! TransformationNetwork)($1[0], blend: $1[1]) })
  }

  private static func features(_ layout: FeatureNetwork.Layout, _ norm: String) throws -> (
    options: FeatureNetwork.Options, given: [String: Any]
  ) {
    var options = FeatureNetwork.Options(layout)
    (options.width, options.classes) = (4, 6)
    options.normalization = try Normalization(parsing: norm)
    return (options, ["layout": layout.rawValue, "norm": norm, "width": 4, "classes": 6])
  }

  private static func classifier(_ layout: FeatureNetwork.Layout, _ norm: String) throws -> Case {
    let (options, given) = try features(layout, norm)
    return try layer("\(layout) \(norm)", "torch_style", "FeatureNetwork", given, [2, 3, 43, 50]) {
      try FeatureNetwork(options, generator: $0)
    }
  }

  private static func adaptive(_ layout: FeatureNetwork.Layout, _ norm: String) throws -> Case {
    var options = AdaptiveStyleNetwork.Options()
    let given: [String: Any]
    (options.features, given) = try features(layout, norm)
    return Case(
      name: "AdaptiveStyleNetwork \(layout) \(norm)", module: "torch_style", twin: "AdaptiveStyleNetwork",
      options: given.merging(["stage": options.stage]) { $1 },
      inputs: [try image([2, 3, 27, 32]), try image([2, 3, 40, 33], seed: 6)],
      make: { [options] in try AdaptiveStyleNetwork(options, generator: $0) },
      run: { try ($0 as! AdaptiveStyleNetwork)($1[0], style: $1[1]) })
  }

  private static func cases() throws -> [Case] {
    [
      try alexNet("none", [2, 3, 70, 91]), try alexNet("batch", [2, 3, 63, 80]), try alexNet("lrn", [2, 3, 95, 70]),
      try alexNet("group", [2, 3, 40, 33], original: true), try alexNet("switchable", [2, 3, 32, 32]),
      try alexNet("instance", [2, 3, 64, 64]), try alexNet("lrn", [2, 3, 32, 32]),
      try alexNet("batch", [2, 3, 32, 32], classifier: true),
      try spotter("none", .none), try spotter("batch", .none), try spotter("batch", .cbam),
      try spotter("group", .streams), try spotter("switchable", .merge), try spotter("instance", .cbam),
      try transformation("none", .sigmoid), try transformation("batch", .tanh), try transformation("group", .sigmoid),
      try transformation("switchable", .tanh), try transformation("instance", .sigmoid),
      try transformation("instance", .tanh, styles: 3),
      try classifier(.small, "batch"), try classifier(.small, "group"), try classifier(.small, "switchable"),
      try classifier(.small, "none"), try classifier(.vgg16, "none"), try classifier(.vgg19, "none"),
      try adaptive(.small, "batch"), try adaptive(.vgg19, "none"),
    ]
  }

  @Test(
    .enabled(
      if: Python.imports("torch", "safetensors", "numpy"),
      "needs a Python with torch, safetensors and numpy: PEERS_PYTHON or python3"))
  func bothWays() throws {
    let folder = try TemporaryFolder()
    let cases = try Self.cases()
    var networks: [Module] = []
    for (index, item) in cases.enumerated() {
      let path = folder.path("\(100 + index)")
      try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
      let network = try item.make(Generator(seed: 3))
      try network.scramble(seed: UInt64(index))
      try network.writeWeights(to: path + "/norma.safetensors")
      try Safetensors.write(
        item.inputs.enumerated().map { .init("x\($0)", $1) }, to: path + "/input.safetensors")
      try JSONSerialization.data(
        withJSONObject: ["module": item.module, "class": item.twin, "options": item.options] as [String: Any]
      ).write(to: URL(fileURLWithPath: path + "/twin.json"))
      networks.append(network)
    }
    try Python.run(Self.script, Self.peers, folder.url.path)
    for (index, item) in cases.enumerated() {
      let path = folder.path("\(100 + index)")
      if let error = try? String(contentsOfFile: path + "/error", encoding: .utf8) {
        Issue.record("\(item.name): \(error)")
        continue
      }
      let outputs = try SafetensorsReader(path + "/outputs.safetensors").tensors()
      func error(_ network: Module, _ name: String) throws -> Double {
        let expected = try #require(outputs[name])
        return try withoutGradients {
          relativeError(try item.run(network, item.inputs).array(), try expected.array())
        }
      }
      let given = try error(networks[index], "norma")
      #expect(given < Self.tolerance, "\(item.name): \(given)")
      let other = try item.make(Generator(seed: 6))
      other.evaluate()
      #expect(try error(other, "torch") > 0.001, "\(item.name) has to be loaded")
      try other.loadWeights(from: path + "/torch.safetensors")
      let loaded = try error(other, "torch")
      #expect(loaded < Self.tolerance, "\(item.name): \(loaded)")
      // One weight that is a little different is seen.
      let weight = try #require(other.parameters.first { $0.value.rank > 1 })
      try withoutGradients { try weight.value.selected(0).sliced(0..<1).add(scalar: 0.05) }
      let changed = try error(other, "torch")
      #expect(changed > 3 * Self.tolerance, "\(item.name): \(changed) with another weight")
    }
  }
}
