import NormaTensor

/// In training, sets every element to zero with the given probability and scales the others by
/// 1 / (1 − probability); in evaluation, the identity (Srivastava et al. 2014).
public final class Dropout: Module, Layer {
  public let probability: Double
  private let generator: Generator?

  /// - Parameter generator: where the random numbers come from; nil means libtorch's global one.
  /// - Throws: ``TensorError`` unless 0 ≤ probability < 1.
  public init(probability: Double, generator: Generator? = nil) throws {
    guard (0..<1).contains(probability) else {
      throw TensorError(
        operation: "Dropout", message: "a probability in 0..<1 was expected, got \(probability)")
    }
    self.probability = probability
    self.generator = generator
  }

  public func forward(_ input: Tensor) throws -> Tensor {
    guard isTraining, probability > 0 else { return input }
    let keep = 1 - probability
    let mask = try Tensor.bernoulli(
      input.shape, probability: keep, dtype: input.dtype, device: input.device, memoryFormat: input.denseFormat,
      generator: generator)
    try mask.scale(by: 1 / keep)
    return try input * mask
  }
}
