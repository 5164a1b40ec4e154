import NormaNN
import NormaNormalization
import NormaTensor

/// A small residual classifier: [N, 1, H, W] → logits [N, classes].
final class ShapeClassifier: Module, Layer {
  let stem: ConvNormActivation
  let blocks: [ResidualBlock]
  let pool = MaxPool(kernel: [2, 2])
  let head: Linear

  /// - Parameter generator: draws the weights. Norms draw nothing, so that a seed gives all of them the same ones.
  init(classes: Int, width: Int = 16, depth: Int = 2, normalization: Normalization, generator: Generator) throws {
    stem = ConvNormActivation(
      try Convolution(
        inputChannels: 1, outputChannels: width, kernel: [3, 3], padding: .same, generator: generator),
      norm: try normalization.layer(channels: width))
    blocks = try (0..<depth).map { _ in
      try ResidualBlock(channels: width, normalization: normalization, generator: generator)
    }
    head = try Linear(inputs: width, outputs: classes, generator: generator)
  }

  func forward(_ input: Tensor) throws -> Tensor {
    var features = try stem(input)
    for block in blocks { features = try block(pool(features)) }
    return try head(features.mean([2, 3]))
  }
}
