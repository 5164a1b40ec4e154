import NormaNN
import NormaTensor

/// Convolution → normalization → activation, the block that networks are built of. Where there is a kernel for
/// both, normalization and activation are one pass over the data.
public final class ConvNormActivation: Module, Layer {
  public let conv: Convolution
  public let norm: (any Layer)?
  public let activation: Activation
  /// Every input value is repeated this many times along each spatial dimension before the convolution.
  public let upsampling: Int

  public init(_ conv: Convolution, norm: (any Layer)?, activation: Activation = .relu, upsampling: Int = 1) {
    self.conv = conv
    self.norm = norm
    self.activation = activation
    self.upsampling = upsampling
  }

  public func forward(_ input: Tensor) throws -> Tensor {
    let convolved = try conv(input, upsampledBy: upsampling)
    if let norm = norm as? NormalizationLayer { return try norm(convolved, activation: activation) }
    // The normalization keeps its input, not its output, so the activation may overwrite the latter.
    return try activation.consuming(norm.map { try $0(convolved) } ?? convolved)
  }
}
