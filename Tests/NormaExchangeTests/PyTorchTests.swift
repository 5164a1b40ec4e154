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
    peers, folder, norm, head = sys.argv[1:]
    sys.path.insert(0, peers)
    import torch
    from safetensors.torch import load_file, save_file
    from torch_unet import NORMS, UNet
    torch.set_num_threads(1)
    torch.manual_seed(0)
    x = load_file(folder + "/input.safetensors")["x"]
    network = UNet(NORMS[norm], 4, depth=2, outputs=3, head=head).eval()
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

  @Test(
    .withPyTorch,
    arguments: [
      (Normalization.batch, UNet.HeadStyle.seed), (.group(groups: nil), .plain), (.switchable, .seed), (.none, .plain),
    ])
  func bothWays(norm: Normalization, head: UNet.HeadStyle) throws {
    let folder = try TemporaryFolder()
    var options = UNet.Options()
    (options.width, options.depth, options.outputChannels, options.head) = (4, 2, 3, head)
    options.normalization = norm
    let network = try UNet(options, generator: Generator(seed: 3))
    try network.scramble(seed: 4)
    try network.writeWeights(to: folder.path("norma.safetensors"), metadata: options.metadata)
    let x = try Tensor.normal([2, 1, 20, 28], generator: Generator(seed: 5)) + 0.5
    try Safetensors.write([.init("x", x)], to: folder.path("input.safetensors"))
    try Python.run(Self.script, Self.peers, folder.url.path, norm.name, head.rawValue)

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
    told.normalization = norm
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
