import NormaTensor

/// Fully connected layer: [..., in] → [..., out], x · weightᵀ + bias with `weight` [out, in], `bias` [out].
public final class Linear: Module, Layer {
  public let weight: Parameter
  public let bias: Parameter?
  /// Applied to `weight` in every pass.
  public let weightTransform: (any WeightTransform)?

  /// `weight` as it is used.
  public var effectiveWeight: Tensor {
    get throws { try weightTransform.map { try $0(weight.value) } ?? weight.value }
  }

  /// - Parameter weightTransform: makes what is applied to the weight in every pass, from the initial weight.
  public init(
    inputs: Int, outputs: Int, bias: Bool = true, initializer: Initializer = .heNormal,
    generator: Generator? = nil, weightTransform: ((Tensor) throws -> any WeightTransform)? = nil
  ) throws {
    weight = try Parameter(initializer.tensor([outputs, inputs], generator: generator))
    self.bias = bias ? try Parameter(Tensor.zeros([outputs])) : nil
    self.weightTransform = try weightTransform?(weight.value)
  }

  /// A layer with the given parameters: `weight` [out, in], `bias` [out].
  public init(weight: Tensor, bias: Tensor?) throws {
    guard weight.rank == 2, bias.map({ $0.shape == [weight.shape[0]] }) ?? true else {
      throw TensorError(
        operation: "Linear",
        message: "a weight [out, in] and a bias [out] were expected, got \(weight.shape) and \(bias?.shape ?? [])")
    }
    self.weight = try Parameter(weight)
    self.bias = try bias.map { try Parameter($0) }
    weightTransform = nil
  }

  public func forward(_ input: Tensor) throws -> Tensor {
    try input.linear(weight: effectiveWeight.to(dtype: input.dtype), bias: bias?.value.to(dtype: input.dtype))
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
