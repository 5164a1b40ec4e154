import NormaNN
import NormaNormalization
import NormaTensor

/// A small classifier whose parts the claims vary: 3×3 convolutions with norms and activations, two poolings, a
/// convolution without a norm, and means of planes, which a norm over planes right before them would take away.
final class ClaimNetwork: Module, Layer {
  private let blocks: [Sequential]
  private let last: ConvNormActivation
  private let head: Linear

  init(_ trial: ClaimTrial, data: ClaimData, generator: Generator) throws {
    var blocks: [Sequential] = []
    for index in 0..<trial.depth {
      let conv = try Convolution(
        inputChannels: index == 0 ? data.channels : trial.width, outputChannels: trial.width, kernel: [3, 3],
        padding: .same, generator: generator)
      if trial.initialScale != 1 { try withoutGradients { try conv.weight.value.scale(by: trial.initialScale) } }
      let norm = try trial.norm.layer(channels: trial.width)
      var layers: [any Layer] =
        trial.normFollowsActivation
        ? [ConvNormActivation(conv, norm: nil, activation: trial.activation)] + (norm.map { [$0] } ?? [])
        : [ConvNormActivation(conv, norm: norm, activation: trial.activation)]
      if index == 0 || index == trial.depth / 2 { layers.append(MaxPool(kernel: [2, 2])) }
      blocks.append(Sequential(layers))
    }
    self.blocks = blocks
    last = ConvNormActivation(
      try Convolution(
        inputChannels: trial.width, outputChannels: trial.width, kernel: [3, 3], padding: .same, generator: generator),
      norm: nil)
    head = try Linear(inputs: trial.width, outputs: data.classes, generator: generator)
  }

  func forward(_ input: Tensor) throws -> Tensor {
    var x = input
    for block in blocks { x = try block(x) }
    return try head(last(x).mean([2, 3]))
  }

  /// Norms of the gradients of the first and the last convolution's weights.
  func gradientNorms() throws -> (first: Double, last: Double) {
    func norm(_ block: Sequential) throws -> Double {
      guard let gradient = block.parameters[0].value.gradient else { return 0 }
      return try gradient.squared().sum().squareRoot().item()
    }
    return (try norm(blocks[0]), try norm(blocks[blocks.count - 1]))
  }
}

/// h ← tanh(norm(W x + U h)) over a sequence [N, L, inputs]; classes from the last h.
final class ClaimRecurrentNetwork: Module, Layer {
  private let input: Linear
  private let state: Linear
  private let norm: (any Layer)?
  private let head: Linear
  private let width: Int

  init(norm: Normalization, inputs: Int, width: Int, classes: Int, generator: Generator) throws {
    input = try Linear(inputs: inputs, outputs: width, generator: generator)
    state = try Linear(inputs: width, outputs: width, generator: generator)
    self.norm = try norm.layer(channels: width)
    head = try Linear(inputs: width, outputs: classes, generator: generator)
    self.width = width
  }

  func forward(_ sequence: Tensor) throws -> Tensor {
    var h = try Tensor.zeros([sequence.shape[0], width])
    for step in 0..<sequence.shape[1] {
      let sum = try input(sequence.selected(step, dimension: 1)) + state(h)
      h = try (norm.map { try $0(sum) } ?? sum).tanh()
    }
    return try head(h)
  }
}
