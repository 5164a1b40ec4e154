import Foundation
import NormaExchange
import NormaFormats
import NormaModels
import NormaNN
import NormaNormalization
import NormaTensor
import TestSupport
import Testing

/// Layers for sequences and the networks for small pictures beside PyTorch's, with the same weights.
@Suite(.withPyTorch) struct SequencePyTorchTests {
  private static let tolerance = 1e-5

  struct Layer: Sendable, CustomTestStringConvertible {
    var testDescription: String
    /// Makes PyTorch's module, and calls it.
    var module: String
    var call = "m(x)"
    var make: @Sendable () throws -> Module
    /// The results in PyTorch's order.
    var run: @Sendable (Module, Tensor) throws -> [Tensor] = { layer, x in
      let (output, state) = try (layer as! RecurrentLayer)(x, from: nil)
      return [output, state.hidden] + (state.cell.map { [$0] } ?? [])
    }

    static let all = [
      Layer(
        testDescription: "LSTM", module: "nn.LSTM(6, 5, batch_first=True)",
        make: { try LSTM(inputs: 6, hidden: 5, generator: Generator(seed: 1)) }),
      Layer(
        testDescription: "LSTM, 2 layers both ways",
        module: "nn.LSTM(6, 5, num_layers=2, bidirectional=True, batch_first=True)",
        make: { try LSTM(inputs: 6, hidden: 5, layers: 2, bidirectional: true, generator: Generator(seed: 1)) }),
      Layer(
        testDescription: "GRU, 2 layers both ways",
        module: "nn.GRU(6, 5, num_layers=2, bidirectional=True, batch_first=True)",
        make: { try GRU(inputs: 6, hidden: 5, layers: 2, bidirectional: true, generator: Generator(seed: 1)) }),
      Layer(
        testDescription: "attention", module: "nn.MultiheadAttention(6, 3, batch_first=True)", call: "m(x, x, x)[0]",
        make: { try MultiHeadAttention(features: 6, heads: 3, generator: Generator(seed: 1)) },
        run: { [try ($0 as! MultiHeadAttention)($1)] }),
      Layer(
        testDescription: "attention with masks", module: "nn.MultiheadAttention(6, 3, batch_first=True)",
        call:
          "m(x, x, x, attn_mask=torch.ones(4, 4).triu(1).bool(), key_padding_mask=torch.tensor([[0,0,0,1],[0,1,0,0]]).bool())[0]",
        make: { try MultiHeadAttention(features: 6, heads: 3, generator: Generator(seed: 1)) },
        run: {
          let mask = try Tensor([1, 1, 1, 0, 1, 0, 1, 1], shape: [2, 4])
          return [try ($0 as! MultiHeadAttention)($1, mask: mask, isCausal: true)]
        }),
      Layer(
        testDescription: "transformer block",
        module: "nn.TransformerEncoderLayer(6, 3, 7, dropout=0, activation='gelu', batch_first=True, norm_first=True)",
        make: {
          try TransformerBlock(
            features: 6, heads: 3, inner: 7, generator: Generator(seed: 1), norm: Normalization.layer.cellLayer)
        },
        run: { [try ($0 as! TransformerBlock)($1)] }),
    ]
  }

  private static let layerScript = """
    import sys
    folder, module, call = sys.argv[1:]
    import torch
    from torch import nn
    from safetensors.torch import load_file, save_file
    torch.set_num_threads(1)
    m = eval(module)
    m.load_state_dict(load_file(folder + "/norma.safetensors"), strict=True)
    given = load_file(folder + "/input.safetensors")
    x = given["x"].requires_grad_()
    y = eval(call)
    y = [y] if torch.is_tensor(y) else [y[0], *(y[1] if isinstance(y[1], tuple) else [y[1]])]
    y[0].backward(given["g"])
    found = {f"output.{i}": t.detach() for i, t in enumerate(y)}
    found |= {"grad." + k: p.grad for k, p in m.named_parameters()} | {"grad.x": x.grad}
    save_file({k: v.contiguous() for k, v in found.items()}, folder + "/torch.safetensors")
    """

