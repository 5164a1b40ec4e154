import NormaNN
import NormaNormalization
import NormaTensor

/// Which style the samples of a batch get, from a network that has learned several.
enum StyleSelection {
  /// One number per sample.
  case numbers([Int])
  /// [N, styles], how much of each.
  case blend(Tensor)
}

/// Convolution of an image mirrored at its border, norm and activation, the block of the networks for style transfer: zeros
/// around the image would show in the result. Keys `conv.…` and `norm.…`.
public final class StyleConvolution: Module, Layer, LayerContainer {
  public let conv: Convolution
  /// A norm, ``ConditionalInstanceNorm`` for several styles, or nil.
  public private(set) var norm: Module?
  public let activation: Activation
  /// Every input value is repeated this many times along both dimensions before the convolution.
  public let upsampling: Int

  init(
    _ inputs: Int, _ outputs: Int, kernel: Int = 3, stride: Int = 1, upsampling: Int = 1, norm: Module? = nil,
    activation: Activation = .relu, generator: Generator?
  ) throws {
    conv = try Convolution(
      inputChannels: inputs, outputChannels: outputs, kernel: [kernel, kernel], stride: [stride, stride],
      generator: generator)
    self.norm = norm
    self.activation = activation
    self.upsampling = upsampling
  }

  /// [N, C, H, W] → [N, out, H′, W′], H′ = upsampling · H / stride, rounded up.
  /// - Throws: ``NetworkError`` with conditional norms, which need to know the style.
  public func forward(_ input: Tensor) throws -> Tensor { try apply(input, style: nil) }

  /// Enlarges and mirrors; without a hold on this block, for recipes.
  private var prepared: (Tensor) throws -> Tensor {
    let (upsampling, margin) = (upsampling, conv.weight.value.shape[2] / 2)
    return { input in
      let enlarged = upsampling > 1 ? try input.upsampledNearest(factor: upsampling) : input
      return try enlarged.paddedByReflection([margin, margin, margin, margin])
    }
  }

  func apply(_ input: Tensor, style: StyleSelection?) throws -> Tensor {
    let padded = try prepared(input)
    if let recipe = input.recipe { padded.attach(recipe.then(prepared)) }
    guard let conditional = norm as? ConditionalInstanceNorm else {
      return try conv(padded, norm: norm as? any Layer, activation: activation)
    }
    let convolved = try conv(padded)
    switch style {
    case .numbers(let numbers): return try activation.consuming(conditional(convolved, styles: numbers))
    case .blend(let blend): return try activation.consuming(conditional(convolved, blend: blend))
    case nil: throw NetworkError("a network of several styles needs to be told which: pass styles or a blend")
    }
  }

  public var layersWithoutActivation: [any Layer] {
    activation == .none ? [norm as? any Layer].compactMap { $0 } : []
  }

  public func replaceLayers(_ body: (any Layer) throws -> any Layer) rethrows {
    if let layer = norm as? any Layer { norm = try body(layer) }
  }
}
