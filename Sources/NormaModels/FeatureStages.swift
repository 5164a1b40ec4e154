import NormaNN
import NormaNormalization
import NormaTensor

/// Convolutions, activations and poolings in the order, and so under the keys, of torchvision's `features`. Norms are apart from
/// them, one per convolution from the first on, so that the convolutions have the same keys under every norm.
struct FeatureStages {
  let layers: [any Layer]
  let norms: [any Layer]
  /// Whether a norm follows the activation in the place of the convolution.
  var normsFollowActivation = false

  /// - Parameters:
  ///   - visit: called with every convolution's number and its output after norm and ReLU; false ends the pass.
  /// - Returns: the output of the last layer that was computed.
  func callAsFunction(_ input: Tensor, visit: (Int, Tensor) throws -> Bool = { _, _ in true }) throws -> Tensor {
    var (x, convolution) = (input, 0)
    // An activation is computed together with its convolution; its layer keeps the place.
    for layer in layers where !(layer is ActivationLayer) {
      guard let conv = layer as? Convolution else {
        x = try layer(x)
        continue
      }
      let norm = convolution < norms.count ? norms[convolution] : nil
      x = try conv(x, norm: normsFollowActivation ? nil : norm, activation: .relu)
      if normsFollowActivation, let norm { x = try norm(x) }
      guard try visit(convolution, x) else { return x }
      convolution += 1
    }
    return x
  }
}
