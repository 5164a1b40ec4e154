import NormaTensor

/// How a convolution treats the border.
public enum Padding: Sendable, Equatable {
  /// No padding.
  case valid
  /// As much as keeps the extent at stride 1; an odd amount puts the larger half at the end.
  case same
  /// The same number of zeros on both sides of every spatial dimension.
  case explicit([Int])

  /// Zeros on both sides of every spatial dimension, and how many more at its end.
  func amounts(kernel: [Int], dilation: [Int]) -> (both: [Int], extra: [Int]) {
    let none = kernel.map { _ in 0 }
    switch self {
    case .valid: return (none, none)
    case .explicit(let amounts): return (amounts, none)
    case .same:
      let totals = zip(kernel, dilation).map { ($0 - 1) * $1 }
      return (totals.map { $0 / 2 }, totals.map { $0 % 2 })
    }
  }
}

/// Convolution over 1, 2 or 3 spatial dimensions: [N, C, spatial…] → [N, out, spatial…].
///
/// Parameters: `weight` [out, C / groups, kernel…], `bias` [out]. Computes in the type of the input:
/// float32 parameters serve bfloat16 data.
public final class Convolution: Module, Layer {
  public let weight: Parameter
  public let bias: Parameter?
  public let stride: [Int]
  public let padding: Padding
  public let dilation: [Int]
  public let groups: Int
  /// Applied to `weight` in every pass.
  public let weightTransform: (any WeightTransform)?

  /// `weight` as it is used.
  public var effectiveWeight: Tensor {
    get throws { try weightTransform.map { try $0(weight.value) } ?? weight.value }
  }

  /// - Parameters:
  ///   - kernel: one extent per spatial dimension; this decides their number.
  ///   - weightTransform: makes what is applied to the weight in every pass, from the initial weight.
  public init(
    inputChannels: Int, outputChannels: Int, kernel: [Int], stride: [Int]? = nil, padding: Padding = .valid,
    dilation: [Int]? = nil, groups: Int = 1, bias: Bool = true, initializer: Initializer = .heNormal,
    generator: Generator? = nil, weightTransform: ((Tensor) throws -> any WeightTransform)? = nil
  ) throws {
    try checkConvolution("Convolution", kernel, inputChannels, outputChannels, groups)
    weight = try Parameter(
      initializer.tensor([outputChannels, inputChannels / groups] + kernel, generator: generator))
    self.bias = bias ? try Parameter(Tensor.zeros([outputChannels])) : nil
    self.stride = stride ?? kernel.map { _ in 1 }
    self.padding = padding
    self.dilation = dilation ?? kernel.map { _ in 1 }
    self.groups = groups
    self.weightTransform = try weightTransform?(weight.value)
  }

  /// A layer with the given parameters: `weight` [out, C / groups, kernel…], `bias` [out].
  public init(
    weight: Tensor, bias: Tensor?, stride: [Int]? = nil, padding: Padding = .valid, dilation: [Int]? = nil,
    groups: Int = 1
  ) throws {
    let kernel = Array(weight.shape.dropFirst(2))
    try checkConvolution(
      "Convolution", kernel, (weight.shape.count > 1 ? weight.shape[1] : 0) * groups, weight.shape[0], groups)
    self.weight = try Parameter(weight)
    self.bias = try bias.map { try Parameter($0) }
    self.stride = stride ?? kernel.map { _ in 1 }
    self.padding = padding
    self.dilation = dilation ?? kernel.map { _ in 1 }
    self.groups = groups
    weightTransform = nil
  }

  /// ``forward(_:upsampledBy:)``, seen by observers.
  public func callAsFunction(_ input: Tensor, upsampledBy factor: Int) throws -> Tensor {
    try observed(input) { try forward(input, upsampledBy: factor) }
  }

  /// The convolution of the input enlarged by a whole factor, each value repeated, which is not made where the
  /// convolution has stride 1, no dilation and padding `same`.
  /// - Parameter addsBias: false leaves the bias out, for a caller that adds it.
  public func forward(_ input: Tensor, upsampledBy factor: Int, addsBias: Bool = true) throws -> Tensor {
    guard factor > 1, input.rank == weight.value.rank, padding == .same, (stride + dilation).allSatisfy({ $0 == 1 }),
      !OperatorTrace.isRecording
    else {
      return try convolve(factor > 1 ? input.upsampledNearest(factor: factor) : input, addsBias: addsBias)
    }
    let before = weight.value.shape.dropFirst(2).map { ($0 - 1) / 2 }
    return try UpsampledConvolution(factor: factor, before: before)(
      input, weight: effectiveWeight, bias: addsBias ? bias?.value.to(dtype: input.dtype) : nil,
      groups: groups)
  }

  public func forward(_ input: Tensor) throws -> Tensor { try convolve(input, addsBias: true) }

  private func convolve(_ input: Tensor, addsBias: Bool) throws -> Tensor {
    let kernel = Array(weight.value.shape.dropFirst(2))
    var input = input
    let (amounts, extra) = padding.amounts(kernel: kernel, dilation: dilation)
    if extra.contains(where: { $0 > 0 }) {
      // Constant padding counts from the last dimension.
      let ends = extra.reversed().flatMap { [0, $0] }
      let padded = try input.padded(ends)
      if let recipe = input.recipe { padded.attach(recipe.then { try $0.padded(ends) }) }
      input = padded
    }
    return try input.convolutionRecomputing(
      weight: effectiveWeight.to(dtype: input.dtype), bias: addsBias ? bias?.value.to(dtype: input.dtype) : nil,
      stride: stride, padding: amounts, dilation: dilation, groups: groups)
  }
}

/// Transposed convolution: the gradient of a convolution used as a layer, which enlarges the extents.
///
/// Parameters: `weight` [C, out / groups, kernel…], `bias` [out].
public final class TransposedConvolution: Module, Layer {
  public let weight: Parameter
  public let bias: Parameter?
  public let stride: [Int]
  public let padding: [Int]
  public let groups: Int

  public init(
    inputChannels: Int, outputChannels: Int, kernel: [Int], stride: [Int]? = nil, padding: [Int]? = nil,
    groups: Int = 1, bias: Bool = true, initializer: Initializer = .heNormal, generator: Generator? = nil
  ) throws {
    try checkConvolution("TransposedConvolution", kernel, inputChannels, outputChannels, groups)
    weight = try Parameter(
      initializer.tensor([inputChannels, outputChannels / groups] + kernel, generator: generator))
    self.bias = bias ? try Parameter(Tensor.zeros([outputChannels])) : nil
    self.stride = stride ?? kernel
    self.padding = padding ?? kernel.map { _ in 0 }
    self.groups = groups
  }

  public func forward(_ input: Tensor) throws -> Tensor {
    try input.convolution(
      weight: weight.value.to(dtype: input.dtype), bias: bias?.value.to(dtype: input.dtype), stride: stride,
      padding: padding, dilation: stride.map { _ in 1 }, transposed: true, groups: groups)
  }
}

private func checkConvolution(_ name: String, _ kernel: [Int], _ inputs: Int, _ outputs: Int, _ groups: Int)
  throws
{
  guard (1...3).contains(kernel.count), groups > 0, inputs % groups == 0, outputs % groups == 0 else {
    throw TensorError(
      operation: name,
      message: "1 to 3 kernel extents and a group count that divides both channel counts were expected, got "
        + "kernel \(kernel), \(inputs) → \(outputs) channels in \(groups) groups")
  }
}