  @Test(arguments: Layer.all) func layers(_ item: Layer) throws {
    let folder = try TemporaryFolder()
    let layer = try item.make()
    try layer.writeWeights(to: folder.path("norma.safetensors"))
    let x = try Tensor.normal([2, 4, 6], generator: Generator(seed: 2)).requiringGradient()
    let output = try item.run(layer, x)
    let g = try Tensor.normal(output[0].shape, generator: Generator(seed: 3))
    try output[0].backward(g)
    try Safetensors.write([.init("x", x), .init("g", g)], to: folder.path("input.safetensors"))
    try Python.run(Self.layerScript, folder.url.path, item.module, item.call)

    let expected = try SafetensorsReader(folder.path("torch.safetensors")).tensors()
    var found = Dictionary(uniqueKeysWithValues: output.enumerated().map { ("output.\($0)", $1) })
    found["grad.x"] = x.gradient
    for (key, parameter) in layer.namedParameters() { found["grad." + key] = parameter.gradient }
    #expect(Set(found.keys) == Set(expected.keys))
    // The gradient of the keys' bias is zero but for roundings.
    let scale = try expected.filter { $0.key.hasPrefix("grad") }.map { try $0.value.abs().maximum().item() }.max()!
    for (key, value) in found {
      let wanted = try #require(expected[key])
      #expect(value.shape == wanted.shape, "\(key)")
      let difference = try (value - wanted).abs().maximum().item()
      let size = try key.hasPrefix("grad") ? scale : wanted.abs().maximum().item()
      #expect(difference < Self.tolerance * size, "\(key)")
      #expect(try wanted.abs().maximum().item() > 100 * Self.tolerance * size, "\(key) is something")
    }
  }

  /// Loads Norma's weights into the twin and writes its output; then gives the twin random weights and writes these and what
  /// comes out with them. The twin computes in float64: its float32 output of two normalized layers was 1.1e-5 off for one draw
  /// of weights, where Norma's was 9e-7.
  private static let networkScript = """
    import copy, sys
    peers, folder, network, norm = sys.argv[1:]
    sys.path.insert(0, peers)
    import torch
    from safetensors.torch import load_file, save_file
    import torch_mnist
    torch.set_num_threads(1)
    torch.manual_seed(0)
    x = load_file(folder + "/input.safetensors")["x"].double()
    m = torch_mnist.MNISTDense(torch_mnist.NORMS[norm]) if network == "dense" else torch_mnist.MNISTLSTM(norm, layers=2)
    m.eval().load_state_dict(load_file(folder + "/norma.safetensors"), strict=True)
    outputs = {}
    with torch.inference_mode():
        outputs["norma"] = copy.deepcopy(m).double()(x)
    for name, value in m.state_dict().items():
        if value.is_floating_point():
            with torch.no_grad():
                value.copy_(torch.rand_like(value) + 0.5 if "running_var" in name else torch.randn_like(value) * 0.1)
    with torch.inference_mode():
        outputs["torch"] = copy.deepcopy(m).double()(x)
    save_file(m.state_dict(), folder + "/torch.safetensors")
    save_file({k: v.contiguous() for k, v in outputs.items()}, folder + "/outputs.safetensors")
    """

  @Test(arguments: [("dense", "none"), ("dense", "batch"), ("dense", "layer"), ("lstm", "none"), ("lstm", "layer")])
  func networks(network: String, norm: String) throws {
    let folder = try TemporaryFolder()
    func make(_ seed: UInt64) throws -> any NormaNN.Layer {
      let generator = try Generator(seed: seed)
      guard network == "lstm" else {
        var options = MNISTDense.Options()
        options.normalization = try Normalization(parsing: norm)
        return try MNISTDense(options, generator: generator)
      }
      var options = MNISTLSTM.Options()
      options.layers = 2
      options.normalization = try Normalization(parsing: norm)
      return try MNISTLSTM(options, generator: generator)
    }
    let own = try make(1)
    try own.scramble(seed: 2)
    try own.writeWeights(to: folder.path("norma.safetensors"))
    let x = try Tensor.uniform([5, 1, 28, 28], generator: Generator(seed: 3))
    try Safetensors.write([.init("x", x)], to: folder.path("input.safetensors"))
    try Python.run(Self.networkScript, PyTorchTests.peers, folder.url.path, network, norm)

    let outputs = try SafetensorsReader(folder.path("outputs.safetensors")).tensors()
    func error(_ network: any NormaNN.Layer, _ name: String) throws -> Double {
      let expected = try #require(outputs[name])
      return try withoutGradients { relativeError(try network(x).array(), try expected.array()) }
    }
    #expect(try error(own, "norma") < Self.tolerance)
    let other = try make(4)
    other.evaluate()
    #expect(try error(other, "torch") > 0.01)
    try other.loadWeights(from: SafetensorsReader(folder.path("torch.safetensors")))
    #expect(try error(other, "torch") < Self.tolerance)
    // Weights of the first layer that are a little different are seen; by noise, since some norms take the rest away.
    let weights = try #require(other.namedParameters().first { $0.parameter.value.rank == 2 }).parameter.value
    try withoutGradients { try weights.add(Tensor.normal(weights.shape, generator: Generator(seed: 5)), scale: 0.01) }
    #expect(try error(other, "torch") > 3 * Self.tolerance)
  }
}
