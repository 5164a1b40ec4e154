import NormaNN
import NormaNormalization
import NormaTensor

/// Two convolutions with norms, added to their input.
final class ResidualBlock: Module, Layer {
  let first: ConvNormActivation
  let second: ConvNormActivation

  init(channels: Int, normalization: Normalization, generator: Generator) throws {
    func block(_ activation: Activation) throws -> ConvNormActivation {
      ConvNormActivation(
        try Convolution(
          inputChannels: channels, outputChannels: channels, kernel: [3, 3], padding: .same, generator: generator),
        norm: try activation == .none
          ? normalization.linearLayer(channels: channels) : normalization.layer(channels: channels),
        activation: activation)
    }
    first = try block(.relu)
    second = try block(.none)
  }

  func forward(_ input: Tensor) throws -> Tensor { try (second(first(input)) + input).relu() }
}
