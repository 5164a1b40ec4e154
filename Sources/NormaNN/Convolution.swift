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

/// A convolution in either direction, as networks' blocks take it.
public protocol ConvolutionLayer: Layer {
  /// [out, C / groups, kernel…], or [C, out / groups, kernel…] where it is transposed.
  var weight: Parameter { get }
  /// [out], or nil for none.
  var bias: Parameter? { get }
  /// The layer applied to the input enlarged by a whole factor, each value repeated.
  /// - Parameter addsBias: false leaves the bias out, for a caller that adds it.
  func forward(_ input: Tensor, upsampledBy factor: Int, addsBias: Bool) throws -> Tensor
}

extension ConvolutionLayer {
  public func forward(_ input: Tensor) throws -> Tensor { try forward(input, upsampledBy: 1, addsBias: true) }

  /// ``forward(_:upsampledBy:addsBias:)`` with the bias, seen by observers.
  public func callAsFunction(_ input: Tensor, upsampledBy factor: Int) throws -> Tensor {
    try observed(input) { try forward(input, upsampledBy: factor, addsBias: true) }
  }
}

/// Convolution over 1, 2 or 3 spatial dimensions: [N, C, spatial…] → [N, out, spatial…].
///
/// Parameters: `weight` [out, C / groups, kernel…], `bias` [out]. Computes in the type of the input:
/// float32 parameters serve bfloat16 data.
public final class Convolution: Module, ConvolutionLayer {
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

/// Transposed convolution: the gradient of a convolution used as a layer, which enlarges the extents:
/// [N, C, spatial…] → [N, out, (spatial − 1) · stride − 2 · padding + kernel + output padding…], PyTorch's `ConvTranspose1d`,
/// `2d` and `3d` without dilation.
///
/// Parameters: `weight` [C, out / groups, kernel…], `bias` [out].
public final class TransposedConvolution: Module, ConvolutionLayer {
  public let weight: Parameter
  public let bias: Parameter?
  public let stride: [Int]
  public let padding: [Int]
  /// What the output is longer by at the end of every spatial dimension: of the extents that a convolution with this stride
  /// would shrink to the input's, it chooses one.
  public let outputPadding: [Int]
  public let groups: Int

  /// - Parameters:
  ///   - kernel: one extent per spatial dimension; this decides their number.
  ///   - stride: the kernel unless given, so that the outputs of neighbours do not overlap.
  ///   - outputPadding: see ``outputPadding``; below the stride.
  /// - Throws: `TensorError` for numbers that do not fit each other.
  public init(
    inputChannels: Int, outputChannels: Int, kernel: [Int], stride: [Int]? = nil, padding: [Int]? = nil,
    outputPadding: [Int]? = nil, groups: Int = 1, bias: Bool = true, initializer: Initializer = .heNormal,
    generator: Generator? = nil
  ) throws {
    try checkConvolution("TransposedConvolution", kernel, inputChannels, outputChannels, groups)
    let stride = stride ?? kernel
    let none = kernel.map { _ in 0 }
    let (padding, outputPadding) = (padding ?? none, outputPadding ?? none)
    guard [stride, padding, outputPadding].allSatisfy({ $0.count == kernel.count }), stride.allSatisfy({ $0 > 0 }),
      padding.allSatisfy({ $0 >= 0 }), zip(outputPadding, stride).allSatisfy({ (0..<$1).contains($0) })
    else {
      throw TensorError(
        operation: "TransposedConvolution",
        message:
          "stride, padding and output padding (below the stride) for each of the \(kernel.count) kernel extents were "
          + "expected, got \(stride), \(padding) and \(outputPadding)")
    }
    // An output is reached by kernel / stride places of every input channel of its group.
    let places = zip(kernel, stride).map { Double($0) / Double($1) }.reduce(1, *)
    weight = try Parameter(
      initializer.tensor(
        [inputChannels, outputChannels / groups] + kernel, fanIn: Double(inputChannels / groups) * places,
        fanOut: Double(outputChannels / groups * kernel.reduce(1, *)), generator: generator))
    self.bias = bias ? try Parameter(Tensor.zeros([outputChannels])) : nil
    self.stride = stride
    self.padding = padding
    self.outputPadding = outputPadding
    self.groups = groups
  }

  public func forward(_ input: Tensor, upsampledBy factor: Int, addsBias: Bool = true) throws -> Tensor {
    try (factor > 1 ? input.upsampledNearest(factor: factor) : input).convolution(
      weight: weight.value.to(dtype: input.dtype), bias: addsBias ? bias?.value.to(dtype: input.dtype) : nil,
      stride: stride, padding: padding, dilation: stride.map { _ in 1 }, transposed: true, outputPadding: outputPadding,
      groups: groups)
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
