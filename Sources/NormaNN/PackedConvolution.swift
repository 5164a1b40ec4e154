import NormaTensor

/// A convolution with fixed weights in the processor's own layout and the ReLU after it in the same pass, for evaluation
/// without gradients: oneDNN's, where libtorch has it.
public struct PackedConvolution {
  private let layer: Convolution
  private let activation: Activation
  private let packed: Tensor
  private let amounts: [Int]

  /// nil where there is no such form: another device than the CPU, another number of spatial dimensions than two,
  /// uneven padding, or a libtorch or processor without it.
  public init?(_ layer: Convolution, activation: Activation) {
    guard let weight = try? layer.effectiveWeight else { return nil }
    let kernel = Array(weight.shape.dropFirst(2))
    guard weight.device == .cpu, weight.dtype == .float32, kernel.count == 2,
      case let (amounts, extra) = layer.padding.amounts(kernel: kernel, dilation: layer.dilation),
      extra.allSatisfy({ $0 == 0 }),
      let packed = try? weight.detached().packedForConvolution(
        padding: amounts, stride: layer.stride, dilation: layer.dilation, groups: layer.groups)
    else { return nil }
    self.layer = layer
    self.activation = activation
    self.packed = packed
    self.amounts = amounts
  }

  /// The activation of the convolution of the input.
  public func callAsFunction(_ input: Tensor) throws -> Tensor {
    guard input.dtype == .float32, input.rank == 4, input.shape[1] == layer.weight.value.shape[1] * layer.groups else {
      return try activation.consuming(layer(input))
    }
    let output = try input.convolutionPacked(
      weight: packed, bias: layer.bias?.value, padding: amounts, stride: layer.stride, dilation: layer.dilation,
      groups: layer.groups, relu: activation == .relu)
    return activation == .relu ? output : try activation.consuming(output)
  }
}
