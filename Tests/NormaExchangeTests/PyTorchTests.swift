import Foundation
import NormaExchange
import NormaFormats
import NormaModels
import NormaNN
import NormaNormalization
import NormaTensor
import TestSupport
import Testing

extension Trait where Self == ConditionTrait {
  static var withPyTorch: Self {
    .enabled(
      if: Python.imports("torch", "safetensors", "numpy"),
      "needs a Python with torch, safetensors and numpy: PEERS_PYTHON or python3")
  }
}

/// Weights to PyTorch and from it, with the benchmarks' U-Net in plain PyTorch on the other side.
@Suite struct PyTorchTests {
  /// Loads Norma's weights into PyTorch's network and writes its output; then writes a random state of its own and what comes
  /// out with it.
  private static let script = """
    import sys
    peers, folder, norm, head, upsampling, padding, residual, dimensions = sys.argv[1:]
    sys.path.insert(0, peers)
    import torch
    from safetensors.torch import load_file, save_file
    from torch_unet import NORMS, NORMS_3D, Form, UNet
    torch.set_num_threads(1)
    torch.manual_seed(0)
    x = load_file(folder + "/input.safetensors")["x"]
    form = Form(upsampling, padding, residual == "true", int(dimensions))
    norms = form.of(NORMS, NORMS_3D)
    network = UNet(norms[norm], 4, depth=2, inputs=x.shape[1], outputs=3, head=head, form=form).eval()
    network.load_state_dict(load_file(folder + "/norma.safetensors"), strict=True)
    outputs = {}
    with torch.inference_mode():
        outputs["norma"] = network(x)
    for name, value in network.state_dict().items():
        if value.is_floating_point():
            with torch.no_grad():
                value.copy_(torch.rand_like(value) + 0.5 if "running_var" in name else torch.randn_like(value) * 0.4)
    with torch.inference_mode():
        outputs["torch"] = network(x)
    save_file(network.state_dict(), folder + "/torch.safetensors")
    save_file({k: v.contiguous() for k, v in outputs.items()}, folder + "/outputs.safetensors")
    """

  static let peers = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent().appendingPathComponent("Benchmarks/peers").path

  private static let tolerance = 1e-5

  struct Case: Sendable, CustomTestStringConvertible {
    var norm: Normalization
    var head = UNet.HeadStyle.plain
    var upsampling = UNet.Upsampling.nearest
    var padding = UNet.Padding.same
    var isResidual = false
    var input = [2, 1, 20, 28]

    var testDescription: String { options.metadata.description }

    var options: UNet.Options {
      var options = UNet.Options()
      (options.width, options.depth, options.outputChannels, options.head) = (4, 2, 3, head)
      (options.upsampling, options.padding, options.isResidual) = (upsampling, padding, isResidual)
      (options.inputChannels, options.dimensions, options.normalization) = (input[1], input.count - 2, norm)
      return options
    }

    static let all: [Case] = [
      .init(norm: .batch, head: .seed), .init(norm: .group(groups: nil)), .init(norm: .switchable, head: .seed),
      .init(norm: .none),
      .init(norm: .batch, upsampling: .transposed), .init(norm: .switchable, head: .seed, isResidual: true),
      // As many inputs as channels: the first level has no shortcut convolution.
      .init(norm: .group(groups: nil), upsampling: .transposed, isResidual: true, input: [2, 4, 20, 12]),
      .init(norm: .switchable, head: .seed, padding: .valid, input: [2, 1, 48, 44]),
      .init(norm: .batch, upsampling: .transposed, padding: .valid, isResidual: true, input: [1, 1, 44, 60]),
      .init(norm: .batch, head: .seed, input: [2, 2, 8, 4, 12]),
      .init(norm: .switchable, upsampling: .transposed, isResidual: true, input: [2, 1, 4, 12, 8]),
      .init(norm: .group(groups: nil), upsampling: .transposed, padding: .valid, input: [1, 1, 44, 48, 44]),
    ]
  }

  @Test(.withPyTorch, arguments: Case.all)
  func bothWays(_ item: Case) throws {
    let folder = try TemporaryFolder()
    let options = item.options
    let network = try UNet(options, generator: Generator(seed: 3))
    try network.scramble(seed: 4)
    try network.writeWeights(to: folder.path("norma.safetensors"), metadata: options.metadata)
    let x = try Tensor.normal(item.input, generator: Generator(seed: 5)) + 0.5
    try Safetensors.write([.init("x", x)], to: folder.path("input.safetensors"))
    try Python.run(
      Self.script, Self.peers, folder.url.path, item.norm.name, item.head.rawValue,
      item.upsampling.rawValue, item.padding.rawValue, "\(item.isResidual)", "\(options.dimensions)")

    let outputs = try SafetensorsReader(folder.path("outputs.safetensors")).tensors()
    func error(_ network: UNet, _ name: String) throws -> Double {
      let expected = try #require(outputs[name])
      return try withoutGradients {
        relativeError(try network(x).array(), try expected.array())
      }
    }
    #expect(try error(network, "norma") < Self.tolerance)

    let file = try SafetensorsReader(folder.path("torch.safetensors"))
    #expect(file.metadata["architecture"] == nil)
    var told = try UNet.Options(
      shapes: Dictionary(uniqueKeysWithValues: file.entries.map { ($0.name, $0.shape) }))
    told.normalization = item.norm
    told.padding = item.padding
    let other = try UNet(told, generator: Generator(seed: 6))
    other.evaluate()
    #expect(try error(other, "torch") > 0.01)
    try other.loadWeights(from: file)
    #expect(try error(other, "torch") < Self.tolerance)
    // One weight that is a little different is seen.
    try withoutGradients { try other.encoder[0].conv1.conv.weight.value.selected(0).add(scalar: 0.01) }
    #expect(try error(other, "torch") > 3 * Self.tolerance)
  }
}
