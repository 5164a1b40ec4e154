import NormaModels
import NormaNN
import NormaNormalization
import NormaTensor
import Testing

/// What all networks do alike.
@Suite struct NetworkTests {
  static let norms: [Normalization] = [.none, .batch, .group(groups: nil), .switchable, .instance]

  /// Small ones, with the extents of an input.
  private static func networks(_ norm: Normalization) throws -> [(network: any Layer, shape: [Int])] {
    let generator = try Generator(seed: 0)
    var alexNet = AlexNet.Options()
    (alexNet.normalization, alexNet.inputSize, alexNet.width, alexNet.classes) = (norm, 32, 1.0 / 64, 4)
    var spotter = MeanSpotter.Options()
    (spotter.normalization, spotter.attention) = (norm, .cbam)
    var style = TransformationNetwork.Options()
    (style.normalization, style.width, style.blocks) = (norm, 4, 1)
    var features = FeatureNetwork.Options()
    (features.normalization, features.width) = (norm, 4)
    return [
      (try AlexNet(alexNet, generator: generator), [2, 3, 32, 32]),
      (try MeanSpotter(spotter, generator: generator), [2, 3, 42, 42]),
      (try TransformationNetwork(style, generator: generator), [2, 3, 18, 21]),
      (try FeatureNetwork(features, generator: generator), [2, 3, 36, 32]),
    ]
  }

  /// Recomputation changes what is kept, not what comes out.
  @Test(arguments: norms) func recomputationChangesNoResult(_ norm: Normalization) throws {
    func steps(_ recomputes: Bool) throws -> [[Double]] {
      try Self.networks(norm).flatMap { network, shape -> [[Double]] in
        try network.to(memoryFormat: .channelsLast)
        let x = try Tensor.uniform(shape, generator: Generator(seed: 1))
        let y = try Recomputation.$isEnabled.withValue(recomputes) { try network(x) }
        try y.backward(Tensor.normal(y.shape, generator: Generator(seed: 2)))
        let state = network.stateDictionary().filter { $0.key.contains("running") }.map(\.value)
        return try ([y] + network.parameters.map { try #require($0.gradient) } + state).map { try $0.array() }
      }
    }
    let (kept, recomputed) = (try steps(false), try steps(true))
    #expect(kept == recomputed)
    #expect(kept.contains { $0.contains { $0 != 0 } })
  }

  /// An observer sees every layer, and the plain way gives what the passes in one give.
  @Test(arguments: norms) func observersSeeTheLayers(_ norm: Normalization) throws {
    for (network, shape) in try Self.networks(norm) {
      network.evaluate()
      let x = try Tensor.uniform(shape, generator: Generator(seed: 1))
      let seen = Seen()
      let watched = try LayerObserver.observe({ layer, _, _ in seen.layers.append(ObjectIdentifier(layer)) }) {
        try network(x)
      }
      #expect(try network(x).isClose(to: watched, relative: 1e-4, absolute: 1e-5))
      let expected = network.namedModules().map(\.module).filter {
        $0 is Convolution || $0 is Linear || $0 is NormalizationLayer
      }
      #expect(!expected.isEmpty && expected.allSatisfy { seen.layers.contains(ObjectIdentifier($0)) })
    }
  }

  private final class Seen: @unchecked Sendable {
    var layers: [ObjectIdentifier] = []
  }

  /// Data in bfloat16 with parameters in float32.
  @Test(arguments: norms) func bfloat16Data(_ norm: Normalization) throws {
    for (network, shape) in try Self.networks(norm) {
      network.evaluate()
      let x = try Tensor.uniform(shape, generator: Generator(seed: 1)).to(dtype: .bfloat16)
      let y = try network(x)
      #expect(y.dtype == .bfloat16)
      let exact = try network(x.to(dtype: .float32))
      let scale = try exact.abs().maximum().item()
      #expect(try (y.to(dtype: .float32) - exact).abs().maximum().item() < 0.1 * scale)
    }
  }
}
