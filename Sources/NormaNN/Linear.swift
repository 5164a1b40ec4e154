import NormaTensor

/// Fully connected layer: [..., in] → [..., out], x · weightᵀ + bias with `weight` [out, in], `bias` [out].
public final class Linear: Module, Layer {
  public let weight: Parameter
  public let bias: Parameter?

  public init(
    inputs: Int, outputs: Int, bias: Bool = true, initializer: Initializer = .heNormal,
    generator: Generator? = nil
  ) throws {
    weight = try Parameter(initializer.tensor([outputs, inputs], generator: generator))
    self.bias = bias ? try Parameter(Tensor.zeros([outputs])) : nil
  }

  public func forward(_ input: Tensor) throws -> Tensor {
    try input.linear(weight: weight.value.to(dtype: input.dtype), bias: bias?.value.to(dtype: input.dtype))
  }
}

/// A table of vectors looked up by index: int64 [...] → [..., features].
public final class Embedding: Module, Layer {
  public let weight: Parameter

  public init(
    entries: Int, features: Int, initializer: Initializer = .normal(standardDeviation: 1),
    generator: Generator? = nil
  ) throws {
    weight = try Parameter(initializer.tensor([entries, features], generator: generator))
  }

  public func forward(_ input: Tensor) throws -> Tensor { try weight.value.embedded(input) }
}
