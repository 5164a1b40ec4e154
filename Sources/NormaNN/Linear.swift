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

/// A table of vectors looked up by index: int64 or int32 [...] → [..., features], with `weight` [entries, features].
public final class Embedding: Module, Layer {
  public let weight: Parameter
  /// The index that stands for no entry: its vector starts as zeros and takes no gradient; nil without one.
  public let paddingIndex: Int?

  /// - Throws: ``TensorError`` for no entries or features, or a padding index that is no entry.
  public init(
    entries: Int, features: Int, paddingIndex: Int? = nil, initializer: Initializer = .normal(standardDeviation: 1),
    generator: Generator? = nil
  ) throws {
    guard entries > 0, features > 0, paddingIndex.map({ (0..<entries).contains($0) }) ?? true else {
      throw TensorError(
        operation: "Embedding",
        message: "at least one entry and feature and a padding index among the entries were expected, got \(entries) "
          + "entries of \(features) features" + (paddingIndex.map { " and padding index \($0)" } ?? ""))
    }
    self.paddingIndex = paddingIndex
    let table = try initializer.tensor([entries, features], generator: generator)
    if let paddingIndex { try table.selected(paddingIndex).fill(0) }
    weight = try Parameter(table)
  }

  /// - Throws: ``TensorError`` for an input that holds anything but indices of entries.
  public func forward(_ input: Tensor) throws -> Tensor {
    let entries = weight.value.shape[0]
    func refuse(_ found: String) -> TensorError {
      TensorError(
        operation: "Embedding", message: "int64 or int32 indices from 0 to \(entries - 1) were expected, got \(found)")
    }
    guard [.int64, .int32].contains(input.dtype) else { throw refuse("\(input.dtype)") }
    // Looked at here since a wrong index on another device would end all work with it. A recording has no such values.
    if input.count > 0, !OperatorTrace.isRecording {
      for bound in [try input.minimum().item(), try input.maximum().item()] {
        guard bound >= 0, bound < Double(entries) else { throw refuse("\(Int(bound))") }
      }
    }
    return try weight.value.embedded(input, padding: paddingIndex)
  }
}
