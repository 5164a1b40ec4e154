import NormaNN
import NormaTensor

/// Convolution → normalization → activation, the block that networks are built of.
public final class ConvNormActivation: Module, Layer {
  public let conv: Convolution
  public let norm: (any Layer)?
  public let activation: Activation

  public init(_ conv: Convolution, norm: (any Layer)?, activation: Activation = .relu) {
    self.conv = conv
    self.norm = norm
    self.activation = activation
  }

  public func forward(_ input: Tensor) throws -> Tensor {
    let convolved = try conv(input)
    if let norm = norm as? NormalizationLayer { return try norm(convolved, activation: activation) }
    // The normalization keeps its input, not its output, so the activation may overwrite the latter.
    return try activation.consuming(norm.map { try $0(convolved) } ?? convolved)
  }
}
