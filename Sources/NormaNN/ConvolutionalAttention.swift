import NormaTensor

/// Scales every channel by a number in 0…1 that a small perceptron takes from all channels' means and largest values.
///
///     M = σ(W₁ ReLU(W₀ mean) + W₁ ReLU(W₀ maximum)),   y_nc = M_nc x_nc
///
/// Input [N, C, spatial…] → the same shape. Parameters `hidden.weight` W₀ [C / reduction, C] and `output.weight` W₁
/// [C, C / reduction], shared by both descriptions, with a `bias` each unless they go without.
///
/// Woo et al. 2018, "CBAM: Convolutional Block Attention Module", eq. 2; the paper's formula has no biases, its code has.
public final class ChannelAttention: Module, Layer {
  public let hidden: Linear
  public let output: Linear

  /// - Parameter reduction: channels per hidden unit; there is at least one unit.
  /// - Throws: ``TensorError`` for no channels or a reduction below 1.
  public init(channels: Int, reduction: Int = 16, bias: Bool = true, generator: Generator? = nil) throws {
    guard channels > 0, reduction > 0 else {
      throw TensorError(
        operation: "ChannelAttention",
        message:
          "at least one channel and a reduction of at least 1 were expected, got \(channels) channels and \(reduction)"
      )
    }
    let units = max(1, channels / reduction)
    hidden = try Linear(inputs: channels, outputs: units, bias: bias, generator: generator)
    output = try Linear(
      inputs: units, outputs: channels, bias: bias, initializer: .glorotUniform, generator: generator)
  }

  public func forward(_ input: Tensor) throws -> Tensor {
    let channels = output.weight.value.shape[0]
    guard input.rank >= 3, input.shape[1] == channels, input.count > 0 else {
      throw TensorError(
        operation: "ChannelAttention", message: "[N, \(channels), spatial…] was expected, got \(input.shape)")
    }
    let space = Array(2..<input.rank)
    func described(_ description: Tensor) throws -> Tensor { try output(hidden(description).relu()) }
    let sum = try described(input.mean(space)) + described(input.maximum(space))
    return try input * space.reduce(sum.sigmoid()) { scale, _ in try scale.unsqueezed(-1) }
  }
}

/// Scales every position by a number in 0…1 that a convolution takes from the mean and the largest value over channels around
/// it.
///
///     M = σ(f([mean_c x ; max_c x])),   y_nchw = M_nhw x_nchw
///
/// Input [N, C, H, W] → the same shape. Parameter `conv.weight` [1, 2, kernel, kernel], and `conv.bias` [1] when asked for.
///
/// Woo et al. 2018, eq. 3.
public final class SpatialAttention: Module, Layer {
  public let conv: Convolution

  /// - Parameter kernel: the extent of the window; the input is padded by zeros to keep its extents.
  /// - Throws: ``TensorError`` for a kernel below 1.
  public init(kernel: Int = 7, bias: Bool = false, generator: Generator? = nil) throws {
    guard kernel > 0 else {
      throw TensorError(operation: "SpatialAttention", message: "a kernel of at least 1 was expected, got \(kernel)")
    }
    conv = try Convolution(
      inputChannels: 2, outputChannels: 1, kernel: [kernel, kernel], padding: .same, bias: bias,
      initializer: .glorotUniform, generator: generator)
  }

  public func forward(_ input: Tensor) throws -> Tensor {
    guard input.rank == 4, input.count > 0 else {
      throw TensorError(operation: "SpatialAttention", message: "[N, C, H, W] was expected, got \(input.shape)")
    }
    let description = try Tensor.concatenate(
      [input.mean([1], keepDimensions: true), input.maximum([1], keepDimensions: true)], dimension: 1)
    return try input * conv(description).sigmoid()
  }
}

/// The convolutional block attention module: ``ChannelAttention``, then ``SpatialAttention`` of its result.
///
/// Input [N, C, H, W] → the same shape. Keys `channel.…` and `spatial.…`.
///
/// Woo et al. 2018, eq. 1.
public final class CBAM: Module, Layer {
  public let channel: ChannelAttention
  public let spatial: SpatialAttention

  /// - Parameters:
  ///   - reduction: channels per hidden unit of the channel attention; there is at least one unit.
  ///   - kernel: the extent of the spatial attention's window.
  public init(channels: Int, reduction: Int = 16, kernel: Int = 7, generator: Generator? = nil) throws {
    channel = try ChannelAttention(channels: channels, reduction: reduction, generator: generator)
    spatial = try SpatialAttention(kernel: kernel, generator: generator)
  }

  public func forward(_ input: Tensor) throws -> Tensor { try spatial(channel(input)) }
}
